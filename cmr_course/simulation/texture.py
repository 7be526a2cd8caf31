"""Fine structure of tissue: random fields in millimetres, the same whatever the matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from cmr_course.simulation.subject import Subject

EDGE = 288
"""Points along each side of the random fields."""
PITCH = 1.5
"""Distance of two points of the random fields in mm."""
WAVELENGTHS = {"fine": (4.0, 14.0), "blotch": (11.0, 70.0), "smooth": (60.0, 250.0), "streaks": (7.0, 20.0)}
"""Shortest and longest wavelengths, in mm, of each field (where its spectrum falls to about 1/e)."""


@dataclass(frozen=True)
class Texture:
    """Random fields of zero mean and unit variance over the body, by name; (1, field, y, x)."""

    fields: Float[Tensor, "1 field y x"]

    @classmethod
    def of(cls, subject: Subject, device: torch.device) -> Texture:
        """The fields of `subject`: white noise, of which each field keeps a band of wavelengths."""
        shape = (len(WAVELENGTHS), EDGE, EDGE)
        noise = torch.fft.rfft2(torch.randn(shape, dtype=torch.float32, generator=subject.stream("texture")).to(device))
        ky = torch.fft.fftfreq(EDGE, PITCH, dtype=torch.float32, device=device)[:, None]
        kx = torch.fft.rfftfreq(EDGE, PITCH, dtype=torch.float32, device=device)[None]
        radius = (ky.square() + kx.square()).sqrt()
        bands = [
            (-(radius * low).square()).exp() - (-(radius * high).square()).exp() for low, high in WAVELENGTHS.values()
        ]
        # Amplitude falls with frequency, as in natural pictures; white bands look like worms.
        fields = torch.fft.irfft2(noise * torch.stack(bands) / radius.clamp(min=1 / 400), s=(EDGE, EDGE))
        return cls((fields / fields.std(dim=(-2, -1), keepdim=True))[None])

    def at(self, name: str, points: Float[Tensor, "yx=2 *shape"]) -> Float[Tensor, "*shape"]:
        """Field `name` at `points` (y, x) in mm."""
        index = list(WAVELENGTHS).index(name)
        return sample(self.fields[:, index : index + 1], points, PITCH, PITCH, mode="bilinear")


def sample(
    raster: Float[Tensor, "1 1 rows columns"],
    points: Float[Tensor, "yx=2 *shape"],
    pitch_y: float,
    pitch_x: float,
    mode: str = "bicubic",
) -> Float[Tensor, "*shape"]:
    """Values of `raster`, whose index n // 2 lies at 0 mm, at `points` (y, x) in mm; beyond it, the border's value."""
    rows, columns = raster.shape[-2:]
    y = (2 * (points[0] / pitch_y + rows // 2) + 1) / rows - 1
    x = (2 * (points[1] / pitch_x + columns // 2) + 1) / columns - 1
    grid = torch.stack([x, y], dim=-1).reshape(1, 1, -1, 2)
    values = functional.grid_sample(raster, grid, mode=mode, padding_mode="border", align_corners=False)
    return values.reshape(points.shape[1:])
