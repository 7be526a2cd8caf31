"""Coil maps from the data themselves: ESPIRiT, from the fully sampled centre of k-space."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.fourier import ifft2c
from cmr_course.image import center_pad
from cmr_course.validate import (
    is_number,
    is_whole,
    require,
    require_axes,
    require_complex,
    require_finite,
    require_whole,
    say,
)

COVERED = 0.5
"""Maps that cover less of the signal's energy than this would blank the image without a word."""


def espirit(
    kspace: Complex[Tensor, "batch frame coil ky kx"],
    acs: tuple[int, int],
    *,
    kernel: int = 6,
    threshold: float = 0.02,
    crop: float = 0.85,
    calibration: int = 32,
) -> Complex[Tensor, "batch 1 coil y x"]:
    """Coil sensitivities by ESPIRiT, one set of maps (Uecker et al. 2014, doi:10.1002/mrm.24751).

    Every kernel × kernel patch of calibration k-space, over all coils, lies in a small subspace. A pixel's
    sensitivities are the vector over coils that this subspace leaves as it is: the eigenvector with eigenvalue one of
    a coil × coil matrix (eq. 20 there), which is computed here for all pixels by one Fourier transform.

    kspace: averaged over the frames in which a sample was measured, so that all frames share one set of maps.
    acs: (ky lines, kx points) of the fully sampled centre; at most `calibration` of each are used.
    threshold: singular values of the calibration matrix above this share of the largest span the subspace.
    crop: the maps are 0 where the largest eigenvalue is below this; elsewhere Σ|S|² = 1.
    ValueError where the maps cover less than half of the signal's energy, as they do when the ACS is too small.
    Phase is free in each pixel. Here the strongest combination of coils (first singular vector of the calibration
    data) is made real and positive in every pixel, which is smoother than taking the first coil as reference.
    """
    require_axes("kspace", kspace, "batch frame coil ky kx")
    require_complex("kspace", kspace)
    require_whole("kernel", kernel)
    good = is_number(threshold) and 0 < threshold < 1
    require(good, f"threshold: got {say(threshold)}, want a number between 0 and 1")
    require(is_number(crop) and 0 <= crop <= 1, f"crop: got {say(crop)}, want a number from 0 to 1")
    centre = calibration_region(kspace, acs, calibration)
    lines, points = centre.shape[-2:]
    enough = min(lines, points) >= kernel
    require(enough, f"acs: got {lines} lines x {points} points to calibrate with, want at least the kernel, {kernel}")
    shape = (kspace.shape[-2], kspace.shape[-1])
    maps = torch.stack([_maps(item, kernel, threshold, crop, shape) for item in centre])[:, None]
    covered = _covered(maps, centre)
    require(
        covered >= COVERED,
        f"acs: got {lines} lines x {points} points, from which maps cover {100 * covered:.0f} % of the signal, "
        f"want {100 * COVERED:.0f} % or more (a larger ACS, a smaller kernel, a lower crop)",
    )
    return maps


