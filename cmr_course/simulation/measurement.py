"""From a subject and a scan to k-space and its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.plane import Plane
from cmr_course.receiver import receive, signal_region
from cmr_course.simulation.canvas import LABELS
from cmr_course.simulation.motion import Beat, Moments, shots
from cmr_course.simulation.render import Anatomy, Slice, render
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.subject import Subject
from cmr_course.simulation.tissue import BalancedSSFP
from cmr_course.simulation.views import depth_of, planes
from cmr_course.validate import require, require_generator, say


def simulate(
    subject: Subject | Sequence[Subject], scan: Scan, *, generator: torch.Generator
) -> tuple[Acquisition, Truth]:
    """Image `subject`, or several, as `scan` says; on the device of `generator`.

    Anatomy and motion come from the subject's seed alone; `generator` draws what differs from scan to scan:
    background phase, noise and, where it is random, the mask. The batch holds the slices of the first subject, then
    those of the second, and so on.

    Truth holds, besides image and coil maps: `labels` int8 by the tissue at the pixel's centre, named by
    `label_names`; `displacement` (y, x, through) in mm of the tissue now in a pixel since end diastole, the last
    component along right × down and zero for what surrounds the heart; `volumes` of the whole ventricles, in ml:
    ``lv_ml`` (papillary muscles counted), ``lv_myocardium_ml`` and ``rv_ml`` (without its outflow tract); for
    short-axis slices also what the plane cuts, in mm²: ``lv_area_mm2``, ``lv_myocardium_area_mm2``, ``rv_area_mm2``;
    `strain`, engineering strain of the tissue from end diastole: ``circumferential`` (endocardial), ``longitudinal``,
    ``radial`` (wall thickening); all (batch, frame), of the shapes themselves and not of pixels.

    Raises ValueError where a slice does not meet the body, or shows only a rim of it and no heart.
    """
    try:
        subjects = [subject] if isinstance(subject, Subject) else list(subject)
    except TypeError:  # neither one nor several
        subjects = []
    good = bool(subjects) and all(isinstance(one, Subject) for one in subjects)
    require(good, f"subject: got {say(subject)}, want a Subject or a sequence of at least one")
    require_generator("generator", generator)
    require(isinstance(scan, Scan), f"scan: got {say(scan)}, want a Scan")
    views = [view for one in subjects for view in _views(one, scan, generator.device)]
    images = torch.stack([view.picture.image for view in views])
    labels = torch.stack([view.picture.labels for view in views])
    myocardium = labels == LABELS["lv_myocardium"]
    seen = bool(myocardium.any())
    if not seen:
        full = bool(signal_region(images.abs()).any())
        want = "want one with tissue in the middle of the picture"
        require(full, f"view: got {scan.view}, moved by {scan.offset:g} mm: only a rim of the body, {want}")
    acquisition, truth = receive(
        images,
        scan.receiver,
        generator=generator,
        about=_about(subjects, scan, seen),
        region=myocardium if seen else None,
        pixel_size_mm=scan.pixel_size,
        plane=[view.plane for view in views],
        segments=_segments(views),
        echo_time_ms=BalancedSSFP().TE,
    )
    if scan.sampling is not None:
        mask = scan.sampling.mask(*scan.matrix, scan.frames, generator)
        acquisition = acquisition.undersample(mask.to(generator.device))
    truth = replace(
        truth,
        labels=labels,
        label_names=dict(LABELS),
        displacement=torch.stack([view.picture.displacement for view in views]),
        volumes=_joined([view.volumes for view in views]),
        strain=_joined([view.strain for view in views]),
    )
    return acquisition, truth


@dataclass(frozen=True)
class View:
    """One slice of one subject: where it lies, its picture and numbers, and what other heart beats look like, each
    with the lines (ky) of k-space that it measures.
    """

    plane: Plane
    picture: Slice
    volumes: dict[str, Tensor]
    strain: dict[str, Tensor]
    others: tuple[tuple[Tensor, Tensor], ...]


@torch.inference_mode()  # no gradient flows through a picture, and small operations are faster without
def _views(subject: Subject, scan: Scan, device: torch.device) -> list[View]:
    """The slices of one subject."""
    anatomy = Anatomy.of(subject)
    heart, moments = anatomy.heart, _moments(subject, scan, device)
    whole, strain = (
        {name: value.float() for name, value in of(moments.contraction).items()} for of in (heart.volumes, heart.strain)
    )
    found = []
    for plane in planes(subject, scan, heart, anatomy.vessels):
        depth = depth_of(plane, heart)
        cut = {} if depth is None else heart.areas(depth, moments.contraction)
        volumes = whole | {name: value.float() for name, value in cut.items()}
        picture = render(subject, anatomy, plane, scan, moments)
        found.append(View(plane, picture, volumes, strain, _others(subject, anatomy, plane, scan, device)))
    return found


def _moments(subject: Subject, scan: Scan, device: torch.device, length: float = 1.0, strength: float = 1.0) -> Moments:
    """The state of the heart in each frame of `scan`, in a beat of another length and strength than usual."""
    physiology = subject.physiology()
    usual = Beat.of(physiology).gated(scan.frames)
    beat = usual if length == 1 else Beat.of(physiology, length)
    times = usual.frames(scan.frames)
    if scan.motion == "frozen":
        times = (times[0],) * scan.frames
    elif scan.motion == "reversed":
        times = (times[0], *times[:0:-1])
    return beat.moments(times, device, strength)


def _others(
    subject: Subject, anatomy: Anatomy, plane: Plane, scan: Scan, device: torch.device
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Pictures and lines of the heart beats that differ from the usual one."""
    if subject.rhythm == "regular":
        return ()
    found = []
    for shot in shots(subject, scan.matrix[0]):
        if (shot.length, shot.strength) != (1.0, 1.0):
            moments = _moments(subject, scan, device, shot.length, shot.strength)
            lines = torch.arange(scan.matrix[0], device=device) % shot.every == shot.first
            found.append((render(subject, anatomy, plane, scan, moments).image, lines))
    return tuple(found)


def _segments(views: Sequence[View]) -> list[tuple[Tensor, Tensor]]:
    """Images of the whole batch for each set of lines that any subject measures in another heart beat."""
    found = []
    every = {tuple(lines.tolist()): lines for view in views for _, lines in view.others}
    for key, lines in every.items():
        pictures = [
            next((image for image, own in view.others if tuple(own.tolist()) == key), view.picture.image)
            for view in views
        ]
        found.append((torch.stack(pictures), lines))
    return found


def _joined(values: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors (frame,) of each slice, stacked; names that only some slices have are left out."""
    names = [name for name in values[0] if all(name in one for one in values)]
    return {name: torch.stack([one[name] for one in values]) for name in names}


def _about(subjects: Sequence[Subject], scan: Scan, seen: bool) -> About:
    """What the records say. Times are the first subject's where heart rates differ."""
    return About(
        contrast=scan.contrast,
        view=scan.view,
        subject=", ".join(str(one.seed) for one in subjects),
        times=Beat.of(subjects[0].physiology()).frames(scan.frames),
        pixel_size=scan.pixel_size,
        origin="simulated",
        snr_region="labelled left-ventricular myocardium" if seen else "",
    )
