"""How the subject is imaged: the view, the contrast, the matrix, the receiver, the sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.validate import require, require_whole

VIEWS = ("sax",)
"""Known views: the short axis at mid-ventricular level."""
CONTRASTS = ("cine",)
"""Known contrasts: balanced SSFP cine."""
SMALLEST_MATRIX = 16
"""Fewer points along an axis cannot show a heart."""


@dataclass(frozen=True)
class Scan:
    """Settings of one measurement.

    view: one of :data:`VIEWS`. contrast: one of :data:`CONTRASTS`.
    matrix: (ky, kx), phase encoding first. field_of_view: (y, x) in mm. frames: evenly over one heart beat.
    sampling: a recipe for the mask, or None for fully sampled.
    """

    view: str = "sax"
    contrast: str = "cine"
    matrix: tuple[int, int] = (128, 128)
    field_of_view: tuple[float, float] = (360.0, 360.0)
    frames: int = 12
    receiver: Receiver = field(default_factory=Receiver)
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        require(self.view in VIEWS, f"view: got {self.view!r}, want one of {', '.join(VIEWS)}")
        known = ", ".join(CONTRASTS)
        require(self.contrast in CONTRASTS, f"contrast: got {self.contrast!r}, want one of {known}")
        good = _pair(self.matrix, int) and min(self.matrix) >= SMALLEST_MATRIX
        require(good, f"matrix: got {self.matrix}, want two whole numbers (ky, kx) of {SMALLEST_MATRIX} or more")
        good = _pair(self.field_of_view, (int, float)) and all(200 <= length <= 800 for length in self.field_of_view)
        require(good, f"field_of_view: got {self.field_of_view}, want two lengths (y, x) of 200 to 800 mm")
        require_whole("frames", self.frames)
        good = isinstance(self.receiver, Receiver)
        require(good, f"receiver: got {type(self.receiver).__name__}, want a Receiver")
        good = self.sampling is None or isinstance(self.sampling, Sampling)
        require(good, f"sampling: got {type(self.sampling).__name__}, want a Sampling, or None")

    @property
    def pixel_size(self) -> tuple[float, float]:
        """(y, x) in mm."""
        return self.field_of_view[0] / self.matrix[0], self.field_of_view[1] / self.matrix[1]


def _pair(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(item, kind) for item in value)