def calibration_region(
    kspace: Complex[Tensor, "batch frame coil ky kx"], acs: tuple[int, int], largest: int = 32
) -> Complex[Tensor, "batch coil lines points"]:
    """The centre of k-space that ESPIRiT reads: the mean over the frames in which each sample was measured."""
    require_axes("kspace", kspace, "batch frame coil ky kx")
    require_complex("kspace", kspace)
    require_whole("calibration", largest)
    pair = isinstance(acs, tuple | list) and len(acs) == 2 and all(map(is_whole, acs))
    require(pair, f"acs: got {say(acs)}, want two whole numbers (ky lines, kx points)")
    sizes = [min(a, n, largest) for a, n in zip(acs, kspace.shape[-2:], strict=True)]
    require(min(sizes) > 0, f"acs: got {tuple(acs)}, want a fully sampled centre (ky lines, kx points)")
    begin = [n // 2 - size // 2 for n, size in zip(kspace.shape[-2:], sizes, strict=True)]
    centre = kspace[..., begin[0] : begin[0] + sizes[0], begin[1] : begin[1] + sizes[1]]
    require_finite("kspace", centre)
    measured = (centre != 0).any(2, keepdim=True).sum(1)
    empty = int((measured == 0).all(-1).sum())
    require(empty == 0, f"kspace: got {empty} empty lines in the centre of {sizes[0]} x {sizes[1]}, want them sampled")
    return centre.sum(1) / measured.clamp(min=1)


def _maps(
    centre: Complex[Tensor, "coil lines points"], kernel: int, threshold: float, crop: float, shape: tuple[int, int]
) -> Complex[Tensor, "coil y x"]:
    coils = centre.shape[0]
    operator = _pixel_operator(_subspace_projection(centre, kernel, threshold), coils, kernel, shape)
    values, vectors = torch.linalg.eigh(operator.movedim((0, 1), (-2, -1)))
    maps = vectors[..., -1].movedim(-1, 0)
    flat = centre.flatten(1)
    strongest = torch.linalg.eigh(flat @ flat.mH).eigenvectors[:, -1]
    largest = strongest[strongest.abs().argmax()]
    strongest = strongest * (largest.conj() / largest.abs())  # an eigenvector's phase is the library's choice
    reference = torch.einsum("c,cyx->yx", strongest.conj(), maps)
    maps = maps * torch.polar(torch.ones_like(reference.real), -reference.angle())
    return maps * (values[..., -1] >= crop)


def _subspace_projection(
    centre: Complex[Tensor, "coil lines points"], kernel: int, threshold: float
) -> Complex[Tensor, "entry entry"]:
    """V Vᴴ for the leading singular vectors V of all patches; an entry is (coil, offset in ky, offset in kx)."""
    patches = centre.unfold(1, kernel, 1).unfold(2, kernel, 1)
    patches = patches.permute(0, 3, 4, 1, 2).flatten(3).flatten(0, 2).to(torch.complex128)
    # Eigenvalues of the Gram matrix are squared singular values; double precision keeps the small ones.
    values, vectors = torch.linalg.eigh(patches @ patches.mH)
    kept = vectors[:, values > threshold**2 * values[-1]]
    return (kept @ kept.mH).to(centre.dtype)


def _pixel_operator(
    projection: Complex[Tensor, "entry entry"], coils: int, kernel: int, shape: tuple[int, int]
) -> Complex[Tensor, "coil coil y x"]:
    """The coil × coil matrix of each pixel, G(r) = k⁻² Σ_ab exp(2πi·r·(a − b)) P_ab over kernel offsets a, b.

    It depends on the offsets through their difference only, so entries of equal difference are summed first and one
    inverse Fourier transform of a (2·kernel − 1)² array gives all pixels.
    """
    size = 2 * kernel - 1
    require(min(shape) >= size, f"kspace: got a matrix of {shape}, want at least {size} for a kernel of {kernel}")
    blocks = projection.reshape(coils, kernel, kernel, coils, kernel, kernel)
    lags = torch.zeros((coils, coils, size, size), dtype=projection.dtype, device=projection.device)
    for i in range(kernel):
        for j in range(kernel):
            # Row offsets a = (i, j); b runs backwards, so that a − b runs forwards.
            row = blocks[:, i, j].flip((-2, -1))
            lags[:, :, i : i + kernel, j : j + kernel] += row
    padded = torch.zeros((coils, coils, *shape), dtype=projection.dtype, device=projection.device)
    top, left = (n // 2 - (kernel - 1) for n in shape)
    padded[..., top : top + size, left : left + size] = lags
    return ifft2c(padded) * ((shape[0] * shape[1]) ** 0.5 / kernel**2)


def _covered(maps: Complex[Tensor, "batch 1 coil y x"], centre: Complex[Tensor, "batch coil lines points"]) -> float:
    """Smallest share over the batch of the calibration image's energy that lies where `maps` are not zero."""
    image = ifft2c(center_pad(centre, (maps.shape[-2], maps.shape[-1])))
    energy = image.abs().square().sum(1)
    inside = energy * (maps[:, 0] != 0).any(1)
    return float((inside.sum((-2, -1)) / energy.sum((-2, -1))).min())


@runtime_checkable
class Measured(Protocol):
    """What :func:`with_maps` needs of an acquisition: a room below the records cannot import them."""

    @property
    def kspace(self) -> Tensor:
        """K-space (batch, frame, coil, ky, kx)."""
        ...

    @property
    def acs(self) -> tuple[int, int]:
        """(ky lines, kx points) of the fully sampled centre."""
        ...

    def with_sensitivities(self, sensitivities: Tensor) -> Any:
        """The same measurement with these maps."""
        ...


A = TypeVar("A", bound=Measured)


def with_maps(acquisition: A, **settings: Any) -> A:
    """`acquisition` with ESPIRiT maps from its ACS in place of any it had; `settings` are those of :func:`espirit`."""
    known = isinstance(acquisition, Measured)
    require(known, f"acquisition: got {type(acquisition).__name__}, want an Acquisition")
    return acquisition.with_sensitivities(espirit(acquisition.kspace, acquisition.acs, **settings))
