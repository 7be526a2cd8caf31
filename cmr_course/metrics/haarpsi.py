"""HaarPSI: how alike the edges of two images are at two scales, where a third says that there are edges."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from cmr_course.image import filter2d
from cmr_course.metrics.image_quality import Region, Scores, Series, checked_pair, peak_of, weights_of
from cmr_course.validate import is_number, require, require_positive, require_whole, say

Images = Float[Tensor, "image channel y x"]

YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""Luminance and the two colour axes of NTSC from red, green and blue, in the digits of piq (the authors of HaarPSI
round the last two rows to three)."""


def haarpsi(
    prediction: Series,
    reference: Series,
    region: Region | None = None,
    *,
    data_range: float | None = None,
    scales: int = 3,
    subsample: bool = True,
    c: float = 30.0,
    alpha: float = 4.2,
) -> Scores:
    """Haar wavelet-based perceptual similarity of each frame (Reisenhofer et al. 2018), from 0 to 1; 1 is identical.

    The index HS of doi:10.1016/j.image.2017.11.001, with the paper's constants as defaults. Computed in float64;
    differentiable; symmetric for one data range. The constants belong to intensities of 0 to 255, so the scale is part
    of the metric:

    region: only its pixels weigh; what lies around them is seen as far as the wavelets reach.
    data_range: the intensity that becomes 255; the maximum of the reference *series* where None. Values beyond it,
        and below zero, are neither clipped nor refused.
    scales: wavelets of 2, 4, … 2^scales pixels; the largest weighs, the others are compared.
    subsample: average 2 × 2 pixels first, for the distance from which an image is seen.
    c: two magnitudes are alike by (2ab + c)/(a² + b² + c); a larger c forgives more.
    alpha: slope of the logistic function through which similarities are averaged.
    An odd axis is continued by one line of zeros before the averaging, and the wavelets see zeros beyond the border,
    as in the authors' code. Images too small to hold the largest wavelet once are refused: for the defaults, below 16
    pixels. Where nothing weighs, as in frames that are zero in both series, the score is 1.
    Wavelets have no mean: an offset is seen at the image's border only. An error counts for more where the images are
    flat than on an edge that hides it, so noise in the dark surroundings costs more than the same noise on the heart.
    """
    prediction, reference = checked_pair(prediction, reference)
    if data_range is None:
        level = peak_of(reference)[..., None, None]
    else:
        require_positive("data_range", data_range)
        level = torch.tensor(data_range, dtype=torch.float64, device=reference.device)
    as_images = (-1, 1, *reference.shape[-2:])
    p, r = ((255 / level * series).reshape(as_images) for series in (prediction, reference))
    counted = None if region is None else weights_of(region, reference).expand_as(reference).reshape(as_images)
    scores = haarpsi_images(p, r, counted, scales=scales, subsample=subsample, c=c, alpha=alpha)
    return scores.reshape(reference.shape[:2])


def haarpsi_images(
    prediction: Images,
    reference: Images,
    counted: Float[Tensor, "image 1 y x"] | None = None,
    *,
    scales: int = 3,
    subsample: bool = True,
    c: float = 30.0,
    alpha: float = 4.2,
) -> Float[Tensor, " image"]:
    """:func:`haarpsi` of single images whose intensities go from 0 to 255; one channel, or red, green and blue.

    Colour adds a third map, the similarity of the 2 × 2 means of I and Q, weighed by the mean of the other two weights.
    counted: 1 for pixels that weigh, 0 for others.
    """
    _require_settings(scales, c, alpha)
    _require_pair(prediction, reference, 2 ** (scales + subsample))
    if subsample:
        prediction, reference = _subsampled(prediction), _subsampled(reference)
    if prediction.shape[1] == 3:
        prediction, reference = _yiq(prediction), _yiq(reference)
    p, r = ([_haar(image[:, :1], scale) for scale in range(1, scales + 1)] for image in (prediction, reference))
    weights = torch.maximum(p[-1], r[-1])
    pairs = zip(p[:-1], r[:-1], strict=True)
    alike = torch.stack([_similarity(a, b, c) for a, b in pairs]).mean(0)
    if prediction.shape[1] == 3:
        a, b = (_colour(image[:, 1:]) for image in (prediction, reference))
        alike = torch.cat([alike, _similarity(a, b, c).mean(1, keepdim=True)], dim=1)
        weights = torch.cat([weights, weights.mean(1, keepdim=True)], dim=1)
    if counted is not None:
        weights = weights * (_subsampled(counted) if subsample else counted)
    total = weights.sum((1, 2, 3))
    weighed = (torch.sigmoid(alpha * alike) * weights).sum((1, 2, 3)) / torch.where(total > 0, total, 1)
    mean = torch.where(total > 0, weighed, 1 / (1 + math.exp(-alpha)))
    return (torch.logit(mean) / alpha).square()


