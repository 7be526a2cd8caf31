"""Checks of priors: thresholds of numbers and singular values, a stopping rule, what neighbouring frames can lend."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from cmr_course.checks.asking import answer, call, close, draw, fail, number, passed, source
from cmr_course.validate import is_whole

Numbers = Complex[Tensor, "*shape"]
Series = Complex[Tensor, "frame y x"]
Step = Callable[[Tensor], Tensor]


def check_soft_threshold(function: Callable[[Numbers, float], Numbers]) -> None:
    """f(v, threshold) → v with magnitudes smaller by `threshold`, zero at least, and the phases of v.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(31)
    for precision in (torch.complex128, torch.complex64):
        zeros = torch.zeros(3, dtype=precision)
        if bool(answer(function, zeros, 0.5, shape=(3,)).abs().max() > 0):
            raise fail(function, "makes something of zero; zero stays zero")
    for shape in ((40,), (3, 4, 5)):
        values, threshold = draw(shape, generator), 0.2 + float(torch.rand((), generator=generator))
        got, magnitude = answer(function, values, threshold, shape=shape), values.abs()
        phase = values / magnitude
        if close(got, phase * (magnitude - threshold).clamp(min=0)):
            continue
        if close(got, values * (magnitude > threshold)):
            raise fail(function, "keeps large values as they are; the soft threshold shrinks them too")
        if close(got, phase * magnitude.clamp(max=threshold)):
            raise fail(function, "returns what is taken away; the rest is wanted")
        if close(got, phase * (magnitude - threshold)):
            raise fail(function, "turns small values around; below the threshold the result is zero")
        if close(got, _each_part(values, threshold)):
            raise fail(function, "shrinks real and imaginary part by themselves; shrink the magnitude, keep the phase")
        raise fail(function, f"has magnitudes other than max(|v| − {threshold:.2f}, 0), or other phases than v")
    passed("magnitudes shrink, phases stay, zero is zero")


def _each_part(values: Numbers, threshold: float) -> Numbers:
    """The soft threshold of real and imaginary part, each by itself: not what is meant for complex numbers."""
    parts = torch.view_as_real(values)
    return torch.view_as_complex(parts.sign() * (parts.abs() - threshold).clamp(min=0))


def check_shrink_rank(function: Callable[[Series, float], Series]) -> None:
    """f(series, threshold) → the series whose frame × pixel matrix has singular values smaller by `threshold`.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(32)
    for frames, height, width in ((5, 6, 7), (4, 9, 3)):
        fading = 0.5 ** torch.arange(frames, dtype=torch.float64)  # singular values of different size
        series = draw((frames, height, width), generator) * fading[:, None, None]
        left, sigma, right = torch.linalg.svd(series.flatten(1), full_matrices=False)
        threshold = float(sigma[1:3].mean())
        got = answer(function, series, threshold, shape=series.shape)

        def made(values: Tensor, left: Tensor = left, right: Tensor = right, like: Tensor = series) -> Tensor:
            return ((left * values) @ right).reshape(like.shape)

        if close(got, made((sigma - threshold).clamp(min=0))):
            continue
        if float(got.abs().max()) == 0:
            raise fail(function, "leaves nothing; the largest singular value is above the threshold, pixels are not")
        if close(got, made(torch.where(sigma > threshold, sigma, 0))):
            raise fail(function, "keeps the large singular values as they are; they shrink too")
        if close(got, made((sigma.square() - threshold).clamp(min=0).sqrt())):
            raise fail(function, "subtracts the threshold from squares; take the root of the eigenvalues first")
        if close(got, _of_each_frame(series, threshold)):
            raise fail(function, "shrinks each frame as a matrix of its own; one row of the matrix is one frame")
        raise fail(function, "has other singular values than max(μ − θ, 0), or other singular vectors than the series")
    passed("singular values shrink, and few are left")


def _of_each_frame(series: Series, threshold: float) -> Series:
    """Every frame with the singular values of its own y × x matrix shrunk: a common mistake."""
    left, sigma, right = torch.linalg.svd(series, full_matrices=False)
    return (left * (sigma - threshold).clamp(min=0)[:, None, :]) @ right


def check_stopping_rule(function: Callable[[Step, Tensor, float, int], tuple[Tensor, int]]) -> None:
    """f(step, x, tolerance, most) → the last x and how many steps were taken.

    x becomes step(x) until it changes by at most `tolerance` times its norm before the step, or for `most` steps.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(33)
    for unit, tolerance, most in ((1.0, 1e-2, 50), (1e3, 1e-2, 50), (1e-3, 1e-3, 50), (1.0, 1e-9, 4), (1.0, 0.9, 7)):
        goal, start = unit * draw((3, 4), generator), unit * draw((3, 4), generator)
        seen: list[Tensor] = []

        def step(x: Tensor, goal: Tensor = goal, seen: list[Tensor] = seen) -> Tensor:
            seen.append(goal + 0.7 * (x - goal))
            if len(seen) > 200:
                raise RuntimeError("more than 200 steps")
            return seen[-1]

        x, steps = _after(function, call(function, step, start, tolerance, most))
        wanted, limit = _steps_until(goal, start, tolerance), most
        if len(seen) > limit:
            raise fail(function, f"took {len(seen)} steps where at most {limit} were allowed")
        if len(seen) != min(wanted, limit):
            size = "larger" if unit > 1 else "smaller"
            where = "" if unit == 1 else f" of a signal a thousand times {size}"
            raise fail(function, f"took {len(seen)} steps{where}, want {min(wanted, limit)}; is the change a share?")
        if not close(x, seen[-1]):
            raise fail(function, "returns another image than that of the last step")
        if steps != len(seen):
            raise fail(function, f"says {steps} steps after {len(seen)}")
    passed("it stops when little changes, whatever the unit, and at the latest when it has to")


