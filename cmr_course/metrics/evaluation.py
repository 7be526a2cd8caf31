"""One call that scores a reconstruction by the metrics, and over the regions, that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import overload

from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import Reconstruction, Truth
from cmr_course.metrics.haarpsi import haarpsi
from cmr_course.metrics.image_quality import nmse, psnr, ssim, ssim_gaussian
from cmr_course.metrics.regions import regions_of
from cmr_course.metrics.sharpness import hfen
from cmr_course.validate import require, require_axes, say

Image = Float[Tensor, "batch frame y x"] | Complex[Tensor, "batch frame y x"]
Scores = Float[Tensor, "batch frame"]
Regions = Sequence[str] | Mapping[str, Bool[Tensor, "batch y x"] | None]

METRICS: dict[str, Callable[..., Tensor]] = {
    "nmse": nmse,
    "psnr": psnr,
    "ssim": ssim,
    "ssim_gaussian": ssim_gaussian,
    "hfen": hfen,
    "haarpsi": haarpsi,
}
"""The metrics that give each frame a score, by the names that tables use."""
DEFAULT_METRICS = ("nmse", "psnr", "ssim")


@overload
def evaluate(
    reconstruction: Reconstruction | Image,
    truth: Truth | Image,
    *,
    metrics: Sequence[str] | None = None,
    regions: None = None,
) -> dict[str, Scores]: ...


@overload
def evaluate(
    reconstruction: Reconstruction | Image,
    truth: Truth | Image,
    *,
    metrics: Sequence[str] | None = None,
    regions: Regions,
) -> dict[tuple[str, str], Scores]: ...


def evaluate(
    reconstruction: Reconstruction | Image,
    truth: Truth | Image,
    *,
    metrics: Sequence[str] | None = None,
    regions: Regions | None = None,
) -> dict[str, Scores] | dict[tuple[str, str], Scores]:
    """A score for each frame by metric, or with `regions` by (metric, region): what `results_of` takes.

    Records and complex tensors are scored by their magnitude.

    metrics: names in :data:`METRICS`; without them :data:`DEFAULT_METRICS`.
    regions: names among full, heart, dynamic and static, found in `truth` by
        :func:`cmr_course.metrics.regions_of`; or regions (batch, y, x) by name, None for the whole image. Without
        them the whole image is scored.
    """
    prediction, reference = magnitude_of("reconstruction", reconstruction), magnitude_of("truth", truth)
    chosen = DEFAULT_METRICS if metrics is None else metrics
    known = not isinstance(chosen, str) and all(isinstance(name, str) and name in METRICS for name in chosen)
    require(known, f"metrics: got {say(chosen)}, want names among {', '.join(METRICS)}")
    if regions is None:
        return {name: METRICS[name](prediction, reference) for name in chosen}
    if not isinstance(regions, Mapping):
        regions = regions_of(truth if isinstance(truth, Truth) else reference, regions)
    return {
        (name, where): METRICS[name](prediction, reference, *(() if region is None else (region,)))
        for where, region in regions.items()
        for name in chosen
    }


def magnitude_of(name: str, series: Reconstruction | Truth | Tensor) -> Tensor:
    """The magnitudes that metrics see, of a record or a tensor."""
    if isinstance(series, Reconstruction | Truth):
        return series.magnitude()
    require_axes(name, series, "batch frame y x")
    return series.abs() if series.is_complex() else series
