"""Data as the released codes of D5C5 and CRNN-MRI have them: one coil, pairs of real numbers, uncentred k-space."""

from __future__ import annotations

import torch
from torch import Tensor

from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c


def series(pairs: Tensor) -> Tensor:
    """(n, 2, y, x) or (n, 2, y, x, frame), real and imaginary part along axis 1 -> complex (n, frame, y, x)."""
    image = torch.complex(pairs[:, 0], pairs[:, 1])
    return image[:, None] if image.ndim == 3 else image.movedim(-1, 1)


def centred(kspace: Tensor) -> Tensor:
    """The k-space that our transform gives of the image behind an uncentred `kspace`."""
    return fft2c(torch.fft.ifft2(kspace, norm="ortho"))


def measurement(k: Tensor, mask: Tensor) -> tuple[Encoding, Tensor]:
    """The model of one coil, and the zero-filled image."""
    sampled = torch.fft.fftshift(series(mask).real > 0.5, dim=(-2, -1))[:, :, None]
    # Ours transforms images whose centre is in the middle; a shift of the image turns the phase of k-space, which
    # `centred` accounts for.
    kspace = centred(series(k))[:, :, None]
    encoding = Encoding(torch.ones_like(kspace[:, :1]), sampled)
    return encoding, encoding.adjoint(kspace)


def psnr(image: Tensor, truth: Tensor) -> float:
    """Of complex series, over the whole of it, with its largest magnitude as peak: that of CRNN-MRI's authors, dB."""
    return float(10 * torch.log10(truth.abs().max() ** 2 / (image - truth).abs().square().mean()))
