"""Cells of a benchmark: one heart, measured in one way."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from cmr_course import simulation
from cmr_course.acquisition import Acquisition, Truth
from cmr_course.coils import normalise, rss, with_maps
from cmr_course.data import CineSeries, acquire, read_series, stream
from cmr_course.metrics.results import MAPS
from cmr_course.receiver import Receiver
from cmr_course.sampling import KINDS, Sampling
from cmr_course.simulation import CONTRASTS, Scan, Subject, simulate
from cmr_course.simulation.motion import LINES_PER_BEAT
from cmr_course.validate import is_number, is_pair, is_whole, require, require_positive, require_whole, say

WRONG_MM = 20.0
"""Between the calibration and the scan the patient moved so far along phase encoding, where maps are wrong."""
BREATH_MM = 8.0
"""From end expiration to end inspiration, along phase encoding, where a heart is measured in free breathing."""
BEATS_PER_BREATH = 4.6
"""Heart beats in one breath: 65 a minute over 14 breaths a minute."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One slice of one heart and how it is measured: what a benchmark gives to every method alike.

    subject: the seed of a simulated one, or the name of a real series. view, matrix (ky, kx), frames, coils, snr_db:
    as in :class:`cmr_course.simulation.Scan`; a real series has the one view it was acquired in. contrast: a name in
    :data:`cmr_course.simulation.CONTRASTS`; one that has a number of frames of its own has that instead of `frames`.
    mask, acceleration: kind of mask and nominal R. maps: ``espirit`` from the ACS, ``known`` (the simulator's own,
    before a coil died), or ``wrong`` (those, of a patient who has moved). perturbation: a key of
    :data:`PERTURBATIONS`, or nothing. as_series: a simulated subject is turned into a magnitude series first, and
    measured as a real one is: with the same coils around the picture, and noise over the same region.
    """

    subject: int | str
    view: str = "sax"
    contrast: str = "cine"
    matrix: tuple[int, int] = (128, 128)
    frames: int = 12
    coils: int = 10
    snr_db: float | None = 30.0
    mask: str = "uniform"
    acceleration: float = 8.0
    maps: str = "espirit"
    perturbation: str = ""
    as_series: bool = False

    def __post_init__(self) -> None:
        good = (is_whole(self.subject) and int(self.subject) >= 0) or _is_name(self.subject)
        require(bool(good), f"subject: got {say(self.subject)}, want a seed, or the name of a real series")
        pair = isinstance(self.matrix, tuple) and is_pair(self.matrix) and all(map(is_whole, self.matrix))
        good = pair and min(self.matrix) > 0
        require(good, f"matrix: got {say(self.matrix)}, want a tuple of two whole numbers (ky, kx)")
        require_whole("frames", self.frames)
        require_whole("coils", self.coils)
        require_positive("acceleration", self.acceleration)
        known = MAPS[1:4]
        require(self.maps in known, f"maps: got {say(self.maps)}, want one of {', '.join(known)}")
        good = self.snr_db is None or is_number(self.snr_db)
        require(good, f"snr_db: got {say(self.snr_db)}, want a number, or None for no noise")
        require(isinstance(self.view, str), f"view: got {say(self.view)}, want a name")
        good = isinstance(self.contrast, str) and self.contrast in CONTRASTS
        require(good, f"contrast: got {say(self.contrast)}, want one of {', '.join(CONTRASTS)}")
        require(self.mask in KINDS, f"mask: got {say(self.mask)}, want one of {', '.join(KINDS)}")
        good = isinstance(self.perturbation, str) and self.perturbation in PERTURBATIONS
        wanted = ", ".join(name for name in PERTURBATIONS if name)
        require(good, f"perturbation: got {say(self.perturbation)}, want one of {wanted}, or nothing")
        real = isinstance(self.subject, str)
        cine = self.contrast == "cine" or not (real or self.as_series)
        require(cine, f"contrast: got {self.contrast}, want cine of what is, or becomes, an image series")
        good = not real or self.perturbation != "arrhythmia"
        require(good, f"perturbation: got arrhythmia of the real series {self.subject}, want a simulated subject")
        wanted = "want a simulated subject without a perturbation"
        good = isinstance(self.as_series, bool) and not (self.as_series and (real or self.perturbation))
        require(good, f"as_series: got {say(self.as_series)}, {wanted}, or False")

    def columns(self, acquisition: Acquisition) -> dict[str, Any]:
        """What the Results of this cell have in common."""
        return {
            **self.asked(),
            "realised_R": round(acquisition.realised_acceleration, 4),
            "simulation_version": simulation.VERSION,
        }

    @property
    def domain(self) -> str:
        """What kind of data this is."""
        if isinstance(self.subject, str):
            return "real series"
        return "simulated series" if self.as_series else "simulated"

    def asked(self) -> dict[str, Any]:
        """Those of these columns that are known before anything is measured: they tell one cell from another."""
        return {
            "subject": str(self.subject),
            "domain": self.domain,
            "view": self.view,
            "contrast": self.contrast,
            "matrix": "x".join(map(str, self.matrix)),
            "coils": self.coils,
            "snr_db": None if self.snr_db is None else float(self.snr_db),
            "maps": self.maps,
            "perturbation": self.perturbation,
            "mask": self.mask,
            "nominal_R": float(self.acceleration),
        }


def _is_name(subject: Any) -> bool:
    """A real series' name is text, and no seed in disguise."""
    return isinstance(subject, str) and bool(subject) and not subject.isdigit()


