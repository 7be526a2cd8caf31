"""Structural similarity as a loss: what PromptMR is trained with, and HyperCMR's second term."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import gaussian_window, ssim_map, uniform_window
from cmr_course.losses.looks import Look, Magnitude
from cmr_course.losses.units import Image, require_fits
from cmr_course.validate import require, say

WINDOWS = ("uniform", "gaussian")
TINY = 1e-6


class SSIMLoss(nn.Module):
    """1 − SSIM of magnitudes, mean over frames and over the pixels around which the window fits.

    window: ``uniform`` is 7 × 7 equal weights with sample (co)variances, as in fastMRI's loss, with which PromptMR is
    trained (Xin et al. 2023, arXiv:2309.13839); ``gaussian`` is 11 × 11 with σ = 1.5 and population (co)variances
    (Wang et al. 2004, doi:10.1109/TIP.2003.819861), as in HyperCMR's released code.
    region, unit, heart: see :class:`cmr_course.losses.looks.Look`. With ``peak`` the data range is the largest
    value of the reference series, of each batch item its own (PromptMR takes that of the volume: where the reference is
    the centre frame of a window, it is that of this frame alone). With ``range`` it is one; ``scale`` is not offered.
    ValueError for images smaller than the window.
    """

    def __init__(
        self, window: str = "uniform", region: str = "whole", unit: str = "peak", heart: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        known = isinstance(window, str) and window in WINDOWS
        require(known, f"window: got {say(window)}, want one of {', '.join(WINDOWS)}")
        require(unit != "scale", "unit: got 'scale', want one of peak, range")
        self.window, self.look = window, Look(region, unit, heart)

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        return self.distance(*self.look(reconstruction.image, reference, acquisition))

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """1 − SSIM with a data range of one."""
        uniform = self.window == "uniform"
        weights = uniform_window(7) if uniform else gaussian_window(11, 1.5)
        return 1 - ssim_map(output, truth, 1.0, weights, sample_covariance=uniform).mean()

    def extra_repr(self) -> str:
        """The settings."""
        return f"window={self.window}, {self.look}"


class PartsSSIMLoss(nn.Module):
    """1 − SSIM of the real parts plus 1 − SSIM of the imaginary parts: a term of CRUNet-MR's released training
    (Lyu et al. 2025, PMC12754836).

    Each of the four is divided by its own largest value (of all frames; of each item of a batch by itself), so that the
    loss does not see a gain, and the signs stay. The data range is one, the window 7 × 7 with sample (co)variances.
    Parts with signs have regions without contrast in which SSIM is below zero: the loss may be above one for each part.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        require_fits(reconstruction.image, reference)
        image = reconstruction.image
        return self.distance(image.real, reference.real) + self.distance(image.imag, reference.imag)

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """1 − SSIM of one part, (batch, frame, y, x), signs included."""
        pair = (by_largest(output), by_largest(truth))
        return 1 - ssim_map(*pair, 1.0, uniform_window(7), sample_covariance=True).mean()


def by_largest(part: Magnitude) -> Magnitude:
    """Divided by the largest value of each series, and moved, as the released code does, by a millionth."""
    return part / (part.amax((1, 2, 3), keepdim=True) + TINY) + TINY
