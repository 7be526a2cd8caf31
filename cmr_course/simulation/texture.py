"""Fine structure of tissue: random fields in millimetres that fill space, the same whatever the matrix and the view."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8, Int32
from torch import Tensor
from torch.nn import functional

from cmr_course.simulation.subject import Subject

EDGE = 96
"""Points along each side of the random fields, which repeat periodically."""
STRIDES = (1, EDGE + 1, (EDGE + 1) ** 2)
"""From one row of the table of fields to the next along x, y and z; the first plane comes once more behind the last."""
PITCH = 1.75
"""Distance of two points of the random fields in mm."""
WAVELENGTHS = {"fine": (4.5, 14.0), "blotch": (11.0, 70.0), "streaks": (7.0, 20.0), "branches": (9.0, 40.0)}
"""Shortest and longest wavelengths, in mm, of each field (where its spectrum falls to about 1/e)."""


@functools.lru_cache(maxsize=4)
def _table(device: torch.device) -> tuple[Float[Tensor, "place field"], Int32[Tensor, " corner=8"]]:
    """The fields of zero mean and unit variance on a cubic grid, side by side for each place, and how many rows of this
    table the corners of a cube lie behind its first.

    They are a constant of the course: white noise of a fixed seed, of which each field keeps a band of wavelengths.
    """
    generator = torch.Generator().manual_seed(20261121)
    noise = torch.randn((len(WAVELENGTHS), EDGE, EDGE, EDGE), dtype=torch.float32, generator=generator)
    full = torch.fft.fftfreq(EDGE, PITCH, dtype=torch.float32)
    half = torch.fft.rfftfreq(EDGE, PITCH, dtype=torch.float32)
    radius = (full[:, None, None].square() + full[:, None].square() + half.square()).sqrt()
    bands = [(-(radius * low).square()).exp() - (-(radius * high).square()).exp() for low, high in WAVELENGTHS.values()]
    # Amplitude falls with frequency, as in natural pictures; white bands look like worms.
    shaped = torch.fft.rfftn(noise, dim=(1, 2, 3)) * torch.stack(bands) / radius.clamp(min=1 / 400) ** 1.5
    fields = torch.fft.irfftn(shaped, s=(EDGE, EDGE, EDGE), dim=(1, 2, 3))
    fields = fields / fields.std(dim=(1, 2, 3), keepdim=True)
    whole = functional.pad(fields[None], (0, 1, 0, 1, 0, 1), mode="circular")[0]
    step = torch.tensor([0, 1], dtype=torch.int32)
    corners = step[:, None, None] * STRIDES[2] + step[:, None] * STRIDES[1] + step
    return whole.flatten(1).T.contiguous().to(device), corners.flatten().to(device)


@dataclass(frozen=True)
class Grain:
    """Random fields at some points, each of zero mean and unit variance; see :data:`WAVELENGTHS`."""

    fine: Tensor
    blotch: Tensor
    streaks: Tensor
    branches: Tensor


@dataclass(frozen=True)
class Texture:
    """A subject's own look at the random fields: turned by `turn` (3, 3) and shifted by `shift` (3,) mm."""

    turn: Float[Tensor, "3 3"]
    shift: Float[Tensor, " 3"]

    @classmethod
    def of(cls, subject: Subject, device: torch.device) -> Texture:
        """The texture of `subject`."""
        generator = subject.stream("texture")
        turn = torch.linalg.qr(torch.randn((3, 3), dtype=torch.float64, generator=generator)).Q
        shift = EDGE * PITCH * torch.rand(3, dtype=torch.float64, generator=generator)
        return cls(turn.to(torch.float32).to(device), shift.to(torch.float32).to(device))

    def at(self, points: Float[Tensor, "xyz=3 *shape"]) -> Grain:
        """All fields at `points` in mm, linear between those of the grid."""
        flat = points.flatten(1)
        scaled = torch.addmm((self.shift / PITCH)[:, None], self.turn / PITCH, flat).remainder_(EDGE)
        corner = scaled.floor().clamp_(max=EDGE - 1)  # a remainder may be rounded up to the edge
        share = torch.stack([1 - (scaled - corner), scaled - corner])
        # A point lies in a cube of the grid, whose eight corners count by what they have of the point along each side.
        weight = share[:, None, None, 2] * share[:, None, 1] * share[:, 0]
        table, steps = _table(points.device)
        row = torch.mv(corner.mT, torch.tensor(STRIDES, dtype=flat.dtype, device=flat.device))
        index = row.to(torch.int32)[:, None] + steps
        found = functional.embedding_bag(
            index, table, per_sample_weights=weight.flatten(0, 2).mT.contiguous(), mode="sum"
        )
        return Grain(*found.mT.contiguous().reshape(len(WAVELENGTHS), *points.shape[1:]).unbind(0))


def sample(
    raster: Float[Tensor, "channel rows columns"],
    labels: Int8[Tensor, "kind rows columns"],
    places: Float[Tensor, "yx=2 *shape"],
    pitch: tuple[float, float],
) -> tuple[Float[Tensor, channel * shape], Int8[Tensor, kind * shape]]:
    """Values of `raster`, cubic, and nearest of the `labels` at `places` (y, x) in mm; beyond them, the border's.

    Index n // 2 of both lies at 0 mm, `pitch` (y, x) is the distance of two points in mm.
    """
    grid = torch.empty((2, *places.shape[1:]), dtype=places.dtype, device=places.device)
    for axis, n in enumerate(raster.shape[-2:]):
        # grid_sample wants x before y, and the outer borders of the first and last pixel at -1 and 1.
        torch.mul(places[axis], 2 / (n * pitch[axis]), out=grid[1 - axis]).add_((2 * (n // 2) + 1) / n - 1)
    grid = grid.reshape(1, 1, 2, -1).mT  # side by side in memory would cost a slow copy
    found = [
        functional.grid_sample(of[None], grid, mode=mode, padding_mode="border", align_corners=False)
        for of, mode in ((raster, "bicubic"), (labels.to(raster.dtype), "nearest"))
    ]
    signal, label = (value.reshape(-1, *places.shape[1:]) for value in found)
    return signal, label.to(torch.int8)
