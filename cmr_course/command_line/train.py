"""``cmr-course train``: a recipe in, weights out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cmr_course.command_line.options import count

HELP = "train a network as a recipe says"

DESCRIPTION = """Train the network of RECIPE. DIR gets the recipe, a log of JSON lines, the last checkpoint and the best
one. Typed again, a training goes on where it was stopped. On several processes: torchrun --nproc-per-node N -m
cmr_course train RECIPE, with processes: N in the recipe."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command to `parser`."""
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="YAML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (the recipe's name)")
    parser.add_argument("--until", type=count, metavar="STEP", help="stop after so many steps, to go on another time")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever DIR holds")


def run(args: argparse.Namespace) -> None:
    """Train as `args` say."""
    from cmr_course.training import Recipe, fit

    recipe = Recipe.load(args.recipe)
    out = args.out or Path(recipe.name)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: got {out}, a file, want a folder")
    network = fit(recipe, out, resume=not args.fresh, until=args.until)
    size = sum(parameter.numel() for parameter in network.parameters())
    print(f"{recipe.name}: {size:,} parameters, weights in {out}", file=sys.stderr)
