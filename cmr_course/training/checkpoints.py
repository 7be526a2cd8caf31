"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmr_course import __version__, simulation
from cmr_course.checkout import commit
from cmr_course.networks import build
from cmr_course.training.recipe import Recipe
from cmr_course.validate import require
from cmr_course.weights.store import load_weights

KIND = "cmr-course training checkpoint"
LAST, BEST = "last.pt", "best.pt"


@dataclass(frozen=True)
class Checkpoint:
    """State after `step` steps of the optimiser.

    weights, optimiser: their state dicts. recipe: as plain values. best: the best score so far and its step, None
    before the first validation. gradient: the usual norm of a gradient. sums: of what the next line of the log tells.
    generators: states of torch's generators.
    seconds: of training so far, on `device`. versions: of what made it. The learning rate follows from step and recipe.
    branched: from which training at which step, where it did not begin at nothing. memories: what losses remember of
    the examples before, by name; that of the first process, where there are several. adversary, weighting: states of
    the discriminator and of the weights of losses, None where there are none.
    """

    step: int
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    recipe: Mapping[str, Any]
    best: tuple[float, int] | None = None
    gradient: float | None = None
    sums: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""
    generators: Mapping[str, Tensor] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    branched: str = ""
    memories: Mapping[str, Any] = field(default_factory=dict)
    adversary: Mapping[str, Any] | None = None
    weighting: Mapping[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write to `path`, which at no time holds half of it; OSError where it cannot be written."""
        atomically(path, lambda partial: torch.save({"kind": KIND, **vars(self)}, partial))

    @classmethod
    def load(cls, path: Path | str) -> Checkpoint:
        """The checkpoint in `path`; ValueError where it is damaged or something else. No code in it is run."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: is damaged, or no checkpoint: it holds more than tensors and numbers") from error
        except Exception as error:  # what a damaged pickle does, nobody knows: IndexError, TypeError, …
            raise ValueError(f"{path}: is damaged, or no checkpoint: {' '.join(str(error).split())[:200]}") from error
        good = isinstance(found, dict) and found.pop("kind", None) == KIND
        require(good, f"{path}: is not a checkpoint of a training, want a {LAST} or {BEST} that it wrote")
        try:
            return cls(**found)
        except TypeError as error:
            raise ValueError(f"{path}: is of another version of the course: {error}") from error

    def method(self) -> nn.Module:
        """The network, ready to be called with an acquisition."""
        recipe = Recipe.of(self.recipe)
        network = build(recipe.network.name, recipe.network.settings)
        load_weights(network, self.weights, "checkpoint")
        return network.eval().requires_grad_(False)


def versions() -> dict[str, str]:
    """Of what decides the result of a training."""
    return {
        "cmr_course": __version__,
        "commit": commit(),
        "simulation": simulation.VERSION,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def atomically(path: Path, write: Any) -> None:
    """Call `write` with a temporary name beside `path` and move what it wrote into place; else nothing is left."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            write(partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        except RuntimeError as error:  # torch's writer hides what the system said
            raise OSError(28, f"cannot write ({' '.join(str(error).split())[:120]})", str(path)) from error
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
