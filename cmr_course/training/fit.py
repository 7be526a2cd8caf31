"""The training loop."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from cmr_course.training.datasets import Source
from cmr_course.training.processes import joined
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import Run


def fit(
    recipe: Recipe,
    folder: Path | str,
    *,
    source: Source | None = None,
    resume: bool = True,
    until: int | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train as `recipe` says, and return the network with its last weights.

    folder: gets ``recipe.yaml``, ``log.jsonl``, ``last.pt`` and ``best.pt`` (best mean PSNR of the validation). With
    `resume` a training whose checkpoint is there goes on where it was, to the same weights as if it had never stopped.
    source: of examples, None for what the recipe names. until: stop after so many steps, to go on another time.
    progress: a bar on a terminal.
    """
    with joined(recipe) as world, Run.begin(recipe, Path(folder), world, source, resume) as run:
        batches = run.batches(until)
        for step in run.steps(until, progress):
            run.set_rate(step)
            for part in range(recipe.accumulation):
                example = next(batches).to(world.device)
                with world.apart(run.trained, part + 1 == recipe.accumulation):
                    loss = run.loss(example)
                    (loss / recipe.accumulation).backward()
            run.clip(example)
            run.optimiser.step()
            run.optimiser.zero_grad()
            run.finish(step)
        run.stop()
        return run.network.eval()
