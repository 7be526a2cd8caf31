"""Where a slice lies in the patient: the plane that views choose, the simulator paints and coils look at.

Patient coordinates, in mm: x to the patient's left, y to the back, z to the head (DICOM's LPS). The origin lies in the
middle of the chest, at the height of the heart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.validate import is_number, require, require_whole, say

Vector = tuple[float, float, float]
"""A place or a direction in patient coordinates."""


@dataclass(frozen=True)
class Plane:
    """An oblique slice. centre: place of the pixel with index n // 2. right, down: unit vectors along its columns and
    rows (along kx and ky), perpendicular to each other. thickness: of the slice, mm.
    """

    centre: Vector
    right: Vector
    down: Vector
    thickness: float = 8.0

    def __post_init__(self) -> None:
        for name in ("centre", "right", "down"):
            value = getattr(self, name)
            good = isinstance(value, tuple) and len(value) == 3 and all(map(is_number, value))
            require(good, f"{name}: got {say(value)}, want three numbers (x, y, z)")
        for name in ("right", "down"):
            length = math.sqrt(dot(getattr(self, name), getattr(self, name)))
            require(abs(length - 1) < 1e-6, f"{name}: got a length of {length:.6g}, want a unit vector")
        require(abs(dot(self.right, self.down)) < 1e-6, "down: got a direction not perpendicular to right")
        good = is_number(self.thickness) and 0 <= self.thickness <= 50
        require(good, f"thickness: got {say(self.thickness)}, want 0 to 50 mm")

    @property
    def normal(self) -> Vector:
        """Unit vector right × down."""
        return cross(self.right, self.down)

    def moved(self, distance: float) -> Plane:
        """The parallel plane `distance` mm along the normal."""
        return replace(self, centre=along(self.centre, self.normal, distance))

    def offsets(
        self,
        matrix: tuple[int, int],
        field_of_view: tuple[float, float],
        device: torch.device | str = "cpu",
    ) -> tuple[Float[Tensor, " y"], Float[Tensor, " x"]]:
        """Distances of the pixels from the centre along `down` and along `right`, mm, zero at index n // 2."""
        sides = []
        for n, length in zip(matrix, field_of_view, strict=True):
            require_whole("matrix", n)
            index = torch.arange(n, dtype=torch.float32, device=device) - n // 2
            sides.append(index * (length / n))
        return sides[0], sides[1]

    def points(
        self,
        matrix: tuple[int, int],
        field_of_view: tuple[float, float],
        device: torch.device | str = "cpu",
    ) -> Float[Tensor, "xyz=3 y x"]:
        """Patient coordinates of the pixels' centres."""
        y, x = self.offsets(matrix, field_of_view, device)
        vector = [torch.tensor(v, dtype=torch.float32, device=device) for v in (self.centre, self.down, self.right)]
        centre, down, right = (v[:, None, None] for v in vector)
        return centre + down * y[:, None] + right * x


def dot(a: Vector, b: Vector) -> float:
    """The scalar product a · b."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """The vector product a × b."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def along(start: Vector, direction: Vector, distance: float) -> Vector:
    """The place start + distance · direction."""
    x, y, z = (s + distance * d for s, d in zip(start, direction, strict=True))
    return x, y, z


def unit(vector: Vector) -> Vector:
    """`vector` scaled to length one."""
    length = math.sqrt(dot(vector, vector))
    require(length > 0, "vector: got zeros, want a direction")
    return vector[0] / length, vector[1] / length, vector[2] / length
