"""How far a reconstructed series is from the true one: NMSE, PSNR and SSIM, a score for each frame.

All see magnitudes as they are: nothing is normalised, so a wrong scale counts as the error it is. They compute and
answer in float64. With a `region` the score is that of its pixels; which regions there are, and how they are found,
is said with :func:`cmr_course.metrics.regions_of`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cmr_course.image import gaussian_window, ssim_map, uniform_window
from cmr_course.validate import require, require_axes, require_finite, say

Series = Float[Tensor, "batch frame y x"]
Scores = Float[Tensor, "batch frame"]
Region = Bool[Tensor, "batch y x"]
"""Pixels that count, the same in every frame of a series."""


def nmse(prediction: Series, reference: Series, region: Region | None = None) -> Scores:
    """Normalised mean squared error ‖p − r‖²/‖r‖² of each frame; 0 is perfect, 1 is what a black image gets.

    region: both norms are taken over its pixels; without it over the whole image.
    """
    prediction, reference = checked_pair(prediction, reference)
    weights = weights_of(region, reference)
    energy = (weights * reference.square()).sum((-2, -1))
    dark = int((energy == 0).sum())
    where = "everywhere" if region is None else "in the region"
    require(dark == 0, f"reference: got {dark} frames that are zero {where}, want signal in every frame")
    return (weights * (prediction - reference).square()).sum((-2, -1)) / energy


def psnr(prediction: Series, reference: Series, region: Region | None = None) -> Scores:
    """Peak signal-to-noise ratio in dB of each frame, 20·log10(peak/RMSE); infinite where nothing differs.

    The peak is the maximum of the reference *series*, so that frames of one heart are measured by one rule.

    region: the RMSE is that of its pixels; the peak stays that of the whole series, so that regions compare.
    """
    prediction, reference = checked_pair(prediction, reference)
    error = mean_over((prediction - reference).square(), weights_of(region, reference))
    return 10 * torch.log10(peak_of(reference) ** 2 / error)


def ssim(prediction: Series, reference: Series, region: Region | None = None) -> Scores:
    """Structural similarity of each frame (Wang et al. 2004), 1 where nothing differs.

    Window, constants and border are scikit-image's defaults (uniform, 7 × 7, sample covariance, valid part only); the
    data range is the maximum of the reference *series*.

    region: the map of similarities is averaged over its pixels, so that what lies up to three pixels outside of it
    has a say. Pixels within three of the image's border have no similarity and are left out.
    """
    prediction, reference = checked_pair(prediction, reference)
    similarity = ssim_map(prediction, reference, peak_of(reference), uniform_window(7))
    return _mean_similarity(similarity, region, reference)


def ssim_gaussian(prediction: Series, reference: Series, region: Region | None = None) -> Scores:
    """Structural similarity with the window of Wang et al. 2004, doi:10.1109/TIP.2003.819861, section III-C.

    Gaussian, 11 × 11, σ = 1.5 pixels, weighted covariance, valid part only, as in pytorch_msssim; the data range is
    the maximum of the reference *series*. The same images score differently from :func:`ssim`: name the window.

    region: as in :func:`ssim`; here the similarity looks five pixels far.
    """
    prediction, reference = checked_pair(prediction, reference)
    window = gaussian_window(11, 1.5)
    similarity = ssim_map(prediction, reference, peak_of(reference), window, sample_covariance=False)
    return _mean_similarity(similarity, region, reference)


def _mean_similarity(similarity: Tensor, region: Region | None, reference: Tensor) -> Tensor:
    """Mean of a map of the valid part only, over the part of `region` that the map covers."""
    if region is None:
        return similarity.mean((-2, -1))
    lost = (reference.shape[-1] - similarity.shape[-1]) // 2  # pixels at each border without a similarity
    inside = weights_of(region, reference)[..., lost : reference.shape[-2] - lost, lost : reference.shape[-1] - lost]
    empty = int((inside.sum((-2, -1)) == 0).sum())
    require(empty == 0, f"region: got {empty} within {lost} pixels of the border, want pixels where the window fits")
    return mean_over(similarity, inside)


def checked_pair(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both series in float64, after the checks that every metric shares."""
    for name, series in (("prediction", prediction), ("reference", reference)):
        require_axes(name, series, "batch frame y x")
        require(not series.is_complex(), f"{name}: got complex values ({series.dtype}), want magnitudes")
        require_finite(name, series)
    same = prediction.shape == reference.shape
    require(same, f"prediction: got shape {tuple(prediction.shape)}, want that of reference, {tuple(reference.shape)}")
    return prediction.double(), reference.double()


def weights_of(region: Region | None, reference: Tensor) -> Float[Tensor, "one_or_batch 1 y x"]:
    """`region` as weights 0 and 1 that broadcast over the frames; ones where there is none."""
    if region is None:
        return torch.ones((1, 1, *reference.shape[-2:]), dtype=torch.float64, device=reference.device)
    good = isinstance(region, Tensor) and region.dtype == torch.bool
    require(good, f"region: got {say(region)}, want a boolean tensor (batch, y, x)")
    wanted = (reference.shape[0], *reference.shape[-2:])
    require(tuple(region.shape) == wanted, f"region: got shape {tuple(region.shape)}, want {wanted}, (batch, y, x)")
    empty = int((~region.flatten(1).any(1)).sum())
    require(empty == 0, f"region: got {empty} that hold no pixel, want at least one pixel in every batch item")
    return region[:, None].to(reference)


def mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `values` over the pixels of `weights`, a mean for each frame."""
    return (weights * values).sum((-2, -1)) / weights.sum((-2, -1))


def peak_of(reference: Tensor) -> Tensor:
    """Maximum of each reference series, (batch, 1)."""
    peak = reference.amax((-3, -2, -1))[:, None]
    dark = int((peak <= 0).sum())
    require(dark == 0, f"reference: got {dark} series whose maximum is not above zero, want signal in every series")
    return peak
