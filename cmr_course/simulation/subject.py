"""Who is imaged: a seed, what is asked for, and the physiology that follows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from cmr_course.validate import require


@dataclass(frozen=True)
class Range:
    """A normal distribution cut off at `low` and `high`, and the wider range `allowed` of values that may be given."""

    mean: float
    deviation: float
    low: float
    high: float
    allowed: tuple[float, float]

    def draw(self, generator: torch.Generator) -> float:
        """One value between `low` and `high`."""
        value = self.mean + self.deviation * float(torch.randn((), dtype=torch.float32, generator=generator))
        return min(max(value, self.low), self.high)


NORMAL = {
    # Beats a minute; daily resting rate of adults, Quer et al. 2020, doi:10.1371/journal.pone.0227709.
    "heart_rate": Range(65.5, 7.7, 50.0, 95.0, (30.0, 180.0)),
    # Fraction of the end-diastolic area: circumferential strain e gives 1 - (1 + e)^2. The mean is that of e = -26 %,
    # feature tracking of healthy adults at 3 T (Mangion et al. 2019, doi:10.1038/s41598-019-39807-w: -25.4 +- 4.5 % in
    # men, -27.9 +- 3.5 % in women); a meta-analysis has -23 % (Vo et al. 2018, doi:10.1016/j.jcmg.2016.12.025).
    "area_change": Range(0.455, 0.045, 0.36, 0.56, (0.02, 0.75)),
    # mm; half the left-ventricular diastolic dimension (men 50.2 +- 4.1 mm, women 45.0 +- 3.6 mm), Lang et al. 2015,
    # doi:10.1016/j.echo.2014.10.003.
    "cavity_radius": Range(23.8, 2.1, 20.0, 28.0, (10.0, 42.0)),
    # mm; mean thickness on mid-cavity short-axis SSFP (men 6.3 +- 1.1 mm), Kawel et al. 2012,
    # doi:10.1161/CIRCIMAGING.112.973560; the thinnest are left out.
    "wall_thickness": Range(6.8, 0.9, 5.6, 9.0, (3.0, 30.0)),
}
"""Published normal ranges of what a subject may be asked to have, by the name of the field."""


@dataclass(frozen=True)
class Physiology:
    """The numbers a subject's heart meets: beats a minute, fraction, mm, mm."""

    heart_rate: float
    area_change: float
    cavity_radius: float
    wall_thickness: float

    @property
    def cycle(self) -> float:
        """Length of one heart beat in ms."""
        return 60_000 / self.heart_rate


@dataclass(frozen=True)
class Subject:
    """One person. What is left None is drawn from published normal ranges (:data:`NORMAL`) by the seed.

    seed: names the person; the same seed is the same anatomy, whatever else is given.
    heart_rate: beats a minute.
    area_change: fraction of its end-diastolic area that the left-ventricular cavity of the slice loses.
    cavity_radius: mm, of the circle with the end-diastolic area of the left-ventricular cavity, papillary muscles
        counted as cavity.
    wall_thickness: mm, mean end-diastolic thickness of the left-ventricular wall.
    """

    seed: int
    heart_rate: float | None = None
    area_change: float | None = None
    cavity_radius: float | None = None
    wall_thickness: float | None = None

    def __post_init__(self) -> None:
        good = isinstance(self.seed, int) and not isinstance(self.seed, bool) and self.seed >= 0
        require(good, f"seed: got {self.seed!r}, want a whole number of zero or more")
        for name, normal in NORMAL.items():
            value, (low, high) = getattr(self, name), normal.allowed
            number = value is None or (isinstance(value, int | float) and low <= value <= high)
            require(number, f"{name}: got {value!r}, want a number from {low:g} to {high:g}, or None")

    def stream(self, name: str) -> torch.Generator:
        """A random stream of its own for each `name`, so that a new draw in one place changes nothing elsewhere."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def physiology(self) -> Physiology:
        """What was given, and draws for what was not."""
        values = {}
        for name, normal in NORMAL.items():
            given = getattr(self, name)
            values[name] = normal.draw(self.stream(name)) if given is None else float(given)
        return Physiology(**values)


class Draws:
    """Uniform draws from one stream of a subject."""

    def __init__(self, subject: Subject, name: str) -> None:
        self.generator = subject.stream(name)

    def between(self, low: float, high: float) -> float:
        """One number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), dtype=torch.float32, generator=self.generator))
