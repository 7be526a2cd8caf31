"""How a check asks: call a reader's function, look at what came back, say what is wrong in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.validate import is_whole, require, say

LONGEST = 200
"""A message has at most this many characters."""
CLOSE = 1e-5
"""Largest difference, relative to the largest value, that counts as equal; what single precision reaches."""


class CheckError(AssertionError):
    """A property that does not hold; the message is one sentence a reader can act on."""


def name_of(function: Callable[..., Any]) -> str:
    """How messages call a reader's function."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() and len(name) <= 40 else "your function"


def fail(function: Callable[..., Any], message: str) -> CheckError:
    """The error to raise: the function's name and one sentence, on one line, not too long."""
    line = " ".join(f"{name_of(function)}: {message}".split())
    return CheckError(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")


def passed(message: str) -> None:
    """Say that everything held."""
    print(f"✓ {message}")


def source(seed: int = 0) -> torch.Generator:
    """The fixed, local randomness of a check."""
    return torch.Generator().manual_seed(7_000 + seed)


def draw(shape: Sequence[int], generator: torch.Generator) -> Complex[Tensor, "*shape"]:
    """Complex normal numbers in double precision; ValueError for what is no shape."""
    sizes = isinstance(shape, Sequence) and all(is_whole(n) and n > 0 for n in shape)
    require(sizes, f"shape: got {say(shape)}, want whole numbers above zero")
    return torch.randn(tuple(shape), dtype=torch.complex128, generator=generator)


def call(function: Callable[..., Any], *inputs: Any) -> Any:
    """What `function` returns for `inputs`.

    NotImplementedError passes; any other exception becomes a CheckError, and so do no result and a changed input.
    """
    kept = [value.clone() if isinstance(value, Tensor) else value for value in inputs]
    try:
        result = function(*inputs)
    except (NotImplementedError, CheckError):
        raise
    except Exception as problem:
        raise fail(function, f"stopped with {type(problem).__name__}: {problem}") from problem
    if result is None:
        raise fail(function, "returned nothing; is the return statement missing?")
    for before, after in zip(kept, inputs, strict=True):
        if isinstance(before, Tensor) and not (before.shape == after.shape and torch.equal(before, after)):
            raise fail(function, "changed its input in place; work on a new tensor")
    return result


def answer(function: Callable[..., Any], *inputs: Any, shape: Sequence[int]) -> Complex[Tensor, "*shape"]:
    """The complex, finite tensor of the wanted shape that `function` returned, as complex128."""
    result = _tensor(function, *inputs, shape=shape)
    if not result.is_complex():
        raise fail(function, f"returned real values ({result.dtype}), want complex ones; do not drop the phase")
    if not bool(torch.isfinite(torch.view_as_real(result.resolve_conj())).all()):
        raise fail(function, "returned NaN or infinity; is something divided by zero?")
    return result.detach().to(torch.complex128)


def picture(function: Callable[..., Any], *inputs: Any, shape: Sequence[int]) -> Float[Tensor, "*shape"]:
    """The real, finite tensor of the wanted shape that `function` returned, as float64."""
    result = _tensor(function, *inputs, shape=shape)
    if result.is_complex() or not bool(torch.isfinite(result).all()):
        raise fail(function, "returned complex values, NaN or infinity; want real, finite ones")
    return result.detach().to(torch.float64)


def _tensor(function: Callable[..., Any], *inputs: Any, shape: Sequence[int]) -> Tensor:
    """The tensor of the wanted shape that `function` returned."""
    result = call(function, *inputs)
    if not isinstance(result, Tensor):
        raise fail(function, f"returned a {type(result).__name__}, want a torch.Tensor")
    if tuple(result.shape) != tuple(shape):
        raise fail(function, f"returned shape {tuple(result.shape)}, want {tuple(shape)}")
    return result


def number(function: Callable[..., Any], *inputs: Any) -> float:
    """One finite real number that `function` returned, as a Python number or a tensor of one element."""
    result = call(function, *inputs)
    if isinstance(result, Tensor) and result.numel() != 1:
        raise fail(function, f"returned shape {tuple(result.shape)}, want one number")
    try:
        value = complex(result.item() if isinstance(result, Tensor) else result)
    except (TypeError, ValueError) as problem:
        raise fail(function, f"returned a {type(result).__name__}, want one number") from problem
    if value.imag != 0:
        raise fail(function, "returned a complex number, want a real one")
    if not abs(value.real) < float("inf"):
        raise fail(function, f"returned {value.real}, want a finite number")
    return value.real


def close(a: Tensor, b: Tensor, tolerance: float = CLOSE) -> bool:
    """Whether two tensors agree, relative to the largest value of either."""
    scale = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a - b).abs().max()) <= tolerance * scale


def proportional(a: Tensor, b: Tensor, tolerance: float = CLOSE) -> complex | None:
    """The factor c for which a = c · b, or None where there is no such factor."""
    b_norm = torch.linalg.vector_norm(b)
    if float(b_norm) == 0:
        return None
    factor = torch.vdot(b.flatten(), a.flatten()) / b_norm**2
    return complex(factor) if abs(complex(factor)) > 1e-12 and close(a, factor * b, tolerance) else None
