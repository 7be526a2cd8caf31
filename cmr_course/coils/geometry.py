"""Coil maps from physics: loops of wire around a chest, and the Biot-Savart law.

Frame: that of the patient (see ``cmr_course.plane``), in mm: x to the left, y to the back, z to the head and along B0.
Without a plane an image lies across the body: x runs along its columns (to the right), y along its rows (downwards),
and the origin is the pixel with index n // 2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.plane import Plane
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
AXIAL = Plane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
"""The plane across the middle of the body."""
COARSE_SEGMENTS = 24
"""Straight pieces of a loop that are enough 30 mm and more away from it (an error below 1e-4)."""
FEW = 2**20
"""Pairs of a point and a segment that are held in memory at a time, where one loop does not need more."""


@dataclass(frozen=True)
class ChestArray:
    """An anterior and a posterior row of round loops on an ellipse around the chest.

    body_mm: (front to back, left to right) diameters of the body, the same at every z. The default is for images
    without a plane: a short-axis plane cuts the chest obliquely, so it is deeper than an axial one (:meth:`in_body`).
    Loops and their wires stay outside this ellipse.
    standoff_mm: distance of the loops' centres from the skin.
    radius_mm: of each loop. conductor_mm: thickness of the conductor and its housing, which keeps the field finite
    and smooth beside it.
    anterior_share: share of the loops that lie in front, rounded to the nearest whole number.
    anterior_degrees, posterior_degrees: angle of the ellipse that each row spans, from centre to centre of its
    outermost loops.
    rows_mm: places along z of the rows of loops; neighbours on the ellipse lie in one row after the other.
    """

    body_mm: tuple[float, float] = (300.0, 360.0)
    standoff_mm: float = 30.0
    radius_mm: float = 50.0
    conductor_mm: float = 20.0
    anterior_share: float = 0.5
    anterior_degrees: float = 170.0
    posterior_degrees: float = 130.0
    rows_mm: tuple[float, ...] = (20.0, -20.0)

    def __post_init__(self) -> None:
        for name in ("standoff_mm", "radius_mm", "conductor_mm", "anterior_degrees", "posterior_degrees"):
            require_positive(name, getattr(self, name))
        good = is_pair(self.body_mm) and all(0 < length < math.inf for length in self.body_mm)
        require(good, f"body_mm: got {say(self.body_mm)}, want two lengths above zero")
        share, rows = self.anterior_share, self.rows_mm
        require(is_number(share) and 0 <= share <= 1, f"anterior_share: got {say(share)}, want 0 to 1")
        good = isinstance(rows, tuple) and len(rows) > 0 and all(is_number(z) and abs(z) < math.inf for z in rows)
        require(good, f"rows_mm: got {say(rows)}, want one place along z or more")

    def in_body(self, *rows_mm: float) -> ChestArray:
        """The same loops around a chest in patient coordinates, 250 mm deep and 360 mm wide, in these rows along z."""
        return replace(self, body_mm=(250.0, 360.0), rows_mm=rows_mm)

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
                heights.append(self.rows_mm[index % len(self.rows_mm)])
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
    field = _fields(centre[None], normal[None], radius_mm, points.reshape(-1, 3), conductor_mm, segments)
    return field[0].reshape(points.shape)


def _fields(
    centres: Float[Tensor, "coil 3"],
    normals: Float[Tensor, "coil 3"],
    radius: float,
    points: Float[Tensor, "points 3"],
    conductor: float,
    segments: int,
) -> Float[Tensor, "coil points 3"]:
    """The sum of :func:`loop_field` for each of several loops."""
    helper = torch.eye(3, dtype=normals.dtype, device=normals.device)[normals.abs().argmin(-1)]
    first = torch.linalg.cross(normals, helper)
    first = first / first.norm(dim=-1, keepdim=True)
    second = torch.linalg.cross(normals / normals.norm(dim=-1, keepdim=True), first)
    angle = 2 * math.pi * torch.arange(segments, dtype=normals.dtype, device=normals.device) / segments
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    first, second = first[:, None], second[:, None]
    wire = centres[:, None] + radius * (cosine * first + sine * second)
    tangent = cosine * second - sine * first
    step = 2 * math.pi * radius / segments
    # What depends on both a point and a segment is a matrix product: |r|² + a² = |point|² · 1 + 1 · (|wire|² + a²)
    # − 2 point · wire, and dl × r = dl × point − dl × wire.
    ones = torch.ones_like(points[:, :1])
    of_points = torch.cat([points.square().sum(-1, keepdim=True), ones, -2 * points], -1)
    squares = wire.square().sum(-1, keepdim=True) + conductor**2
    of_wire = torch.cat([torch.ones_like(squares), squares, wire], -1)
    weight = (of_points @ of_wire.mT).rsqrt() ** 3
    sums = weight @ torch.cat([tangent, torch.linalg.cross(tangent, wire)], -1)
    return PERMEABILITY * step * (torch.linalg.cross(sums[..., :3], points[None]) - sums[..., 3:])


def sensitivity_at(
    points: Float[Tensor, "... 3"], n_coils: int, layout: ChestArray, *, segments: int = 96
) -> Complex[Tensor, "coil ..."]:
    """Receive sensitivities of `n_coils` loops at `points` in mm, in µT per ampere; in the precision of `points`.

    The sensitivity is B1⁻ = (Bx − i·By) / 2 of the field that a unit current in the loop would make (reciprocity;
    Hoult 2000, doi:10.1002/1099-0534(2000)12:4<173::AID-CMR1>3.0.CO;2-Q). Quasi-static: no wavelength or body
    loading, which is a fair model up to about 3 T and no more than that. segments: straight pieces of each loop.
    """
    require(isinstance(layout, ChestArray), f"layout: got {say(layout)}, want a ChestArray")
    centres, normals = (part.to(points) for part in layout.loops(n_coils))
    flat = points.reshape(-1, 3)
    maps = []
    # A few coils at a time keep the products of points and segments small.
    step = max(FEW // (len(flat) * segments), 1)
    for some in zip(centres.split(step), normals.split(step), strict=True):
        field = _fields(*some, layout.radius_mm, flat, layout.conductor_mm, segments)
        maps.append(torch.complex(field[..., 0], -field[..., 1]) / 2)
    return torch.cat(maps).reshape(n_coils, *points.shape[:-1])


def biot_savart(
    n_coils: int,
    shape: tuple[int, int],
    field_of_view_mm: tuple[float, float],
    *,
    layout: ChestArray | None = None,
    offset_mm: Sequence[float] = (0.0, 0.0, 0.0),
    plane: Plane | Sequence[Plane] | None = None,
    spacing_mm: float | None = None,
    dtype: torch.dtype = torch.complex64,
    device: torch.device | str = "cpu",
) -> Complex[Tensor, "plane 1 coil y x"]:
    """Receive sensitivities of `n_coils` loops around the chest, (plane, 1, coil, y, x), in µT per ampere.

    They are those of :func:`sensitivity_at`, not normalised, see :func:`normalise`.

    shape: (y, x) pixels; field_of_view_mm: (y, x); layout: the array, by default :class:`ChestArray`;
    plane: where the image lies, or several images, by default one across the middle of the body.
    offset_mm: (x, y, z) by which the planes are shifted.
    spacing_mm: the maps are smooth, so they may be evaluated on a grid this wide and interpolated with a cubic
    spline along y and x; with 9 mm the error is below 1e-3 of the array's sensitivity anywhere in the body. None
    evaluates them at every pixel.
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
    planes = [plane or AXIAL] if plane is None or isinstance(plane, Plane) else list(plane)
    good = bool(planes) and all(isinstance(one, Plane) for one in planes)
    require(good, f"plane: got {say(plane)}, want a Plane or a sequence of at least one")
    y, x = (_pixels(n, length, device) for n, length in zip(shape, field_of_view_mm, strict=True))
    if spacing_mm is None:
        maps = sensitivity_at(_places(planes, y, x, offset_mm), n_coils, array).to(dtype)
    else:
        require_positive("spacing_mm", spacing_mm)
        (coarse_y, rows), (coarse_x, columns) = (
            _spline(n, length, spacing_mm, y.device) for n, length in zip(shape, field_of_view_mm, strict=True)
        )
        points = _places(planes, coarse_y, coarse_x, offset_mm).to(dtype.to_real())
        coarse = sensitivity_at(points, n_coils, array, segments=COARSE_SEGMENTS).to(dtype)
        maps = rows.to(dtype) @ coarse @ columns.to(dtype).mT
    sensitivities = maps.transpose(0, 1)[:, None]
    require_axes("sensitivities", sensitivities, "batch frame coil y x")
    return sensitivities


