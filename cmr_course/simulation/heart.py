"""The two ventricles at mid-ventricular level: their shape, how it moves, and their picture.

Everything is written in polar coordinates about the left-ventricular centre, with radii divided by the outline s(θ)
of the ventricle, so that its contours are circles. The mean of s² over the angle is one: areas are those of circles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.canvas import Canvas
from cmr_course.simulation.motion import smoothstep
from cmr_course.simulation.subject import Draws, Physiology, Subject
from cmr_course.simulation.texture import Texture

DECAY = 42.0
"""Beyond the heart its motion dies out over this many mm."""
GROOVE = 0.22
"""Width, in cosines of the angle, of the fat that fills the grooves between the ventricles."""


@dataclass(frozen=True)
class Outline:
    """What depends on the angle only: outline s, right-ventricular depth and wall, fat; mm in units of s."""

    scale: Tensor
    depth: Tensor
    wall: Tensor
    fat: Tensor


@dataclass(frozen=True)
class Contours:
    """Radii, divided by s, at each frame (frame, 1, 1); `right`, `outer` and `hull` also depend on the angle, in mm."""

    endo: Tensor
    epi: Tensor
    right: Tensor
    outer: Tensor
    hull: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Moved:
    """Points of a beating heart: end-diastolic place (2, frame, y, x) in mm from its centre, radius now over s, and
    the outline and contours in its direction.
    """

    place: Tensor
    r: Tensor
    outline: Outline
    at: Contours


@dataclass(frozen=True)
class Heart:
    """End-diastolic shape and the size of its motion; mm and radians, angles from the x axis towards +y (down).

    centre: (y, x) of the left ventricle. R_endo, R_epi: mean radii of its contours. septum: direction of the right
    ventricle. right_centre, right_radius, right_stretch: the ellipse (half axis radius along that direction, and
    radius · stretch across it) whose part outside the left ventricle is the right one; right_skew tilts it.
    shape: (amplitude, phase) of the second and third harmonic of the outline. insertion: angle between the septum's
    direction and the grooves. fat: thickness everywhere, at most towards a direction, in the grooves; that direction.
    papillaries: (angle, position, half length, half width), lengths over R_endo. trabeculae: height over R_endo.
    twist: of the endocardium at end systole. travel: (y, x) mm at end systole. squeeze: thickness of the right
    ventricle at end systole over that at end diastole. swirl: radius in mm and start of the blood's circling.
    """

    centre: tuple[float, float]
    R_endo: float
    R_epi: float
    area_change: float
    septum: float
    right_centre: float
    right_radius: float
    right_stretch: float
    right_wall: float
    right_skew: float
    shape: tuple[tuple[float, float], tuple[float, float]]
    insertion: float
    fat: tuple[float, float, float, float]
    papillaries: tuple[tuple[float, float, float, float], ...]
    trabeculae: float
    twist: float
    travel: tuple[float, float]
    squeeze: float
    swirl: tuple[float, float]

    @classmethod
    def of(cls, subject: Subject, physiology: Physiology) -> Heart:
        """The heart of `subject`."""
        draw = Draws(subject, "heart").between
        R_endo, R_epi = physiology.cavity_radius, physiology.cavity_radius + physiology.wall_thickness
        reach, insertion = R_epi * draw(1.6, 1.9), math.radians(draw(73, 86))
        # The ellipse through the far point of the right ventricle and through both insertions on the left one.
        along, across, stretch = R_epi * math.cos(insertion), R_epi * math.sin(insertion), draw(1.1, 1.3)
        right_centre = (reach**2 - along**2 - (across / stretch) ** 2) / (2 * (reach - along))
        septum = math.radians(draw(180, 215))
        muscles = [(draw(-72, -45), draw(0.70, 0.80)), (draw(68, 100), draw(0.70, 0.80))]
        sizes = [(draw(0.19, 0.25), draw(0.15, 0.21)) for _ in muscles]
        return cls(
            centre=(draw(-14, 2), draw(2, 22)),
            R_endo=R_endo,
            R_epi=R_epi,
            area_change=physiology.area_change,
            septum=septum,
            right_centre=right_centre,
            right_radius=reach - right_centre,
            right_stretch=stretch,
            right_wall=draw(2.6, 3.8),
            right_skew=draw(-0.15, 0.4),
            shape=((draw(0.03, 0.11), draw(0, math.tau)), (draw(0.0, 0.035), draw(0, math.tau))),
            insertion=insertion,
            fat=(draw(0.3, 0.9), draw(2.0, 6.0), draw(2.0, 5.0), septum + draw(-0.3, 0.9)),
            papillaries=tuple((math.radians(a), p, *size) for (a, p), size in zip(muscles, sizes, strict=True)),
            trabeculae=draw(0.13, 0.2),
            twist=math.radians(draw(2.0, 5.0)),
            travel=(draw(-2.0, 1.0), draw(-2.8, -0.8)),
            squeeze=draw(0.55, 0.7),
            swirl=(draw(5, 11), draw(0, math.tau)),
        )

    def reach(self) -> float:
        """No point of the heart, its fat included, is farther than this from its centre at any time, mm."""
        hull = self.right_centre + self.right_radius + self.right_wall + sum(self.fat[:3])
        return hull * 1.06

    def outline(self, cos: Float[Tensor, "*shape"], sin: Float[Tensor, "*shape"]) -> Outline:
        """Shape in the directions (cos, sin)."""
        along = cos * math.cos(self.septum) + sin * math.sin(self.septum)
        across = sin * math.cos(self.septum) - cos * math.sin(self.septum)
        # Where the ray meets the ellipse of half axes a along and b across: A t² − 2 B t − C = 0.
        a, b = self.right_radius, self.right_radius * self.right_stretch
        A, B = (along / a).square() + (across / b).square(), along * (self.right_centre / a**2)
        ray = (B + (B.square() + A * (1 - (self.right_centre / a) ** 2)).sqrt()) / A
        depth = (ray - self.R_epi).clamp(min=0) * (1 + self.right_skew * across)
        wall = self.right_wall * (1 - torch.exp(-depth / 3))
        least, most, groove, direction = self.fat
        facing = (1 + cos * math.cos(direction) + sin * math.sin(direction)) / 2
        gap = (along - math.cos(self.insertion)) / GROOVE
        fat = least + most * facing**4 + groove * torch.exp(-gap.square())
        return Outline(self.scale(cos, sin), depth, wall, fat)

    def scale(self, cos: Float[Tensor, "*shape"], sin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Outline s in the directions (cos, sin): s² = 1 + second and third harmonic."""
        (a2, p2), (a3, p3) = self.shape
        cos2, sin2 = cos.square() - sin.square(), 2 * cos * sin
        cos3, sin3 = cos2 * cos - sin2 * sin, sin2 * cos + cos2 * sin
        second = (a2 * math.cos(p2)) * cos2 + (a2 * math.sin(p2)) * sin2
        return (1 + second + (a3 * math.cos(p3)) * cos3 + (a3 * math.sin(p3)) * sin3).sqrt()

    def contours(self, outline: Outline, contraction: Float[Tensor, "frame 1 1"]) -> Contours:
        """Where the surfaces are, at each `contraction` from 0 (end diastole) to 1 (end systole).

        Myocardium keeps its area: r² − r_endo² = R² − R_endo² within the left ventricle's wall, and likewise along
        each ray of the right one's.
        """
        loss = self.area_change * self.R_endo**2 * contraction
        endo, epi = (self.R_endo**2 - loss).sqrt(), (self.R_epi**2 - loss).sqrt()
        right = epi + outline.depth * self.thinning(contraction)
        material = self.R_epi + outline.depth
        outer = ((material + outline.wall).square() - material.square() + right.square()).sqrt()
        return Contours(endo, epi, right, outer, outer + outline.fat, material + outline.wall - outer)

    def thinning(self, contraction: Float[Tensor, "*frame"]) -> Float[Tensor, "*frame"]:
        """Thickness of the right-ventricular cavity over that at end diastole."""
        return 1 - (1 - self.squeeze) * contraction

    def material(
        self,
        points: Float[Tensor, "2 frame rows columns"],
        contraction: Float[Tensor, "frame 1 1"],
        mobility: Float[Tensor, "rows columns"],
    ) -> Moved:
        """Where the tissue now at `points` was at end diastole, both (y, x) in mm from the heart's centre.

        mobility: 1 where tissue around the heart gives way to it, 0 where it does not (the chest wall).
        """
        y, x = points
        distance = (y.square() + x.square()).sqrt().clamp(min=1e-3)
        cos, sin = x / distance, y / distance
        outline = self.outline(cos, sin)
        at = self.contours(outline, contraction)
        r = distance / outline.scale
        loss = self.area_change * self.R_endo**2 * contraction
        rho = torch.where(r < at.endo, r * (self.R_endo / at.endo), (r.square() + loss).sqrt())
        rho = torch.where(r > at.epi, self.R_epi + (r - at.epi) / self.thinning(contraction), rho)
        wall = (r.square() + (self.R_epi + outline.depth).square() - at.right.square()).clamp(min=0).sqrt()
        rho = torch.where(r > at.right, wall, rho)
        fading = 1 - smoothstep((r - at.hull) / DECAY)
        rho = torch.where(r > at.outer, r + at.shift * fading * mobility, rho)
        # The endocardium turns, the epicardium does not.
        depth = (rho - self.R_endo) / (self.R_epi - self.R_endo)
        angle = self.twist * contraction * (1 - smoothstep(depth))
        length = (1 + angle.square()).rsqrt()
        cos, sin = (cos + angle * sin) * length, (sin - angle * cos) * length
        size = rho * self.scale(cos, sin)
        return Moved(torch.stack([size * sin, size * cos]), r, outline, at)

    def paint(self, canvas: Canvas, moved: Moved, texture: Texture, phase: Float[Tensor, "frame 1 1"]) -> None:
        """Paint both ventricles and their fat; `phase` of the beat in turns."""
        r, at, scale = moved.r, moved.at, moved.outline.scale
        place = moved.place + torch.tensor(self.centre, dtype=r.dtype, device=r.device).reshape(2, 1, 1, 1)
        blotch, fine = texture.at("blotch", place), texture.at("fine", place)
        muscle = canvas.levels["myocardium"] * (1 + 0.10 * blotch + 0.07 * fine)
        blood = self.blood(canvas.levels["blood"], place, texture, phase)
        fat = canvas.levels["fat"] * (0.85 + 0.14 * blotch + 0.10 * fine)
        canvas.paint(fat, (at.hull - r) * scale, "pericardial_fat")
        canvas.paint("bone", (0.7 - (at.hull - 1.2 - r).abs()) * scale, None, strength=0.6)  # the pericardium is dark
        canvas.paint(muscle, (at.outer - r) * scale, "rv_myocardium")
        inside = torch.minimum(at.right - r, r - at.epi) * scale
        canvas.paint(blood * 0.97, inside, "rv_blood")
        # Trabeculae of the right ventricle reach in from its free wall.
        ridge = torch.minimum(inside, 5.0 * (fine + 0.4 * blotch) - (at.right - r))
        canvas.paint(muscle, ridge, None, strength=0.7)
        canvas.paint(muscle, (at.epi - r) * scale, "lv_myocardium")
        canvas.paint(blood, (at.endo - r) * scale, "lv_blood")
        self.paint_cavity(canvas, moved, muscle, fine)

    def paint_cavity(
        self,
        canvas: Canvas,
        moved: Moved,
        muscle: Float[Tensor, "frame rows columns"],
        fine: Float[Tensor, "frame rows columns"],
    ) -> None:
        """Papillary muscles and trabeculae: they ride on the cavity's motion but keep their own size."""
        y, x = moved.place
        shrink = moved.at.endo / self.R_endo
        inside = (moved.at.endo - moved.r) * moved.outline.scale
        for angle, position, long, short in self.papillaries:
            cos, sin = math.cos(angle), math.sin(angle)
            outward = (x * cos + y * sin - position * self.R_endo) * shrink / (long * self.R_endo)
            across = (y * cos - x * sin) * shrink / (short * self.R_endo)
            gauge = (outward.square() + across.square()).sqrt() - 0.22 * fine
            canvas.paint(muscle, torch.minimum(inside, (1 - gauge) * short * self.R_endo), "papillary")
        height = self.trabeculae * self.R_endo * (0.25 + 0.9 * fine)
        canvas.paint(muscle, torch.minimum(inside, height - inside), "papillary", strength=0.85)

    def blood(
        self,
        level: float,
        points: Float[Tensor, "2 frame rows columns"],
        texture: Texture,
        phase: Float[Tensor, "frame 1 1"],
    ) -> Float[Tensor, "frame rows columns"]:
        """Signal of flowing blood: a pattern that swirls once round a small circle in each beat."""
        radius, start = self.swirl
        angle = math.tau * phase + start
        moved = torch.stack([points[0] + radius * angle.sin(), points[1] + radius * angle.cos()])
        return level * (1 + 0.06 * texture.at("blotch", moved) + 0.05 * texture.at("smooth", 2.5 * moved))

    def areas(self, contraction: Float[Tensor, " frame"]) -> dict[str, Float[Tensor, " frame"]]:
        """Areas in mm²: cavity and wall of the left ventricle exactly, right cavity by a sum over 1,440 angles."""
        angle = torch.arange(1440, dtype=torch.float64, device=contraction.device) * (math.tau / 1440)
        outline = self.outline(angle.cos(), angle.sin())
        at = self.contours(outline, contraction.double()[:, None, None])
        lv = math.pi * at.endo.square()[:, 0, 0]
        wall = math.pi * (at.epi.square() - at.endo.square())[:, 0, 0]
        ring = (at.right.square() - at.epi.square()) * outline.scale.square()
        return {"lv_area_mm2": lv, "myocardium_area_mm2": wall, "rv_area_mm2": math.pi * ring.mean(-1)[:, 0]}

    def strain(self, contraction: Float[Tensor, " frame"]) -> dict[str, Float[Tensor, " frame"]]:
        """Engineering strain from end diastole: endocardial circumferential, and radial (wall thickening)."""
        loss = self.area_change * self.R_endo**2 * contraction.double()
        endo, epi = (self.R_endo**2 - loss).sqrt(), (self.R_epi**2 - loss).sqrt()
        return {"circumferential": endo / self.R_endo - 1, "radial": (epi - endo) / (self.R_epi - self.R_endo) - 1}
