"""What a run of the benchmark says, in short: a table, and how long another one would take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median

from cmr_course.benchmark.designs import ANCHOR, Design, committed
from cmr_course.metrics import Result

MEASURING_S = 0.7
"""Seconds to simulate and undersample a cell and to score a reconstruction, on one thread of the machine of the
committed Results."""
UNKNOWN_S = 5.0
"""Seconds of a method that no committed Result tells of."""


def seconds_of(methods: Iterable[str]) -> float:
    """Seconds that these methods took for a cell at the anchor, by the committed Results, and the cell itself."""
    try:
        rows = committed("anchor")
    except FileNotFoundError:  # the package without its repository
        rows = []
    known: dict[str, list[float]] = {}
    for row in rows:
        if row.seconds is not None:
            known.setdefault(row.method, []).append(row.seconds)
    return MEASURING_S + sum(median(known.get(name, [UNKNOWN_S])) for name in methods)


def summary(rows: Iterable[Result], design: Design, metric: str = "psnr", region: str = "heart") -> str:
    """A table in plain text: for what differs from the anchor (lines) the mean score of each method (columns)."""
    wanted = {cell: what(cell) for cell in design.cells}
    by_place: dict[tuple[str, str], list[float]] = {}
    asked = {tuple(cell.asked().values()): label for cell, label in wanted.items()}
    names = list(ANCHOR.asked())
    for row in rows:
        label = asked.get(tuple(getattr(row, name) for name in names))
        if label is not None and (row.metric, row.region) == (metric, region) and row.value is not None:
            by_place.setdefault((label, row.method), []).append(row.value)
    labels = list(dict.fromkeys(wanted.values()))
    return _table(labels, design.methods, by_place, f"{metric}, {region}")


def drift(rows: Iterable[Result], record: Iterable[Result]) -> dict[str, float]:
    """By metric the largest difference between `rows` and those of `record` that have the same key; inf where one of
    them is undefined and the other is not. Empty where they share no row.
    """
    before = {row.key: row.value for row in record}
    found: dict[str, float] = {}
    for row in rows:
        if row.key in before:
            found[row.metric] = max(found.get(row.metric, 0.0), _apart(row.value, before[row.key]))
    return found


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return 0.0 if one == other else abs(one - other)


def what(cell: object) -> str:
    """What differs from the anchor: ``mask kt_uniform``; ``anchor`` where nothing but the subject does."""
    usual = vars(ANCHOR)
    told = [
        f"{name} {_short(value)}" for name, value in vars(cell).items() if name != "subject" and value != usual[name]
    ]
    return ", ".join(told) or "anchor"


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(labels: Sequence[str], methods: Sequence[str], found: dict[tuple[str, str], list[float]], title: str) -> str:
    width = max(map(len, (*labels, title)))
    lines = [" ".join([f"{title:<{width}}", *(f"{name:>{max(len(name), 7)}}" for name in methods)])]
    for label in labels:
        cells = []
        for name in methods:
            values = found.get((label, name))
            cells.append(f"{f'{fmean(values):.2f}' if values else '–':>{max(len(name), 7)}}")
        lines.append(" ".join([f"{label:<{width}}", *cells]))
    return "\n".join(lines)
