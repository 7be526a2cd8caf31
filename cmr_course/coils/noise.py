"""Noise between coils, and fewer coils: covariance, whitening, compression."""

from __future__ import annotations

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.validate import is_whole, require, require_axes, require_complex, require_finite, say


def noise_covariance(noise: Complex[Tensor, "coil samples"]) -> Complex[Tensor, "coil coil"]:
    """Ψ = E[n nᴴ] / 2 of zero-mean complex `noise`, per real and imaginary channel.

    A coil with standard deviation σ in the real part and σ in the imaginary part has Ψ_cc = σ². The estimate needs
    more samples than coils, or it cannot be inverted.
    """
    require_axes("noise", noise, "coil samples")
    require_complex("noise", noise)
    require_finite("noise", noise)
    coils, samples = noise.shape
    require(samples > coils, f"noise: got {samples} samples of {coils} coils, want more samples than coils")
    covariance = noise @ noise.mH / (2 * samples)
    require_finite("covariance of the noise", covariance)
    return covariance


def whitening(covariance: Complex[Tensor, "coil coil"]) -> Complex[Tensor, "coil coil"]:
    """W = L⁻¹ of the Cholesky factor Ψ = L Lᴴ, so that noise W n is white with unit variance per channel.

    Pruessmann et al. 2001, doi:10.1002/mrm.1241, appendix: virtual coils with independent noise.
    """
    require_axes("covariance", covariance, "coil coil")
    require_complex("covariance", covariance)
    require_finite("covariance", covariance)
    rows, columns = covariance.shape
    require(rows == columns, f"covariance: got {rows} x {columns}, want a square matrix")
    largest = covariance.abs().max()
    hermitian = bool((covariance - covariance.mH).abs().max() <= 1e-4 * largest)
    require(hermitian, "covariance: got a matrix that is not Hermitian, want one that equals its conjugate transpose")
    factor, failed = torch.linalg.cholesky_ex(covariance)
    require(int(failed) == 0, "covariance: got a matrix that is not positive definite, want one that is")
    identity = torch.eye(rows, dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.solve_triangular(factor, identity, upper=False)


def apply_matrix(
    matrix: Complex[Tensor, "virtual coil"], kspace: Complex[Tensor, "batch frame coil ky kx"]
) -> Complex[Tensor, "batch frame virtual ky kx"]:
    """Mix coils: the virtual coil v is Σ_c matrix_vc · (coil c); it may stand for k-space or for coil images."""
    require_axes("matrix", matrix, "virtual coil")
    require_axes("kspace", kspace, "batch frame coil ky kx")
    require_complex("kspace", kspace)
    fits = matrix.shape[1] == kspace.shape[2] and matrix.dtype == kspace.dtype
    wanted = f"(virtual, {kspace.shape[2]}) of {kspace.dtype}, as kspace"
    require(fits, f"matrix: got {tuple(matrix.shape)} of {matrix.dtype}, want {wanted}")
    return (matrix @ kspace.flatten(-2)).unflatten(-1, kspace.shape[-2:])


def whiten(
    kspace: Complex[Tensor, "batch frame coil ky kx"], covariance: Complex[Tensor, "coil coil"]
) -> Complex[Tensor, "batch frame coil ky kx"]:
    """K-space of virtual coils whose noise is white with unit variance per real and imaginary channel."""
    require_axes("kspace", kspace, "batch frame coil ky kx")
    require_complex("kspace", kspace)
    _require_fit(kspace, covariance)
    return apply_matrix(whitening(covariance).to(kspace.dtype), kspace)


def compress(
    kspace: Complex[Tensor, "batch frame coil ky kx"],
    n_coils: int,
    noise_covariance: Complex[Tensor, "coil coil"] | None = None,
) -> tuple[Complex[Tensor, "batch frame virtual ky kx"], Complex[Tensor, "virtual coil"]]:
    """Virtual coils that hold most of the energy: (compressed k-space, matrix (virtual, coil)).

    The coils' singular vectors over all samples, strongest first (Buehrer et al. 2007, doi:10.1002/mrm.21237). With
    a `noise_covariance` the coils are whitened first, so that energy is counted in units of noise; the matrix then
    holds both steps, and :func:`compress_covariance` gives the identity. One matrix serves the whole batch. The
    largest entry of each row of singular vectors is made real and positive, which fixes the free phase.
    """
    require_axes("kspace", kspace, "batch frame coil ky kx")
    require_complex("kspace", kspace)
    require_finite("kspace", kspace)
    coils = kspace.shape[2]
    some = is_whole(n_coils) and 1 <= n_coils <= coils
    require(some, f"n_coils: got {say(n_coils)}, want 1 to {coils}, the number of coils")
    first = torch.eye(coils, dtype=kspace.dtype, device=kspace.device)
    if noise_covariance is not None:
        _require_fit(kspace, noise_covariance)
        first = whitening(noise_covariance).to(kspace.dtype)
    white = apply_matrix(first, kspace).movedim(2, 0).flatten(1)
    vectors = torch.linalg.eigh((white @ white.mH).to(torch.complex128)).eigenvectors.flip(-1)[:, :n_coils]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    matrix = (vectors * (largest.conj() / largest.abs())).mH.to(kspace.dtype) @ first
    return apply_matrix(matrix, kspace), matrix


def compress_covariance(
    covariance: Complex[Tensor, "coil coil"], matrix: Complex[Tensor, "virtual coil"]
) -> Complex[Tensor, "virtual virtual"]:
    """Noise covariance M Ψ Mᴴ of the virtual coils that `matrix` makes."""
    require_axes("covariance", covariance, "coil coil")
    require_complex("covariance", covariance)
    require_axes("matrix", matrix, "virtual coil")
    require_complex("matrix", matrix)
    got, wanted = tuple(covariance.shape), (matrix.shape[1], matrix.shape[1])
    require(got == wanted, f"covariance: got {got}, want {wanted}")
    return matrix @ covariance.to(matrix.dtype) @ matrix.mH


def _require_fit(kspace: Tensor, covariance: Tensor) -> None:
    require_axes("covariance", covariance, "coil coil")
    got, wanted = tuple(covariance.shape), (kspace.shape[2], kspace.shape[2])
    require(got == wanted, f"covariance: got {got}, want {wanted}, the coils of kspace")
