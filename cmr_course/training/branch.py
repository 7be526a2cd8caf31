"""A training that begins where another one was: the same up to there, with other losses from there on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cmr_course.training.checkpoints import LAST, Checkpoint
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import MAY_DIFFER
from cmr_course.validate import require


def branch(checkpoint: Path | str, recipe: Recipe, folder: Path | str) -> Checkpoint:
    """Begin a training in `folder` from the state in the file `checkpoint`; :func:`fit` with `recipe` goes on from it.

    Both trainings have their weights, their optimiser's moments and all examples in common up to this step, and the
    examples after it, too: what then differs is due to the losses. So losses and name may differ, and what may when a
    training is resumed; else ValueError. What losses remember, weights that follow them and a discriminator are not
    taken over. FileExistsError where `folder` holds a training.
    """
    folder, found = Path(folder), Checkpoint.load(checkpoint)
    before, after = Recipe.of(found.recipe).plain(), recipe.plain()
    free = {"name", "losses", *MAY_DIFFER}
    changed = [name for name in after if name not in free and before.get(name) != after[name]]
    require(not changed, f"recipe: got another {', '.join(changed)} than {checkpoint} was trained with, want the same")
    if (folder / LAST).exists():
        raise FileExistsError(17, "a training is there, want a folder without one", str(folder / LAST))
    origin = ", ".join(filter(None, (found.branched, f"{before['name']} at step {found.step}")))
    begun = replace(
        found, recipe=after, best=None, sums={}, branched=origin, memories={}, adversary=None, weighting=None
    )
    folder.mkdir(parents=True, exist_ok=True)
    begun.save(folder / LAST)
    return begun
