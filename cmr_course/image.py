"""What losses and metrics share: windows, SSIM, gradients, crops, quantiles."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def quantile(values: Float[Tensor, "*shape"], q: float) -> Float[Tensor, ""]:
    """Quantile of all `values` with linear interpolation, for any number of them (`torch.quantile` stops at 2^24)."""
    ordered = values.flatten().sort().values
    position = q * (ordered.numel() - 1)
    below = int(position)
    above = min(below + 1, ordered.numel() - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
