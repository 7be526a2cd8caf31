"""A weighted sum of losses, each term known by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.validate import require


@runtime_checkable
class Loss(Protocol):
    """Every loss: called with a reconstruction, its reference and its acquisition, it returns one number."""

    def __call__(
        self, reconstruction: Reconstruction, reference: Complex[Tensor, "batch frame y x"], acquisition: Acquisition, /
    ) -> Float[Tensor, ""]:
        """The loss, a mean over the batch."""
        ...


def total(
    losses: Mapping[str, tuple[float, Loss]],
    reconstruction: Reconstruction,
    reference: Complex[Tensor, "batch frame y x"],
    acquisition: Acquisition,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Σ weight · loss, and each loss by its name, without weight or gradient: what a log shows."""
    require(bool(losses), "losses: got none, want at least one")
    terms = {name: loss(reconstruction, reference, acquisition) for name, (_, loss) in losses.items()}
    weighted = torch.stack([weight * terms[name] for name, (weight, _) in losses.items()]).sum()
    return weighted, {name: term.detach() for name, term in terms.items()}
