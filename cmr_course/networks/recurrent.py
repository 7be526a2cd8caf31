"""Convolutions with a memory: along the frames of a series, and from one cascade to the next.

Inside, a series is (frame · item, channel, y, x), the items of a batch beside each other in every frame: all frames are
one batch for what does not look along time, a frame is one piece of memory, and a `roll` by the number of items moves
all by one frame.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from cmr_course.validate import require, require_whole, say

Frames = Float[Tensor, "frame_item _ _ _"]
"""(frame · item, channel, y, x); channels and matrix may change from layer to layer."""
Direction = Literal["forward", "backward", "both"]


def to_frames(series: Float[Tensor, "item channel frame y x"]) -> Frames:
    """What is inside here of what is outside."""
    return series.permute(2, 0, 1, 3, 4).flatten(0, 1)


def to_series(frames: Frames, items: int) -> Float[Tensor, "item channel frame y x"]:
    """The inverse of :func:`to_frames`."""
    return frames.unflatten(0, (-1, items)).permute(1, 2, 0, 3, 4)


class Recurrence(nn.Module):
    """h_t = ReLU(W * x_t + V * h_{t−1} + U * c_t), with biases, over the frames t (Qin et al. 2018,
    doi:10.1109/TMI.2018.2863670, equation 9).

    x is the input, c what the cascade before has left (`carried`), h begins at zero, * is a convolution of 3 × 3 taps,
    `dilation` pixels apart. before, channels: of x; of h and c.
    direction: ``forward`` in time, ``backward`` (t + 1 for t − 1), or ``both``, with the same W, V and U, summed.
    Only V * h runs frame by frame; both directions of it run in one batch.
    """

    def __init__(self, before: int, channels: int, *, dilation: int = 1, direction: Direction = "forward") -> None:
        super().__init__()
        for name, value in {"before": before, "channels": channels, "dilation": dilation}.items():
            require_whole(name, value)
        known = direction in get_args(Direction)
        require(known, f"direction: got {say(direction)}, want one of {', '.join(get_args(Direction))}")
        self.direction = direction
        self.input = same(before, channels, dilation)
        self.hidden = same(channels, channels, dilation)
        self.carried = same(channels, channels, dilation)

    def forward(self, x: Frames, carried: Frames | None, items: int) -> Frames:
        """H of all frames. carried: None for zeros. items: of the batch."""
        assert self.hidden.bias is not None
        seen = self.input(x)
        drive = seen + (remembered(self.carried, carried) + self.hidden.bias[:, None, None]).to(seen.dtype)
        ways = {"forward": (1,), "backward": (-1,), "both": (1, -1)}[self.direction]
        with torch.autocast(drive.device.type, enabled=False):  # the sweep keeps to the type of what it is given
            return _Sweep.apply(drive, self.hidden.weight, self.hidden.dilation, items, ways)


class _Sweep(torch.autograd.Function):
    """The sum over `ways` of h_t = ReLU(d_t + V * h_{t−way}).

    The backward pass goes back frame by frame, too, for the gradient of d; that of V is a sum over all frames, and one
    call for all of them, where autograd would make one for each.
    """

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, weight: Tensor, reach: tuple[int, int], items: int, ways: tuple[int, ...]
    ) -> Tensor:
        kernel = weight.to(drive.dtype)  # drive may be bfloat16
        states = [torch.empty_like(drive) for _ in ways]
        number = len(drive) // items
        for step in range(number):
            places = [_frame(step if way > 0 else number - 1 - step, items) for way in ways]
            pushed = [drive[place] for place in places]
            if step:
                before = [s[_frame(_at(p, items) - w, items)] for s, p, w in zip(states, places, ways, strict=True)]
                moved = nnf.conv2d(_beside(before), kernel, padding=reach, dilation=reach)
                pushed = [m.add_(d) for m, d in zip(moved.split(items), pushed, strict=True)]
            for state, place, value in zip(states, places, pushed, strict=True):
                torch.clamp_min(value, 0, out=state[place])
        ctx.save_for_backward(kernel, *states)
        ctx.reach, ctx.items, ctx.ways, ctx.dtype = reach, items, ways, weight.dtype
        return states[0] if len(ways) == 1 else states[0] + states[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        kernel, *states = ctx.saved_tensors
        reach, items, ways = ctx.reach, ctx.items, ctx.ways
        after = gradients[0]
        number = len(after) // items
        found = [torch.empty_like(state) for state in states]
        for step in range(number - 1, -1, -1):
            places = [_frame(step if way > 0 else number - 1 - step, items) for way in ways]
            arrived = [after[place] for place in places]
            if step < number - 1:
                later = [f[_frame(_at(p, items) + w, items)] for f, p, w in zip(found, places, ways, strict=True)]
                back = nnf.conv_transpose2d(_beside(later), kernel, padding=reach, dilation=reach)
                arrived = [b.add_(a) for b, a in zip(back.split(items), arrived, strict=True)]
            for one, state, place, value in zip(found, states, places, arrived, strict=True):
                torch.mul(value, state[place] > 0, out=one[place])
        slope = torch.zeros_like(kernel)
        if number > 1:
            for one, state, way in zip(found, states, ways, strict=True):
                earlier, later_ = (state[:-items], one[items:]) if way > 0 else (state[items:], one[:-items])
                slope += conv2d_weight(earlier, list(kernel.shape), later_, padding=reach, dilation=reach)
        return found[0] if len(ways) == 1 else found[0] + found[1], slope.to(ctx.dtype), None, None, None


def _frame(number: int, items: int) -> slice:
    return slice(number * items, (number + 1) * items)


def _at(place: slice, items: int) -> int:
    return int(place.start) // items


def _beside(frames: list[Tensor]) -> Tensor:
    return frames[0] if len(frames) == 1 else torch.cat(frames)


class SpaceTime(nn.Module):
    """A convolution in each frame, ReLU, then one of three frames in each pixel, circular in time ("2 + 1-D").

    space: of (batch, channel, y, x), to `channels`.
    """

    def __init__(self, space: nn.Module, channels: int) -> None:
        super().__init__()
        require_whole("channels", channels)
        self.space = space
        self.time = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Frames, items: int) -> Frames:
        """To `channels`, and to another matrix where `space` changes it. items: of the batch."""
        inside = torch.relu(self.space(x))
        before, at, after = (self.time.weight[:, :, tap, None, None] for tap in range(3))
        found = nnf.conv2d(inside, at, self.time.bias)
        found = found + nnf.conv2d(inside.roll(items, 0), before)
        return found + nnf.conv2d(inside.roll(-items, 0), after)


def remembered(convolution: nn.Conv2d, carried: Frames | None) -> Tensor:
    """`convolution` of what was carried here; None, which stands for zeros, leaves the bias."""
    if carried is not None:
        return convolution(carried)
    assert convolution.bias is not None
    # Its weight meets only zeros and has a gradient of zero; without the product it would have none at all.
    unseen = 0.0 * convolution.weight.sum() if convolution.weight.requires_grad else 0.0
    return (convolution.bias + unseen)[:, None, None]


def same(before: int, after: int, dilation: int = 1, kernel: int = 3) -> nn.Conv2d:
    """A convolution with a bias that keeps the matrix."""
    return nn.Conv2d(before, after, kernel, padding=dilation * (kernel // 2), dilation=dilation)
