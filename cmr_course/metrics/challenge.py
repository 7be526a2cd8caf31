"""The scores of the CMRxRecon challenges of 2023, 2024 and 2025, as the organisers' code computes them.

For comparison with published numbers only. Each image is normalised by itself before it is compared, and that hides
errors a doctor would see:

- 2023 divides each image by its own maximum: a reconstruction with a wrong gain scores as if it had the right one. One
  bright pixel changes the scale of a whole image.
- 2024 standardises each image by its own mean and (population) deviation, with 1e-8 added to the latter: blind to gain
  and to a constant offset. The data range of PSNR and SSIM is the maximum of the standardised reference, a fraction of
  its true range.
- 2025 divides each image by its own 99.5th percentile: blind to gain.

An image is one frame, so that a gain that changes from frame to frame is hidden as well.

The organisers' function is declared as (prediction, ground truth); their scoring scripts call it as (ground truth,
reconstruction). In the code of 2024 and 2025 the branch for three-dimensional arrays (no time axis) hands its arguments
on in the opposite order, the branch for four-dimensional ones does not. So one of the two branches always takes the
*reconstruction* as reference: as declared the three-dimensional one, as their scripts call it the four-dimensional one,
that is every cine. In 2023 both branches agree; PSNR and SSIM are symmetric there, and the scripts' NMSE is relative to
the reconstruction.

Facts: github.com/CmrxRecon, repositories CMRxRecon, CMRxRecon2024 and CMRxRecon2025-snippets.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.image import center_crop, quantile, ssim_map, uniform_window
from cmr_course.validate import require, require_axes, require_finite, say

YEARS = (2023, 2024, 2025)
KINDS = ("cine", "aorta", "tagging", "flow2d", "mapping", "blackblood")
"""What a submission holds: its modality in small letters."""
FRAMES_RANKED = 3
"""Of every kind but mapping, of which all weightings are ranked, and black blood, which has one image."""

Images = Float[Tensor, "slice frame y x"] | Float[Tensor, "slice y x"]


def challenge_scores(
    prediction: Images, reference: Images, year: int, *, as_scripts: bool = False
) -> dict[str, Float[Tensor, "slice frame"] | Float[Tensor, " slice"]]:
    """``psnr`` (dB), ``ssim`` and ``nmse`` of each image by the rules of `year`; magnitudes in, float64 out.

    prediction, reference: (slice or batch, frame, y, x), the organisers' four-dimensional branch; (slice, y, x), data
        without a time axis, their three-dimensional one.
    as_scripts: the result of the official scoring scripts; else that of the function called as it is declared. From
        2024 on the ground truth is the reference with ``as_scripts=True`` for three axes and ``False`` for four.

    Raises:
        ValueError: another year, unequal shapes, NaN, or an image that the year's rule cannot normalise.
    """
    require(year in YEARS, f"year: got {say(year)}, want one of {', '.join(map(str, YEARS))}")
    for name, images in (("prediction", prediction), ("reference", reference)):
        require_axes(name, images, "slice y x" if getattr(images, "ndim", 0) == 3 else "slice frame y x")
        require(not images.is_complex(), f"{name}: got complex values ({images.dtype}), want magnitudes")
        require_finite(name, images)
    same = prediction.shape == reference.shape
    require(same, f"prediction: got shape {tuple(prediction.shape)}, want that of reference, {tuple(reference.shape)}")
    normalise = NORMALISE[year]
    seen, truth = normalise("prediction", prediction.double()), normalise("reference", reference.double())
    if swapped(year, prediction.ndim, as_scripts=as_scripts):
        seen, truth = truth, seen
    return _scores(seen, truth, data_range=1.0 if year == 2023 else None)


def swapped(year: int, n_axes: int, *, as_scripts: bool) -> bool:
    """Whether the organisers' code takes the reconstruction as reference."""
    if year == 2023 or n_axes == 4:
        return as_scripts
    return not as_scripts


