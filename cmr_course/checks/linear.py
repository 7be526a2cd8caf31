"""Checks of linear operators: adjoint, unitary, and conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.checks.asking import answer, close, draw, fail, passed, source

Operator = Callable[[Tensor], Tensor]


def _require_linear(function: Operator, shape: Sequence[int], out: Sequence[int], generator: torch.Generator) -> None:
    x, y = draw(shape, generator), draw(shape, generator)
    weight = complex(draw((), generator))
    both = answer(function, x + weight * y, shape=out)
    if not close(both, answer(function, x, shape=out) + weight * answer(function, y, shape=out)):
        raise fail(function, "is not linear: f(x + c·y) differs from f(x) + c·f(y) for complex x, y and c")


def check_adjoint(
    forward: Operator,
    adjoint: Operator,
    domain_shape: Sequence[int],
    range_shape: Sequence[int],
    *,
    tolerance: float = 1e-10,
) -> None:
    """⟨A x, y⟩ = ⟨x, Aᴴ y⟩ for random complex x (`domain_shape`) and y (`range_shape`), and both are linear.

    forward, adjoint: A and Aᴴ, called with complex128 tensors. tolerance: relative to ‖A x‖·‖y‖.

    Raises:
        CheckError: the property that does not hold.
    """
    generator = source()
    _require_linear(forward, domain_shape, range_shape, generator)
    _require_linear(adjoint, range_shape, domain_shape, generator)
    ratios = []
    for _ in range(3):
        x, y = draw(domain_shape, generator), draw(range_shape, generator)
        image, back = answer(forward, x, shape=range_shape), answer(adjoint, y, shape=domain_shape)
        left, right = torch.vdot(image.flatten(), y.flatten()), torch.vdot(x.flatten(), back.flatten())
        if not bool(image.any()):
            raise fail(forward, "returns zero for a random input, of which everything is the adjoint")
        size = max(float(image.norm() * y.norm()), float(x.norm() * back.norm()), 1e-30)
        if float((left - right).abs()) > tolerance * size:
            bilinear = (image * y).sum() - (x * back).sum()
            if float(bilinear.abs()) <= max(tolerance, 1e-9) * size:
                raise fail(adjoint, "is the transpose of the forward operator, not its adjoint: a conjugate is missing")
            ratios.append(complex(left / right))
    if ratios and len(ratios) == 3 and max(abs(r / ratios[0] - 1) for r in ratios) < 1e-6:
        raise fail(adjoint, "is the adjoint up to a constant factor: one of the two is scaled differently")
    if ratios:
        raise fail(adjoint, "is not the adjoint of the forward operator: ⟨A x, y⟩ differs from ⟨x, Aᴴ y⟩")
    passed("linear, and the adjoint is the adjoint")


def check_unitary(transform: Operator, inverse: Operator, shape: Sequence[int], *, tolerance: float = 1e-10) -> None:
    """`transform` keeps the energy of every complex tensor of `shape`, and `inverse` undoes it in either order.

    A linear map with these properties is unitary, so that its inverse is its adjoint.

    Raises:
        CheckError: the property that does not hold.
    """
    generator = source(1)
    _require_linear(transform, shape, shape, generator)
    x = draw(shape, generator)
    k, back = answer(transform, x, shape=shape), answer(inverse, x, shape=shape)
    ratio = float(k.norm() / x.norm())
    if abs(ratio - 1) > max(tolerance, 1e-12):
        change = "multiplied" if ratio > 1 else "reduced"
        raise fail(transform, f"does not keep the energy: the norm is {change}, to {ratio:.3g} times what it was")
    for first, second, start in ((transform, inverse, k), (inverse, transform, back)):
        if not close(answer(second, start, shape=shape), x, max(tolerance, 1e-12)):
            raise fail(second, f"does not undo {getattr(first, '__name__', 'the other')} on a random complex input")
    passed("keeps the energy, and its adjoint is its inverse")


def check_conjugate_gradient(
    function: Callable[[Callable[[Tensor], Tensor], Complex[Tensor, "*shape"]], Complex[Tensor, "*shape"]],
) -> None:
    """f(normal, right_side) → x solves normal(x) = right_side for a complex Hermitian positive definite `normal`.

    In exact arithmetic n unknowns take at most n iterations (Hestenes and Stiefel 1952, doi:10.6028/jres.049.044), so
    `normal` may be applied n + 1 times: once more for the first residual. Right sides have one axis or two.

    Raises:
        CheckError: what it does not do.
    """
    for seed, shape in enumerate([(12,), (4, 4)]):
        generator = source(20 + seed)
        n = torch.Size(shape).numel()
        basis = torch.linalg.qr(draw((n, n), generator)).Q
        matrix = (basis * torch.linspace(1, 30, n, dtype=torch.float64)) @ basis.mH
        calls = [0]

        def normal(x: Tensor, matrix: Tensor = matrix, calls: list[int] = calls) -> Tensor:
            calls[0] += 1
            return (matrix @ x.to(torch.complex128).flatten()).reshape(x.shape)

        truth = draw(shape, generator)
        right_side = normal(truth)
        calls[0] = 0
        x = answer(function, normal, right_side, shape=shape)
        used, left = calls[0], float((normal(x) - right_side).norm() / right_side.norm())
        if used == 0:
            raise fail(function, "never applied the operator it was given")
        if left > CONVERGED:
            raise fail(
                function,
                f"leaves {100 * left:.2g} % of the right side after {used} applications for {n} complex unknowns; "
                "look at the inner products and at how a new direction is made",
            )
        if used > n + 1:
            raise fail(function, f"applied the operator {used} times for {n} unknowns; {n + 1} are enough")
    nothing = torch.zeros(6, dtype=torch.complex128)
    if float(answer(function, lambda x: 2 * x, nothing, shape=(6,)).abs().max()) > 0:
        raise fail(function, "does not return zero for a right side of zero")
    passed("solves complex Hermitian systems in at most as many iterations as unknowns")


CONVERGED = 1e-5
"""Relative residual that counts as solved."""
