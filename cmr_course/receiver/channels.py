"""The channels that k-space is measured with: coils around the body, whole or dead, as they are or compressed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.coils import (
    ChestArray,
    apply_matrix,
    biot_savart,
    body_points,
    combine,
    compress,
    compress_covariance,
    normalise,
    rss,
    sensitivity_at,
)
from cmr_course.plane import Plane
from cmr_course.receiver.background import image_terms
from cmr_course.receiver.noise import noise_model
from cmr_course.receiver.vendors import VendorProfile
from cmr_course.validate import is_number, require, require_axes, require_complex, require_generator, say

SPACING_MM = 9.0
"""Maps in the body are evaluated on a grid this wide and interpolated: an error below 1e-3 anywhere in the body."""
BODY_SEGMENTS = 24
"""Straight pieces of a loop for its field in the body."""


@dataclass(frozen=True)
class Channels:
    """What an array does to an image; the batch is one where all slices lie alike.

    seen: what each channel makes of an image of ones. maps: seen of the working array with Σ|S|² = 1 where it sees
    something. gain: Σ_c maps_c* · seen_c of the working array, real. shading: intensity profile, up to a factor.
    correlations: noise covariance, up to a factor.
    """

    seen: Complex[Tensor, "plane 1 coil y x"]
    maps: Complex[Tensor, "plane 1 coil y x"]
    gain: Float[Tensor, "plane 1 y x"]
    shading: Float[Tensor, "plane 1 y x"]
    correlations: Complex[Tensor, "coil coil"]

    @classmethod
    def around(
        cls,
        image: Complex[Tensor, "batch frame y x"],
        planes: Sequence[Plane] | None,
        profile: VendorProfile,
        correlation: float,
        field_of_view_mm: tuple[float, float],
    ) -> Channels:
        """The coils of `profile` around the grid of `image`: around the body at these planes, or around the slice."""
        n_coils, shape = profile.n_coils, (image.shape[-2], image.shape[-1])
        array = profile.slice_array if planes is None else profile.body_array
        raw = biot_savart(
            n_coils,
            shape,
            field_of_view_mm,
            layout=array,
            plane=planes,
            spacing_mm=None if planes is None else SPACING_MM,
            dtype=image.dtype,
            device=image.device,
        )
        if planes is None:
            correlations = noise_model(raw, correlation)
        else:
            correlations = body_noise(array, n_coils, correlation, image.dtype, image.device)
        maps, strength = normalise(raw), rss(raw)
        return cls(maps, maps, torch.ones_like(strength), strength**profile.shading, correlations)

    def compressed(self, image: Complex[Tensor, "batch frame y x"], n_coils: int) -> Channels:
        """Virtual coils that hold most of the energy of `image`, with the noise that the coils pass on to them.

        The matrix is that of :func:`cmr_course.coils.compress` for all coil images, or their k-space: only the energy
        of a pixel over time matters to it.
        """
        weight = image.abs().square().sum(1, keepdim=True).sqrt()
        _, matrix = compress(self.maps * weight[:, :, None], n_coils)
        seen = apply_matrix(matrix, self.maps)
        maps = normalise(seen)
        covariance = compress_covariance(self.correlations, matrix)
        covariance = (covariance + covariance.mH) / 2
        return Channels(apply_matrix(matrix, self.seen), maps, combine(seen, maps).real, self.shading, covariance)

    def without(self, dead: Sequence[int]) -> Channels:
        """The same channels, of which `dead` see nothing; what is true of the working array stays."""
        working = torch.ones(self.seen.shape[2], dtype=self.seen.real.dtype, device=self.seen.device)
        working[list(dead)] = 0
        return replace(self, seen=self.seen * working[:, None, None])


@functools.lru_cache(maxsize=32)
def body_noise(
    array: ChestArray, n_coils: int, correlation: float, dtype: torch.dtype, device: torch.device
) -> Complex[Tensor, "coil coil"]:
    """:func:`noise_model` of `array` around a body, which is the same for every slice; not to be changed in place."""
    points = body_points(array, device=device).to(dtype.to_real())
    body = sensitivity_at(points, n_coils, array, segments=BODY_SEGMENTS)
    return noise_model(body[None, None, :, None], correlation)


def perturb_maps(
    maps: Complex[Tensor, "batch frame coil y x"], strength: float, generator: torch.Generator
) -> Complex[Tensor, "batch frame coil y x"]:
    """Wrong maps, as from a calibration that no longer fits: each coil times 1 + `strength` · p(y, x), normalised anew.

    p is a smooth complex polynomial of degree three, drawn for each slice and coil, with largest absolute value 1.
    strength: from 0 (the maps themselves) to below 1. Zero stays zero, so that the support is kept.
    Draws: the coefficients of all real parts (batch, coil, term), then those of the imaginary parts, in float64.
    """
    require_axes("maps", maps, "batch frame coil y x")
    require_complex("maps", maps)
    good = is_number(strength) and 0 <= strength < 1
    require(good, f"strength: got {say(strength)}, want a number from 0 to below 1")
    require_generator("generator", generator)
    batch, _, coils, y, x = maps.shape
    terms = image_terms((y, x), range(4))
    size = (2, batch, coils, len(terms))
    drawn = torch.randn(size, dtype=torch.float64, generator=generator, device=generator.device).cpu()
    field = torch.einsum("bct,tyx->bcyx", torch.complex(drawn[0], drawn[1]), terms.to(torch.complex128))
    field = field / field.abs().amax((-2, -1), keepdim=True).clamp(min=1e-12)
    return normalise(maps * (1 + strength * field).to(maps)[:, None])
