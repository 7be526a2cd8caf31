"""Centred, orthonormal Fourier transforms between image and k-space.

k = fftshift(FFT(ifftshift(x))) / sqrt(n): the centre of either domain is index n // 2, odd sizes included, and the
transform is unitary, so energies agree (Parseval) and the inverse is the adjoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.validate import require, say


def fftc(x: Complex[Tensor, "*shape"], dim: Sequence[int]) -> Complex[Tensor, "*shape"]:
    """Centred orthonormal FFT of `x` over the axes `dim`; shape and dtype are kept."""
    axes = _axes("x", x, dim)
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dim=axes), dim=axes, norm="ortho"), dim=axes)


def ifftc(k: Complex[Tensor, "*shape"], dim: Sequence[int]) -> Complex[Tensor, "*shape"]:
    """Inverse, and adjoint, of :func:`fftc`."""
    axes = _axes("k", k, dim)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(k, dim=axes), dim=axes, norm="ortho"), dim=axes)


def _axes(name: str, values: Tensor, dim: Sequence[int]) -> tuple[int, ...]:
    """`dim` as a tuple, after a look at what is to be transformed."""
    good = isinstance(values, Tensor) and values.numel() > 0
    require(good, f"{name}: got {say(values)}, want a tensor that is not empty")
    axes = tuple(axis % values.ndim if -values.ndim <= axis < values.ndim else -1 for axis in dim)
    fits = len(axes) > 0 and -1 not in axes and len(set(axes)) == len(axes)
    require(fits, f"dim: got {tuple(dim)}, want distinct axes of the {values.ndim} of {name}")
    return axes


def fft2c(image: Complex[Tensor, "*shape y x"]) -> Complex[Tensor, "*shape y x"]:
    """Image to k-space: (…, y, x) to (…, ky, kx). Phase encoding is the second to last axis, readout the last."""
    return fftc(image, (-2, -1))


def ifft2c(kspace: Complex[Tensor, "*shape ky kx"]) -> Complex[Tensor, "*shape ky kx"]:
    """K-space to image: (…, ky, kx) to (…, y, x); inverse and adjoint of :func:`fft2c`."""
    return ifftc(kspace, (-2, -1))


def fft_t(series: Complex[Tensor, "batch frame *rest"]) -> Complex[Tensor, "batch frame *rest"]:
    """Time to temporal frequency along the frame axis (the second), centred and orthonormal."""
    return fftc(series, (1,))


def ifft_t(spectrum: Complex[Tensor, "batch frame *rest"]) -> Complex[Tensor, "batch frame *rest"]:
    """Temporal frequency to time; inverse and adjoint of :func:`fft_t`."""
    return ifftc(spectrum, (1,))
