"""Structural similarity as a loss: what PromptMR is trained with, and HyperCMR's second term."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import gaussian_window, ssim_map, uniform_window
from cmr_course.losses.units import Image, peak_of, require_fits
from cmr_course.validate import is_number, require, say

Magnitude = Float[Tensor, "batch frame y x"]
WINDOWS = ("uniform", "gaussian")


class SSIMLoss(nn.Module):
    """1 − SSIM of magnitudes, mean over frames and over the pixels around which the window fits.

    window: ``uniform`` is 7 × 7 equal weights with sample (co)variances, as in fastMRI's loss, with which PromptMR is
    trained (Xin et al. 2023, arXiv:2309.13839); ``gaussian`` is 11 × 11 with σ = 1.5 and population (co)variances
    (Wang et al. 2004, doi:10.1109/TIP.2003.819861), as in HyperCMR's released code.
    data_range: L of the constants (0.01·L)² and (0.03·L)². None: the largest value of the reference series, of each
    batch item its own (PromptMR takes that of the volume: where the reference is the centre frame of a window, it is
    the largest value of this frame alone). A number: that many times this largest value.
    ValueError for images smaller than the window.
    """

    def __init__(self, window: str = "uniform", data_range: float | None = None) -> None:
        super().__init__()
        known = isinstance(window, str) and window in WINDOWS
        require(known, f"window: got {say(window)}, want one of {', '.join(WINDOWS)}")
        good = data_range is None or (is_number(data_range) and 0 < data_range < float("inf"))
        require(good, f"data_range: got {say(data_range)}, want a number above zero, or None")
        self.window, self.data_range = window, data_range

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        require_fits(reconstruction.image, reference)
        truth = reference.abs()
        peak = peak_of(truth)
        return self.distance(reconstruction.image.abs() / peak, truth / peak)

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """1 − SSIM of images whose reference has one as its largest value."""
        uniform = self.window == "uniform"
        weights = uniform_window(7) if uniform else gaussian_window(11, 1.5)
        similarity = ssim_map(output, truth, self.data_range or 1.0, weights, sample_covariance=uniform)
        return 1 - similarity.mean()

    def extra_repr(self) -> str:
        """The settings."""
        return f"window={self.window}, data_range={self.data_range or 'largest of the reference'}"
