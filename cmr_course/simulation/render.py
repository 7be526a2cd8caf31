"""The picture of a slice: the chest drawn at rest and moved, heart and vessels painted anew in each frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Complex, Float, Int8
from torch import Tensor
from torch.nn import functional

from cmr_course.fourier import fft2c, ifft2c
from cmr_course.plane import Plane, Vector, along, dot
from cmr_course.simulation.brightness import Brightness
from cmr_course.simulation.canvas import LABELS, Canvas
from cmr_course.simulation.chest import Chest
from cmr_course.simulation.heart import DECAY, Heart, Moved
from cmr_course.simulation.motion import Moments, smoothstep
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.scan import Scan
from cmr_course.simulation.subject import Lesion, Subject
from cmr_course.simulation.texture import Texture, sample
from cmr_course.simulation.vessels import Currents, Vessels
from cmr_course.validate import require, say

SUPERSAMPLING = 2
"""The picture is painted on a grid this many times finer along each axis."""
EDGE_MM = 0.6
"""Softness of painted edges; see `Canvas`. On coarse grids it is a third of a fine pixel."""
SPREAD = 1 / math.sqrt(6)
"""How far, in slice thicknesses, two of the four painted points of a pixel lie before and behind the slice's middle."""
PAINTED = 14.0
"""Nothing of the ventricles is painted farther than this beside what lies within `DECAY` of the slice, mm."""
FLOWING = torch.tensor([LABELS[name] for name in ("aorta", "pulmonary_artery", "vena_cava", "pulmonary_vein")])
"""Labels of vessels, in which blood has a velocity."""
SATURATED_MM = 20.0
"""Towards both ends of phase encoding the signal fades to nothing over this length."""
POINTS_AT_ONCE = 250_000
"""Frames are painted together while they have fewer points than this, so that what is computed stays in the cache."""


@dataclass(frozen=True)
class Anatomy:
    """Everything of a subject that is drawn from its seed, before any slice is chosen.

    outside: points on the ventricles, mm. stirred: places no farther than `DECAY` from all that the ventricles move.
    """

    pose: Pose
    heart: Heart
    vessels: Vessels
    chest: Chest
    lesion: Lesion | None
    outside: Float[Tensor, "xyz=3 n"]
    stirred: Float[Tensor, "xyz=3 m"]

    @classmethod
    def of(cls, subject: Subject) -> Anatomy:
        """The anatomy of `subject`: the chest is built around its heart."""
        require(isinstance(subject, Subject), f"subject: got {say(subject)}, want a Subject")
        pose = Pose.of(subject)
        heart = Heart.of(subject, pose)
        vessels = Vessels.of(subject, pose, heart.length, heart.R_epi)
        stirred, outside = heart.stirred()
        chest = Chest.of(subject, pose, torch.cat([outside, vessels.surface()], dim=1), vessels.descending)
        return cls(pose, heart, vessels, chest, subject.lesion, outside, stirred)


@dataclass(frozen=True)
class Slice:
    """One slice at each frame: band-limited image, for each encoding, and what is true at pixel centres: labels,
    displacement (y, x, through; mm), number of the tissue and speed through the plane (cm/s) where they are asked for.
    """

    image: Complex[Tensor, "encoding frame y x"]
    labels: Int8[Tensor, "frame y x"]
    displacement: Float[Tensor, "frame 3 y x"]
    tissues: Int8[Tensor, "frame y x"] | None = None
    velocity: Float[Tensor, "frame y x"] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Slice]) -> Slice:
        """Frames of several, one after the other."""
        names = [name for name, value in vars(parts[0]).items() if value is not None and name != "image"]
        rest: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
        return cls(torch.cat([part.image for part in parts], dim=1), **rest)


