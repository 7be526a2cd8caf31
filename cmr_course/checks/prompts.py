"""Checks of unrolling with prompts: which frames are seen, whether maps agree, what a prompt is mixed of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.checks.asking import call, close, draw, fail, passed, picture, source
from cmr_course.coils import rss
from cmr_course.validate import is_whole

Maps = Complex[Tensor, "coil y x"]
Features = Float[Tensor, "batch channel y x"]
Components = Float[Tensor, "component channel_2 y_2 x_2"]


def check_neighbours(function: Callable[[int, int, int], Sequence[int]]) -> None:
    """f(t, total, frames) → indices of neighbouring frames on a circle of `total`, t in the middle.

    Raises:
        CheckError: what it returns instead.
    """
    for t, total, frames in ((5, 12, 5), (0, 12, 5), (11, 12, 3), (3, 8, 1), (1, 7, 7)):
        got = call(function, t, total, frames)
        asked = f"for t = {t} of {total} and {frames} frames"
        if isinstance(got, Tensor):
            got = got.tolist()
        if not isinstance(got, Sequence) or isinstance(got, str) or not all(is_whole(index) for index in got):
            raise fail(function, f"returned {got!r}, want whole numbers")
        found, half = [int(index) for index in got], frames // 2
        wanted = [(t + offset) % total for offset in range(-half, half + 1)]
        if found == wanted:
            continue
        if len(found) != frames:
            raise fail(function, f"returns {len(found)} frames {asked}")
        if any(not 0 <= index < total for index in found):
            raise fail(
                function, f"returns {found} {asked}; frames are counted from 0 to {total - 1}, and time is a circle"
            )
        if sorted(found) == sorted(wanted):
            raise fail(function, f"returns {found} {asked}; they should follow each other in time, t in the middle")
        if found[half] != t:
            raise fail(function, f"returns {found} {asked}, in whose middle is frame {found[half]}")
        raise fail(function, f"returns {found} {asked}; the neighbours of the first frame are at the end of the beat")
    passed("neighbours on a circle, the frame itself in the middle")


def check_maps_agree(function: Callable[[Maps, Maps], Float[Tensor, "y x"]]) -> None:
    """f(first, second) → in each pixel |Σ S₁* S₂| over the lengths of both, and 0 where one of them is zero.

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(51)
    for shape in ((4, 6, 5), (2, 3, 7), (8, 4, 4)):
        first, second = draw(shape, generator), draw(shape, generator)
        first[:, 0, 0], second[:, 1, 1] = 0, 0
        got = picture(function, first, second, shape=shape[1:])
        lengths = rss(first[None, None])[0, 0] * rss(second[None, None])[0, 0]
        inner = (first.conj() * second).sum(0)
        wanted = inner.abs() / torch.where(lengths > 0, lengths, 1)
        if close(got, wanted):
            turned = first * draw((1, *shape[1:]), generator)
            own = picture(function, turned, first, shape=shape[1:])
            if not close(own, (lengths.new_ones(shape[1:]) * (rss(first[None, None])[0, 0] > 0))):
                raise fail(function, "is not 1 for maps that differ by one complex factor in each pixel")
            continue
        if close(got, inner.abs()):
            raise fail(function, "is larger for larger maps; divide by the lengths of both")
        if close(got, (first * second).sum(0).abs() / torch.where(lengths > 0, lengths, 1)):
            raise fail(function, "multiplies without the complex conjugate; phases add up instead of cancelling")
        if close(got, (first.abs() * second.abs()).sum(0) / torch.where(lengths > 0, lengths, 1)):
            raise fail(function, "takes magnitudes before the sum; phases between coils are lost")
        if close(got, inner.real / torch.where(lengths > 0, lengths, 1)):
            raise fail(function, "takes the real part; a phase that all coils share is no disagreement")
        raise fail(function, "is not the inner product over the coils, divided by both lengths")
    passed("1 where maps differ by a factor, and no agreement where there is no map")


def check_prompt_mixture(function: Callable[[Features, Components, Tensor, Tensor], Tensor]) -> None:
    """f(x, components, matrix, bias) → Σ w_l P_l for each item of the batch, w = softmax(matrix · means of x + bias).

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(53)
    for batch, channels, number, shape in ((2, 5, 3, (4, 8, 8)), (1, 3, 5, (2, 6, 4)), (3, 4, 2, (1, 5, 5))):
        x, components = (draw(size, generator).real.clone() for size in ((batch, channels, 6, 7), (number, *shape)))
        matrix, bias = (2 * draw(size, generator).real for size in ((number, channels), (number,)))
        got = picture(function, x, components, matrix, bias, shape=(batch, *shape))
        scores = x.mean((-2, -1)) @ matrix.T + bias
        if close(got, _mixed(scores.softmax(-1), components)):
            continue
        _say_mixture(function, got, x, components, scores, matrix, bias)
    passed("weights are positive and add up to one; each item of the batch has its own mixture")


def _mixed(weights: Tensor, components: Tensor) -> Tensor:
    return torch.einsum("bl,lcyx->bcyx", weights, components)


def _say_mixture(
    function: Callable[..., Tensor],
    got: Tensor,
    x: Tensor,
    components: Tensor,
    scores: Tensor,
    matrix: Tensor,
    bias: Tensor,
) -> None:
    """Raise the CheckError that names the mistake."""
    if close(got, _mixed(scores, components)):
        raise fail(function, "mixes by the linear map as it is; softmax makes weights of it")
    if len(x) > 1 and close(got, _mixed(scores.softmax(0), components)):
        raise fail(function, "takes the softmax over the batch; weights of one item add up to one")
    if close(got, _mixed((scores - bias).softmax(-1), components)):
        raise fail(function, "leaves out the bias")
    if close(got, _mixed((x.sum((-2, -1)) @ matrix.T + bias).softmax(-1), components)):
        raise fail(function, "sums over y and x; a mean does not depend on the size of the image")
    if close(got, components.mean(0).expand_as(got)):
        raise fail(function, "gives every component the same weight")
    raise fail(function, "is not Σ w_l P_l with w the softmax of the linear map of the means of x")
