"""Coil sensitivity maps from a network that sees the centre of k-space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Complex
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.coils import normalise
from cmr_course.fourier import ifft2c
from cmr_course.networks.prompt_unet import NormalisedUnet, UnetSettings
from cmr_course.validate import is_whole, require, require_axes, require_complex, require_whole, say

Centre = Literal["acs", "mask"] | int
Mask = Bool[Tensor, "mask_batch mask_frame 1 ky mask_kx"]
HALF = {"first": 24, "widths": (36, 48, 60), "prompt_channels": (12, 24, 36)}
"""Sizes of the sensitivity network of PromptMR: half of those of its cascades."""


class SensitivityNetwork(nn.Module):
    """Coil maps of PromptMR (Xin et al. 2023, arXiv:2309.13839, after Sriram et al. 2020, arXiv:2004.06688, eq. 14).

    The fully sampled centre of k-space makes a blurred image of each coil; a U-Net that is the same for all coils turns
    it into a map; maps are divided by their root sum of squares over the coils, in each frame. A pixel where all are
    zero has maps of zero (the released code divides by zero there).

    settings: of the U-Net. frames: 1, each frame by itself, as in PromptMR; or more, so many frames of a coil together
    as channels, as in PromptMR+, which needs as many times fewer passes.
    centre: what is taken for the centre. ``acs``: the lines and points that the acquisition says; ``mask``: twice the
    shorter run of sampled lines on either side of line ⌊ky/2⌋, as released (:func:`centre_of_mask` tells its traps);
    a number of lines. whole: take all of k-space instead (the released option is called mask_center).
    together: coil images that go through the U-Net at once, to save memory: in training each such part is computed
    again in the backward pass. None keeps what is computed, and takes those of one frame at once on a CPU, else all.
    """

    def __init__(
        self,
        settings: UnetSettings | Mapping[str, Any] | None = None,
        frames: int = 1,
        *,
        centre: Centre = "acs",
        whole: bool = False,
        together: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        require_whole("frames", frames)
        known = centre in ("acs", "mask") or (is_whole(centre) and int(centre) > 0)
        require(known, f"centre: got {say(centre)}, want 'acs', 'mask' or a number of lines")
        require(isinstance(whole, bool), f"whole: got {say(whole)}, want true or false")
        if together is not None:
            require_whole("together", together)
        self.centre, self.whole, self.together, self.frames = centre, whole, together, frames
        sizes = UnetSettings.of(settings, **HALF)
        require(not sizes.history, f"history: got {sizes.history} in the network of the maps, want 0")
        self.network = NormalisedUnet(frames, sizes, generator=generator)

    def forward(
        self,
        kspace: Complex[Tensor, "batch frame coil ky kx"],
        mask: Mask,
        acs: tuple[int, int],
        recompute: bool = False,
    ) -> Complex[Tensor, "batch frame coil y x"]:
        """Maps with Σ|S|² = 1 of each frame. recompute: in training, compute the U-Net again in the backward pass."""
        require_axes("kspace", kspace, "batch frame coil ky kx")
        require_complex("kspace", kspace)
        batch, frame, coil = kspace.shape[:3]
        fits = frame % self.frames == 0
        require(fits, f"kspace: got {frame} frames, want a multiple of {self.frames}")
        seen = ifft2c(kspace if self.whole else kspace * self.region(mask, acs))
        groups = seen.unflatten(1, (-1, self.frames)).transpose(2, 3).flatten(0, 2)
        maps = self._mapped(groups, coil, recompute).unflatten(0, (batch, -1, coil)).transpose(2, 3).flatten(1, 2)
        return normalise(maps)

    def region(self, mask: Mask, acs: tuple[int, int]) -> Mask:
        """Where the centre of k-space is, sampled points only."""
        n_lines = mask.shape[3]
        if self.centre == "mask":
            return mask & centre_of_mask(mask)
        if self.centre == "acs":
            require(acs[0] > 0, f"acs: got {acs}, want at least one fully sampled line to estimate maps from")
            first = n_lines // 2 - acs[0] // 2
            lines = _between(mask, first, first + acs[0])
            if mask.shape[-1] == 1:
                return mask & lines
            require(acs[1] > 0, f"acs: got {acs} of a mask of points, want at least one along kx, too")
            left = mask.shape[-1] // 2 - acs[1] // 2
            points = torch.arange(mask.shape[-1], device=mask.device)
            return mask & lines & ((points >= left) & (points < left + acs[1]))
        number = int(self.centre)
        require(number <= n_lines, f"centre: got {number} lines of {n_lines}, want at most all of them")
        first = (n_lines - number + 1) // 2
        return mask & _between(mask, first, first + number)

    def _mapped(
        self, images: Complex[Tensor, "many frame y x"], coils: int, recompute: bool
    ) -> Complex[Tensor, "many frame y x"]:
        """All through the U-Net, a part at a time."""
        again = torch.is_grad_enabled() and (recompute or self.together is not None)
        # On a CPU the coils of one frame fit into its caches, those of five do not: half of the time, measured.
        few = coils if images.device.type == "cpu" or again else len(images)
        parts = images.split(self.together or few)
        if again:
            return torch.cat([checkpoint(self.network, part, use_reentrant=False) for part in parts])
        return torch.cat([self.network(part) for part in parts])


def centre_of_mask(mask: Mask) -> Bool[Tensor, "mask_batch mask_frame 1 ky 1"]:
    """The lines that the released PromptMR takes for the centre, which it reads off the mask.

    Twice the shorter run of sampled lines on either side of line ⌊ky/2⌋, at least one, from ⌊(ky − n + 1)/2⌋ on.
    Sampled lines beside the block make it larger; a block that is not symmetric about ⌊ky/2⌋ loses lines; and of a
    mask that is full there is one line left, because the search is for a line that is missing. ValueError where line
    ⌊ky/2⌋ is not sampled. A line counts as sampled where all of its readout is.
    """
    require_axes("mask", mask, "batch frame coil ky kx")
    lines = mask.all(-1, keepdim=True)
    middle = mask.shape[3] // 2
    there = bool(lines[..., middle, :].all())
    require(there, f"mask: got none at line {middle}, the centre of k-space, want it sampled in every frame")
    below = _run(lines[..., :middle, :].flip(3))
    above = _run(lines[..., middle:, :])
    number = (2 * torch.minimum(below, above)).clamp(min=1)
    first = (mask.shape[3] - number + 1) // 2
    index = torch.arange(mask.shape[3], device=mask.device)[:, None]
    return (index >= first) & (index < first + number)


def _run(lines: Bool[Tensor, "*shape ky 1"]) -> Tensor:
    """How many are sampled before the first that is not; none where all are, as released."""
    return (~lines).to(torch.uint8).argmax(-2, keepdim=True)


def _between(mask: Mask, first: int, end: int) -> Bool[Tensor, "ky 1"]:
    """Lines `first` to before `end`."""
    index = torch.arange(mask.shape[3], device=mask.device)[:, None]
    return (index >= first) & (index < end)
