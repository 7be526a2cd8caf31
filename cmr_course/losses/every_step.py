"""Deep supervision: a loss of what every step of an unrolled network has left, not of the last one alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.losses.magnitude import loss_at
from cmr_course.losses.weighted import AnyLoss, aims_at_kspace
from cmr_course.validate import require


class EveryStep(nn.Module):
    """Σ_t loss(what step t has left), as in lines 11 to 17 of GENRE-CMR's Algorithm 1 (arXiv:2508.20600).

    loss: any of image or k-space. ValueError where the network leaves no images of its steps, or, for one that aims at
    k-space, no k-space of them.
    """

    def __init__(self, loss: AnyLoss) -> None:
        super().__init__()
        self.loss = loss
        self.aims_at = "kspace" if aims_at_kspace(loss) else "image"

    def at(self, step: int) -> EveryStep:
        """What holds at this step of a training, for a loss that changes in its course."""
        return EveryStep(loss_at(self.loss, step))  # type: ignore[arg-type]

    def forward(self, reconstruction: Reconstruction, reference: Tensor, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The sum over the steps."""
        steps = of_steps(reconstruction, self.aims_at == "kspace")
        return torch.stack([self.loss(step, reference, acquisition) for step in steps]).sum()


def of_steps(reconstruction: Reconstruction, with_kspace: bool = False) -> tuple[Reconstruction, ...]:
    """What each step has left as a reconstruction by itself, with its k-space where that is there."""
    images, kspaces = reconstruction.steps, reconstruction.step_kspaces
    require(bool(images), "reconstruction: got no images of its steps (steps), want one of each")
    assert images is not None
    require(
        kspaces is not None or not with_kspace,
        "reconstruction: got no k-space of its steps (step_kspaces), want one of each",
    )
    places = kspaces if kspaces is not None else (None,) * len(images)
    maps = reconstruction.sensitivities
    return tuple(Reconstruction(x, kspace=k, sensitivities=maps) for x, k in zip(images, places, strict=True))
