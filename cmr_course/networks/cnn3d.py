"""The 3D-CNNs of the paper *Dynamic MRI Reconstruction* (Shen et al. 2024): convolutions in space and time."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.networks.channels import to_channels, to_complex, wrapped
from cmr_course.networks.start import Start
from cmr_course.validate import is_number, require, require_axes, require_whole, say

Channels = Float[Tensor, "batch channel frame y x"]
CONVOLUTIONS = {"naive": 4, "complex": 8}
"""Of each design (section 3 of the paper)."""
SMALL = 0.1
"""Weights of the last layer begin so much smaller."""


class CNN3D(nn.Module):
    """x + network(x), x the zero-filled image series: no data consistency, nothing is unrolled.

    design: ``naive``, 4 convolutions (figure 2 of the paper); or ``complex``, which is the paper's word for the larger
    one: an image of half the size, 8 convolutions of it, and back (figure 6).
    sees: ``magnitude``, as the paper shows it, one channel; or ``complex``, real and imaginary part, two channels.
    filters: between the convolutions. dropout: share of the activations that are left out in training (the paper
    tries 0.4). batch_norm: normalise each filter over the batch, time and space, in front of the rectifier.

    weights: how they are drawn. ``he``: normal, of variance 2/inputs, which keeps the size of a signal from layer to
    layer of rectifiers (He et al. 2015, arXiv:1502.01852, eq. 10), the last layer ten times smaller; ``uniform``:
    PyTorch's own, of a sixth of that variance, whose signals fade with depth. The paper does not say.

    Not in the paper either, and chosen here: 3 × 3 × 3 taps, 32 filters, ReLU; halving in the plane only, by a
    convolution of stride 2, and doubling by a transposed one; time is circular, as in a gated cine; odd sizes are
    padded by one row or column. One frame will do, and any matrix and number of coils: the image is the combined one.
    """

    def __init__(
        self,
        design: Literal["naive", "complex"] = "complex",
        sees: Literal["magnitude", "complex"] = "magnitude",
        filters: int = 32,
        *,
        dropout: float = 0.0,
        batch_norm: bool = False,
        weights: Literal["he", "uniform"] = "he",
    ) -> None:
        super().__init__()
        known = isinstance(design, str) and design in CONVOLUTIONS
        require(known, f"design: got {say(design)}, want 'naive' or 'complex'")
        require(sees in ("magnitude", "complex"), f"sees: got {say(sees)}, want 'magnitude' or 'complex'")
        require_whole("filters", filters)
        good = is_number(dropout) and 0 <= dropout < 1
        require(good, f"dropout: got {say(dropout)}, want a share from 0 to below 1")
        require(isinstance(batch_norm, bool), f"batch_norm: got {say(batch_norm)}, want True or False")
        known = weights in ("he", "uniform")
        require(known, f"weights: got {say(weights)}, want 'he' or 'uniform'")
        self.sees, self.halves = sees, design == "complex"
        outside, number = 1 if sees == "magnitude" else 2, CONVOLUTIONS[design]

        def hidden(before: int) -> Layer:
            return Layer(before, filters, dropout, batch_norm)

        if self.halves:
            self.down = nn.Conv3d(outside, filters, (1, 2, 2), (1, 2, 2))
            self.body = nn.Sequential(*(hidden(filters) for _ in range(number)))
            self.up = nn.ConvTranspose3d(filters, outside, (1, 2, 2), (1, 2, 2))
        else:
            inner = (hidden(outside if place == 0 else filters) for place in range(number - 1))
            self.body = nn.Sequential(*inner, Convolution(filters, outside))
        if weights == "he":
            self._draw()

    def _draw(self) -> None:
        """He's weights, no offsets, and a small last layer, so that an untrained network changes little."""
        layers = [module for module in self.modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)]
        for layer in layers:
            taps = 1 if isinstance(layer, nn.ConvTranspose3d) else math.prod(layer.kernel_size)  # that meet in a pixel
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_channels * taps)))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            (self.up if self.halves else layers[-1]).weight *= SMALL

    def forward(self, acquisition: Acquisition) -> Reconstruction:
        """Reconstruct `acquisition`."""
        seen = Start.of(acquisition)
        image = self.improved(seen.measured) * seen.scale
        return Reconstruction(image, sensitivities=seen.sensitivities)

    def improved(self, image: Complex[Tensor, "batch frame y x"]) -> Complex[Tensor, "batch frame y x"]:
        """A zero-filled series of intensities near one, improved. Of a magnitude, the imaginary part is zero."""
        require_axes("image", image, "batch frame y x")
        seen = to_channels(image) if self.sees == "complex" else image.abs()[:, None]
        change = self.change(seen.contiguous(memory_format=torch.channels_last_3d)).to(seen.dtype)
        if self.sees == "complex":
            return image + to_complex(change)
        magnitude = (seen + change)[:, 0]
        return torch.complex(magnitude, torch.zeros_like(magnitude))

    def change(self, seen: Channels) -> Channels:
        """What is added to the image."""
        if not self.halves:
            return self.body(seen)
        y, x = seen.shape[-2:]
        even = pad(seen, (0, x % 2, 0, y % 2, 0, 0), mode="replicate")
        return self.up(self.body(self.down(even)))[..., :y, :x]


class Convolution(nn.Conv3d):
    """3 × 3 × 3 taps, circular in time; pixels beyond the border count as zero."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=(0, 1, 1))

    def forward(self, x: Channels) -> Float[Tensor, "batch _ frame y x"]:
        """(batch, before, frame, y, x) to (batch, after, frame, y, x)."""
        return super().forward(wrapped(x))


class Layer(nn.Sequential):
    """Convolution, batch normalisation or not, ReLU, dropout or not."""

    def __init__(self, before: int, after: int, dropout: float, batch_norm: bool) -> None:
        layers: list[nn.Module] = [Convolution(before, after)]
        if batch_norm:
            layers.append(nn.BatchNorm3d(after))
        layers.append(nn.ReLU())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        super().__init__(*layers)
