"""What the iterative methods of this room share: the data at hand, the stopping rule, the progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.cg import require_tolerance
from cmr_course.classical.power import largest_eigenvalue
from cmr_course.classical.proximal import spectrum_t
from cmr_course.coils import with_maps
from cmr_course.encoding import Encoding
from cmr_course.validate import is_number, require, require_finite, require_positive, require_whole, say

MARGIN = 0.95
"""Steps are this share of 1/‖A‖²: a power iteration finds ‖A‖² from below, and a step must not be too long."""
LARGEST_WEIGHT = 1e6
"""Weights are shares of the largest value: with this one nothing is left, and float32 still holds the products."""
PATIENCE = 3.0
"""Seconds before a progress bar appears."""

Image = Complex[Tensor, "batch frame y x"]
Number = Float[Tensor, "batch 1 1 1"]


@dataclass(frozen=True, eq=False)
class Problem:
    """½‖Ax − y‖² of one acquisition, with what each step of a gradient method needs.

    adjoint: Aᴴy. brightest: the largest magnitude of the temporal spectrum F_t Aᴴy of each batch item, to which the
    weights of a sparse prior are relative.
    """

    encoding: Encoding
    adjoint: Image
    brightest: Number

    @classmethod
    def of(cls, acquisition: Acquisition) -> Problem:
        """The problem that `acquisition` sets, with ESPIRiT maps from its ACS where it has none."""
        require_acquisition(acquisition)
        require_finite("kspace", acquisition.kspace)
        known = acquisition if acquisition.sensitivities is not None else with_maps(acquisition)
        encoding = Encoding.of(known)
        require_finite("sensitivities", encoding.sensitivities)
        adjoint = encoding.adjoint(known.kspace)
        return cls(encoding, adjoint, spectrum_t(adjoint).abs().amax((1, 2, 3), keepdim=True))

    def gradient(self, image: Image) -> Image:
        """Aᴴ(A x − y)."""
        return self.encoding.normal(image) - self.adjoint

    def step(self, given: float | None = None) -> Number:
        """The step of each batch item: `given`, or :data:`MARGIN`/‖A‖² by a power iteration (where A is zero, one)."""
        if given is not None:
            return torch.full_like(self.brightest, given)
        largest = largest_eigenvalue(self.encoding.normal, self.adjoint)[:, None, None, None]
        return torch.where(largest > 0, MARGIN / torch.where(largest > 0, largest, 1), 1)


def norm(image: Image) -> Number:
    """‖image‖ of each batch item, float64: the squares of large and small values fit."""
    return torch.linalg.vector_norm(image.abs().double(), dim=(1, 2, 3), keepdim=True)


def moving(new: Image, old: Image, tolerance: float) -> Bool[Tensor, "batch 1 1 1"]:
    """Which batch items changed by more than `tolerance` times their norm: the others have arrived, and rest."""
    return norm(new - old) > tolerance * norm(old)


def counted(iterations: int, title: str, shown: bool) -> Iterable[int]:
    """0, 1, … below `iterations`, with a progress bar on stderr where that is a terminal and the run takes long."""
    if not (shown and sys.stderr.isatty()):
        return range(iterations)
    from tqdm import tqdm

    return tqdm(range(iterations), desc=title, delay=PATIENCE, file=sys.stderr, leave=False)


def collected(images: Iterable[Image], problem: Problem, keep_steps: bool) -> Reconstruction:
    """The last of `images`, and all of them as steps where they are to be kept."""
    steps: list[Tensor] = []
    for image in images:
        if keep_steps:
            steps.append(image)
    kept = tuple(steps) if keep_steps else None
    return Reconstruction(image, sensitivities=problem.encoding.sensitivities, steps=kept)


@runtime_checkable
class Run(Protocol):
    """The settings that every iterative method here has."""

    @property
    def iterations(self) -> int:
        """At most so many."""
        ...

    @property
    def tolerance(self) -> float:
        """Relative change below which an item has arrived."""
        ...

    @property
    def step(self) -> float | None:
        """Length of a gradient step, or None for a power iteration."""
        ...

    @property
    def keep_steps(self) -> bool:
        """Whether to return the image after each iteration."""
        ...

    @property
    def progress(self) -> bool:
        """Whether a bar may appear."""
        ...


def require_run(run: Run) -> None:
    """The shared settings must be in range."""
    require_whole("iterations", run.iterations)
    require_tolerance(run.tolerance)
    if run.step is not None:
        require_positive("step", run.step)
    for name in ("keep_steps", "progress"):
        value = getattr(run, name)
        require(isinstance(value, bool), f"{name}: got {say(value)}, want True or False")


def require_weight(name: str, value: float) -> None:
    """`value` must be a number from zero to :data:`LARGEST_WEIGHT`."""
    good = is_number(value) and 0 <= value <= LARGEST_WEIGHT
    require(good, f"{name}: got {say(value)}, want a number from zero to {LARGEST_WEIGHT:g}")
