"""What surrounds the heart in a short-axis slice: chest wall, lungs, spine, great vessel, abdomen.

A slice is written in body coordinates: p to the image's right along the shoulders, q from breastbone to spine, both in
mm from the middle of the chest, turned by `tilt` against the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.canvas import Canvas
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.motion import smoothstep
from cmr_course.simulation.subject import Draws, Subject
from cmr_course.simulation.texture import Texture

ROUNDNESS = 2.4
"""Exponent of the superellipse that outlines the body."""
CLEARANCE = 13.0
"""Least distance of the heart from the chest wall, mm."""
SPINE_DEPTH = 56.0
"""Depth of the vertebra's centre under the skin of the back, mm."""
RIB_RING = 7.5
"""Depth of the ribs' middle outside the inner surface of the chest wall, mm."""


@dataclass(frozen=True)
class Body:
    """Where points lie: coordinates p, q, angle from the p axis, distance from the middle, depth under the skin."""

    p: Tensor
    q: Tensor
    angle: Tensor
    radius: Tensor
    depth: Tensor
    fat: Tensor
    wall: Tensor


@dataclass(frozen=True)
class Surroundings:
    """Fields over the slice. breath (2, y, x): shift for a diaphragm 1 mm lower. heart (y, x): share of the heart's
    travel. pulse (2, y, x): shift in mm for an aorta widened by its own radius. mobility (y, x): see `Heart.material`.
    """

    breath: Tensor
    heart: Tensor
    pulse: Tensor
    mobility: Tensor


