"""The Eagle loss: spectra of a map of how much gradients vary (Sun et al. 2024, arXiv:2403.10695), as HyperCMR has it.

HyperCMR (Xu et al. 2024, arXiv:2410.03624, section 3.3) replaced the filter. The released codes of both papers differ
from their texts; what a name that ends in ``released`` does was fitted to numbers which these codes put out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import scharr
from cmr_course.losses.looks import REGIONS, Look, Magnitude
from cmr_course.losses.units import Image
from cmr_course.validate import is_number, require, require_whole, say

GAIN = 32.0
"""Scharr's kernel is written with whole numbers, (3, 10, 3) by (−1, 0, 1): so many times a derivative per pixel."""
EPSILON = 1e-8
"""What HyperCMR's code adds to variances, to squared magnitudes and to a deviation that divides."""
HIGHEST = 0.5**0.5
"""The frequency in the corner of a spectrum, cycles per sample."""
HEART_SHARE = 0.6
"""Of the heart in the released mixture; the whole image has the rest."""
STANDARDISED = ("image", "batch", "none")

Spectrum = Float[Tensor, "y x"]
Images = Float[Tensor, "image y x"]


def _share(frequency: Spectrum, cutoff: float, order: int) -> Spectrum:
    power: Tensor = (frequency / cutoff) ** (2 * order)
    return power / (1 + power)


def _notch(frequency: Spectrum, cutoff: float, order: int) -> Spectrum:
    return 1 - torch.exp(-0.5 * (frequency - cutoff).square())


FILTERS: Mapping[str, Callable[[Spectrum, float, int], Spectrum]] = MappingProxyType(
    {
        "butterworth": _share,
        "butterworth_released": lambda frequency, cutoff, order: 1 - _share(frequency, cutoff, order),
        "gaussian": _notch,
    }
)
"""Weights of a spectrum by frequency f, cutoff c (both in cycles per sample) and order n.

``butterworth``: (f/c)²ⁿ / (1 + (f/c)²ⁿ): 0 at zero frequency, ½ at the cutoff, towards 1 above: a high-pass.
``butterworth_released``: one minus it, a low-pass, which HyperCMR's code calls a high-pass.
``gaussian``: 1 − exp(−(f − c)²/2), as the original Eagle loss has it; there is no width in it, it is 0 at the cutoff
and at most 0.12 elsewhere for c from 0.21 to 0.5: a notch, which paper and code call a high-pass.
"""
HIGH_PASS = ("butterworth",)
"""The filters that claim to be one, and are."""


def filter_weights(name: str, size: tuple[int, int], cutoff: float, order: int = 2) -> Spectrum:
    """Weights of filter `name` for a spectrum of `size` = (y, x), float64, zero frequency first (not centred)."""
    _one_of("filter", name, tuple(FILTERS))
    along_y, along_x = (torch.fft.fftfreq(n, dtype=torch.float64) for n in size)
    return FILTERS[name](torch.hypot(along_y[:, None], along_x), cutoff, order)


def grey(images: Float[Tensor, "*shape 3 y x"]) -> Float[Tensor, "*shape y x"]:
    """0.2989 R + 0.5870 G + 0.1140 B: what the original Eagle loss makes of colours."""
    weights = torch.tensor([0.2989, 0.5870, 0.1140], dtype=images.dtype, device=images.device)
    return torch.einsum("c,...cyx->...yx", weights, images)


@dataclass(frozen=True, eq=False)
class EaglePictures:
    """What an Eagle loss makes of images on the way, each along y and x (figure 2 of the HyperCMR paper).

    gradients: Scharr's, in whole numbers. variance: in each patch. weights: of the filter, zero frequency first.
    spectrum: magnitudes of the variance map, standardised where the loss does so, times the weights.
    """

    gradients: Float[Tensor, "image 2 y x"]
    variance: Float[Tensor, "image 2 patch_y patch_x"]
    weights: Float[Tensor, "freq_y freq_x"]
    spectrum: Float[Tensor, "image 2 freq_y freq_x"]


