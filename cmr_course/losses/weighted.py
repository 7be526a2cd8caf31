"""A weighted sum of losses, each term known by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, cast, runtime_checkable

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


@runtime_checkable
class OfKspace(Protocol):
    """A loss whose reference is k-space: what has the attribute ``aims_at`` with the value "kspace".

    It is called as other losses are, with the fully sampled k-space of the reference's frames in place of the image.
    """

    aims_at: str

    def __call__(
        self,
        reconstruction: Reconstruction,
        reference: Complex[Tensor, "batch frame coil ky kx"],
        acquisition: Acquisition,
        /,
    ) -> Float[Tensor, ""]:
        """The loss, a mean over the batch."""
        ...


AnyLoss: TypeAlias = Loss | OfKspace


def aims_at_kspace(loss: AnyLoss) -> bool:
    """Whether `loss` wants k-space for its reference, and not an image."""
    return getattr(loss, "aims_at", "image") == "kspace"


def total(
    losses: Mapping[str, tuple[float, AnyLoss]],
    reconstruction: Reconstruction,
    reference: Complex[Tensor, "batch frame y x"],
    acquisition: Acquisition,
    kspace: Complex[Tensor, "batch frame coil ky kx"] | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Σ weight · loss, and each loss by its name, without weight or gradient: what a log shows.

    kspace: fully sampled, of the frames of `reference`; ValueError where a loss aims at it and there is none.
    """
    require(bool(losses), "losses: got none, want at least one")
    terms: dict[str, Tensor] = {}
    for name, (_, loss) in losses.items():
        if aims_at_kspace(loss):
            wanted = "want the fully sampled k-space of the reference's frames"
            require(kspace is not None, f"kspace: got None for the loss {name}, {wanted}")
            terms[name] = loss(reconstruction, cast(Tensor, kspace), acquisition)
        else:
            terms[name] = loss(reconstruction, reference, acquisition)
    weighted = torch.stack([weight * terms[name] for name, (weight, _) in losses.items()]).sum()
    return weighted, {name: term.detach() for name, term in terms.items()}