@dataclass(frozen=True)
class Chest:
    """Sizes in mm, angles in radians, places (y, x) in the image or (p, q) in the body as named."""

    centre: tuple[float, float]
    half: tuple[float, float]
    tilt: float
    wobble: tuple[tuple[int, float, float], ...]
    fat: tuple[float, float]
    muscle: float
    breast: float
    ribs: tuple[float, float, float]
    sternum: float
    spine: tuple[float, float, float]
    aorta: tuple[float, float, float]
    dome: tuple[float, float, float, float]
    liver: tuple[float, float]
    stomach: tuple[float, float, float, float]
    spleen: tuple[float, float, float, float]
    pad: tuple[float, float]
    heart: tuple[float, float]
    vessels: tuple[float, float]
    breathing: tuple[float, float, float]
    pulse: float

    @classmethod
    def of(cls, subject: Subject, heart: Heart) -> Chest:
        """The chest of `subject`, wide enough for its heart."""
        draw = Draws(subject, "chest").between
        size, tilt = draw(0.93, 1.06), math.radians(draw(-60, -28))
        half = (148 * size * draw(0.96, 1.04), 132 * size * draw(0.95, 1.05))
        y, x = heart.centre
        hull = _lowest(heart)
        dome = (y + hull + draw(-2, 5) + 80, x + draw(-40, -14), 82.0, draw(104, 120))
        chest = cls(
            centre=(y + draw(16, 28), x + draw(-12, 2)),
            half=half,
            tilt=tilt,
            wobble=tuple((k, draw(0.2, 1) * 0.05 / k, draw(0, math.tau)) for k in (2, 3, 4, 5)),
            fat=(draw(5, 13), draw(0.2, 0.8)),
            muscle=draw(15, 20),
            breast=draw(0, 9),
            ribs=(draw(12, 15), draw(0, 1), draw(0.9, 1.1)),
            sternum=draw(-0.2, 0.2),
            spine=(draw(-8, 14), draw(16, 19), 0.0),
            aorta=(draw(24, 31), draw(10, 20), draw(9.5, 12.5)),
            dome=dome,
            liver=(draw(-6, 22), draw(0.2, 0.5)),
            stomach=(draw(26, 42), draw(28, 42), draw(18, 27), draw(26, 36)),
            spleen=(draw(30, 50), draw(78, 96), draw(20, 28), draw(13, 18)),
            pad=(draw(10, 26), draw(14, 28)),
            heart=heart.centre,
            vessels=(draw(1.55, 1.95), draw(0.5, 0.9)),
            breathing=(draw(0.3, 1.4), draw(0, math.tau), draw(-0.35, 0.35)),
            pulse=draw(0.04, 0.09),
        )
        return chest._around(heart)

    def _around(self, heart: Heart) -> Chest:
        """The same chest, widened until the heart keeps its distance from the wall."""
        angle = torch.arange(96, dtype=torch.float32) * (math.tau / 96)
        outline = heart.outline(angle.cos(), angle.sin())
        hull = heart.contours(outline, torch.zeros(1, 1, 1, dtype=torch.float32)).hull[0, 0] * outline.scale
        y, x = heart.centre[0] + hull * angle.sin(), heart.centre[1] + hull * angle.cos()
        chest = self
        for _ in range(12):
            body = chest.body(torch.stack([y, x]))
            lack = float((CLEARANCE - (body.depth - body.wall)).max())
            if lack <= 0:
                break
            chest = replace(chest, half=(chest.half[0] + 0.7 * lack, chest.half[1] + 0.7 * lack))
        p0, radius, _ = chest.spine
        return replace(chest, spine=(p0, radius, chest._spine_depth(p0)))

    def _spine_depth(self, p: float) -> float:
        """Where the vertebra's centre lies along q: :data:`SPINE_DEPTH` under the skin of the back."""
        q = torch.arange(0, self.half[1], 0.5, dtype=torch.float32)
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        places = torch.stack([self.centre[0] + sin * p + cos * q, self.centre[1] + cos * p - sin * q])
        deep = q[self.body(places).depth > SPINE_DEPTH]
        return float(deep[-1]) if len(deep) else 0.0

    def body(self, points: Float[Tensor, "yx=2 *shape"]) -> Body:
        """`points` (y, x) in the image, seen from the body."""
        y, x = points[0] - self.centre[0], points[1] - self.centre[1]
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        p, q = cos * x + sin * y, cos * y - sin * x
        radius, angle = (p.square() + q.square()).sqrt().clamp(min=1e-3), torch.atan2(q, p)
        gauge = ((p / self.half[0]).abs() ** ROUNDNESS + (q / self.half[1]).abs() ** ROUNDNESS) ** (1 / ROUNDNESS)
        gauge = gauge / (1 + sum(a * torch.cos(k * angle + b) for k, a, b in self.wobble))
        depth = radius * (1 / gauge.clamp(min=1e-5) - 1)
        front, back = (-q / radius), (q / radius)
        least, more = self.fat
        fat = (least * (1 + more * front + 0.25 * torch.cos(3 * angle + 5 * more))).clamp(min=4)
        wall = fat + self.muscle + 15 * back.clamp(min=0) ** 6 + self.breast * front.clamp(min=0) ** 2
        return Body(p, q, angle, radius, depth, fat, wall)

    def paint(self, canvas: Canvas, points: Float[Tensor, "2 rows columns"], texture: Texture) -> None:
        """Paint the chest without its heart, as it lies at end diastole."""
        body = self.body(points)
        noise = {name: texture.at(name, points) for name in ("fine", "blotch", "smooth", "streaks")}
        inside = body.depth - body.wall
        self._wall(canvas, body, noise)
        canvas.paint("lung", inside, "lung")
        self._lung_vessels(canvas, body, noise, inside)
        self._mediastinum(canvas, points, body, noise, inside)
        self._abdomen(canvas, points, noise, inside)
        self._spine(canvas, body, noise)
        grain = 1 + 0.10 * noise["blotch"] + 0.06 * noise["fine"] + 0.06 * noise["smooth"]
        canvas.signal = canvas.signal * grain.clamp(min=0.2) * (body.depth > -6)

    def _wall(self, canvas: Canvas, body: Body, noise: dict[str, Tensor]) -> None:
        fat, muscle = canvas.levels["fat"], canvas.levels["muscle"]
        canvas.paint(fat * (0.97 - 0.05 * noise["fine"]), body.depth, "fat")
        layer = body.depth - body.fat + 1.2 * noise["blotch"]
        canvas.paint(muscle, layer, "muscle")
        # Fat between the sheets of muscle, and between muscle and ribs.
        sheets = -0.3 - (torch.remainder(layer / 10 + 0.3 * noise["smooth"], 1) - 0.5).abs() * 10
        streaks = torch.minimum(sheets + 0.9 * noise["blotch"] + 0.3 * noise["fine"], layer - 3)
        canvas.paint(fat, torch.minimum(streaks, body.wall - body.depth), None, strength=0.75)
        count, start, size = self.ribs
        ring = body.depth - (body.wall - RIB_RING)
        turn = torch.remainder(body.angle * round(count) / math.tau + start, 1) - 0.5
        along = turn * (math.tau / round(count)) * body.radius
        gauge = ((along / (12 * size)).square() + (ring / 5.5).square()).sqrt()
        side = (body.p.abs() - 24).clamp(max=8)  # no rib crosses the middle
        canvas.paint("bone", torch.minimum((1 - gauge) * 5.5, side), "bone")
        canvas.paint("marrow", torch.minimum((0.68 - gauge) * 5.5, side - 2), None, strength=0.8)
        across = body.p - 10 * self.sternum
        front = -torch.sign(body.q)
        plate = torch.minimum(16 - across.abs(), 5.5 - (ring + 1).abs())
        plate = torch.minimum(plate, 20 * front)
        canvas.paint("bone", plate, "bone")
        canvas.paint("marrow", plate - 1.8, None)

    def _lung_vessels(self, canvas: Canvas, body: Body, noise: dict[str, Tensor], inside: Tensor) -> None:
        threshold, bright = self.vessels
        away = (body.p.square() + (body.q - 20).square()).sqrt()  # from where the vessels branch off
        field = noise["streaks"] + 0.3 * noise["smooth"] - threshold - 0.006 * (away - 60)
        vessel = torch.minimum(4.0 * field, inside - 4)
        canvas.paint("blood", vessel, None, strength=bright)

    def _mediastinum(
        self, canvas: Canvas, points: Tensor, body: Body, noise: dict[str, Tensor], inside: Tensor
    ) -> None:
        """Fat and vessels between the heart and the breastbone, and between the heart and the spine."""
        dy, dx = points[0] - self.heart[0], points[1] - self.heart[1]
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        across, forward = cos * dx + sin * dy, sin * dx - cos * dy
        width, reach = self.pad
        pad = width + 0.1 * forward - (across + 14 + 0.2 * forward).abs() + 3.5 * noise["blotch"] + 4 * noise["smooth"]
        pad = torch.minimum(torch.minimum(pad, inside + 2), forward + 5)
        fat = canvas.levels["fat"] * (0.75 + 0.12 * noise["blotch"])
        canvas.paint(fat, pad, "mediastinum")
        canvas.paint("muscle", torch.minimum(pad, 2.5 * (noise["streaks"] - 1.2)), None, strength=0.8)
        behind = torch.minimum(reach * 0.5 - (across - 0.1 * forward).abs() + 4 * noise["blotch"], -forward - 10)
        behind = torch.minimum(behind, inside + 2)
        canvas.paint("muscle", behind, "mediastinum")
        canvas.paint(fat, torch.minimum(behind, 2.5 * noise["blotch"]), None, strength=0.9)

    def _abdomen(self, canvas: Canvas, points: Tensor, noise: dict[str, Tensor], inside: Tensor) -> None:
        """The dome under the diaphragm: liver to the left of the picture, stomach, spleen, fat between them."""
        top, middle, height, width = self.dome
        y, x = points[0] - top, points[1] - middle
        dome = torch.minimum(_ellipse(y, x, height, width) + noise["smooth"], inside)
        dy, dx = points[0] - self.heart[0], points[1] - self.heart[1]
        edge, slant = self.liver
        liver = torch.minimum(dome - 1.5, edge - dx - slant * (dy - 60) + 3 * noise["smooth"])
        fat = canvas.levels["fat"]
        canvas.paint(fat, dome + 1.5, "mediastinum", strength=0.35)
        canvas.paint("muscle", dome, "diaphragm")
        canvas.paint(fat * (0.7 + 0.2 * noise["blotch"]), torch.minimum(dome - 2.5, -liver), "abdomen")
        bowel = torch.minimum(torch.minimum(dome - 5, -liver), 5 * (noise["blotch"] + 0.3 * noise["fine"]) - 1)
        canvas.paint("muscle", bowel, None, strength=0.85)
        canvas.paint("liver", liver, "liver")
        vessel = torch.minimum(2.5 * (noise["streaks"] + 0.6 * noise["blotch"] - 1.9), liver - 5)
        canvas.paint("blood", vessel, None, strength=0.55)
        x0, y0, ry, rx = self.stomach
        floor = -self.dome[2] + self.dome[0] - self.heart[0]
        stomach = _ellipse(dy - floor - y0, dx - x0, ry, rx) + 1.5 * noise["blotch"]
        stomach = torch.minimum(stomach, torch.minimum(dome - 3, -liver - 2))
        canvas.paint("muscle", stomach, "stomach")
        content = canvas.levels["fluid"] * (0.45 + 0.25 * noise["blotch"] + 0.12 * noise["fine"]).clamp(min=0.02)
        canvas.paint(content, stomach - 4, None)
        y0, x0, ry, rx = self.spleen
        spleen = _ellipse(dy - floor - y0, dx - x0, ry, rx)
        spleen = torch.minimum(spleen, torch.minimum(inside - 2, torch.minimum(-liver, -stomach) - 2))
        canvas.paint(fat, spleen + 3, "abdomen", strength=0.7)
        canvas.paint("spleen", spleen, "spleen")

    def _spine(self, canvas: Canvas, body: Body, noise: dict[str, Tensor]) -> None:
        """Vertebra, canal and cord, the muscles beside them, and the descending aorta in front."""
        p0, radius, q0 = self.spine
        p, q = body.p - p0, body.q - q0
        back = torch.minimum(_ellipse(q - 18, p, 36, 46) + 2 * noise["smooth"], body.depth - body.fat)
        canvas.paint("muscle", back, "muscle")
        canvas.paint("fat", torch.minimum(back - 2, 2.4 * (noise["streaks"] - 1.1)), None, strength=0.8)
        vertebra = _ellipse(q, p, radius * 0.85, radius)
        canvas.paint("bone", vertebra + 1.5, "bone")
        marrow = canvas.levels["marrow"] * (0.8 + 0.12 * noise["blotch"] + 0.1 * noise["fine"])
        canvas.paint(marrow, vertebra - 1.2, None)
        arch = _ellipse(q - radius - 7, p, 12, 15)
        canvas.paint("bone", torch.minimum(arch, body.depth - body.fat - 5), "bone")
        canvas.paint("fluid", _ellipse(q - radius - 6, p, 7, 9), "spinal_canal")
        canvas.paint("muscle", _ellipse(q - radius - 6, p, 3.5, 4.5), None)
        spine = torch.minimum(3.5 - p.abs(), 11 - (q - radius - 24).abs())
        canvas.paint("bone", torch.minimum(spine, body.depth - body.fat - 5), "bone")
        vessel = self._aorta(body)
        canvas.paint("fat", vessel + 4, "mediastinum", strength=0.6)
        canvas.paint("muscle", vessel + 1.2, None, strength=0.8)
        canvas.paint("blood", vessel, "aorta")

    def _aorta(self, body: Body) -> Tensor:
        across, ahead, radius = self.aorta
        p, q = body.p - self.spine[0] - across, body.q - self.spine[2] + ahead
        return radius - (p.square() + q.square()).sqrt()

    def surroundings(self, points: Float[Tensor, "2 rows columns"], reach: float) -> Surroundings:
        """How the tissue now at `points` is moved by what is not the heart beating in place."""
        body = self.body(points)
        inside = body.depth - body.wall
        dy, dx = points[0] - self.heart[0], points[1] - self.heart[1]
        heart = 1 - smoothstep(((dy.square() + dx.square()).sqrt() - reach) / 30)
        drift = 1 - (1 - smoothstep(inside / 20)) * (1 - heart)
        across, ahead, size = self.aorta
        p, q = body.p - self.spine[0] - across, body.q - self.spine[2] + ahead
        away = (p.square() + q.square()).sqrt().clamp(min=1e-3)
        push = torch.minimum(away, torch.full_like(away, size)) * (1 - smoothstep((away - size) / 14)) * (1 - heart)
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        pulse = torch.stack([cos * q + sin * p, cos * p - sin * q]) * (push / away)
        breath = torch.stack([drift, self.breathing[2] * drift])
        return Surroundings(breath, heart, pulse, smoothstep((inside + 8) / 24))

    def breath(self, phase: Float[Tensor, " frame"]) -> Float[Tensor, " frame"]:
        """Drift of the diaphragm in mm over the beat, zero in the first frame and closed over the cycle."""
        amplitude, start, _ = self.breathing
        return amplitude * (torch.sin(math.tau * phase + start) - math.sin(start))


def _lowest(heart: Heart) -> float:
    """How far the heart reaches below its centre, mm."""
    angle = torch.linspace(0.35 * math.pi, 0.65 * math.pi, 16, dtype=torch.float32)
    outline = heart.outline(angle.cos(), angle.sin())
    hull = heart.contours(outline, torch.zeros(1, 1, 1, dtype=torch.float32)).hull[0, 0] * outline.scale
    return float((hull * angle.sin()).max())


def _ellipse(y: Tensor, x: Tensor, half_y: float, half_x: float) -> Tensor:
    """Distance to an ellipse along the ray from its centre, mm, positive inside."""
    square = y.square() + x.square() + 1e-4  # the small number keeps the centre inside
    gauge = ((y / half_y).square() + (x / half_x).square() + 1e-4 / half_y**2).sqrt()
    return square.sqrt() * (1 / gauge - 1)
