"""What every room says about bad input, said in one place.

Each function raises a ``ValueError`` whose one line names the argument, what it got and what it wants.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

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
    if bool(torch.isfinite(tensor.sum())):  # NaN and infinity stay in a sum; only the sum of large numbers overflows
        return
    bad = int((~torch.isfinite(tensor)).sum())
    require(bad == 0, f"{name}: got {bad} values that are NaN or infinite, want finite ones")


def require_broadcast(name: str, got: tuple[int, ...], wanted: tuple[int, ...], axes: str) -> None:
    """Shape `got` must equal `wanted` along every axis, or be one there."""
    fits = len(got) == len(wanted) and all(g in (1, w) for g, w in zip(got, wanted, strict=True))
    require(fits, f"{name}: got shape {got}, want {wanted} ({', '.join(axes.split())}), or one along an axis")


def say(value: Any) -> str:
    """`value` as an error names it: type and shape of an array, else the repr on one line, cut where it is long."""
    if getattr(value, "ndim", 0):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:79] + "…"


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python or numpy: no text, tensor or truth value, and not NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number of Python or numpy: 2 and not 2.0 or True."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require_positive(name: str, value: float) -> None:
    """`value` must be a finite number above zero."""
    require(is_number(value) and 0 < value < float("inf"), f"{name}: got {say(value)}, want a number above zero")


def require_whole(name: str, value: int, low: int = 1, high: int | None = None) -> None:
    """`value` must be a whole number from `low` up, to `high` where that is given."""
    inside = is_whole(value) and low <= value and (high is None or value <= high)
    wanted = f"of {low} or more" if high is None else f"from {low} to {high}"
    require(inside, f"{name}: got {say(value)}, want a whole number {wanted}")


def is_pair(value: Any) -> bool:
    """Whether `value` is a tuple or list of two real numbers."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(is_number(number) for number in value)


def require_settings(what: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """`settings` must be arguments by name that `make` takes, and all that have no default; `what` is made."""
    wanted = inspect.signature(make).parameters
    unknown = sorted(map(str, set(settings) - set(wanted)))
    require(not unknown, f"{what}: got {', '.join(unknown)}, want settings among {', '.join(wanted) or 'none'}")
    missing = [name for name, one in wanted.items() if one.default is one.empty and name not in settings]
    require(not missing, f"{what}: lacks {', '.join(missing)}, which has no default")


def require_generator(name: str, value: Any) -> None:
    """`value` must be a torch.Generator: randomness is passed in, never taken from a global state."""
    require(isinstance(value, torch.Generator), f"{name}: got {say(value)}, want a torch.Generator")
