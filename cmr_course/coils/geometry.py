"""Coil maps from physics: loops of wire around a chest, and the Biot-Savart law.

Frame: x runs along the columns of the image (to the right), y along its rows (downwards, from the front of the body
to its back), z out of the slice, and B0 along z. The origin is the pixel with index n // 2. Lengths are in mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.validate import (
    is_number,
    is_pair,
    is_whole,
    require,
    require_axes,
    require_positive,
    require_whole,
    say,
)

PERMEABILITY = 100.0
"""μ0 / 4π in µT · mm / A."""


@dataclass(frozen=True)
class ChestArray:
    """An anterior and a posterior row of round loops on an ellipse around the chest.

    body_mm: (front to back, left to right) diameters of the body in the slice: a short-axis plane cuts the chest
    obliquely, so it is deeper than an axial one. Loops and their wires stay outside this ellipse.
    standoff_mm: distance of the loops' centres from the skin.
    radius_mm: of each loop. conductor_mm: thickness of the conductor and its housing, which keeps the field finite
    and smooth beside it.
    anterior_share: share of the loops that lie in front, rounded to the nearest whole number.
    anterior_degrees, posterior_degrees: angle of the ellipse that each row spans, from centre to centre of its
    outermost loops.
    stagger_mm: neighbours are shifted along z by plus and minus this length, as in the two rows of a real array.
    """

    body_mm: tuple[float, float] = (300.0, 360.0)
    standoff_mm: float = 30.0
    radius_mm: float = 50.0
    conductor_mm: float = 20.0
    anterior_share: float = 0.5
    anterior_degrees: float = 170.0
    posterior_degrees: float = 130.0
    stagger_mm: float = 20.0

    def __post_init__(self) -> None:
        for name in ("standoff_mm", "radius_mm", "conductor_mm", "anterior_degrees", "posterior_degrees"):
            require_positive(name, getattr(self, name))
        good = is_pair(self.body_mm) and all(0 < length < math.inf for length in self.body_mm)
        require(good, f"body_mm: got {say(self.body_mm)}, want two lengths above zero")
        share, stagger = self.anterior_share, self.stagger_mm
        require(is_number(share) and 0 <= share <= 1, f"anterior_share: got {say(share)}, want 0 to 1")
        good = is_number(stagger) and abs(stagger) < math.inf
        require(good, f"stagger_mm: got {say(stagger)}, want a length")

    def loops(self, n_coils: int) -> tuple[Float[Tensor, "coil 3"], Float[Tensor, "coil 3"]]:
        """Centres (x, y, z) in mm and unit normals, which point into the body; anterior loops first."""
        require_whole("n_coils", n_coils)
        anterior = round(n_coils * self.anterior_share)
        rows = ((anterior, self.anterior_degrees, -90.0), (n_coils - anterior, self.posterior_degrees, 90.0))
        angles, heights = [], []
        for count, span, middle in rows:
            for index in range(count):
                along = index / (count - 1) - 0.5 if count > 1 else 0.0
                # Both rows run from left to right.
                angles.append(math.radians(middle - math.copysign(span, middle) * along))
                heights.append(self.stagger_mm * (-1) ** index)
        angle = torch.tensor(angles, dtype=torch.float64)
        half_y, half_x = (diameter / 2 + self.standoff_mm for diameter in self.body_mm)
        x, y = half_x * angle.cos(), half_y * angle.sin()
        normals = -torch.stack([x / half_x**2, y / half_y**2, torch.zeros_like(x)], -1)
        centres = torch.stack([x, y, torch.tensor(heights, dtype=torch.float64)], -1)
        return centres, normals / normals.norm(dim=-1, keepdim=True)


def loop_field(
    centre: Float[Tensor, " 3"],
    normal: Float[Tensor, " 3"],
    radius_mm: float,
    points: Float[Tensor, "*points 3"],
    *,
    conductor_mm: float = 0.0,
    segments: int = 96,
) -> Float[Tensor, "*points 3"]:
    """Magnetic field (Bx, By, Bz), in µT per ampere, of a round loop at `points` in mm.

    B = μ0/4π · Σ dl × r / (|r|² + a²)^(3/2) over short straight segments, with r from the middle of the segment to
    the point and a the thickness of the conductor, which keeps the field finite at the wire. The current turns
    right-handed about `normal`. For a point off the wire the error of the sum falls exponentially with `segments`.
    """
    require_positive("radius_mm", radius_mm)
    require_whole("segments", segments, 3)
    good = is_number(conductor_mm) and 0 <= conductor_mm < math.inf
    require(good, f"conductor_mm: got {say(conductor_mm)}, want a length from zero up")
    for name, tensor in (("centre", centre), ("normal", normal), ("points", points)):
        real = isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.shape[-1:] == (3,)
        require(real, f"{name}: got {say(tensor)}, want real (x, y, z) in a tensor")
    same = centre.dtype == normal.dtype == points.dtype
    require(same, f"points: got {points.dtype}, want the dtype of centre and normal, {normal.dtype}")
    require(bool(normal.any()), "normal: got zeros, want a direction")
    helper = torch.eye(3, dtype=normal.dtype, device=normal.device)[int(normal.abs().argmin())]
    first = torch.linalg.cross(normal, helper)
    first = first / first.norm()
    second = torch.linalg.cross(normal / normal.norm(), first)
    angle = 2 * math.pi * torch.arange(segments, dtype=normal.dtype, device=normal.device) / segments
    outward = angle.cos()[:, None] * first + angle.sin()[:, None] * second
    tangent = angle.cos()[:, None] * second - angle.sin()[:, None] * first
    wire = centre + radius_mm * outward
    step = 2 * math.pi * radius_mm / segments
    # dl × r = dl × point − dl × wire: with w = 1/|r|³, two matrix products instead of one vector for every
    # (point, segment) pair.
    flat = points.reshape(-1, 3)
    weight = (torch.cdist(flat, wire, compute_mode="donot_use_mm_for_euclid_dist") ** 2 + conductor_mm**2) ** -1.5
    moment = torch.linalg.cross(weight @ tangent, flat) - weight @ torch.linalg.cross(tangent, wire)
    return (PERMEABILITY * step * moment).reshape(points.shape)


def biot_savart(
    n_coils: int,
    shape: tuple[int, int],
    field_of_view_mm: tuple[float, float],
    *,
    layout: ChestArray | None = None,
    offset_mm: Sequence[float] = (0.0, 0.0, 0.0),
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str = "cpu",
) -> Complex[Tensor, "1 1 coil y x"]:
    """Receive sensitivities of `n_coils` loops around the chest, (1, 1, coil, y, x), in µT per ampere.

    The sensitivity is B1⁻ = (Bx − i·By) / 2 of the field that a unit current in the loop would make (reciprocity;
    Hoult 2000, doi:10.1002/1099-0534(2000)12:4<173::AID-CMR1>3.0.CO;2-Q). Quasi-static: no wavelength or body
    loading, which is a fair model up to about 3 T and no more than that. Not normalised, see :func:`normalise`.

    shape: (y, x) pixels; field_of_view_mm: (y, x); layout: the array, by default :class:`ChestArray`;
    offset_mm: (x, y, z) of the image centre from the centre of the chest.
    """
    pair = is_pair(shape) and all(is_whole(n) and n > 0 for n in shape)
    require(pair, f"shape: got {say(shape)}, want whole (y, x) above zero")
    require(is_pair(field_of_view_mm), f"field_of_view_mm: got {say(field_of_view_mm)}, want two lengths (y, x)")
    for length in field_of_view_mm:
        require_positive("field_of_view_mm", length)
    good = isinstance(offset_mm, Sequence) and len(offset_mm) == 3 and all(map(is_number, offset_mm))
    require(good, f"offset_mm: got {say(offset_mm)}, want three lengths (x, y, z)")
    require(isinstance(dtype, torch.dtype) and dtype.is_complex, f"dtype: got {say(dtype)}, want a complex one")
    array = ChestArray() if layout is None else layout
    require(isinstance(array, ChestArray), f"layout: got {say(layout)}, want a ChestArray")
    centres, normals = (part.to(device) for part in array.loops(n_coils))
    y, x = (
        (torch.arange(n, dtype=torch.float64, device=device) - n // 2) * (length / n) + shift
        for n, length, shift in zip(shape, field_of_view_mm, (offset_mm[1], offset_mm[0]), strict=True)
    )
    points = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.full(shape, float(offset_mm[2])).to(y)], -1)
    maps = []
    for centre, normal in zip(centres, normals, strict=True):
        field = loop_field(centre, normal, array.radius_mm, points, conductor_mm=array.conductor_mm)
        maps.append(torch.complex(field[..., 0], -field[..., 1]) / 2)
    sensitivities = torch.stack(maps)[None, None].to(dtype)
    require_axes("sensitivities", sensitivities, "batch frame coil y x")
    return sensitivities
