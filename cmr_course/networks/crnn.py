"""CRNN-MRI: one small network, run again and again, that remembers what it saw (Qin et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.encoding import Encoding
from cmr_course.networks.channels import to_channels, to_complex
from cmr_course.networks.consistency import DataConsistency, require_normalised
from cmr_course.networks.recurrent import Frames, Recurrence, remembered, same, to_frames, to_series
from cmr_course.networks.released import load_named
from cmr_course.networks.start import Start
from cmr_course.networks.unrolled import Image, Unrolled
from cmr_course.validate import require, require_positive, require_whole


class CRNNMRI(Unrolled):
    """Qin et al. 2018 (doi:10.1109/TMI.2018.2863670): the same recurrent block and data consistency, `iterations`
    times.

    The block has `layers` layers of `filters` channels: the first recurrent over frames, in both directions, and over
    iterations; those between recurrent over iterations alone, x_l = ReLU(V x_{l−1} + U x_l of the iteration before);
    the last a convolution to two channels, which is added to the image. Published: five of each, 64 filters.
    trust: of the :class:`DataConsistency`, None replaces. With several coils its step is that of their combined image.

    intensity: images that come in have a 99th percentile of one, and are multiplied by it on their way in, divided on
    their way out. The network does not standardise what it sees, so that what it makes depends on this number; weights
    must be given the one they were trained with.
    """

    def __init__(
        self,
        iterations: int = 5,
        layers: int = 5,
        filters: int = 64,
        *,
        trust: float | None = None,
        intensity: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value, least in (("iterations", iterations, 1), ("layers", layers, 2), ("filters", filters, 1)):
            require_whole(name, value, least)
        require_positive("intensity", intensity)
        self.iterations, self.intensity = iterations, float(intensity)
        self.over_time = Recurrence(2, filters, direction="both")
        self.between = nn.ModuleList(Remember(filters) for _ in range(layers - 2))
        self.last = same(filters, 2)
        self.consistency = DataConsistency(trust)

    @classmethod
    def from_released(
        cls, state: Mapping[str, Tensor], *, iterations: int = 5, trust: float | None = None, intensity: float = 1.0
    ) -> CRNNMRI:
        """The network of a state dict of the released code: ``bcrnn.CRNN_model.i2h.weight``, ``conv1_x.weight``, ….

        iterations, intensity: what the state dict does not say.
        """
        known = "bcrnn.CRNN_model.i2h.weight" in state
        require(known, f"state: got {', '.join(sorted(state)[:3])} …, want bcrnn.CRNN_model.i2h.weight and the like")
        layers = 1 + sum(name.endswith("_x.weight") for name in state)
        filters = len(state["bcrnn.CRNN_model.i2h.weight"])
        network = cls(iterations, layers, filters, trust=trust, intensity=intensity)
        load_named(network, state, partial(released_name, layers=layers), axes=Tensor.clone)
        return network

    def forward(self, acquisition: Acquisition) -> Reconstruction:
        """Reconstruct `acquisition`."""
        seen = Start.of(acquisition)
        require_normalised(seen.sensitivities)
        measured = seen.measured * self.intensity
        steps = self.refine(measured, seen.encoding, measured)
        images = tuple(image * (seen.scale / self.intensity) for image in steps)
        return Reconstruction(images[-1], sensitivities=seen.sensitivities, steps=images)

    def refine(self, image: Image, encoding: Encoding, measured: Image) -> tuple[Image, ...]:
        """The image after each iteration, without a change of scale. measured: Aᴴ y."""
        return self.remembering(image, encoding, measured)[0]

    def remembering(
        self, image: Image, encoding: Encoding, measured: Image
    ) -> tuple[tuple[Image, ...], tuple[tuple[Frames, ...], ...]]:
        """The image after each iteration, and the hidden maps of all layers but the last."""
        images: list[Image] = []
        kept: list[tuple[Frames, ...]] = []
        for _ in range(self.iterations):
            seen = to_channels(image)
            before = kept[-1] if kept else ()
            again = self.recompute and torch.is_grad_enabled()
            change, *hidden = (
                checkpoint(self.block, seen, *before, use_reentrant=False) if again else self.block(seen, *before)
            )
            image = self.consistency(image + to_complex(change.to(seen.dtype)), encoding, measured)
            images.append(image)
            kept.append(tuple(hidden))
        return tuple(images), tuple(kept)

    def block(self, image: Tensor, *before: Frames) -> tuple[Tensor, ...]:
        """(batch, 2, frame, y, x) to what is to be added to it, and the hidden maps of this iteration.

        before: those of the iteration before; none before the first.
        """
        items = len(image)
        x = self.over_time(to_frames(image), before[0] if before else None, items)
        hidden = [x]
        for number, layer in enumerate(self.between, 1):
            x = layer(x, before[number] if before else None)
            hidden.append(x)
        return to_series(self.last(x), items), *hidden


class Remember(nn.Module):
    """x_l = ReLU(V x_{l−1} + U x_l of the iteration before), zeros before the first."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.input = same(filters, filters)
        self.carried = same(filters, filters)

    def forward(self, x: Frames, carried: Frames | None) -> Frames:
        """(frame · item, channel, y, x) to the same."""
        return torch.relu(self.input(x) + remembered(self.carried, carried))


def released_name(name: str, layers: int) -> str:
    """What the released code calls our parameter `name`."""
    what, kind = name.rsplit(".", 1)
    if what == "last":
        return f"conv{layers - 1}_x.{kind}"
    if what.startswith("between."):
        _, number, part = what.split(".")
        return f"conv{int(number) + 1}_{'x' if part == 'input' else 'h'}.{kind}"
    part = {"input": "i2h", "hidden": "h2h", "carried": "ih2ih"}[what.removeprefix("over_time.")]
    return f"bcrnn.CRNN_model.{part}.{kind}"
