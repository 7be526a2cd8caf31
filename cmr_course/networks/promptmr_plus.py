"""PromptMR+: PromptMR in the image domain, with an input that adapts and a memory of earlier cascades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import combine, expand, rss
from cmr_course.fourier import fft2c
from cmr_course.networks.prompt_unet import History, NormalisedUnet, UnetSettings
from cmr_course.networks.promptmr import Hybrid, Image, Kspace, Prompted, as_complex, sensitivity_settings
from cmr_course.networks.released import Sizes, bare, load_released
from cmr_course.networks.sensitivity import Centre, Mask, SensitivityNetwork
from cmr_course.validate import require, require_whole

GROUPS = 5
"""Of images that a cascade sees where its input adapts: x, AᴴA x, the latent, Aᴴy and AᴴA x − Aᴴy."""


class PromptMRPlus(Prompted):
    """Xin et al., *Rethinking deep unrolled models for accelerated MRI reconstruction* (ECCV 2024):
    x ← x − λ (AᴴA x − Aᴴy) − U(…), from x = Aᴴy on.

    The state is one image for each frame, where that of PromptMR is the k-space of every coil.

    adaptive: U sees five groups of images, x, AᴴA x, a latent that cascades hand on (Aᴴy at first), Aᴴy and
    AᴴA x − Aᴴy, normalised together; the first group of what it returns is taken from x, the third is the next latent,
    the others are not used. Else it sees x alone.
    history: at each level of the decoder, the features of so many cascades before are fused with the present ones.
    Maps are made of all frames of a coil at once. Otherwise, and all other arguments, as
    :class:`~cmr_course.networks.promptmr.PromptMR`.
    """

    def __init__(
        self,
        cascades: int = 12,
        frames: int = 5,
        unet: UnetSettings | Mapping[str, Any] | None = None,
        sensitivity: UnetSettings | Mapping[str, Any] | None = None,
        *,
        adaptive: bool = True,
        history: int = 11,
        centre: Centre = "acs",
        whole: bool = False,
        maps_together: int | None = None,
        together: int = 1,
        prompt_seed: int = 0,
    ) -> None:
        super().__init__(frames, together)
        require_whole("cascades", cascades)
        require_whole("history", history, 0)
        require_whole("prompt_seed", prompt_seed, 0)
        generator = torch.Generator().manual_seed(prompt_seed)
        given = UnetSettings.of(unet)
        alike = given.history in (0, history)
        require(alike, f"history: got {history} for cascades and {given.history} in unet, want it said once")
        settings = replace(given, history=history)
        self.maps = SensitivityNetwork(
            sensitivity_settings(sensitivity, settings),
            frames,
            centre=centre,
            whole=whole,
            together=maps_together,
            generator=generator,
        )
        self.cascades = nn.ModuleList(ImageStep(frames, adaptive, settings, generator) for _ in range(cascades))

    @classmethod
    def from_released(
        cls, checkpoint: Mapping[str, Any], *, centre: Centre = "mask", whole: bool = False, together: int = 1
    ) -> PromptMRPlus:
        """The network of a released state dict, or of a checkpoint around one, with all sizes read off it.

        No released file was at hand: names and order of the parts are those of PromptMR, with ``momentum`` for the
        memory of the decoder. One frame, five images and no memory is taken for PromptMR of five frames, which has
        the same shapes: ValueError.
        """
        sizes = Sizes.of(state := bare(checkpoint))
        alone = (sizes.seen, sizes.frames, sizes.unet.history) == (GROUPS, 1, 0)
        require(not alone, "checkpoint: looks like PromptMR of five frames, want PromptMR.from_released for it")
        fits = sizes.seen in (sizes.frames, GROUPS * sizes.frames)
        wanted = f"want as many as frames, {sizes.frames}, or five times as many"
        require(fits, f"checkpoint: its cascades see {sizes.seen} images, {wanted}")
        network = cls(
            sizes.cascades,
            sizes.frames,
            sizes.unet,
            sizes.sensitivity,
            adaptive=sizes.seen != sizes.frames,
            history=sizes.unet.history,
            centre=centre,
            whole=whole,
            together=together,
        )
        load_released(network, state)
        return network

    def middle(self, windows: Acquisition) -> Reconstruction:
        """The middle frame of each window; outside of training also the one after each cascade, as `steps`."""
        assert windows.scale is not None
        scale = windows.scale.to(windows.kspace.real.dtype)[:, None, None, None]
        maps, steps = self.refine(windows.kspace / scale[..., None], windows.mask, windows.acs)
        middle = slice(self.frames // 2, self.frames // 2 + 1)
        own = maps[:, middle]
        shown = steps[-1:] if self.training else steps
        images = tuple(as_complex(rss(expand(step[:, middle], own))) * scale for step in shown)
        kspace = fft2c(expand(steps[-1][:, middle], own)) * scale[..., None]
        return Reconstruction(images[-1], kspace=kspace, sensitivities=own, steps=None if self.training else images)

    def refine(self, kspace: Kspace, mask: Mask, acs: tuple[int, int]) -> tuple[Kspace, tuple[Image, ...]]:
        """Maps of all frames, and the combined image after each cascade."""
        maps = self.maps(kspace, mask, acs, self.recompute)
        there = Hybrid.of(kspace, mask, maps)
        images = torch.fft.ifftn(there.measured, dim=there.axes, norm="ortho")
        measured = torch.fft.fftshift(combine(images, there.maps), dim=there.axes)
        steps, latent, history = [measured], measured, None
        for cascade in self.cascades:
            args = (steps[-1], latent, history, measured, there.mask, maps, there.axes)
            again = self.recompute and torch.is_grad_enabled()
            image, latent, history = checkpoint(cascade, *args, use_reentrant=False) if again else cascade(*args)
            steps.append(image)
        return maps, tuple(steps[1:])


class ImageStep(nn.Module):
    """One cascade: a step down the gradient of data consistency, and a U-Net that has seen it."""

    def __init__(self, frames: int, adaptive: bool, settings: UnetSettings, generator: torch.Generator | None) -> None:
        super().__init__()
        self.adaptive = adaptive
        self.unet = NormalisedUnet(frames * (GROUPS if adaptive else 1), settings, generator=generator)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(
        self,
        image: Image,
        latent: Image,
        history: History | None,
        measured: Image,
        mask: Tensor,
        maps: Kspace,
        axes: tuple[int, ...],
    ) -> tuple[Image, Image, History]:
        """The next image, the next latent, and the history of the decoder.

        mask: along `axes` its centre is at index 0. The shifts that centre an image cancel in AᴴA, so that it is
        given as it is.
        """
        seen = torch.fft.fftn(expand(image, maps), dim=axes, norm="ortho")
        normal = combine(torch.fft.ifftn(mask * seen, dim=axes, norm="ortho"), maps)
        gradient = normal - measured
        groups = [image, normal, latent, measured, gradient] if self.adaptive else [image]
        out, kept = self.unet.remembering(torch.cat(groups, 1), history)
        change, *others = out.split(image.shape[1], 1)
        return image - self.weight * gradient - change, others[1] if self.adaptive else latent, kept
