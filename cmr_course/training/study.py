"""Studies: one training with one thing different at a time, with several seeds, scored on the same hearts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from cmr_course.benchmark import Cell, score
from cmr_course.benchmark.runner import METRICS, REGIONS
from cmr_course.checkout import commit
from cmr_course.metrics import Result, append_results, read_results
from cmr_course.training.checkpoints import LAST, Checkpoint
from cmr_course.training.fit import fit
from cmr_course.training.log import read_log
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import LOG
from cmr_course.validate import require
from cmr_course.workers import Tell, done


@dataclass(frozen=True)
class _Job:
    name: str
    recipe: Recipe
    folder: Path

    @classmethod
    def of(cls, name: str, seed: int, recipe: Recipe, folder: Path | str) -> _Job:
        """The training of this name and seed, on one thread."""
        return cls(name, replace(recipe, seed=seed, name=name, threads=1), folder_of(folder, name, seed))


def study(
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    cells: Sequence[Cell],
    folder: Path | str,
    *,
    record: Path | str | None = None,
    workers: int = 1,
    metrics: Sequence[str] = METRICS,
    regions: Sequence[str] = REGIONS,
    tell: Callable[[str], None] = lambda said: None,
) -> list[Result]:
    """Train each of `recipes` with each of `seeds`, and score the last weights on `cells`: Results, one row a score.

    folder: of all trainings, each in ``NAME_SEED``; what is there goes on where it was, or is not trained again.
    record: Results are appended to this file, training by training; those that it holds are kept.
    workers: trainings at a time, each on one thread. metrics, regions: of the scores.
    tell: hears of each training that is done.
    """
    require(bool(recipes) and bool(seeds) and bool(cells), "study: got no recipe, seed or cell, want at least one each")
    present = read_results(record) if record is not None and Path(record).is_file() else []
    have = {(row.method, row.seed) for row in present}
    wanted = [(name, seed) for seed in seeds for name in recipes if (name, seed) not in have]
    jobs = [_Job.of(name, seed, recipes[name], folder) for name, seed in wanted]
    rows, made_by = list(present), commit()
    with closing(done(_train, jobs, workers, lambda: None)) as finished:
        for job, _ in finished:
            network = Checkpoint.load(job.folder / LAST).method()
            found = [
                replace(row, seed=job.recipe.seed)
                for cell in cells
                for row in score(cell, {job.name: network}, metrics=metrics, regions=regions, commit=made_by)
            ]
            if record is not None:
                append_results(record, found)
            rows += found
            tell(f"{job.name}, seed {job.recipe.seed}")
    return rows


def folder_of(folder: Path | str, name: str, seed: int) -> Path:
    """Where the training of this name and seed of a study is."""
    return Path(folder) / f"{name}_{seed}".replace(", ", "-").replace(" ", "-")


def curves(names: Sequence[str], seeds: Sequence[int], folder: Path | str) -> dict[str, list[dict[str, list[float]]]]:
    """How the trainings of a study went, from their logs: for each name and seed ``step`` and ``loss``, the mean since
    the step before, and ``validated`` and ``psnr``, the steps and scores of the validation.
    """
    found: dict[str, list[dict[str, list[float]]]] = {}
    for name in names:
        for seed in seeds:
            log = read_log(folder_of(folder, name, seed) / LOG)
            lines, scores = [e for e in log if "loss" in e], [e for e in log if "validation" in e]
            curve = {
                "step": [line["step"] for line in lines],
                "loss": [round(line["loss"], 6) for line in lines],
                "validated": [line["step"] for line in scores],
                "psnr": [round(line["validation"]["psnr"], 3) for line in scores],
            }
            found.setdefault(name, []).append(curve)
    return found


def _train(job: _Job, tell: Tell) -> None:
    fit(job.recipe, job.folder, progress=False)
