"""One call that scores a reconstruction by the metrics, and over the regions, that are wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from typing import overload

from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import About, Reconstruction, Truth
from cmr_course.metrics.flow import peak_velocity_error
from cmr_course.metrics.haarpsi import haarpsi
from cmr_course.metrics.image_quality import nmse, psnr, ssim, ssim_gaussian
from cmr_course.metrics.mapping import t1_bias, t1rho_bias, t2_bias
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
QUANTITIES: dict[str, tuple[str, str, Callable[..., Tensor]]] = {
    "T1 bias": ("T1map", "times", t1_bias),
    "relative T1 bias": ("T1map", "times", functools.partial(t1_bias, percent=True)),
    "T2 bias": ("T2map", "times", t2_bias),
    "relative T2 bias": ("T2map", "times", functools.partial(t2_bias, percent=True)),
    "T1rho bias": ("T1rho", "times", t1rho_bias),
    "relative T1rho bias": ("T1rho", "times", functools.partial(t1rho_bias, percent=True)),
    "peak velocity error": ("flow2d", "venc", peak_velocity_error),
}
"""What is measured with a whole series, and gives it one number: by the names that tables use, each with the contrast
it can be measured with, and what its function wants from `About`, besides a reconstruction and the truth. Units:
:data:`cmr_course.metrics.results.UNITS`."""


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
    _require_names(chosen, METRICS)
    if regions is None:
        return {name: METRICS[name](prediction, reference) for name in chosen}
    if not isinstance(regions, Mapping):
        regions = regions_of(truth if isinstance(truth, Truth) else reference, regions)
    return {
        (name, where): METRICS[name](prediction, reference, *(() if region is None else (region,)))
        for where, region in regions.items()
        for name in chosen
    }


def evaluate_quantities(
    reconstruction: Reconstruction | Image, truth: Truth, about: About, metrics: Sequence[str]
) -> dict[str, Float[Tensor, "batch 1"]]:
    """How far what is measured with the series is from the truth, by metric: what `results_of` takes.

    The images are taken as they are, phase and sign included. Velocities have a row for each pair of the batch.

    about: of the acquisition, with the times of its weightings, or its venc. Its contrast has to be that of each
    quantity: any weighted series of a simulated heart has a true T1 and T2, but only one model fits its frames.
    metrics: names in :data:`QUANTITIES`.
    """
    _require_names(metrics, QUANTITIES)
    require(isinstance(about, About), f"about: got {say(about)}, want that of the acquisition")
    scores = {}
    for name in metrics:
        contrast, wanted, measure = QUANTITIES[name]
        fits = about.contrast == contrast
        require(fits, f"about.contrast: got {say(about.contrast)}, want {contrast!r} for {name!r}")
        given = getattr(about, wanted)
        require(bool(given), f"about: got no {wanted}, want those of the acquisition for {name!r}")
        scores[name] = measure(reconstruction, truth, given)[:, None]
    return scores


def _require_names(metrics: Sequence[str], table: Mapping[str, object]) -> None:
    several = isinstance(metrics, Sequence | Set | Mapping) and not isinstance(metrics, str)
    known = several and all(isinstance(name, str) and name in table for name in metrics)
    require(known, f"metrics: got {say(metrics)}, want names among {', '.join(table)}")


def magnitude_of(name: str, series: Reconstruction | Truth | Tensor) -> Tensor:
    """The magnitudes that metrics see, of a record or a tensor."""
    if isinstance(series, Reconstruction | Truth):
        return series.magnitude()
    require_axes(name, series, "batch frame y x")
    return series.abs() if series.is_complex() else series
