"""Who is imaged: a seed, what is asked for, and the physiology that follows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import TypeAlias

import torch

from cmr_course.plane import Vector
from cmr_course.validate import is_number, is_whole, require, say


@dataclass(frozen=True)
class Range:
    """A normal distribution cut off at `low` and `high`."""

    mean: float
    deviation: float
    low: float
    high: float

    def draw(self, generator: torch.Generator) -> float:
        """One value between `low` and `high`."""
        value = self.mean + self.deviation * float(torch.randn((), dtype=torch.float32, generator=generator))
        return min(max(value, self.low), self.high)


ALLOWED: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "heart_rate": (30.0, 180.0),
        "ejection_fraction": (0.05, 0.85),
        "longitudinal_strain": (-0.30, 0.0),
        "circumferential_strain": (-0.60, 0.0),
        "end_diastolic_volume": (40.0, 450.0),
        "wall_thickness": (4.0, 25.0),
    }
)
"""What may be asked for: beats a minute, fraction, engineering strain (negative where it shortens), ml, mm."""

NORMAL: Mapping[str, Range] = MappingProxyType(
    {
        # Daily resting rate of adults, Quer et al. 2020, doi:10.1371/journal.pone.0227709.
        "heart_rate": Range(65.5, 7.7, 50.0, 95.0),
        # Reference ranges of short-axis SSFP, Petersen et al. 2017, doi:10.1186/s12968-017-0327-9: 58 ± 5 % in men,
        # 61 ± 5 % in women.
        "ejection_fraction": Range(0.60, 0.045, 0.51, 0.70),
        # Share of its length that the ventricle loses: mitral annular excursion of 12 to 16 mm on some 90 mm.
        "longitudinal_strain": Range(-0.155, 0.018, -0.20, -0.12),
        # ml; the same study: men 166 ± 32, women 124 ± 21.
        "end_diastolic_volume": Range(145.0, 27.0, 95.0, 215.0),
        # mm, mid-cavity; men 6.3 ± 1.1 on SSFP, Kawel et al. 2012, doi:10.1161/CIRCIMAGING.112.973560.
        "wall_thickness": Range(6.8, 0.9, 5.6, 9.0),
    }
)
"""Healthy adults: what is drawn where nothing is asked for."""

CONDITIONS: Mapping[str, Mapping[str, Range]] = MappingProxyType(
    {
        "normal": NORMAL,
        # A large ventricle that ejects little: the definition of dilated cardiomyopathy (end-diastolic volume above and
        # ejection fraction below the normal range).
        "dilated": {
            **NORMAL,
            "ejection_fraction": Range(0.30, 0.06, 0.18, 0.42),
            "longitudinal_strain": Range(-0.08, 0.015, -0.11, -0.05),
            "end_diastolic_volume": Range(255.0, 30.0, 220.0, 330.0),
        },
        # Walls of 13 mm and more, the diagnostic threshold in relatives of patients; a small and vigorous cavity.
        "hypertrophic": {
            **NORMAL,
            "ejection_fraction": Range(0.67, 0.04, 0.60, 0.74),
            "longitudinal_strain": Range(-0.12, 0.015, -0.15, -0.09),
            "end_diastolic_volume": Range(125.0, 20.0, 85.0, 165.0),
            "wall_thickness": Range(14.5, 1.4, 13.0, 18.0),
        },
        # One segment that hardly moves, and what is left of the ejection fraction.
        "infarcted": {
            **NORMAL,
            "ejection_fraction": Range(0.42, 0.04, 0.34, 0.49),
            "longitudinal_strain": Range(-0.11, 0.015, -0.14, -0.08),
            "end_diastolic_volume": Range(175.0, 25.0, 130.0, 235.0),
        },
    }
)
"""What is drawn where nothing is asked for, by condition. Means of the diseased are typical values, not one study's."""

RHYTHMS = ("regular", "ectopic", "irregular")
"""All beats alike; an early beat now and then, followed by a pause; every beat of another length."""


@dataclass(frozen=True)
class Lesion:
    """A ball of other signal inside the tissue: something small whose loss a metric should notice.

    place: (x, y, z) in mm, patient coordinates at end diastole. radius: mm. contrast: its signal is that of the tissue
    times 1 + contrast. It moves with the tissue it lies in.
    """

    place: Vector
    radius: float = 4.0
    contrast: float = -0.5

    def __post_init__(self) -> None:
        good = isinstance(self.place, tuple) and len(self.place) == 3 and all(map(is_number, self.place))
        require(good, f"place: got {say(self.place)}, want (x, y, z) in mm")
        good = is_number(self.radius) and 0.5 <= self.radius <= 50
        require(good, f"radius: got {say(self.radius)}, want 0.5 to 50 mm")
        good = is_number(self.contrast) and -1 <= self.contrast <= 10
        require(good, f"contrast: got {say(self.contrast)}, want -1 (black) to 10")


