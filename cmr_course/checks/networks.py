"""Checks of networks and their training: how far convolutions see, circular time, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from cmr_course.checks.asking import answer, close, draw, fail, number, passed, source

Series = Complex[Tensor, "frame y x"]


def check_reach(function: Callable[[int, int, int], float]) -> None:
    """f(layers, kernel, stride) → how many pixels of the input one output of the last layer sees along an axis.

    One convolution of `stride` taps and that stride comes first (none where stride is 1), then `layers` of `kernel`
    taps each, at stride one.

    Raises:
        CheckError: what it returns instead.
    """
    for layers, kernel, stride in ((1, 3, 1), (4, 3, 1), (8, 3, 2), (2, 5, 1), (3, 3, 4), (5, 1, 2)):
        got = number(function, layers, kernel, stride)
        wanted = _reach(layers, kernel, stride)
        if got == wanted:
            continue
        told = f"returns {got:g} for {layers} layers of {kernel} taps after a stride of {stride}"
        if got == layers * kernel:
            raise fail(function, f"{told}; neighbouring windows overlap")
        if got == layers * (kernel - 1):
            raise fail(function, f"{told}; the pixel in the middle counts, too")
        if got == layers * (kernel - 1) + 1:
            raise fail(function, f"{told}; behind a stride each step is {stride} pixels of the input wide")
        raise fail(function, f"{told}; in a network of that shape, {wanted} pixels change that output")
    passed("as many pixels as change the output of such a network")


def _reach(layers: int, kernel: int, stride: int) -> int:
    """Counted in a network whose weights are all one: which pixels one output depends on."""
    size = stride * (2 * layers * kernel + 3)
    image = torch.zeros(1, 1, size, requires_grad=True)
    x = nn.functional.conv1d(image, torch.ones(1, 1, stride), stride=stride)
    for _ in range(layers):
        x = nn.functional.conv1d(x, torch.ones(1, 1, kernel), padding="same")
    x[0, 0, x.shape[-1] // 2].backward()
    assert image.grad is not None
    return int((image.grad != 0).sum())


def check_moving_mean(function: Callable[[Series], Series]) -> None:
    """f(series) → the mean of each frame with the one before and the one after; the beat begins again where it ends.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(71)
    for frames in (5, 8, 3, 2, 1):
        series = draw((frames, 4, 3), generator)
        got = answer(function, series, shape=tuple(series.shape))
        wanted = (series.roll(1, 0) + series + series.roll(-1, 0)) / 3
        if close(got, wanted):
            continue
        zeros = torch.zeros_like(series[:1])
        if close(got, (torch.cat([zeros, series[:-1]]) + series + torch.cat([series[1:], zeros])) / 3):
            raise fail(function, "takes the frame before the first and after the last for zero; the beat is circular")
        first, last = torch.cat([series[:1], series[:-1]]), torch.cat([series[1:], series[-1:]])
        if close(got, (first + series + last) / 3):
            raise fail(function, "repeats the first and the last frame; the beat goes on with its other end")
        if close(got, 3 * wanted):
            raise fail(function, "sums; a mean of three is wanted")
        rolled = answer(function, series.roll(1, 0), shape=tuple(series.shape))
        if not close(rolled, got.roll(1, 0)):
            raise fail(function, f"gives something else when {frames} frames begin a frame later: time is not circular")
        raise fail(function, f"is not the mean of each of {frames} frames with its two neighbours")
    passed("the mean of three frames, whichever frame is called the first")


def check_best_step(function: Callable[[Sequence[float], int], float]) -> None:
    """f(scores, patience) → index of the validation whose weights are kept, higher scores being better.

    The training stops once `patience` validations in a row have not been better than the best one; those after that are
    never made.

    Raises:
        CheckError: what it returns instead.
    """
    cases: tuple[tuple[list[float], int], ...] = (
        ([1.0, 2.0, 3.0], 2),
        ([1.0, 3.0, 2.0, 2.5, 9.0], 2),
        ([1.0, 3.0, 2.0, 4.0, 3.0, 3.5, 3.9], 3),
        ([5.0, 4.0, 6.0], 1),
        ([5.0, 4.0, 6.0], 2),
        ([2.0, 2.0, 2.0, 2.1], 2),
        ([2.0, 2.0, 2.0, 2.1], 3),
        ([0.0], 1),
    )
    for scores, patience in cases:
        got = number(function, scores, patience)
        best, waited = 0, 0
        for index in range(1, len(scores)):
            best, waited = (index, 0) if scores[index] > scores[best] else (best, waited + 1)
            if waited == patience:
                break
        if got == best:
            continue
        told = f"returns {got:g} for {scores} and a patience of {patience}"
        if got == max(range(len(scores)), key=scores.__getitem__):
            raise fail(function, f"{told}; by then the training had stopped")
        if got == min(range(len(scores)), key=scores.__getitem__):
            raise fail(function, f"{told}; higher is better")
        raise fail(function, f"{told}; the best before it stopped is number {best}")
    passed("the best validation before the training stopped")
