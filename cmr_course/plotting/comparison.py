"""The book's comparison panel: reference, methods, zoomed heart, error, profile over time, scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from cmr_course.metrics import psnr, ssim
from cmr_course.metrics.regions import Box
from cmr_course.plotting.inputs import Shown, require_named, require_same_size, say_range, series_of, shown_range
from cmr_course.plotting.panels import LINE, profile
from cmr_course.plotting.style import ERROR_MAP, bare, grid, wrapped
from cmr_course.validate import is_whole, require, require_positive, say


@dataclass(frozen=True)
class _Panel:
    """What every cell of the comparison needs to know."""

    reference: Tensor
    high: float
    frame: int
    box: Box | None
    column: int | None
    gain: float

    def rows(self) -> list[str]:
        rows = ["image", "heart", "error", "profile"]
        absent = {"heart": self.box is None, "profile": self.column is None}
        return [row for row in rows if not absent.get(row, False)]

    def heights(self) -> list[float]:
        """Height over width of each row's panels."""
        height, width = self.reference.shape[1:]
        box = self.box or (0, 1, 0, 1)
        each = {"image": height / width, "heart": (box[1] - box[0]) / (box[3] - box[2]), "profile": 0.7}
        return [each.get(row, height / width) for row in self.rows()]

    def draw(self, panel: Axes, row: str, series: Tensor) -> Any:
        """One cell; returns what a colour bar needs."""
        if row == "error":
            error = self.gain * (series[self.frame] - self.reference[self.frame]).abs()
            return panel.imshow(error.numpy(), cmap=ERROR_MAP, vmin=0, vmax=self.high)
        picture, options = series[self.frame], dict[str, Any]()
        if row == "heart" and self.box is not None:
            picture = picture[self.box[0] : self.box[1], self.box[2] : self.box[3]]
        if row == "profile" and self.column is not None:
            rows = slice(None) if self.box is None else slice(self.box[0], self.box[1])
            picture, options = profile(series, self.column)[rows], {"aspect": "auto", "interpolation": "nearest"}
            panel.set_box_aspect(0.7)
        return panel.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=self.high, **options)


def _scores(reference: Tensor, series: Tensor) -> str:
    """PSNR and SSIM, averaged over the frames of the whole series (data range: maximum of the reference series)."""
    pair = series[None].double(), reference[None].double()
    return f"PSNR {float(psnr(*pair).mean()):.1f} dB\nSSIM {float(ssim(*pair).mean()):.3f}"


def checked_box(box: Box | None, height: int, width: int) -> Box | None:
    """`box` if it lies inside an image of `height` x `width`, else ValueError."""
    if box is None:
        return None
    whole = isinstance(box, tuple | list) and len(box) == 4 and all(is_whole(edge) for edge in box)
    y0, y1, x0, x1 = box if whole else (0, 0, 0, 0)
    fits = 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width
    require(fits, f"box: got {say(box)}, want (y0, y1, x0, x1) inside the image of {height} x {width}")
    return y0, y1, x0, x1


def show_comparison(
    reference: Shown,
    reconstructions: Mapping[str, Shown],
    *,
    frame: int = 0,
    box: Box | None = None,
    column: int | None = None,
    gain: float = 5,
    scores: Mapping[str, str] | None = None,
    vmax: float | None = None,
    item: int = 0,
) -> Figure:
    """Reference and methods side by side: frame, zoomed heart, error with its colour bar, one column over time.

    frame: the frame shown. box: (y0, y1, x0, x1) of the zoom (`heart_box` finds it), without it no zoom.
    column: image column of the profile over time, dashed in the reference; without it no profile. With a box, the
    profile shows the rows of the box.
    gain: errors are gain · | |x| − |reference| |, on the range of the images.
    scores: text under each method, by its name; by default PSNR and SSIM of the whole series. `{}` writes none.
    vmax: brightest value of all panels; without it the 99.8th percentile of the reference series inside the box, so
        that fat on the chest wall, brighter than blood, does not darken the heart.
    """
    require_named("reconstructions", reconstructions)
    require_positive("gain", gain)
    truth = series_of("reference", reference, item)
    values = {name: series_of(f"reconstructions[{name!r}]", value, item) for name, value in reconstructions.items()}
    require_same_size("reconstructions", {"reference": truth, **values})
    frames, height, width = truth.shape
    require(is_whole(frame) and 0 <= frame < frames, f"frame: got {say(frame)}, want one from 0 to {frames - 1}")
    y0, y1, x0, x1 = checked_box(box, height, width) or (0, height, 0, width)
    high = shown_range([truth[:, y0:y1, x0:x1]], vmax)[1]
    plan = _Panel(truth, high, frame, None if box is None else (y0, y1, x0, x1), column, gain)
    texts = {name: _scores(truth, value) for name, value in values.items()} if scores is None else scores
    names = ["reference", *values]
    figure, axes, panel_width = _comparison_grid(plan, len(names))
    for place, (name, series) in enumerate(zip(names, [truth, *values.values()], strict=True)):
        _draw_method(plan, axes[:, place], series, is_reference=place == 0)
        axes[0, place].set_title(wrapped(name, panel_width))
        axes[0, place].set_xlabel(texts.get(name, "") if place else "")
    _label_rows(plan, figure, axes)
    return figure


def _comparison_grid(plan: _Panel, columns: int) -> tuple[Figure, NDArray[Any], float]:
    heights = plan.heights()
    mean_height = sum(heights) / len(heights)
    figure, axes, width = grid(
        len(heights), columns, size=1.9, aspect=mean_height, extra_height=0.9 / len(heights), extra_width=0.3
    )
    axes[0, 0].get_gridspec().set_height_ratios(heights)
    return figure, axes, width


def _draw_method(plan: _Panel, column: NDArray[Any], series: Tensor, *, is_reference: bool) -> None:
    for panel, row in zip(column, plan.rows(), strict=True):
        bare(panel)
        if is_reference and row == "error":
            continue  # the colour bar goes here
        plan.draw(panel, row, series)
        if is_reference and row == "image":
            if plan.column is not None:
                panel.axvline(plan.column, **LINE)
            if plan.box is not None:
                y0, y1, x0, x1 = plan.box
                panel.add_patch(
                    Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor="#E69F00", linewidth=1.2)
                )


def _label_rows(plan: _Panel, figure: Figure, axes: NDArray[Any]) -> None:
    labels = {"image": f"frame {plan.frame}", "heart": "zoom", "error": "", "profile": "← y"}
    for row, panels in zip(plan.rows(), axes, strict=True):
        panels[0].set_ylabel(labels[row])
        if row == "profile":
            for panel in panels:
                panel.set_xlabel("t →")
        if row == "error":
            inset = panels[0].inset_axes((0.62, 0.06, 0.12, 0.88))
            bar = figure.colorbar(panels[1].images[0], cax=inset, extend="max")
            bar.ax.yaxis.set_ticks_position("left")
            bar.ax.yaxis.set_label_position("left")
            bar.set_label(f"|error| × {plan.gain:g}")
    figure.supxlabel(f"images and errors shown on {say_range(0, plan.high)}")
