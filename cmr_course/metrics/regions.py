"""Where a score is taken: the whole image, the heart, what moves, what stands still.

A region is a boolean tensor (batch, y, x), the same for all frames of a series. It comes from the reference, never from
a reconstruction: all methods are scored over the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from cmr_course.acquisition import Truth
from cmr_course.image import quantile
from cmr_course.metrics.image_quality import Region, Series
from cmr_course.metrics.results import REGIONS
from cmr_course.validate import is_number, is_whole, require, require_axes, require_finite, say

Box = tuple[int, int, int, int]
"""(y0, y1, x0, x1): rows y0 to y1 − 1, columns x0 to x1 − 1."""

HEART_WORDS = ("lv_", "rv_", "ventric", "myocard", "papillary")
"""A label belongs to the heart if its name contains one of these."""
MARGIN = 0.15
"""Around the heart, as a fraction of its longer side."""
THRESHOLD = 0.25
"""Of the largest temporal deviation, from which on a pixel is dynamic."""
LARGEST = 0.995
"""The largest deviation is this quantile of all pixels: a few pixels of flow or noise do not set it."""
TAIL = 0.05
"""Share of what moves that is left out on each side, before the margin, where a heart is found without labels."""


def temporal_deviation(series: Series) -> Float[Tensor, "batch y x"]:
    """Population standard deviation over the frames of each pixel's magnitude; float64, in the unit of the series."""
    require_axes("series", series, "batch frame y x")
    require(series.is_floating_point(), f"series: got {series.dtype}, want real magnitudes")
    require_finite("series", series)
    return series.double().std(1, correction=0)


def dynamic_region(reference: Series, threshold: float = THRESHOLD) -> Region:
    """Pixels whose temporal deviation is above `threshold` times the largest of their series.

    The largest is taken to be the 99.5th percentile: the maximum itself hangs on one pixel. The region follows the
    edges that move and not the organ: blood in the middle of a cavity, bright in every frame, is static.

    Raises:
        ValueError: a series in which nothing moves.
    """
    require(is_number(threshold) and 0 < threshold < 1, f"threshold: got {say(threshold)}, want a fraction below 1")
    deviation = temporal_deviation(reference)
    largest = torch.stack([quantile(item, LARGEST) for item in deviation])
    still = int((largest <= 1e-9 * reference.abs().amax((1, 2, 3))).sum())
    require(still == 0, f"reference: got {still} series in which nothing moves, want a beating heart in each")
    return deviation > threshold * largest[:, None, None]


def static_region(reference: Series, threshold: float = THRESHOLD) -> Region:
    """All that is not in :func:`dynamic_region`, the air around the body as well."""
    return ~dynamic_region(reference, threshold)


def heart_region(truth: Truth | Series, margin: float = MARGIN) -> Region:
    """A box around the heart, with `margin` (fraction of its longer side) on each side.

    From the labels where there are any, by :func:`heart_box`. Without them around most of what moves: along each axis
    the span of the temporal deviation of :func:`dynamic_region` without a twentieth at either end. On twelve simulated
    training slices (six short axes, six four-chamber views) that box held 78 to 100 % of the labelled one, on average
    95 %, and had 1.1 to 4.4 times its area. Great vessels and a moving chest wall draw it: look at it.
    """
    series = truth.magnitude() if isinstance(truth, Truth) else truth
    require_axes("truth", series, "batch frame y x")
    labelled = isinstance(truth, Truth) and truth.labels is not None and bool(truth.label_names)
    if labelled:
        boxes = [heart_box(truth, margin=margin, item=item) for item in range(len(series))]
    else:
        moving = temporal_deviation(series) * dynamic_region(series)
        boxes = [_moving_box(item, margin) for item in moving]
    region = torch.zeros((len(series), *series.shape[-2:]), dtype=torch.bool, device=series.device)
    for item, (y0, y1, x0, x1) in enumerate(boxes):
        region[item, y0:y1, x0:x1] = True
    return region


