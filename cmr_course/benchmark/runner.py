"""Every method on the same hearts: cells in, Results out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmr_course.acquisition import Reconstructor
from cmr_course.benchmark.cells import Cell, measured
from cmr_course.benchmark.methods import checkpoint, method, require_methods
from cmr_course.metrics import METRICS as KNOWN_METRICS
from cmr_course.metrics import Result, append_results, evaluate, read_results, results_of
from cmr_course.metrics.results import REGIONS as KNOWN_REGIONS
from cmr_course.validate import require, say
from cmr_course.workers import Tell, done

METRICS = ("psnr", "ssim")
REGIONS = ("full", "heart")
REFERENCE = "noise-free truth"


def score(
    cell: Cell,
    methods: Mapping[str, Reconstructor],
    *,
    metrics: Sequence[str] = METRICS,
    regions: Sequence[str] = REGIONS,
    folder: str | os.PathLike[str] | None = None,
    commit: str = "",
) -> list[Result]:
    """Measure `cell` once, reconstruct it by each method, and score: a row for each metric in each region.

    metrics, regions: names that :func:`cmr_course.metrics.evaluate` knows. A method that refuses the cell
    (ValueError) is recorded as undefined, with value None.
    """
    _require_names(metrics, regions)
    good = isinstance(methods, Mapping) and all(map(callable, methods.values()))
    require(good, f"methods: got {say(methods)}, want reconstructors by name")
    acquisition, truth = measured(cell, folder)
    shared = {**cell.columns(acquisition), "reference": REFERENCE, "commit": commit}
    rows: list[Result] = []
    for name, reconstruct in methods.items():
        told: dict[str, Any] = {**shared, "method": name, "checkpoint": checkpoint(name)}
        began = time.perf_counter()
        try:
            image = reconstruct(acquisition)
        except ValueError:
            undefined = [(metric, region) for region in regions for metric in metrics]
            rows += [Result(metric=m, region=r, value=None, **told) for m, r in undefined]
            continue
        seconds = round(time.perf_counter() - began, 3)
        scores = evaluate(image, truth, metrics=metrics, regions=regions)
        rows += results_of(scores, {**told, "seconds": seconds})
    return rows


def _require_names(metrics: Sequence[str], regions: Sequence[str]) -> None:
    """Unknown names are refused before the first minute of work."""
    for name, got, known in (("metrics", metrics, KNOWN_METRICS), ("regions", regions, KNOWN_REGIONS)):
        good = isinstance(got, list | tuple) and bool(got) and all(one in known for one in got)
        require(good, f"{name}: got {say(got)}, want a list of some of {', '.join(known)}")


def run(
    cells: Iterable[Cell],
    methods: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    commit: str = "",
    tell: Callable[[], None] = lambda: None,
    metrics: Sequence[str] = METRICS,
    regions: Sequence[str] = REGIONS,
) -> list[Result]:
    """Score every cell by every method of these names; what `path` already holds is not made again.

    path: a file of Results, appended to after each cell, so that a run that was stopped goes on where it was.
    workers: processes. tell: called after each cell.
    """
    methods, cells = list(methods), list(dict.fromkeys(cells))
    require_methods(methods)
    _require_names(metrics, regions)
    frames = sorted({cell.frames for cell in cells})
    require(len(frames) < 2, f"cells: got {say(frames)} frames, want one number in a file: Results have no such column")
    present = read_results(path) if path is not None and Path(path).exists() else []
    where = None if folder is None else str(folder)
    jobs = [
        _Job(cell, names, where, commit, (*metrics,), (*regions,))
        for cell, names in missing(cells, methods, present, metrics=metrics, regions=regions)
    ]
    rows: list[Result] = []
    with closing(done(_work, jobs, workers, lambda: None)) as finished:
        for _, found in finished:
            rows += found
            if path is not None:
                append_results(path, found)
            tell()
    return [*present, *rows]


def missing(
    cells: Iterable[Cell],
    methods: Sequence[str],
    results: Iterable[Result],
    *,
    metrics: Sequence[str] = METRICS,
    regions: Sequence[str] = REGIONS,
) -> list[tuple[Cell, tuple[str, ...]]]:
    """The cells of which `results` lack rows, each with the methods whose rows they are.

    Rows of a network with other weights than today's do not count.
    """
    cells = list(dict.fromkeys(cells))
    columns = list(cells[0].asked()) if cells else []
    have = {_identity(row, columns) for row in results}
    weights = {name: checkpoint(name) for name in methods}

    def lacks(cell: Cell, name: str) -> bool:
        shared = (*cell.asked().values(),)
        wanted = {(name, weights[name], metric, region, *shared) for metric in metrics for region in regions}
        return not wanted <= have

    lacking = [(cell, tuple(name for name in methods if lacks(cell, name))) for cell in cells]
    return [(cell, names) for cell, names in lacking if names]


@dataclass(frozen=True)
class _Job:
    cell: Cell
    methods: tuple[str, ...]
    folder: str | None
    commit: str
    metrics: tuple[str, ...]
    regions: tuple[str, ...]


def _work(job: _Job, tell: Tell) -> list[Result]:
    methods = {name: _quiet(method(name)) for name in job.methods}
    settings = {"metrics": job.metrics, "regions": job.regions}
    return score(job.cell, methods, **settings, folder=job.folder, commit=job.commit)  # type: ignore[arg-type]


def _quiet(reconstruct: Reconstructor) -> Reconstructor:
    """The same method without a progress bar of its own."""
    return replace(reconstruct, progress=False) if hasattr(reconstruct, "progress") else reconstruct  # type: ignore


def _identity(row: Result, columns: Iterable[str]) -> tuple[Any, ...]:
    return (row.method, row.checkpoint, row.metric, row.region, *(getattr(row, name) for name in columns))


def select(results: Iterable[Result], **wanted: Any) -> list[Result]:
    """The rows whose columns have the values `wanted`; a set, list or tuple names several that are welcome."""
    unknown = [name for name in wanted if name not in Result.__dataclass_fields__]
    require(not unknown, f"wanted: got {', '.join(unknown)}, want columns of a Result")

    def fits(row: Result) -> bool:
        return all(
            getattr(row, name) in value if isinstance(value, set | list | tuple) else getattr(row, name) == value
            for name, value in wanted.items()
        )

    return [row for row in results if fits(row)]
