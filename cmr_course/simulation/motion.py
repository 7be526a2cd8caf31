"""The heart beat in time: how far the ventricles have contracted at each moment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.subject import Physiology

LARGEST_NUDGE = 0.05
"""By which share of the cycle end systole may move to fall onto a frame."""


def smoothstep(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 below 0, 1 above 1, and 3x² − 2x³ between: a step with a continuous slope."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


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
    def of(cls, physiology: Physiology) -> Beat:
        """The beat at a heart rate."""
        ejection = 413 - 1.7 * physiology.heart_rate
        opening, relaxation = 40.0, 70.0
        rest = physiology.cycle - opening - ejection - relaxation
        closing = opening + ejection
        return cls(
            physiology.cycle, opening, closing, closing + relaxation, min(190, 0.45 * rest), min(110, 0.3 * rest)
        )

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

    def moments(self, n: int, device: torch.device) -> Moments:
        """The state of the heart in each of `n` frames."""
        times = torch.tensor(self.frames(n), dtype=torch.float64, device=device)
        return Moments(self.contraction(times), self.pressure(times), times / self.cycle)


@dataclass(frozen=True)
class Moments:
    """In each frame, in float64: contraction of the ventricles (0 to 1), aortic pressure (0 to 1), phase in turns."""

    contraction: Float[Tensor, " frame"]
    pressure: Float[Tensor, " frame"]
    phase: Float[Tensor, " frame"]