def _haar(image: Float[Tensor, "image 1 y x"], scale: int) -> Float[Tensor, "image 2 y x"]:
    """Magnitudes of the Haar coefficients of edges across y and across x, from 2^scale × 2^scale pixels.

    The kernel is ±2^−scale; there is a coefficient at every pixel, the one that begins 2^(scale − 1) − 1 before it.
    """
    size = 2**scale
    flat = torch.full((size,), 1 / size, dtype=image.dtype, device=image.device)
    step = torch.ones_like(flat)
    step[: size // 2] = -1
    around = pad(image, (size // 2 - 1, size // 2, size // 2 - 1, size // 2))
    return torch.cat([filter2d(around, step, flat), filter2d(around, flat, step)], dim=1).abs()


def _similarity(a: Tensor, b: Tensor, c: float) -> Tensor:
    """1 where the magnitudes `a` and `b` are equal, towards 0 where they differ by much more than √c."""
    return (2 * a * b + c) / (a.square() + b.square() + c)


def _subsampled(images: Images) -> Float[Tensor, "image channel y_half x_half"]:
    """Means of 2 × 2 pixels; an odd axis is first continued by a line of zeros."""
    y, x = images.shape[-2:]
    return avg_pool2d(pad(images, (0, x % 2, 0, y % 2)), 2)


def _yiq(images: Float[Tensor, "image 3 y x"]) -> Float[Tensor, "image 3 y x"]:
    matrix = torch.tensor(YIQ, dtype=images.dtype, device=images.device)
    return torch.einsum("yc,nchw->nyhw", matrix, images)


def _colour(images: Images) -> Images:
    """Magnitudes of the 2 × 2 means of each channel, one at every pixel."""
    return avg_pool2d(pad(images, (0, 1, 0, 1)), 2, stride=1).abs()


def _require_settings(scales: int, c: float, alpha: float) -> None:
    require_whole("scales", scales, 2)
    require_positive("c", c)
    # From 37 on, 1 − logistic(alpha) is zero in float64, and so would be all that differs between scores.
    steep = is_number(alpha) and 0 < alpha <= 20
    require(steep, f"alpha: got {say(alpha)}, want a number above 0, at most 20")


def _require_pair(prediction: Tensor, reference: Tensor, smallest: int) -> None:
    for name, images in (("prediction", prediction), ("reference", reference)):
        fits = isinstance(images, Tensor) and images.is_floating_point() and images.ndim == 4
        fits = fits and images.shape[1] in (1, 3)
        require(fits, f"{name}: got {say(images)}, want real images (image, 1 or 3 channels, y, x)")
    same = prediction.shape == reference.shape
    require(same, f"prediction: got shape {tuple(prediction.shape)}, want that of reference, {tuple(reference.shape)}")
    large = min(reference.shape[-2:]) >= smallest
    require(large, f"reference: got {tuple(reference.shape[-2:])} pixels, want at least {smallest} along each axis")
