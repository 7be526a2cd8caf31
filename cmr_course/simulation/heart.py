"""The two ventricles: their shape, how it moves, and their picture.

Everything is written in cylinder coordinates about the axis of the left ventricle: depth w in mm from the mitral plane
towards the apex, angle θ from the septum, and radius r divided by the outline s(θ), so that cross-sections of the
ventricle are circles. The mean of s² over the angle is one: areas are those of circles.

Motion. With c from 0 (end diastole) to 1 (end systole), λ = 1 + c · longitudinal strain, and v = 1 − c · ejection
fraction, the tissue at (ρ, θ, w) moves to

    w' = λ w + (1 − λ) H        the apex at H stays, the base comes down
    r² = ρ² / λ + b             b = m (g − 1/λ) ρ_endo²(w)
    θ' = θ + twist(w)

Because b does not depend on ρ, r dr dw' = ρ dρ dw: muscle keeps its volume at every point, exactly, whatever b is.
Where m = 1 the inner surface ρ_endo moves to √g ρ_endo, so that the cavity keeps the share λ g of its volume, and
g = v / λ meets the ejection fraction. In an infarct m is small: there the wall neither thickens nor draws in, and g is
made smaller elsewhere until the whole meets it again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.simulation.canvas import Canvas
from cmr_course.simulation.motion import STRONGEST, Moments, smoothstep
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.subject import Draw, Draws, Physiology, Subject
from cmr_course.simulation.texture import Grain
from cmr_course.validate import require

DECAY = 38.0
"""Beyond the heart its motion dies out over this many mm."""
GROOVE = 0.22
"""Width, in cosines of the angle, of the fat that fills the grooves between the ventricles."""
ROOF = 52.0
"""The base's motion dies out over this many mm above the mitral plane, in the atria."""
WIDEST = 0.25
"""Depth of the largest cross-section over the cavity's length."""
TRICUSPID = 3.0
"""Depth of the right ventricle's base, mm."""


@dataclass(frozen=True)
class Infarct:
    """A region that hardly moves: its middle (angle from the septum, depth in mm), half widths, share of motion that
    is left in the middle, and share of the wall, from within, that is scar.
    """

    angle: float
    half_angle: float
    depth: float
    half_depth: float
    residual: float
    reach: float

    def motion(self, cos: Tensor, sin: Tensor, w: Tensor) -> Tensor:
        """The m of the module's motion: 1 outside, `residual` in the middle."""
        facing = cos * math.cos(self.angle) + sin * math.sin(self.angle)
        around = smoothstep((facing - math.cos(1.35 * self.half_angle)) / (1 - math.cos(self.half_angle)))
        along = 1 - smoothstep(((w - self.depth).abs() - 0.6 * self.half_depth) / (0.8 * self.half_depth))
        return 1 - (1 - self.residual) * around * along


@dataclass(frozen=True)
class Outline:
    """What depends on the angle only: outline s, right-ventricular depth and wall, fat; mm in units of s."""

    scale: Tensor
    depth: Tensor
    wall: Tensor
    fat: Tensor


@dataclass(frozen=True)
class Contours:
    """Surfaces over s, mm, end-diastolic (`*0`) and now: squares of the left ventricle's inner and outer radius, radii
    of the right ventricle's inner and outer surface and of the pericardial fat. `slope` and `slope0`: half the rate
    at which endo and epi change with depth now, so that a difference of squares becomes a distance.
    """

    endo0: Tensor
    epi0: Tensor
    endo: Tensor
    epi: Tensor
    right0: Tensor
    right: Tensor
    outer0: Tensor
    outer: Tensor
    hull: Tensor
    endo_slope: Tensor
    epi_slope: Tensor


