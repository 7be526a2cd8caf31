"""One look for the whole book: the style file, how methods are drawn, and small pictures in notebooks."""

from __future__ import annotations

import base64
import io
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from cmr_course.validate import require_positive, require_whole

STYLE_FILE = Path(__file__).resolve().parent.parent / "course.mplstyle"
WIDTH = 7.2
"""Width in inches of a full-width figure."""
ERROR_MAP = "inferno"
PHASE_MAP = "twilight"
NO_DATA = "#7f7f7f"
PICTURE_BYTES = 88_000
"""A stored picture stays below this; in base64 that is 117 kB."""
QUALITIES = ((1.0, (256, 128, 96, 80)), (5 / 6, (128, 96, 64, 48)), (0.7, (64, 48)), (0.6, (64, 48, 32)))
"""What is tried in turn to stay below: (fraction of the figure's resolution, palette sizes)."""
CHARACTERS_PER_INCH = 12.5

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class MethodStyle:
    """How a method is drawn in every plot of the book: its place among the others, colour, marker, line."""

    order: int
    colour: str
    marker: str
    line: str = "-"

    def line_options(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line}


# The colours of Okabe and Ito (jfly.uni-koeln.de/color, 2008), with grey, and brown for the yellow that is not seen on
# white: they stay apart in the three forms of dichromacy. A family of methods has one colour; marker and line tell its
# members apart.
_BLACK, _GREY = "#000000", "#767676"
_BLUE, _SKY, _GREEN = "#0072B2", "#56B4E9", "#009E73"
_ORANGE, _VERMILION, _PURPLE, _BROWN = "#E69F00", "#D55E00", "#CC79A7", "#5A2D00"

METHOD_STYLE: dict[str, MethodStyle] = {
    name: MethodStyle(order, *look)
    for order, (name, look) in enumerate(
        {
            "zero-filled": (_GREY, "x", ":"),
            "view-sharing": (_GREY, "s", "-."),
            "cg-sense": (_BLACK, "o", "-"),
            "grappa": (_BLACK, "s", "--"),
            "kt-sparse-sense": (_GREY, "^", "-"),
            "low-rank-sparse": (_GREY, "D", "--"),
            "3d-cnn": (_SKY, "o", "-"),
            "cascade": (_BLUE, "o", "-"),
            "d5c5": (_BLUE, "s", "--"),
            "crnn": (_BROWN, "o", "-"),
            "promptmr": (_GREEN, "o", "-"),
            "hypercmr": (_GREEN, "s", "--"),
            "promptmr-plus": (_GREEN, "^", "-."),
            "crunet": (_ORANGE, "o", "-"),
            "crunet-conv": (_ORANGE, "s", "--"),
            "crunet-ca": (_ORANGE, "^", "-."),
            "sr-gan": (_PURPLE, "o", "-"),
            "genre-cmr": (_VERMILION, "o", "-"),
        }.items()
    )
}
"""Colour, order and marker of each method by its name, in the order of the benchmark."""
OTHER = MethodStyle(len(METHOD_STYLE), _BLACK, "*", ":")
"""How any other method is drawn."""


def setup(seed: int = 0) -> torch.Generator:
    """The one setup call of a notebook: the course's style, one torch thread, small pictures, a seeded generator.

    No global generator is seeded: everything random takes the generator that is returned.
    """
    require_whole("seed", seed, 0, 2**63 - 1)
    # The first multi-threaded torch.sqrt of a process is sometimes wrong by 3e-4 (torch 2.13.0, CPU, two threads): a
    # single thread, and one small call first in case a reader raises the number later.
    torch.set_num_threads(1)
    torch.ones(8).sqrt()
    _use_small_pictures()  # first: loading a notebook's drawing backend may change settings
    plt.style.use(STYLE_FILE)
    return torch.Generator().manual_seed(seed)


def compact_png(figure: Figure, limit: int = PICTURE_BYTES) -> bytes:
    """`figure` as PNG with a palette, at most `limit` bytes: the same bytes for the same figure.

    Greyscale panels in true colour take several times as much. Fewer shades, then fewer pixels, are tried in turn; the
    last try is returned even where it is larger.
    """
    data = b""
    for fraction, palettes in QUALITIES:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.06, dpi=fraction * figure.dpi)
        pixels = np.asarray(Image.open(buffer).convert("RGB"))
        for colours in palettes:
            data = _palette_png(pixels, colours)
            if len(data) <= limit:
                return data
    return data


def _palette_png(pixels: Pixels, colours: int) -> bytes:
    """Half of the palette for evenly spaced greys, half for what has a hue; all of it for greys where nothing has.

    The hues of a colour map count alike, however few pixels show them: a colour bar stays smooth.
    """
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    hued = (red != green) | (green != blue)
    greys = colours // 2 if hued.any() else colours
    index = np.rint(red * ((greys - 1) / 255)).astype(np.uint8)
    palette = [level for shade in range(greys) for level in 3 * [round(255 * shade / (greys - 1))]]
    if hued.any():
        packed, inverse = np.unique((red * 256 + green)[hued] * 256 + blue[hued], return_inverse=True)
        hues = np.stack([packed >> 16, (packed >> 8) & 255, packed & 255], axis=-1).astype(np.uint8)
        reduced = Image.fromarray(hues[None]).quantize(
            colours - greys, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        )
        index[hued] = greys + np.asarray(reduced)[0][inverse]
        palette += (reduced.getpalette() or [])[: 3 * (colours - greys)]
    picture = Image.fromarray(index)
    picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _use_small_pictures() -> None:
    """In a notebook, let every figure be stored by :func:`compact_png`; elsewhere nothing happens."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    plt.close(plt.figure())  # loads the notebook's backend, which would register its own writer later
    shell.display_formatter.formatters["image/png"].for_type(
        Figure, lambda figure: base64.b64encode(compact_png(figure)).decode("ascii") if figure.axes else None
    )


def wrapped(name: str, inches: float) -> str:
    """`name` broken into lines that fit over a panel `inches` wide."""
    return "\n".join(textwrap.fill(line, max(6, int(inches * CHARACTERS_PER_INCH))) for line in name.splitlines())


def grid(
    rows: int,
    columns: int,
    *,
    size: float,
    aspect: float = 1.0,
    extra_height: float = 0.3,
    extra_width: float = 0.0,
    layout: Literal["compressed", "constrained"] = "compressed",
) -> tuple[Figure, NDArray[Any], float]:
    """A figure of `rows` x `columns` panels, no wider than the page, its axes (rows, columns) and the panel's width.

    size: wanted panel width in inches; aspect: height over width of a panel.
    extra_height: inches for the text of each row; extra_width: inches for labels or a colour bar beside all of them.
    layout: compressed for panels of fixed shape, constrained for those that may stretch.
    """
    require_positive("size", size)
    width = min(size, (WIDTH - extra_width) / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(width * columns + extra_width, (width * aspect + extra_height) * rows + 0.2),
        squeeze=False,
        layout=layout,
    )
    return figure, axes, width


def bare(axes: Axes) -> None:
    """No ticks and no frame: an image speaks for itself."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
