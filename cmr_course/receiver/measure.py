"""From images to k-space and its truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.coils import apply_matrix, combine
from cmr_course.coils.geometry import AXIAL
from cmr_course.fourier import fft2c
from cmr_course.image import quantile
from cmr_course.plane import Plane
from cmr_course.receiver.background import aside, field_offset, smooth_phase
from cmr_course.receiver.channels import Channels, perturb_maps
from cmr_course.receiver.noise import noise_factor, white_noise
from cmr_course.receiver.vendors import Receiver
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
    say,
)

SIGNAL_REGION = "above 20 % of the 99th percentile of the temporal mean, central half-size box"
"""What `About.snr_region` says where there are no labels."""
ECHO_TIME_MS = 1.7
"""Usual echo time of balanced SSFP."""
FEW = 2**18
"""Samples of k-space that are made at a time, where one frame has no more: it keeps memory low."""

Segment = tuple[Complex[Tensor, "batch frame y x"], Bool[Tensor, " ky"]]
"""What the object looked like while some lines (ky) of k-space were measured, and which."""


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
    plane: Plane | Sequence[Plane] | None = None,
    segments: Sequence[Segment] = (),
    echo_time_ms: float = ECHO_TIME_MS,
    encodings: int = 1,
) -> tuple[Acquisition, Truth]:
    """What `receiver` measures of `image`, fully sampled, and the truth.

    image: complex (batch, frame, y, x); a magnitude series comes as complex with zero imaginary part. The batch is
    one scan (a stack of slices): it shares coils, noise covariance and one noise strength, each slice has its
    own background phase.
    region: bool (batch, y, x) or (batch, frame, y, x), where the signal of the SNR is averaged;
    :func:`signal_region` where there is none. pixel_size_mm: (y, x), places the image inside the array.
    plane: where the image lies in the body, one for all slices or one for each; without it the array lies around
    the image itself. segments: other looks of the object, each with the lines (ky) that were measured meanwhile, such
    as those of an ectopic heart beat; no line may be in two of them. echo_time_ms: turns the offset from resonance
    into phase, 2π · Δf · TE. encodings: so many items of the batch in a row are measurements of one slice, on the same
    background phase.

    The coil image is S_c · b · exp(iφ) · image with normalised maps S, intensity profile b (mean 1 over the region)
    and phase φ. `Truth.image` is Σ_c S_c* · (coil image c) without noise, so its magnitude is the root sum of
    squares; `Truth.sensitivities` is S. Both are those of an array with all coils working, of `image` alone. With
    virtual coils, S are the compressed maps, normalised; `Truth.image` is then what these coils hold of the image,
    a little less than all of it. The acquisition has no maps, so that methods estimate them, or wrong ones
    (`Receiver.map_perturbation`).
    Noise is complex Gaussian, correlated between coils (:func:`noise_model`); its strength gives the SNR of the
    array with all coils working, and `Acquisition.noise_covariance` is its true covariance per real and imaginary
    channel, None where `snr_db` is None. Virtual coils have the covariance that the coils pass on to them.
    Draws from `generator`: phase coefficients (batch), then all noise at once (batch, frame, coil, ky, kx). Offset
    from resonance and wrong maps have streams of their own, which follow from its state and leave it as it is.
    """
    planes = _check(image, receiver, about, generator, pixel_size_mm, plane, segments, echo_time_ms)
    whole = is_whole(encodings) and encodings > 0 and image.shape[0] % encodings == 0
    require(whole, f"encodings: got {say(encodings)}, want a number that divides the batch of {image.shape[0]}")
    inside, named = _signal_region(image, region, about)
    for_maps = aside(generator, "maps")
    field_of_view = (image.shape[-2] * pixel_size_mm[0], image.shape[-1] * pixel_size_mm[1])
    channels = Channels.around(image, planes, receiver.profile(), receiver.noise_correlation, field_of_view)
    shading = channels.shading / (channels.shading * inside).sum() * inside.sum()
    for_phase = None if planes is None else planes[:: encodings if len(planes) > 1 else 1]
    phase = _phase(image[::encodings], receiver, generator, for_phase, field_of_view, echo_time_ms)
    phase = phase.repeat_interleave(encodings, 0)
    background = torch.polar(shading.expand_as(phase), phase)
    received = image * background
    if receiver.dead_coils:
        channels = channels.without(receiver.dead_coils)
    if receiver.virtual_coils is not None:
        channels = channels.compressed(received, receiver.virtual_coils)
    maps = channels.maps.expand(image.shape[0], -1, -1, -1, -1)
    truth = Truth(received * channels.gain, sensitivities=maps)

    covariance = None
    if receiver.snr_db is not None:
        covariance = _noise_covariance(truth.magnitude(), maps, channels.correlations, inside, receiver.snr_db)
    others = [(other * background, lines.to(image.device)) for other, lines in segments]
    kspace = _measure(received, others, channels.seen, covariance, generator)
    told = replace(about, vendor=receiver.vendor, field=receiver.field, snr_db=receiver.snr_db, snr_region=named)
    told = replace(told, pixel_size=pixel_size_mm)
    wrong = None
    if receiver.map_perturbation > 0:
        wrong = perturb_maps(maps, receiver.map_perturbation, for_maps)
    return Acquisition.fully_sampled(kspace, told, noise_covariance=covariance, sensitivities=wrong), truth


def _phase(
    image: Complex[Tensor, "batch frame y x"],
    receiver: Receiver,
    generator: torch.Generator,
    planes: Sequence[Plane] | None,
    field_of_view_mm: tuple[float, float],
    echo_time_ms: float,
) -> Float[Tensor, "batch 1 y x"]:
    """Background phase of each slice, with what the offset from resonance adds to it until the echo, in radians."""
    profile, field, size = receiver.profile(), receiver.field / 3.0, (image.shape[-2], image.shape[-1])
    for_offset, real = aside(generator, "off-resonance"), image.real.dtype
    phase = smooth_phase(size, generator, strength=profile.phase * field, batch=image.shape[0], dtype=real)
    phase = phase.to(image.device)[:, None]
    hertz = 0.0 if planes is None and receiver.off_resonance is None else profile.off_resonance * field
    if hertz == 0:
        return phase
    where, device = planes or [AXIAL], image.device
    offset = field_offset(where, size, field_of_view_mm, for_offset, largest=hertz, device=device)
    return phase + (2e-3 * math.pi * echo_time_ms * offset).to(real)[:, None]


def _measure(
    image: Complex[Tensor, "batch frame y x"],
    others: Sequence[Segment],
    seen: Complex[Tensor, "_ 1 coil y x"],
    covariance: Complex[Tensor, "coil coil"] | None,
    generator: torch.Generator,
) -> Complex[Tensor, "batch frame coil ky kx"]:
    """K-space of the coil images seen · image, with the lines of other images put in and noise on top."""
    batch, frames, y, x = image.shape
    shape = (batch, frames, seen.shape[2], y, x)
    white = factor = None
    if covariance is not None:
        factor = noise_factor(covariance)
        white = white_noise(shape, image.dtype, generator, image.device)
    kspace = torch.empty(shape, dtype=image.dtype, device=image.device)
    step = max(FEW * frames // kspace.numel(), 1)
    for first in range(0, frames, step):
        part = slice(first, first + step)
        measured = fft2c(seen * image[:, part, None])
        for other, lines in others:
            measured = torch.where(lines[:, None], fft2c(seen * other[:, part, None]), measured)
        if factor is not None and white is not None:
            measured = measured + apply_matrix(factor, white[:, part])
        kspace[:, part] = measured
    return kspace


def _check(
    image: Tensor,
    receiver: Receiver,
    about: About,
    generator: torch.Generator,
    pixel_size_mm: tuple[float, float],
    plane: Plane | Sequence[Plane] | None,
    segments: Sequence[Segment],
    echo_time_ms: float,
) -> list[Plane] | None:
    """Look at what :func:`receive` was given; the planes as a list, where there are any."""
    _check_image("image", image)
    require(bool((image != 0).any()), "image: got zeros everywhere, want a signal somewhere")
    require(isinstance(receiver, Receiver), f"receiver: got {say(receiver)}, want a Receiver")
    require(isinstance(about, About), f"about: got {say(about)}, want an About")
    require_generator("generator", generator)
    require(is_pair(pixel_size_mm), f"pixel_size_mm: got {say(pixel_size_mm)}, want two lengths (y, x)")
    for length in pixel_size_mm:
        require_positive("pixel_size_mm", length)
    good = is_number(echo_time_ms) and 0 <= echo_time_ms < math.inf
    require(good, f"echo_time_ms: got {say(echo_time_ms)}, want ms from zero up")
    _check_segments(image, segments)
    if plane is None:
        return None
    planes = [plane] if isinstance(plane, Plane) else list(plane)
    batch = image.shape[0]
    good = len(planes) in (1, batch) and all(isinstance(one, Plane) for one in planes)
    require(good, f"plane: got {say(plane)}, want a Plane, or a sequence of {batch}, one for each slice")
    return planes


def _check_image(name: str, image: Tensor) -> None:
    require_axes(name, image, "batch frame y x")
    require_complex(name, image)
    require_finite(name, image)


def _check_segments(image: Tensor, segments: Sequence[Segment]) -> None:
    """Each segment must be an image like `image` and lines of its own."""
    taken = torch.zeros(image.shape[-2], dtype=torch.bool)
    for segment in segments:
        good = isinstance(segment, tuple | list) and len(segment) == 2
        require(good, f"segments: got {say(segment)}, want pairs of an image and its lines")
        other, lines = segment
        _check_image("segments", other)
        fits = other.shape == image.shape and other.dtype == image.dtype
        require(fits, f"segments: got an image {say(other)}, want one like image, {say(image)}")
        good = isinstance(lines, Tensor) and lines.dtype == torch.bool and lines.shape == taken.shape
        require(good, f"segments: got lines {say(lines)}, want torch.bool of shape {tuple(taken.shape)}")
        twice = int((taken & lines.cpu()).sum())
        require(twice == 0, f"segments: got {twice} lines that two of them measure, want each line in one at most")
        taken |= lines.cpu()


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


def _noise_covariance(
    magnitude: Float[Tensor, "batch frame y x"],
    maps: Complex[Tensor, "batch 1 coil y x"],
    correlations: Complex[Tensor, "coil coil"],
    inside: Bool[Tensor, "batch _ y x"],
    snr_db: float,
) -> Complex[Tensor, "coil coil"]:
    """Covariance that gives `snr_db`: mean signal over mean σ, both over the region.

    In the combined image a pixel's variance per channel is Sᴴ Ψ S.
    """
    sigma = combine(apply_matrix(correlations, maps), maps).real.clamp(min=0).sqrt()
    weight = inside.to(magnitude.dtype).expand_as(magnitude)
    strength = (magnitude * weight).sum() / (sigma * weight).sum() / 10 ** (snr_db / 20)
    variance = float(strength.detach() ** 2)
    held = torch.finfo(magnitude.dtype).tiny < variance < math.inf
    wanted = f"want one that {maps.dtype} holds"
    require(held, f"snr_db: got {snr_db}, a noise variance of {variance:.3g}, {wanted}")
    return correlations * strength**2
