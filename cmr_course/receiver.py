"""The receiving end of a scanner: coils, background phase, noise of a stated strength, vendor layouts.

The simulator and the reader of image series share it: both hand in images and get back what an array would have
measured, fully sampled, with the truth to score against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.coils import ChestArray, apply_matrix, biot_savart, combine, expand, normalise, rss
from cmr_course.fourier import fft2c
from cmr_course.image import quantile
from cmr_course.validate import (
    is_number,
    is_pair,
    is_whole,
    require,
    require_axes,
    require_broadcast,
    require_complex,
    require_finite,
    require_generator,
    require_positive,
    require_whole,
    say,
)

SIGNAL_REGION = "above 20 % of the 99th percentile of the temporal mean, central half-size box"
"""What `About.snr_region` says where there are no labels."""


@dataclass(frozen=True)
class VendorProfile:
    """How one maker's scanner differs: number of coils, array, background phase (radians), shading."""

    n_coils: int
    layout: ChestArray
    phase: float
    shading: float


VENDORS: Mapping[str, VendorProfile] = MappingProxyType(
    {
        "ge": VendorProfile(8, ChestArray(radius_mm=60.0, anterior_degrees=150.0), phase=1.5, shading=0.25),
        "philips": VendorProfile(16, ChestArray(radius_mm=45.0, standoff_mm=35.0), phase=1.0, shading=0.15),
        "siemens": VendorProfile(18, ChestArray(radius_mm=50.0), phase=1.2, shading=0.35),
        "uih": VendorProfile(24, ChestArray(radius_mm=40.0, anterior_degrees=190.0), phase=1.8, shading=0.3),
    }
)
"""Plausible stand-ins, not measured: they make domains that differ as vendors' do, in size and not in detail."""


@dataclass(frozen=True)
class Receiver:
    """Settings of :func:`receive`.

    n_coils: number of receiver coils; None takes the vendor's.
    snr_db: 20·log10 of mean signal over σ in the coil-combined, fully sampled image; None adds no noise.
    vendor: a key of `VENDORS` (stand-ins, not measured). field: in tesla; the background phase grows with it.
    phase: largest background phase at 3 T, in radians; None takes the vendor's.
    shading: exponent on the intensity profile of the array, from 0 (flat, as after a vendor's intensity filter)
    to 1 (all of it); None takes the vendor's.
    noise_correlation: share of the noise that the coils receive in common from the body, 0 to below 1.
    """

    n_coils: int | None = 10
    snr_db: float | None = 30.0
    vendor: str = "siemens"
    field: float = 3.0
    phase: float | None = None
    shading: float | None = None
    noise_correlation: float = 0.2

    def __post_init__(self) -> None:
        known = ", ".join(VENDORS)
        good = isinstance(self.vendor, str) and self.vendor in VENDORS
        require(good, f"vendor: got {self.vendor!r}, want one of {known}")
        coils, snr, phase, shading = self.n_coils, self.snr_db, self.phase, self.shading
        require(coils is None or (is_whole(coils) and coils >= 1), f"n_coils: got {say(coils)}, want one or more")
        good = snr is None or (is_number(snr) and abs(snr) < float("inf"))
        require(good, f"snr_db: got {say(snr)}, want a finite number, or None for no noise")
        good = is_number(self.field) and 0 < self.field < float("inf")
        require(good, f"field: got {say(self.field)}, want tesla above zero")
        good = phase is None or (is_number(phase) and abs(phase) < float("inf"))
        require(good, f"phase: got {say(phase)}, want radians")
        good = shading is None or (is_number(shading) and 0 <= shading <= 1)
        require(good, f"shading: got {say(shading)}, want 0 to 1")
        share = self.noise_correlation
        good = is_number(share) and 0 <= share < 1
        require(good, f"noise_correlation: got {say(share)}, want a number from 0 to below 1")

    def profile(self) -> VendorProfile:
        """The vendor's profile with what this receiver says differently."""
        usual = VENDORS[self.vendor]
        return VendorProfile(
            n_coils=usual.n_coils if self.n_coils is None else self.n_coils,
            layout=usual.layout,
            phase=usual.phase if self.phase is None else self.phase,
            shading=usual.shading if self.shading is None else self.shading,
        )


def smooth_phase(
    shape: tuple[int, int],
    generator: torch.Generator,
    *,
    strength: float = 1.2,
    order: int = 2,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "{batch} {shape[0]} {shape[1]}"]:
    """Smooth background phase (batch, y, x) in radians: a random polynomial in y and x of total degree `order`.

    Scaled so that its largest absolute value is `strength`. Draws: the coefficients of batch item 0, then 1, and
    so on, each in float64, so that a larger matrix shows the same phase more finely.
    """
    pair = is_pair(shape) and all(is_whole(n) and n > 0 for n in shape)
    require(pair, f"shape: got {say(shape)}, want whole (y, x) above zero")
    require_whole("order", order)
    require_whole("batch", batch)
    good = is_number(strength) and abs(strength) < float("inf")
    require(good, f"strength: got {say(strength)}, want radians")
    require(dtype.is_floating_point, f"dtype: got {dtype}, want a real one")
    require_generator("generator", generator)
    y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) / max(n / 2, 1) for n in shape)
    terms = [y[:, None] ** i * x[None, :] ** (degree - i) for degree in range(1, order + 1) for i in range(degree + 1)]
    drawn = torch.randn((batch, len(terms)), dtype=torch.float64, generator=generator, device=generator.device)
    phase = torch.einsum("bt,tyx->byx", drawn.cpu(), torch.stack(terms))
    largest = phase.abs().amax((-2, -1), keepdim=True)
    return (strength * phase / largest.clamp(min=1e-12)).to(dtype)