@dataclass(frozen=True)
class Physiology:
    """The numbers a subject's heart meets: beats a minute, fraction, strains, ml, mm.

    A ventricle whose length is multiplied by 1 + longitudinal strain and whose inner circumferences by
    1 + circumferential strain keeps the share (1 + longitudinal)(1 + circumferential)² of its volume, so that two of
    ejection fraction and strains give the third. Where a segment moves less, the circumferential strain is that of
    a ventricle of the same volumes that contracts evenly.
    """

    heart_rate: float
    ejection_fraction: float
    longitudinal_strain: float
    circumferential_strain: float
    end_diastolic_volume: float
    wall_thickness: float

    @property
    def cycle(self) -> float:
        """Length of one heart beat in ms."""
        return 60_000 / self.heart_rate


@dataclass(frozen=True)
class Subject:
    """One person. What is left None is drawn from published ranges by the seed and the condition.

    seed: names the person; the same seed is the same anatomy, whatever else is given.
    condition: a key of :data:`CONDITIONS`. heart_rate: beats a minute.
    ejection_fraction: share of its end-diastolic volume that the left ventricle ejects.
    longitudinal_strain: change of the left ventricle's length over its length, below zero.
    circumferential_strain: change of its inner circumference over the circumference, below zero.
    end_diastolic_volume: ml, papillary muscles counted as cavity.
    wall_thickness: mm, at end diastole, in the middle of the ventricle.
    lesion: something to be found, or None. rhythm: one of :data:`RHYTHMS`.
    """

    seed: int
    condition: str = "normal"
    heart_rate: float | None = None
    ejection_fraction: float | None = None
    longitudinal_strain: float | None = None
    circumferential_strain: float | None = None
    end_diastolic_volume: float | None = None
    wall_thickness: float | None = None
    lesion: Lesion | None = None
    rhythm: str = "regular"

    def __post_init__(self) -> None:
        good = is_whole(self.seed) and self.seed >= 0
        require(good, f"seed: got {say(self.seed)}, want a whole number of zero or more")
        for name, known in (("condition", tuple(CONDITIONS)), ("rhythm", RHYTHMS)):
            value = getattr(self, name)
            good = isinstance(value, str) and value in known
            require(good, f"{name}: got {say(value)}, want one of {', '.join(known)}")
        for name, (low, high) in ALLOWED.items():
            value = getattr(self, name)
            good = value is None or (is_number(value) and low <= value <= high)
            require(good, f"{name}: got {say(value)}, want a number from {low:g} to {high:g}, or None")
        good = self.lesion is None or isinstance(self.lesion, Lesion)
        require(good, f"lesion: got {say(self.lesion)}, want a Lesion or None")
        self.physiology()

    def stream(self, name: str) -> torch.Generator:
        """A random stream of its own for each `name`, so that a new draw in one place changes nothing elsewhere."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def physiology(self) -> Physiology:
        """What was given, draws for what was not, and what follows from both.

        Where an ejection fraction is given and no longitudinal strain, the one drawn is scaled with it. Raises
        ValueError where ejection fraction and strains contradict each other.
        """
        return self._physiology

    @cached_property
    def _physiology(self) -> Physiology:
        given = {name: getattr(self, name) for name in ALLOWED}
        drawn = {name: usual.draw(self.stream(name)) for name, usual in CONDITIONS[self.condition].items()}
        value = {name: drawn.get(name, 0.0) if asked is None else float(asked) for name, asked in given.items()}
        ejected, along, around = (given[f"{n}"] for n in ("ejection_fraction", *STRAINS))
        if ejected is not None and along is None:  # who ejects less, shortens less
            value["longitudinal_strain"] *= ejected / drawn["ejection_fraction"]
        if around is not None and along is not None:
            follows = 1 - (1 + along) * (1 + around) ** 2
            fits = ejected is None or abs(ejected - follows) < 0.005
            require(fits, f"ejection_fraction: got {ejected}, but the strains make it {follows:.3f}; leave one out")
            value["ejection_fraction"] = follows if ejected is None else ejected
        elif around is not None and ejected is not None:
            value["longitudinal_strain"] = (1 - ejected) / (1 + around) ** 2 - 1
        elif around is not None:
            value["ejection_fraction"] = 1 - (1 + value["longitudinal_strain"]) * (1 + around) ** 2
        else:
            kept = (1 - value["ejection_fraction"]) / (1 + value["longitudinal_strain"])
            value["circumferential_strain"] = math.sqrt(kept) - 1
        for name in ("ejection_fraction", *STRAINS):
            low, high = ALLOWED[name]
            asked = ", ".join(f"{n} {given[n]}" for n in ("ejection_fraction", *STRAINS) if given[n] is not None)
            good = low <= value[name] <= high
            require(good, f"{name}: {asked} make it {value[name]:.3f}, want {low:g} to {high:g}")
        return Physiology(**{field.name: value[field.name] for field in fields(Physiology)})


STRAINS = ("longitudinal_strain", "circumferential_strain")


Draw: TypeAlias = Callable[[float, float], float]
"""A number between two limits; see `Draws.between`."""


class Draws:
    """Uniform draws from one stream of a subject."""

    def __init__(self, subject: Subject, name: str) -> None:
        self._generator = subject.stream(name)
        self._numbers: Iterator[float] = iter(())

    def between(self, low: float, high: float) -> float:
        """One number between `low` and `high`."""
        number = next(self._numbers, None)
        if number is None:  # many at once: a single one costs as much
            self._numbers = iter(torch.rand(64, dtype=torch.float32, generator=self._generator).tolist())
            number = next(self._numbers)
        return low + (high - low) * number
