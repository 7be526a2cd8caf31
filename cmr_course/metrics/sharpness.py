"""Edges and fine structure: the high-frequency error norm."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from cmr_course.metrics.image_quality import Region, Scores, Series, checked_pair, peak_of, weights_of
from cmr_course.validate import require, require_positive, require_whole

NO_STRUCTURE = 1e-10
"""Of the peak: what rounding leaves of a constant image after the filter is far below this."""


def log_kernel(size: int = 15, sigma: float = 1.5) -> Float[Tensor, "size size"]:
    """Laplacian of a Gaussian, (x² + y² − 2σ²)/σ⁴ · g(x, y) with Σg = 1, less its mean; float64.

    Without its mean it does not see a constant. `size` is odd; `sigma` in pixels.
    """
    require_whole("size", size, 3)
    require(size % 2 == 1, f"size: got {size}, want an odd number")
    require_positive("sigma", sigma)
    position = torch.arange(size, dtype=torch.float64) - size // 2
    squares = position[:, None] ** 2 + position[None, :] ** 2
    gaussian = torch.exp(-squares / (2 * sigma**2))
    kernel = (squares - 2 * sigma**2) / sigma**4 * gaussian / gaussian.sum()
    return kernel - kernel.mean()


def hfen(prediction: Series, reference: Series, region: Region | None = None) -> Scores:
    """High-frequency error norm ‖L(p − r)‖ / ‖L(r)‖ of each frame, L the Laplacian of a Gaussian; 0 is perfect.

    Ravishankar and Bresler 2011, doi:10.1109/TMI.2010.2090538, section IV-A: 15 × 15 pixels, σ = 1.5. They give the
    norm itself; here it is relative to the reference's, so that it has no unit and a featureless image gets 1. Noise
    raises it as blur does: it measures errors at edges, not sharpness alone. Blind to a constant offset. Beyond its
    border an image is taken to repeat its last pixel. Differentiable.

    region: both norms are taken over its pixels.
    """
    prediction, reference = checked_pair(prediction, reference)
    weights, peak = weights_of(region, reference), peak_of(reference)
    structure = torch.linalg.vector_norm(weights * _filtered(reference), dim=(-2, -1))
    flat = int((structure <= NO_STRUCTURE * peak).sum())
    require(flat == 0, f"reference: got {flat} frames without structure, want edges in every frame")
    return torch.linalg.vector_norm(weights * _filtered(prediction - reference), dim=(-2, -1)) / structure


def _filtered(series: Tensor) -> Tensor:
    kernel = log_kernel().to(series)
    reach = kernel.shape[-1] // 2
    images = pad(series.reshape(-1, 1, *series.shape[-2:]), (reach,) * 4, mode="replicate")
    return conv2d(images, kernel[None, None]).view_as(series)