def noise_model(maps: Complex[Tensor, "1 1 coil y x"], correlation: float) -> Complex[Tensor, "coil coil"]:
    """Noise covariance of an array up to its strength: ones on the diagonal, Hermitian, positive definite.

    A share `correlation` is thermal noise of the body, which two coils receive in common as far as their fields
    overlap (Roemer et al. 1990, doi:10.1002/mrm.1910160203; here by the fields in the slice, a stand-in for the
    integral over the body); the rest is each coil's own electronics.
    """
    require_axes("maps", maps, "batch frame coil y x")
    require(maps.shape[:2] == (1, 1), f"maps: got {tuple(maps.shape[:2])} along batch and frame, want one of each")
    dark = int((maps == 0).all(-1).all(-1).sum())
    require(dark == 0, f"maps: got {dark} coils that see nothing, want coils with some sensitivity")
    good = is_number(correlation) and 0 <= correlation < 1
    require(good, f"correlation: got {say(correlation)}, want a number from 0 to below 1")
    flat = maps[0, 0].flatten(1).to(torch.complex128)
    flat = flat / flat.norm(dim=1, keepdim=True)
    identity = torch.eye(flat.shape[0], dtype=flat.dtype, device=flat.device)
    covariance = (1 - correlation) * identity + correlation * (flat @ flat.mH)
    return ((covariance + covariance.mH) / 2).to(maps.dtype)


