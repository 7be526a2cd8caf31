"""The heart beat in time: how far the ventricles have contracted at each moment, and in which of several beats."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.subject import Draws, Physiology, Subject

LINES_PER_BEAT = 14
"""Lines of k-space that a segmented cine measures of each frame in one heart beat."""
STRONGEST = 1.08
"""The most that an odd beat pumps, as a share of a usual one."""
LARGEST_NUDGE = 0.05
"""By which share of the cycle end systole may move to fall onto a frame."""


def smoothstep(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 below 0, 1 above 1, and 3x² − 2x³ between: a step with a continuous slope."""
    x = x.clamp(0, 1)
    square = x.square()
    return torch.addcmul(3 * square, square, x, value=-2)


@dataclass(frozen=True)
class Beat:
    """Landmarks of one cycle in ms from the R wave.

    The ventricles eject between `opening` and `closing` of the aortic valve, hold their smallest area until `filling`
    (isovolumic relaxation), fill fast for `early` ms to the share `diastasis` of the contraction left, wait, and are
    filled up by the atria in the last `atrial` ms. The length of ejection is 413 − 1.7 · heart rate (Weissler et al.
    1968, doi:10.1161/01.CIR.37.2.149); the other lengths are textbook values, shortened where the beat leaves no room.
    """

    cycle: float
    opening: float
    closing: float
    filling: float
    early: float
    atrial: float
    diastasis: float = 0.2

    @classmethod
    def of(cls, physiology: Physiology, length: float = 1.0) -> Beat:
        """The beat at a heart rate; a single beat may be `length` times as long as the others, by its diastole."""
        ejection = 413 - 1.7 * physiology.heart_rate
        opening, relaxation = 40.0, 70.0
        cycle, closing = physiology.cycle * length, opening + ejection
        rest = max(cycle - closing - relaxation, 0.12 * cycle)
        squeeze = min(1.0, (cycle - rest) / (closing + relaxation))
        opening, closing, relaxation = opening * squeeze, closing * squeeze, relaxation * squeeze
        return cls(cycle, opening, closing, closing + relaxation, min(165, 0.4 * rest), min(110, 0.3 * rest))

    def frames(self, n: int) -> tuple[float, ...]:
        """Times of `n` frames in ms, evenly over the cycle, the first at the R wave, where the ventricle is full."""
        return tuple(self.cycle * frame / n for frame in range(n))

    def gated(self, n: int) -> Beat:
        """The same beat with systole stretched, by at most 5 % of the cycle, until a frame shows the smallest area.

        From about six frames on there always is one, so that the area change asked for is in the picture.
        """
        middle = (self.closing + self.filling) / 2
        nearest = min(self.frames(n), key=lambda time: abs(time - middle))
        low, high = self.closing - nearest, self.filling - nearest
        nudge = -low if low > 0 else -min(high, 0.0)
        limit = LARGEST_NUDGE * self.cycle
        nudge = min(max(nudge, -limit), limit)
        return Beat(
            self.cycle,
            self.opening,
            self.closing + nudge,
            self.filling + nudge,
            self.early,
            self.atrial,
            self.diastasis,
        )

    def contraction(self, times: Float[Tensor, " frame"]) -> Float[Tensor, " frame"]:
        """0 at end diastole, 1 at end systole, for `times` in ms."""
        eject = smoothstep((times - self.opening) / (self.closing - self.opening))
        fill = smoothstep((times - self.filling) / self.early)
        kick = smoothstep((times - self.cycle + self.atrial) / self.atrial)
        return eject - (1 - self.diastasis) * fill - self.diastasis * kick

    def pressure(self, times: Float[Tensor, " frame"]) -> Float[Tensor, " frame"]:
        """Pulse pressure in the aorta, 0 at the R wave and 1 at its peak half way through ejection."""
        peak = (self.opening + self.closing) / 2
        rise = smoothstep((times - self.opening) / (peak - self.opening))
        return rise * (1 - smoothstep((times - peak) / (self.cycle - peak)))

    @property
    def still(self) -> float:
        """When the ventricles wait, between their early filling and the kick of the atria, ms: the time for pictures
        in which nothing should move.
        """
        return self.cycle - self.atrial

    def flow(self, times: Float[Tensor, " frame"]) -> Float[Tensor, " frame"]:
        """Share of the stroke volume that leaves the ventricle each ms: how fast the contraction grows in ejection."""
        length = self.closing - self.opening
        x = ((times - self.opening) / length).clamp(0, 1)
        return 6 * x * (1 - x) / length

    def closed(self, times: Float[Tensor, " frame"]) -> Float[Tensor, " frame"]:
        """1 while the mitral valve is shut, 0 while the ventricle fills."""
        opens = smoothstep((times - self.filling) / 40)
        shuts = smoothstep((times - self.cycle + 30) / 30)
        return 1 - opens + shuts

    def moments(self, times: Sequence[float], device: torch.device, strength: float = 1.0) -> Moments:
        """The state of the heart at `times` in ms; after the end of this beat, the next one has begun.

        strength: of the contraction, as a share of the usual one.
        """
        at = torch.tensor(times, dtype=torch.float64, device=device) % self.cycle
        return Moments(strength * self.contraction(at), strength * self.pressure(at), at / self.cycle, self.closed(at))


@dataclass(frozen=True)
class Moments:
    """In each frame, in float64: contraction of the ventricles (0 to 1), aortic pressure (0 to 1), phase in turns, and
    how far the mitral valve is shut (0 to 1).
    """

    contraction: Float[Tensor, " frame"]
    pressure: Float[Tensor, " frame"]
    phase: Float[Tensor, " frame"]
    closed: Float[Tensor, " frame"]

    def take(self, frames: slice) -> Moments:
        """Only these frames."""
        return Moments(self.contraction[frames], self.pressure[frames], self.phase[frames], self.closed[frames])


@dataclass(frozen=True)
class Shot:
    """One heart beat of a segmented acquisition: its length and strength over the usual ones, and which lines it
    measures: those whose number leaves the remainder `first` when divided by `every`.
    """

    length: float
    strength: float
    first: int
    every: int


def shots(subject: Subject, lines: int) -> tuple[Shot, ...]:
    """The beats in which `lines` of k-space are measured, :data:`LINES_PER_BEAT` in each, interleaved.

    ectopic: every fourth beat or so comes early and pumps little, and the next one, after a pause, pumps more.
    irregular: lengths vary by a quarter, as in atrial fibrillation, and a beat pumps the more, the longer the one
    before it (a stand-in for filling and restitution; the volumes at end diastole stay those of the regular beat).
    """
    n = max(2, round(lines / LINES_PER_BEAT))
    draw = Draws(subject, "rhythm").between
    if subject.rhythm == "ectopic":
        start = int(draw(0, 3.99))
        usual = [(1.0, 1.0)] * n
        for early in range(start % n, n, 4):
            usual[early] = (draw(0.6, 0.75), draw(0.4, 0.7))
            if early + 1 < n:
                usual[early + 1] = (1.0, draw(1.0, STRONGEST))
        return tuple(Shot(length, strength, beat, n) for beat, (length, strength) in enumerate(usual))
    lengths = [draw(0.72, 1.3) for _ in range(n + 1)]
    return tuple(
        Shot(length, min(STRONGEST, max(0.5, 0.4 + 0.6 * before)), beat, n)
        for beat, (before, length) in enumerate(itertools.pairwise(lengths))
    )
