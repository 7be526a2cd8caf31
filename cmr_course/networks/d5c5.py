"""D5C5: a deep cascade of convolutional networks and data consistency (Schlemper et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from cmr_course.networks.consistency import DataConsistency
from cmr_course.networks.unrolled import Unrolled
from cmr_course.validate import is_number, require, require_whole, say

RELEASED_AXES = (0, 1, 4, 2, 3)
"""Kernels of the released 3-D network have the axes (out, in, y, x, frame), ours (out, in, frame, y, x)."""


class D5C5(Unrolled):
    """Schlemper et al. 2017 (doi:10.1109/TMI.2017.2760978): `cascades` times `convolutions` 3 × 3 (× 3) convolutions
    with a residual connection, each time followed by data consistency. The name says five of each.

    filters: channels between the convolutions (64 frame by frame, 32 with a third axis along time in the released
    code). dimensions: 2, each frame by itself; or 3. trust: of the :class:`DataConsistency`. slope: of the leaky
    rectifier below zero (0.01 as released). Frames beyond the first and the last count as zero, as published.
    """

    def __init__(
        self,
        cascades: int = 5,
        convolutions: int = 5,
        filters: int = 64,
        *,
        dimensions: int = 2,
        trust: float | None = None,
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        sizes = {"cascades": (cascades, 1), "convolutions": (convolutions, 2), "filters": (filters, 1)}
        for name, (value, least) in sizes.items():
            require_whole(name, value, least)
        require(dimensions in (2, 3), f"dimensions: got {say(dimensions)}, want 2 or 3")
        good = is_number(slope) and 0 <= slope < 1
        require(good, f"slope: got {say(slope)}, want a number from 0 (ReLU) to below 1")
        self.stages = nn.ModuleList(
            _stage((2, *[filters] * (convolutions - 1), 2), dimensions, slope) for _ in range(cascades)
        )
        self.consistencies = nn.ModuleList(DataConsistency(trust) for _ in range(cascades))

    @classmethod
    def from_released(cls, state: Mapping[str, Tensor], *, trust: float | None = None, slope: float = 0.01) -> D5C5:
        """The network of a state dict of the released code: ``conv_blocks.CASCADE.LAYER.weight`` and ``.bias``."""
        numbers = [tuple(int(part) for part in name.split(".")[1:3]) for name in state if name.endswith(".weight")]
        known = bool(numbers) and all(name.startswith("conv_blocks.") for name in state)
        require(known, f"state: got {', '.join(sorted(state)[:3])} …, want conv_blocks.0.0.weight and the like")
        kernel = state["conv_blocks.0.0.weight"]
        cascades, layers = (max(number[axis] for number in numbers) + 1 for axis in (0, 1))
        # Between two convolutions lies a rectifier, which counts as a layer.
        network = cls(cascades, (layers + 1) // 2, len(kernel), dimensions=kernel.ndim - 2, trust=trust, slope=slope)
        network.load_state_dict(
            {name.replace("conv_blocks", "stages"): _kernel(value) for name, value in state.items()}
        )
        return network


def _kernel(released: Tensor) -> Tensor:
    """A kernel as ours has it, or a bias."""
    if released.ndim == 5:
        return released.permute(RELEASED_AXES)
    return released[:, :, None] if released.ndim == 4 else released


def _stage(widths: tuple[int, ...], dimensions: int, slope: float) -> nn.Sequential:
    """Convolutions between the given numbers of channels, a rectifier after each but the last."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths)):
        if number:
            layers.append(nn.LeakyReLU(slope))
        frames = 3 if dimensions == 3 else 1
        layers.append(nn.Conv3d(before, after, (frames, 3, 3), padding=(frames // 2, 1, 1)))
    return nn.Sequential(*layers)
