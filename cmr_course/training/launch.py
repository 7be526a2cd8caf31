"""A training from a notebook, on as many processes of this machine as its recipe wants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cmr_course.training.checkpoints import LAST, Checkpoint, atomically
from cmr_course.training.fit import fit
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import TrainingError

REQUEST = "request.yaml"


def launch(recipe: Recipe, folder: Path | str, *, until: int | None = None) -> Checkpoint:
    """Train as `recipe` says, in `folder`, or go on there; the last checkpoint.

    A recipe for one process is trained in this one, by :func:`fit`. One for several is given to ``torchrun``, on this
    machine alone: what it prints comes through, and what makes it stop is raised as a TrainingError.
    """
    folder = Path(folder)
    if recipe.processes == 1:
        fit(recipe, folder, until=until)
        return Checkpoint.load(folder / LAST)
    folder.mkdir(parents=True, exist_ok=True)
    request = folder / REQUEST
    atomically(request, lambda partial: partial.write_text(recipe.text(), encoding="utf-8"))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(recipe.processes)]
    command += ["-m", "cmr_course", "train", str(request), "--out", str(folder)]
    command += [] if until is None else ["--until", str(until)]
    threads = {} if recipe.threads is None else {"OMP_NUM_THREADS": str(recipe.threads)}
    done = subprocess.run(command, env=os.environ | threads, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("cmr-course: error")]
        raise TrainingError(said[0] if said else done.stderr[-2000:])
    return Checkpoint.load(folder / LAST)
