"""From an acquisition to what a network sees: maps filled, intensities near one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, require_acquisition
from cmr_course.coils import with_maps
from cmr_course.encoding import Encoding


@dataclass(frozen=True, eq=False)
class Start:
    """acquisition: with maps, its k-space divided by `scale`. measured: Aᴴ y of it, the zero-filled image."""

    acquisition: Acquisition
    encoding: Encoding
    measured: Complex[Tensor, "batch frame y x"]
    scale: Float[Tensor, "batch 1 1 1"]

    @classmethod
    def of(cls, acquisition: Acquisition) -> Start:
        """Of `acquisition`, whose maps are estimated (ESPIRiT from the ACS) where it has none."""
        require_acquisition(acquisition)
        known = acquisition if acquisition.sensitivities is not None else with_maps(acquisition)
        scaled = known if known.scale is not None else known.with_scale()
        assert scaled.scale is not None
        scale = scaled.scale.to(scaled.kspace.real.dtype)[:, None, None, None]
        encoding = Encoding.of(scaled)
        near_one = replace(scaled, kspace=scaled.kspace / scale[..., None])
        return cls(near_one, encoding, encoding.adjoint(near_one.kspace), scale)

    @property
    def sensitivities(self) -> Complex[Tensor, "batch map_frame coil y x"]:
        """The maps."""
        maps = self.acquisition.sensitivities
        assert maps is not None
        return maps
