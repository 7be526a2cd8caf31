"""Which k-space samples are measured: the k-t masks of the field, and the factor by which they really accelerate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from cmr_course.validate import require, require_axes


@dataclass(frozen=True, eq=False)
class Mask:
    """A sampling mask and what a table has to say about it.

    sampled: bool (batch or 1, frame or 1, 1, ky, kx or 1), true where a sample is measured.
    acs: (ky lines, kx points) of the fully sampled centre, shared by all frames.
    kind: ``uniform``, ``kt_uniform``, ``kt_gaussian``, ``kt_radial``, or any other name.
    nominal_acceleration: the R that was asked for, ACS not counted, or None where nobody named one.
    """

    sampled: Bool[Tensor, "batch frame 1 ky kx"]
    acs: tuple[int, int]
    kind: str = "custom"
    nominal_acceleration: float | None = None

    def __post_init__(self) -> None:
        require_axes("mask", self.sampled, "batch frame coil ky kx")
        require(self.sampled.dtype == torch.bool, f"mask: got {self.sampled.dtype}, want torch.bool")
        require(self.sampled.shape[2] == 1, f"mask: got {self.sampled.shape[2]} along the coil axis, want 1")

    @property
    def realised_acceleration(self) -> float:
        """Number of k-space points divided by the number sampled, ACS counted, over the whole mask."""
        return self.sampled.numel() / max(int(self.sampled.sum()), 1)

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on `device`."""
        return replace(self, sampled=self.sampled.to(device))

    def __repr__(self) -> str:
        nominal = "?" if self.nominal_acceleration is None else f"{self.nominal_acceleration:g}"
        return (
            f"Mask({self.kind}, {tuple(self.sampled.shape)}, nominal R = {nominal}, "
            f"realised R = {self.realised_acceleration:.2f}, ACS {self.acs[0]} x {self.acs[1]})"
        )
