"""K-space that frames share: what one did not measure is lent by its neighbours in time."""

from __future__ import annotations

from jaxtyping import Bool, Complex
from torch import Tensor


def share(
    kspace: Complex[Tensor, "batch frame coil ky kx"],
    mask: Bool[Tensor, "mask_batch mask_frame 1 ky mask_kx"],
    reach: int,
) -> Complex[Tensor, "batch frame coil ky kx"]:
    """`kspace` with each sample outside `mask` taken from the nearest frame, at most `reach` away, that measured it."""
    filled, have = kspace, mask
    if mask.shape[1] == 1:  # the same in all frames
        return filled
    for distance in range(1, reach + 1):
        earlier, later = mask.roll(distance, 1), mask.roll(-distance, 1)
        lenders = earlier.to(kspace.real.dtype) + later  # 0, 1 or 2 of them; k-space is zero where none measured
        lent = (kspace.roll(distance, 1) + kspace.roll(-distance, 1)) / lenders.clamp(min=1)
        filled = filled + ~have * lent
        have = have | earlier | later
    return filled
