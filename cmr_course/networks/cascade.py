"""A cascade of convolutional stages in space and time, each followed by data consistency."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition
from cmr_course.encoding import Encoding
from cmr_course.networks.channels import wrapped
from cmr_course.networks.consistency import DataConsistency
from cmr_course.networks.unrolled import Image, Unrolled
from cmr_course.sharing import share
from cmr_course.validate import is_number, require, require_whole, say

Start = Literal["zero-filled", "view-sharing"]
Channels = Float[Tensor, "batch channel frame y x"]
SMALL = 0.1
"""Weights of the last layer of a stage begin so much smaller than usual: an untrained stage changes little."""


class Cascade(Unrolled):
    """The course's own cascade: `n_stages` times a convolutional stage and data consistency for several coils.

    It joins what is known: the cascade of Schlemper et al. 2017 (doi:10.1109/TMI.2017.2760978), whose second and third
    stage the paper of `dynamic MRI reconstruction` adds to its network (table 6); convolutions in space and time one
    after the other, as in Tran et al. 2018 (doi:10.1109/CVPR.2018.00675); and the data consistency of Aggarwal et al.
    2019 (doi:10.1109/TMI.2018.2865356) for coils.

    blocks, filters: of a :class:`Stage`. shared: all stages are the same one, with the same weights.
    start: what the cascade begins with. ``view-sharing`` takes samples that a frame lacks from its neighbours in time
    (:func:`cmr_course.sharing.share`) and is the zero-filled image where the mask is the same in all frames. A
    DataConsistency of its own comes before the first stage: where nothing can be shared, that is CG-SENSE.
    trust, iterations: of each stage's :class:`DataConsistency`; opening: trust of the first one. Both are learned.
    slope: of the leaky rectifiers.
    Time is circular, as in a gated cine; any number of frames, coils and any matrix will do.
    """

    def __init__(
        self,
        n_stages: int = 5,
        blocks: int = 3,
        filters: int = 32,
        *,
        shared: bool = False,
        start: Start = "view-sharing",
        dilate: bool = True,
        opening: float = 10.0,
        trust: float = 1.0,
        iterations: int = 4,
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        for name, value in {"n_stages": n_stages, "blocks": blocks, "filters": filters}.items():
            require_whole(name, value)
        known = start in ("zero-filled", "view-sharing")
        require(known, f"start: got {say(start)}, want 'zero-filled' or 'view-sharing'")
        good = is_number(slope) and 0 <= slope < 1
        require(good, f"slope: got {say(slope)}, want a number from 0 (ReLU) to below 1")
        self.shares = start == "view-sharing"
        self.opening = DataConsistency(opening, learned=True, iterations=iterations + 2)
        different = [Stage(blocks, filters, slope, dilate) for _ in range(1 if shared else n_stages)]
        self.stages = nn.ModuleList(different * n_stages if shared else different)
        self.consistencies = nn.ModuleList(
            DataConsistency(trust, learned=True, iterations=iterations) for _ in range(n_stages)
        )

    def start(self, acquisition: Acquisition, encoding: Encoding, measured: Image) -> Image:
        """The image that the first stage sees."""
        image = measured
        if self.shares:
            filled = share(acquisition.kspace, acquisition.mask, acquisition.n_frames // 2)
            image = Encoding(encoding.sensitivities, torch.ones_like(encoding.mask)).adjoint(filled)
        return self.opening(image, encoding, measured)


class Stage(nn.Module):
    """What is to be added to an image: a convolution, residual blocks, a convolution.

    It sees the image and its mean over time, which for k-t masks has little aliasing: four channels.
    dilate: taps lie 1, 2, 4, … pixels apart in block after block, to see farther for the same price.
    """

    def __init__(self, blocks: int, filters: int, slope: float, dilate: bool) -> None:
        super().__init__()
        self.first = nn.Conv3d(4, filters, (1, 3, 3), padding=(0, 1, 1))
        self.blocks = nn.Sequential(*(Block(filters, slope, 2**number if dilate else 1) for number in range(blocks)))
        self.last = nn.Conv3d(filters, 2, (1, 3, 3), padding=(0, 1, 1))
        with torch.no_grad():
            self.last.weight *= SMALL

    def forward(self, image: Channels) -> Channels:
        """(batch, 2, frame, y, x) to the same."""
        mean = image.mean(2, keepdim=True).expand_as(image)
        both = torch.cat([image, mean], 1).contiguous(memory_format=torch.channels_last_3d)
        return self.last(self.blocks(self.first(both)))


class Block(nn.Module):
    """x + time(space(x)): 3 × 3 taps in each frame, then 3 frames in each pixel, circular in time."""

    def __init__(self, filters: int, slope: float, dilation: int) -> None:
        super().__init__()
        reach = (1, dilation, dilation)
        self.space = nn.Conv3d(filters, filters, (1, 3, 3), padding=(0, dilation, dilation), dilation=reach)
        self.time = nn.Conv3d(filters, filters, (3, 1, 1))
        self.slope = slope

    def forward(self, x: Channels) -> Channels:
        """(batch, filters, frame, y, x) to the same."""
        inside = nnf.leaky_relu(self.space(nnf.leaky_relu(x, self.slope)), self.slope)
        return x + self.time(wrapped(inside))
