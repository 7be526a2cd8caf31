"""Conjugate gradients for a Hermitian positive definite system, many frames at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.validate import (
    is_number,
    require,
    require_axes,
    require_complex,
    require_finite,
    require_whole,
    say,
)

Image = Complex[Tensor, "batch frame y x"]


def inner(a: Image, b: Image) -> Float[Tensor, "batch frame 1 1"]:
    """Re ⟨a, b⟩ of each frame. In exact arithmetic the products that CG needs are real."""
    return (a.conj() * b).real.sum((-2, -1), keepdim=True)


def conjugate_gradient(
    normal: Callable[[Image], Image],
    right_side: Image,
    *,
    iterations: int,
    tolerance: float,
    on_step: Callable[[Image], None] | None = None,
) -> Image:
    """Solve `normal`(x) = `right_side` from x = 0 (Hestenes & Stiefel 1952, doi:10.6028/jres.049.044).

    normal: a linear, Hermitian, positive definite operator that leaves frames apart: (batch, frame, y, x) to the same.
    Every frame is its own system with its own step lengths, all advanced in one loop, so the answer for a frame does
    not depend on its neighbours. A frame rests once its residual is below `tolerance` times its right side; the loop
    ends when all rest, or after `iterations`. on_step: called with the image after each iteration.
    """
    require_axes("right_side", right_side, "batch frame y x")
    require_complex("right_side", right_side)
    require_finite("right_side", right_side)
    require_whole("iterations", iterations)
    require_tolerance(tolerance)
    x = torch.zeros_like(right_side)
    residual = right_side
    direction = residual
    energy = inner(residual, residual)
    empty = (residual == 0).all(-1, keepdim=True).all(-2, keepdim=True)
    smallest = torch.finfo(energy.dtype).tiny / torch.finfo(energy.dtype).eps  # below, squares lose their digits
    held = torch.isfinite(energy) & ((energy > smallest) | empty)
    require(bool(held.all()), f"right_side: got values whose squares {energy.dtype} cannot hold, want them rescaled")
    target = tolerance**2 * energy
    for _ in range(iterations):
        active = energy > target
        if not bool(active.any()):
            break
        image = normal(direction)
        curvature = inner(direction, image)
        step = torch.where(active, energy / torch.where(active, curvature, 1), 0)
        x = x + step * direction
        residual = residual - step * image
        previous, energy = energy, inner(residual, residual)
        direction = residual + torch.where(active, energy / torch.where(active, previous, 1), 0) * direction
        if on_step is not None:
            on_step(x)
    return x


def require_tolerance(tolerance: float) -> None:
    """`tolerance` must be a number from 0 to below 1."""
    good = is_number(tolerance) and 0 <= tolerance < 1
    require(good, f"tolerance: got {say(tolerance)}, want a number from 0 to below 1")
