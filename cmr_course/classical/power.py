"""The largest eigenvalue of a normal operator: it sets the step of every gradient method."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.cg import require_tolerance
from cmr_course.validate import require, require_axes, require_complex, require_generator, require_whole

Image = Complex[Tensor, "batch frame y x"]


def largest_eigenvalue(
    normal: Callable[[Image], Image],
    like: Image,
    *,
    iterations: int = 30,
    tolerance: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " batch"]:
    """Largest eigenvalue of `normal`, of each batch item, by the power iteration (Golub & Van Loan 2013, 8.2.1).

    normal: a linear, Hermitian operator without negative eigenvalues that leaves batch items apart.
    like: an image of the shape, dtype and device that `normal` takes; its values are not used.
    The estimate ⟨v, Hv⟩, ‖v‖ = 1, never decreases and never exceeds the eigenvalue. An item rests once its estimate
    grows by less than the share `tolerance`; the loop ends when all rest, or after `iterations`. Where eigenvalues
    crowd below the largest, as those of undersampled Fourier encoding do below one, the estimate is closer to the
    largest than the vector is to an eigenvector, and only the estimate is returned.
    generator: draws the start. Without it the start is always the same: every batch item begins from one random image
    of a fixed seed, so that an item has the same answer in any batch.
    """
    require_axes("like", like, "batch frame y x")
    require_complex("like", like)
    require_whole("iterations", iterations)
    require_tolerance(tolerance)
    vector = _normalised(_start(like, generator))
    value = torch.zeros_like(vector[:, 0, 0, 0].real)
    active = torch.ones_like(value, dtype=torch.bool)
    for _ in range(iterations):
        image = normal(vector)
        found = torch.where(active, (vector.conj() * image).real.sum((1, 2, 3)), value)
        good = bool(torch.isfinite(found).all())
        require(good, "normal: got a product that is NaN or infinite, want a bounded operator")
        active = found - value > tolerance * found
        value = torch.maximum(value, found)
        if not bool(active.any()):
            break
        vector = _normalised(image)
    return value


def _start(like: Image, generator: torch.Generator | None) -> Image:
    """A random image for each batch item, or the same one for all where there is no `generator`."""
    if generator is not None:
        require_generator("generator", generator)
        drawn = torch.randn(like.shape, dtype=like.dtype, generator=generator, device=generator.device)
        return drawn.to(like.device)
    fixed = torch.Generator().manual_seed(0)
    return torch.randn(like.shape[1:], dtype=like.dtype, generator=fixed).to(like.device).expand_as(like)


def _normalised(image: Image) -> Image:
    """`image` with norm one in each batch item; what is zero stays zero."""
    length = torch.linalg.vector_norm(image, dim=(1, 2, 3), keepdim=True)
    return image / torch.where(length > 0, length, 1)
