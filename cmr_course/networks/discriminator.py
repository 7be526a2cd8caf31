"""Patch-GAN: a network that says of each patch of an image whether it is a real one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from cmr_course.validate import require, require_whole

Magnitudes = Float[Tensor, "batch frame y x"]
Verdict = Float[Tensor, "batch 1 patch_y patch_x"]
KERNEL = 4
"""Taps of every convolution along both axes, as in Isola et al. 2017."""
WIDEST = 8
"""The number of filters doubles with each layer up to so many times the first."""
SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """Isola et al. 2017 (arXiv:1611.07004, section 3.2): logits for patches of an image beside the one it was made of.

    GENRE-CMR (arXiv:2508.20600) has one such network for all its steps and sees the image with the zero-filled one; of
    its layers the paper says nothing. Here: `layers` convolutions of stride 2, one of stride 1 and a last one to a
    single number, 4 × 4 taps each, leaky rectifiers (slope 0.2) between them, and between all but the first and the
    last each filter normalised over its image (a batch of one has no other items to compare with).
    frames: of an image, as channels. filters: of the first layer. spectral: each convolution is divided by its largest
    singular value (Miyato et al. 2018, arXiv:1802.05957) and nothing else is normalised.
    A patch is `patch` pixels long along both axes: 70 with three layers.
    """

    def __init__(self, frames: int = 1, filters: int = 64, layers: int = 3, *, spectral: bool = False) -> None:
        super().__init__()
        for name, value in {"frames": frames, "filters": filters, "layers": layers}.items():
            require_whole(name, value)
        require(isinstance(spectral, bool), f"spectral: got {spectral!r}, want true or false")
        widths = [filters * min(2**number, WIDEST) for number in range(layers + 1)]
        strides = [2] * layers + [1]
        parts: list[nn.Module] = []
        for number, (before, after, stride) in enumerate(zip([2 * frames, *widths], widths, strides, strict=False)):
            normalised = number > 0 and not spectral
            plain = nn.Conv2d(before, after, KERNEL, stride, 1, bias=not normalised)
            parts.append(spectral_norm(plain) if spectral else plain)
            if normalised:
                parts.append(nn.InstanceNorm2d(after))
            parts.append(nn.LeakyReLU(SLOPE))
        last = nn.Conv2d(widths[-1], 1, KERNEL, 1, 1)
        self.body = nn.Sequential(*parts, spectral_norm(last) if spectral else last)
        self.frames = frames
        self.patch = _patch((*strides, 1))

    def forward(self, image: Magnitudes, zero_filled: Magnitudes) -> Verdict:
        """A logit for each patch, above zero for what is held to be fake.

        image, zero_filled: magnitudes of intensities near one. ValueError where they differ in shape, or where the
        image is smaller than a patch.
        """
        same = image.shape == zero_filled.shape
        require(
            same, f"zero_filled: got shape {tuple(zero_filled.shape)}, want that of the image, {tuple(image.shape)}"
        )
        count, (y, x) = image.shape[1], image.shape[2:]
        require(count == self.frames, f"image: got {count} frames, want {self.frames}")
        fits = min(y, x) >= self.patch
        wanted = f"want at least {self.patch} along both axes, the patch that a logit is about; fewer layers see less"
        require(fits, f"image: got {y} x {x} pixels, {wanted}")
        return self.body(torch.cat([image, zero_filled], 1))


def _patch(strides: tuple[int, ...]) -> int:
    """How many pixels of the image one number after convolutions of these strides depends on, along an axis."""
    seen, step = 1, 1
    for stride in strides:
        seen += (KERNEL - 1) * step
        step *= stride
    return seen
