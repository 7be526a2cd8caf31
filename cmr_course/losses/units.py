"""What losses of images share: a reference that fits, and intensities near one."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.acquisition import Acquisition
from cmr_course.validate import require

Image = Complex[Tensor, "batch frame y x"]


def require_fits(image: Image, reference: Image) -> None:
    """`reference` must have the shape of `image`."""
    fits = image.shape == reference.shape
    require(fits, f"reference: got shape {tuple(reference.shape)}, want that of the image, {tuple(image.shape)}")


def near_one(values: Tensor, acquisition: Acquisition) -> Tensor:
    """`values`, (batch, frame, y, x), divided by the scale of each acquisition of the batch, where there is one."""
    return values if acquisition.scale is None else values / acquisition.scale[:, None, None, None]


def peak_of(truth: Float[Tensor, "batch frame y x"]) -> Float[Tensor, "batch 1 1 1"]:
    """The largest value of each series of the batch, one where that is zero: it divides. Without a gradient."""
    peak = truth.detach().amax((1, 2, 3), keepdim=True)
    return torch.where(peak == 0, torch.ones_like(peak), peak)
