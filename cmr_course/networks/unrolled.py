"""What unrolled networks share: from an acquisition to an image near one, through the stages, and back."""

from __future__ import annotations

import torch
from jaxtyping import Complex
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.encoding import Encoding
from cmr_course.networks.channels import to_channels, to_complex
from cmr_course.networks.start import Start

Image = Complex[Tensor, "batch frame y x"]


class Unrolled(nn.Module):
    """Stages, each followed by data consistency: x ← DC(x + stage(x)).

    A network of this kind has `stages`, modules from (batch, 2, frame, y, x) to the same, and `consistencies`, one for
    each. As one of our methods it sees k-space divided by `Acquisition.scale`, estimates maps where there are none
    (ESPIRiT from the ACS), and returns the image after each stage as `steps`.

    recompute: in training, run each stage again in the backward pass instead of keeping what is inside it.
    """

    stages: nn.ModuleList
    consistencies: nn.ModuleList
    recompute: bool = False

    def forward(self, acquisition: Acquisition) -> Reconstruction:
        """Reconstruct `acquisition`."""
        seen = Start.of(acquisition)
        first = self.start(seen.acquisition, seen.encoding, seen.measured)
        steps = self.refine(first, seen.encoding, seen.measured)
        images = tuple(image * seen.scale for image in steps)
        return Reconstruction(images[-1], sensitivities=seen.sensitivities, steps=images)

    def start(self, acquisition: Acquisition, encoding: Encoding, measured: Image) -> Image:
        """The image that the first stage sees: the zero-filled one."""
        return measured

    def refine(self, image: Image, encoding: Encoding, measured: Image) -> tuple[Image, ...]:
        """The image after each stage, without a change of scale. measured: Aᴴ y."""
        steps = []
        for number in range(len(self.stages)):
            image = self.step(number, image, encoding, measured)
            steps.append(image)
        return tuple(steps)

    def step(self, number: int, image: Image, encoding: Encoding, measured: Image) -> Image:
        """One stage, counted from 0: x + stage(x), made consistent."""
        stage, seen = self.stages[number], to_channels(image)
        again = self.recompute and torch.is_grad_enabled()
        change = checkpoint(stage, seen, use_reentrant=False) if again else stage(seen)
        # What a stage adds may be bfloat16; images and data consistency never are.
        return self.consistencies[number](image + to_complex(change.to(seen.dtype)), encoding, measured)
