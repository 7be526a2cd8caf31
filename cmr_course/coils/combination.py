"""From image to coil images and back."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.validate import require, require_axes, require_broadcast, require_complex, require_finite


def expand(
    image: Complex[Tensor, "batch frame y x"], sensitivities: Complex[Tensor, "batch _ coil y x"]
) -> Complex[Tensor, "batch frame coil y x"]:
    """What each coil sees: S_c · x. Sensitivities have one frame, or one for each frame of the image."""
    require_axes("image", image, "batch frame y x")
    require_complex("image", image)
    require_axes("sensitivities", sensitivities, "batch frame coil y x")
    _require_maps(sensitivities, (*image.shape[:2], sensitivities.shape[2], *image.shape[2:]))
    return sensitivities * image.unsqueeze(-3)


def combine(
    coil_images: Complex[Tensor, "batch frame coil y x"], sensitivities: Complex[Tensor, "batch _ coil y x"]
) -> Complex[Tensor, "batch frame y x"]:
    """Sensitivity-weighted combination Σ_c S_c* · (coil image c), the adjoint of :func:`expand`.

    Where Σ_c |S_c|² = 1 it undoes :func:`expand`, and for white noise of equal strength it is the combination with
    the best signal-to-noise ratio (Roemer et al. 1990, doi:10.1002/mrm.1910160203).
    """
    require_axes("coil_images", coil_images, "batch frame coil y x")
    require_complex("coil_images", coil_images)
    require_axes("sensitivities", sensitivities, "batch frame coil y x")
    _require_maps(sensitivities, tuple(coil_images.shape))
    return (sensitivities.conj() * coil_images).sum(-3)


def rss(coil_images: Complex[Tensor, "batch frame coil y x"]) -> Float[Tensor, "batch frame y x"]:
    """Root sum of squares over coils, sqrt(Σ_c |x_c|²): no maps needed, but phase is lost and noise adds up.

    Its derivative where all coils are zero is taken as zero.
    """
    require_axes("coil_images", coil_images, "batch frame coil y x")
    energy = (coil_images * coil_images.conj()).real.sum(-3)  # abs() would take a root first
    # The derivative of the square root at zero is infinite, and NaN once it is multiplied by zero.
    dark = energy == 0
    return energy.masked_fill(dark, 1).sqrt().masked_fill(dark, 0)


def normalise(
    maps: Complex[Tensor, "batch frame coil y x"], support: Bool[Tensor, "_ y x"] | None = None
) -> Complex[Tensor, "batch frame coil y x"]:
    """Maps with Σ_c |S_c|² = 1 on their support and 0 elsewhere.

    The support is where some map is not zero, and inside `support` (batch or 1, y, x) where that is given.
    """
    require_axes("maps", maps, "batch frame coil y x")
    require_complex("maps", maps)
    require_finite("maps", maps)
    strength = rss(maps).unsqueeze(-3)
    inside = strength > 0
    if support is not None:
        require_axes("support", support, "batch y x")
        require(support.dtype == torch.bool, f"support: got {support.dtype}, want torch.bool")
        wanted = (maps.shape[0], *maps.shape[-2:])
        require_broadcast("support", tuple(support.shape), wanted, "batch y x")
        inside = inside & support[:, None, None]
    return torch.where(inside, maps / torch.where(inside, strength, 1), 0)


def _require_maps(sensitivities: Tensor, wanted: tuple[int, ...]) -> None:
    """`sensitivities` must be complex and fit `wanted` = (batch, frame, coil, y, x), static in batch or time or not."""
    require_complex("sensitivities", sensitivities)
    got = tuple(sensitivities.shape)
    fits = got[0] in (1, wanted[0]) and got[1] in (1, wanted[1]) and got[2:] == wanted[2:]
    require(fits, f"sensitivities: got shape {got}, want {wanted}, or one along batch or frame")
