"""A beating heart in the page: an animated PNG, shown by Jupyter and the built book without a script."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cmr_course.metrics.regions import Box
from cmr_course.plotting.comparison import checked_box
from cmr_course.plotting.inputs import Shown, require_named, require_same_size, say_range, series_of, shown_range
from cmr_course.plotting.panels import chosen_frames
from cmr_course.plotting.style import bare, grid, wrapped
from cmr_course.validate import is_whole, require, require_positive, say

ANIMATION_BYTES = 146_000
"""An animation stays below this; in base64 that is 195 kB."""
GREYS = (128, 64, 48, 40, 32, 24, 20, 16, 12, 10, 8)
GOOD_GREYS, FEWEST_GREYS = 16, 8
"""Below the first, smaller hearts with more shades are better; below the second, nothing is."""
PAGE_PX = 800
GAP = 6
FONT_SIZE = 15


@dataclass(frozen=True, eq=False)
class BeatingHeart:
    """An animated PNG that loops for ever, and the series it was made of. Jupyter shows it as the value of a cell.

    png: the file's bytes; series: by name, (frame, y, x) on one range `shown`; greys: how many shades were kept.
    """

    png: bytes
    series: Mapping[str, Tensor]
    shown: tuple[float, float]
    greys: int
    duration_ms: float

    @property
    def n_frames(self) -> int:
        """Number of frames of one beat."""
        return len(next(iter(self.series.values())))

    def save(self, path: str | Path) -> Path:
        """Write the file; a half-written one is never seen under its name."""
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        try:
            partial.write_bytes(self.png)
            return partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def strip(self, frames: int = 6) -> Figure:
        """The static strip that stands beside an animation: one row a series, `frames` frames spread over the beat."""
        chosen = chosen_frames(self.n_frames, frames)
        height, width = next(iter(self.series.values())).shape[1:]
        figure, axes, panel_width = grid(
            len(self.series), len(chosen), size=2.0, aspect=height / width, extra_width=0.3
        )
        for row, (name, values) in zip(axes, self.series.items(), strict=True):
            for panel, index in zip(row, chosen, strict=True):
                bare(panel)
                panel.imshow(values[index].numpy(), cmap="gray", vmin=self.shown[0], vmax=self.shown[1])
            row[0].set_ylabel(wrapped(name, panel_width * height / width))
        for panel, index in zip(axes[0], chosen, strict=True):
            panel.set_title(f"frame {index}")
        figure.supxlabel(f"shown on {say_range(*self.shown)}")
        return figure

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png).decode("ascii"), "text/plain": repr(self)}

    def __repr__(self) -> str:
        names = ", ".join(name for name in self.series if name)
        what = f"{names}: " if names else ""
        return f"BeatingHeart({what}{self.n_frames} frames, {self.duration_ms:g} ms a beat)"


def beating(
    series: Shown | Mapping[str, Shown],
    *,
    duration_ms: float = 1000,
    height_px: int = 256,
    vmax: float | None = None,
    greys: int = 32,
    columns: int | None = None,
    box: Box | None = None,
    item: int = 0,
) -> BeatingHeart:
    """Animate one series, or several of the same shape beside each other with their names below, on one range.

    duration_ms: of one beat. height_px: wanted height of each heart; pixels are drawn as whole squares.
    greys: shades kept, 2 to 256; fewer are kept where the file would exceed what a page may hold (195 kB in base64).
    columns: hearts beside each other, by default all in one row. box: (y0, y1, x0, x1), the part that is shown.
    """
    named: Mapping[str, Shown] = series if isinstance(series, Mapping) else {"": series}
    require_named("series", named)
    require_positive("duration_ms", duration_ms)
    require_positive("height_px", height_px)
    require(is_whole(greys) and 2 <= greys <= 256, f"greys: got {say(greys)}, want 2 to 256")
    require(
        columns is None or (is_whole(columns) and columns > 0),
        f"columns: got {say(columns)}, want a number above zero",
    )
    values = {name: series_of(name or "series", value, item) for name, value in named.items()}
    require_same_size("series", values)
    _, height, width = next(iter(values.values())).shape
    y0, y1, x0, x1 = checked_box(box, height, width) or (0, height, 0, width)
    values = {name: value[:, y0:y1, x0:x1] for name, value in values.items()}
    height, width = y1 - y0, x1 - x0
    low, high = shown_range(values.values(), vmax)
    n_columns = min(columns or len(values), len(values))
    unit = {
        name: np.nan_to_num(((value - low) / (high - low)).clamp(0, 1).numpy(), nan=0.0)
        for name, value in values.items()
    }
    largest = max(1, min(round(height_px / height), PAGE_PX // (n_columns * width)))
    png, kept = b"", greys
    for scale in range(largest, 0, -1):
        enough = FEWEST_GREYS if scale == 1 else GOOD_GREYS
        for kept in [greys, *(shades for shades in GREYS if enough <= shades < greys)]:
            png = _animated_png(_canvases(unit, n_columns, scale, kept), duration_ms)
            if len(png) <= ANIMATION_BYTES:
                return BeatingHeart(png, values, (low, high), kept, duration_ms)
    raise ValueError(
        f"series: got {len(values)} of {height} x {width}, want fewer, smaller or shorter ones: "
        f"{len(png) // 1000} kB even with {kept} greys"
    )


def _canvases(unit: Mapping[str, NDArray[Any]], columns: int, scale: int, greys: int) -> list[Image.Image]:
    """One palette image a frame: hearts in rows of `columns`, names below; colour number = shade, 0 black."""
    frames, height, width = next(iter(unit.values())).shape
    label_height = 0 if set(unit) == {""} else FONT_SIZE + 9
    step_y, step_x = height * scale + label_height + GAP, width * scale + GAP
    corners = {name: (i // columns * step_y, i % columns * step_x) for i, name in enumerate(unit)}
    paper = Image.new("L", (columns * step_x - GAP, -(-len(unit) // columns) * step_y - GAP), color=255)
    pen, font = ImageDraw.Draw(paper), _font()
    for name, (top, left) in corners.items():
        pen.text((left + width * scale / 2, top + height * scale + label_height / 2), name, 0, font, anchor="mm")
    shades = np.rint(np.asarray(paper) / 255 * (greys - 1)).astype(np.uint8)
    palette = [level for shade in range(greys) for level in 3 * [round(255 * shade / (greys - 1))]]
    canvases = []
    for t in range(frames):
        shades = shades.copy()
        for name, (top, left) in corners.items():
            heart = np.rint(unit[name][t] * (greys - 1)).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
            shades[top : top + height * scale, left : left + width * scale] = heart
        canvases.append(Image.fromarray(shades))
        canvases[-1].putpalette(palette)
    return canvases


def _font() -> ImageFont.FreeTypeFont:
    """The font of the figures: it comes with matplotlib, so it is the same on every machine."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), FONT_SIZE)


def _animated_png(canvases: list[Image.Image], duration_ms: float) -> bytes:
    buffer = io.BytesIO()
    canvases[0].save(
        buffer,
        format="PNG",
        save_all=True,
        append_images=canvases[1:],
        duration=duration_ms / len(canvases),
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()