def body_points(
    layout: ChestArray, *, spacing_mm: float = 50.0, length_mm: float = 240.0, device: torch.device | str = "cpu"
) -> Float[Tensor, "points 3"]:
    """Places (x, y, z) in mm on an even grid that fills the body of `layout` over `length_mm` along z."""
    require_positive("spacing_mm", spacing_mm)
    require_positive("length_mm", length_mm)
    half_y, half_x = (diameter / 2 for diameter in layout.body_mm)
    sides = []
    for half in (half_x, half_y, length_mm / 2):
        steps = int(half / spacing_mm)
        sides.append(spacing_mm * torch.arange(-steps, steps + 1, dtype=torch.float64, device=device))
    points = torch.cartesian_prod(*sides)
    inside: Bool[Tensor, " all"] = (points[:, 0] / half_x) ** 2 + (points[:, 1] / half_y) ** 2 < 1
    return points[inside]


def _places(
    planes: Sequence[Plane], y: Float[Tensor, " y"], x: Float[Tensor, " x"], offset_mm: Sequence[float]
) -> Float[Tensor, "plane y x 3"]:
    """Patient coordinates of pixels `y` mm along `down` and `x` mm along `right` from the centre of each plane."""
    vectors = [torch.tensor([p.centre, p.down, p.right], dtype=y.dtype, device=y.device) for p in planes]
    centre, down, right = torch.stack(vectors, 1)[:, :, None, None, :]
    shifted = centre + torch.tensor([float(part) for part in offset_mm], dtype=y.dtype, device=y.device)
    return shifted + down * y[:, None, None] + right * x[:, None]


