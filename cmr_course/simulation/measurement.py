"""From a subject and a scan to k-space and its truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.plane import Plane
from cmr_course.receiver import receive, signal_region
from cmr_course.simulation.brightness import Brightness, Encoded, brightness
from cmr_course.simulation.canvas import LABELS
from cmr_course.simulation.motion import Beat, Moments, shots
from cmr_course.simulation.render import Anatomy, Slice, render
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.sequences import PhaseContrast
from cmr_course.simulation.subject import Physiology, Subject
from cmr_course.simulation.tissue import Composition
from cmr_course.simulation.vessels import Currents
from cmr_course.simulation.views import depth_of, planes
from cmr_course.validate import require, require_generator, say

MAPS = ("T1", "T2", "T1rho")
"""Relaxation times that a truth holds where frames are weightings of one moment."""
SNR_REGIONS = {"lv_myocardium": "labelled left-ventricular myocardium", "lv_blood": "labelled left-ventricular blood"}
"""What `About.snr_region` says of a label."""


def simulate(
    subject: Subject | Sequence[Subject], scan: Scan, *, generator: torch.Generator
) -> tuple[Acquisition, Truth]:
    """Image `subject`, or several, as `scan` says; on the device of `generator`.

    Anatomy and motion come from the subject's seed alone; `generator` draws what differs from scan to scan:
    background phase, noise and, where it is random, the mask. The batch holds the slices of the first subject, then
    those of the second, and so on.

    A scan that encodes velocity has two items of the batch for each slice: without and with encoding.
    Truth holds, besides image and coil maps: `labels` int8 by the tissue at the pixel's centre, named by
    `label_names`; `displacement` (y, x, through) in mm of the tissue now in a pixel since end diastole, the last
    component along right × down and zero for what surrounds the heart; `volumes` of the whole ventricles, in ml:
    ``lv_ml`` (papillary muscles counted), ``lv_myocardium_ml`` and ``rv_ml`` (without its outflow tract); for
    short-axis slices also what the plane cuts, in mm²: ``lv_area_mm2``, ``lv_myocardium_area_mm2``, ``rv_area_mm2``;
    `strain`, engineering strain of the tissue from end diastole: ``circumferential`` (endocardial), ``longitudinal``,
    ``radial`` (wall thickening); all (batch, frame), of the shapes themselves and not of pixels. Where frames are
    weightings of one moment, all that is true of the moment is repeated for each, and there are `T1`, `T2` and `T1rho`
    in ms; where velocity is encoded, `velocity` of the blood in vessels, cm/s along right × down, and in `volumes` the
    flow through the root of the aorta, ``aortic_flow_ml_s``.

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
    sequence, encodings = scan.settings, scan.settings.encodings
    images = torch.cat([view.picture.image for view in views])
    labels = torch.stack([view.picture.labels for view in views]).repeat_interleave(encodings, 0)
    region = labels == LABELS[sequence.snr_label]
    seen = bool((region & (images != 0)).any())
    if not seen:
        full = bool(signal_region(images.abs()).any())
        want = "want one with tissue in the middle of the picture"
        require(full, f"view: got {scan.view}, moved by {scan.offset:g} mm: only a rim of the body, {want}")
    acquisition, truth = receive(
        images,
        scan.receiver,
        generator=generator,
        about=_about(subjects, scan, seen),
        region=region if seen else None,
        pixel_size_mm=scan.pixel_size,
        plane=[view.plane for view in views for _ in range(encodings)],
        segments=_segments(views),
        echo_time_ms=sequence.dephasing,
        encodings=encodings,
    )
    if scan.sampling is not None:
        mask = scan.sampling.mask(*scan.matrix, scan.n_frames, generator)
        acquisition = acquisition.undersample(mask.to(generator.device))
    return acquisition, _completed(truth, views, labels, encodings)


def _completed(truth: Truth, views: Sequence[View], labels: Tensor, encodings: int) -> Truth:
    """`truth` with what is known of every slice; all encodings of one share it."""

    def stacked(values: Sequence[Tensor | None]) -> Any:
        known = [value for value in values if value is not None]
        return torch.stack(known).repeat_interleave(encodings, 0) if len(known) == len(values) else None

    return replace(
        truth,
        labels=labels,
        label_names=dict(LABELS),
        displacement=stacked([view.picture.displacement for view in views]),
        velocity=stacked([view.picture.velocity for view in views]),
        volumes={name: stacked(values) for name, values in _joined([view.volumes for view in views]).items()},
        strain={name: stacked(values) for name, values in _joined([view.strain for view in views]).items()},
        **{name: stacked([view.maps.get(name) for view in views]) for name in MAPS},
    )


@dataclass(frozen=True)
class View:
    """One slice of one subject: where it lies, its picture and numbers, its maps of relaxation times in ms where it was
    made to measure them, and what other heart beats look like, each with the lines (ky) of k-space that it measures.
    """

    plane: Plane
    picture: Slice
    volumes: dict[str, Tensor]
    strain: dict[str, Tensor]
    maps: dict[str, Tensor]
    others: tuple[tuple[Tensor, Tensor], ...]


