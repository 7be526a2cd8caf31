"""Prompts: learned or drawn pictures, mixed by what an image is like, that tell a network what it is looking at."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cmr_course.networks.attention import Features, same
from cmr_course.validate import require_whole


class PromptBlock(nn.Module):
    """Σ_l w_l · P_l, as large as x, through a convolution; w = softmax(W x̄ + b), x̄ the spatial means of x.

    The prompt block of PromptMR (Xin et al. 2023, arXiv:2309.13839), after Potlapalli et al. 2023 (arXiv:2306.13090,
    section 3.2).

    channels: of a prompt. components: how many P_l are mixed. size: of each, in pixels along both axes; they are
    resized (bilinear, corners not aligned) to the size of x. seen: channels of x.
    learned: whether the P_l are trained. In the released code they are not: they stay as they were drawn, evenly from
    0 to 1. generator: they are drawn from it, so that frozen ones can be made again; None takes torch's own.
    """

    def __init__(
        self,
        channels: int,
        components: int,
        size: int,
        seen: int,
        *,
        learned: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in {"channels": channels, "components": components, "size": size, "seen": seen}.items():
            require_whole(name, value)
        drawn = torch.rand(components, channels, size, size, generator=generator)
        self.components = nn.Parameter(drawn, requires_grad=learned)
        self.weigh = nn.Linear(seen, components)
        self.mixed = same(channels, channels, 3)

    def forward(self, x: Features) -> Float[Tensor, "batch channel_2 y x"]:
        """The prompt for x, (batch, seen, y, x) to (batch, channels, y, x)."""
        mixture = torch.einsum("bl,lcyx->bcyx", self.weights(x), self.components)
        resized = interpolate(mixture, x.shape[-2:], mode="bilinear", align_corners=False)
        return self.mixed(resized.contiguous(memory_format=torch.channels_last))

    def weights(self, x: Features) -> Float[Tensor, "batch component"]:
        """How much of each component is in the prompt for x: positive, together one."""
        return torch.softmax(self.weigh(x.mean((-2, -1))), -1)
