"""Coil sensitivities: from image to coil images and back."""

from __future__ import annotations

from jaxtyping import Complex, Float
from torch import Tensor


def expand(
    image: Complex[Tensor, "batch frame y x"], sensitivities: Complex[Tensor, "batch _ coil y x"]
) -> Complex[Tensor, "batch frame coil y x"]:
    """What each coil sees: S_c · x. Sensitivities have one frame, or one for each frame of the image."""
    return sensitivities * image.unsqueeze(-3)


def combine(
    coil_images: Complex[Tensor, "batch frame coil y x"], sensitivities: Complex[Tensor, "batch _ coil y x"]
) -> Complex[Tensor, "batch frame y x"]:
    """Sensitivity-weighted combination Σ_c S_c* · (coil image c), the adjoint of :func:`expand`.

    Where Σ_c |S_c|² = 1 it undoes :func:`expand`, and for white noise of equal strength it is the combination with
    the best signal-to-noise ratio (Roemer et al. 1990, doi:10.1002/mrm.1910160203).
    """
    return (sensitivities.conj() * coil_images).sum(-3)


def rss(coil_images: Complex[Tensor, "batch frame coil y x"]) -> Float[Tensor, "batch frame y x"]:
    """Root sum of squares over coils, sqrt(Σ_c |x_c|²): no maps needed, but phase is lost and noise adds up."""
    return coil_images.abs().square().sum(-3).sqrt()
