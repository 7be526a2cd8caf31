"""Noise of an array: how coils share it, and draws of it."""

from __future__ import annotations

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.coils import apply_matrix
from cmr_course.validate import is_number, require, require_axes, require_generator, say


def noise_model(maps: Complex[Tensor, "1 1 coil y x"], correlation: float) -> Complex[Tensor, "coil coil"]:
    """Noise covariance of an array up to its strength: ones on the diagonal, Hermitian, positive definite.

    A share `correlation` is thermal noise of the body, which two coils receive in common as far as their fields
    overlap (Roemer et al. 1990, doi:10.1002/mrm.1910160203; here by the magnetic fields at the places that `maps`
    holds, a stand-in for the electric ones); the rest is each coil's own electronics.
    """
    require_axes("maps", maps, "batch frame coil y x")
    require(maps.shape[:2] == (1, 1), f"maps: got {tuple(maps.shape[:2])} along batch and frame, want one of each")
    dark = int((maps == 0).all(-1).all(-1).sum())
    require(dark == 0, f"maps: got {dark} coils that see nothing, want coils with some sensitivity")
    good = is_number(correlation) and 0 <= correlation < 1
    require(good, f"correlation: got {say(correlation)}, want a number from 0 to below 1")
    flat = maps[0, 0].flatten(1).to(torch.complex128)
    flat = flat / flat.norm(dim=1, keepdim=True)
    identity = torch.eye(flat.shape[0], dtype=flat.dtype, device=flat.device)
    covariance = (1 - correlation) * identity + correlation * (flat @ flat.mH)
    return ((covariance + covariance.mH) / 2).to(maps.dtype)


def white_noise(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator, device: torch.device
) -> Complex[Tensor, "*shape"]:
    """Complex Gaussian noise with unit variance per real and imaginary channel."""
    require_generator("generator", generator)
    # torch.randn of a complex dtype has variance 1 in all, one half per channel.
    drawn = torch.randn(shape, dtype=dtype, generator=generator, device=generator.device)
    return drawn.mul_(2**0.5).to(device)


def noise_factor(covariance: Complex[Tensor, "coil coil"]) -> Complex[Tensor, "coil coil"]:
    """The lower triangle L with Ψ = L Lᴴ (Cholesky), which gives white noise the covariance Ψ."""
    factor, failed = torch.linalg.cholesky_ex(covariance)
    require(int(failed) == 0, "covariance: got a matrix that is not positive definite, want one that is")
    return factor


def correlated_noise(
    like: Complex[Tensor, "batch frame coil ky kx"],
    covariance: Complex[Tensor, "coil coil"],
    generator: torch.Generator,
) -> Complex[Tensor, "batch frame coil ky kx"]:
    """Complex Gaussian noise of the shape of `like` with `covariance` per real and imaginary channel."""
    white = white_noise(tuple(like.shape), like.dtype, generator, like.device)
    return apply_matrix(noise_factor(covariance), white)
