"""Losses of pixels: absolute and squared error, relative to the intensity of the data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.fourier import fft2c
from cmr_course.losses.units import Image, near_one, require_fits

SMALLEST = 1e-12
"""Below this share of the reference's energy an error is rounding, and its logarithm means nothing."""


def l1(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """Mean of |x − reference| / scale: of complex images, so that phase counts."""
    return _errors(reconstruction.image, reference, acquisition).abs().mean()


def mse(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """Mean of |x − reference|² / scale²; by Parseval's theorem also the mean over k-space."""
    return _square(_errors(reconstruction.image, reference, acquisition)).mean()


def kspace_mse(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """:func:`mse` of the k-space of both images: by Parseval's theorem the same number, with the same gradient.

    CRUNet-MR (Lyu et al. 2025, PMC12754836) is trained with both; what the second adds to the first is weight.
    """
    return _square(fft2c(_errors(reconstruction.image, reference, acquisition))).mean()


def log_nmse(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """Mean over the batch of log₁₀(‖x − reference‖² / ‖reference‖²): a tenth of the error in dB.

    An example that is reconstructed to 40 dB weighs as much as one at 25 dB, where the squared error would look at the
    second alone. What one training of all accelerations and masks needs.
    """
    error = _square(_errors(reconstruction.image, reference, acquisition)).mean((1, 2, 3))
    energy = _square(_errors(reference, torch.zeros_like(reference), acquisition)).mean((1, 2, 3))
    return torch.log10(error / energy.clamp(min=SMALLEST) + SMALLEST).mean()


def steps_log_nmse(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """:func:`log_nmse` of the images after each stage but the last, averaged, which gives early stages a gradient of
    their own; of the image itself where there is no earlier one.
    """
    steps = reconstruction.steps
    if steps is None:
        raise ValueError("reconstruction: got no steps, want the image after each stage")
    earlier = [Reconstruction(step) for step in steps[:-1]] or [reconstruction]
    return torch.stack([log_nmse(one, reference, acquisition) for one in earlier]).mean()


def _errors(image: Image, reference: Image, acquisition: Acquisition) -> Image:
    """(x − reference) / scale, where there is a scale."""
    require_fits(image, reference)
    return near_one(image - reference, acquisition)


def _square(error: Image) -> Float[Tensor, "batch frame y x"]:
    """|error|², whose gradient at zero is zero and not a division by it."""
    return error.real.square() + error.imag.square()