def _after(function: Callable[..., object], result: object) -> tuple[Tensor, int]:
    """The image and the number of steps that a reader's loop returned."""
    pair = isinstance(result, tuple) and len(result) == 2
    if not pair or not isinstance(result[0], Tensor) or not is_whole(result[1]):  # type: ignore[index]
        raise fail(function, "did not return an image and a number of steps; end with return x, count")
    image: Tensor = result[0]  # type: ignore[index]
    return image, int(result[1])  # type: ignore[index]


def _steps_until(goal: Tensor, x: Tensor, tolerance: float) -> int:
    """How many steps the rule takes without a limit."""
    for count in range(1, 201):
        new = goal + 0.7 * (x - goal)
        if float((new - x).norm()) <= tolerance * float(x.norm()):
            return count
        x = new
    return 200


def check_lent_samples(function: Callable[[Bool[Tensor, "frame ky"], int], float]) -> None:
    """f(sampled, reach) → share of (frame, line) that a frame at most `reach` away measured; time is circular.

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(34)
    for frames, lines, reach in ((12, 32, 0), (12, 32, 2), (7, 20, 1), (9, 24, 4), (5, 16, 8)):
        sampled = torch.rand((frames, lines), generator=generator) < 0.12
        sampled[0, 3], sampled[1:, 3] = True, False  # only the first frame has it: its neighbours on both sides gain
        got = number(function, sampled, reach)
        shifts = {name: range(low, high + 1) for name, low, high in (("both", -reach, reach), ("one", 0, reach))}
        share = {
            name: float(torch.stack([sampled.roll(s, 0) for s in some]).any(0).double().mean())
            for name, some in shifts.items()
        }
        if abs(got - share["both"]) < 1e-6:
            continue
        if abs(got - 100 * share["both"]) < 1e-4:
            raise fail(function, "returns per cent; a share lies between 0 and 1")
        if abs(got - float(sampled.double().mean())) < 1e-6:
            raise fail(function, "counts what each frame measured itself; its neighbours lend")
        if abs(got - share["one"]) < 1e-6:
            raise fail(function, "lends in one direction only; earlier and later frames both lend")
        if abs(got - _not_circular(sampled, reach)) < 1e-6:
            raise fail(function, "stops at the first and the last frame; the beat is a circle")
        raise fail(
            function, f"returns {got:.4g} for a reach of {reach} frames; which samples does some neighbour have?"
        )
    passed("own samples and those of neighbours on both sides of the circle")


def _not_circular(sampled: Bool[Tensor, "frame ky"], reach: int) -> float:
    """The share if the first frame did not follow the last."""
    frames = len(sampled)
    seen = [sampled[max(0, t - reach) : min(frames, t + reach + 1)].any(0) for t in range(frames)]
    return float(torch.stack(seen).double().mean())