def signal_region(magnitude: Float[Tensor, "batch frame y x"]) -> Bool[Tensor, "batch y x"]:
    """Where SNR is measured in images without labels, (batch, y, x).

    Pixels of the temporal mean image above 20 % of its 99th percentile (taken over the whole image), within the
    central box of half the height and half the width.
    """
    require_axes("magnitude", magnitude, "batch frame y x")
    require_finite("magnitude", magnitude)
    mean = magnitude.mean(1)
    above = torch.stack([item > 0.2 * quantile(item, 0.99) for item in mean])
    height, width = mean.shape[-2:]
    box = torch.zeros_like(above)
    top, left = height // 2 - height // 4, width // 2 - width // 4
    box[:, top : top + max(height // 2, 1), left : left + max(width // 2, 1)] = True
    return above & box


def receive(
    image: Complex[Tensor, "batch frame y x"],
    receiver: Receiver,
    *,
    generator: torch.Generator,
    about: About,
    region: Bool[Tensor, "batch y x"] | Bool[Tensor, "batch _ y x"] | None = None,
    pixel_size_mm: tuple[float, float] = (1.5, 1.5),
) -> tuple[Acquisition, Truth]:
    """What `receiver` measures of `image`, fully sampled, and the truth.

    image: complex (batch, frame, y, x); a magnitude series comes as complex with zero imaginary part. The batch is
    one scan (a stack of slices): it shares coils, noise covariance and one noise strength, each slice has its
    own background phase.
    region: bool (batch, y, x) or (batch, frame, y, x), where the signal of the SNR is averaged;
    :func:`signal_region` where there is none. pixel_size_mm: (y, x), places the image inside the array.

    The coil image is S_c · b · exp(iφ) · image with normalised maps S, intensity profile b (mean 1 over the region)
    and phase φ. `Truth.image` is Σ_c S_c* · (coil image c) without noise, so its magnitude is the root sum of
    squares; `Truth.sensitivities` is S. The acquisition has no maps: methods estimate them. Noise is complex
    Gaussian, correlated between coils (:func:`noise_model`); `Acquisition.noise_covariance` is its true covariance
    per real and imaginary channel, None where `snr_db` is None.
    Draws from `generator`: phase coefficients (batch), then all noise at once (batch, frame, coil, ky, kx).
    """
    _check_image(image)
    require(isinstance(receiver, Receiver), f"receiver: got {say(receiver)}, want a Receiver")
    require(isinstance(about, About), f"about: got {say(about)}, want an About")
    require_generator("generator", generator)
    require(is_pair(pixel_size_mm), f"pixel_size_mm: got {say(pixel_size_mm)}, want two lengths (y, x)")
    for length in pixel_size_mm:
        require_positive("pixel_size_mm", length)
    inside, named = _signal_region(image, region, about)
    profile = receiver.profile()
    maps, shading, correlations = _array(image, profile, receiver.noise_correlation, pixel_size_mm)
    shading = shading / (shading * inside).sum() * inside.sum()
    size, strength = (image.shape[-2], image.shape[-1]), profile.phase * receiver.field / 3.0
    phase = smooth_phase(size, generator, strength=strength, batch=image.shape[0], dtype=image.real.dtype)
    coil_images = expand(image * torch.polar(shading.expand_as(phase), phase.to(image.device))[:, None], maps)
    truth = Truth(combine(coil_images, maps), sensitivities=maps)

    kspace, covariance = fft2c(coil_images), None
    if receiver.snr_db is not None:
        sigma = _noise_strength(truth.magnitude(), maps, correlations, inside, receiver.snr_db)
        variance = float(sigma.detach() ** 2)
        held = torch.finfo(image.dtype).tiny < variance < float("inf")
        require(
            held,
            f"snr_db: got {receiver.snr_db}, a noise variance of {variance:.3g}, want one that {image.dtype} holds",
        )
        covariance = correlations * sigma**2
        kspace = kspace + correlated_noise(kspace, covariance, generator)
    told = replace(about, vendor=receiver.vendor, field=receiver.field, snr_db=receiver.snr_db, snr_region=named)
    told = replace(told, pixel_size=pixel_size_mm)
    return Acquisition.fully_sampled(kspace, told, noise_covariance=covariance), truth


def _array(
    image: Complex[Tensor, "batch frame y x"],
    profile: VendorProfile,
    correlation: float,
    pixel_size_mm: Sequence[float],
) -> tuple[Complex[Tensor, "batch 1 coil y x"], Float[Tensor, "y x"], Complex[Tensor, "coil coil"]]:
    """Normalised maps, intensity profile and noise correlations of the array around the grid of `image`."""
    shape = (image.shape[-2], image.shape[-1])
    length_y, length_x = (n * size for n, size in zip(shape, pixel_size_mm, strict=True))
    raw = biot_savart(
        profile.n_coils,
        shape,
        (length_y, length_x),
        layout=profile.layout,
        dtype=image.dtype,
        device=image.device,
    )
    maps = normalise(raw).expand(image.shape[0], -1, -1, -1, -1)
    return maps, rss(raw)[0, 0] ** profile.shading, noise_model(raw, correlation)


def correlated_noise(
    like: Complex[Tensor, "batch frame coil ky kx"],
    covariance: Complex[Tensor, "coil coil"],
    generator: torch.Generator,
) -> Complex[Tensor, "batch frame coil ky kx"]:
    """Complex Gaussian noise of the shape of `like` with `covariance` per real and imaginary channel."""
    require_generator("generator", generator)
    # torch.randn of a complex dtype has variance 1 in all, one half per channel.
    white = torch.randn(like.shape, dtype=like.dtype, generator=generator, device=generator.device) * 2**0.5
    factor, failed = torch.linalg.cholesky_ex(covariance)
    require(int(failed) == 0, "covariance: got a matrix that is not positive definite, want one that is")
    return apply_matrix(factor, white.to(like.device))


def _check_image(image: Tensor) -> None:
    require_axes("image", image, "batch frame y x")
    require_complex("image", image)
    require_finite("image", image)
    require(bool((image != 0).any()), "image: got zeros everywhere, want a signal somewhere")


def _signal_region(image: Tensor, region: Tensor | None, about: About) -> tuple[Bool[Tensor, "batch _ y x"], str]:
    """Where SNR is measured, with a frame axis, and what to call it; `region` must fit `image` and hold signal."""
    if region is None:
        inside, named = signal_region(image.abs())[:, None], SIGNAL_REGION
    else:
        require(isinstance(region, Tensor), f"region: got {say(region)}, want a torch.Tensor")
        require(region.dtype == torch.bool, f"region: got {region.dtype}, want torch.bool")
        inside = region[:, None] if region.ndim == 3 else region
        named = about.snr_region or "region given by the caller"
    require_axes("region", inside, "batch frame y x")
    require_broadcast("region", tuple(inside.shape), tuple(image.shape), "batch frame y x")
    fits = inside.shape[-2:] == image.shape[-2:]
    require(fits, f"region: got {tuple(inside.shape[-2:])} pixels, want {tuple(image.shape[-2:])}")
    signal = bool(((image != 0) & inside).any())
    require(signal, "region: got no pixel with signal, want some to measure the SNR in")
    return inside, named


def _noise_strength(
    magnitude: Float[Tensor, "batch frame y x"],
    maps: Complex[Tensor, "batch 1 coil y x"],
    covariance: Complex[Tensor, "coil coil"],
    inside: Bool[Tensor, "batch _ y x"],
    snr_db: float,
) -> Float[Tensor, ""]:
    """Factor on the noise's standard deviation that gives `snr_db`: mean signal over mean σ, both over the region.

    In the combined image a pixel's variance per channel is Sᴴ Ψ S.
    """
    sigma = combine(apply_matrix(covariance, maps), maps).real.clamp(min=0).sqrt()
    weight = inside.to(magnitude.dtype).expand_as(magnitude)
    return (magnitude * weight).sum() / (sigma * weight).sum() / 10 ** (snr_db / 20)
