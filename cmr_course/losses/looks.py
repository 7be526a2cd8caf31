"""What losses of magnitudes look at: the whole image or the heart, and the unit in which they see it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.acquisition import Acquisition
from cmr_course.image import center_crop
from cmr_course.losses.units import Image, near_one, peak_of, require_fits
from cmr_course.validate import require, say

Magnitude = Float[Tensor, "batch frame y x"]
Look = Float[Tensor, "batch frame look_y look_x"]
REGIONS = ("whole", "heart")
UNITS = ("peak", "range", "scale")


def require_look(region: str, unit: str, regions: tuple[str, ...] = REGIONS, units: tuple[str, ...] = UNITS) -> None:
    """`region` and `unit` must be among those that a loss offers."""
    for name, value, known in (("region", region, regions), ("unit", unit, units)):
        require(isinstance(value, str) and value in known, f"{name}: got {say(value)}, want one of {', '.join(known)}")


def heart_crop(image: Tensor) -> Tensor:
    """The central half along y (phase encoding) by the central third along x (readout), where the heart should be.

    It is the box in which the CMRxRecon challenges score; halves of a pixel are rounded to the even number.
    """
    y, x = image.shape[-2:]
    return center_crop(image, (max(round(y / 2), 1), max(round(x / 3), 1)))


def looked_at(image: Image, reference: Image, acquisition: Acquisition, region: str, unit: str) -> tuple[Look, Look]:
    """|image| and |reference|, cut to `region`, then each brought into `unit`.

    unit: ``peak`` divides both by the largest value of the reference series, of each batch item its own; ``scale`` by
    the scale of the acquisition, where there is one; ``range`` takes each image of both from its smallest value to its
    largest, to 0 and 1, which hides a wrong gain and a wrong offset.
    """
    require_fits(image, reference)
    output, truth = image.abs(), reference.abs()
    if region == "heart":
        output, truth = heart_crop(output), heart_crop(truth)
    if unit == "range":
        return _from_zero_to_one(output), _from_zero_to_one(truth)
    if unit == "scale":
        return near_one(output, acquisition), near_one(truth, acquisition)
    peak = peak_of(truth)
    return output / peak, truth / peak


def _from_zero_to_one(images: Magnitude) -> Magnitude:
    """(v − smallest)/(largest − smallest) of each image; zero where it is constant."""
    smallest, largest = (extreme(images, (-2, -1), keepdim=True) for extreme in (torch.amin, torch.amax))
    extent = largest - smallest
    return (images - smallest) / torch.where(extent == 0, torch.ones_like(extent), extent)
