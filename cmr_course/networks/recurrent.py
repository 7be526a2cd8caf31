"""Convolutions with a memory: along the frames of a series, and from one cascade to the next.

Inside, series are (frame, batch, channel, y, x): a frame is then one piece of memory, and all frames together are one
batch for what does not look along time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.validate import require, require_whole, say

Frames = Float[Tensor, "frame batch _ _ _"]
"""(frame, batch, channel, y, x); channels and matrix may change from layer to layer."""
Direction = Literal["forward", "backward", "both"]


def each(layer: Callable[[Tensor], Tensor], frames: Frames) -> Frames:
    """`layer`, of (batch, channel, y, x), applied to every frame in one call."""
    return layer(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])


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

    def forward(self, x: Frames, carried: Frames | None = None) -> Frames:
        """(frame, batch, before, y, x) to (frame, batch, channels, y, x). carried: None for zeros."""
        return self.over_time(self.drive(x, carried))

    def drive(self, x: Frames, carried: Frames | None) -> Frames:
        """W * x + U * c and all biases: what does not depend on the frames around."""
        assert self.hidden.bias is not None
        return each(self.input, x) + remembered(self.carried, carried) + self.hidden.bias[:, None, None]

    def over_time(self, drive: Frames) -> Frames:
        """H of all frames."""
        if self.direction == "forward":
            return self._sweep(drive)
        if self.direction == "backward":
            return self._sweep(drive.flip(0)).flip(0)
        there, back = self._sweep(torch.cat([drive, drive.flip(0)], 1)).chunk(2, 1)
        return there + back.flip(0)

    def _sweep(self, drive: Frames) -> Frames:
        """From the first frame to the last."""
        weight, reach = self.hidden.weight, self.hidden.dilation
        states = [torch.relu(drive[0])]
        for frame in drive[1:]:
            pushed = nnf.conv2d(states[-1], weight, padding=reach, dilation=reach)
            states.append(torch.relu(frame + pushed))
        return torch.stack(states)


class SpaceTime(nn.Module):
    """A convolution in each frame, ReLU, then one of three frames in each pixel, circular in time ("2 + 1-D").

    space: of (batch, channel, y, x), to `channels`.
    """

    def __init__(self, space: nn.Module, channels: int) -> None:
        super().__init__()
        require_whole("channels", channels)
        self.space = space
        self.time = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Frames) -> Frames:
        """(frame, batch, channel, y, x) to the same with `channels`, and another matrix where `space` changes it."""
        inside = torch.relu(each(self.space, x))
        # One matrix for all three taps, and the frames are moved afterwards.
        taps = self.time.weight.permute(2, 0, 1).flatten(0, 1)[..., None, None]
        before, at, after = each(lambda frames: nnf.conv2d(frames, taps), inside).chunk(3, 2)
        assert self.time.bias is not None
        return before.roll(1, 0) + at + after.roll(-1, 0) + self.time.bias[:, None, None]


def remembered(convolution: nn.Conv2d, carried: Frames | None) -> Tensor:
    """`convolution` of what was carried here; None, which stands for zeros, leaves the bias."""
    if carried is not None:
        return each(convolution, carried)
    assert convolution.bias is not None
    # Its weight meets only zeros and has a gradient of zero; without the product it would have none at all.
    unseen = 0.0 * convolution.weight.sum() if convolution.weight.requires_grad else 0.0
    return (convolution.bias + unseen)[:, None, None]


def same(before: int, after: int, dilation: int = 1, kernel: int = 3) -> nn.Conv2d:
    """A convolution with a bias that keeps the matrix."""
    return nn.Conv2d(before, after, kernel, padding=dilation * (kernel // 2), dilation=dilation)
