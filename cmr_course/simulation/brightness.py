"""From what a sequence makes of each tissue to what is painted, and from what was painted to frames.

A picture is linear in the signals of its tissues, so that as many weightings as are wanted can be painted at once, as
channels of one canvas: one where the tissues keep their brightness; all weightings of a map, of one moment; or, where
brightness changes while the heart moves, each tissue by itself, to be weighted frame by frame afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.simulation.sequences import PhaseContrast, Sequence, Tagging
from cmr_course.simulation.tissue import NAMES, Composition

MEAN_PATTERN = 0.25
"""Of a SPAMM grid of two directions: half of the magnetisation is left in each."""
Places = Float[Tensor, "yx=2 moment rows columns"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Brightness:
    """Tissues that look the same in all frames.

    painted: signal of each tissue in each channel, tissues in the order of `NAMES`.
    quantitative: whether it should be known which tissue lies where.
    """

    painted: Float[Tensor, "channel tissue"]
    quantitative: bool = False

    @property
    def channels(self) -> int:
        """How many pictures are painted at once."""
        return len(self.painted)

    def levels(self, like: Tensor) -> dict[str, Float[Tensor, " channel"]]:
        """Signal of each tissue by name, in the dtype and on the device of `like`."""
        return dict(zip(NAMES, self.painted.T.to(like).contiguous(), strict=True))

    def frames(
        self,
        signal: Float[Tensor, "channel moment rows columns"],
        part: slice,
        lain: Places,
        speed: Tensor | None,
    ) -> Tensor:
        """What was painted, as (encoding, frame, rows, columns), real or complex.

        part: which frames these moments are. lain: where what is seen lay at end diastole, (y, x) in mm from the middle
        of the picture. speed: through the plane, cm/s.
        """
        return signal


class Weightings(Brightness):
    """Several weightings of one moment."""

    def frames(
        self, signal: Float[Tensor, "channel 1 rows columns"], part: slice, lain: Places, speed: Tensor | None
    ) -> Float[Tensor, "1 frame rows columns"]:
        """Channels are the frames."""
        return signal.transpose(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class Lined(Brightness):
    """Tags that fade. recovered, lined: signal of each tissue without lines, and what the pattern multiplies."""

    recovered: Float[Tensor, "frame tissue"]
    lined: Float[Tensor, "frame tissue"]
    tagging: Tagging

    def frames(
        self,
        signal: Float[Tensor, "channel frame rows columns"],
        part: slice,
        lain: Places,
        speed: Tensor | None,
    ) -> Float[Tensor, "1 frame rows columns"]:
        """Each channel is a tissue."""
        plain, lined = (
            torch.einsum("ft,tfyx->fyx", weight[part].to(signal), signal) for weight in (self.recovered, self.lined)
        )
        return (plain + lined * self.tagging.pattern(*lain))[None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded(Brightness):
    """Velocity as phase: π at `venc`, in cm/s."""

    venc: float

    def frames(
        self, signal: Float[Tensor, "1 frame rows columns"], part: slice, lain: Places, speed: Tensor | None
    ) -> Complex[Tensor, "2 frame rows columns"]:
        """Without and with velocity encoding."""
        assert speed is not None  # whoever encodes velocity, asks for it
        reference = torch.polar(signal[0], torch.zeros_like(speed))
        return torch.stack([reference, torch.polar(signal[0], speed * (math.pi / self.venc))])


def brightness(sequence: Sequence, tissues: Composition, times: tuple[float, ...]) -> Brightness:
    """How bright `sequence` shows `tissues` at the `times` of its looks, the brightest of all scaled to one."""
    at = torch.tensor(times, dtype=torch.float64)
    rows = sequence.signal(tissues, at)
    if isinstance(sequence, Tagging):
        lined, held = sequence.tagged(tissues, at), sequence.held(at)
        largest = (rows + lined).abs().max()
        # What moving blood has lost of its lines is left as their mean.
        plain = rows + lined * (1 - held) * MEAN_PATTERN
        each = torch.eye(len(NAMES), dtype=torch.float64)
        return Lined(painted=each, recovered=plain / largest, lined=lined * held / largest, tagging=sequence)
    rows = rows / rows.abs().max()
    if isinstance(sequence, PhaseContrast):
        return Encoded(painted=rows, venc=sequence.venc)
    if sequence.beating:
        return Brightness(painted=rows)
    return Weightings(painted=rows, quantitative=True)
