"""How the subject is imaged: the view, the contrast, the matrix, the receiver, the sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

from cmr_course.plane import Plane
from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.simulation.sequences import CONTRASTS, Sequence
from cmr_course.validate import is_number, is_pair, is_whole, require, require_whole, say

VIEWS = ("sax", "2ch", "3ch", "4ch", "lax", "lvot", "aorta_sag", "aorta_tra")
"""Named views: short axis; two, three and four chambers; all three of them (3ch, 2ch, 4ch) as slices of one scan; left
ventricular outflow tract; aorta in the plane of its arch, and across it."""
MOTIONS = ("beating", "frozen", "reversed")
"""The heart as it is, held at end diastole, and with its frames in the opposite order."""
SMALLEST_MATRIX, LARGEST_MATRIX = 16, 4096
"""Fewer points along an axis cannot show a heart; more are a slip of the pen."""
MOST_FRAMES = 1000
"""More frames of one heart beat are a slip of the pen, too."""


@dataclass(frozen=True)
class Scan:
    """Settings of one measurement.

    view: one of :data:`VIEWS`. contrast: a name in :data:`CONTRASTS`. sequence: its settings, None for the usual ones.
    matrix: (ky, kx), phase encoding first. field_of_view: (y, x) in mm.
    frames: evenly over one heart beat, or heart beats of a perfusion; for a map as many as it has times, for a single
    picture one; None for the usual number, which `n_frames` says.
    slices: of a short-axis stack, from base to apex, centred on the ventricle, `spacing` mm apart; they come along
    the batch axis, as do the three of ``lax``. thickness: mm. offset: shifts the slice, or the stack, along its
    normal, mm. plane: any other plane instead of a view's; `view` is then its name.
    motion: one of :data:`MOTIONS`, to see what a method learned of time, where frames follow the beat.
    sampling: a recipe for the mask, or None for fully sampled.
    """

    view: str = "sax"
    contrast: str = "cine"
    sequence: Sequence | None = None
    matrix: tuple[int, int] = (128, 128)
    field_of_view: tuple[float, float] = (360.0, 360.0)
    frames: int | None = None
    slices: int = 1
    spacing: float = 10.0
    thickness: float = 8.0
    offset: float = 0.0
    plane: Plane | None = None
    motion: str = "beating"
    receiver: Receiver = field(default_factory=Receiver)
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        good = isinstance(self.view, str) and (self.view in VIEWS or self.plane is not None)
        require(good, f"view: got {say(self.view)}, want one of {', '.join(VIEWS)}")
        for name, known in (("contrast", tuple(CONTRASTS)), ("motion", MOTIONS)):
            value = getattr(self, name)
            good = isinstance(value, str) and value in known
            require(good, f"{name}: got {say(value)}, want one of {', '.join(known)}")
        self._check_sequence()
        pair = isinstance(self.matrix, tuple) and len(self.matrix) == 2 and all(map(is_whole, self.matrix))
        good = pair and min(self.matrix) >= SMALLEST_MATRIX and max(self.matrix) <= LARGEST_MATRIX
        wanted = f"two whole numbers (ky, kx) from {SMALLEST_MATRIX} to {LARGEST_MATRIX}"
        require(good, f"matrix: got {say(self.matrix)}, want {wanted}")
        size = self.field_of_view
        good = isinstance(size, tuple) and is_pair(size) and all(200 <= length <= 1000 for length in size)
        require(good, f"field_of_view: got {say(size)}, want two lengths (y, x) of 200 to 1000 mm")
        self._check_slices()
        for name, kind in (("receiver", Receiver), ("sampling", Sampling | None)):
            value = getattr(self, name)
            require(isinstance(value, kind), f"{name}: got {say(value)}, want a {name.capitalize()}")

    def _check_sequence(self) -> None:
        usual = CONTRASTS[self.contrast]
        good = self.sequence is None or isinstance(self.sequence, type(usual))
        wanted = f"want a {type(usual).__name__} for contrast {self.contrast}, or None"
        require(good, f"sequence: got {say(self.sequence)}, {wanted}")
        still = not self.settings.beating and self.motion != "beating"
        require(not still, f"motion: got {self.motion}, want beating: {self.contrast} shows one moment of the beat")
        if self.frames is None:
            return
        require_whole("frames", self.frames, 1, MOST_FRAMES)
        fixed = self.settings.fixed_frames
        fits = fixed in (None, self.frames)
        require(fits, f"frames: got {self.frames}, want {fixed}, as many as {self.contrast} has weightings, or None")

    def _check_slices(self) -> None:
        require_whole("slices", self.slices, 1, 40)
        single = self.view == "sax" and self.plane is None
        require(single or self.slices == 1, f"slices: got {self.slices} in view {self.view}, want 1 (a stack is sax)")
        for name, low, high in (("thickness", 0, 50), ("spacing", 0.5, 50), ("offset", -500, 500)):
            value = getattr(self, name)
            good = is_number(value) and low <= value <= high
            require(good, f"{name}: got {say(value)}, want {low:g} to {high:g} mm")
        good = self.plane is None or isinstance(self.plane, Plane)
        require(good, f"plane: got {say(self.plane)}, want a Plane or None")

    @property
    def settings(self) -> Sequence:
        """The sequence, as asked for or as usual."""
        return CONTRASTS[self.contrast] if self.sequence is None else self.sequence

    @property
    def n_frames(self) -> int:
        """Frames of the series: phases of the heart beat, or weightings."""
        fixed = self.settings.fixed_frames
        usual = self.settings.frames if fixed is None else fixed
        return usual if self.frames is None else self.frames

    @property
    def pixel_size(self) -> tuple[float, float]:
        """(y, x) in mm."""
        return self.field_of_view[0] / self.matrix[0], self.field_of_view[1] / self.matrix[1]
