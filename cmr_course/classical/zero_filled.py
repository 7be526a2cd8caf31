"""No reconstruction at all: what was not measured is taken as zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.coils import rss, with_maps
from cmr_course.encoding import Encoding
from cmr_course.validate import require


@dataclass(frozen=True)
class ZeroFilled:
    """The inverse Fourier transform of zero-filled k-space, coils combined.

    combination: ``sense``, the sensitivity-weighted Aᴴy, which keeps the phase (ESPIRiT maps from the ACS where the
    acquisition has none); or ``rss``, the root sum of squares, as complex with zero imaginary part.
    """

    combination: Literal["sense", "rss"] = "sense"

    def __post_init__(self) -> None:
        known = self.combination in ("sense", "rss")
        require(known, f"combination: got {self.combination!r}, want 'sense' or 'rss'")

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        """Reconstruct `acquisition`."""
        require_acquisition(acquisition)
        if self.combination == "rss":
            magnitude = rss(acquisition.coil_images())
            return Reconstruction(magnitude.to(acquisition.kspace.dtype), kspace=acquisition.kspace)
        known = acquisition if acquisition.sensitivities is not None else with_maps(acquisition)
        image = Encoding.of(known).adjoint(known.kspace)
        return Reconstruction(image, kspace=known.kspace, sensitivities=known.sensitivities)
