"""Checks of memory along time: which weights are shared, a sweep, both ways of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from cmr_course.checks.asking import close, draw, fail, number, passed, picture, source

Frames = Float[Tensor, "frame channel y x"]
Kernel = Float[Tensor, "channel_ channel 3 3"]
Sweep = Callable[[Frames], Frames]


def check_crnn_parameters(function: Callable[[int, int, int], int]) -> None:
    """f(filters, layers, iterations) → how many numbers CRNN-MRI learns.

    Convolutions of 3 × 3 taps with a bias each: three in the layer that is recurrent over frames, two in each of those
    between, one in the last; two channels come in and go out. Sweeps and iterations share them.

    Raises:
        CheckError: what it returns instead.
    """
    for filters, layers, iterations in ((64, 5, 5), (32, 5, 5), (8, 3, 2), (5, 2, 7)):
        got = number(function, filters, layers, iterations)
        first, square = _numbers(2, filters), _numbers(filters, filters)
        last, between = _numbers(filters, 2), (layers - 2) * 2
        right = first + (2 + between) * square + last
        if got == right:
            continue
        biases = (3 + between) * filters + 2
        mistakes = {
            "counts the weights of every iteration; they are one set": iterations * right,
            "counts a cell for each direction; both sweeps have one": right + first + 2 * square,
            "leaves out the biases": right - biases,
            "counts one convolution in each layer between; there are two, one for what was carried": right
            - (layers - 2) * square,
            "counts the first layer with as many channels coming in as go out": right - first + square,
            "leaves out the convolution of what the iteration before has left": right - square,
        }
        for says, wrong in mistakes.items():
            if got == wrong:
                raise fail(function, says)
        raise fail(function, f"returns {got:g} for {filters} filters, {layers} layers; list the convolutions first")
    passed("one set of weights, however many iterations and directions")


def _numbers(before: int, after: int) -> int:
    """Of a convolution of 3 × 3 taps with a bias."""
    return 9 * before * after + after


def check_sweep(function: Callable[[Frames, Kernel], Frames]) -> None:
    """f(drive, kernel) → h_t = ReLU(drive_t + kernel * h_{t−1}) of all frames, with h = 0 before the first.

    drive: (frame, channel, y, x). kernel: 3 × 3 taps, (channel, channel, 3, 3), of a convolution that keeps the matrix,
    with zeros around the image.

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(121)
    drive = draw((5, 2, 6, 7), generator).real
    kernel = 0.3 * draw((2, 2, 3, 3), generator).real
    got = picture(function, drive, kernel, shape=drive.shape)
    if close(got, _sweep(drive, kernel)):
        passed("every frame knows all that came before it, and nothing of what comes after")
        return
    earlier = torch.cat([torch.zeros_like(drive[:1]), drive[:-1]])
    mistakes = {
        "has no ReLU": _sweep(drive, kernel, rectified=False),
        "goes backward in time": _sweep(drive.flip(0), kernel).flip(0),
        "looks at the drive of the frame before, not at its state, and so forgets all that came earlier": torch.relu(
            drive + _moved(earlier, kernel)
        ),
        "applies the ReLU to what is remembered only, not to the sum": _late(drive, kernel),
        "does not use what came before": torch.relu(drive),
        "multiplies pixel by pixel with the middle tap; it wants a convolution": _sweep(drive, _middle(kernel)),
    }
    for says, wrong in mistakes.items():
        if close(got, wrong):
            raise fail(function, says)
    if not close(got[:1], torch.relu(drive[:1])):
        raise fail(function, "is wrong in the first frame already; the state before it is zero")
    raise fail(function, "is right in the first frame and not in those after it; which state does frame 1 see?")


def check_both_ways(function: Callable[[Frames, Sweep], Frames]) -> None:
    """f(drive, sweep) → the sum of a sweep forward in time and of one backward; drive: (frame, channel, y, x).

    sweep: what goes forward, from (frame, channel, y, x) to the same. Frame t of the sum belongs to frame t.

    Raises:
        CheckError: what it returns instead.
    """
    drive = draw((6, 2, 4, 3), source(122)).real

    def forward(series: Frames) -> Frames:
        return torch.relu(series.cumsum(0))

    there, back = forward(drive), forward(drive.flip(0)).flip(0)
    got = picture(function, drive, forward, shape=drive.shape)
    if not close(got, there + back):
        mistakes = {
            "forgets to turn the backward sweep round again: its frame 0 is the last": there + back.flip(0),
            "does not turn the series round before the backward sweep": 2 * there,
            "goes forward only": there,
            "goes backward only": back,
            "takes the mean of both, not the sum": (there + back) / 2,
            "sweeps over the sum of the series and its reverse; sweep first, then add": forward(drive + drive.flip(0)),
        }
        for says, wrong in mistakes.items():
            if close(got, wrong):
                raise fail(function, says)
        raise fail(function, "is not the sum of both sweeps; compare it with them frame by frame")
    passed("what is reversed in time comes out reversed in time")


def _moved(series: Frames, kernel: Kernel) -> Frames:
    return nnf.conv2d(series, kernel, padding=1)


def _sweep(drive: Frames, kernel: Kernel, *, rectified: bool = True) -> Frames:
    state, found = torch.zeros_like(drive[:1]), []
    for frame in drive.split(1):
        state = frame + _moved(state, kernel)
        state = torch.relu(state) if rectified else state
        found.append(state)
    return torch.cat(found)


def _late(drive: Frames, kernel: Kernel) -> Frames:
    state, found = torch.zeros_like(drive[:1]), []
    for frame in drive.split(1):
        state = frame + torch.relu(_moved(state, kernel))
        found.append(state)
    return torch.cat(found)


def _middle(kernel: Kernel) -> Kernel:
    alone = torch.zeros_like(kernel)
    alone[..., 1, 1] = kernel[..., 1, 1]
    return alone
