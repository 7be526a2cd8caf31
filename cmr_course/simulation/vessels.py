"""The atria and the great vessels, in three dimensions: where they lie, how they swell, and their picture.

Everything is made of tubes and ellipsoids placed in patient coordinates (x to the left, y to the back, z to the head,
mm) relative to the left ventricle's pose, so that it fits every subject.

Motion. Arteries widen with the pressure in them and atria with the contraction of the ventricles that pull their floor
down: inside, distances from the centre line (or from the atrium's centre) grow by one factor; outside, the push fades
out. In the ventricles nothing moves: their own motion is the heart's.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cmr_course.plane import Vector, along, dot, unit
from cmr_course.simulation.canvas import LABELS, Canvas
from cmr_course.simulation.motion import smoothstep
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.shapes import FAR, Arch, Capsule, Ellipsoid, Field, Solid, chain, curve, smooth_union
from cmr_course.simulation.subject import Draw, Draws, Subject

Near = Callable[[Vector, float], bool]
FADE = 16.0
"""Outside a vessel or an atrium its push dies out over this many mm."""
STILL = 14.0
"""The motion of vessels and atria grows from nothing to its full size over this many mm from the ventricles."""
MARGIN = 10.0
"""What is painted of a solid, its wall and the fat around it included, ends less than this many mm outside it."""
LEVELS = (25.0, -25.0, -65.0, -105.0, -150.0)
"""Heights at which the pieces of the descending aorta end, mm."""
TRUNK = 3
"""Pieces that make the pulmonary trunk."""
CLEAR = 7.0
"""The least distance of the descending aorta's blood from the left ventricle, mm."""
SHORT = 16
"""Pieces of the ascending aorta's course."""
BLUNT = 6
"""Exponent of the velocity profile in a vessel: 2 would be a parabola, more is blunter."""
GAP = 1.0
"""Between the walls of two neighbours, mm: a thin layer of fat."""


