"""From the checkpoint of a training to a file of weights that can be shipped."""

from __future__ import annotations

from pathlib import Path

import torch

from cmr_course.networks import build
from cmr_course.training.checkpoints import BEST, LAST, Checkpoint
from cmr_course.training.log import read_log
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import LOG
from cmr_course.training.settings import require_known
from cmr_course.validate import require
from cmr_course.weights import Provenance, save
from cmr_course.weights.store import made_again


def release(
    folder: Path | str, path: Path | str, *, which: str = "best", notes: str = "", stored: str = "float32"
) -> Provenance:
    """Write the weights of the training in `folder` to `path`, NAME.safetensors, and NAME.yaml beside it.

    which: ``best`` (by the validation) or ``last``. notes: what else a reader should know.
    stored: ``float32``, or ``float16`` for a file of half the size (:data:`cmr_course.weights.store.STORED`).
    """
    require_known(f"which {which!r}", which, ("best", "last"))
    folder = Path(folder)
    checkpoint = Checkpoint.load(folder / (BEST if which == "best" else LAST))
    recipe = Recipe.of(checkpoint.recipe)
    scores = {}
    for entry in read_log(folder / LOG):
        if "validation" in entry and entry["step"] == checkpoint.step:
            scores = {name: round(value, 4) for name, value in entry["validation"].items()}
    told = Provenance(
        network={"name": recipe.network.name, "settings": dict(recipe.network.settings)},
        recipe=recipe.plain(),
        seed=recipe.seed,
        step=checkpoint.step,
        commit=checkpoint.versions.get("commit", ""),
        simulation=checkpoint.versions["simulation"],
        versions=dict(checkpoint.versions),
        hours=round(checkpoint.seconds / 3600, 2),
        device=checkpoint.device,
        scores=scores,
        notes=notes,
        stored=stored,
        branched=checkpoint.branched,
    )
    left_out = made_again(build(recipe.network.name, recipe.network.settings))
    for name, value in left_out.items():
        same = bool(torch.equal(checkpoint.weights[name], value))
        require(same, f"{folder}: {name} is not what the recipe's settings give, want it left as it was drawn")
    save(path, {name: value for name, value in checkpoint.weights.items() if name not in left_out}, told)
    return told
