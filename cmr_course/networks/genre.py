"""GENRE-CMR's generator: PromptMR's steps with a residual path from each reconstructor to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.coils import combine, expand, rss
from cmr_course.fourier import ifft2c
from cmr_course.networks.channels import stacked
from cmr_course.networks.prompt_unet import NormalisedUnet, UnetSettings
from cmr_course.networks.promptmr import Hybrid, Image, InKspace, Kspace, Refined, as_complex
from cmr_course.networks.sensitivity import Centre, Mask
from cmr_course.validate import require, require_whole, say

Residual = Literal["outputs", "features", "none"]
Combination = Literal["rss", "maps"]
Pooled = Float[Tensor, "batch cell feature"]


class GENRECMR(InKspace):
    """Anvari Hamedani et al. 2025 (arXiv:2508.20600), Algorithm 1: k ← k − η M (k − k₀) + F(S · F_t), F_t the running
    sum of what the reconstructors U_t(Sᴴ F⁻¹ k) have put out so far.

    No code of the authors is public: this is made from the paper, whose lines are named in the code. k, k₀, M, S and U
    are those of :class:`~cmr_course.networks.promptmr.PromptMR`, which takes off what this adds. η is one learned
    number for each step and begins at 1.
    steps: reconstructors; each has weights and prompts of its own.
    residual: ``outputs``, the sum above, as the algorithm has it; ``features``, the sum of the decoders' finest
    features, in front of the last convolution, as the prose may be read; ``none``, no sum: SR-GAN, the model of
    the authors from the year before.
    combination: of the coils' images at the end, which the paper leaves open: ``rss``, root sum of squares, or
    ``maps``, sum with the network's own maps.
    seen: of which features an alignment of domains is told: ``decoder``, the finest of each reconstructor, or
    ``outputs``, F_t as the paper has it, of which there are only twice as many as frames. grid: their means over so
    many parts of the image along both axes; 1 is the mean over the whole image.
    Other arguments as PromptMR has them. The image is that of the middle frame; `steps` and, in training,
    `step_kspaces` and `features` (batch, grid², features) are of each step.
    """

    def __init__(
        self,
        steps: int = 16,
        frames: int = 5,
        unet: UnetSettings | Mapping[str, Any] | None = None,
        sensitivity: UnetSettings | Mapping[str, Any] | None = None,
        *,
        residual: Residual = "outputs",
        combination: Combination = "rss",
        seen: Literal["decoder", "outputs"] = "decoder",
        grid: int = 4,
        centre: Centre = "acs",
        whole: bool = False,
        maps_together: int | None = None,
        together: int = 1,
        prompt_seed: int = 0,
    ) -> None:
        for name, value in {"steps": steps, "grid": grid}.items():
            require_whole(name, value)
        require_whole("prompt_seed", prompt_seed, 0)
        for name, got, kinds in (
            ("residual", residual, Residual),
            ("combination", combination, Combination),
            ("seen", seen, Literal["decoder", "outputs"]),
        ):
            known = get_args(kinds)
            require(got in known, f"{name}: got {say(got)}, want one of {', '.join(known)}")
        generator, settings = torch.Generator().manual_seed(prompt_seed), UnetSettings.of(unet)
        alike = {"centre": centre, "whole": whole, "maps_together": maps_together, "together": together}
        super().__init__(frames, settings, sensitivity, **alike, generator=generator)  # type: ignore[arg-type]
        self.combination = combination
        self.reconstructors = nn.ModuleList(
            ResidualStep(frames, settings, generator, residual, seen, grid) for _ in range(steps)
        )

    def middle(self, windows: Acquisition) -> Reconstruction:
        """The middle frame of each window, after every step."""
        kspace, scale, known = self.scaled(windows)
        maps, found = self.refine(kspace, windows.mask, windows.acs, known)
        place = slice(self.frames // 2, self.frames // 2 + 1)
        # Line 11: what is compared is the middle frame of k^(t+1), at every step.
        kspaces = [found.kspaces.whole(step[:, place]) for step in found.kspaces.steps]
        images = tuple(self.combined(kspace, maps[:, place]) * scale for kspace in kspaces)
        scaled = tuple(kspace * scale[..., None] for kspace in kspaces)
        return Reconstruction(
            images[-1],
            kspace=scaled[-1],
            sensitivities=maps[:, place],
            steps=images,
            step_kspaces=scaled if self.training else None,
            features=found.features if self.training else None,
        )

    def combined(self, kspace: Kspace, maps: Kspace) -> Image:
        """The image of all coils."""
        images = ifft2c(kspace)
        return as_complex(rss(images)) if self.combination == "rss" else combine(images, maps)

    def refine(
        self, kspace: Kspace, mask: Mask, acs: tuple[int, int], maps: Kspace | None = None
    ) -> tuple[Kspace, Unrolling]:
        """Maps of all frames, made where they are not given (lines 1 and 2), and what every step has left."""
        maps = self.maps(kspace, mask, acs, self.recompute) if maps is None else maps
        there = Hybrid.of(kspace, mask, maps)
        state, carried = there.measured, None  # line 3: F^(−1) = 0
        kspaces, features = [], []
        for reconstructor in self.reconstructors:  # line 7
            again = self.recompute and torch.is_grad_enabled()
            args = (state, carried, there)
            found = checkpoint(reconstructor, *args, use_reentrant=False) if again else reconstructor(*args)
            state, carried, pooled = found
            kspaces.append(state)
            features.append(pooled)
        return maps, Unrolling(Refined(tuple(kspaces), there.axes), tuple(features))


@dataclass(frozen=True, eq=False)
class Unrolling:
    """What every step has left: k-space of all frames, and features, each (batch, cell, feature)."""

    kspaces: Refined
    features: tuple[Pooled, ...]


class ResidualStep(nn.Module):
    """One step: lines 8 to 11 of Algorithm 1."""

    def __init__(
        self,
        frames: int,
        settings: UnetSettings,
        generator: torch.Generator,
        residual: Residual,
        seen: str,
        grid: int,
    ) -> None:
        super().__init__()
        self.residual, self.seen, self.grid = residual, seen, grid
        self.unet = NormalisedUnet(frames, settings, generator=generator)
        self.step_size = nn.Parameter(torch.ones(1))

    def forward(self, kspace: Kspace, carried: Tensor | None, there: Hybrid) -> tuple[Kspace, Tensor | None, Pooled]:
        """K-space of all coils to the next one, what the next step is to add (None: nothing), and pooled features.

        carried: F^(t−1), an image (batch, frame, y, x) or features, as `residual` has it; None in the first step.
        """
        axes = there.axes
        coil_images = torch.fft.ifftn(kspace, dim=axes, norm="ortho")  # line 8
        image = torch.fft.fftshift(combine(coil_images, there.maps), dim=axes)
        of_features = self.residual == "features"
        out, features = self.unet.adding(image, carried if of_features else None)  # line 9: F̂^(t)
        if self.residual == "outputs" and carried is not None:
            out = out + carried  # line 9: F^(t) = F̂^(t) + F^(t−1)
        of_coils = expand(torch.fft.ifftshift(out, dim=axes), there.maps)  # line 10
        added = torch.fft.fftn(of_coils, dim=axes, norm="ortho")
        after = kspace - self.step_size * (there.mask * (kspace - there.measured)) + added  # line 11
        told = features if self.seen == "decoder" else stacked(out)
        pooled = adaptive_avg_pool2d(told, self.grid).flatten(2).transpose(1, 2)
        return after, {"outputs": out, "features": features}.get(self.residual), pooled
