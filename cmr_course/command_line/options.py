"""How the commands read their options and show how far they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import Any


def count(text: str) -> int:
    """A whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, want a whole number above zero")
    return number


def index(text: str) -> int:
    """A whole number from zero up."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"got {text}, want a whole number from zero up")
    return number


def decibel(text: str) -> float | None:
    """A number of dB, or ``none`` for no noise."""
    return None if text == "none" else float(text)


def distinct(name: str, numbers: list[int] | None) -> None:
    """ValueError where a number stands in `numbers` twice."""
    twice = sorted({number for number in numbers or () if (numbers or []).count(number) > 1})
    if twice:
        raise ValueError(f"{name}: got {', '.join(map(str, twice))} twice, want each once")


def progress(items: Iterable[Any], title: str) -> Iterable[Any]:
    """`items` with a progress bar on stderr, where that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=title, unit="slice", file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)


def progress_bar(total: int, title: str, unit: str = "slice") -> Any:
    """A bar of `total` steps on stderr, where that is a terminal: ``update(1)`` for each step, ``close()`` at the end.

    ``write(line)`` prints to stdout, above the bar.
    """
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit=unit, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False)
