"""Make the Results of a design: python -m benchmarks.classical DESIGN [--workers N] [--subjects ...]
[--methods ...].

Results go to results/DESIGN.jsonl, after each cell, so that a run that was stopped goes on. Delete the file to begin
anew, after a change of a method or of the simulator.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tqdm import tqdm

from cmr_course.benchmark import DESIGNS, design, run, subset
from cmr_course.checkout import commit

ROOT = Path(__file__).resolve().parents[1]


def series_folder() -> Path:
    """Where the real series are."""
    named = os.environ.get("CMR_COURSE_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("design", choices=DESIGNS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--subjects", nargs="+", help="only these")
    parser.add_argument("--methods", nargs="+", help="only these of the design's")
    options = parser.parse_args(arguments)
    chosen = design(options.design)
    if options.subjects:
        chosen = subset(chosen, [int(name) if name.isdigit() else name for name in options.subjects])
    path = ROOT / "results" / f"{options.design}.jsonl"
    folder = series_folder() if chosen.needs_real else None
    with tqdm(total=len(chosen.cells), unit="cell") as bar:
        run(
            chosen.cells,
            options.methods or chosen.methods,
            path,
            metrics=chosen.metrics,
            regions=chosen.regions,
            workers=options.workers,
            folder=folder,
            commit=commit(),
            tell=bar.update,
        )


if __name__ == "__main__":
    main()