@dataclass(frozen=True)
class Perturbation:
    """What goes wrong in a cell: in the subject's rhythm, in the receiver, or in k-space once it is measured."""

    rhythm: str = "regular"
    dead_coils: tuple[int, ...] = ()
    change: Callable[[Acquisition], Acquisition] | None = None


def breathing(acquisition: Acquisition, amplitude_mm: float = BREATH_MM) -> Acquisition:
    """The measurement as if the body had been breathing: each heart beat finds it in another place along y.

    Lines of k-space are interleaved over the beats; a beat's lines carry the phase of a shift by
    amplitude·sin²(π·beat/4.6). A stand-in: body and coils move together, rigidly, and in the plane.
    """
    ky = acquisition.matrix[0]
    line = torch.arange(ky, dtype=torch.float64)
    beat = line % max(2, round(ky / LINES_PER_BEAT))
    shift = _pixels(amplitude_mm, acquisition) * torch.sin(math.pi * beat / BEATS_PER_BREATH) ** 2
    phase = torch.exp(-2j * math.pi * (line - ky // 2) * shift / ky)
    return replace(acquisition, kspace=acquisition.kspace * phase.to(acquisition.kspace)[:, None])


PERTURBATIONS: Mapping[str, Perturbation] = MappingProxyType(
    {
        "": Perturbation(),
        "arrhythmia": Perturbation(rhythm="irregular"),
        "breathing": Perturbation(change=breathing),
        "dead-coil": Perturbation(dead_coils=(2,)),
    }
)
"""Every beat of another length and strength; a body that breathes; the third coil receives noise only."""


def measured(cell: Cell, folder: str | os.PathLike[str] | None = None) -> tuple[Acquisition, Truth]:
    """The undersampled acquisition of `cell`, its maps filled, and its truth.

    folder: where the real series are (``NAME.npz``). The same heart has the same noise under every mask and R.
    """
    require(isinstance(cell, Cell), f"cell: got {say(cell)}, want a Cell")
    wrong = PERTURBATIONS[cell.perturbation]
    names = (cell.view,) if cell.contrast == "cine" else (cell.view, cell.contrast)
    generator = stream(0, str(cell.subject), *names, *map(str, cell.matrix))
    receiver = Receiver(n_coils=cell.coils, snr_db=cell.snr_db, dead_coils=wrong.dead_coils)
    if isinstance(cell.subject, str):
        full, truth = _real(cell, cell.subject, receiver, generator, folder)
    elif cell.as_series:
        full, truth = acquire(_series(cell), receiver, generator=generator, subject=str(cell.subject), view=cell.view)
        full = replace(full, about=replace(full.about, origin="simulated"))
    else:
        fixed = CONTRASTS[cell.contrast].fixed_frames is not None
        frames = None if fixed else cell.frames
        scan = Scan(view=cell.view, contrast=cell.contrast, matrix=cell.matrix, frames=frames, receiver=receiver)
        full, truth = simulate(Subject(cell.subject, rhythm=wrong.rhythm), scan, generator=generator)
    known = truth.sensitivities
    if wrong.dead_coils:
        truth = _seen_by_the_rest(truth, wrong.dead_coils)
    if wrong.change is not None:
        full = wrong.change(full)
    mask = Sampling(cell.mask, cell.acceleration).mask(*cell.matrix, full.n_frames, generator)
    undersampled = full.undersample(mask)
    if cell.maps == "espirit":
        return with_maps(undersampled), truth
    assert known is not None  # `receive` gives them
    if cell.maps == "wrong":
        known = known.roll(round(_pixels(WRONG_MM, full)), dims=-2)
    return undersampled.with_sensitivities(known), truth


def _pixels(length_mm: float, acquisition: Acquisition) -> float:
    """`length_mm` along phase encoding, in pixels."""
    size = acquisition.about.pixel_size
    if size is None:
        raise ValueError("acquisition: got no pixel size, want one to move its body by millimetres")
    return length_mm / size[0]


def _seen_by_the_rest(truth: Truth, dead: tuple[int, ...]) -> Truth:
    """The truth of the coils that still work: methods are scored for artefacts, not for the shading of a lost coil."""
    assert truth.sensitivities is not None
    working = truth.sensitivities.clone()
    working[:, :, list(dead)] = 0
    return replace(truth, image=truth.image * rss(working), sensitivities=normalise(working))


def _series(cell: Cell) -> CineSeries:
    """What a scanner would have shown of a simulated subject, without noise: magnitudes, shaded by its array."""
    scan = Scan(view=cell.view, matrix=cell.matrix, frames=cell.frames, receiver=Receiver(snr_db=None))
    assert not isinstance(cell.subject, str)
    generator = stream(0, "series", str(cell.subject), cell.view)
    acquisition, truth = simulate(Subject(cell.subject), scan, generator=generator)
    return CineSeries(truth.magnitude(), scan.pixel_size, acquisition.about.times)


def _real(
    cell: Cell, name: str, receiver: Receiver, generator: torch.Generator, folder: str | os.PathLike[str] | None
) -> tuple[Acquisition, Truth]:
    """The central slice of a real series, resampled to the matrix: real anatomy and motion, simulated acquisition."""
    require(folder is not None, f"folder: got None, want the one that holds the real series {name}")
    series = read_series(Path(str(folder)) / f"{name}.npz")
    chosen = series.select(slices=[series.n_slices // 2], frames=cell.frames).resample(cell.matrix)
    return acquire(chosen, receiver, generator=generator, subject=name, view=cell.view)
