"""Results as the table of a paper: mean ± deviation of each method, and a dagger where a test says "different"."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cmr_course.metrics.results import DECIMALS, Result, aligned, merged
from cmr_course.metrics.statistics import (
    CELL_COLUMNS,
    FEWEST_PAIRS,
    Cell,
    MethodScores,
    bonferroni,
    paired_test,
    scores_by_cell,
    subject_pairs,
)
from cmr_course.validate import is_number, require, say

DAGGER = "†"
Column = tuple[str, str]
"""(metric, region)."""


@dataclass(frozen=True)
class PaperTable:
    """A table of text. Shown by a notebook as HTML; `str` aligns it, :meth:`markdown` writes it with bars."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([aligned([self.header, *self.rows]), *self.notes])

    __repr__ = __str__

    def markdown(self) -> str:
        """The table between bars, the notes below it."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        table = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
        return "\n".join([*table, "", *self.notes])

    def _repr_html_(self) -> str:
        def line(cells: Iterable[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(cells, "td") for cells in self.rows)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table><thead>{line(self.header, 'th')}</thead><tbody>{body}</tbody></table>{notes}"


def _require_names(name: str, wanted: Sequence[str] | None, there: set[str]) -> None:
    """`wanted` must be a list of different names, each of which the results have; None stands for all."""
    if wanted is None:
        return
    listed = isinstance(wanted, Sequence) and not isinstance(wanted, str) and len(set(wanted)) == len(wanted)
    require(listed, f"{name}: got {say(wanted)}, want a list of different names")
    missing = [one for one in wanted if one not in there]
    require(not missing, f"{name}: got {say(missing)}, want some of {', '.join(sorted(there))}")


def paper_table(
    results: Iterable[Result],
    *,
    reference_method: str | None = None,
    metrics: Sequence[str] | None = None,
    regions: Sequence[str] = ("full",),
    methods: Sequence[str] | None = None,
    by: Sequence[str] = CELL_COLUMNS,
    level: float = 0.05,
) -> PaperTable:
    """Mean ± sample standard deviation over *subjects*, a line for each method in each cell, a column a metric.

    A dagger says that :func:`cmr_course.metrics.paired_test` against `reference_method` stays below `level` after
    Bonferroni over all tests of the table. Acceleration stands there twice, nominal and realised. `n` counts subjects.

    reference_method: without it nothing is tested. metrics, methods: what is shown, in this order; by default all.
    regions: each metric is shown over each of them, where there are rows. by: as in
        :func:`cmr_course.metrics.compare`.
    """
    require(is_number(level) and 0 < level < 1, f"level: got {say(level)}, want a fraction between 0 and 1")
    known = merged(results)
    for name, wanted, column in (
        ("metrics", metrics, "metric"),
        ("regions", regions, "region"),
        ("methods", methods, "method"),
    ):
        _require_names(name, wanted, {getattr(row, column) for row in known})
    rows = [row for row in known if row.region in regions]
    rows = [row for row in rows if metrics is None or row.metric in metrics]
    rows = [row for row in rows if methods is None or row.method in methods]
    require(bool(rows), "results: got no rows of these metrics, regions and methods, want some")
    shown = list(dict.fromkeys(row.method for row in rows)) if methods is None else list(methods)
    named = reference_method is None or reference_method in shown
    require(named, f"reference_method: got {say(reference_method)}, want one of {', '.join(shown)}")
    order = list(dict.fromkeys(row.metric for row in rows)) if metrics is None else list(metrics)
    present = {(row.metric, row.region) for row in rows}
    columns = [(metric, region) for metric in order for region in regions if (metric, region) in present]
    scores = {column: scores_by_cell(rows, column[0], region=column[1], by=by) for column in columns}
    daggers, tested, small = _daggers(scores, reference_method, level)
    varying = _varying(scores, by)
    lines = [
        line
        for cell in dict.fromkeys(cell for cells in scores.values() for cell in cells)
        for method in shown
        if (line := _line(scores, cell, method, varying, daggers, rows)) is not None
    ]
    header = ("method", *("R nominal" if name == "nominal_R" else name for name in varying), "R realised", "n")
    names = tuple(metric if region == "full" else f"{metric} ({region})" for metric, region in columns)
    return PaperTable((*header, *names), tuple(lines), _notes(reference_method, tested, small, level))


def _daggers(
    scores: dict[Column, dict[Cell, dict[str, MethodScores]]], reference_method: str | None, level: float
) -> tuple[set[tuple[Column, Cell, str]], int, bool]:
    """Which entries differ from the reference method, of how many tests, and whether some had too few subjects."""
    p_values: dict[tuple[Column, Cell, str], float] = {}
    small = False
    for column, cells in scores.items():
        for cell, methods in cells.items():
            for method, values in methods.items():
                if reference_method not in methods or method == reference_method:
                    continue
                first, second = subject_pairs(values, methods[reference_method])
                finite = all(map(math.isfinite, (*first, *second)))
                small = small or len(first) < FEWEST_PAIRS or not finite
                if len(first) >= FEWEST_PAIRS and finite:
                    p_values[column, cell, method] = paired_test(first, second).p_value
    adjusted = bonferroni(list(p_values.values()))
    return {key for key, p in zip(p_values, adjusted, strict=True) if p < level}, len(p_values), small


def _varying(scores: dict[Column, dict[Cell, dict[str, MethodScores]]], by: Sequence[str]) -> list[str]:
    """Columns of the cells that differ within the table, and mask and nominal R always, where `by` holds them."""
    cells = {cell for column in scores.values() for cell in column}
    return [name for name in by if name in ("mask", "nominal_R") or len({dict(cell)[name] for cell in cells}) > 1]


def _line(
    scores: dict[Column, dict[Cell, dict[str, MethodScores]]],
    cell: Cell,
    method: str,
    varying: Sequence[str],
    daggers: set[tuple[Column, Cell, str]],
    rows: Sequence[Result],
) -> tuple[str, ...] | None:
    """One line of the table; None where the method has nothing in this cell."""
    entries = {column: cells.get(cell, {}).get(method) for column, cells in scores.items()}
    if not any(entries.values()):
        return None
    about: dict[str, Any] = dict(cell)
    mine = [row for row in rows if row.method == method and all(getattr(row, k) == v for k, v in about.items())]
    realised = [row.realised_R for row in mine if row.realised_R is not None]
    subjects = max(len(entry.by_subject()) for entry in entries.values() if entry is not None)
    return (
        method,
        *(_plain(about[name]) for name in varying),
        f"{statistics.mean(realised):.2f}" if realised else "",
        str(subjects),
        *(
            _entry(entry, column[0], subjects) + (DAGGER if (column, cell, method) in daggers else "")
            for column, entry in entries.items()
        ),
    )


def _plain(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _entry(scores: MethodScores | None, metric: str, subjects: int) -> str:
    """Mean ± sample deviation over subjects; how many there are, where that is not the `n` of the line."""
    if scores is None:
        return ""
    values = list(scores.by_subject().values())
    if not values:
        return "undefined"
    digits = DECIMALS.get(metric, 4)
    text = f"{math.fsum(values) / len(values):.{digits}f}"
    if len(values) > 1 and all(map(math.isfinite, values)):
        text += f" ± {statistics.stdev(values):.{digits}f}"
    return text if len(values) == subjects else f"{text} (n = {len(values)})"


def _notes(reference_method: str | None, tested: int, small: bool, level: float) -> tuple[str, ...]:
    """What the table's signs mean."""
    notes = ["Mean ± sample standard deviation over n subjects."]
    if tested:
        notes.append(
            f"{DAGGER} differs from {reference_method}: Wilcoxon signed-rank test of paired subjects, p < {level:g} "
            f"after Bonferroni over {tested} tests."
        )
    if small:
        notes.append(f"Not tested: fewer than {FEWEST_PAIRS} pairs of subjects, or a value that is infinite.")
    return tuple(notes)
