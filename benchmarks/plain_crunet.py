"""CRUNet-MR written down without a thought for speed: what `benchmarks.recurrent_step` compares ours with.

Frame after frame, as the recurrences are drawn: every convolution of a cell is called for every frame by itself, both
directions of the bottleneck one after the other, the convolutions along time with an axis order of their own, data
consistency with full coil images. It takes the parameters of ours by their names, and tests hold both to one result.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from cmr_course.networks import CRUNetMR
from cmr_course.networks.crunet import CRUNet, Unit
from cmr_course.networks.recurrent import SpaceTime

Series = Tensor
"""(frame, channel, y, x)."""


class PlainCRUNet(nn.Module):
    """The network of `ours`, with the same parameters, for one series at a time and the last map only."""

    def __init__(self, ours: CRUNetMR) -> None:
        super().__init__()
        assert ours.bank.fusion == "last"
        self.stages = ours.stages

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """The image (frame, y, x) of k-space (frame, coil, ky, kx), its mask, maps (1, coil, y, x).

        K-space is that of plain FFTs: its centre is at index 0, and the middle of the image is not its origin.
        """
        image = combined(torch.fft.ifft2(kspace * mask, norm="ortho"), maps)
        carried: tuple[Series, ...] | None = None
        for stage in self.stages:
            assert isinstance(stage, CRUNet)
            image, carried = self.cascade(stage, image, carried)
            coils = torch.fft.fft2(image[:, None] * maps, norm="ortho")
            coils = torch.where(mask, kspace, coils)
            image = combined(torch.fft.ifft2(coils, norm="ortho"), maps)
        return image

    def cascade(
        self, stage: CRUNet, image: Tensor, carried: tuple[Series, ...] | None
    ) -> tuple[Tensor, tuple[Series, ...]]:
        """One cascade without data consistency, and what it leaves: full, half, bottom."""
        x = torch.stack([image.real, image.imag], 1)
        mean, deviation = x.mean(), x.std()
        standard = (x - mean) / deviation
        y, width = x.shape[-2:]
        top, left = (-y % 8) // 2, (-width % 8) // 2
        seen = nnf.pad(standard, (left, -width % 8 - left, top, -y % 8 - top))
        first = stage.first(seen)
        if carried is None:
            size = (first.shape[-2] // 2, first.shape[-1] // 2)
            half = torch.zeros(*first.shape[:2], *size, dtype=first.dtype)
            carried = torch.zeros_like(first), half, half
        full, half, bottom = carried
        fine = unit(stage.fine_forward, first, full)
        coarse = space_time(stage.encode, unit(stage.coarse_forward, space_time(stage.down, fine), half))
        deepest = space_time(stage.decode, unit(stage.bottom, coarse, bottom))
        back = space_time(stage.coarse_merge, torch.cat([coarse, unit(stage.coarse_backward, deepest, half)], 1))
        up = space_time(stage.up, back)
        finest = space_time(stage.fine_merge, torch.cat([fine, unit(stage.fine_backward, up, full)], 1))
        out = (stage.last(finest) + seen)[..., top : top + y, left : left + width] * deviation + mean
        return torch.complex(out[:, 0], out[:, 1]), (finest, back, deepest)


def unit(layer: Unit, x: Series, carried: Series) -> Series:
    """A recurrent unit, frame by frame."""
    cell = layer.recurrence

    def sweep(order: range) -> Series:
        h = torch.zeros_like(carried[:1])
        found: dict[int, Tensor] = {}
        for t in order:
            h = torch.relu(cell.input(x[t : t + 1]) + cell.hidden(h) + cell.carried(carried[t : t + 1]))
            found[t] = h
        return torch.cat([found[t] for t in range(len(x))])

    there, back = range(len(x)), range(len(x) - 1, -1, -1)
    if cell.direction == "both":
        return sweep(there) + sweep(back) + layer.direct(x)
    return sweep(there if cell.direction == "forward" else back) + layer.direct(x)


def space_time(layer: SpaceTime, x: Series) -> Series:
    """A convolution in space, then one along time with the frames as the last axis."""
    inside = torch.relu(layer.space(x))
    frames, channels, y, width = inside.shape
    lines = inside.permute(2, 3, 1, 0).reshape(y * width, channels, frames)
    around = torch.cat([lines[..., -1:], lines, lines[..., :1]], -1)
    return layer.time(around).reshape(y, width, channels, frames).permute(3, 2, 0, 1)


def combined(images: Tensor, maps: Tensor) -> Tensor:
    """Σ S* x over the coils."""
    return (images * maps.conj()).sum(1)
