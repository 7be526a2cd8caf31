"""What surrounds the heart and the great vessels, in three dimensions: wall, lungs, spine, diaphragm, abdomen.

Everything is a signed distance in mm, positive inside, at points in patient coordinates (x to the left, y to the back,
z to the head). Three surfaces divide the body: the skin; the inner surface of the wall, which holds lungs, mediastinum
and abdomen; and the diaphragm, which parts chest from abdomen. All else is placed by its distances to these three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from cmr_course.plane import Vector
from cmr_course.simulation.canvas import Canvas
from cmr_course.simulation.motion import smoothstep
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.shapes import Capsule
from cmr_course.simulation.subject import Draw, Draws, Subject
from cmr_course.simulation.texture import Grain, Texture
from cmr_course.validate import require

CLEARANCE = 10.5
"""Least distance of heart and great vessels from the inner surface of the wall, mm."""
RIB = 11.0
"""Thickness of the layer of ribs and intercostal muscle outside the inner surface, mm."""
RIB_SLOPE = 0.45
"""How far ribs fall towards the front, mm for each mm."""
SWELL = {"fine": (35.0, 80.0), "blotch": (90.0, 260.0), "streaks": (45.0, 110.0), "branches": (60.0, 160.0)}
"""Shortest and longest wavelengths, mm, of each coarse field; the names are those of `Grain`."""
WAVES = 4
"""How many sines make a coarse field."""
HILUM: Vector = (35.0, 25.0, 30.0)
"""Where the vessels enter the left lung; those of the right one mirrored."""
FREE = 3.0
"""The organs of the belly stay this many mm away from the blood of the descending aorta: its wall and some fat."""
MARGIN = 5.0
"""Tissue is painted this many mm beyond the region it lies in, so that soft edges meet."""
PULSE_FALL = 0.7
"""Amplitude of each harmonic of the heart rate in what the beat moves around the heart, as a share of the one before:
3.1 dB a harmonic. In three real series the power far from the heart falls by 2.9 dB a harmonic in the mean; the last
two of five may be noise."""
WALL_SHARE = 0.3
"""Share of this movement that the front wall takes part in: some tenths of a millimetre. A stand-in."""
AROUND = 40.0
"""Within this many mm of the ventricles the movement dies out: there, all that moves is moved by them."""


@dataclass(frozen=True)
class Pulse:
    """What the heart beat moves around the heart: amplitudes (xyz), mm, and phases (xyz, harmonic), radians."""

    amplitude: Float[Tensor, " xyz=3"]
    phases: Float[Tensor, "xyz=3 harmonic=5"]

    @classmethod
    def of(cls, subject: Subject) -> Pulse:
        """The pulse of `subject`: most along the body, least across it."""
        generator = subject.stream("pulse")
        most = torch.tensor([0.25, 0.43, 0.72], dtype=torch.float64)
        drawn = torch.rand((3, 6), dtype=torch.float64, generator=generator)
        return cls(most * (0.45 + 0.7 * drawn[:, 0]), math.tau * drawn[:, 1:])

    def at(self, phase: Float[Tensor, " frame"]) -> Float[Tensor, "frame xyz=3"]:
        """Movement in mm at `phase` of the cycle (0 to 1), zero at 0 and closed over the cycle."""
        start = self.phases.to(phase)
        number = torch.arange(1, start.shape[1] + 1, dtype=phase.dtype, device=phase.device)
        swing = torch.sin(math.tau * number * phase[:, None, None] + start) - torch.sin(start)
        return self.amplitude.to(phase) * (swing * PULSE_FALL ** (number - 1)).sum(-1)


@dataclass(frozen=True)
class Swell:
    """Random fields too coarse for `Texture`: sums of sines. vectors (wave, xyz): 1 / mm; phases (wave): radians."""

    vectors: Float[Tensor, "wave xyz=3"]
    phases: Float[Tensor, " wave"]

    @classmethod
    def of(cls, subject: Subject) -> Swell:
        """The fields of `subject`."""
        generator = subject.stream("swell")
        shape = (len(SWELL), WAVES)
        way = functional.normalize(torch.randn((*shape, 3), dtype=torch.float32, generator=generator), dim=-1)
        share, phases = torch.rand((2, *shape), dtype=torch.float32, generator=generator).unbind(0)
        short, long = torch.tensor(list(SWELL.values()), dtype=torch.float32).T[:, :, None]
        length = short * (long / short) ** share
        return cls((way * (math.tau / length)[..., None]).flatten(0, 1), (math.tau * phases).flatten())

    def at(self, points: Float[Tensor, "xyz=3 n"]) -> Float[Tensor, "field n"]:
        """The fields of :data:`SWELL`, of zero mean and unit variance, at `points` in mm."""
        waves = torch.sin(self.vectors.to(points) @ points + self.phases.to(points)[:, None])
        return waves.reshape(len(SWELL), WAVES, -1).sum(1) * math.sqrt(2 / WAVES)


@dataclass(frozen=True)
class Cage:
    """Inner surface of the wall: an elliptic cylinder below `low`, half an ellipsoid of height `height` above it.

    side, front, back: half axes from (0, middle). waves: (amplitude, wave number along x, y and z, phase).
    """

    side: float
    front: float
    back: float
    middle: float
    low: float
    height: float
    waves: tuple[tuple[float, float, float, float, float], ...]

    @classmethod
    def of(cls, draw: Draw) -> Cage:
        """A cage of usual size."""
        size = draw(0.95, 1.05)
        return cls(
            side=draw(122, 132) * size,
            front=draw(106, 116) * size,
            back=draw(58, 66) * size,
            middle=draw(18, 26),
            low=draw(-80, -60),
            height=draw(212, 238) * size,
            waves=tuple(
                (draw(0.4, 1.3), draw(-0.045, 0.045), draw(-0.045, 0.045), draw(-0.045, 0.045), draw(0, math.tau))
                for _ in range(3)
            ),
        )

    def inside(self, points: Float[Tensor, "xyz=3 *shape"]) -> Float[Tensor, "*shape"]:
        """Distance to the inner surface."""
        return self._smooth(points).add_(self._rough(points))

    def _smooth(self, points: Tensor) -> Tensor:
        """Distance to the surface without its waves."""
        x, y, z = points.unbind(0)
        y = y - self.middle
        steep = torch.where(y < 0, y.new_tensor(1 / self.front), y.new_tensor(1 / self.back))
        u2, v2 = (x / self.side).square_(), (y * steep).square_()
        w2 = (z - self.low).clamp_(min=0).div_(self.height).square_()
        gauge = (u2 + v2).add_(w2).sqrt_()
        slope = v2.mul_(steep.square_()).add_(u2, alpha=1 / self.side**2).add_(w2, alpha=1 / self.height**2).sqrt_()
        return (1 - gauge).mul_(gauge.add_(1e-4)).div_(slope.add_(1e-6))

    def _rough(self, points: Tensor) -> Tensor:
        """Height of the surface's waves."""
        amplitude, kx, ky, kz, phase = torch.tensor(self.waves, dtype=points.dtype, device=points.device).mT
        phase = phase - ky * self.middle
        waves = torch.addmm(phase[:, None], torch.stack([kx, ky, kz], 1), points.flatten(1)).sin_()
        return (amplitude @ waves).reshape(points.shape[1:])

    def front_at(self, z: float) -> float:
        """The y of the inner surface in the middle of the front."""
        w = max(z - self.low, 0) / self.height
        return self.middle - self.front * math.sqrt(max(1 - w * w, 0))

    def around(self, hull: Tensor) -> Cage:
        """The same cage, widened until every point of the hull is :data:`CLEARANCE` inside."""
        cage = self
        wanted = CLEARANCE - self._rough(hull)  # widening leaves the waves as they are
        for _ in range(40):
            lack, worst = (wanted - cage._smooth(hull)).max(0)
            grow = float(lack) + 0.3
            if grow <= 0.3:
                break
            x, y, z = hull[:, worst].tolist()
            u, v, w = x / cage.side, y - cage.middle, max(z - cage.low, 0) / cage.height
            v = v / (cage.front if v < 0 else cage.back)
            name = "front" if v < 0 else "back"
            cage = replace(
                cage,
                side=cage.side + grow * abs(u),
                height=cage.height + grow * w,
                **{name: getattr(cage, name) + grow * abs(v)},
            )
        return cage


