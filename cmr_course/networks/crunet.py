"""CRUNet-MR: cascades of U-Nets that remember, along the frames and from one cascade to the next (Lyu et al. 2025)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition
from cmr_course.encoding import Encoding
from cmr_course.networks.channels import to_channels, to_complex
from cmr_course.networks.consistency import DataConsistency, require_normalised
from cmr_course.networks.feature_bank import FeatureBank, Fusion, Maps
from cmr_course.networks.recurrent import Direction, Frames, Recurrence, SpaceTime, same, to_frames, to_series
from cmr_course.networks.released import load_named
from cmr_course.networks.unrolled import Image, Unrolled
from cmr_course.validate import require, require_whole

MULTIPLE = 8
"""Matrices are padded to multiples of it, as released, though one halving needs only two."""
NAMES = (
    (r"\bfirst\.", "conv0."),
    (r"\bfine_forward\.recurrence\.", "d_crnn1.CRNN_model."),
    (r"\bfine_forward\.direct\.", "conv11."),
    (r"\bdown\.", "d_conv."),
    (r"\bcoarse_forward\.recurrence\.", "d_crnn2.CRNN_model."),
    (r"\bcoarse_forward\.direct\.", "conv21."),
    (r"\bencode\.", "convs1."),
    (r"\bbottom\.recurrence\.", "bcrnn.CRNN_model."),
    (r"\bbottom\.direct\.", "conv31."),
    (r"\bdecode\.", "convs2."),
    (r"\bcoarse_backward\.recurrence\.", "u_crnn1.CRNN_model."),
    (r"\bcoarse_backward\.direct\.", "conv41."),
    (r"\bcoarse_merge\.", "conv1."),
    (r"\bup\.space\.", "u_conv.convTranspose2d."),
    (r"\bup\.time\.", "u_conv.convTranspose1d."),
    (r"\bfine_backward\.recurrence\.", "u_crnn2.CRNN_model."),
    (r"\bfine_backward\.direct\.", "conv51."),
    (r"\bfine_merge\.", "conv2."),
    (r"\blast\.", "conv."),
    (r"\.space\.", ".conv2d."),
    (r"\.time\.", ".conv1d."),
    (r"\binput\.", "i2h."),
    (r"\bhidden\.", "h2h."),
    (r"\bcarried\.", "ih2ih."),
    (r"^stages\.", "cascades."),
)
"""Our names and those of the released code."""


class CRUNetMR(Unrolled):
    """Lyu et al. 2025 (PMC12754836), with the feature bank of Lyu et al. 2026.

    cascades, channels: their numbers, 5 and 64 as published. fusion, reach: of the :class:`FeatureBank`; ``last`` is
    CRUNet-MR without a bank. Every cascade is a :class:`CRUNet` with weights of its own, and after it samples that were
    measured replace those of the image (:class:`DataConsistency`).
    The released code mixes the items of a batch, and has a parameter of 2 x 224 x 112 in every cascade that nothing
    uses; this has neither. Any matrix, number of frames, coils and items will do; time is circular in the convolutions,
    and begins and ends at the first and last frame in the recurrences.
    """

    def __init__(
        self, cascades: int = 5, channels: int = 64, *, fusion: Fusion = "last", reach: int | None = None
    ) -> None:
        super().__init__()
        require_whole("cascades", cascades)
        require_whole("channels", channels)
        self.stages = nn.ModuleList(CRUNet(channels) for _ in range(cascades))
        self.bank = FeatureBank(cascades, channels, fusion=fusion, reach=reach)
        self.consistencies = nn.ModuleList(DataConsistency() for _ in range(cascades))

    @classmethod
    def from_released(cls, state: Mapping[str, Tensor]) -> CRUNetMR:
        """The network of a state dict of the released code (CRUNet_D_NWS).

        Its k-space has phase encoding along the last axis, ours along the one before: kernels are transposed.
        """
        released = {name: value for name, value in state.items() if not name.endswith(".pp")}
        numbers = {int(match[1]) for match in map(re.compile(r"cascades\.(\d+)\.").match, released) if match}
        known = bool(numbers) and "cascades.0.conv0.weight" in released
        require(known, f"state: got {', '.join(sorted(state)[:3])} …, want cascades.0.conv0.weight and the like")
        network = cls(max(numbers) + 1, len(released["cascades.0.conv0.weight"]))
        load_named(network, released, released_name)
        return network

    def start(self, acquisition: Acquisition, encoding: Encoding, measured: Image) -> Image:
        """The zero-filled image; ValueError where maps are not of Σ|S|² = 1."""
        require_normalised(encoding.sensitivities)
        return measured

    def refine(self, image: Image, encoding: Encoding, measured: Image) -> tuple[Image, ...]:
        """The image after each cascade, without a change of scale. measured: Aᴴ y."""
        return self.remembering(image, encoding, measured)[0]

    def remembering(
        self, image: Image, encoding: Encoding, measured: Image
    ) -> tuple[tuple[Image, ...], tuple[Maps, ...]]:
        """The image after each cascade, and the maps that it has left."""
        images: list[Image] = []
        kept: list[Maps] = []
        for cascade, consistency in zip(self.stages, self.consistencies, strict=True):
            seen = to_channels(image)
            asked = cascade, seen, (*kept,)
            again = self.recompute and torch.is_grad_enabled()
            change, *maps = checkpoint(self._run, *asked, use_reentrant=False) if again else self._run(*asked)
            # What a cascade adds may be bfloat16; images and data consistency never are.
            image = consistency(image + to_complex(change.to(seen.dtype)), encoding, measured)
            images.append(image)
            kept.append(Maps(*maps))
        return tuple(images), tuple(kept)

    def _run(self, cascade: nn.Module, seen: Tensor, kept: tuple[Maps, ...]) -> tuple[Tensor, ...]:
        """A cascade with what the bank makes of the maps `kept`, which is made again, too, where that is asked for."""
        carried = self.bank(kept)
        return cascade(seen, *(() if carried is None else carried.levels()))


class Unit(nn.Module):
    """recurrence(x) + direct(x), the latter a 1 × 1 convolution."""

    def __init__(self, channels: int, dilation: int, direction: Direction) -> None:
        super().__init__()
        self.recurrence = Recurrence(channels, channels, dilation=dilation, direction=direction)
        self.direct = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Frames, carried: Frames | None, items: int) -> Frames:
        """(frame · item, channel, y, x) to the same."""
        return self.recurrence(x, carried, items) + self.direct(x)


class CRUNet(nn.Module):
    """What one cascade adds to an image: a U-Net with a recurrent unit at each of five places.

    Forward in time on the way down, both ways at the bottom, backward on the way up. The two units of a level are given
    the same map of the cascades before. What it is given is standardised, each item of a batch by itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        both = 2 * channels
        self.first = same(2, channels)
        self.fine_forward = Unit(channels, 1, "forward")
        self.down = SpaceTime(nn.Conv2d(channels, channels, 2, stride=2), channels)
        self.coarse_forward = Unit(channels, 2, "forward")
        self.encode = SpaceTime(same(channels, channels, 2), channels)
        self.bottom = Unit(channels, 4, "both")
        self.decode = SpaceTime(same(channels, channels, 4), channels)
        self.coarse_backward = Unit(channels, 2, "backward")
        self.coarse_merge = SpaceTime(same(both, channels, 2), channels)
        self.up = SpaceTime(nn.ConvTranspose2d(channels, channels, 2, stride=2), channels)
        self.fine_backward = Unit(channels, 1, "backward")
        self.fine_merge = SpaceTime(same(both, channels), channels)
        self.last = same(channels, 2, kernel=5)

    def forward(
        self, image: Tensor, full: Frames | None = None, half: Frames | None = None, bottom: Frames | None = None
    ) -> tuple[Tensor, Frames, Frames, Frames]:
        """(batch, 2, frame, y, x) to what is to be added to it, and the maps of the three levels.

        full, half, bottom: maps that the cascades before have left, None for zeros.
        """
        deviation = image.flatten(1).std(1)[:, None, None, None, None]
        mean = image.mean((1, 2, 3, 4), keepdim=True)
        standard = (image - mean) / torch.where(deviation > 0, deviation, 1)
        seen, inside = padded(to_frames(standard))
        change, finest, back, deepest = self.features(seen, full, half, bottom, len(image))
        return to_series(change[(..., *inside)], len(image)) * deviation, finest, back, deepest

    def features(
        self, seen: Frames, full: Frames | None, half: Frames | None, bottom: Frames | None, items: int
    ) -> tuple[Frames, Frames, Frames, Frames]:
        """Of a standardised and padded series: what comes out, and the maps of the three levels."""
        fine = self.fine_forward(self.first(seen), full, items)
        coarse = self.encode(self.coarse_forward(self.down(fine, items), half, items), items)
        deepest = self.decode(self.bottom(coarse, bottom, items), items)
        back = self.coarse_merge(torch.cat([coarse, self.coarse_backward(deepest, half, items)], 1), items)
        up = self.up(back, items)
        finest = self.fine_merge(torch.cat([fine, self.fine_backward(up, full, items)], 1), items)
        return self.last(finest), finest, back, deepest


def padded(frames: Frames) -> tuple[Frames, tuple[slice, slice]]:
    """With zeros around it up to multiples of :data:`MULTIPLE`, and where it then is."""
    y, x = frames.shape[-2:]
    more = [-size % MULTIPLE for size in (y, x)]
    top, left = (number // 2 for number in more)
    around = nnf.pad(frames, (left, more[1] - left, top, more[0] - top))
    return around, (slice(top, top + y), slice(left, left + x))


def released_name(name: str) -> str:
    """What the released code calls our parameter `name`."""
    for ours, theirs in NAMES:
        name = re.sub(ours, theirs, name)
    return name
