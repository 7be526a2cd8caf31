"""Studies: one training with one thing different at a time, with several seeds, scored on the same hearts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from cmr_course.benchmark import Cell, score
from cmr_course.checkout import commit
from cmr_course.metrics import Result, append_results, read_results
from cmr_course.training.checkpoints import LAST, Checkpoint
from cmr_course.training.fit import fit
from cmr_course.training.recipe import Recipe
from cmr_course.validate import require
from cmr_course.workers import Tell, done


@dataclass(frozen=True)
class _Job:
    name: str
    recipe: Recipe
    folder: Path


def study(
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    cells: Sequence[Cell],
    folder: Path | str,
    *,
    record: Path | str | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = lambda said: None,
) -> list[Result]:
    """Train each of `recipes` with each of `seeds`, and score the last weights on `cells`: Results, one row a score.

    folder: of all trainings, each in ``NAME_SEED``; what is there goes on where it was, or is not trained again.
    record: Results are appended to this file, training by training; those that it holds are kept.
    workers: trainings at a time, each on one thread. tell: hears of each training that is done.
    """
    require(bool(recipes) and bool(seeds) and bool(cells), "study: got no recipe, seed or cell, want at least one each")
    present = read_results(record) if record is not None and Path(record).is_file() else []
    have = {(row.method, row.seed) for row in present}
    jobs = [
        _Job(name, replace(recipe, seed=seed, name=name, threads=1), Path(folder) / f"{name}_{seed}".replace(" ", "-"))
        for seed in seeds
        for name, recipe in recipes.items()
        if (name, seed) not in have
    ]
    rows, made_by = list(present), commit()
    with closing(done(_train, jobs, workers, lambda: None)) as finished:
        for job, _ in finished:
            network = Checkpoint.load(job.folder / LAST).method()
            found = [
                replace(row, seed=job.recipe.seed)
                for cell in cells
                for row in score(cell, {job.name: network}, commit=made_by)
            ]
            if record is not None:
                append_results(record, found)
            rows += found
            tell(f"{job.name}, seed {job.recipe.seed}")
    return rows


def _train(job: _Job, tell: Tell) -> None:
    fit(job.recipe, job.folder, progress=False)
