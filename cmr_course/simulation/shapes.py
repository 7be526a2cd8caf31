"""Simple solids by their signed distance in mm, positive inside, at points given by their coordinates x, y and z.

Each has a `middle` and a `reach`, the radius of a ball about it that holds the solid, so that a slice that does not
meet the ball can skip it; and more closely a `spine`: start, direction and length of a line within so many mm of which
it lies. `offset` leads from the nearest point of a tube's centre line to each point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.plane import Vector, along, dot, unit

UP: Vector = (0.0, 0.0, 1.0)
STRIDE = 4
"""Which rows and columns are near a solid is found on every fourth of both."""
FAR = -100.0
"""Stands for the distance to a solid that is not near, mm."""
Spine: TypeAlias = tuple[Vector, Vector, float, float]
"""Start, direction and length of a line, and how far the solid reaches from it, mm."""
Offset: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""(x, y, z) from the nearest point of the centre line, and the tube's radius there, all in mm."""


@dataclass(frozen=True)
class Capsule:
    """A round tube with round ends from `start` to `end`, whose radius changes evenly from `radius` to `end_radius`."""

    start: Vector
    end: Vector
    radius: float
    end_radius: float

    @property
    def middle(self) -> Vector:
        """Half way along the centre line."""
        return along(self.start, self.direction, 0.5 * self.length)

    @property
    def reach(self) -> float:
        """Radius of the ball about `middle` that holds the tube, mm."""
        return 0.5 * self.length + max(self.radius, self.end_radius)

    @property
    def spine(self) -> Spine:
        """The centre line, and the largest radius."""
        return self.start, self.direction, self.length, max(self.radius, self.end_radius)

    @cached_property
    def length(self) -> float:
        """Of the centre line, mm."""
        difference = along(self.end, self.start, -1.0)
        return math.sqrt(dot(difference, difference))

    @cached_property
    def direction(self) -> Vector:
        """Unit vector from start to end."""
        return unit(along(self.end, self.start, -1.0))

    def offset(self, x: Tensor, y: Tensor, z: Tensor) -> Offset:
        """Where the points lie seen from the centre line; see :data:`Offset`."""
        (ax, ay, az), (dx, dy, dz) = self.start, self.direction
        x, y, z = x - ax, y - ay, z - az
        height = (x * dx).add_(y, alpha=dy).add_(z, alpha=dz).clamp_(0, self.length)
        x, y, z = x.sub_(height, alpha=dx), y.sub_(height, alpha=dy), z.sub_(height, alpha=dz)
        return x, y, z, height.mul_((self.end_radius - self.radius) / self.length).add_(self.radius)

    def heading(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tube's direction at the points, a unit vector (x, y, z): the same at all of them."""
        along_x, along_y, along_z = (torch.full_like(x, part) for part in self.direction)
        return along_x, along_y, along_z

    def progress(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """How far along the tube the points are, from 0 to 1."""
        (ax, ay, az), (dx, dy, dz) = self.start, self.direction
        return (((x - ax) * dx + (y - ay) * dy + (z - az) * dz) / self.length).clamp(0, 1)

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Signed distance, mm."""
        return _tube(self.offset(x, y, z))


@dataclass(frozen=True)
class Arch:
    """A tube along the upper half of an upright circle, from `centre` − right · circle to `centre` + right · circle.

    right: horizontal unit vector. circle: radius of the circle. radius, end_radius: of the tube, between which it
    changes evenly with the horizontal distance.
    """

    centre: Vector
    right: Vector
    circle: float
    radius: float
    end_radius: float

    @property
    def middle(self) -> Vector:
        """The centre of the ball that holds the tube."""
        return along(self.centre, UP, 0.4 * self.circle)

    @property
    def reach(self) -> float:
        """Radius of that ball, mm."""
        return 1.1 * self.circle + max(self.radius, self.end_radius)

    @property
    def spine(self) -> Spine:
        """The ball."""
        return self.middle, UP, 0.0, self.reach

    def place(self, angle: float) -> Vector:
        """The point of the centre line at `angle` from its end, radians."""
        return along(along(self.centre, self.right, self.circle * math.cos(angle)), UP, self.circle * math.sin(angle))

    def offset(self, x: Tensor, y: Tensor, z: Tensor) -> Offset:
        """Where the points lie seen from the centre line; see :data:`Offset`."""
        (cx, cy, cz), (rx, ry, _) = self.centre, self.right
        x, y, z = x - cx, y - cy, z - cz
        across = (x * rx).add_(y, alpha=ry)
        through = (x * ry).sub_(y, alpha=rx)
        above = z.clamp(min=0)
        # Below the centre the nearest point is an end of the half circle.
        scale = 1 - self.circle / (across.square() + above.square()).sqrt().clamp_(min=1e-3)
        radius = across.clamp(-self.circle, self.circle).mul_((self.end_radius - self.radius) / (2 * self.circle))
        u, w = across * scale, above * scale + (z - above)
        return u * rx + through * ry, u * ry - through * rx, w, radius.add_(0.5 * (self.radius + self.end_radius))

    def heading(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tube's direction at the points, a unit vector (x, y, z), from `centre` − right · circle onwards."""
        (cx, cy, cz), (rx, ry, _) = self.centre, self.right
        across, above = (x - cx) * rx + (y - cy) * ry, (z - cz).clamp(min=0)
        size = (across.square() + above.square()).sqrt().clamp(min=1e-3)
        return above * rx / size, above * ry / size, -across / size

    def progress(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """How far along the tube the points are, from 0 to 1."""
        (cx, cy, cz), (rx, ry, _) = self.centre, self.right
        across, above = (x - cx) * rx + (y - cy) * ry, (z - cz).clamp(min=0)
        return 1 - torch.atan2(above, across) / math.pi

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Signed distance, mm."""
        return _tube(self.offset(x, y, z))


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with half axes `half` along x, y and z, mm."""

    middle: Vector
    half: Vector

    @property
    def reach(self) -> float:
        """Radius of the ball about `middle` that holds it, mm."""
        return max(self.half)

    @property
    def spine(self) -> Spine:
        """The ball."""
        return self.middle, UP, 0.0, self.reach

    def distance(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Signed distance to first order, mm: exact at the surface, and its slope there is one."""
        (cx, cy, cz), (a, b, c) = self.middle, self.half
        u, v, w = ((x - cx) / a).square_(), ((y - cy) / b).square_(), ((z - cz) / c).square_()
        gauge = (u + v).add_(w).sqrt_()
        slope = u.mul_(1 / a**2).add_(v, alpha=1 / b**2).add_(w, alpha=1 / c**2).sqrt_()
        return (1 - gauge).mul_(gauge.add_(1e-4)).div_(slope.add_(1e-4 / min(self.half)))


Solid: TypeAlias = Capsule | Arch | Ellipsoid


class Field:
    """The points at which distances to some solids are wanted, cut down to rows and columns near them.

    points: the last two of their axes are rows and columns. Of the `solids` only those are kept that come within
    `margin` mm of a point; `rows` and `columns` hold all that is near any of them; the attributes `points`, `x`, `y`
    and `z` are cut to these.
    near(place, reach): whether the points come within `reach` mm of `place` at all, a quick first look.
    """

    def __init__(
        self,
        points: Float[Tensor, "xyz=3 *lead rows columns"],
        solids: Sequence[Solid],
        near: Callable[[Vector, float], bool],
        margin: float,
    ) -> None:
        solids = [solid for solid in solids if near(solid.middle, solid.reach + margin)]
        found = _windows(points, solids, margin) if solids else []
        windows = {solid: window for solid, window in zip(solids, found, strict=True) if window is not None}
        self.rows, self.columns = (_hull([window[axis] for window in windows.values()]) for axis in (0, 1))
        self.points = points[..., self.rows, self.columns].contiguous()
        self.x, self.y, self.z = self.points.unbind(0)
        self.windows = {
            solid: (_shifted(rows, self.rows.start), _shifted(columns, self.columns.start))
            for solid, (rows, columns) in windows.items()
        }

    def cut(self, tensor: Tensor) -> Tensor:
        """The part of a tensor over all points that lies in `rows` and `columns`: a view."""
        return tensor[..., self.rows, self.columns]

    def among(self, solids: Sequence[Any]) -> list[Any]:
        """Those of `solids` that are near."""
        return [solid for solid in solids if solid in self.windows]

    def at(self, solid: Solid) -> tuple[tuple[Any, ...], Tensor, Tensor, Tensor]:
        """The index of what is near `solid`, and x, y and z there."""
        index = (..., *self.windows[solid])
        x, y, z = self.points[index].unbind(0)
        return index, x, y, z

    def union(self, solids: Sequence[Solid], width: float = 0.0) -> Tensor | None:
        """Distance to the union of those solids that are near, rounded over `width` mm; None where there are none.

        Farther than the margin from all of them it is just some number below minus the margin.
        """
        solids = self.among(solids)
        if not solids:
            return None
        found = torch.full_like(self.x, FAR)
        for solid in solids:
            index, x, y, z = self.at(solid)
            distance, part = solid.distance(x, y, z), found[index]
            part.copy_(smooth_union(part, distance, width) if width else torch.maximum(part, distance))
        return found


def _windows(points: Tensor, solids: Sequence[Solid], margin: float) -> list[tuple[slice, slice] | None]:
    """Rows and columns that hold all points within `margin` of each solid, found on every fourth of both."""
    coarse = points[..., ::STRIDE, ::STRIDE]
    coarse = coarse.reshape(3, -1, *coarse.shape[-2:])
    steps = [coarse.diff(dim=axis).square().sum(0).amax() for axis in (-1, -2) if coarse.shape[axis] > 1]
    pad = 0.75 * math.sqrt(sum(map(float, steps)))  # no point is farther than this from the nearest coarse one
    spines = [solid.spine for solid in solids]
    starts, ways = (torch.tensor([spine[k] for spine in spines], dtype=points.dtype) for k in (0, 1))
    lengths, reach = (torch.tensor([[spine[k]] for spine in spines], dtype=points.dtype) for k in (2, 3))
    starts, ways, lengths, reach = (value.to(points.device) for value in (starts, ways, lengths, reach))
    flat = coarse.flatten(1)
    height = torch.addmm(-(starts * ways).sum(1, keepdim=True), ways, flat)
    square = torch.addmm(starts.square().sum(1, keepdim=True), starts, flat, alpha=-2).add_(flat.square().sum(0))
    nearest = height.clamp(min=0).minimum(lengths)
    square.sub_(height.mul_(2).sub_(nearest).mul_(nearest))
    inside = (square < (reach + (margin + pad)).square()).reshape(len(solids), *coarse.shape[1:]).any(1)
    found: list[tuple[slice, slice] | None] = []
    for rows, columns in zip(inside.any(2).tolist(), inside.any(1).tolist(), strict=True):
        found.append((_range(rows, points.shape[-2]), _range(columns, points.shape[-1])) if any(rows) else None)
    return found


def _range(marked: list[bool], size: int) -> slice:
    """All of `size` points whose nearest coarse one may be marked."""
    first, last = marked.index(True), len(marked) - 1 - marked[::-1].index(True)
    stop = size if last == len(marked) - 1 else last * STRIDE + STRIDE // 2 + 1
    return slice(max(first * STRIDE - STRIDE // 2, 0), stop)


def _hull(ranges: Sequence[slice]) -> slice:
    """The shortest range that holds all of them."""
    return slice(min((r.start for r in ranges), default=0), max((r.stop for r in ranges), default=0))


def _shifted(range_: slice, by: int) -> slice:
    return slice(range_.start - by, range_.stop - by)


def smooth_union(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The larger of two distances, rounded over `width` mm where they are alike."""
    blend = (width - (a - b).abs()).clamp_(min=0)
    return a.maximum(b).add_(blend.square_(), alpha=1 / (4 * width))


def chain(places: tuple[Vector, ...], radii: tuple[float, ...]) -> tuple[Capsule, ...]:
    """A tube through `places`, of the given radius at each of them."""
    pairs = zip(places[:-1], places[1:], radii[:-1], radii[1:], strict=True)
    return tuple(Capsule(start, end, radius, end_radius) for start, end, radius, end_radius in pairs)


def curve(start: Vector, control: Vector, end: Vector, pieces: int) -> tuple[Vector, ...]:
    """Places on the quadratic Bézier curve that leaves `start` towards `control` and arrives at `end` from there."""
    found = []
    for step in range(pieces + 1):
        t = step / pieces
        place = along((0.0, 0.0, 0.0), start, (1 - t) ** 2)
        found.append(along(along(place, control, 2 * t * (1 - t)), end, t**2))
    return tuple(found)


def _tube(offset: Offset) -> Tensor:
    x, y, z, radius = offset
    return radius - x.square_().addcmul_(y, y).addcmul_(z, z).sqrt_()
