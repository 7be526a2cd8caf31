"""``cmr-course benchmark``: every method on the same hearts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cmr_course.command_line.options import count, progress_bar

if TYPE_CHECKING:
    from cmr_course.benchmark import Cell, Design
    from cmr_course.metrics import Result

HELP = "score every method on the same simulated hearts"

OUT = Path("_build/benchmark")

DESCRIPTION = """Score methods on the cells of the benchmark: an anchor (ten test subjects, one short-axis slice,
uniform mask, nominal R = 8) by every method, and cells in which one thing differs from it, by a short list of methods.
Results go to DIR/anchor.jsonl and DIR/factors.jsonl after each cell; typed again, a run goes on where it was stopped.
An estimate of the time comes first, and at the end how far the scores are from those that the course has committed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument("--tier", choices=("cpu", "full"), default="cpu", help="a part for every build, or all (cpu)")
    parser.add_argument("--only", choices=("anchor", "factors"), help="one of the two designs (both)")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="names, or files of weights (those of the design)")
    parser.add_argument("--workers", type=count, default=1, help="processes (1)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=OUT, help=f"folder to write ({OUT})")
    parser.add_argument("--estimate", action="store_true", help="say how much there is to do, and do nothing")


def run(args: argparse.Namespace) -> None:
    """Score what `args` ask for."""
    from contextlib import closing
    from dataclasses import replace

    from cmr_course.benchmark import drift, missing, run, summary
    from cmr_course.checkout import commit
    from cmr_course.metrics import read_results

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out: got {args.out}, a file, want a folder")
    chosen = _designs(args.tier, args.only)
    if args.methods:
        chosen = {name: replace(design, methods=tuple(args.methods)) for name, design in chosen.items()}
    paths = {name: args.out / f"{name}.jsonl" for name in chosen}
    todo = {}
    for name, design in chosen.items():
        present = read_results(paths[name]) if paths[name].is_file() else []
        todo[name] = missing(design.cells, design.methods, present)
        reconstructions = sum(len(methods) for _, methods in todo[name])
        minutes = _minutes(todo[name]) / args.workers
        print(f"{name}: {len(todo[name])} cells, {reconstructions} reconstructions, about {minutes:.1f} min")
    if args.estimate:
        return
    args.out.mkdir(parents=True, exist_ok=True)
    for name, design in chosen.items():
        with closing(progress_bar(len(todo[name]), name, "cell")) as bar:
            settings = {"workers": args.workers, "commit": commit(), "tell": bar.update}
            rows = run(design.cells, design.methods, paths[name], **settings)
        print(f"\n{name}: {design.title}\n{summary(rows, design)}")
        told = ", ".join(f"{metric} {value:.2g}" for metric, value in drift(rows, _committed(name)).items())
        print(f"largest difference from the committed Results: {told or 'they have none of these'}")


def _designs(tier: str, only: str | None) -> dict[str, Design]:
    """The designs of a tier, by name."""
    from cmr_course.benchmark import cpu_tier, design

    designs = cpu_tier() if tier == "cpu" else {name: design(name) for name in ("anchor", "factors")}
    return {name: one for name, one in designs.items() if only in (None, name)}


def _committed(name: str) -> list[Result]:
    """The Results of the repository; none where only the package is installed."""
    from cmr_course.benchmark import committed

    try:
        return committed(name)
    except FileNotFoundError:
        return []


def _minutes(todo: list[tuple[Cell, tuple[str, ...]]]) -> float:
    """What the committed Results of the anchor took, for as many reconstructions, on one process."""
    from cmr_course.benchmark import seconds_of

    return sum(seconds_of(methods) for _, methods in todo) / 60
