"""Checks of what a feature bank is made of, and of daggers in tables."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cmr_course.checks.asking import close, draw, fail, number, passed, picture, source

Maps = Float[Tensor, "cascade frame channel y x"]
Mix = Float[Tensor, "channel cascade_channel"]
Bias = Float[Tensor, " channel"]
LEVELS = 3


def check_bank_parameters(function: Callable[[int, int], int]) -> None:
    """f(cascades, channels) → how many numbers a feature bank with the fusion ``conv`` learns.

    For each cascade but the first and each of three levels a 1 × 1 convolution with a bias, from the maps of all
    cascades before, side by side, to as many channels as one map has.

    Raises:
        CheckError: what it returns instead.
    """
    for cascades, channels in ((5, 64), (5, 20), (2, 3), (7, 4)):
        got = number(function, cascades, channels)
        before = range(1, cascades)
        square = channels**2
        right = LEVELS * sum(n * square + channels for n in before)
        if got == right:
            continue
        mistakes = {
            "counts one level; the bank has three": right // LEVELS,
            "leaves out the biases": right - LEVELS * len(before) * channels,
            "counts one map for each cascade; the bank shows all those before it": LEVELS
            * len(before)
            * (square + channels),
            "gives every cascade as many maps as the last one has": LEVELS
            * len(before)
            * (len(before) * square + channels),
            "counts a cascade too many: the last one's maps are asked by nobody": LEVELS
            * sum(n * square + channels for n in range(1, cascades + 1)),
            "counts kernels of 3 × 3 taps; these have one tap": LEVELS * sum(9 * n * square + channels for n in before),
        }
        for says, wrong in mistakes.items():
            if got == wrong:
                raise fail(function, says)
        raise fail(function, f"returns {got:g} for {cascades} cascades, {channels} channels; list the convolutions")
    passed("each cascade asks all before it, so that the bank grows with the square of their number")


def check_fuse(function: Callable[[Maps, Mix, Bias], Tensor]) -> None:
    """f(maps, weight, bias) → a 1 × 1 convolution of all maps side by side, (frame, channel, y, x).

    maps: (cascade, frame, channel, y, x), the oldest first. weight: (channel, cascade · channel), the columns of the
    oldest cascade first. bias: (channel).

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(131)
    cascades, frames, channels = 3, 4, 2
    maps = draw((cascades, frames, channels, 5, 6), generator).real
    weight = draw((channels, cascades * channels), generator).real
    bias = draw((channels,), generator).real
    got = picture(function, maps, weight, bias, shape=maps.shape[1:])
    if close(got, _fused(maps, weight, bias)):
        passed("all that earlier cascades have seen, as one map")
        return
    mistakes = {
        "leaves out the bias": _fused(maps, weight, 0 * bias),
        "takes the newest cascade first": _fused(maps.flip(0), weight, bias),
        "puts the first channels of all cascades first, then the second ones; keep each cascade's together": _fused(
            maps, weight.unflatten(1, (channels, cascades)).transpose(1, 2).flatten(1), bias
        ),
        "takes the newest map only": _fused(maps[-1:], weight[:, -channels:], bias),
        "applies a ReLU; a fusion has none": torch.relu(_fused(maps, weight, bias)),
        "takes the mean over cascades; the weights alone say how much each counts": _fused(maps, weight, bias)
        / cascades,
    }
    for says, wrong in mistakes.items():
        if close(got, wrong):
            raise fail(function, says)
    raise fail(function, "is not the convolution of the maps side by side; compare one pixel of one frame by hand")


def _fused(maps: Maps, weight: Mix, bias: Bias) -> Tensor:
    columns = weight.unflatten(1, (len(maps), -1))
    return torch.einsum("okc,kfcyx->foyx", columns, maps) + bias[:, None, None]


def check_daggers(function: Callable[[Float[Tensor, " test"], float], Bool[Tensor, " test"]]) -> None:
    """f(p, level) → which of several tests are significant at `level` after Bonferroni; p: their p-values.

    Raises:
        CheckError: what it returns instead.
    """
    for count in (5, 4, 1, 12):
        level = 0.05
        share = level / count
        # About the limit, about those of the usual mistakes, and far from all of them.
        near = [share * (1 - 1e-3), share * (1 + 1e-3), level * 0.9, level * 1.5, 1e-6, 0.4, share * 1.2]
        for first in range(len(near)):
            p = torch.tensor([near[(first + i) % len(near)] for i in range(count)], dtype=torch.float64)
            _ask(function, p, level)
    passed("the more tests, the smaller each p-value has to be")


def _ask(function: Callable[..., Tensor], p: Tensor, level: float) -> None:
    got = picture(function, p, level, shape=p.shape) > 0.5
    count = len(p)
    if torch.equal(got, p < level / count):
        return
    mistakes = {
        "compares with the level itself; there are several tests": p < level,
        "divides by one less than there are tests; each of them counts": p < level / max(count - 1, 1),
        "divides by one more than there are tests": p < level / (count + 1),
        "says which are not significant": p >= level / count,
        "multiplies the level by the number of tests; divide": p < level * count,
    }
    for says, wrong in mistakes.items():
        if torch.equal(got, wrong):
            raise fail(function, says)
    raise fail(function, f"marks {got.tolist()} of p = {[round(float(one), 4) for one in p]} at {level:g}")
