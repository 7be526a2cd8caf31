"""Methods compared on the same subjects: a line for each heart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmr_course.metrics import Result, bootstrap_interval
from cmr_course.metrics.statistics import CELL_COLUMNS, MethodScores, scores_by_cell
from cmr_course.plotting.style import METHOD_STYLE, OTHER, grid, wrapped
from cmr_course.validate import require, require_generator, say

UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "nmse": "NMSE", "hfen": "HFEN", "haarpsi": "HaarPSI", "dists": "DISTS"}
"""How a metric is named along an axis, where not by its own name."""
SUBJECT_LINE: dict[str, Any] = {"color": "#b0b0b0", "linewidth": 0.8, "marker": ".", "markersize": 4, "zorder": 1}


def paired(
    results: Iterable[Result],
    metric: str,
    methods: Sequence[str],
    *,
    generator: torch.Generator,
    region: str = "full",
    by: Sequence[str] = CELL_COLUMNS,
    level: float = 0.95,
) -> Figure:
    """A grey line for each subject across `methods`, and the mean of each method with its bootstrap interval.

    Subjects are averaged over frames and slices first, and only those are shown that every method has. Whether two
    methods differ is seen in the lines, which pair, and not in the intervals, which do not.

    generator: draws the bootstrap's resamples. by: columns in which the results must not differ, as in
        :func:`cmr_course.metrics.compare`; fewer columns pool the others.

    Raises:
        ValueError: rows of several cells, a method without rows, or fewer than two subjects that all methods have.
    """
    names = not isinstance(methods, str) and len(methods) > 0 and all(isinstance(name, str) for name in methods)
    require(names, f"methods: got {say(methods)}, want a list of names")
    require_generator("generator", generator)
    subjects = _common_subjects(results, metric, methods, region, by)
    figure, axes, width = grid(1, 1, size=min(1.5 + 1.1 * len(methods), 7.2), aspect=0.6, layout="constrained")
    panel: Axes = axes[0, 0]
    for values in zip(*(scores.values() for scores in subjects.values()), strict=True):
        panel.plot(range(len(methods)), values, **SUBJECT_LINE)
    for place, (name, scores) in enumerate(subjects.items()):
        found = bootstrap_interval(list(scores.values()), generator=generator, level=level)
        style = METHOD_STYLE.get(name, OTHER)
        reach = [[found.estimate - found.low], [found.high - found.estimate]]
        panel.errorbar(
            place, found.estimate, reach, color=style.colour, marker=style.marker, markersize=7, capsize=4, zorder=2
        )
    panel.set_xticks(range(len(methods)), [wrapped(name, width / len(methods)) for name in methods])
    panel.set_xlim(-0.4, len(methods) - 0.6)
    panel.set_ylabel(UNITS.get(metric, metric) + ("" if region == "full" else f", {region}"))
    count = len(next(iter(subjects.values())))
    figure.supxlabel(f"{count} subjects; mean and {100 * level:g} % bootstrap interval")
    return figure


def _common_subjects(
    results: Iterable[Result], metric: str, methods: Sequence[str], region: str, by: Sequence[str]
) -> dict[str, dict[str, float]]:
    """By method the score of each subject that all of `methods` have, in one order, over the same pairs."""
    cells = scores_by_cell((row for row in results if row.method in methods), metric, region=region, by=by)
    differ = sorted({name for one in cells for other in cells for name, value in set(one) - set(other)})
    require(len(cells) == 1, f"results: got rows that differ in {', '.join(differ)}, want one cell (select it first)")
    (scores,) = cells.values()
    absent = [name for name in methods if name not in scores]
    require(not absent, f"methods: got {', '.join(absent)} without rows of {metric}, want methods that were scored")
    common = [pair for pair in scores[methods[0]].by_pair if all(_defined(scores[name], pair) for name in methods)]
    subjects = {name: scores[name].by_subject(common) for name in methods}
    count = len(subjects[methods[0]])
    require(count > 1, f"results: got {count} subjects that all methods have, want two or more")
    return subjects


def _defined(scores: MethodScores, pair: tuple[object, ...]) -> bool:
    return scores.by_pair.get(pair) is not None
