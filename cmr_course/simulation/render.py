"""From anatomy to pixels: paint on a grid twice as fine, move, and keep the frequencies the matrix holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int8
from torch import Tensor

from cmr_course.fourier import fft2c, ifft2c
from cmr_course.simulation.canvas import Canvas
from cmr_course.simulation.chest import Chest
from cmr_course.simulation.heart import DECAY, Heart, Moved
from cmr_course.simulation.motion import Moments
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.subject import Subject
from cmr_course.simulation.texture import Texture, sample
from cmr_course.simulation.tissue import BalancedSSFP

SUPERSAMPLING = 2
"""The picture is painted on a grid this many times finer along each axis."""
EDGE_MM = 0.6
"""Softness of painted edges; see `Canvas`. On coarse grids it is a third of a fine pixel."""


@dataclass(frozen=True)
class Grid:
    """Painted points in mm from the middle of the field of view, index n // 2; spacing (y, x) in mm."""

    y: Tensor
    x: Tensor
    spacing: tuple[float, float]

    @classmethod
    def of(cls, scan: Scan, device: torch.device) -> Grid:
        """The fine grid of `scan`; every second point is the centre of a pixel."""
        lengths = [
            (torch.arange(SUPERSAMPLING * n, dtype=torch.float32, device=device) - SUPERSAMPLING * n // 2)
            * (length / n / SUPERSAMPLING)
            for n, length in zip(scan.matrix, scan.field_of_view, strict=True)
        ]
        spacing = scan.pixel_size[0] / SUPERSAMPLING, scan.pixel_size[1] / SUPERSAMPLING
        return cls(lengths[0], lengths[1], spacing)

    def points(self) -> Float[Tensor, "2 rows columns"]:
        """All points, (y, x)."""
        return torch.stack(torch.meshgrid(self.y, self.x, indexing="ij"))

    def box(self, centre: tuple[float, float], reach: float) -> tuple[slice, slice]:
        """The rows and columns within `reach` mm of `centre`."""
        sides = []
        for axis, middle in zip((self.y, self.x), centre, strict=True):
            inside = ((axis - middle).abs() <= reach).nonzero()
            sides.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
        return sides[0], sides[1]


@dataclass(frozen=True)
class Slice:
    """One subject's slice at each frame: band-limited image, labels and displacement (y, x, mm) at pixel centres."""

    image: Complex[Tensor, "frame y x"]
    labels: Int8[Tensor, "frame y x"]
    displacement: Float[Tensor, "frame 2 y x"]


@dataclass(frozen=True)
class Beating:
    """Where tissue was in the first frame: place (2, frame, rows, columns), mm; `heart` what the heart's painter needs
    inside the rows and columns of `box`.
    """

    place: Tensor
    box: tuple[slice, slice]
    heart: Moved


def render(subject: Subject, scan: Scan, heart: Heart, chest: Chest, moments: Moments) -> Slice:
    """Paint `subject` at each of the `moments`.

    The chest is painted once, at end diastole, and drawn from at the end-diastolic place of each point; the heart is
    painted anew in each frame, so that its edges stay sharp and its blood can flow.
    """
    device = moments.phase.device
    grid, texture = Grid.of(scan, device), Texture.of(subject, device)
    points = grid.points()
    softness = max(EDGE_MM, max(grid.spacing) / 3)
    levels = BalancedSSFP().levels(scan.receiver.field)
    blank = torch.zeros_like(points[0])
    still = Canvas(blank, blank.to(torch.int8), levels, softness)
    chest.paint(still, points, texture)

    beating = beat(points, grid, heart, chest, moments)
    signal = sample(still.signal[None, None], beating.place, *grid.spacing)
    labels = nearest(still.labels, beating.place, grid.spacing)
    rows, columns = beating.box
    canvas = Canvas(signal[:, rows, columns], labels[:, rows, columns], levels, softness)
    heart.paint(canvas, beating.heart, texture, moments.phase.float()[:, None, None])
    signal[:, rows, columns], labels[:, rows, columns] = canvas.signal, canvas.labels
    y, x = (slice(n % SUPERSAMPLING, None, SUPERSAMPLING) for n in scan.matrix)
    displacement = (points[:, None] - beating.place)[:, :, y, x].movedim(0, 1)
    return Slice(band_limited(signal, scan.matrix), labels[:, y, x].contiguous(), displacement.contiguous())


def beat(points: Float[Tensor, "2 rows columns"], grid: Grid, heart: Heart, chest: Chest, moments: Moments) -> Beating:
    """The end-diastolic place of the tissue at each point and moment: the surroundings' motion, then the heart's."""
    around = chest.surroundings(points, heart.reach())
    contraction = moments.contraction.float()[:, None, None]
    shift = torch.einsum("t,kyx->ktyx", chest.breath(moments.phase).float(), around.breath)
    shift += torch.einsum("t,kyx->ktyx", chest.pulse * moments.pressure.float(), around.pulse)
    travel = torch.tensor(heart.travel, dtype=points.dtype, device=points.device).reshape(2, 1, 1, 1)
    shift += travel * contraction * around.heart
    place = points[:, None] - shift
    rows, columns = box = grid.box(heart.centre, heart.reach() + DECAY)
    centre = torch.tensor(heart.centre, dtype=points.dtype, device=points.device).reshape(2, 1, 1, 1)
    within = place[:, :, rows, columns] - centre
    found = heart.material(within, contraction, around.mobility[rows, columns])
    place[:, :, rows, columns] = found.place + centre
    return Beating(place, box, found)


def nearest(
    labels: Int8[Tensor, "rows columns"], place: Float[Tensor, "2 frame rows columns"], spacing: tuple[float, float]
) -> Int8[Tensor, "frame rows columns"]:
    """The label of the grid point nearest to each `place`."""
    rows, columns = labels.shape
    row = (place[0] / spacing[0]).round_().long().add_(rows // 2).clamp_(0, rows - 1)
    column = (place[1] / spacing[1]).round_().long().add_(columns // 2).clamp_(0, columns - 1)
    return labels.flatten()[row.mul_(columns).add_(column)]


def band_limited(signal: Float[Tensor, "frame rows columns"], matrix: tuple[int, int]) -> Complex[Tensor, "frame y x"]:
    """The image whose k-space is the centre, `matrix` points wide, of that of the finer `signal`."""
    kspace = fft2c(signal.to(torch.complex64))
    rows, columns = (
        slice(size // 2 - n // 2, size // 2 - n // 2 + n) for size, n in zip(signal.shape[1:], matrix, strict=True)
    )
    scale = (matrix[0] * matrix[1] / (signal.shape[1] * signal.shape[2])) ** 0.5
    return ifft2c(kspace[:, rows, columns]) * scale
