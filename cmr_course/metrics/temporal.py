"""Does the heart beat as it should: scores of how each pixel changes over time.

PSNR and SSIM average over pixels of which most stand still, so that a reconstruction that freezes the heart may score
well. These look at the change alone. They answer one number a series; to keep one as a Result, give
:func:`cmr_course.metrics.results_of` a column, ``value[:, None]``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.metrics.image_quality import Region, Series, checked_pair, weights_of
from cmr_course.metrics.regions import dynamic_region, temporal_deviation
from cmr_course.validate import require, require_whole

CONSTANT = 1e-9
"""Of the series' maximum: a curve that deviates less over time is constant."""


def xt_correlation(prediction: Series, reference: Series, region: Region | None = None) -> Float[Tensor, " batch"]:
    """Pearson correlation over time of each pixel's curve with the true one, averaged over `region`; 1 is perfect.

    A predicted curve that is constant correlates with nothing: it counts 0, so that a frozen heart gets 0 and is not
    left out of the mean. Pixels whose *true* curve is constant have nothing to be compared with and are left out.
    Blind, pixel by pixel, to gain and offset: see :func:`temporal_error` for the size of the motion.

    region: by default :func:`cmr_course.metrics.dynamic_region` of the reference.

    Raises:
        ValueError: one frame only, or a region in which nothing moves in the reference.
    """
    prediction, reference = _moving_pair(prediction, reference)
    weights = weights_of(dynamic_region(reference) if region is None else region, reference)[:, 0]
    smallest = CONSTANT * reference.amax((1, 2, 3), keepdim=True)[:, 0]
    true, seen = (series - series.mean(1, keepdim=True) for series in (reference, prediction))
    true_size, seen_size = (curve.square().mean(1).sqrt() for curve in (true, seen))
    product = true_size * seen_size
    constant = seen_size <= CONSTANT * prediction.abs().amax((1, 2, 3), keepdim=True)[:, 0]
    correlation = torch.where(constant | (product == 0), 0, (true * seen).mean(1) / product)
    weights = weights * (true_size > smallest)
    _require_motion(weights)
    return (weights * correlation).sum((-2, -1)) / weights.sum((-2, -1))


def temporal_error(prediction: Series, reference: Series, region: Region | None = None) -> Float[Tensor, " batch"]:
    """‖σp − σr‖/‖σr‖ over `region`, σ the maps of :func:`cmr_course.metrics.temporal_deviation`.

    0 is perfect, a frozen heart gets 1; temporal blur, which makes motion smaller, and flicker, which adds some, both
    raise it. Blind to the order of the frames.

    region: by default the whole image.
    """
    prediction, reference = _moving_pair(prediction, reference)
    weights = weights_of(region, reference)[:, 0]
    true, seen = temporal_deviation(reference), temporal_deviation(prediction)
    _require_motion(weights * (true > CONSTANT * reference.amax((1, 2, 3))[:, None, None]))
    return torch.linalg.vector_norm(weights * (seen - true), dim=(-2, -1)) / torch.linalg.vector_norm(
        weights * true, dim=(-2, -1)
    )


def profile_correlation(prediction: Series, reference: Series, column: int) -> Float[Tensor, " batch"]:
    """Pearson correlation of two whole profiles over time, the pixels (frame, y) of one image column; 1 is perfect.

    The number that papers give beside a picture of the profile. Most of its variance is the anatomy that stands still,
    so that a frozen heart keeps a high value: use :func:`xt_correlation` to judge motion.
    """
    prediction, reference = checked_pair(prediction, reference)
    require_whole("column", column, 0, reference.shape[-1] - 1)
    true, seen = (series[..., column].flatten(1) for series in (reference, prediction))
    for name, profile in (("reference", true), ("prediction", seen)):
        flat = int((profile.std(1, correction=0) <= CONSTANT * profile.abs().amax(1)).sum())
        require(flat == 0, f"{name}: got {flat} constant profiles in column {column}, want contrast in each")
    true, seen = (profile - profile.mean(1, keepdim=True) for profile in (true, seen))
    return (true * seen).sum(1) / (true.square().sum(1) * seen.square().sum(1)).sqrt()


def _moving_pair(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    prediction, reference = checked_pair(prediction, reference)
    frames = reference.shape[1]
    require(frames > 1, f"reference: got {frames} frame, want two or more")
    return prediction, reference


def _require_motion(weights: Tensor) -> None:
    still = int((weights.flatten(1).sum(1) == 0).sum())
    require(still == 0, f"reference: got {still} series in which nothing moves in the region, want motion in each")