class EagleLoss(nn.Module):
    """Σ over both directions of the mean of | w·|F(v(x))| − w·|F(v(r))| |, v the variance of gradients in patches.

    Scharr gradients along y and x (zero beyond the border); unbiased variance in patches that do not overlap (rows and
    columns that do not fill one are dropped); magnitude of its unnormalised 2-D FFT; weights of a filter.

    filter, cutoff, order: of :data:`FILTERS`, cycles per sample. patch: pixels along each side.
    padded: the map is first continued with zeros to a power of two along each axis.
    standardised: the spectrum, before it is weighted, minus its mean, by its unbiased deviation: of each ``image`` by
    itself; over the whole ``batch``, as released, which ties its items to each other; or ``none``.
    cropped: of the padded spectrum only as many rows and columns as the map has, from zero frequency on, as released:
    it drops part of the negative frequencies wherever there was padding.
    region, unit, heart: see :class:`cmr_course.losses.looks.Look`; region may also be ``mixed``, 0.6 of the heart and
    0.4 of the whole image, as released. The unit hardly matters where spectra are standardised.
    epsilon: added to variances and to squared magnitudes.

    The defaults are the paper's, with what the released code does where the paper is silent (padding, unbiased
    variance, epsilon, standardising, order), short of cropping, the coupled batch and images from 0 to 1.
    ``EAGLE_RELEASED`` and ``EAGLE_ORIGINAL`` of ``cmr_course.losses.recipes`` are those of the released codes. Our
    gradient is finite where theirs is not (a spectrum that is exactly zero, without epsilon).
    """

    def __init__(
        self,
        filter: str = "butterworth",
        patch: int = 5,
        cutoff: float = 0.35,
        order: int = 2,
        padded: bool = True,
        standardised: str = "image",
        cropped: bool = False,
        region: str = "whole",
        unit: str = "peak",
        epsilon: float = EPSILON,
        heart: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _one_of("filter", filter, tuple(FILTERS))
        _one_of("standardised", standardised, STANDARDISED)
        _one_of("region", region, (*REGIONS, "mixed"))
        _flag("padded", padded)
        _flag("cropped", cropped)
        require_whole("patch", patch, 2)
        require_whole("order", order)
        inside = is_number(cutoff) and 0 < cutoff < HIGHEST
        require(inside, f"cutoff: got {say(cutoff)}, want cycles per sample above 0 and below {HIGHEST:.3f}")
        good = is_number(epsilon) and 0 <= epsilon < 1
        require(good, f"epsilon: got {say(epsilon)}, want a number from 0 to below 1")
        self.filter, self.patch, self.cutoff, self.order = filter, patch, cutoff, order
        self.padded, self.standardised, self.cropped = padded, standardised, cropped
        self.region, self.unit, self.epsilon, self.heart = region, unit, epsilon, heart
        shares = {"mixed": {"heart": HEART_SHARE, "whole": 1 - HEART_SHARE}}.get(region, {region: 1.0})
        self.looks = [(share, Look(part, unit, heart)) for part, share in shares.items()]

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        image = reconstruction.image
        terms = [share * self.distance(*look(image, reference, acquisition)) for share, look in self.looks]
        return torch.stack(terms).sum()

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """The loss of magnitudes as they are."""
        spectra = [self.pictures(images.flatten(0, 1)).spectrum for images in (output, truth)]
        return (spectra[0] - spectra[1]).abs().mean((0, 2, 3)).sum()

    def pictures(self, images: Images) -> EaglePictures:
        """Gradients, variance, weights and weighted spectrum of `images`: differentiable, both directions at once."""
        gradients = GAIN * torch.stack(scharr(images), dim=1)
        variance = self._variance(gradients)
        y, x = variance.shape[-2:]
        more = (2 ** (n - 1).bit_length() - n if self.padded else 0 for n in (x, y))
        magnitude = self._magnitude(pad(variance, [end for each in more for end in (0, each)]))
        size = (magnitude.shape[-2], magnitude.shape[-1])
        weights = filter_weights(self.filter, size, self.cutoff, self.order).to(images)
        magnitude = self._standardise(magnitude)
        if self.cropped:
            weights, magnitude = weights[:y, :x], magnitude[..., :y, :x]
        return EaglePictures(gradients, variance, weights, weights * magnitude)

    def _variance(self, gradients: Float[Tensor, "image 2 y x"]) -> Float[Tensor, "image 2 patch_y patch_x"]:
        """Unbiased variance in each patch, plus epsilon."""
        p = self.patch
        y, x = gradients.shape[-2:]
        enough = y // p * (x // p) > 1 and min(y, x) >= p
        require(enough, f"image: got {(y, x)} pixels, want at least two patches of {p} × {p}")
        whole = gradients[..., : y // p * p, : x // p * p]
        return whole.unflatten(-1, (-1, p)).unflatten(-3, (-1, p)).var((-3, -1)) + self.epsilon

    def _magnitude(self, variance: Float[Tensor, "image 2 y x"]) -> Float[Tensor, "image 2 y x"]:
        """√(|F|² + epsilon); without epsilon |F|, whose gradient at zero torch takes to be zero."""
        spectrum = torch.fft.fft2(variance)
        if self.epsilon == 0:
            return spectrum.abs()
        return (spectrum.real.square() + spectrum.imag.square() + self.epsilon).sqrt()

    def _standardise(self, magnitude: Float[Tensor, "image 2 y x"]) -> Float[Tensor, "image 2 y x"]:
        """Minus mean, by deviation, for each direction by itself."""
        if self.standardised == "none":
            return magnitude
        axes = (-2, -1) if self.standardised == "image" else (0, -2, -1)
        variance, mean = torch.var_mean(magnitude, axes, keepdim=True)
        # The root of zero has no derivative: where all magnitudes are equal, the deviation counts as a constant.
        deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
        return (magnitude - mean) / (deviation + EPSILON)

    def extra_repr(self) -> str:
        """The settings."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in signature(EagleLoss).parameters)


def _flag(name: str, value: bool) -> None:
    require(isinstance(value, bool), f"{name}: got {say(value)}, want true or false")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    require(isinstance(value, str) and value in known, f"{name}: got {say(value)}, want one of {', '.join(known)}")
