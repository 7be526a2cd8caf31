"""The measurement model of parallel imaging, y = M F S x, and its adjoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import FEW, Acquisition, require_acquisition
from cmr_course.coils import combine, expand
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.validate import require, require_axes, require_broadcast, require_complex


@dataclass(frozen=True, eq=False)
class Encoding:
    """A = M F S: coil sensitivities, Fourier transform, sampling mask (Pruessmann et al. 2001, doi:10.1002/mrm.1241).

    sensitivities: complex (batch, 1 or frame, coil, y, x); mask: bool (batch or 1, frame or 1, 1, ky, kx or 1).
    Frames do not mix, so each operator works through a few at a time: what is computed stays in the cache, and no
    more than one array of the size of k-space is made.
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
        require_axes("image", image, "batch frame y x")
        return self._by_frames(lambda x, maps, mask: mask * fft2c(expand(x, maps)), image, self.mask)

    def adjoint(self, kspace: Complex[Tensor, "batch frame coil y x"]) -> Complex[Tensor, "batch frame y x"]:
        """Sampled k-space to image, Aᴴ y: the sensitivity-weighted zero-filled image."""
        require_axes("kspace", kspace, "batch frame coil ky kx")
        return self._by_frames(lambda y, maps, mask: combine(ifft2c(mask * y), maps), kspace, self.mask)

    def normal(self, image: Complex[Tensor, "batch frame y x"]) -> Complex[Tensor, "batch frame y x"]:
        """Aᴴ A x, what an iterative method applies at each step: adjoint(forward(x)), in fewer operations.

        Fᴴ M F convolves each coil image circularly with the point spread function of the mask. A convolution commutes
        with a shift, so the shifts that centre the image cancel, and those that centre k-space are done once, to the
        mask. A mask of whole readouts does not depend on kx: M commutes with the transform along x, which cancels too.
        """
        require_axes("image", image, "batch frame y x")
        mask, axes = self._uncentred

        def convolved(x: Tensor, maps: Tensor, mask: Tensor) -> Tensor:
            kspace = torch.fft.fftn(expand(x, maps), dim=axes)
            return combine(torch.fft.ifftn(mask * kspace, dim=axes), maps)

        return self._by_frames(convolved, image, mask)

    @cached_property
    def support(self) -> Float[Tensor, "batch map_frame y x"]:
        """Σ|S|²: one where there are maps, zero elsewhere, so that SᴴS x = support · x."""
        return self.sensitivities.abs().square().sum(2)

    @cached_property
    def _uncentred(self) -> tuple[Tensor, tuple[int, ...]]:
        """The mask as weights 0 and 1 with the centre of k-space at index 0, and the axes along which it varies."""
        lines = self.mask[..., :1]
        along_readout = self.mask.is_meta or bool((self.mask == lines).all())
        mask, axes = (lines, (-2,)) if along_readout else (self.mask, (-2, -1))
        return torch.fft.ifftshift(mask, dim=axes).to(self.sensitivities.real.dtype), axes

    def _by_frames(self, operator: Callable[[Tensor, Tensor, Tensor], Tensor], series: Tensor, mask: Tensor) -> Tensor:
        """`operator`(series, maps, mask) on a few frames at a time, joined again."""
        maps, (batch, frames) = self.sensitivities, series.shape[:2]
        for name, tensor in (("mask", mask), ("sensitivities", maps)):
            require_broadcast(name, tuple(tensor.shape[:2]), (batch, frames), "batch frame")
        step = max(FEW // (batch * maps[0, 0].numel()), 1)
        parts = (slice(first, first + step) for first in range(0, frames, step))
        return torch.cat([operator(series[:, part], _frames(maps, part), _frames(mask, part)) for part in parts], dim=1)


def _frames(tensor: Tensor, part: slice) -> Tensor:
    """These frames of `tensor`, or its only frame where one stands for all."""
    return tensor if tensor.shape[1] == 1 else tensor[:, part]
