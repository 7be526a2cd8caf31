"""Data consistency: what a network says of k-space that was measured gives way to the measurement."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from cmr_course.cg import conjugate_gradient
from cmr_course.encoding import Encoding
from cmr_course.validate import is_number, require, require_axes, require_whole, say

UNIT = 0.01
"""By how much Σ|S|² of maps may differ from one, or from zero where there is no signal."""
GAIN = 10.0
"""Of the logarithm of a learned trust."""
Image = Complex[Tensor, "batch frame y x"]


class DataConsistency(nn.Module):
    """Replace the samples of a network's image by those that were measured, or mix both (Schlemper et al. 2017,
    doi:10.1109/TMI.2017.2760978, equation 6).

    In k-space of each coil: k where nothing was sampled, (k + ν y)/(1 + ν) where y was. With maps of Σ|S|² = 1 the
    combined image is

        x' = SᴴS x − w (Aᴴ A x − Aᴴ y),    w = ν / (1 + ν),

    so that neither k-space nor the coil images have to be kept. One coil is a map of ones, and x' is then the least
    of ν‖A x' − y‖² + ‖x' − x‖². With several coils it is a step towards that: the coil images, once consistent, are
    no longer those of one image, and combining them undoes a part.

    trust: ν of at least zero, how far the measurement is trusted against the image; None replaces (ν = ∞). With
    `learned`, ν is a parameter that starts at `trust`. What is stored is ln(ν)/10: ν stays above zero, and steps of
    the length that suits the weights of a convolution take it somewhere.
    iterations: of conjugate gradients towards that least value instead, (AᴴA + 1/ν)(x' − x) = Aᴴy − AᴴA x, as in
    Aggarwal et al. 2019 (doi:10.1109/TMI.2018.2865356, equation 9, with ν for their 1/λ). 0 is the step above.
    """

    def __init__(self, trust: float | None = None, *, learned: bool = False, iterations: int = 0) -> None:
        super().__init__()
        good = trust is None or (is_number(trust) and 0 <= trust < math.inf)
        require(good, f"trust: got {say(trust)}, want a number of zero or more, or None to replace")
        require(not learned or bool(trust), f"learned: got True with trust {say(trust)}, want a start above zero")
        require_whole("iterations", iterations, 0)
        self.trust = None if learned else trust
        self.log_trust = nn.Parameter(torch.tensor(math.log(trust) / GAIN)) if learned and trust else None
        self.iterations = iterations

    def weight(self) -> float | Tensor:
        """w: 1 replaces, 0 leaves the image alone."""
        if self.log_trust is not None:
            return torch.sigmoid(GAIN * self.log_trust)
        return 1.0 if self.trust is None else self.trust / (1 + self.trust)

    def forward(self, image: Image, encoding: Encoding, measured: Image) -> Image:
        """The consistent image. encoding: A, whose maps have Σ|S|² = 1. measured: Aᴴ y, the zero-filled image."""
        require_axes("image", image, "batch frame y x")
        fits = image.shape == measured.shape
        require(fits, f"measured: got shape {tuple(measured.shape)}, want that of image, {tuple(image.shape)}")
        seen = image * encoding.support
        residual = measured - normal(encoding, seen)
        if not self.iterations or self.trust == 0:
            return seen + self.weight() * residual
        doubt = 0.0 if self.log_trust is None and self.trust is None else self._doubt()
        change = conjugate_gradient(
            lambda x: normal(encoding, x) + doubt * x, residual, iterations=self.iterations, tolerance=1e-6
        )
        return seen + change

    def _doubt(self) -> float | Tensor:
        """1/ν."""
        return torch.exp(-GAIN * self.log_trust) if self.log_trust is not None else 1 / (self.trust or math.inf)

    def extra_repr(self) -> str:
        """For ``repr``."""
        how = "learned" if self.log_trust is not None else f"trust={self.trust}"
        return f"{how}, iterations={self.iterations}" if self.iterations else how


def require_normalised(maps: Complex[Tensor, "batch map_frame coil y x"]) -> None:
    """Σ|S|² must be one, or zero where there is no signal; ValueError says how far it is from both."""
    total = maps.detach().abs().square().sum(2)
    off = float(torch.minimum((total - 1).abs(), total).max())
    require(off <= UNIT, f"sensitivities: got Σ|S|² that is {off:.2g} from one and from zero, want maps of Σ|S|² = 1")


def normal(encoding: Encoding, image: Image) -> Image:
    """AᴴA x. Where the maps are given, the backward pass is AᴴA again, so that no coil image has to be kept for it."""
    return encoding.normal(image) if encoding.sensitivities.requires_grad else _Normal.apply(image, encoding)


class _Normal(torch.autograd.Function):
    """AᴴA equals its own adjoint."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, encoding: Encoding) -> Tensor:
        ctx.encoding = encoding
        return encoding.normal(image)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.encoding.normal(gradients[0]), None