def _pixels(n: int, length: float, device: torch.device | str) -> Float[Tensor, " n"]:
    """Places of n pixels on `length` mm, zero at index n // 2."""
    return (torch.arange(n, dtype=torch.float64, device=device) - n // 2) * (length / n)


@functools.lru_cache(maxsize=32)
def _spline(
    n: int, length: float, spacing: float, device: torch.device
) -> tuple[Float[Tensor, " node"], Float[Tensor, "n node"]]:
    """Nodes `spacing` apart around n pixels on `length` mm, and weights that turn values there into values of pixels.

    A cubic spline whose third derivative is continuous at the first and last node but one (not-a-knot). Two nodes
    more on either side keep the less accurate ends outside.
    """
    places, spare = _pixels(n, length, device), 2
    span = float(places[-1] - places[0])
    n_nodes = max(math.ceil(span / spacing), 1) + 1 + 2 * spare
    index = torch.arange(n_nodes, dtype=places.dtype, device=places.device)
    basis = torch.arange(-1, n_nodes + 1, dtype=places.dtype, device=places.device)
    equations = torch.zeros(n_nodes + 2, n_nodes + 2, dtype=places.dtype, device=places.device)
    equations[1:-1] = _b_spline(index[:, None] - basis)
    jump = torch.tensor([1.0, -4.0, 6.0, -4.0, 1.0], dtype=places.dtype, device=places.device)
    equations[0, :5], equations[-1, -5:] = jump, jump
    first = places[0] - spare * spacing
    evaluated = _b_spline((places[:, None] - first) / spacing - basis)
    weights = torch.linalg.solve(equations, evaluated, left=False)[:, 1:-1]
    return first + spacing * index, weights


def _b_spline(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The cubic B-spline on whole knots: 2/3 at 0, 1/6 at ±1, zero from ±2 on."""
    t = distance.abs()
    return torch.where(t < 1, 2 / 3 - t**2 + t**3 / 2, (2 - t).clamp(min=0) ** 3 / 6)
