"""What the cascades before have seen: maps of three levels, kept and fused (Lyu et al. 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cmr_course.networks.attention import ChannelAttention
from cmr_course.networks.recurrent import Frames
from cmr_course.validate import require, require_whole, say

Fusion = Literal["last", "conv", "channel_attention"]
LEVELS = 3
REDUCTION = 16
"""Of the channels inside the attention, as in Hu et al. 2018 (arXiv:1709.01507)."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What one cascade leaves to the next: features at the full matrix, at half of it, and of the bottleneck."""

    full: Frames
    half: Frames
    bottom: Frames

    def levels(self) -> tuple[Frames, Frames, Frames]:
        """From the finest on."""
        return self.full, self.half, self.bottom


class FeatureBank(nn.Module):
    """F_{i,j} = fusion_{i,j}(F_{0,j}, …, F_{i−1,j}): for cascade i and level j, from the maps of all cascades before.

    fusion: ``last`` takes F_{i−1,j} and nothing else, which is CRUNet-MR; ``conv`` is a 1 × 1 convolution of all of
    them, side by side; ``channel_attention`` weighs their channels first, by factors that depend on the maps (each
    frame has its own). The paper says of the second only that it is a convolution layer, of the third that it is one
    module per level; how its channels, whose number grows from cascade to cascade, become `channels` again it does not
    say: here each cascade and level has a module of its own, with a 1 × 1 convolution at its end.
    reach: so many cascades before are looked at, None for all. The first cascade has none before it and gets None.

    The convolutions begin as the identity on the newest map, so that training begins near the model without a bank.
    """

    def __init__(
        self, cascades: int, channels: int, *, fusion: Fusion = "channel_attention", reach: int | None = None
    ) -> None:
        super().__init__()
        require_whole("cascades", cascades)
        require_whole("channels", channels)
        known = fusion in get_args(Fusion)
        require(known, f"fusion: got {say(fusion)}, want one of {', '.join(get_args(Fusion))}")
        if reach is not None:
            require_whole("reach", reach)
            before = max(cascades - 1, 1)
            require(reach <= before, f"reach: got {reach}, want at most {before}, the cascades before the last one")
            require(fusion != "last", f"reach: got {reach} with fusion last, which looks at one: want None")
        self.fusion, self.reach, self.cascades = fusion, 1 if fusion == "last" else reach, cascades
        numbers = [self._seen(i) for i in range(1, cascades)] if fusion != "last" else []
        attends = fusion == "channel_attention"
        self.fusions = nn.ModuleList(
            nn.ModuleList(Fuse(number, channels, attends) for _ in range(LEVELS)) for number in numbers
        )

    def _seen(self, cascade: int) -> int:
        return cascade if self.reach is None else min(cascade, self.reach)

    def forward(self, kept: Sequence[Maps]) -> Maps | None:
        """What the cascade after those of `kept`, the oldest first, is given; None before the first."""
        require(
            len(kept) < self.cascades,
            f"kept: got maps of {len(kept)} cascades, want at most {self.cascades - 1}, one less than there are",
        )
        if not kept:
            return None
        seen = kept[-self._seen(len(kept)) :]
        if self.fusion == "last":
            return seen[-1]
        modules = self.fusions[len(kept) - 1]
        assert isinstance(modules, nn.ModuleList)
        by_level = zip(*(maps.levels() for maps in seen), strict=True)
        return Maps(*(fuse(torch.cat(level, 1)) for fuse, level in zip(modules, by_level, strict=True)))

    def listened(self, kept: Sequence[Maps]) -> Tensor:
        """How much the next cascade listens to each of those in `kept`, (level, cascade), each row with sum 1.

        Of every channel of a map, the norm of what the fusion makes of it: its factor times its column of the 1 × 1
        convolution; the mean over frames, the root of the sum of squares over channels. ValueError for ``last``.
        """
        require(self.fusion != "last", "fusion: got last, which listens to one cascade only, want another")
        require(0 < len(kept) < self.cascades, f"kept: got {len(kept)}, want 1 to {self.cascades - 1} cascades")
        seen = kept[-self._seen(len(kept)) :]
        modules = self.fusions[len(kept) - 1]
        assert isinstance(modules, nn.ModuleList)
        rows = []
        for fuse, level in zip(modules, zip(*(maps.levels() for maps in seen), strict=True), strict=True):
            assert isinstance(fuse, Fuse)
            strength = fuse.strength(torch.cat(level, 1)).unflatten(0, (len(seen), -1)).norm(dim=1)
            rows.append(strength / strength.sum())
        return torch.stack(rows)


class Fuse(nn.Module):
    """Maps side by side to one: channel attention where it `attends`, then a 1 × 1 convolution."""

    def __init__(self, number: int, channels: int, attends: bool) -> None:
        super().__init__()
        wide = number * channels
        self.attention = ChannelAttention(wide, min(REDUCTION, wide), bias=True) if attends else None
        self.mix = nn.Conv2d(wide, channels, 1)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[:, -channels:, 0, 0] = torch.eye(channels)
            assert self.mix.bias is not None
            self.mix.bias.zero_()

    def forward(self, maps: Frames) -> Frames:
        """(frame · item, number · channels, y, x) to (frame · item, channels, y, x)."""
        return self.mix(maps if self.attention is None else self.attention(maps))

    def strength(self, maps: Frames) -> Tensor:
        """Of each channel that comes in, the norm of what it becomes, for a map of deviation one."""
        columns = self.mix.weight[..., 0, 0].norm(dim=0)
        if self.attention is None:
            return columns
        return columns * self.attention.factors(maps).mean((0, 2, 3))