@dataclass(frozen=True)
class Moved:
    """Points of a beating heart: end-diastolic place (uvw, ...) in the pose's frame, mm; radius now over s, outline
    and contours in its direction.
    """

    place: Tensor
    r: Tensor
    outline: Outline
    at: Contours

    def cut(self, rows: slice, columns: slice) -> Moved:
        """Only these rows and columns."""

        def part(values: Tensor) -> Tensor:
            return values[..., rows, columns].contiguous()  # computing with views is slower

        outline = Outline(*(part(value) for value in vars(self.outline).values()))
        at = Contours(*(part(value) for value in vars(self.at).values()))
        return Moved(part(self.place), part(self.r), outline, at)


@dataclass(frozen=True)
class Heart:
    """End-diastolic shape and the size of its motion; mm and radians, angles from the septum towards `pose.side`.

    length: of the cavity from mitral plane to apex. R_endo, R_epi: largest radii of its surfaces. tip: thickness of
    the wall at the apex. right_centre, right_radius, right_stretch: the ellipse (half axis radius towards the septum,
    and radius · stretch across) whose part outside the left ventricle is the right one, where the left one is widest;
    right_skew tilts it. right_end: depth where the right ventricle ends.
    shape: (amplitude, phase) of the second and third harmonic of the outline. insertion: angle of the grooves.
    fat: thickness everywhere, at most towards a direction, in the grooves; that direction.
    papillaries: (angle, position, half length, half width), over R_endo. trabeculae: height over R_endo.
    twist: of base and apex at end systole. travel: of the whole heart at end systole, mm, pose frame.
    squeeze: thickness of the right ventricle at end systole over that at end diastole.
    swirl: where in the beat the blood's pattern starts.
    """

    pose: Pose
    physiology: Physiology
    length: float
    R_endo: float
    R_epi: float
    tip: float
    right_centre: float
    right_radius: float
    right_stretch: float
    right_wall: float
    right_skew: float
    right_end: float
    shape: tuple[tuple[float, float], tuple[float, float]]
    insertion: float
    fat: tuple[float, float, float, float]
    papillaries: tuple[tuple[float, float, float, float], ...]
    trabeculae: float
    twist: tuple[float, float]
    travel: tuple[float, float, float]
    squeeze: float
    swirl: float
    infarct: Infarct | None
    moving: float

    @classmethod
    def of(cls, subject: Subject, pose: Pose) -> Heart:
        """The heart of `subject`."""
        draw, physiology = Draws(subject, "heart").between, subject.physiology()
        slender = draw(3.3, 3.75) * (0.86 if subject.condition == "dilated" else 1.0)
        R_endo = _radius(physiology.end_diastolic_volume, slender)
        R_epi, length = R_endo + physiology.wall_thickness, slender * R_endo
        tip = max(4.0, draw(0.6, 0.8) * physiology.wall_thickness)
        size = min(R_epi, 34.0)  # the right ventricle does not grow with a dilated or thickened left one
        reach, insertion = R_epi + size * draw(0.68, 0.92), math.radians(draw(74, 90))
        # The ellipse through the far point of the right ventricle and through both insertions on the left one.
        along, across, stretch = R_epi * math.cos(insertion), R_epi * math.sin(insertion), draw(1.2, 1.45)
        right_centre = (reach**2 - along**2 - (across / stretch) ** 2) / (2 * (reach - along))
        papillaries = _papillaries(draw)
        heart = cls(
            pose=pose,
            physiology=physiology,
            length=length,
            R_endo=R_endo,
            R_epi=R_epi,
            tip=tip,
            right_centre=right_centre,
            right_radius=reach - right_centre,
            right_stretch=stretch,
            right_wall=draw(3.1, 3.9),
            right_skew=draw(-0.35, 0.15),
            right_end=draw(0.8, 0.92) * length,
            shape=((draw(0.02, 0.09), draw(0, math.tau)), (draw(0.0, 0.03), draw(0, math.tau))),
            insertion=insertion,
            fat=(draw(0.3, 0.9), draw(2.0, 6.0), draw(2.0, 5.0), draw(-0.9, 0.3)),
            papillaries=papillaries,
            trabeculae=draw(0.13, 0.2),
            twist=(math.radians(draw(-5, -2)), math.radians(draw(6, 12))),
            travel=(draw(-1.5, 0.5), draw(-1.0, 1.0), draw(-1.0, 0.5)),
            squeeze=draw(0.55, 0.7),
            swirl=draw(0, math.tau),
            infarct=None,
            moving=1.0,
        )
        return heart if subject.condition != "infarcted" else heart._infarcted(subject)

    def _infarcted(self, subject: Subject) -> Heart:
        """The same heart with a segment that hardly moves, and what the rest must do to meet the volumes."""
        draw = Draws(subject, "infarct").between
        infarct = Infarct(
            angle=draw(-math.pi, math.pi),
            half_angle=math.radians(draw(28, 48)),
            depth=self.length * draw(0.4, 0.75),
            half_depth=self.length * draw(0.25, 0.4),
            residual=draw(0.0, 0.15),
            reach=draw(0.5, 1.1),
        )
        angle = torch.arange(720, dtype=torch.float64)[:, None] * (math.tau / 720)
        w = (torch.arange(512, dtype=torch.float64) + 0.5) * (self.length / 512)
        weight = self.scale(angle.cos(), angle.sin()).square() * self.squares(w)[0]
        moving = (infarct.motion(angle.cos(), angle.sin(), w) * weight).sum() / weight.sum()
        asked, most = self.physiology.ejection_fraction, 0.97 * float(moving)
        moves = f"only {float(moving):.2f} of this infarcted ventricle moves"
        if subject.rhythm != "regular":  # its strongest beats must still leave some blood
            most, moves = most / STRONGEST, f"{moves}, and some of its {subject.rhythm} beats are stronger"
        require(asked < most, f"ejection_fraction: got {asked:.2f}, but {moves}: want less than {most:.2f}")
        return replace(self, infarct=infarct, moving=float(moving))

    @property
    def end(self) -> float:
        """Depth of the outer surface's apex, mm."""
        return self.length + self.tip

    def scale(self, cos: Float[Tensor, "*shape"], sin: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Outline s in the directions (cos, sin): s² = 1 + second and third harmonic."""
        (a2, p2), (a3, p3) = self.shape
        cos2, sin2 = cos.square() - sin.square(), 2 * cos * sin
        cos3, sin3 = cos2 * cos - sin2 * sin, sin2 * cos + cos2 * sin
        second = (a2 * math.cos(p2)) * cos2 + (a2 * math.sin(p2)) * sin2
        return (1 + second + (a3 * math.cos(p3)) * cos3 + (a3 * math.sin(p3)) * sin3).sqrt()

    def outline(self, cos: Float[Tensor, "*shape"], sin: Float[Tensor, "*shape"]) -> Outline:
        """Shape in the directions (cos, sin), where the left ventricle is widest."""
        # Where the ray meets the ellipse of half axes a along and b across: A t² − 2 B t − C = 0.
        a, b = self.right_radius, self.right_radius * self.right_stretch
        A, B = (cos / a).square() + (sin / b).square(), cos * (self.right_centre / a**2)
        root = (B.square() + A * (1 - (self.right_centre / a) ** 2)).clamp(min=0).sqrt()
        ray = (B + root) / A
        depth = (ray - self.R_epi).clamp(min=0) * (1 + self.right_skew * sin)
        # Thickness counts across the wall, which leans against the ray where the ellipse does (d ray/dθ over ray). It
        # runs a little beyond the cavity on to the left ventricle, so that the cavity's tip is covered too.
        turn = sin * (ray * cos * (1 / b**2 - 1 / a**2) + self.right_centre / a**2) / root.clamp(min=1e-4)
        leaning = (1 + turn.square()).sqrt().clamp(max=3)
        wall = self.right_wall * leaning * torch.sigmoid((ray - self.R_epi + 6.5) / 0.8)
        least, most, groove, direction = self.fat
        facing = (1 + cos * math.cos(direction) + sin * math.sin(direction)) / 2
        gap = (cos - math.cos(self.insertion)) / GROOVE
        fat = least + most * facing.square().square() + groove * torch.exp(-gap.square())
        return Outline(self.scale(cos, sin), depth, wall, fat)

    def squares(self, w: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """End-diastolic ρ² of the inner and outer surface at depth w, below zero beyond their apices: two ellipsoids of
        one centre.
        """
        widest = WIDEST * self.length
        inner = self.R_endo**2 * (1 - ((w - widest) / (self.length - widest)).square())
        outer = self.R_epi**2 * (1 - ((w - widest) / (self.end - widest)).square())
        return inner, outer

    def stretch(self, contraction: Tensor) -> tuple[Tensor, Tensor]:
        """(λ, g − 1/λ) of the module's motion at each contraction."""
        lam = 1 + self.physiology.longitudinal_strain * contraction
        return lam, -self.physiology.ejection_fraction * contraction / (lam * self.moving)

    def contours(self, outline: Outline, w: Tensor, contraction: Tensor, motion: Tensor | float = 1.0) -> Contours:
        """Where the surfaces of the tissue from depth w are at `contraction`. motion: m of the module's motion."""
        lam, loss = self.stretch(contraction)
        endo0, epi0, endo, epi = self._left(w, contraction, motion)
        right0, right = self._right(outline.depth, w, contraction, epi0, epi)
        wall = outline.wall * smoothstep((self.right_end + 10 - w) / 8)
        outer0 = right0 + wall
        outer = ((outer0.square() - right0.square()) / lam + right.square()).sqrt()
        groove = 4 * torch.exp(-((w + 2) / 9).square())
        widest = WIDEST * self.length
        down = (w - widest) / lam
        endo_slope = down * ((self.R_endo / (self.length - widest)) ** 2) * (1 / lam + loss)
        epi_slope = down * ((self.R_epi / (self.end - widest)) ** 2)
        return Contours(
            endo0, epi0, endo, epi, right0, right, outer0, outer, outer + outline.fat + groove, endo_slope, epi_slope
        )

    def _left(self, w: Tensor, contraction: Tensor, motion: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The left ventricle's part of :meth:`contours`: squares of endo and epi, end-diastolic and now."""
        lam, loss = self.stretch(contraction)
        endo0, epi0 = self.squares(w)
        b = (loss * motion) * endo0
        return endo0, epi0, endo0 / lam + b, epi0 / lam + b.clamp(max=0)

    def _right(self, depth: Tensor, w: Tensor, contraction: Tensor, epi0: Tensor, epi: Tensor) -> tuple[Tensor, Tensor]:
        """The right cavity's part of :meth:`contours`: its radius, end-diastolic and now. depth: of the outline."""
        rho, radius = epi0.clamp(min=0).sqrt(), epi.clamp(min=0).sqrt()
        # As deep as the left ventricle is wide at this depth, and gone at its own apex.
        ends = smoothstep((self.right_end - w) / (0.45 * self.length)) * (1.18 - 0.3 * w / self.length)
        depth = depth * (rho / self.R_epi) * ends
        return rho + depth, radius + depth * self.thinning(contraction)

    def thinning(self, contraction: Float[Tensor, "*frame"]) -> Float[Tensor, "*frame"]:
        """Thickness of the right-ventricular cavity over that at end diastole."""
        return 1 - (1 - self.squeeze) * contraction

    def material(
        self,
        points: Float[Tensor, "uvw=3 *shape"],
        contraction: Float[Tensor, "frame 1 1"],
        mobility: Float[Tensor, "rows columns"],
    ) -> Moved:
        """Where the tissue now at `points` was at end diastole, both in the pose's frame.

        mobility: 1 where tissue around the heart gives way to it, 0 where it does not (the chest wall).
        """
        u, v, w = points.unbind(0)
        # A ball about the middle of both ventricles travels as a whole.
        right = self.right_centre + self.right_radius + self.right_wall
        middle, radius = 0.5 * (right - self.R_epi), max(0.5 * (right + self.R_epi), 0.6 * self.end)
        far = ((u - middle).square() + v.square() + (w - 0.4 * self.end).square()).sqrt()
        drawn = (1 - smoothstep((far - radius) / 24)) * (mobility * contraction)
        u, v, w = u - self.travel[0] * drawn, v - self.travel[1] * drawn, w - self.travel[2] * drawn
        u = torch.where(u.abs() + v.abs() < 1e-3, 1e-3, u)  # the axis has no direction
        distance = (u.square() + v.square()).sqrt()
        cos, sin = u / distance, v / distance
        outline = self.outline(cos, sin)
        r = distance / outline.scale
        lam, loss = self.stretch(contraction)
        base = (1 - lam) * self.end
        fall = base * torch.minimum((self.end - w) / (self.end - base), (w + ROOF) / (ROOF + base)).clamp(min=0)
        motion = 1.0 if self.infarct is None else self.infarct.motion(cos, sin, w - fall)
        at = self.contours(outline, w - fall, contraction, motion)
        fading = (1 - smoothstep((r - at.hull) * outline.scale / DECAY)) * mobility
        depth = w - fall * fading
        rho = self._radius(r, lam, (loss * motion * at.endo0).clamp(max=0), at, fading, self.thinning(contraction))
        ends = torch.minimum(self.end + DECAY - w, w + ROOF).mul_(1 / DECAY).clamp_(0, 1)
        share = (1 - smoothstep((r - at.epi.clamp(min=0).sqrt()) / 16)) * ends
        cos, sin = self._untwisted(cos, sin, depth, contraction, share)
        size = rho * self.scale(cos, sin)
        return Moved(torch.stack([size * cos, size * sin, depth]), r, outline, at)

    def _radius(self, r: Tensor, lam: Tensor, b: Tensor, at: Contours, fading: Tensor, thinning: Tensor) -> Tensor:
        """End-diastolic radius of the tissue now at radius r, from the inside out."""
        square = r.square()
        blood = r * (at.endo0.clamp(min=0) / at.endo.clamp(min=1e-6)).sqrt()
        rho = torch.where(square < at.endo, blood, (lam * (square - b)).clamp(min=0).sqrt())
        right = at.epi0.clamp(min=0).sqrt() + (r - at.epi.clamp(min=0).sqrt()) / thinning
        rho = torch.where(square > at.epi, right, rho)
        wall = (lam * (square - at.right.square()) + at.right0.square()).clamp(min=0).sqrt()
        rho = torch.where(r > at.right, wall, rho)
        return torch.where(r > at.outer, r + (at.outer0 - at.outer) * fading, rho)

    def _untwisted(self, cos: Tensor, sin: Tensor, w: Tensor, contraction: Tensor, share: Tensor) -> tuple[Tensor, ...]:
        """The direction before the twist, which grows evenly from base to apex; of it there is a `share`."""
        base, apex = self.twist
        angle = (base + (apex - base) * (w / self.length).clamp(-0.3, 1.1)) * contraction * share
        length = (1 + angle.square()).rsqrt()
        return (cos + angle * sin) * length, (sin - angle * cos) * length

    def paint_fat(self, canvas: Canvas, moved: Moved, grain: Grain) -> None:
        """Paint the fat around the ventricles and the pericardium; atria and vessels come on top of it."""
        at, w = moved.at, moved.place[2]
        distance = (at.hull - moved.r) * moved.outline.scale * self._slant(moved)
        ends = torch.minimum(w + 9, self.end + 2.5 - w)
        fat = 0.85 + 0.14 * grain.blotch + 0.10 * grain.fine
        canvas.paint("fat", torch.minimum(distance, ends), "pericardial_fat", gain=fat)
        # The pericardium is dark.
        canvas.paint("bone", torch.minimum(0.7 - (distance - 1.2).abs(), ends - 1), None, strength=0.6)

    def _slant(self, moved: Moved) -> Tensor:
        """What makes a distance of a difference of radii: less than one where the surface leans towards the axis."""
        square = moved.r.square()
        return moved.r / (square + moved.at.epi_slope.square() + 1e-3).sqrt()

    def paint(self, canvas: Canvas, moved: Moved, grain: Grain, blood: Tensor, moments: Moments) -> None:
        """Paint both ventricles. blood: gain of its signal at each point."""
        r, at, scale, w = moved.r, moved.at, moved.outline.scale, moved.place[2]
        muscle = 1 + 0.10 * grain.blotch + 0.07 * grain.fine
        lam = (1 + self.physiology.longitudinal_strain * moments.contraction).float()[:, None, None]
        below = lam * w
        square = r.square()
        endo = 0.5 * scale * (at.endo - square) / (square + at.endo_slope.square() + 1e-3).sqrt()
        slant = self._slant(moved)
        epi = 0.5 * scale * (at.epi - square) * slant / r
        scale = scale * slant
        open_base = below - TRICUSPID
        apex = self.right_end + self.right_wall - w
        outside = torch.minimum((at.outer - r) * scale, apex)
        canvas.paint("myocardium", torch.minimum(outside, open_base), "rv_myocardium", gain=muscle)
        inside = torch.minimum(torch.minimum((at.right - r) * scale, -epi), apex - self.right_wall)
        canvas.paint("venous_blood", torch.minimum(inside, open_base + 2), "rv_blood", gain=blood)
        # Trabeculae of the right ventricle reach in from its free wall.
        ridge = torch.minimum(inside, 5.0 * (grain.fine + 0.4 * grain.blotch) - (at.right - r))
        canvas.paint("myocardium", torch.minimum(ridge, open_base - 6), None, strength=0.7, gain=muscle)
        canvas.paint("myocardium", torch.minimum(epi, below), "lv_myocardium", gain=muscle)
        if self.infarct is not None:
            scar = torch.minimum(self._scar(self.infarct, moved), torch.minimum(epi, below))
            canvas.paint("scar", scar, None, gain=muscle)
        canvas.paint("blood", torch.minimum(endo, below + 1), "lv_blood", gain=blood)
        self._paint_valve(canvas, moved, muscle, endo, below, moments)
        self._paint_cavity(canvas, moved, muscle, grain, endo, below)

    def _paint_valve(
        self, canvas: Canvas, moved: Moved, muscle: Tensor, endo: Tensor, below: Tensor, moments: Moments
    ) -> None:
        """Mitral leaflets: a flat sheet while shut, a funnel while the ventricle fills."""
        if float(below.min()) > 25 or float(below.max()) < -5:
            return
        closed = moments.closed.float()[:, None, None]
        sheet = torch.minimum(0.9 - (below - 2.5).abs(), endo + 1)
        canvas.paint("myocardium", sheet, None, strength=0.55 * closed, gain=muscle)
        funnel = torch.minimum(0.8 - (moved.r - 0.55 * self.R_endo).abs(), 8 - (below - 9).abs())
        canvas.paint("myocardium", torch.minimum(funnel, endo), None, strength=0.4 * (1 - closed), gain=muscle)

    def _paint_cavity(
        self, canvas: Canvas, moved: Moved, muscle: Tensor, grain: Grain, endo: Tensor, below: Tensor
    ) -> None:
        """Papillary muscles and trabeculae: they ride on the cavity's motion but keep their own size."""
        inside = torch.minimum(endo, below - 8)
        u, v, w = moved.place.unbind(0)
        shrink = (moved.at.endo.clamp(min=0) / moved.at.endo0.clamp(min=1e-6)).clamp(max=2).sqrt()
        level = (moved.at.endo0.clamp(min=0) / self.R_endo**2).sqrt()
        for angle, position, long, short in self.papillaries:
            cos, sin = math.cos(angle), math.sin(angle)
            height = ((w / self.length - 0.52) / 0.3).square()
            outward = (u * cos + v * sin - (position * self.R_endo) * level) * shrink / (long * self.R_endo)
            across = (v * cos - u * sin) * shrink / (short * self.R_endo)
            gauge = (outward.square() + across.square() + height).sqrt() - 0.22 * grain.fine
            body = torch.minimum(inside, (1 - gauge) * short * self.R_endo)
            canvas.paint("myocardium", body, "papillary", gain=muscle)
        deep = 1 + 0.5 * smoothstep((w / self.length - 0.5) / 0.5)  # more of them towards the apex
        size = (self.trabeculae * self.R_endo) * deep
        # Those too fine to be seen one by one make the blood at the border greyer.
        fine = torch.minimum(inside, 1.6 * (0.6 * size - endo))
        canvas.paint("myocardium", fine, None, strength=0.2, gain=muscle)
        coarse = size * (0.1 + 0.7 * grain.fine + 0.45 * grain.streaks)
        canvas.paint("myocardium", torch.minimum(inside, coarse - endo), "papillary", strength=0.8, gain=muscle)

    def _scar(self, infarct: Infarct, moved: Moved) -> Tensor:
        """About the distance to the border of the infarct's scar, mm, positive inside: it spreads from the inner
        surface outwards, since there the supply fails first.
        """
        u, v, w = moved.place.unbind(0)
        distance = (u.square() + v.square()).sqrt().clamp(min=1e-3)
        cos, sin = u / distance, v / distance
        wall = self.physiology.wall_thickness
        rho = distance / self.scale(cos, sin)
        deep = rho - moved.at.endo0.clamp(min=0).sqrt()
        return torch.minimum(
            infarct.half_angle * self.R_epi * (0.5 - infarct.motion(cos, sin, w)), infarct.reach * wall - deep
        )

    def blood(self, grain: Grain, phase: Float[Tensor, "*frame"]) -> Float[Tensor, "*shape"]:
        """Gain of flowing blood: one pattern turns into another and back, once in each beat."""
        angle = math.tau * phase + self.swirl
        return 1 + 0.05 * (angle.cos() * grain.branches + angle.sin() * grain.blotch)

    def surface(self, n: int = 24, above: Sequence[float] = ()) -> Float[Tensor, "xyz=3 points"]:
        """Points on the outside of the ventricles at end diastole, fat included: n rings of n from base to apex, after
        those at the depths `above`; patient coordinates.
        """
        angle = torch.arange(n, dtype=torch.float32)[:, None] * (math.tau / n)
        rings = torch.linspace(-0.05, 0.995, n, dtype=torch.float32) * self.end
        w = torch.cat([torch.tensor(above, dtype=torch.float32), rings])
        cos, sin = angle.cos(), angle.sin()
        outline = self.outline(cos, sin)
        hull = self.contours(outline, w, torch.zeros((), dtype=torch.float32)).hull * outline.scale
        local = torch.stack([hull * cos, hull * sin, w.expand_as(hull)])
        return self.pose.patient(local.mT.flatten(1))

    def stirred(self, n: int = 24) -> tuple[Float[Tensor, "xyz=3 places"], Float[Tensor, "xyz=3 points"]]:
        """Places no farther than :data:`DECAY` from all that the ventricles move; and those of them that are the
        :meth:`surface`.
        """
        # Upwards the motion ends at the roof, or where the ellipsoid that goes on above the base does.
        top = DECAY - max(ROOF, self.end - 2 * WIDEST * self.length)
        places = self.surface(n, (top, 0.5 * top))
        return places, places[:, 2 * n :]

    def volumes(self, contraction: Float[Tensor, " frame"]) -> dict[str, Float[Tensor, " frame"]]:
        """Of the cavities and of the left ventricle's muscle, ml: closed forms, for the right one a sum."""
        physiology, c = self.physiology, contraction.double()
        left = physiology.end_diastolic_volume * (1 - physiology.ejection_fraction * c)
        step = self.end / 400
        w = (torch.arange(400, dtype=torch.float64, device=c.device) + 0.5) * step
        inner, outer = self.squares(w)
        muscle = math.pi * (outer - inner.clamp(min=0)).sum() * step / 1000
        lam = 1 + physiology.longitudinal_strain * c
        right = self._right_area(w[2::5], c[:, None]).sum(-1) * 5 * step / 1000 * lam
        return {"lv_ml": left, "lv_myocardium_ml": muscle.expand_as(left), "rv_ml": right}

    def _right_area(self, w: Tensor, contraction: Tensor) -> Tensor:
        """Cross-section of the right cavity's tissue from depth w, mm², by a sum over 72 angles; broadcasts."""
        cos, sin, scale, depth = self._round.to(w)
        w, contraction = w[..., None], contraction[..., None]
        motion = 1.0 if self.infarct is None else self.infarct.motion(cos, sin, w)
        _, epi0, _, epi = self._left(w, contraction, motion)
        _, right = self._right(depth, w, contraction, epi0, epi)
        ring = (right.square() - epi.clamp(min=0)) * scale.square()
        return math.pi * ring.mean(-1).clamp(min=0) * (w[..., 0] > TRICUSPID)

    @cached_property
    def _round(self) -> Float[Tensor, "4 angle"]:
        """Cosine, sine, outline and right-ventricular depth in 72 directions, float64, on the CPU."""
        angle = torch.arange(72, dtype=torch.float64) * (math.tau / 72)
        outline = self.outline(angle.cos(), angle.sin())
        return torch.stack([angle.cos(), angle.sin(), outline.scale, outline.depth])

    def areas(self, depth: float, contraction: Float[Tensor, " frame"]) -> dict[str, Float[Tensor, " frame"]]:
        """What a short-axis plane `depth` mm below the end-diastolic mitral plane cuts, mm²: the plane stays, the
        tissue passes through it.
        """
        c = contraction.double()
        lam, _ = self.stretch(c)
        w = (depth - (1 - lam) * self.end) / lam
        angle = torch.arange(180, dtype=torch.float64, device=c.device) * (math.tau / 180)
        cos, sin = angle.cos(), angle.sin()
        motion = 1.0 if self.infarct is None else self.infarct.motion(cos, sin, w[:, None])
        _, _, endo, epi = self._left(w[:, None], c[:, None], motion)
        inside = ((w > 0) & (w < self.end)).double() * math.pi
        square, endo = self.scale(cos, sin).square(), endo.clamp(min=0)
        lv = inside * (endo * square).mean(-1)
        wall = inside * ((epi - endo) * square).mean(-1)
        return {"lv_area_mm2": lv, "lv_myocardium_area_mm2": wall, "rv_area_mm2": self._right_area(w, c)}

    def strain(self, contraction: Float[Tensor, " frame"]) -> dict[str, Float[Tensor, " frame"]]:
        """Engineering strain of the tissue from end diastole: endocardial circumferential, longitudinal, and radial
        (wall thickening where the ventricle is widest); outside an infarct.
        """
        c = contraction.double()
        lam, loss = self.stretch(c)
        ratio = 1 / lam + loss
        endo = self.R_endo**2 * ratio
        epi = self.R_epi**2 / lam + self.R_endo**2 * loss
        thickness = (epi.sqrt() - endo.sqrt()) / (self.R_epi - self.R_endo)
        return {"circumferential": ratio.sqrt() - 1, "longitudinal": lam - 1, "radial": thickness - 1}


def _radius(volume: float, slender: float) -> float:
    """Largest inner radius, mm, of a cavity of `volume` ml that is `slender` times as long.

    V = π R² (L − w0) (1 + k − (1 + k³)/3), k = w0 / (L − w0): an ellipsoid truncated w0 above its largest section.
    """
    k = WIDEST / (1 - WIDEST)
    share = math.pi * slender * (1 - WIDEST) * (1 + k - (1 + k**3) / 3)
    return (1000 * volume / share) ** (1 / 3)


def _papillaries(draw: Draw) -> tuple[tuple[float, float, float, float], ...]:
    """Angle, position, half length and half width of both papillary muscles; see :class:`Heart`."""
    places = [(draw(-135, -108), draw(0.68, 0.78)), (draw(80, 112), draw(0.68, 0.78))]
    sizes = [(draw(0.17, 0.23), draw(0.13, 0.19)) for _ in places]
    return tuple((math.radians(angle), out, *size) for (angle, out), size in zip(places, sizes, strict=True))
