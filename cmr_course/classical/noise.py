"""How much a reconstruction amplifies noise: the g-factor, from repeated scans that differ in their noise alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstructor, require_acquisition
from cmr_course.coils import with_maps
from cmr_course.receiver.noise import correlated_noise
from cmr_course.validate import require, require_generator, require_whole, say

SMALL = 0.01
"""Noise of an acquisition whose own is not known, as a share of its scale."""


def g_factor(
    method: Reconstructor, acquisition: Acquisition, *, generator: torch.Generator, replicas: int = 50
) -> Float[Tensor, "batch frame y x"]:
    """Amplification of noise in each pixel, g = σ / (σ_full √R), by pseudo-replicas.

    Robson et al. 2008, doi:10.1002/mrm.21728.
    σ: of the noise in the image of `method`. Noise with the covariance of the acquisition is added to what was
    measured, `replicas` times, and the squared deviations from the image of the data themselves are averaged. Where no
    covariance is known it is white, of 1 % of the scale: for a linear method its strength cancels, its correlation
    between coils does not.
    σ_full: of the fully sampled image Σ_c S_c*·(coil image c) with the same noise and the same maps, which is exact.
    R: the realised acceleration, ACS counted.

    One frame where neither mask nor maps differ between frames, whose replicas are then pooled. Of n replicas the
    relative standard error is about 1 / (2 √n), n counting the pooled frames. Zero where the maps are. Weights that a
    method fits to the ACS are fitted anew in each replica, as they would be in a repeated scan.

    This is a g-factor for linear methods only, such as CG-SENSE and GRAPPA. Of a method whose answer is not linear in
    the data (sparsity, low rank, a network) it is the local amplification of small noise around this one image, and
    says nothing of the detail that was lost. Methods whose image is a magnitude are refused.
    """
    require_acquisition(acquisition)
    require_generator("generator", generator)
    require_whole("replicas", replicas)
    known = acquisition if acquisition.sensitivities is not None else with_maps(acquisition)
    maps = known.sensitivities
    assert maps is not None  # filled above
    covariance = _covariance(known)
    plain = method(known).image
    real = not bool((plain.imag != 0).any())
    require(not real, f"method: got an image without phase from {say(method)}, want a complex one (not 'rss')")
    total = torch.zeros_like(plain.real)
    for _ in range(replicas):
        noise = correlated_noise(known.kspace, covariance, generator) * known.mask
        total += (method(replace(known, kspace=known.kspace + noise)).image - plain).abs().square()
    variance = total / replicas
    full = full_variance(maps, covariance)
    if known.mask.shape[1] == 1 and full.shape[1] == 1:
        variance = variance.mean(1, keepdim=True)
    ratio = variance / (full * known.realised_acceleration)
    return torch.where(full > 0, ratio, 0).sqrt()


def full_variance(
    sensitivities: Complex[Tensor, "batch frame coil y x"], covariance: Complex[Tensor, "coil coil"]
) -> Float[Tensor, "batch frame y x"]:
    """Variance 2 Sᴴ Ψ S of the noise in the fully sampled, sensitivity-weighted image.

    covariance: Ψ, per real and imaginary channel, which is where the factor of two comes from. The Fourier transform
    is unitary and keeps it.
    """
    weighted = torch.einsum("cd,bfdyx->bfcyx", covariance.to(sensitivities.dtype), sensitivities)
    return 2 * (sensitivities.conj() * weighted).sum(2).real


def _covariance(acquisition: Acquisition) -> Complex[Tensor, "coil coil"]:
    """That of the acquisition, or white noise that is small against its signal."""
    kspace = acquisition.kspace
    if acquisition.noise_covariance is not None:
        return acquisition.noise_covariance.to(kspace.dtype)
    scale = acquisition.with_scale().scale
    level = 1.0 if scale is None else SMALL * float(scale.min())
    return level**2 * torch.eye(acquisition.n_coils, dtype=kspace.dtype, device=kspace.device)
