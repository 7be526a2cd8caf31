"""From a subject and a scan to k-space and its truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.receiver import receive
from cmr_course.simulation.canvas import LABELS
from cmr_course.simulation.chest import Chest
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.motion import Beat
from cmr_course.simulation.render import Slice, render
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.subject import Subject
from cmr_course.validate import require, require_generator


def simulate(
    subject: Subject | Sequence[Subject], scan: Scan, *, generator: torch.Generator
) -> tuple[Acquisition, Truth]:
    """Image `subject`, or a batch of them, as `scan` says; on the device of `generator`.

    Anatomy and motion come from the subject's seed alone; `generator` draws what differs from scan to scan:
    background phase, noise and, where it is random, the mask.

    Truth holds, besides image and coil maps: `labels` int8 by the tissue at the pixel's centre, named by
    `label_names`; `displacement` (y, x) in mm of the tissue now in a pixel since the first frame; `volumes`
    ``lv_area_mm2`` (papillary muscles counted), ``myocardium_area_mm2`` (of the left ventricle) and ``rv_area_mm2``,
    (batch, frame) in mm², of the shapes themselves and not of pixels; `strain` ``circumferential`` (endocardial) and
    ``radial`` (wall thickening), (batch, frame), engineering strain from the first frame.
    """
    subjects = list(subject) if isinstance(subject, Iterable) else [subject]
    good = bool(subjects) and all(isinstance(one, Subject) for one in subjects)
    require(good, f"subject: got {subject!r}, want a Subject or a sequence of at least one")
    require_generator("generator", generator)
    require(isinstance(scan, Scan), f"scan: got {type(scan).__name__}, want a Scan")
    slices, volumes, strain = [], [], []
    for one in subjects:
        picture, areas, deformation = _slice(one, scan, generator.device)
        slices.append(picture)
        volumes.append(areas)
        strain.append(deformation)
    labels = torch.stack([picture.labels for picture in slices])
    acquisition, truth = receive(
        torch.stack([picture.image for picture in slices]),
        scan.receiver,
        generator=generator,
        about=_about(subjects, scan),
        region=labels == LABELS["lv_myocardium"],
        pixel_size_mm=scan.pixel_size,
    )
    if scan.sampling is not None:
        mask = scan.sampling.mask(*scan.matrix, scan.frames, generator)
        acquisition = acquisition.undersample(mask.to(generator.device))
    truth = replace(
        truth,
        labels=labels,
        label_names=dict(LABELS),
        displacement=torch.stack([picture.displacement for picture in slices]),
        volumes={name: torch.stack([one[name] for one in volumes]) for name in volumes[0]},
        strain={name: torch.stack([one[name] for one in strain]) for name in strain[0]},
    )
    return acquisition, truth


def _slice(
    subject: Subject, scan: Scan, device: torch.device
) -> tuple[Slice, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The picture of one subject, its areas and its strain."""
    physiology = subject.physiology()
    moments = Beat.of(physiology).gated(scan.frames).moments(scan.frames, device)
    heart = Heart.of(subject, physiology)
    picture = render(subject, scan, heart, Chest.of(subject, heart), moments)
    areas, strain = heart.areas(moments.contraction), heart.strain(moments.contraction)
    return picture, _single(areas), _single(strain)


def _single(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.float() for name, value in values.items()}


def _about(subjects: Sequence[Subject], scan: Scan) -> About:
    """What the records say. Times are the first subject's where heart rates differ."""
    cycle = subjects[0].physiology()
    return About(
        contrast=scan.contrast,
        view=scan.view,
        subject=", ".join(str(one.seed) for one in subjects),
        times=Beat.of(cycle).frames(scan.frames),
        pixel_size=scan.pixel_size,
        origin="simulated",
        snr_region="labelled left-ventricular myocardium",
    )
