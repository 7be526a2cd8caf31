"""PromptMR: an unrolled network in k-space whose U-Nets are told by prompts what they are looking at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import combine, expand, rss
from cmr_course.fourier import fftc, ifft2c, ifftc
from cmr_course.networks.prompt_unet import NormalisedUnet, UnetSettings
from cmr_course.networks.prompts import PromptBlock
from cmr_course.networks.released import Sizes, bare, load_released, to_released
from cmr_course.networks.sensitivity import Centre, Mask, SensitivityNetwork
from cmr_course.networks.windows import Windowed
from cmr_course.validate import require, require_whole, say

Kspace = Complex[Tensor, "batch frame coil ky kx"]
Image = Complex[Tensor, "batch frame y x"]


class Prompted(Windowed):
    """What PromptMR and PromptMR+ share: prompts drawn from a seed, and the files of the released codes."""

    def to_released(self) -> dict[str, Tensor]:
        """The state dict that the released code loads; ValueError where ours has several slopes."""
        return to_released(self)

    @property
    def remade(self) -> frozenset[str]:
        """Names of prompts that are not trained: they are made again from `prompt_seed`, and not shipped."""
        blocks = ((name, one) for name, one in self.named_modules() if isinstance(one, PromptBlock))
        return frozenset(f"{name}.components" for name, one in blocks if not one.components.requires_grad)


class InKspace(Prompted):
    """What PromptMR and GENRE-CMR share: their state is the k-space of all coils, their maps are their own.

    settings, sensitivity, centre, whole, maps_together: of the maps' network, see :class:`PromptMR`. generator: prompts
    are drawn from it, those of the maps first.
    """

    def __init__(
        self,
        frames: int,
        settings: UnetSettings,
        sensitivity: UnetSettings | Mapping[str, Any] | None,
        *,
        centre: Centre,
        whole: bool,
        maps_together: int | None,
        together: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(frames, together)
        require(not settings.history, f"history: got {settings.history}, want 0: only PromptMR+ remembers cascades")
        self.maps = SensitivityNetwork(
            sensitivity_settings(sensitivity, settings),
            centre=centre,
            whole=whole,
            together=maps_together,
            generator=generator,
        )

    def scaled(self, windows: Acquisition) -> tuple[Kspace, Float[Tensor, "batch 1 1 1"], Kspace | None]:
        """K-space divided by its scale, the scale, and maps of all frames where they are known."""
        assert windows.scale is not None
        scale = windows.scale.to(windows.kspace.real.dtype)[:, None, None, None]
        known = windows.sensitivities
        if known is not None:  # of a series of one frame there is one map for the whole window
            known = known.expand(-1, self.frames, -1, -1, -1)
        return windows.kspace / scale[..., None], scale, known

    def maps_of(self, acquisition: Acquisition) -> Kspace:
        """Its own maps of each frame, which do not depend on the frames around it: made once, not in every window."""
        assert acquisition.scale is not None
        scale = acquisition.scale.to(acquisition.kspace.real.dtype)[:, None, None, None, None]
        kspace, mask = acquisition.kspace / scale, acquisition.mask.expand(-1, acquisition.n_frames, -1, -1, -1)
        few = self.frames * self.together  # as many frames at once as the windows that are run together have
        return torch.cat(
            [
                self.maps(*parts, acquisition.acs)
                for parts in zip(kspace.split(few, 1), mask.split(few, 1), strict=True)
            ],
            1,
        )


class PromptMR(InKspace):
    """Xin et al. 2023 (arXiv:2309.13839): k ← k − λ M (k − k₀) − F(S · U(Sᴴ F⁻¹ k)), as many times as cascades.

    k is the k-space of all coils and of five neighbouring frames, k₀ what was measured, M the mask, S maps that a
    network of its own makes from the centre of k-space, U a :class:`~cmr_course.networks.prompt_unet.NormalisedUnet`
    that sees the five combined images at once, λ one learned number for each cascade, which begins at 1. The image is
    the root sum of squares over the coils of the middle frame, as complex values without imaginary part.

    cascades, frames: their numbers. unet: settings of U, sensitivity: of the maps' network, whose sizes are half of
    the usual where it does not say; what is said of blocks, prompts' components and their sizes in `unet` holds for
    it, too, where `sensitivity` says nothing else.
    centre, whole: see :class:`SensitivityNetwork`. maps_together: its coil images at a time.
    together: windows at a time outside of training. prompt_seed: prompts that are not trained are drawn from it, so
    that they need not be stored. Where an acquisition has maps, they are not used.
    """

    def __init__(
        self,
        cascades: int = 12,
        frames: int = 5,
        unet: UnetSettings | Mapping[str, Any] | None = None,
        sensitivity: UnetSettings | Mapping[str, Any] | None = None,
        *,
        centre: Centre = "acs",
        whole: bool = False,
        maps_together: int | None = None,
        together: int = 1,
        prompt_seed: int = 0,
    ) -> None:
        require_whole("cascades", cascades)
        require_whole("prompt_seed", prompt_seed, 0)
        generator, settings = torch.Generator().manual_seed(prompt_seed), UnetSettings.of(unet)
        alike = {"centre": centre, "whole": whole, "maps_together": maps_together, "together": together}
        super().__init__(frames, settings, sensitivity, **alike, generator=generator)  # type: ignore[arg-type]
        self.cascades = nn.ModuleList(Step(frames, settings, generator) for _ in range(cascades))

    @classmethod
    def from_released(
        cls, checkpoint: Mapping[str, Any], *, centre: Centre = "mask", whole: bool = False, together: int = 1
    ) -> PromptMR:
        """The network of a released state dict, or of a checkpoint around one, with all sizes read off it.

        centre, whole: what the state dict does not say; ``mask``, as released.
        """
        sizes = Sizes.of(state := bare(checkpoint))
        network = cls(
            sizes.cascades, sizes.seen, sizes.unet, sizes.sensitivity, centre=centre, whole=whole, together=together
        )
        load_released(network, state)
        return network

    def middle(self, windows: Acquisition) -> Reconstruction:
        """The middle frame of each window; outside of training also the one after each cascade, as `steps`."""
        kspace, scale, known = self.scaled(windows)
        maps, found = self.refine(kspace, windows.mask, windows.acs, known)
        middle = slice(self.frames // 2, self.frames // 2 + 1)
        last = found.whole(found.steps[-1][:, middle])
        kept = () if self.training else found.steps
        steps = [as_complex(rss(found.coil_images(step[:, middle]))) * scale for step in kept]
        return Reconstruction(
            as_complex(rss(ifft2c(last))) * scale,
            kspace=last * scale[..., None],
            sensitivities=maps[:, middle],
            steps=tuple(steps) or None,
        )

    def refine(
        self, kspace: Kspace, mask: Mask, acs: tuple[int, int], maps: Kspace | None = None
    ) -> tuple[Kspace, Refined]:
        """Maps of all frames, made where they are not given, and k-space after each cascade."""
        maps = self.maps(kspace, mask, acs, self.recompute) if maps is None else maps
        there = Hybrid.of(kspace, mask, maps)
        steps = [there.measured]
        for cascade in self.cascades:
            again = self.recompute and torch.is_grad_enabled()
            args = (steps[-1], there.measured, there.mask, there.maps, there.axes)
            steps.append(checkpoint(cascade, *args, use_reentrant=False) if again else cascade(*args))
        return maps, Refined(tuple(steps[1:]), there.axes)


@dataclass(frozen=True, eq=False)
class Hybrid:
    """K-space where it is cheapest to work in.

    A mask of whole readouts is the same for all kx, so that the transform along kx commutes with it and with all that
    a cascade does: it is done once, and `axes` is (−2,), ky, alone. Of other masks it is (−2, −1). Along `axes` the
    centre of k-space, and of the image, is at index 0, where fast Fourier transforms need no shifts.
    """

    measured: Kspace
    mask: Float[Tensor, "mask_batch mask_frame 1 ky mask_kx"]
    maps: Kspace
    axes: tuple[int, ...]

    @classmethod
    def of(cls, kspace: Kspace, mask: Mask, maps: Kspace) -> Hybrid:
        """Of k-space as an acquisition has it, and maps."""
        lines = mask[..., :1]
        if mask.is_meta or bool((mask == lines).all()):
            axes: tuple[int, ...] = (-2,)
            mixed, mask = ifftc(kspace, (-1,)), lines
        else:
            axes, mixed = (-2, -1), kspace
        measured, maps = (torch.fft.ifftshift(tensor, dim=axes) for tensor in (mixed, maps))
        return cls(measured, torch.fft.ifftshift(mask, dim=axes).to(kspace.real.dtype), maps, axes)


@dataclass(frozen=True, eq=False)
class Refined:
    """steps: k-space after each cascade, as :class:`Hybrid` has it, along `axes`."""

    steps: tuple[Kspace, ...]
    axes: tuple[int, ...]

    def whole(self, step: Kspace) -> Kspace:
        """K-space of `step` as an acquisition has it."""
        centred = torch.fft.fftshift(step, dim=self.axes)
        return fftc(centred, (-1,)) if self.axes == (-2,) else centred

    def coil_images(self, step: Kspace) -> Kspace:
        """Its coil images."""
        return torch.fft.fftshift(torch.fft.ifftn(step, dim=self.axes, norm="ortho"), dim=self.axes)


class Step(nn.Module):
    """One cascade: data consistency and a U-Net, both of the same k-space, side by side."""

    def __init__(self, frames: int, settings: UnetSettings, generator: torch.Generator | None) -> None:
        super().__init__()
        self.unet = NormalisedUnet(frames, settings, generator=generator)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Kspace, measured: Kspace, mask: Tensor, maps: Kspace, axes: tuple[int, ...]) -> Kspace:
        """K-space of all coils, in the form of :class:`Hybrid`, to the same."""
        image = combine(torch.fft.ifftn(kspace, dim=axes, norm="ortho"), maps)
        change = torch.fft.ifftshift(self.unet(torch.fft.fftshift(image, dim=axes)), dim=axes)
        added = torch.fft.fftn(expand(change, maps), dim=axes, norm="ortho")
        return kspace - self.weight * (mask * (kspace - measured)) - added


def sensitivity_settings(
    given: UnetSettings | Mapping[str, Any] | None, cascades: UnetSettings
) -> UnetSettings | Mapping[str, Any]:
    """`given`, with the numbers of blocks, the prompts' components and the like of the cascades where it is silent."""
    if isinstance(given, UnetSettings):
        return given
    good = given is None or isinstance(given, Mapping)
    require(good, f"sensitivity: got {say(given)}, want a mapping of settings")
    alike = ("components", "prompt_sizes", "encoder", "decoder", "skip", "bottleneck", "kernel", "reduction", "bias")
    shared = {name: getattr(cascades, name) for name in (*alike, "attention", "learned_prompts")}
    return {**shared, **(given or {})}


def as_complex(magnitude: Float[Tensor, "batch frame y x"]) -> Image:
    """Without imaginary part."""
    return torch.complex(magnitude, torch.zeros_like(magnitude))