def regions_of(truth: Truth | Series, names: Sequence[str] = REGIONS) -> dict[str, Region | None]:
    """The regions of these names, found in the truth; of "full" None, which is the whole image."""
    known = not isinstance(names, str) and all(isinstance(name, str) and name in REGIONS for name in names)
    require(known, f"regions: got {say(names)}, want names among {', '.join(REGIONS)}")
    series = truth.magnitude() if isinstance(truth, Truth) else truth
    finders = {
        "full": lambda: None,
        "heart": lambda: heart_region(truth),
        "dynamic": lambda: dynamic_region(series),
        "static": lambda: static_region(series),
    }
    return {name: finders[name]() for name in names}


def heart_box(
    truth: Truth | Integer[Tensor, "*batch frame y x"],
    *,
    label_names: Mapping[str, int] | None = None,
    names: Sequence[str] = HEART_WORDS,
    margin: float = MARGIN,
    item: int = 0,
) -> Box:
    """Bounding box (y0, y1, x0, x1) of the heart over all frames, with a margin on each side, inside the image.

    truth: a Truth with labels, or labels (frame, y, x) or (batch, frame, y, x) with their `label_names`.
    names: a label belongs to the heart if its name contains one of these words (small letters).
    margin: fraction of the box's longer side.

    Raises:
        ValueError: no labels, no label with such a name, or no pixel that carries one.
    """
    labels = truth.labels if isinstance(truth, Truth) else truth
    known = truth.label_names if isinstance(truth, Truth) and label_names is None else label_names
    if labels is None or not known:
        raise ValueError("truth: got no labels or no label_names, want both to find the heart")
    require(isinstance(labels, Tensor), f"truth: got {say(labels)}, want a Truth or a tensor of labels")
    require(labels.ndim in (3, 4), f"truth: got labels of shape {tuple(labels.shape)}, want (frame, y, x) or 4 axes")
    there = labels.ndim == 3 or (is_whole(item) and -len(labels) <= item < len(labels))
    require(there, f"item: got {say(item)}, want a batch item of the labels (0…{len(labels) - 1})")
    require(not isinstance(names, str), f"names: got {names!r}, want a list of words")
    numbers = [number for name, number in known.items() if any(word in name.lower() for word in names)]
    require(len(numbers) > 0, f"names: got {list(names)}, want words found in {', '.join(known)}")
    series = labels[item] if labels.ndim == 4 else labels
    heart = torch.isin(series, torch.tensor(numbers, device=series.device)).any(0)
    require(bool(heart.any()), f"truth: got no pixel labelled {list(names)}, want a heart in the image")
    return _box_around(heart, margin)


def _box_around(pixels: Tensor, margin: float) -> Box:
    """Bounding box of what is true in `pixels` (y, x), widened by `margin`."""
    rows, columns = (torch.nonzero(pixels.any(axis)).flatten() for axis in (1, 0))
    tight = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return _widened(tight, margin, (pixels.shape[0], pixels.shape[1]))


def _moving_box(moving: Tensor, margin: float) -> Box:
    """Box around the middle nine tenths of `moving` (y, x), along each axis, widened by `margin`."""
    edges = []
    for axis in (1, 0):
        share = moving.sum(axis).cumsum(0) / moving.sum()
        edges += [int((share < TAIL).sum()), int((share < 1 - TAIL).sum()) + 1]
    y0, y1, x0, x1 = edges
    return _widened((y0, y1, x0, x1), margin, (moving.shape[0], moving.shape[1]))


def _widened(box: Box, margin: float, shape: tuple[int, int]) -> Box:
    """`box` with `margin` of its longer side on each side, inside an image of `shape` (y, x)."""
    require(is_number(margin) and 0 <= margin < 10, f"margin: got {say(margin)}, want a fraction from 0 up")
    y0, y1, x0, x1 = box
    extra = round(margin * max(y1 - y0, x1 - x0))
    return max(0, y0 - extra), min(shape[0], y1 + extra), max(0, x0 - extra), min(shape[1], x1 + extra)
