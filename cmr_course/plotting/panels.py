"""Images, frames, phases, coils, errors and x–t profiles beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Complex
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from cmr_course.plotting.inputs import (
    Shown,
    complex_series,
    frame_of,
    image_of,
    phase_of,
    require_named,
    require_same_size,
    say_range,
    series_of,
    shown_range,
)
from cmr_course.plotting.style import ERROR_MAP, NO_DATA, PHASE_MAP, bare, grid, wrapped
from cmr_course.validate import is_number, is_whole, require, require_positive, say

LINE: dict[str, Any] = {"color": "#E69F00", "linestyle": "--", "linewidth": 1.2}
"""The dashed line along which a profile is taken."""


def columns_for(count: int, columns: int | None) -> int:
    """Panels beside each other: `columns`, or up to four."""
    good = columns is None or (is_whole(columns) and columns > 0)
    require(good, f"columns: got {say(columns)}, want a number above zero")
    return min(count, columns or (4 if count != 5 else 5))


def _fill(axes: NDArray[Any], count: int) -> list[Axes]:
    """The first `count` panels, bare; the rest switched off."""
    panels = list(axes.flat)
    for panel in panels[:count]:
        bare(panel)
    for panel in panels[count:]:
        panel.axis("off")
    return panels[:count]


def _draw(panel: Axes, image: Tensor, low: float, high: float, cmap: str, **options: Any) -> Any:
    colours = plt.get_cmap(cmap).with_extremes(bad=NO_DATA)
    return panel.imshow(image.numpy(), cmap=colours, vmin=low, vmax=high, **options)


def show_images(
    images: Mapping[str, Shown],
    *,
    vmax: float | None = None,
    shared: bool = True,
    columns: int | None = None,
    size: float = 2.4,
    cmap: str = "gray",
    colorbar: bool = False,
    captions: Mapping[str, str] | None = None,
    lines: Mapping[str, int] | None = None,
    frame: int = 0,
    item: int = 0,
) -> Figure:
    """Images under their names, all on one range that is said below; with ``shared=False`` each on its own.

    vmax: the brightest value; without it the 99.8th percentile of all that is shown.
    size: wanted width of a panel in inches; captions: a line under an image, by its name.
    lines: by name, the image column at which a dashed line is drawn.
    frame, item: which frame and batch item of a series or record.
    """
    require_named("images", images)
    pictures = {name: image_of(name, value, frame, item) for name, value in images.items()}
    n_columns = columns_for(len(pictures), columns)
    rows = -(-len(pictures) // n_columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures.values())
    text = 0.3 + 0.2 * (captions is not None or not shared)
    figure, axes, width = grid(
        rows, n_columns, size=size, aspect=tallest, extra_height=text, extra_width=0.6 * colorbar
    )
    low, high = shown_range(pictures.values(), vmax)
    for panel, (name, picture) in zip(_fill(axes, len(pictures)), pictures.items(), strict=True):
        limits = (low, high) if shared else shown_range([picture], vmax)
        drawn = _draw(panel, picture, *limits, cmap)
        panel.set_title(wrapped(name, width))
        below = [captions[name]] if captions and name in captions else []
        below += [] if shared else [f"shown: {say_range(*limits)}"]
        panel.set_xlabel("\n".join(below))
        if lines and name in lines:
            panel.axvline(lines[name], **LINE)
        if colorbar and not shared:
            figure.colorbar(drawn, ax=panel, shrink=0.8)
    if shared:
        one = "all shown on" if len(pictures) > 1 else "shown on"
        figure.supxlabel(f"{one} {say_range(low, high)}")
        if colorbar:
            figure.colorbar(drawn, ax=list(axes.flat), shrink=0.8)
    return figure


def chosen_frames(total: int, frames: int | Sequence[int]) -> list[int]:
    """`frames` indices spread evenly over `total`, or the given ones, checked."""
    if isinstance(frames, int):
        require(frames > 0, f"frames: got {frames}, want a number above zero, or frame indices")
        count = min(frames, total)
        return [i * total // count for i in range(count)]
    require(isinstance(frames, Sequence), f"frames: got {say(frames)}, want a whole number, or frame indices")
    require(len(frames) > 0, "frames: got no index, want at least one")
    require(
        all(is_whole(i) and 0 <= i < total for i in frames),
        f"frames: got {list(frames)}, want indices from 0 to {total - 1}",
    )
    return list(frames)


def show_frames(
    series: Shown,
    *,
    frames: int | Sequence[int] = 6,
    times: Sequence[float] | None = None,
    vmax: float | None = None,
    title: str = "",
    item: int = 0,
) -> Figure:
    """A static strip of a series: `frames` of them spread over it, or those with the given indices.

    times: ms of every frame of the series (`About.times`), written over the frames instead of their numbers.
    """
    values = series_of("series", series, item)
    chosen = chosen_frames(len(values), frames)
    require(
        times is None or len(times) == len(values), f"times: got {len(times or ())}, want one for each of {len(values)}"
    )
    low, high = shown_range([values], vmax)
    columns = len(chosen) if len(chosen) <= 8 else 6
    rows = -(-len(chosen) // columns)
    figure, axes, _ = grid(rows, columns, size=2.0, aspect=values.shape[1] / values.shape[2])
    for panel, index in zip(_fill(axes, len(chosen)), chosen, strict=True):
        _draw(panel, values[index], low, high, "gray")
        panel.set_title(f"frame {index}" if times is None else f"{times[index]:.0f} ms")
    figure.suptitle(title)
    figure.supxlabel(f"shown on {say_range(low, high)}")
    return figure


def show_phase(
    images: Mapping[str, Shown],
    *,
    threshold: float = 0.0,
    columns: int | None = None,
    size: float = 2.4,
    frame: int = 0,
    item: int = 0,
) -> Figure:
    """Phase of complex images in a cyclic map with its colour bar, −π to π.

    threshold: where the magnitude is below this fraction of its 99.8th percentile, the phase is noise: drawn grey.
    """
    require_named("images", images)
    require(
        is_number(threshold) and 0 <= threshold < 1,
        f"threshold: got {say(threshold)}, want a fraction from 0 to below 1",
    )
    pictures = {name: frame_of(name, complex_series(name, value, item), frame) for name, value in images.items()}
    for name, picture in pictures.items():
        require(picture.is_complex(), f"images: got real values for {name!r}, want complex ones, which have a phase")
    n_columns = columns_for(len(pictures), columns)
    tallest = max(picture.shape[0] / picture.shape[1] for picture in pictures.values())
    figure, axes, width = grid(-(-len(pictures) // n_columns), n_columns, size=size, aspect=tallest, extra_width=0.6)
    for panel, (name, picture) in zip(_fill(axes, len(pictures)), pictures.items(), strict=True):
        drawn = _draw(panel, phase_of(picture, threshold), -np.pi, np.pi, PHASE_MAP)
        panel.set_title(wrapped(name, width))
    phase_bar(figure, drawn, list(axes.flat))
    if threshold > 0:
        figure.supxlabel(f"grey: magnitude below {100 * threshold:.3g} % of the brightest")
    return figure


def phase_bar(figure: Figure, drawn: Any, panels: list[Axes]) -> None:
    """The colour bar of phase maps."""
    bar = figure.colorbar(drawn, ax=panels, shrink=0.8, ticks=[-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi])
    bar.ax.set_yticklabels(["−π", "−π/2", "0", "π/2", "π"])
    bar.set_label("phase")


def show_coils(
    maps: Complex[Tensor, "*batch_frame coil y x"],
    *,
    coils: int | Sequence[int] = 8,
    threshold: float = 1e-6,
    item: int = 0,
) -> Figure:
    """Magnitude (above) and phase (below) of coils, or of their images; all magnitudes on one range.

    maps: complex (coil, y, x), or (batch, frame, coil, y, x), of which the first frame of batch item `item` is shown.
    coils: so many from the first on, or these.
    threshold: phase is drawn grey where the magnitude is below this fraction of the coil's brightest.
    """
    require(isinstance(maps, Tensor), f"maps: got {type(maps).__name__}, want a complex tensor")
    require(maps.ndim in (3, 5), f"maps: got {maps.ndim} axes {tuple(maps.shape)}, want (coil, y, x) or 5 axes")
    require(maps.is_complex(), f"maps: got real values ({maps.dtype}), want complex ones")
    there = maps.ndim == 3 or (is_whole(item) and -len(maps) <= item < len(maps) and maps.shape[1] > 0)
    require(there, f"item: got {say(item)}, want a batch item of maps of shape {tuple(maps.shape)}")
    shown = complex_series("maps", maps[item, 0] if maps.ndim == 5 else maps)
    if isinstance(coils, int):
        require(coils > 0, f"coils: got {coils}, want a number above zero")
        coils = range(min(coils, len(shown)))
    require(isinstance(coils, Sequence), f"coils: got {say(coils)}, want a whole number, or indices")
    known = len(coils) > 0 and all(0 <= c < len(shown) for c in coils)
    require(known, f"coils: got {list(coils)}, want some of 0 to {len(shown) - 1}")
    figure, axes, _ = grid(2, len(coils), size=2.0, aspect=shown.shape[1] / shown.shape[2], extra_width=0.9)
    low, high = shown_range([shown[c].abs() for c in coils])
    _fill(axes, 2 * len(coils))
    for place, c in enumerate(coils):
        grey = _draw(axes[0, place], shown[c].abs(), low, high, "gray")
        drawn = _draw(axes[1, place], phase_of(shown[c], threshold), -np.pi, np.pi, PHASE_MAP)
        axes[0, place].set_title(f"coil {c}")
    axes[0, 0].set_ylabel("magnitude")
    axes[1, 0].set_ylabel("phase")
    figure.colorbar(grey, ax=list(axes[0]), shrink=0.9)
    bar = figure.colorbar(drawn, ax=list(axes[1]), shrink=0.9, ticks=[-np.pi, 0, np.pi])
    bar.ax.set_yticklabels(["−π", "0", "π"])
    if len(coils) < len(shown):
        figure.supxlabel(f"{len(coils)} of {len(shown)} coils")
    return figure


def show_errors(
    reference: Shown,
    images: Mapping[str, Shown],
    *,
    gain: float = 5,
    frame: int = 0,
    vmax: float | None = None,
    columns: int | None = None,
    size: float = 2.4,
    item: int = 0,
) -> Figure:
    """Errors of the magnitude, gain · | |x| − |reference| |, on the range that the images themselves are shown on.

    vmax: brightest value of that range; without it the 99.8th percentile of the reference frame.
    """
    require_named("images", images)
    require_positive("gain", gain)
    truth = image_of("reference", reference, frame, item)
    pictures = {name: image_of(name, value, frame, item) for name, value in images.items()}
    require_same_size("images", {"reference": truth, **pictures})
    high = shown_range([truth], vmax)[1]
    n_columns = columns_for(len(pictures), columns)
    figure, axes, width = grid(
        -(-len(pictures) // n_columns),
        n_columns,
        size=size,
        aspect=truth.shape[0] / truth.shape[1],
        extra_height=0.45,
        extra_width=0.7,
    )
    for panel, (name, picture) in zip(_fill(axes, len(pictures)), pictures.items(), strict=True):
        drawn = _draw(panel, gain * (picture - truth).abs(), 0.0, high, ERROR_MAP)
        panel.set_title(wrapped(f"{name}\n|error| × {gain:g}", width))
    figure.colorbar(drawn, ax=list(axes.flat), shrink=0.8, extend="max", label=f"|error| × {gain:g}")
    figure.supxlabel(f"images are shown on {say_range(0, high)}")
    return figure


def profile(series: Tensor, column: int) -> Tensor:
    """(frame, y, x) to (y, frame): one image column over time."""
    width = series.shape[2]
    inside = is_whole(column) and 0 <= column < width
    require(inside, f"column: got {say(column)}, want an image column from 0 to {width - 1}")
    return series[:, :, column].T


def show_xt(
    series: Mapping[str, Shown],
    *,
    column: int,
    reference: Shown | None = None,
    frame: int = 0,
    vmax: float | None = None,
    size: float = 1.8,
    item: int = 0,
) -> Figure:
    """One image column over time (y down, t to the right) of each series, on one range.

    column: index along x. reference: where given, its frame `frame` is shown first, with the column dashed.
    """
    require_named("series", series)
    values = {name: series_of(name, value, item) for name, value in series.items()}
    profiles = {name: profile(value, column) for name, value in values.items()}
    low, high = shown_range(values.values(), vmax)
    first = 0 if reference is None else 1
    figure, axes, width = grid(1, len(profiles) + first, size=size, aspect=1.0, extra_height=0.5, extra_width=0.3)
    if reference is not None:
        image = image_of("reference", reference, frame, item)
        bare(axes[0, 0])
        _draw(axes[0, 0], image, low, high, "gray")
        axes[0, 0].axvline(column, **LINE)
        axes[0, 0].set_title(wrapped(f"frame {frame}", width))
    for panel, (name, picture) in zip(axes[0, first:], profiles.items(), strict=True):
        bare(panel)
        drawn = _draw(panel, picture, low, high, "gray", aspect="auto")
        drawn.set_interpolation("nearest")
        panel.set_box_aspect(1)
        panel.set_title(wrapped(name, width))
        panel.set_xlabel("t →")
    axes[0, first].set_ylabel("← y")
    figure.supxlabel(f"shown on {say_range(low, high)}")
    return figure