@dataclass(frozen=True)
class Grid:
    """Painted points of a plane. y, x: mm from its centre; points (xyz, rows, columns): patient coordinates; directions
    (3, xyz): down, right and through.

    Of the four points that make a pixel two lie in the middle of the slice, one before and one behind it, so that
    their mean has the variance of a slice of full thickness; the pattern lies beyond the band that is kept. The first
    of the four is the pixel's centre.
    """

    plane: Plane
    y: Tensor
    x: Tensor
    points: Tensor
    directions: Tensor
    spacing: tuple[float, float]

    @classmethod
    def of(cls, plane: Plane, scan: Scan, device: torch.device) -> Grid:
        """The fine grid of `scan` in `plane`."""
        fine = (SUPERSAMPLING * scan.matrix[0], SUPERSAMPLING * scan.matrix[1])
        y, x = plane.offsets(fine, scan.field_of_view, device)
        middle = plane.points(fine, scan.field_of_view, device)
        row, column = (torch.arange(n, dtype=torch.float32, device=device) % 2 for n in fine)
        through = (column - row[:, None]) * (SPREAD * plane.thickness)
        spacing = scan.pixel_size[0] / SUPERSAMPLING, scan.pixel_size[1] / SUPERSAMPLING
        directions = torch.tensor([plane.down, plane.right, plane.normal], dtype=torch.float32, device=device)
        return cls(plane, y, x, middle + directions[2, :, None, None] * through, directions, spacing)

    def box(self, places: Float[Tensor, "xyz=3 n"], margin: float, through: float) -> tuple[slice, slice]:
        """Rows and columns within `margin` mm of those `places` that lie within `through` mm of the plane."""
        away = self.directions @ (places - _vector(self.plane.centre, places.device)[:, None])
        near = away[:2, away[2].abs() < through]
        if not near.numel():
            return slice(0, 0), slice(0, 0)
        sides = []
        for axis, low, high, step in zip((self.y, self.x), *torch.aminmax(near, dim=1), self.spacing, strict=True):
            first = math.ceil((float(low - axis[0]) - margin) / step)
            last = math.floor((float(high - axis[0]) + margin) / step)
            sides.append(slice(min(max(first, 0), len(axis)), min(max(last + 1, 0), len(axis))))
        return sides[0], sides[1]

    def displacement(self, place: Tensor, part: tuple[slice, slice]) -> Tensor:
        """How far (y, x, through) what came from `place` has moved in this part of the grid, mm."""
        away = self.points[:, None, *part] - place[..., *part]
        return torch.tensordot(self.directions, away, dims=1)

    def source(self, moved: Float[Tensor, "3 frame rows columns"]) -> Float[Tensor, "yx=2 frame rows columns"]:
        """Where in the picture, mm from its centre, what has `moved` (y, x, through) came from."""
        return torch.stack([self.y[:, None] - moved[0], self.x - moved[1]])

    def areas(self, place: Float[Tensor, "xyz=3 frame rows columns"]) -> Float[Tensor, "xyz=3 frame rows columns"]:
        """The area, as a vector, that each mm² of the picture had where it came from: ∂place/∂right × ∂place/∂down.

        Differences are taken over two points, which lie in one layer of the slice; at the border they are not known and
        those beside it are repeated.
        """
        down = (place[..., 2:, 1:-1] - place[..., :-2, 1:-1]) / (2 * self.spacing[0])
        right = (place[..., 1:-1, 2:] - place[..., 1:-1, :-2]) / (2 * self.spacing[1])
        return functional.pad(torch.linalg.cross(right, down, dim=0), (1, 1, 1, 1), mode="replicate")

    def near(self, place: Vector, reach: float) -> bool:
        """Whether the slice comes within `reach` mm of `place`, the heart's own motion allowed for."""
        away = dot(along(place, self.plane.centre, -1.0), self.plane.normal)
        return abs(away) < reach + self.plane.thickness / 2 + 16


def _vector(vector: Vector, device: torch.device) -> Float[Tensor, " xyz"]:
    return torch.tensor(vector, dtype=torch.float32, device=device)


@dataclass(frozen=True)
class Still:
    """What is the same in every frame: the chest at end diastole, without heart and vessels; and at each point the
    shares of the breathing drift and of the chest's pulse that tissue takes part in, and whether it gives way to the
    heart (1) or not (0).
    """

    canvas: Canvas
    drift: Float[Tensor, "rows columns"]
    pulsed: Float[Tensor, "rows columns"]
    mobility: Float[Tensor, "rows columns"]

    @classmethod
    def of(cls, grid: Grid, anatomy: Anatomy, scan: Scan, texture: Texture, bright: Brightness) -> Still:
        """The chest in a plane; raises ValueError where they do not meet."""
        softness, shape = max(EDGE_MM, max(grid.spacing) / 3), grid.points.shape[1:]
        canvas = Canvas.blank(shape, bright.levels(grid.points), softness, tissues=bright.quantitative)
        located = anatomy.chest.locate(grid.points)
        anatomy.chest.paint(canvas, located, texture)
        body = bool((canvas.labels != 0).any())
        moved = f"moved by {scan.offset:g} mm"
        require(body, f"view: got {scan.view}, {moved}: outside the body, want a slice that meets it")
        drift = anatomy.chest.drift(located)
        return cls(canvas, drift, anatomy.chest.pulsed(located, drift), smoothstep((located.inside + 8) / 24))

    def at(self, source: Float[Tensor, "yx=2 frame rows columns"], pitch: tuple[float, float]) -> Canvas:
        """The chest as it looks where what is seen came from `source`, mm."""
        canvas = self.canvas
        kinds = [kind for kind in (canvas.labels, canvas.tissues) if kind is not None]
        signal, found = sample(canvas.signal, torch.stack(kinds), source, pitch)
        return Canvas(signal, found[0], canvas.levels, canvas.softness, found[1] if len(kinds) > 1 else None)


