"""How far a reconstructed series is from the true one: NMSE, PSNR and SSIM, a score for each frame.

All three see magnitudes as they are: nothing is normalised, so a wrong scale counts as the error it is. They compute
and answer in float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.acquisition import Reconstruction, Truth
from cmr_course.image import ssim_map, uniform_window
from cmr_course.validate import require, require_axes, require_finite

Series = Float[Tensor, "batch frame y x"]
Scores = Float[Tensor, "batch frame"]


def nmse(prediction: Series, reference: Series) -> Scores:
    """Normalised mean squared error ‖p − r‖²/‖r‖² of each frame; 0 is perfect, 1 is what a black image gets."""
    prediction, reference = _checked(prediction, reference)
    energy = reference.square().sum((-2, -1))
    dark = int((energy == 0).sum())
    require(dark == 0, f"reference: got {dark} frames that are zero everywhere, want signal in every frame")
    return (prediction - reference).square().sum((-2, -1)) / energy


def psnr(prediction: Series, reference: Series) -> Scores:
    """Peak signal-to-noise ratio in dB of each frame, 20·log10(peak/RMSE); infinite where nothing differs.

    The peak is the maximum of the reference *series*, so that frames of one heart are measured by one rule.
    """
    prediction, reference = _checked(prediction, reference)
    error = (prediction - reference).square().mean((-2, -1))
    return 10 * torch.log10(_peak(reference) ** 2 / error)


def ssim(prediction: Series, reference: Series) -> Scores:
    """Structural similarity of each frame (Wang et al. 2004), 1 where nothing differs.

    Window, constants and border are scikit-image's defaults (uniform, 7 × 7, sample covariance, valid part only); the
    data range is the maximum of the reference *series*.
    """
    prediction, reference = _checked(prediction, reference)
    return ssim_map(prediction, reference, _peak(reference), uniform_window(7)).mean((-2, -1))


METRICS = {"nmse": nmse, "psnr": psnr, "ssim": ssim}
"""The image-quality metrics by the names that tables use."""


def evaluate(
    reconstruction: Reconstruction | Float[Tensor, "batch frame y x"] | Complex[Tensor, "batch frame y x"],
    truth: Truth | Float[Tensor, "batch frame y x"] | Complex[Tensor, "batch frame y x"],
) -> dict[str, Float[Tensor, "batch frame"]]:
    """Every metric of :data:`METRICS`, by name. Records and complex tensors are scored by their magnitude."""
    prediction, reference = _magnitude("reconstruction", reconstruction), _magnitude("truth", truth)
    return {name: metric(prediction, reference) for name, metric in METRICS.items()}


def _magnitude(name: str, series: Reconstruction | Truth | Tensor) -> Tensor:
    if isinstance(series, Reconstruction | Truth):
        return series.magnitude()
    require_axes(name, series, "batch frame y x")
    return series.abs() if series.is_complex() else series


def _checked(prediction: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both series in float64, after the checks that every metric shares."""
    for name, series in (("prediction", prediction), ("reference", reference)):
        require_axes(name, series, "batch frame y x")
        require(not series.is_complex(), f"{name}: got complex values ({series.dtype}), want magnitudes")
        require_finite(name, series)
    same = prediction.shape == reference.shape
    require(same, f"prediction: got shape {tuple(prediction.shape)}, want that of reference, {tuple(reference.shape)}")
    return prediction.double(), reference.double()


def _peak(reference: Tensor) -> Tensor:
    """Maximum of each reference series, (batch, 1)."""
    peak = reference.amax((-3, -2, -1))[:, None]
    dark = int((peak <= 0).sum())
    require(dark == 0, f"reference: got {dark} series whose maximum is not above zero, want signal in every series")
    return peak
