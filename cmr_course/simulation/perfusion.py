"""A bolus of contrast agent on its first pass through heart and body."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.tissue import NAMES
from cmr_course.validate import is_number, require, say

STEP_S = 0.1
"""Steps in which concentrations are summed up, seconds."""
LIMITS = {
    "peak": (0.01, 50.0),
    "arrival": (0.0, 600.0),
    "transit": (0.0, 60.0),
    "width": (0.1, 60.0),
    "spread": (1.0, 10.0),
}
"""Least and largest number of each setting of :class:`FirstPass`."""
HAEMATOCRIT = 0.42
FLOW = {
    "myocardium": 1.0,
    "scar": 0.25,
    "muscle": 0.05,
    "liver": 0.4,
    "spleen": 1.5,
    "kidney": 3.0,
    "gland": 0.1,
    "fat": 0.03,
    "marrow": 0.15,
    "disc": 0.01,
}
"""Blood flow at rest, ml a minute for each ml of tissue: myocardium 1, a scar a quarter of it (stand-ins of the right
order for the rest); a tissue not named gets no agent, or is blood itself."""


@dataclass(frozen=True)
class FirstPass:
    """When the bolus comes and how strong it is.

    peak: concentration in the right ventricle's blood at its highest, mM. arrival: seconds to its appearance there.
    transit: seconds from the right to the left ventricle, through the lungs. width: seconds from appearance to peak
    on the right; on the left it is `spread` times as long and the peak so much lower.
    """

    peak: float = 4.0
    arrival: float = 4.0
    transit: float = 5.0
    width: float = 3.0
    spread: float = 1.4

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            require(is_number(value) and low <= value <= high, f"{name}: got {say(value)}, want {low:g} to {high:g}")

    def concentration(
        self, space: Float[Tensor, " tissue"], seconds: Float[Tensor, " time"]
    ) -> Float[Tensor, "time tissue"]:
        """Of the agent in each tissue at each time, mM per volume of tissue.

        In blood a gamma-variate curve with its recirculation; in tissue what one well-mixed compartment of the size of
        its extracellular `space` holds, fed by the blood of the left ventricle.
        """
        last = float(seconds.max()) if seconds.numel() else 0.0
        fine = torch.arange(0, last + 2 * STEP_S, STEP_S, dtype=torch.float64)
        right = self._blood(fine, self.arrival, self.width, 1.0)
        left = self._blood(fine, self.arrival + self.transit, self.width * self.spread, 1 / self.spread)
        found = torch.zeros((len(fine), len(NAMES)), dtype=torch.float64)
        found[:, NAMES.index("blood")], found[:, NAMES.index("venous_blood")] = left, right
        for name, flow in FLOW.items():
            column = NAMES.index(name)
            found[:, column] = _compartment(left, flow / 60, float(space[column]))
        at = (seconds.double() / STEP_S).clamp(min=0)
        below = at.floor().long().clamp(max=len(fine) - 2)
        return torch.lerp(found[below], found[below + 1], (at - below)[:, None])

    def _blood(self, seconds: Tensor, arrival: float, width: float, peak: float) -> Tensor:
        """A gamma-variate first pass of `peak` times the highest concentration, (t/w)³ exp(3 − 3 t/w), then a second,
        lower and broader one; in the end all blood has the same.
        """
        since = (seconds - arrival).clamp(min=0) / width
        again = (seconds - arrival - 14).clamp(min=0) / (3 * width)
        passes = since**3 * (3 - 3 * since).exp() + 0.18 * again**3 * (3 - 3 * again).exp()
        return self.peak * (peak * passes + 0.15 * (1 - (-again).exp()))


def _compartment(blood: Float[Tensor, " time"], flow: float, space: float) -> Float[Tensor, " time"]:
    """Concentration in tissue of a blood flow in 1/s: dC/dt = flow · (C_blood − (1 − Hct) C / space).

    Agent leaves in venous blood whose plasma has the concentration C / space of the extracellular space; plasma is
    1 − Hct of it.
    """
    rate = flow * (1 - HAEMATOCRIT) / max(space, 1e-6)
    time = torch.arange(len(blood), dtype=blood.dtype) * STEP_S
    # The exact answer to a stepwise constant input, as a convolution with an exponential.
    step = (1 - math.exp(-rate * STEP_S)) / rate if rate else STEP_S
    kernel = flow * (-rate * time).exp() * step
    size = 2 * len(blood)
    spectrum = torch.fft.rfft(blood, size) * torch.fft.rfft(kernel, size)
    return torch.fft.irfft(spectrum, size)[: len(blood)]
