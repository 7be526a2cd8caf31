"""How the heart lies in the chest: the frame in which its anatomy is written."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.plane import Vector, along, cross, unit
from cmr_course.simulation.subject import Draws, Subject


@dataclass(frozen=True)
class Pose:
    """The left ventricle's place at end diastole, patient coordinates.

    base: middle of the mitral plane. axis: from base to apex. across: horizontal, perpendicular to it, towards the
    left and the back. up: perpendicular to both, towards the head. septum: direction of the right ventricle from the
    axis; `side` = axis × septum.
    """

    base: Vector
    axis: Vector
    septum: Vector

    @classmethod
    def of(cls, subject: Subject) -> Pose:
        """The pose of `subject`'s heart: the axis points to the left, to the front and down."""
        draw = Draws(subject, "pose").between
        azimuth, fall = math.radians(draw(33, 47)), math.radians(draw(27, 42))
        axis = (math.cos(fall) * math.cos(azimuth), -math.cos(fall) * math.sin(azimuth), -math.sin(fall))
        pose = cls((draw(20, 32), draw(6, 16), draw(12, 22)), axis, (0.0, 0.0, 1.0))
        turn = math.radians(draw(-8, 26))
        septum = along((0.0, 0.0, 0.0), pose.across, -math.cos(turn))
        return cls(pose.base, axis, unit(along(septum, pose.up, math.sin(turn))))

    @property
    def across(self) -> Vector:
        """Horizontal and perpendicular to the axis, towards the left and the back."""
        return unit((-self.axis[1], self.axis[0], 0.0))

    @property
    def up(self) -> Vector:
        """Perpendicular to the axis and to `across`, towards the head."""
        up = cross(self.axis, self.across)
        return up if up[2] > 0 else (-up[0], -up[1], -up[2])

    @property
    def side(self) -> Vector:
        """The direction axis × septum."""
        return cross(self.axis, self.septum)

    def place(self, depth: float, *offsets: tuple[Vector, float]) -> Vector:
        """The point `depth` mm from the base along the axis, shifted by (direction, mm) pairs."""
        point = along(self.base, self.axis, depth)
        for direction, distance in offsets:
            point = along(point, direction, distance)
        return point

    def matrix(self, device: torch.device) -> Float[Tensor, "3 3"]:
        """Rows: septum, side, axis."""
        return torch.tensor([self.septum, self.side, self.axis], dtype=torch.float32, device=device)

    def local(self, points: Float[Tensor, "xyz=3 *shape"]) -> Float[Tensor, "uvw=3 *shape"]:
        """Coordinates along septum, side and axis of `points`, in mm from the base."""
        base = torch.tensor(self.base, dtype=points.dtype, device=points.device)
        moved = points - base.reshape(3, *[1] * (points.ndim - 1))
        return torch.einsum("ij,j...->i...", self.matrix(points.device), moved)

    def patient(self, local: Float[Tensor, "uvw=3 *shape"]) -> Float[Tensor, "xyz=3 *shape"]:
        """The inverse of :meth:`local`."""
        base = torch.tensor(self.base, dtype=local.dtype, device=local.device)
        turned = torch.einsum("ji,j...->i...", self.matrix(local.device), local)
        return turned + base.reshape(3, *[1] * (local.ndim - 1))
