"""What every room says about bad input, said in one place.

Each function raises a ``ValueError`` whose one line names the argument, what it got and what it wants.
"""

from __future__ import annotations

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def require_axes(name: str, tensor: Tensor, axes: str) -> None:
    """`tensor` must have one axis for each word of `axes`, for example ``"batch frame coil ky kx"``, none empty."""
    wanted = axes.split()
    require(
        isinstance(tensor, Tensor),
        f"{name}: got {type(tensor).__name__}, want a torch.Tensor with axes ({', '.join(wanted)})",
    )
    require(
        tensor.ndim == len(wanted),
        f"{name}: got {tensor.ndim} axes {tuple(tensor.shape)}, want {len(wanted)} axes ({', '.join(wanted)})",
    )
    require(tensor.numel() > 0, f"{name}: got shape {tuple(tensor.shape)}, want no axis of length zero")


def require_complex(name: str, tensor: Tensor) -> None:
    """`tensor` must be complex."""
    require(tensor.is_complex(), f"{name}: got real values ({tensor.dtype}), want complex ones")


def require_finite(name: str, tensor: Tensor) -> None:
    """`tensor` must hold neither NaN nor infinity."""
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    bad = int((~torch.isfinite(parts)).sum())
    require(bad == 0, f"{name}: got {bad} values that are NaN or infinite, want finite ones")


def require_broadcast(name: str, got: tuple[int, ...], wanted: tuple[int, ...], axes: str) -> None:
    """Shape `got` must equal `wanted` along every axis, or be one there."""
    fits = len(got) == len(wanted) and all(g in (1, w) for g, w in zip(got, wanted, strict=True))
    require(fits, f"{name}: got shape {got}, want {wanted} ({', '.join(axes.split())}), or one along an axis")


def require_positive(name: str, value: float) -> None:
    """`value` must be a finite number above zero."""
    require(0 < value < float("inf"), f"{name}: got {value}, want a number above zero")
