"""Channel attention, and the residual block around it of which PromptMR is made."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from cmr_course.validate import is_whole, require, require_whole, say

Features = Float[Tensor, "batch channel y x"]


class ChannelAttention(nn.Module):
    """x_c · sigmoid(E relu(Q x̄))_c: one factor for each channel, from the means x̄ of all of them.

    Hu et al. 2018 (arXiv:1709.01507), in image restoration Zhang et al. 2018 (arXiv:1807.02758). Q squeezes C channels
    into ⌊C / reduction⌋, E excites C of them again; both are matrices, 1 × 1 convolutions of a single pixel.
    """

    def __init__(self, channels: int, reduction: int = 4, *, bias: bool = False) -> None:
        super().__init__()
        require_whole("channels", channels)
        require_whole("reduction", reduction)
        enough = channels >= reduction
        require(enough, f"reduction: got {reduction} for {channels} channels, want at most as many as there are")
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1, bias=bias)
        self.excite = nn.Conv2d(channels // reduction, channels, 1, bias=bias)

    def forward(self, x: Features) -> Features:
        """(batch, channel, y, x) to the same."""
        return x * self.factors(x)

    def factors(self, x: Features) -> Float[Tensor, "batch channel 1 1"]:
        """What each channel is multiplied by, 0 to 1."""
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((-2, -1), keepdim=True)))))


class CAB(nn.Module):
    """x + attention(conv(PReLU(conv(x)))): the channel attention block of PromptMR (Xin et al. 2023, arXiv:2309.13839).

    channels: in and out. kernel: taps of both convolutions along each axis, an odd number. reduction: of the
    attention. bias: of all convolutions. attention: without it, the block is x + conv(PReLU(conv(x))).
    The PReLU has one slope for all channels. In the released code one slope serves every block of every network of a
    process; here each block has its own.
    """

    def __init__(
        self, channels: int, kernel: int = 3, reduction: int = 4, *, bias: bool = False, attention: bool = True
    ) -> None:
        super().__init__()
        self.before = same(channels, channels, kernel, bias=bias)
        self.rectifier = PReLU()
        self.after = same(channels, channels, kernel, bias=bias)
        self.attention = ChannelAttention(channels, reduction, bias=bias) if attention else None

    def forward(self, x: Features) -> Features:
        """(batch, channel, y, x) to the same."""
        change = self.after(self.rectifier(self.before(x)))
        if self.attention is None:
            return x + change
        return torch.addcmul(x, change, self.attention.factors(change))


class PReLU(nn.PReLU):
    """x above zero, slope · x below, one slope for all channels; the slope begins at 0.25, as PyTorch's.

    PyTorch's backward pass makes a derivative of the slope for each value of x before it adds them up; this one adds
    them up as it goes, in a fourth of the time (10 × 24 × 96 × 128 values, channels last, one thread: 5 ms for 20 ms,
    forward and backward). It has no second derivative. On other devices it is PyTorch's: to read the slope would make
    the host wait for a GPU in every block.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape to the same."""
        return _OneSlope.apply(input, self.weight) if input.device.type == "cpu" else super().forward(input)


class _OneSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return leaky_relu(x, float(slope))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        along = gradients[0]
        below = torch.ops.aten.leaky_relu_backward(along, x, float(slope), False)
        # In the order of memory, so that nothing is copied: channels last.
        flat = (along, x.clamp(max=0)) if x.ndim != 4 else (one.movedim(1, -1) for one in (along, x.clamp(max=0)))
        return below, torch.dot(*(one.reshape(-1) for one in flat))[None]


def same(before: int, after: int, kernel: int, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps height and width: zeros beyond the border."""
    odd = is_whole(kernel) and kernel > 0 and kernel % 2 == 1
    require(odd, f"kernel: got {say(kernel)}, want an odd number of taps above zero")
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias)
