"""What losses of images share: a reference that fits, and intensities near one."""

from __future__ import annotations

from jaxtyping import Complex
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