@torch.inference_mode()  # no gradient flows through a picture, and small operations are faster without
def _views(subject: Subject, scan: Scan, device: torch.device) -> list[View]:
    """The slices of one subject."""
    anatomy, tissues = Anatomy.of(subject), Composition.of(subject, scan.receiver.field)
    heart, moments = anatomy.heart, _moments(subject, scan, device)
    bright = brightness(scan.settings, tissues, _looks(subject, scan, tissues))
    currents = _currents(subject, scan, moments, bright)
    whole, strain = (
        {name: _frames(value.float(), scan) for name, value in of(moments.contraction).items()}
        for of in (heart.volumes, heart.strain)
    )
    if currents is not None:
        whole |= {"aortic_flow_ml_s": currents.ascending.flatten()}
    found = []
    for plane in planes(subject, scan, heart, anatomy.vessels):
        depth = depth_of(plane, heart)
        cut = {} if depth is None else heart.areas(depth, moments.contraction)
        volumes = whole | {name: _frames(value.float(), scan) for name, value in cut.items()}
        picture = render(subject, anatomy, plane, scan, moments, bright, currents)
        others = _others(subject, anatomy, plane, scan, bright, device)
        found.append(View(plane, picture, volumes, strain, _maps(picture, tissues), others))
    return found


def _frames(values: Tensor, scan: Scan) -> Tensor:
    """`values` (frame,) for every frame, where all frames show one moment."""
    return values if scan.settings.beating else values.expand(scan.n_frames)


def _maps(picture: Slice, tissues: Composition) -> dict[str, Tensor]:
    """T1, T2 and T1rho, ms, of the tissue in the middle of each pixel; zero where there is no signal."""
    if picture.tissues is None:
        return {}
    signal = tissues.density > 0
    index = picture.tissues.long()
    return {name: (getattr(tissues, name) * signal).float().to(index.device)[index] for name in MAPS}


def _looks(subject: Subject, scan: Scan, tissues: Composition) -> tuple[float, ...]:
    """What the sequence's frames are: ms in the heart beat, or of preparation."""
    return scan.settings.looks(scan.n_frames, Beat.of(subject.physiology()), tissues)


def _moments(subject: Subject, scan: Scan, device: torch.device, length: float = 1.0, strength: float = 1.0) -> Moments:
    """The state of the heart in each frame of `scan`, in a beat of another length and strength than usual; where the
    frames are weightings, the one moment that all of them show.
    """
    physiology, frames = subject.physiology(), scan.n_frames
    if not scan.settings.beating:
        still = Beat.of(physiology)
        return still.moments((still.still,), device, strength)
    beat, times = _beat(physiology, scan, length), Beat.of(physiology).frames(frames)
    if scan.motion == "frozen":
        times = (times[0],) * frames
    elif scan.motion == "reversed":
        times = (times[0], *times[:0:-1])
    return beat.moments(times, device, strength)


def _beat(physiology: Physiology, scan: Scan, length: float) -> Beat:
    """A beat of `length` times the usual one; the usual one is adjusted to the frames."""
    return Beat.of(physiology).gated(scan.n_frames) if length == 1 else Beat.of(physiology, length)


def _currents(
    subject: Subject, scan: Scan, moments: Moments, bright: Brightness, length: float = 1.0, strength: float = 1.0
) -> Currents | None:
    """Blood flow in each frame, ml/s, where it is to be seen: what the left ventricle ejects in a beat of this length
    and strength runs through the ascending aorta.

    Of it 70 % reach the descending aorta, 30 ms later; the right ventricle ejects as much into the pulmonary trunk;
    veins bring it back, faster while the ventricles' floor comes down (stand-ins).
    """
    if not isinstance(bright, Encoded):
        return None
    physiology = subject.physiology()
    beat = _beat(physiology, scan, length)
    times = moments.phase * beat.cycle
    stroke = strength * physiology.end_diastolic_volume * physiology.ejection_fraction
    ejected = 1000 * stroke * beat.flow(times)
    mean = 1000 * stroke / beat.cycle
    venous = mean * (1 + 0.5 * torch.cos(math.tau * (moments.phase - 0.4)))
    flows = (ejected, 700 * stroke * beat.flow(times - 30), ejected, venous)
    return Currents(*(flow.float()[:, None, None] for flow in flows))


def _others(
    subject: Subject, anatomy: Anatomy, plane: Plane, scan: Scan, bright: Brightness, device: torch.device
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Pictures and lines of the heart beats that differ from the usual one, where a frame is measured in several."""
    if subject.rhythm == "regular" or not scan.settings.beating:
        return ()
    found = []
    for shot in shots(subject, scan.matrix[0]):
        if (shot.length, shot.strength) != (1.0, 1.0):
            moments = _moments(subject, scan, device, shot.length, shot.strength)
            lines = torch.arange(scan.matrix[0], device=device) % shot.every == shot.first
            currents = _currents(subject, scan, moments, bright, shot.length, shot.strength)
            found.append((render(subject, anatomy, plane, scan, moments, bright, currents).image, lines))
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
        found.append((torch.cat(pictures), lines))
    return found


def _joined(values: Sequence[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    """Tensors (frame,) of each slice by name; names that only some slices have are left out."""
    names = [name for name in values[0] if all(name in one for one in values)]
    return {name: [one[name] for one in values] for name in names}


def _about(subjects: Sequence[Subject], scan: Scan, seen: bool) -> About:
    """What the records say. Times are the first subject's where heart rates differ."""
    label = scan.settings.snr_label
    return About(
        contrast=scan.contrast,
        view=scan.view,
        subject=", ".join(str(one.seed) for one in subjects),
        times=_looks(subjects[0], scan, Composition.of(subjects[0], scan.receiver.field)),
        venc=scan.settings.venc if isinstance(scan.settings, PhaseContrast) else None,
        pixel_size=scan.pixel_size,
        origin="simulated",
        snr_region=SNR_REGIONS.get(label, f"labelled {label}") if seen else "",
    )