@dataclass(frozen=True)
class Skin:
    """Outside of the body: between ellipse and rectangle, from the belly to shoulders and neck.

    side: half width. front, back: y of the skin in the middle at heart height. fat: thickness at the side, mm.
    breast: height in mm of what is added in front, its middle (|x|, z) and its size.
    """

    side: float
    front: float
    back: float
    fat: float
    belly: float
    breast: tuple[float, float, float, float]
    neck: tuple[float, float, float]
    cage: Cage

    @classmethod
    def of(cls, draw: Draw, cage: Cage, spine: Spine) -> Skin:
        """Skin around `cage` and `spine`; most subjects are slim, half of them women."""
        fat = 5 + 18 * draw(0, 1) ** 1.6
        height = draw(12, 34) if draw(0, 1) < 0.5 else draw(0, 6)
        return cls(
            side=cage.side + RIB + draw(9, 17) + fat,
            front=cage.front_at(0) - RIB - draw(2, 6) - 0.5 * fat,
            back=max(spine.y + draw(43, 49) + 0.6 * fat, cage.middle + cage.back + RIB + 7 + 0.7 * fat),
            fat=fat,
            belly=draw(0.0, 0.06),
            breast=(height, draw(72, 88), draw(-8, 20), draw(42, 52)),
            neck=(draw(58, 68), draw(-56, -44), draw(84, 94)),
            cage=cage,
        )

    def depth(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance to the skin without the breasts."""
        width, front, back = self.neck
        t = smoothstep((z - 92) / 125)
        belly = smoothstep((-30 - z) / 110)
        half = self.side * (1 + self.belly * belly) + (width - self.side) * t
        top = self.front + (front - self.front) * smoothstep((z + 20) / 260) - 60 * self.belly * belly
        # The breastbone stays behind the skin.
        w = (z - self.cage.low).clamp(min=0) / self.cage.height
        bone = self.cage.middle - self.cage.front * (1 - w.square()).clamp(min=0).sqrt()
        top = torch.minimum(top, bone - RIB - 6 - 0.3 * self.fat)
        end = self.back + (back - self.back) * smoothstep((z - 90) / 120)
        deep = 0.5 * (end - top)
        u, v = x / half, (y - 0.5 * (end + top)) / deep
        u2, v2 = u.square(), v.square()
        round_ = (u2 + v2).sqrt()
        gauge = 0.6 * round_ + 0.4 * (u2.square() + v2.square()).sqrt().sqrt()
        slope = (u2 / half.square() + v2 / deep.square()).sqrt()
        fall = (width - self.side) / 125 * 6 * t.clamp(min=1e-6).sqrt() * (1 - t)
        return (1 - gauge) * (round_ + 1e-4) / (slope + 1e-6) / (1 + fall.square()).sqrt()

    def bump(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Height of the breasts, mm."""
        height, across, middle, size = self.breast
        square = ((x.abs() - across) / size).square() + ((z - middle) / (1.15 * size)).square()
        return height * (-square).exp() * smoothstep((-y - 10) / 40)


@dataclass(frozen=True)
class Spine:
    """The vertebral column: middle of a vertebra at heart height, half width and depth, height with its disc."""

    x: float
    y: float
    half: tuple[float, float]
    pitch: float
    start: float
    bow: float

    @classmethod
    def of(cls, draw: Draw) -> Spine:
        """A spine of usual size."""
        half = (draw(16, 19), draw(13, 15.5))
        return cls(draw(-5, 4), draw(60, 68), half, draw(24, 28), draw(0, 1), draw(5e-4, 9e-4))

    def ahead(self, y: Tensor, z: Tensor) -> Tensor:
        """Distance behind the middle of the vertebral bodies, along y, mm."""
        return y - self.y + self.bow * (z - 20).square()

    def body(self, x: Tensor, q: Tensor) -> Tensor:
        """Distance to the column of bodies and discs."""
        return _ellipse(x - self.x, q, *self.half)

    def behind(self, hull: Tensor) -> Spine:
        """The same spine, moved back until no point of the hull touches it and the oesophagus finds room."""
        x, y, z = hull.unbind(0)
        moves = torch.arange(31, dtype=hull.dtype, device=hull.device)[:, None]
        q = self.ahead(y, z) - moves
        room = 1 + 2 * ((x - self.x + 7).abs() < 8).to(hull.dtype)
        free = ~((self.body(x, q) + room > 0) & (q < 0)).any(1)
        return replace(self, y=self.y + (int(free.nonzero()[0]) if bool(free.any()) else 30))


@dataclass(frozen=True)
class Diaphragm:
    """Its height over the axial plane. raster: (1, 2, y, x), height in mm and 1 / √(1 + slope²); pitch: mm."""

    raster: Float[Tensor, "1 2 rows columns"]
    pitch: float

    @classmethod
    def under(cls, hull: Tensor, cage: Cage, tops: tuple[float, float, float]) -> Diaphragm:
        """Two domes of heights `tops` (right, left) and a saddle of depth tops[2], pressed down by the hull."""
        pitch = 8.0
        y = (torch.arange(40, dtype=torch.float32) - 20)[:, None] * pitch
        x = (torch.arange(48, dtype=torch.float32) - 24) * pitch
        q = y - cage.middle
        v = torch.where(q < 0, q / cage.front, q / cage.back)
        gauge = (x / cage.side).square() + v.square()
        dome = (1 - gauge.square()).clamp(min=0).sqrt()
        right, left, saddle = tops
        top = right + (left - right) * smoothstep((x + 55) / 110)
        top = top - saddle * (-((x - 5) / 30).square()).exp()
        fall = 100 - 48 * (-v).clamp(0, 1) + 25 * v.clamp(0, 1)
        crura = 38 * (-(x / 30).square() - ((q - 55) / 38).square()).exp()
        height = top - fall * (1 - dome) - crura
        # A paraboloid under each point of the hull: no crease between them, and no pit beside them.
        low = hull[:, hull[2] < max(right, left) + 15]
        if low.shape[1] == 0:
            low = hull[:, hull[2].argmin(), None]
        # (z − 3 + |(x, y) − place|² / 110) as a matrix product, what depends on the place alone added at the end.
        places = torch.stack([x.expand(len(y), -1), y.expand(-1, len(x))]).flatten(1)
        start = (low[2] - 3) + low[:2].square().sum(0) / 110
        least = torch.addmm(start[:, None], low[:2].mT, places, alpha=-2 / 110).amin(0)
        floor = (least + places.square().sum(0) / 110).clamp(min=-160).reshape(len(y), len(x))
        height = -4 * torch.logaddexp(-height / 4, -floor / 4)
        height = functional.interpolate(height[None, None], scale_factor=2, mode="bicubic", align_corners=False)
        dy, dx = torch.gradient(height[0, 0], spacing=pitch / 2)
        return cls(torch.cat([height, (1 + dy.square() + dx.square()).rsqrt()[None, None]], 1), pitch)

    def above(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Distance above the diaphragm."""
        rows, columns = self.raster.shape[-2:]
        # Pixel centres of the coarse raster lie at (index − n // 2) · pitch; doubling keeps the field's borders.
        v, u = (y / self.pitch + 0.5) / (rows / 4), (x / self.pitch + 0.5) / (columns / 4)
        grid = torch.stack([u, v]).reshape(1, 1, 2, -1).mT
        raster = self.raster.to(x)
        found = functional.grid_sample(raster, grid, mode="bilinear", padding_mode="border", align_corners=False)
        height, slope = found.reshape(2, *x.shape).unbind(0)
        return (z - height) * slope


@dataclass(frozen=True)
class Organs:
    """Middles and half axes in mm, and levels."""

    liver: tuple[float, float, float, float, float]
    stomach: tuple[Vector, Vector]
    content: tuple[float, float, float]
    spleen: tuple[Vector, Vector]
    kidneys: tuple[tuple[Vector, Vector], tuple[Vector, Vector]]
    bowel: tuple[float, float]

    @classmethod
    def of(cls, draw: Draw, cage: Cage, left: float) -> Organs:
        """Drawn organs under a left dome of height `left`."""
        size = (draw(26, 46), draw(28, 46), draw(26, 40))
        spleen = (draw(22, 30), draw(36, 48), draw(44, 60))
        kidneys = tuple(
            ((side * draw(52, 62), draw(62, 74), z + draw(-10, 10)), (draw(25, 30), draw(22, 27), draw(48, 58)))
            for side, z in ((1, -172), (-1, -185))
        )
        return cls(
            liver=(draw(-160, -132), draw(0.7, 1.0), draw(36, 66), draw(0.3, 0.6), draw(18, 38)),
            stomach=((draw(42, 62), draw(-6, 22), left - draw(48, 62)), size),
            content=(draw(0.15, 0.85), draw(0.1, 0.3), draw(0.2, 0.8)),
            spleen=((cage.side - draw(26, 34), cage.middle + draw(28, 42), left - draw(52, 72)), spleen),
            kidneys=(kidneys[0], kidneys[1]),
            bowel=(draw(-0.1, 0.5), draw(0.4, 0.9)),
        )


@dataclass(frozen=True)
class Bones:
    """Ribs: distance from one to the next in mm, where they start (turns), half height. Sternum: half width and lower
    end. clefts: how much fat lies between muscles. shoulder: height of the shoulder joint above the origin, mm.
    """

    ribs: tuple[float, float, float]
    sternum: tuple[float, float]
    clefts: float
    shoulder: float

    @classmethod
    def of(cls, draw: Draw) -> Bones:
        """Bones of usual size."""
        ribs, sternum = (draw(25, 29), draw(0, 1), draw(5.5, 7.5)), (draw(15, 20), draw(-72, -55))
        return cls(ribs, sternum, draw(0.8, 1.6), draw(136, 150))


@dataclass(frozen=True)
class Ventricles:
    """An ellipsoid about as large as the ventricles, around which fat is painted: middle, axis, and half axes in mm."""

    middle: Vector
    axis: Vector
    long: float
    broad: float

    @classmethod
    def of(cls, pose: Pose, hull: Tensor) -> Ventricles:
        """The ellipsoid of the points of `hull` beyond the base."""
        middle = pose.place(32, (pose.septum, 10.0))
        away = hull - torch.tensor(middle, dtype=torch.float32)[:, None]
        along = torch.tensor(pose.axis, dtype=torch.float32) @ away
        across = (away.square().sum(0) - along.square()).clamp(min=0).sqrt()
        waist = (along > -20) & (along < 25)
        if not bool(waist.any()):
            return cls(middle, pose.axis, 60.0, 45.0)
        broad = float(torch.quantile(across[waist], 0.7).clamp(30, 70))
        return cls(middle, pose.axis, float(along.max().clamp(35, 95)), broad)

    def inside(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """About the distance to the ellipsoid."""
        x, y, z = x - self.middle[0], y - self.middle[1], z - self.middle[2]
        along = x * self.axis[0] + y * self.axis[1] + z * self.axis[2]
        across = (x.square() + y.square() + z.square() - along.square()).clamp(min=0)
        return (1 - (along.square() / self.long**2 + across / self.broad**2).sqrt()) * self.broad


class Site:
    """Points in the body. values (16, n): x, y, z; depth under the skin; thickness of the fat; distances inside the
    wall and above the diaphragm; height of the breast, all in mm; four fine and four coarse random fields.
    """

    def __init__(self, values: Float[Tensor, "field=16 n"]) -> None:
        self.values, self.points = values, values[:3]
        self.x, self.y, self.z, self.depth, self.fat, self.inside, self.above, self.bump = values[:8].unbind(0)
        self.grain, self.coarse = Grain(*values[8:12].unbind(0)), Grain(*values[12:].unbind(0))

    def take(self, index: Int[Tensor, " m"]) -> Site:
        """Only the points of these numbers."""
        return Site(self.values.index_select(1, index))


@dataclass(frozen=True)
class Located:
    """Points in patient coordinates, and how far they lie inside the inner surface of the wall (below zero in the wall)
    and above the diaphragm; all in mm.
    """

    points: Float[Tensor, "xyz=3 *shape"]
    inside: Float[Tensor, "*shape"]
    above: Float[Tensor, "*shape"]


@dataclass(frozen=True)
class Chest:
    """A subject's chest around its heart and great vessels.

    aorta: places on the centre line of the descending one, from the lowest up, and its radius there, mm.
    """

    skin: Skin
    cage: Cage
    spine: Spine
    diaphragm: Diaphragm
    bones: Bones
    organs: Organs
    swell: Swell
    heart: Ventricles
    aorta: Float[Tensor, "xyzr=4 station"]
    pads: tuple[float, float, float]
    lung: tuple[float, float, float]
    breathing: tuple[float, float, float]
    pulse: Pulse

    @classmethod
    def of(cls, subject: Subject, pose: Pose, hull: Float[Tensor, "xyz=3 n"], aorta: Sequence[Capsule]) -> Chest:
        """The chest of `subject`, wide enough for the `hull`: points on heart and great vessels at end diastole, mm.

        aorta: the descending one, as pieces from the arch downwards, to which the organs of the belly give way.
        """
        require(hull.numel() > 0, "hull: got no points, want some on the outside of heart and great vessels")
        require(len(aorta) > 1, f"aorta: got {len(aorta)} pieces, want two or more")
        draw = Draws(subject, "chest").between
        hull = hull.detach().float().cpu()
        cage, spine = Cage.of(draw).around(hull), Spine.of(draw).behind(hull)
        right = draw(-22, 0)
        tops = (right, right - draw(8, 22), draw(2, 10))
        stations = torch.tensor([(*tube.end, tube.end_radius) for tube in reversed(aorta)], dtype=torch.float32)
        return cls(
            skin=Skin.of(draw, cage, spine),
            cage=cage,
            spine=spine,
            diaphragm=Diaphragm.under(hull, cage, tops),
            bones=Bones.of(draw),
            organs=Organs.of(draw, cage, tops[1]),
            swell=Swell.of(subject),
            heart=Ventricles.of(pose, hull),
            aorta=stations.T.contiguous(),
            pads=(draw(6, 18), draw(0, 1), draw(-8, 12)),
            lung=(draw(0.015, 0.045), draw(-0.05, 0.06), draw(0.6, 1.0)),
            breathing=(draw(0.3, 1.4), draw(0, math.tau), draw(-0.35, 0.35)),
            pulse=Pulse.of(subject),
        )

    def locate(self, points: Float[Tensor, "xyz=3 *shape"]) -> Located:
        """Where `points`, in mm, lie in this chest."""
        return Located(points, self.cage.inside(points), self.diaphragm.above(*points.unbind(0)))

    def breath(self, phase: Float[Tensor, " frame"]) -> Float[Tensor, "frame xyz=3"]:
        """Drift of the diaphragm in mm at `phase` of the cycle (0 to 1), zero at 0 and closed over the cycle."""
        amplitude, start, forward = self.breathing
        # Halved, since the drift from the first frame on may reach twice the amplitude of the sine.
        drift = amplitude * (torch.sin(math.tau * phase + start) - math.sin(start)) / 2
        return torch.stack([torch.zeros_like(drift), forward * drift, drift], dim=-1)

    def drift(self, located: Located) -> Float[Tensor, "*shape"]:
        """Share of the breathing drift that tissue takes part in: 1 at the diaphragm and below, 0.3 at the apices of
        the lungs, 0 in wall and spine.
        """
        x, y, z = located.points.unbind(0)
        share = 1 - 0.7 * smoothstep(located.above / 150)
        q = self.spine.ahead(y, z)
        spine = torch.maximum(self.spine.body(x, q), torch.minimum(q, 34 - (x - self.spine.x).abs()))
        return share * smoothstep(located.inside / 12) * smoothstep(-spine / 10)

    def pulsed(self, located: Located, drift: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Share of the movement of :class:`Pulse` that tissue takes part in: that of the breathing `drift`, dying out
        towards the ventricles, and :data:`WALL_SHARE` in the front of the wall, which the beat lifts; 0 in the back.
        """
        front = smoothstep((100 - located.points[1]) / 80)
        away = smoothstep(-self.heart.inside(*located.points.unbind(0)) / AROUND)
        return drift * away + WALL_SHARE * front * (1 - smoothstep(located.inside / 12))

    def paint(self, canvas: Canvas, located: Located, texture: Texture) -> None:
        """Paint the chest as it lies at end diastole, without heart and great vessels, at these points."""
        flat = located.points.flatten(1)
        x, y, z = flat.unbind(0)
        bump = self.skin.bump(x, y, z)
        depth = self.skin.depth(x, y, z) + bump
        index = (depth > -MARGIN).nonzero()[:, 0]
        if not len(index):
            return
        known = torch.stack([depth, bump, located.inside.flatten(), located.above.flatten()])
        site = self._site(flat.index_select(1, index), known.index_select(1, index), texture)
        body = canvas.take(index)
        _paint(body, site, site.inside < MARGIN, self._wall)
        cavity = site.inside > -MARGIN
        _paint(body, site, cavity & (site.above > -MARGIN), self._chest)
        _paint(body, site, cavity & (site.above < MARGIN), self._abdomen)
        q = self.spine.ahead(site.y, site.z)
        _paint(body, site, (q > -self.spine.half[1] - MARGIN) & ((site.x - self.spine.x).abs() < 72), self._spine)
        shade = 1 + 0.035 * site.grain.blotch + 0.035 * site.grain.fine + 0.05 * site.coarse.fine
        edge = torch.sigmoid(site.depth / canvas.softness)
        body.signal = body.signal * (shade.clamp(min=0.2) * edge)
        body.clear(site.depth <= 0)
        canvas.put_at(body, index)

    def _site(self, flat: Tensor, known: Tensor, texture: Texture) -> Site:
        (x, y, z), (depth, bump, inside, above) = flat.unbind(0), known.unbind(0)
        grain, swell = texture.at(flat), self.swell.at(flat)
        front = smoothstep((self.cage.middle - y) / 60)
        usual = self.skin.fat * (1 - 0.45 * front * (1 - smoothstep(x.abs() / 50)) + 0.3 * smoothstep((-60 - z) / 80))
        fat = (usual * (1 + 0.16 * swell[0]) * (1 - 0.5 * smoothstep((z - 100) / 80))).clamp(min=3.5) + bump
        return Site(
            torch.stack(
                [
                    *(x, y, z, depth, fat, inside, above, bump),
                    *(grain.fine, grain.blotch, grain.streaks, grain.branches),
                    *swell,
                ]
            )
        )

    def _wall(self, canvas: Canvas, site: Site) -> None:
        """Skin, fat, breast, muscles, ribs and breastbone."""
        grain, coarse = site.grain, site.coarse
        canvas.paint("fat", site.depth + MARGIN, None, gain=0.97 + 0.02 * grain.fine)
        canvas.labels = torch.where(site.depth > 0, 1, canvas.labels)
        canvas.paint("fat", 1.0 - site.depth, None, gain=0.25)
        if self.skin.breast[0] > 8:
            gland = torch.minimum(site.bump - 7, 6 * (coarse.streaks + 0.4 * grain.blotch + 0.3 * grain.streaks))
            canvas.paint("gland", torch.minimum(gland, site.depth - 5))
        septa = 0.10 - (coarse.branches + 0.08 * grain.streaks).abs()
        canvas.paint("fat", torch.minimum(6 * septa, site.depth - 2), None, strength=0.5, gain=0.3)
        layer = site.depth - site.fat + 0.5 * grain.blotch
        canvas.paint("muscle", layer, "muscle", gain=1 + 0.05 * grain.streaks + 0.08 * coarse.fine)
        outer = -site.inside - RIB
        # Fat between the sheets of muscle, in clefts along them, and where thick layers leave room.
        sheet = 7.5 - 15 * torch.remainder(layer / 15 + 0.35 * coarse.fine + 0.04 * grain.blotch, 1)
        sheet = 0.9 * coarse.streaks + 0.2 * grain.blotch - sheet.abs()
        cleft = self.bones.clefts * (coarse.branches + 0.25 * grain.blotch - 1.3) * 5
        lumps = torch.maximum(torch.minimum(sheet, outer), torch.minimum(cleft, outer - 2))
        canvas.paint("fat", torch.minimum(lumps, layer - 4), "fat", strength=0.85, gain=0.9)
        self._ribs(canvas, site, outer)
        self._shoulder(canvas, site, layer)

    def _ribs(self, canvas: Canvas, site: Site, outer: Tensor) -> None:
        """Ribs, which fall towards the front, with intercostal muscle between them; the breastbone."""
        ring = -site.inside
        layer = 0.5 + site.coarse.fine - (outer - 1.5 - site.grain.blotch).abs()
        canvas.paint("fat", layer, None, strength=0.7, gain=0.8)
        canvas.paint("fat", 0.8 * site.coarse.streaks - ring.abs(), None, strength=0.35, gain=0.8)
        pitch, start, half = self.bones.ribs
        front = site.y + 70
        rise = 0.55 * (62 - site.x.abs()).clamp(min=0) * smoothstep(-site.y / 40)
        level = site.z + RIB_SLOPE * (self.cage.middle + self.cage.back - site.y) - rise + 2 * site.coarse.fine
        turn = (torch.remainder(level / pitch + start, 1) - 0.5) * pitch
        gauge = ((turn / half).square() + ((ring - 5.8) / 4.3).square()).sqrt()
        margin = site.z + 0.6 * site.x.abs() + 0.35 * front - self.bones.sternum[1]
        rib = torch.minimum((1 - gauge) * 4.8, 0.5 * margin)
        canvas.paint("bone", rib, "bone")
        canvas.paint("marrow", rib - 2.0, None, strength=0.85, gain=1.15 + 0.15 * site.grain.blotch)
        half_width, lowest = self.bones.sternum
        width = half_width + 12 * smoothstep((site.z - 70) / 40) - site.x.abs()
        plate = torch.minimum(torch.minimum(width, 5.2 - (ring - 6).abs()), 0.7 * (site.z - lowest))
        plate = torch.minimum(plate, -site.y)
        canvas.paint("bone", plate, "bone")
        canvas.paint("marrow", plate - 1.4, None, gain=0.95 + 0.12 * site.grain.blotch)

    def _shoulder(self, canvas: Canvas, site: Site, layer: Tensor) -> None:
        """Collar bones, shoulder blades and the heads of the upper arms."""
        if not bool((site.z > -10).any()):
            return
        x, ring = site.x.abs(), -site.inside
        top = self.bones.shoulder
        blade = torch.minimum(2.2 - (ring - RIB - 9 - 0.08 * (x - 90)).abs(), 36 - (x - 92).abs())
        blade = torch.minimum(torch.minimum(blade, site.y - 30), 62 - (site.z - 72).abs())
        y = site.y - (self.skin.front + 62 + 0.35 * (x - 20))
        collar = 6.5 - (y.square() + (site.z - top + 22 - 0.14 * x).square()).sqrt()
        collar = torch.minimum(collar, 66 - (x - 84).abs())
        heads = [((side * (self.skin.side - 24), 22.0, top - 30), (23.0, 23.0, 24.0)) for side in (1, -1)]
        arm = torch.maximum(*_balls(site.points, *heads))
        bone = torch.minimum(torch.maximum(torch.maximum(blade, collar), arm), layer - 1)
        canvas.paint("bone", bone, "bone")
        canvas.paint("marrow", bone - 1.6, None)

    def _chest(self, canvas: Canvas, site: Site) -> None:
        """Lungs and mediastinum, all that lies above the diaphragm."""
        grain, coarse = site.grain, site.coarse
        parenchyma, branching, bright = self.lung
        # What little signal there is comes from blood, which sinks to the back of the lungs.
        tissue = parenchyma * (1 + 0.3 * grain.fine + 0.3 * coarse.fine + 0.006 * site.y).clamp(min=0.1)
        cavity = torch.minimum(site.inside, site.above)
        canvas.paint("blood", cavity + 1.5, "lung", gain=tissue)
        x, y, z = HILUM
        away = ((site.x.abs() - x).square() + (site.y - y).square() + (site.z - z).square()).sqrt()
        near = (-away / 40).exp()
        small = (
            branching + 0.4 * near + 0.15 * grain.blotch - (grain.streaks.square() + grain.branches.square()).sqrt()
        ) * 2.2
        large = (0.9 * near - (coarse.streaks.square() + coarse.branches.square()).sqrt()) * 8
        vessel = torch.minimum(torch.maximum(small, large), cavity - 4)
        strength = (bright * (0.45 + near)).clamp(max=1)
        canvas.paint("blood", vessel, "lung_vessel", gain=strength)
        self._mediastinum(canvas, site, cavity)

    def _mediastinum(self, canvas: Canvas, site: Site, cavity: Tensor) -> None:
        """Fat around heart and vessels, windpipe and oesophagus."""
        grain, coarse = site.grain, site.coarse
        wide, share, pad = self.pads
        heart = self.heart.inside(site.x, site.y, site.z)
        noise = 3 * coarse.fine + 1.2 * grain.streaks
        half = 25 + (wide - 25) * smoothstep(-(site.y + 5) / 40) - 0.06 * (site.z - 40)
        column = half - (site.x - 5).abs() + noise
        corner = torch.minimum(14 + 0.5 * pad - site.above, heart + 8 + pad) + noise
        front = torch.minimum(heart + 10 + pad, -site.y - 25 - 0.5 * (site.x - 20 - 30 * share).abs()) + noise
        region = torch.maximum(torch.maximum(column, heart - 3 + 0.5 * noise), torch.maximum(corner, front))
        region = torch.minimum(region, cavity + 1)
        canvas.paint("fat", region, "mediastinum", gain=0.85 + 0.04 * grain.blotch + 0.06 * coarse.fine)
        vessel = (0.04 + 0.13 * coarse.fine - (grain.streaks.square() + grain.branches.square()).sqrt()) * 3
        canvas.paint("blood", torch.minimum(vessel, region - 3), None, strength=0.8, gain=0.7)
        ahead = self.spine.ahead(site.y, site.z) + self.spine.half[1]
        tube = _ellipse(site.x - self.spine.x + 7, ahead + 7.5, 8.5, 5.5)
        canvas.paint("muscle", torch.minimum(tube, region + 6), "oesophagus")
        canvas.paint("fluid", tube - 3.2, None, strength=0.7, gain=0.66)
        pipe = torch.minimum(_ellipse(site.x - self.spine.x, ahead + 21, 9, 8), site.z - 62)
        canvas.paint("muscle", pipe + 1.8, None)
        canvas.paint("air", pipe, None)

    def _abdomen(self, canvas: Canvas, site: Site) -> None:
        """Diaphragm, liver, stomach, spleen, kidneys, and the bowel and fat between them."""
        grain, coarse = site.grain, site.coarse
        below = torch.minimum(-site.above, site.inside + 1)
        film = torch.minimum(1.6 - (below + 0.8).abs(), grain.blotch + 0.3)
        canvas.paint("fat", film, None, strength=0.6, gain=0.5)
        canvas.paint("muscle", below, "diaphragm")
        within = torch.minimum(below - 2.6 - 0.5 * grain.blotch, site.inside - 0.6)
        canvas.paint("fat", within, "abdomen", gain=0.85 + 0.03 * grain.blotch + 0.05 * coarse.fine)
        room = torch.minimum(below - 2.4, site.inside - 0.6) - 1.8 * coarse.fine.clamp(min=0)
        room = torch.minimum(room, self._beside_aorta(site) - FREE)
        liver = torch.minimum(self._liver(site), room)
        stomach, spleen = _balls(site.points, self.organs.stomach, self.organs.spleen)
        stomach = stomach + 4 * coarse.streaks + 0.8 * grain.streaks
        stomach = torch.minimum(stomach, torch.minimum(room - 2, -liver - 2.5))
        spleen = spleen + 2.5 * coarse.streaks + 0.6 * grain.streaks
        others = torch.maximum(liver, stomach)
        spleen = torch.minimum(spleen, torch.minimum(room - 0.5, -others - 2.5))
        self._bowel(canvas, site, torch.minimum(room - 4, -torch.maximum(others, spleen) - 4))
        canvas.paint("liver", liver, "liver", gain=1 + 0.04 * coarse.fine)
        large = (0.15 + 0.06 * coarse.blotch - (coarse.branches.square() + coarse.streaks.square()).sqrt()) * 12
        small = (0.06 + 0.16 * coarse.fine - (grain.streaks.square() + grain.branches.square()).sqrt()) * 5
        vessel = torch.minimum(torch.maximum(large, small), liver - 6)
        canvas.paint("blood", vessel, "liver_vessel", strength=0.8)
        canvas.paint("spleen", spleen, "spleen")
        canvas.paint("muscle", stomach, "stomach")
        level, spread, gas = self.organs.content
        content = 1.1 * (level + spread * (grain.blotch + 0.5 * grain.fine)).clamp(min=0.05)
        folds = stomach - 4.2 - 1.1 * grain.streaks
        canvas.paint("fluid", folds, None, gain=content)
        (_, middle, _), (_, reach, _) = self.organs.stomach
        canvas.paint("air", torch.minimum(folds - 0.3, middle - reach * gas - site.y), None)

    def _beside_aorta(self, site: Site) -> Tensor:
        """Distance from the blood of the descending aorta."""
        aorta = self.aorta.to(site.values)
        above = torch.bucketize(site.z, aorta[2]).clamp(1, aorta.shape[1] - 1)
        low, high = aorta[:, above - 1], aorta[:, above]
        share = ((site.z - low[2]) / (high[2] - low[2])).clamp(0, 1)
        x, y, z, radius = torch.lerp(low, high, share)
        return ((site.x - x).square() + (site.y - y).square() + (site.z - z).square()).sqrt() - radius

    def _liver(self, site: Site) -> Tensor:
        """Distance to the lower and left borders of the liver."""
        lowest, rise, tip, slant, lobe = self.organs.liver
        edge = lowest + rise * (site.x + 100).clamp(min=0)
        # The left lobe lies in front; behind it is the stomach.
        edge = edge + 0.5 * (site.y + 15).clamp(min=0) * smoothstep((site.x + 85) / 90)
        under = (site.z - edge) / math.hypot(1, rise)
        under = torch.maximum(under, lobe + site.above)
        left = (tip - site.x - slant * site.y) / math.hypot(1, slant)
        return _soft_minimum(under, left, 14) + 3 * site.coarse.streaks + 0.5 * site.grain.streaks

    def _bowel(self, canvas: Canvas, site: Site, room: Tensor) -> None:
        """Loops of bowel, and the kidneys."""
        grain, coarse = site.grain, site.coarse
        threshold, level = self.organs.bowel
        loop = torch.minimum((coarse.fine + 0.15 * grain.branches - threshold) * 9, room)
        canvas.paint("muscle", loop, None, strength=0.9)
        content = 1.1 * (level + 0.3 * coarse.streaks + 0.06 * grain.fine).clamp(0, 0.85)
        canvas.paint("fluid", loop - 3.5, None, strength=0.9, gain=content)
        vessel = (0.3 - (grain.streaks.square() + grain.branches.square()).sqrt()) * 3
        canvas.paint("blood", torch.minimum(vessel, room), None, strength=0.6, gain=0.75)
        if not bool((site.z < -100).any()):
            return
        sinuses = [(middle, (0.45 * half[0], 0.4 * half[1], 0.55 * half[2])) for middle, half in self.organs.kidneys]
        left, right, *inner = _balls(site.points, *self.organs.kidneys, *sinuses)
        for outside, sinus in zip((left, right), inner, strict=True):
            kidney = torch.minimum(outside, room)
            canvas.paint("fat", kidney + 4, None, strength=0.8)
            canvas.paint("kidney", kidney, None)
            canvas.paint("fat", torch.minimum(sinus + 2 * grain.streaks, kidney - 3), None, strength=0.8)

    def _spine(self, canvas: Canvas, site: Site) -> None:
        """Vertebrae and discs, canal and cord, processes, and the muscles beside them."""
        grain, spine = site.grain, self.spine
        x, q = site.x - spine.x, spine.ahead(site.y, site.z)
        deep = spine.half[1]
        under = site.depth - site.fat
        back = torch.minimum(_ellipse(x.abs() - 27, q - deep - 27, 27, 21) + 1.5 * site.coarse.fine, under)
        canvas.paint("muscle", back, "muscle")
        cleft = torch.maximum(3 * (grain.streaks - 1.8), 1.2 - (x.abs() - 25 - 4 * site.coarse.fine).abs())
        canvas.paint("fat", torch.minimum(cleft, back - 2), "fat", strength=0.75, gain=0.85)
        turn = (torch.remainder(site.z / spine.pitch + spine.start, 1) - 0.5) * spine.pitch
        waist = 1.6 * (turn / (0.5 * spine.pitch)).square() - 1
        body = spine.body(site.x, q) + waist
        canvas.paint("bone", body + 1.4, "bone")
        canvas.paint("marrow", body, None, gain=0.85 + 0.1 * grain.blotch + 0.08 * grain.fine)
        disc = 0.5 * spine.pitch - turn.abs()
        canvas.paint("bone", torch.minimum(4.2 - disc, body + 0.5), None, strength=0.85)
        canvas.paint("disc", torch.minimum(3.0 - disc, body + 0.5), None)
        canal = _ellipse(x, q - deep - 8, 8.5, 7)
        # Arch and processes: seen at the height of each vertebra, the spinous one further down.
        side = torch.minimum(4.5 - (q - deep - 11 - 0.35 * x.abs()).abs(), 31 - x.abs())
        tail = torch.minimum(3.6 - x.abs(), 10 - (q - deep - 23).abs())
        drop = (torch.remainder((site.z + 0.5 * (q - deep)) / spine.pitch + spine.start, 1) - 0.5).abs() * spine.pitch
        side, tail = torch.minimum(side, 8 - turn.abs()), torch.minimum(tail, 8.5 - drop)
        bone = torch.minimum(torch.maximum(torch.maximum(side, tail), canal + 3.2), under - 1)
        canvas.paint("bone", bone, "bone")
        canvas.paint("marrow", bone - 1.5, None)
        canvas.paint("fat", canal, "spinal_canal", gain=0.8)
        canvas.paint("fluid", canal - 1, None)
        canvas.paint("cord", canal - 3, None)


def _paint(canvas: Canvas, site: Site, where: Tensor, painter: Callable[[Canvas, Site], None]) -> None:
    """Let `painter` paint only the points where it has something to do."""
    index: Int[Tensor, " n"] = where.nonzero()[:, 0]
    if not len(index):
        return
    part = canvas.take(index)
    painter(part, site.take(index))
    canvas.put_at(part, index)


def _balls(points: Float[Tensor, "xyz=3 n"], *balls: tuple[Vector, Vector]) -> Float[Tensor, "ball n"]:
    """About the distance to each of some ellipsoids, positive inside, given by their middles and half axes."""
    middle, half = torch.tensor(balls, dtype=points.dtype, device=points.device)[..., None].unbind(1)
    square = ((points - middle) / half).square_()
    gauge = square.sum(1).sqrt_()
    slope = square.div_(half.square()).sum(1).sqrt_()
    return (1 - gauge).mul_(gauge.add_(1e-4)).div_(slope.add_(1e-4 / half.amin(1)))


def _ellipse(x: Tensor, y: Tensor, half_x: float, half_y: float) -> Tensor:
    """About the distance to an elliptic cylinder, positive inside."""
    u2, v2 = (x / half_x).square(), (y / half_y).square()
    gauge = (u2 + v2).sqrt()
    slope = (u2 / half_x**2 + v2 / half_y**2).sqrt()
    return (1 - gauge) * (gauge + 1e-4) / (slope + 1e-4 / min(half_x, half_y))


def _soft_minimum(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The smaller of both, rounded over `width` mm where they cross."""
    overlap = (width - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - overlap.square() / (4 * width)
