"""What losses of magnitudes look at: the whole image or the heart, and the unit in which they see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.acquisition import Acquisition
from cmr_course.image import center_crop
from cmr_course.losses.units import Image, near_one, peak_of, require_fits
from cmr_course.validate import is_pair, is_whole, require, say

Magnitude = Float[Tensor, "batch frame y x"]
Seen = Float[Tensor, "batch frame look_y look_x"]
REGIONS = ("whole", "heart")
UNITS = ("peak", "range", "scale")


@dataclass(frozen=True)
class Look:
    """How a loss sees magnitudes: which part of them, and in which unit.

    region: ``whole``, or ``heart``, the central `heart` = (y, x) pixels; where these are None, half of the image along
    y (phase encoding) by a third along x (readout), halves of a pixel rounded up: where the CMRxRecon challenges score.
    unit: ``peak`` divides both images by the largest value of the reference series (of what is looked at of it), each
    batch item by its own; ``scale`` by the scale of the acquisition, where there is one; ``range`` takes each image of
    both from its smallest value to its largest, to 0 and 1, which hides a wrong gain and a wrong offset.
    """

    region: str = "whole"
    unit: str = "peak"
    heart: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("region", self.region, REGIONS), ("unit", self.unit, UNITS)):
            good = isinstance(value, str) and value in known
            require(good, f"{name}: got {say(value)}, want one of {', '.join(known)}")
        pair = self.heart is None or (is_pair(self.heart) and all(is_whole(n) and n > 0 for n in self.heart))
        require(pair, f"heart: got {say(self.heart)}, want (y, x) in pixels, or None")

    def __call__(self, image: Image, reference: Image, acquisition: Acquisition) -> tuple[Seen, Seen]:
        """|image| and |reference| as they are seen; ValueError where they do not fit."""
        require_fits(image, reference)
        output, truth = (self._cut(one.abs()) for one in (image, reference))
        if self.unit == "range":
            return from_zero_to_one(output), from_zero_to_one(truth)
        if self.unit == "scale":
            return near_one(output, acquisition), near_one(truth, acquisition)
        peak = peak_of(truth)
        return output / peak, truth / peak

    def _cut(self, image: Magnitude) -> Seen:
        if self.region == "whole":
            return image
        y, x = image.shape[-2:]
        return center_crop(image, tuple(self.heart) if self.heart else (_half_up(y, 2), _half_up(x, 3)))  # type: ignore[arg-type]

    def __str__(self) -> str:
        heart = "" if self.heart is None else f", heart={tuple(self.heart)}"
        return f"region={self.region}, unit={self.unit}{heart}"


def from_zero_to_one(images: Magnitude) -> Magnitude:
    """(v − smallest)/(largest − smallest) of each image; zero where it is constant."""
    smallest, largest = (extreme(images, (-2, -1), keepdim=True) for extreme in (torch.amin, torch.amax))
    extent = largest - smallest
    return (images - smallest) / torch.where(extent == 0, torch.ones_like(extent), extent)


def _half_up(size: int, parts: int) -> int:
    """`size`/`parts` to the nearest whole number, halves up, and at least one."""
    return max((2 * size + parts) // (2 * parts), 1)