@dataclass(frozen=True)
class Frame:
    """Where the ventricles are: middle of the mitral plane, axis from base to apex, direction from the left to the
    right one, largest outer radius of the left one in mm.
    """

    base: Vector
    axis: Vector
    septum: Vector
    radius: float

    def depth(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Of points below the basal plane, mm."""
        (dx, dy, dz), start = self.axis, dot(self.axis, self.base)
        return (x * dx - start).add_(y, alpha=dy).add_(z, alpha=dz)

    def behind(self, x: float, distance: float) -> float:
        """The least y of an upright line at `x` that stays `distance` mm from the left ventricle's base."""
        y = self.base[1]
        for z in range(-60, 30, 5):
            while True:
                depth, aside = self._seen((x, y, float(z)))
                if depth < -12 or depth > 45 or aside > distance:
                    break
                y += 0.5
        return y

    def above(self, tube: Capsule) -> Capsule:
        """The same tube, raised along the axis until it stays :data:`GAP` clear of the left ventricle."""
        lift = 0.0
        for step in range(11):
            depth, aside = self._seen(along(tube.start, tube.direction, 0.1 * step * tube.length))
            radius = tube.radius + 0.1 * step * (tube.end_radius - tube.radius) + GAP
            if aside < radius:
                lift = max(lift, depth + math.sqrt(radius**2 - max(aside, 0) ** 2))
        return replace(tube, start=along(tube.start, self.axis, -lift), end=along(tube.end, self.axis, -lift))

    def _seen(self, place: Vector) -> tuple[float, float]:
        """How far `place` lies below the basal plane, and aside of the left ventricle, mm."""
        away = place[0] - self.base[0], place[1] - self.base[1], place[2] - self.base[2]
        depth = dot(away, self.axis)
        return depth, math.sqrt(max(dot(away, away) - depth**2, 0)) - self.radius

    def mobility(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """0 in the ventricles, 1 away from them: above the basal plane, or aside of both."""
        depth = self.depth(x, y, z)
        x, y, z = (value - start for value, start in zip((x, y, z), self.base, strict=True))
        square = (x * x).add_(y * y).add_(z * z).sub_(depth.square())
        (sx, sy, sz), wide = self.septum, 0.95 * self.radius
        across = (x * sx).add_(y, alpha=sy).add_(z, alpha=sz)
        middle = across.clamp(0, wide)
        square = square.sub_(middle * (2 * across - middle)).clamp_(min=0)
        aside = (square.sqrt_() - self.radius) / CLEAR
        return smoothstep(torch.maximum(depth.div_(-STILL), aside))


@dataclass(frozen=True)
class Atrium:
    """An atrium: its chamber, the neck to its ventricle's valve, the veins that enter it."""

    chamber: Ellipsoid
    neck: Capsule
    appendage: Capsule
    veins: tuple[Capsule, ...]

    @property
    def solids(self) -> tuple[Solid, ...]:
        """All parts."""
        return self.chamber, self.neck, self.appendage, *self.veins


@dataclass(frozen=True)
class Shown:
    """The points at which vessels and atria are painted: numbers among all points, flattened; where they were at end
    diastole; and the distance to the blood of each organ, see :meth:`Vessels.distances`.
    """

    index: Int[Tensor, " n"]
    points: Float[Tensor, "xyz=3 n"]
    distances: dict[str, Tensor]


@dataclass(frozen=True)
class Currents:
    """Blood flow in each frame, ml/s: in the ascending and the descending aorta, in the pulmonary trunk, and back to
    each atrium in its veins together; (frame, 1, 1).
    """

    ascending: Float[Tensor, "frame 1 1"]
    descending: Float[Tensor, "frame 1 1"]
    pulmonary: Float[Tensor, "frame 1 1"]
    venous: Float[Tensor, "frame 1 1"]

    def take(self, frames: slice) -> Currents:
        """Only these frames."""
        return Currents(*(values[frames] for values in vars(self).values()))


@dataclass(frozen=True)
class Stream:
    """Blood in one tube: ml/s along its direction where it begins and where it ends, (frame, 1, 1)."""

    tube: Capsule | Arch
    first: Tensor
    last: Tensor


@dataclass(frozen=True)
class Vessels:
    """Atria and great vessels at end diastole.

    aorta: root, ascending, arch and descending part, in the order of flow. branches: of the arch. outflow: tract of the
    right ventricle. pulmonary: trunk, right and left artery. twigs: their first branches. growth: of the radius of
    aorta and pulmonary artery at full pressure and of left and right atrium at full contraction, shares.
    course: the ascending aorta once more in short pieces, which blood follows without a kink.
    """

    frame: Frame
    root: tuple[Vector, Vector]
    aorta: tuple[Capsule | Arch, ...]
    branches: tuple[Capsule, ...]
    outflow: tuple[Capsule, ...]
    pulmonary: tuple[Capsule, ...]
    twigs: tuple[Capsule, ...]
    left: Atrium
    right: Atrium
    growth: tuple[float, float, float, float]
    course: tuple[Capsule, ...]

    @classmethod
    def of(cls, subject: Subject, pose: Pose, length: float, radius: float) -> Vessels:
        """The vessels of `subject`, whose left ventricle is `length` mm long and has the outer `radius` in mm."""
        draw = Draws(subject, "vessels").between
        frame = Frame(pose.base, pose.axis, pose.septum, radius)
        to_root = _turned(pose, draw(-58, -47))
        left = _left_atrium(draw, pose, frame, to_root)
        valve = pose.place(0.0, (to_root, 0.42 * radius))
        width = draw(13.0, 15.0)
        start = (draw(-15, -9), valve[1] - draw(1, 7), pose.base[2] + draw(46, 52))
        out, aorta, branches, course = _aorta(draw, frame, valve, start, width, left)
        outflow, pulmonary, twigs = _pulmonary(draw, pose, radius, start, width)
        return cls(
            frame=frame,
            root=(valve, out),
            aorta=aorta,
            branches=branches,
            outflow=outflow,
            pulmonary=pulmonary,
            twigs=twigs,
            left=left,
            right=_right_atrium(draw, pose, radius, start, width),
            growth=(draw(0.03, 0.08), draw(0.03, 0.08), draw(0.04, 0.09), draw(0.03, 0.07)),
            course=course,
        )

    def arch(self) -> tuple[Vector, Vector]:
        """Centre of the arch's circle, and unit vector from the ascending to the descending aorta, horizontal."""
        arch = next(part for part in self.aorta if isinstance(part, Arch))
        return arch.centre, arch.right

    @property
    def descending(self) -> tuple[Capsule, ...]:
        """The descending aorta, from the arch downwards."""
        return tuple(part for part in self.aorta[-len(LEVELS) :] if isinstance(part, Capsule))

    def bifurcation(self) -> Vector:
        """Where the pulmonary trunk divides."""
        return self.pulmonary[TRUNK - 1].end

    def surface(self) -> Float[Tensor, "xyz=3 n"]:
        """Points on the outside of atria, arch and pulmonary trunk at end diastole."""
        bodies = (self.left.chamber, self.right.chamber)
        tubes = [part for part in (*self.aorta, *self.pulmonary) if part.middle[2] > self.frame.base[2] - 20]
        stations = [station for tube in tubes for station in _stations(tube)]
        middles = torch.tensor([body.middle for body in bodies] + [place for place, _ in stations], dtype=torch.float32)
        half = torch.tensor([body.half for body in bodies], dtype=torch.float32) + 2.3
        radius = torch.tensor([radius for _, radius in stations], dtype=torch.float32) + 1.7
        directions = _sphere(24).float()
        around_bodies = middles[: len(bodies), :, None] + half[:, :, None] * directions
        around_tubes = middles[len(bodies) :, :, None] + radius[:, None, None] * directions[:, ::2]
        return torch.cat([part.transpose(0, 1).flatten(1) for part in (around_bodies, around_tubes)], 1)

    def swelling(self, points: Float[Tensor, "xyz=3 *lead rows columns"], near: Near) -> Field:
        """The part of `points` that vessels or atria push as they swell.

        near(place, reach): whether the slice comes within `reach` mm of `place`.
        """
        return Field(points, (*self.aorta, *self.pulmonary, self.left.chamber, self.right.chamber), near, FADE)

    def push(
        self, field: Field, pressure: Float[Tensor, "*shape"], contraction: Float[Tensor, "*shape"]
    ) -> Float[Tensor, "xyz=3 *part"]:
        """How far the tissue now in `field`, see :meth:`swelling`, has been pushed since end diastole, mm.

        pressure: 0 to 1, in the arteries. contraction: 0 to 1, of the ventricles.
        """
        aorta, pulmonary, *atria = self.growth
        filling, swelling = field.cut(contraction), field.cut(pressure)
        push = torch.zeros_like(field.points)
        for tubes, growth in ((self.aorta, aorta), (self.pulmonary, pulmonary)):
            if field.among(tubes):
                push += _tube_push(field, tubes, growth * swelling)
        for chamber, growth in zip((self.left.chamber, self.right.chamber), atria, strict=True):
            if chamber in field.windows:
                index, x, y, z = field.at(chamber)
                push[index] += _chamber_push(chamber, x, y, z, (growth * filling)[index])
        return push.mul_(self.frame.mobility(field.x, field.y, field.z))

    def velocity(
        self,
        points: Float[Tensor, "xyz=3 frame rows columns"],
        area: Float[Tensor, "xyz=3 frame rows columns"],
        near: Near,
        currents: Currents,
    ) -> Float[Tensor, "frame rows columns"]:
        """Speed of the blood through the picture, cm/s. points: where what is seen was at end diastole.

        area: the area, a vector, that each mm² of the picture had at end diastole. At end diastole blood flows with a
        blunt profile, 1 − (r/R)ⁿ, whose flux through each tube is the current; the flux stays with the tissue through
        which it flows (n · v da = N · V dA), so that it is the current in any cut through the moved tube, too.
        Outside of all tubes, and in the branches of the arch, it is zero. Of two tubes that overlap the one counts in
        which a point lies deeper.
        """
        streams = self._streams(currents)
        field = Field(points, [stream.tube for stream in streams], near, 0.0)
        found = torch.zeros(points.shape[1:], dtype=points.dtype, device=points.device)
        if not field.windows:
            return found
        speed, deepest = torch.zeros_like(field.x), torch.zeros_like(field.x)
        for stream in streams:
            if stream.tube not in field.windows:
                continue
            index, x, y, z = field.at(stream.tube)
            share = smoothstep((stream.tube.progress(x, y, z) - 0.3) / 0.4)
            current = torch.lerp(stream.first.to(x), stream.last.to(x), share)
            ways = zip(stream.tube.heading(x, y, z), field.cut(area)[index].unbind(0), strict=True)
            through = functools.reduce(torch.add, (part * side for part, side in ways))
            x, y, z, radius = stream.tube.offset(x, y, z)
            inside = radius - (x * x + y * y + z * z).sqrt()
            profile = (BLUNT + 2) / BLUNT * (1 - (1 - inside / radius).clamp(0, 1) ** BLUNT)
            mean = current / (math.pi * (radius / 10).square())
            deeper = inside > deepest[index]
            speed[index] = torch.where(deeper, mean * profile * through, speed[index])
            deepest[index] = torch.where(deeper, inside, deepest[index])
        field.cut(found).copy_(speed)
        return found

    def _streams(self, currents: Currents) -> list[Stream]:
        """What flows in each tube; veins are drawn from the heart outwards, and their blood comes back."""
        falling, found = self.descending, []
        arch = [part for part in self.aorta if isinstance(part, Arch)]
        tubes: list[Capsule | Arch] = [*self.course, *arch, *falling]
        for tube in tubes:
            first = currents.descending if tube in falling else currents.ascending
            last = currents.descending if isinstance(tube, Arch) else first  # its branches take the rest
            found.append(Stream(tube, first, last))
        for number, tube in enumerate(self.pulmonary):
            current = currents.pulmonary * (1.0 if number < TRUNK else 0.5)
            found.append(Stream(tube, current, current))
        for atrium, shares in ((self.left, (0.25,) * 4), (self.right, (0.35, 0.35, 0.65, 0.65))):
            for tube, share in zip(atrium.veins, shares, strict=True):
                found.append(Stream(tube, -share * currents.venous, -share * currents.venous))
        return found

    def solids(self) -> tuple[Solid, ...]:
        """All parts."""
        atria = (*self.left.solids, *self.right.solids)
        return (*self.aorta, *self.branches, *self.outflow, *self.pulmonary, *self.twigs, *atria)

    def distances(self, field: Field) -> dict[str, Tensor]:
        """Distance to the blood of every organ that is near, mm, positive inside; names as in :data:`ORGANS`.

        Where two would touch, the one gives way that :data:`YIELDS` names. An atrium is joined with its veins; these
        are there once more by themselves.
        """
        found = {
            "aorta": field.union((*self.aorta, *self.branches)),
            "pulmonary_artery": field.union((*self.pulmonary, *self.twigs)),
        }
        for atrium, name, vein in ((self.left, "la_blood", "pulmonary_vein"), (self.right, "ra_blood", "vena_cava")):
            found[name], found[vein] = self._atrium(atrium, field)
        found["rv_blood"] = field.union(self.outflow)
        for name, others in YIELDS.items():
            for other in others:
                own, first = found[name], found[other]
                if own is not None and first is not None:
                    apart = ORGANS[name].wall + GAP if (name, other) != CURTAIN else 0.0
                    found[name] = torch.minimum(own, -first - (apart + ORGANS[other].wall))
        for name, vein in (("la_blood", "pulmonary_vein"), ("ra_blood", "vena_cava")):
            whole, part = found[name], found[vein]
            if whole is not None and part is not None:
                found[vein] = torch.minimum(whole, part)
        return {name: distance for name, distance in found.items() if distance is not None}

    def _atrium(self, atrium: Atrium, field: Field) -> tuple[Tensor | None, Tensor | None]:
        """Distances to an atrium with its veins, and to what of the veins lies outside it. None where not near."""
        chamber = field.union((atrium.chamber, atrium.neck, atrium.appendage), 8.0)
        veins = field.union(atrium.veins)
        if chamber is None:
            return veins, veins
        # The ventricle begins just below the basal plane.
        chamber = torch.minimum(chamber, 3 - self.frame.depth(field.x, field.y, field.z))
        if veins is None:
            return chamber, None
        return smooth_union(chamber, veins, 6.0), torch.minimum(veins, -chamber)

    def shown(self, points: Float[Tensor, "xyz=3 *lead rows columns"], near: Near) -> Shown | None:
        """Where among `points` something is painted, or None."""
        field = Field(points, self.solids(), near, MARGIN)
        if not field.windows:
            return None
        found = self.distances(field)
        outside = functools.reduce(torch.maximum, (found[name] for name in ORGANS if name in found))
        close = outside > -1.4 * MARGIN  # soft edges end there on coarse grids, too
        everywhere = torch.zeros(points.shape[1:], dtype=torch.bool, device=points.device)
        field.cut(everywhere).copy_(close)
        index, part = everywhere.flatten().nonzero()[:, 0], close.flatten().nonzero()[:, 0]
        distances = {name: distance.flatten()[part] for name, distance in found.items()}
        return Shown(index, field.points.flatten(1).index_select(1, part), distances)

    def cover(self, canvas: Canvas, shown: Shown, blotch: Float[Tensor, " n"], blood: Float[Tensor, " n"]) -> None:
        """Paint the points of `shown` on `canvas`: fat around everything, then all walls, then all blood.

        blotch: a field of `Grain`. blood: gain of its signal.
        """
        found = shown.distances
        outer = {name: found[name] + organ.wall for name, organ in ORGANS.items() if name in found}
        outside = functools.reduce(torch.maximum, outer.values())
        # Less and less fat towards the lungs.
        rim = 2.0 - 0.12 * ((shown.points[0] - 5).abs_() - 32).clamp_(min=0) + 1.2 * blotch.clamp(-1.5, 2)
        canvas.paint("fat", outside + rim, "mediastinum", strength=0.9, gain=0.85 + 0.14 * blotch)
        canvas.paint("muscle", outside, gain=0.9)
        for tissue in ("blood", "venous_blood"):
            cavities = [found[name] for name in outer if ORGANS[name].blood == tissue]
            if cavities:
                canvas.paint(tissue, functools.reduce(torch.maximum, cavities), gain=blood)
        for name, distance in outer.items():
            canvas.labels = canvas.labels.masked_fill(distance > 0, LABELS[ORGANS[name].wall_label])
        for name in (*outer, "pulmonary_vein", "vena_cava"):
            if name in found:
                canvas.labels = canvas.labels.masked_fill(found[name] > 0, LABELS[name])


@dataclass(frozen=True)
class Organ:
    """An organ's wall: its thickness in mm and its label; and the tissue inside."""

    wall: float
    wall_label: str
    blood: str


ORGANS = {
    "aorta": Organ(1.7, "mediastinum", "blood"),
    "pulmonary_artery": Organ(1.5, "mediastinum", "venous_blood"),
    "la_blood": Organ(2.2, "atrial_wall", "blood"),
    "ra_blood": Organ(2.0, "atrial_wall", "venous_blood"),
    "rv_blood": Organ(3.0, "rv_myocardium", "venous_blood"),
}
"""What is painted, by the label of its blood."""
YIELDS = {
    "pulmonary_artery": ("aorta",),
    "la_blood": ("aorta", "pulmonary_artery"),
    "ra_blood": ("aorta", "la_blood", "pulmonary_artery"),
    "rv_blood": ("aorta", "la_blood", "ra_blood"),
}
"""Which organs keep their wall where two would touch: the values, before the key."""
CURTAIN = ("la_blood", "aorta")
"""These two share one wall: from the root of the aorta hangs the anterior leaflet of the mitral valve."""


def _tube_push(field: Field, tubes: Sequence[Capsule | Arch], growth: Tensor) -> Tensor:
    """How far tissue has been pushed (xyz, ...) by tubes whose radius has grown by the share `growth`.

    The tube that counts is the one whose surface is nearest.
    """
    # Of the nearest centre line: (x, y, z) from it, the distance to it, and the radius there.
    nearest = torch.zeros((5, *field.x.shape), dtype=field.x.dtype, device=field.x.device)
    nearest[3] = -FAR
    for tube in field.among(tubes):
        index, *place = field.at(tube)
        x, y, z, radius = tube.offset(*place)
        away = (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_().clamp_(min=1e-3)
        part = nearest[index]
        closer = radius - away > part[4] - part[3]
        part.copy_(torch.where(closer, torch.stack([x, y, z, away, radius]), part))
    return nearest[:3] * _share(nearest[3], nearest[4], growth)


def _chamber_push(chamber: Ellipsoid, x: Tensor, y: Tensor, z: Tensor, growth: Tensor) -> Tensor:
    """How far tissue at the points has been pushed (xyz, ...) by a chamber that has grown by the share `growth`."""
    size = max(chamber.half)
    offset = torch.stack([value - middle for value, middle in zip((x, y, z), chamber.middle, strict=True)])
    parts = (part * (size / half) for part, half in zip(offset, chamber.half, strict=True))
    away = functools.reduce(torch.add, (part.square_() for part in parts)).sqrt_().clamp_(min=1e-3)
    return offset * _share(away, size, growth)


def _share(away: Tensor, radius: Tensor | float, growth: Tensor) -> Tensor:
    """Displacement over distance `away` from the middle of what grew from `radius` to radius · (1 + growth)."""
    now = radius * (1 + growth)
    fading = 1 - smoothstep((away - now).mul_(1 / FADE))
    return (now / away).clamp_(max=1).mul_(fading).mul_(growth / (1 + growth))


def _turned(pose: Pose, degrees: float) -> Vector:
    """The septum's direction, turned about the axis towards `pose.side` (below zero: towards the head and the left)."""
    angle = math.radians(degrees)
    return along(along((0.0, 0.0, 0.0), pose.septum, math.cos(angle)), pose.side, math.sin(angle))


def _moved(place: Vector, x: float, y: float, z: float) -> Vector:
    return place[0] + x, place[1] + y, place[2] + z


def _left_atrium(draw: Draw, pose: Pose, frame: Frame, to_root: Vector) -> Atrium:
    """Behind the mitral valve, away from the aortic root, with four pulmonary veins and its appendage."""
    radius, size = frame.radius, math.sqrt(frame.radius / 36)
    centre = pose.place(-draw(21, 24) * size, (to_root, -0.27 * radius))
    half = (draw(24, 28) * size, draw(16.5, 18.5) * size, draw(21, 25) * size)
    valve = pose.place(2.0, (to_root, -0.26 * radius))
    veins = []
    for side, rise, back, up in ((1, 8, 10, 11), (1, -9, 26, -14), (-1, 9, 8, 17), (-1, -9, 18, -16)):
        root = _moved(centre, side * 0.6 * half[0], 5, rise)
        tip = _moved(root, side * draw(40, 46), back + draw(-3, 3) - 5, up - rise + draw(-3, 3))
        veins.append(frame.above(Capsule(root, tip, draw(6.0, 7.5), draw(4.5, 5.5))))
    ear = Capsule(_moved(centre, 0.6 * half[0], -6, 10), _moved(centre, half[0] + 10, -22, 18), 9.0, 6.0)
    return Atrium(Ellipsoid(centre, half), Capsule(centre, valve, 14 * size, 0.37 * radius), ear, tuple(veins))


def _right_atrium(draw: Draw, pose: Pose, radius: float, start: Vector, width: float) -> Atrium:
    """Behind the tricuspid valve, with both venae cavae and its appendage; `start`, `width`: of the arch."""
    size = math.sqrt(radius / 36)
    centre = pose.place(-draw(18, 22), (_turned(pose, draw(37, 47)), 1.25 * radius))
    half = (draw(21, 25) * size, draw(21, 24) * size, draw(26, 30) * size)
    valve = pose.place(3.0, (_turned(pose, 20), 1.36 * radius))
    top = _moved(centre, -8, 4, 14)
    upper = (min(start[0] - width - 15, top[0]), start[1] + 13, start[2] + 12)
    above = chain((top, upper, _moved(upper, 4, -4, 42)), (10.0, draw(8.5, 9.5), 8.0))
    under = _moved(centre, -3, 8, -14)
    low = (under[0] + 2, under[1] + 8, -75.0)
    below = chain((under, low, (low[0] + 5, low[1] + 6, -130.0)), (11.5, draw(10.0, 11.0), 10.0))
    ear = Capsule(_moved(centre, 4, -8, 10), _moved(centre, 12, -22, 26), 11.0, 7.0)
    return Atrium(Ellipsoid(centre, half), Capsule(centre, valve, 15 * size, 0.36 * radius), ear, (*above, *below))


def _aorta(
    draw: Draw, frame: Frame, valve: Vector, start: Vector, width: float, left: Atrium
) -> tuple[Vector, tuple[Capsule | Arch, ...], tuple[Capsule, ...], tuple[Capsule, ...]]:
    """The outflow's direction; root at `valve`, ascending part to `start`, arch, descending part; the arch's branches;
    and the course of the ascending part in short pieces.

    The descending part runs behind the left atrium, and from there on to the middle and along the spine's curve.
    """
    narrow = draw(10.5, 12.0)
    chamber = left.chamber
    x = draw(19, 25)
    shift = (x - chamber.middle[0]) / chamber.half[0]
    back = chamber.middle[1] + chamber.half[1] * math.sqrt(max(1 - shift**2, 0))
    behind = back + narrow + ORGANS["aorta"].wall + ORGANS["la_blood"].wall + 2 * GAP
    end = (x, max(draw(48, 54), behind, frame.behind(x, narrow + CLEAR)), start[2])
    across = along(end, start, -1.0)
    arch = Arch(along(start, across, 0.5), unit(across), 0.5 * math.sqrt(dot(across, across)), width, narrow + 0.5)
    towards = _moved(start, 0, 0, -draw(16, 24))
    rising, course = (curve(valve, towards, start, pieces) for pieces in (3, SHORT))
    out = unit(along(rising[1], valve, -1.0))
    sinus = Capsule(along(valve, out, 7.0), along(valve, out, 11.0), width + 1.5, width + 1.0)
    levels = (start[2], *LEVELS)
    falling = [(x - 6e-4 * (start[2] - z) ** 1.9 * 0.5, end[1] - 6e-4 * max(25.0 - z, 0) ** 2, z) for z in levels]
    down = chain(tuple(falling), tuple(narrow + 0.5 - 0.25 * k for k in range(len(levels))))
    branches = []
    for angle, lean, size in ((115, -14, 5.5), (88, 2, 3.6), (62, 8, 4.4)):
        foot = arch.place(math.radians(angle))
        branches.append(Capsule(foot, _moved(foot, lean, -6, 60), size + draw(-0.4, 0.4), size - 0.4))
    aorta: tuple[Capsule | Arch, ...] = (*chain(rising, (width - 1.5, width, width, width)), sinus, arch, *down)
    return out, aorta, tuple(branches), chain(course, (width,) * (SHORT + 1))


def _pulmonary(
    draw: Draw, pose: Pose, radius: float, start: Vector, width: float
) -> tuple[tuple[Capsule, ...], tuple[Capsule, ...], tuple[Capsule, ...]]:
    """Outflow tract, trunk with both arteries, and their first branches, around the ascending aorta's `start`."""
    trunk, branch = draw(11.5, 13.0), draw(8.0, 9.0)
    foot = pose.place(12.0, (_turned(pose, -50), 1.12 * radius))
    valve = pose.place(-2.0, (_turned(pose, -58), 1.40 * radius))
    fork = (start[0] + width + trunk + 8, start[1] + draw(13, 17), start[2] + draw(-2, 2))
    outflow = Capsule(foot, valve, 14.0, trunk)
    behind = (start[0] - 2, start[1] + width + branch + 5, fork[2] - 1)
    right = (start[0] - width - 34, start[1] + width + branch + 16, fork[2] - 6)
    left = (fork[0] + 24, fork[1] + 30, fork[2] + 1)
    down = _moved(left, 8, 10, -24)
    rise = curve(valve, (valve[0], valve[1] + 4, fork[2] - 1), fork, TRUNK)
    arteries = (
        *chain(rise, (trunk, trunk, trunk, trunk - 1)),
        *chain((fork, behind, right), (branch + 1, branch, branch)),
        *chain((fork, left, down), (branch + 1, branch, branch - 1.5)),
    )
    twigs = []
    for place, side in ((right, -1), (down, 1)):
        for up, back in ((16, 2), (-14, 10)):
            twigs.append(Capsule(place, _moved(place, side * 26, back, up), 5.0, 3.0))
    return (outflow,), arteries, tuple(twigs)


def _stations(tube: Capsule | Arch) -> list[tuple[Vector, float]]:
    """Some places on the centre line of a tube, with its radius there."""
    if isinstance(tube, Arch):
        return [(tube.place(math.pi * step / 6), 0.5 * (tube.radius + tube.end_radius)) for step in range(1, 6)]
    return [(tube.start, tube.radius), (tube.end, tube.end_radius)]


def _sphere(n: int) -> Float[Tensor, "xyz=3 n"]:
    """Unit vectors spread evenly over all directions, on a spiral."""
    index = torch.arange(n, dtype=torch.float64)
    z = 1 - 2 * (index + 0.5) / n
    angle = index * (math.pi * (3 - math.sqrt(5)))
    around = (1 - z.square()).sqrt()
    return torch.stack([around * angle.cos(), around * angle.sin(), z])