def _scores(prediction: Tensor, reference: Tensor, data_range: float | None) -> dict[str, Tensor]:
    """PSNR, SSIM and NMSE of normalised images; without `data_range` it is each reference image's maximum."""
    error = (prediction - reference).square()
    peak = reference.amax((-2, -1)) if data_range is None else torch.full_like(reference[..., 0, 0], data_range)
    return {
        "psnr": 10 * torch.log10(peak**2 / error.mean((-2, -1))),
        "ssim": ssim_map(prediction, reference, peak, uniform_window(7)).mean((-2, -1)),
        "nmse": error.sum((-2, -1)) / reference.square().sum((-2, -1)),
    }


def _by_maximum(name: str, images: Tensor) -> Tensor:
    return _divided(name, images, images.amax((-2, -1)), "maximum")


def _by_percentile(name: str, images: Tensor) -> Tensor:
    flat = images.flatten(0, -3)
    level = torch.stack([quantile(image, 0.995) for image in flat]).view(images.shape[:-2])
    return _divided(name, images, level, "99.5th percentile")


def _divided(name: str, images: Tensor, level: Tensor, what: str) -> Tensor:
    dark = int((level <= 0).sum())
    require(dark == 0, f"{name}: got {dark} images whose {what} is not above zero, want signal in every image")
    return images / level[..., None, None]


def _standardised(name: str, images: Tensor) -> Tensor:
    flat = int((images.amax((-2, -1)) == images.amin((-2, -1))).sum())
    require(flat == 0, f"{name}: got {flat} constant images, want contrast in every image")
    deviation, mean = torch.std_mean(images, dim=(-2, -1), correction=0, keepdim=True)
    return (images - mean) / (deviation + 1e-8)


NORMALISE: dict[int, Callable[[str, Tensor], Tensor]] = {
    2023: _by_maximum,
    2024: _standardised,
    2025: _by_percentile,
}
"""What each year does to each image before it compares."""


def ranking_crop(
    images: Complex[Tensor, "slice frame y x"] | Float[Tensor, "slice frame y x"], kind: str, year: int = 2024
) -> Float[Tensor, "ranked_slice ranked_frame ranked_y ranked_x"]:
    """The part of a file that a submission holds (``img4ranking``): magnitude in float32.

    The central round(x/3) pixels along x and round(y/2) along y, halves rounded up; of `n` slices number round(n/2) − 1
    and round(n/2), counted from one; the first three frames, of mapping all weightings.

    kind: one of :data:`KINDS`. Black blood has no time axis: one frame here.
    year: 2024 keeps all slices where there are fewer than three. The line of 2023 asks for slice number zero there,
        and fails; so does this function.
    """
    require_axes("images", images, "slice frame y x")
    require(kind in KINDS, f"kind: got {say(kind)}, want one of {', '.join(KINDS)}")
    require(year in (2023, 2024), f"year: got {say(year)}, want 2023 or 2024")
    slices, frames, height, width = images.shape
    wanted = {"mapping": 1, "blackblood": 1}.get(kind, FRAMES_RANKED)
    enough = frames == 1 if kind == "blackblood" else frames >= wanted
    require(enough, f"images: got {frames} frames of {kind}, want {wanted}{'' if kind == 'blackblood' else ' or more'}")
    require(slices >= 3 or year != 2023, f"images: got {slices} slices, want three or more by the code of 2023")
    middle = _half_up(slices, 2)
    kept = images[middle - 2 : middle] if slices >= 3 else images
    kept = kept if kind == "mapping" else kept[:, :FRAMES_RANKED]
    return center_crop(kept.abs().float(), (_half_up(height, 2), _half_up(width, 3)))


def _half_up(size: int, parts: int) -> int:
    """`size`/`parts` to the nearest whole number, halves up, as MATLAB rounds positive numbers."""
    return (2 * size + parts) // (2 * parts)
