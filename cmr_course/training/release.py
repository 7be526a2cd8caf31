"""From the checkpoint of a training to a file of weights that can be shipped."""

from __future__ import annotations

from pathlib import Path

from cmr_course.training.checkpoints import BEST, LAST, Checkpoint
from cmr_course.training.log import read_log
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import LOG
from cmr_course.training.settings import require_known
from cmr_course.weights import Provenance, save


def release(folder: Path | str, path: Path | str, *, which: str = "best", notes: str = "") -> Provenance:
    """Write the weights of the training in `folder` to `path`, NAME.safetensors, and NAME.yaml beside it.

    which: ``best`` (by the validation) or ``last``. notes: what else a reader should know.
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
    )
    save(path, checkpoint.weights, told)
    return told
