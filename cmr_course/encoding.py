"""The measurement model of parallel imaging, y = M F S x, and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from cmr_course.acquisition import Acquisition, require_acquisition
from cmr_course.coils import combine, expand
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.validate import require, require_axes, require_complex


@dataclass(frozen=True, eq=False)
class Encoding:
    """A = M F S: coil sensitivities, Fourier transform, sampling mask (Pruessmann et al. 2001, doi:10.1002/mrm.1241).

    sensitivities: complex (batch, 1 or frame, coil, y, x); mask: bool (batch or 1, frame or 1, 1, ky, kx or 1).
    """

    sensitivities: Complex[Tensor, "batch map_frame coil y x"]
    mask: Bool[Tensor, "mask_batch mask_frame 1 y mask_x"]

    def __post_init__(self) -> None:
        require_axes("sensitivities", self.sensitivities, "batch frame coil y x")
        require_complex("sensitivities", self.sensitivities)
        require_axes("mask", self.mask, "batch frame coil ky kx")
        require(self.mask.dtype == torch.bool, f"mask: got {self.mask.dtype}, want torch.bool")
        (y, x), (coil, ky, kx) = self.sensitivities.shape[-2:], self.mask.shape[2:]
        fits = coil == 1 and ky == y and kx in (1, x)
        require(fits, f"mask: got (coil, ky, kx) = {(coil, ky, kx)}, want (1, {y}, {x} or 1)")

    @classmethod
    def of(cls, acquisition: Acquisition) -> Encoding:
        """The model that made `acquisition`; its coil maps must be filled (`coils.with_maps` estimates them)."""
        require_acquisition(acquisition)
        if acquisition.sensitivities is None:
            raise ValueError("acquisition: got no sensitivities, want coil maps (fill them with coils.with_maps)")
        return cls(acquisition.sensitivities, acquisition.mask)

    def forward(self, image: Complex[Tensor, "batch frame y x"]) -> Complex[Tensor, "batch frame coil y x"]:
        """Image to sampled k-space, A x."""
        return self.mask * fft2c(expand(image, self.sensitivities))

    def adjoint(self, kspace: Complex[Tensor, "batch frame coil y x"]) -> Complex[Tensor, "batch frame y x"]:
        """Sampled k-space to image, Aᴴ y: the sensitivity-weighted zero-filled image."""
        require_axes("kspace", kspace, "batch frame coil ky kx")
        return combine(ifft2c(self.mask * kspace), self.sensitivities)

    def normal(self, image: Complex[Tensor, "batch frame y x"]) -> Complex[Tensor, "batch frame y x"]:
        """Aᴴ A x, what an iterative method applies at each step."""
        return self.adjoint(self.forward(image))
