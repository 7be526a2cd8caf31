"""Data consistency: what a network says of k-space that was measured gives way to the measurement."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from cmr_course.coils import combine, expand
from cmr_course.encoding import Encoding
from cmr_course.validate import is_number, require, require_axes, say


class DataConsistency(nn.Module):
    """Replace the samples of a network's image by those that were measured, or mix both (Schlemper et al. 2017,
    doi:10.1109/TMI.2017.2760978, equation 6).

    In k-space of each coil: k where nothing was sampled, (k + λ y)/(1 + λ) where y was. With maps of Σ|S|² = 1 the
    combined image is

        x' = SᴴS x − w (Aᴴ A x − Aᴴ y),    w = λ / (1 + λ),

    so that neither k-space nor the coil images have to be kept. One coil is a map of ones.

    trust: λ of at least zero, how far the measurement is trusted against the image; None replaces (λ = ∞). With
    `learned`, λ is a parameter that starts at `trust`; its logarithm is what is stored, so that it stays above zero.
    """

    def __init__(self, trust: float | None = None, *, learned: bool = False) -> None:
        super().__init__()
        good = trust is None or (is_number(trust) and 0 <= trust < math.inf)
        require(good, f"trust: got {say(trust)}, want a number of zero or more, or None to replace")
        require(not learned or bool(trust), f"learned: got True with trust {say(trust)}, want a start above zero")
        self.trust = None if learned else trust
        self.log_trust = nn.Parameter(torch.tensor(math.log(trust))) if learned and trust else None

    def weight(self) -> float | Tensor:
        """w: 1 replaces, 0 leaves the image alone."""
        if self.log_trust is not None:
            return torch.sigmoid(self.log_trust)
        return 1.0 if self.trust is None else self.trust / (1 + self.trust)

    def forward(
        self,
        image: Complex[Tensor, "batch frame y x"],
        encoding: Encoding,
        measured: Complex[Tensor, "batch frame y x"],
    ) -> Complex[Tensor, "batch frame y x"]:
        """The consistent image. encoding: A, whose maps have Σ|S|² = 1. measured: Aᴴ y, the zero-filled image."""
        require_axes("image", image, "batch frame y x")
        fits = image.shape == measured.shape
        require(fits, f"measured: got shape {tuple(measured.shape)}, want that of image, {tuple(image.shape)}")
        seen = combine(expand(image, encoding.sensitivities), encoding.sensitivities)
        return seen - self.weight() * (encoding.normal(image) - measured)

    def extra_repr(self) -> str:
        """For ``repr``."""
        return "learned" if self.log_trust is not None else f"trust={self.trust}"
