"""From k-space that a method has filled to its reconstruction: shared by view sharing and GRAPPA."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.classical.zero_filled import ZeroFilled
from cmr_course.coils import with_maps
from cmr_course.validate import require_finite

Combination = Literal["sense", "rss"]


def reconstruct_filled(
    acquisition: Acquisition, kspace: Complex[Tensor, "batch frame coil ky kx"], combination: Combination
) -> Reconstruction:
    """The coil images of filled `kspace`, combined as :class:`ZeroFilled` does it.

    ``sense`` takes the maps of `acquisition`, ESPIRiT's from its ACS where it has none: what was filled in has no part
    in them.
    """
    for name, values in (("kspace", kspace), ("sensitivities", acquisition.sensitivities)):
        if values is not None:
            require_finite(name, values)
    needs_maps = combination == "sense" and acquisition.sensitivities is None
    known = with_maps(acquisition) if needs_maps else acquisition
    mask = torch.ones((1, 1, 1, acquisition.matrix[0], 1), dtype=torch.bool, device=kspace.device)
    return ZeroFilled(combination)(replace(known, kspace=kspace, mask=mask))
