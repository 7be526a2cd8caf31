"""View sharing: what a frame did not measure is taken from its neighbours in time."""

from __future__ import annotations

from dataclasses import dataclass

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.classical.filled import Combination, reconstruct_filled
from cmr_course.classical.zero_filled import ZeroFilled
from cmr_course.sharing import share
from cmr_course.validate import require_whole


@dataclass(frozen=True)
class ViewSharing:
    """Each sample that a frame lacks is that of the nearest frame which measured it.

    Where the earlier and the later frame are as near, it is their mean, so that the heart is shifted neither back nor
    forth in time. Time is circular: the first frame follows the last, as in a gated cine. What was measured stays as
    it was measured.

    The prior is that nothing moves between the frames which share: exact where that holds, a temporal blur elsewhere.
    With a mask that is the same in all frames there is nothing to share, and the result is the zero-filled one.

    reach: how many frames to each side may lend a sample; None for as many as there are. What none of them measured
    stays zero.
    combination: ``sense`` or ``rss``, see :class:`ZeroFilled`.
    """

    reach: int | None = None
    combination: Combination = "sense"

    def __post_init__(self) -> None:
        if self.reach is not None:
            require_whole("reach", self.reach)
        ZeroFilled(self.combination)  # knows what may be asked for

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        """Reconstruct `acquisition`."""
        require_acquisition(acquisition)
        farthest = acquisition.n_frames // 2
        reach = farthest if self.reach is None else min(self.reach, farthest)
        return reconstruct_filled(acquisition, share(acquisition.kspace, acquisition.mask, reach), self.combination)