def render(
    subject: Subject,
    anatomy: Anatomy,
    plane: Plane,
    scan: Scan,
    moments: Moments,
    bright: Brightness,
    currents: Currents | None = None,
) -> Slice:
    """Paint `plane` of `subject` at each of the `moments`, as bright as `bright` say.

    currents: of the blood at these moments, where its velocity is to be seen.
    """
    device = moments.phase.device
    grid, texture = Grid.of(plane, scan, device), Texture.of(subject, device)
    still = Still.of(grid, anatomy, scan, texture, bright)
    frames = len(moments.phase)
    rows, columns = grid.box(anatomy.stirred.to(device), DECAY, DECAY)
    points = max(grid.y[rows].numel() * grid.x[columns].numel(), 1) * bright.channels
    at_once = max(1, min(frames, POINTS_AT_ONCE // points))
    found = []
    for start in range(0, frames, at_once):
        part = slice(start, start + at_once)
        some = None if currents is None else currents.take(part)
        canvas, moved, speed = _frames(grid, anatomy, still, (rows, columns), texture, moments.take(part), some)
        signal = bright.frames(canvas.signal, part, grid.source(moved), speed)
        image = band_limited(signal * saturation(grid.y, scan.field_of_view[0]), scan.matrix)
        true = (canvas.labels, moved.transpose(0, 1), canvas.tissues, speed)
        found.append(Slice(image, *(_at_centres(value, scan.matrix, image.shape[1]) for value in true)))
    return Slice.joined(found)


def _at_centres(values: Tensor | None, matrix: tuple[int, int], frames: int) -> Any:
    """Those of the fine grid's `values` (frame, …, rows, columns) that lie at the centres of pixels; several weightings
    of one moment share them.
    """
    if values is None:
        return None
    y, x = (slice(n % SUPERSAMPLING, None, SUPERSAMPLING) for n in matrix)
    return values[..., y, x].expand(frames, *[-1] * (values.ndim - 1))


def _frames(
    grid: Grid,
    anatomy: Anatomy,
    still: Still,
    box: tuple[slice, slice],
    texture: Texture,
    moments: Moments,
    currents: Currents | None,
) -> tuple[Canvas, Float[Tensor, "3 frame rows columns"], Float[Tensor, "frame rows columns"] | None]:
    """The fine picture at each moment, the displacement (y, x, through) of what is in it since end diastole, and how
    fast the blood flows through the plane, where that is asked for.

    box: rows and columns in which the ventricles move anything.
    """
    heart, vessels = anatomy.heart, anatomy.vessels
    shifts = (
        (anatomy.chest.breath(moments.phase), still.drift),
        (anatomy.chest.pulse.at(moments.phase), still.pulsed),
    )
    swept = sum(way.float().to(grid.y.device).T[:, :, None, None] * share for way, share in shifts)
    contraction, pressure = (value.float()[:, None, None] for value in (moments.contraction, moments.pressure))
    # What is painted comes from where it was at end diastole: breath and pulse of the chest undone, then the beat of
    # the ventricles, then that of the vessels.
    place = grid.points[:, None] - swept
    moved = torch.zeros_like(place)
    moved[:2] = torch.tensordot(grid.directions[:2], swept, dims=1)  # the chest in its own plane
    found = None
    if grid.y[box[0]].numel() and grid.x[box[1]].numel():
        found = heart.material(anatomy.pose.local(place[..., *box]), contraction, still.mobility[box])
        place[..., *box] = anatomy.pose.patient(found.place)
        moved[..., *box] = grid.displacement(place, box)
    pushed = vessels.swelling(place, grid.near)
    if pushed.windows:
        shape = place.shape[1:]
        pushed.cut(place).sub_(vessels.push(pushed, pressure.expand(shape), contraction.expand(shape)))
        moved[..., pushed.rows, pushed.columns] = grid.displacement(place, (pushed.rows, pushed.columns))

    canvas = still.at(grid.source(moved), grid.spacing)
    _paint_beating(grid, anatomy, canvas, found, box, texture, place, moments)
    if anatomy.lesion is not None:
        tissue = torch.einsum("ij,ifyx->jfyx", grid.directions, moved)
        _add_lesion(canvas, anatomy.lesion, grid.points[:, None] - tissue)
    speed = None if currents is None else vessels.velocity(place, grid.areas(place), grid.near, currents)
    if speed is not None:
        speed = speed * torch.isin(canvas.labels, FLOWING.to(canvas.labels))
    return canvas, moved, speed


def _paint_beating(
    grid: Grid,
    anatomy: Anatomy,
    canvas: Canvas,
    found: Moved | None,
    box: tuple[slice, slice],
    texture: Texture,
    place: Tensor,
    moments: Moments,
) -> None:
    """Paint heart and vessels: the fat of the heart, what lies above it, and the ventricles.

    place: where what is in the picture was at end diastole. found: the same for the `box` around the ventricles.
    """
    heart, vessels = anatomy.heart, anatomy.vessels
    phase = moments.phase.float()[:, None, None]
    painted = grid.box(anatomy.outside.to(place.device), PAINTED, DECAY)
    if found is None or not (grid.y[painted[0]].numel() and grid.x[painted[1]].numel()):
        found = None
    else:
        found = found.cut(*(slice(p.start - b.start, p.stop - b.start) for p, b in zip(painted, box, strict=True)))
        grain, ventricles = texture.at(place[..., *painted]), canvas.cut(*painted)
        heart.paint_fat(ventricles, found, grain)
        canvas.put(ventricles, *painted)
    shown = vessels.shown(place, grid.near)
    if shown is not None:
        part, mixed = canvas.take(shown.index), texture.at(shown.points)
        beat = phase.expand(canvas.labels.shape).flatten()[shown.index]
        vessels.cover(part, shown, mixed.blotch, heart.blood(mixed, beat))
        canvas.put_at(part, shown.index)
    if found is not None:
        ventricles = canvas.cut(*painted)
        heart.paint(ventricles, found, grain, heart.blood(grain, phase), moments)
        canvas.put(ventricles, *painted)


def _add_lesion(canvas: Canvas, lesion: Lesion, place: Float[Tensor, "xyz=3 frame rows columns"]) -> None:
    """Multiply the signal inside the lesion, which lies in the tissue."""
    middle = _vector(lesion.place, place.device).reshape(3, 1, 1, 1)
    distance = lesion.radius - (place - middle).square().sum(0).sqrt()
    canvas.signal = canvas.signal * (1 + lesion.contrast * torch.sigmoid(distance / canvas.softness))


def saturation(y: Float[Tensor, " rows"], length: float) -> Float[Tensor, "rows 1"]:
    """What is left of the signal at `y` mm from the middle of `length` mm of phase encoding: 1, and 0 at both ends.

    A body that reaches beyond the picture would fold over in this direction; those who plan a scan lay bands of
    saturation over it. A stand-in, since a picture holds nothing of what lies beyond: without it the body ends there
    as if cut, which no coil map fits.
    """
    return smoothstep((length / 2 - y.abs()) / SATURATED_MM)[:, None]


def band_limited(
    signal: Float[Tensor, "*lead rows columns"] | Complex[Tensor, "*lead rows columns"], matrix: tuple[int, int]
) -> Complex[Tensor, "*lead y x"]:
    """The image whose k-space is the centre, `matrix` points wide, of that of the finer `signal`."""
    kspace = fft2c(signal.to(torch.complex64))
    size = signal.shape[-2:]
    rows, columns = (slice(m // 2 - n // 2, m // 2 - n // 2 + n) for m, n in zip(size, matrix, strict=True))
    scale = (matrix[0] * matrix[1] / (size[0] * size[1])) ** 0.5
    return ifft2c(kspace[..., rows, columns]) * scale
