"""Is one method better than another? Paired tests, bootstrap intervals, and the table of a paper.

The unit is the subject. Frames and slices of one heart share anatomy, motion, coils and noise: where a method does well
on one frame it does well on the next. Counting each of them as an observation of its own (pseudo-replication, Hurlbert
1984, doi:10.2307/1942661) makes p-values far too small and intervals far too narrow. So everything here is first
averaged within a subject, and a test with ten hearts has ten pairs, however many frames they have. Of 2,000 simulated
experiments with two equal methods, ten hearts and twelve frames each (the spread within a heart 0.3 of that between
hearts), p < 0.05 came up in 5 % by subject, and in 55 % by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from cmr_course.metrics.results import COLUMNS, NOT_IN_KEY, Result, merged
from cmr_course.validate import is_number, require, require_axes, require_finite, require_generator, require_whole, say

FEWEST_PAIRS = 6
"""With five pairs no two-sided signed-rank test gets below p = 1/16."""
EXACT_UP_TO = 50
"""Pairs that differ; beyond, scipy's normal approximation is taken."""

METHOD_COLUMNS = ("method", "checkpoint", "seed", "maps")
"""What may differ within a pair: who reconstructed, not what."""
PAIR_COLUMNS = tuple(name for name in COLUMNS if name not in (*NOT_IN_KEY, *METHOD_COLUMNS))
CELL_COLUMNS = ("view", "contrast", "domain", "matrix", "coils", "snr_db", "perturbation", "mask", "nominal_R")
"""What parts results into cells, each with its own mean and test."""

Values = Sequence[float] | Float[Tensor, " n"]
Cell = tuple[tuple[str, object], ...]
"""(column, value) for each column that parts results."""


LARGEST = 1e150
"""Of a number that is tested: the squares of larger ones are infinite."""


@dataclass(frozen=True)
class PairedTest:
    """What :func:`paired_test` found: `n` pairs, `n_different` of them not equal, the median of a − b."""

    p_value: float
    n: int
    n_different: int
    median_difference: float


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it that covers it with probability `level`."""

    estimate: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """`method` against `reference_method` in one cell: differences are method − reference, one pair a subject.

    p_adjusted: after Bonferroni over all comparisons of the same call.
    """

    method: str
    reference_method: str
    metric: str
    region: str
    cell: Cell
    test: PairedTest
    p_adjusted: float


def paired_test(a: Values, b: Values) -> PairedTest:
    """Wilcoxon's signed-rank test (1945, doi:10.2307/3001968), two-sided, of pairs (a, b), one for each subject.

    Pairs without a difference are left out, as by Wilcoxon; equal differences share their mean rank. The p-value is
    exact up to 50 pairs that differ, with shared ranks as well, and scipy's normal approximation beyond. Where no pair
    differs, nothing speaks against equality: p = 1.

    Do not pass frames or slices of one subject as pairs: see the top of this module.

    Raises:
        ValueError: unequal lengths, NaN or infinity, fewer than six pairs.
    """
    first, second = _numbers("a", a), _numbers("b", b)
    require(len(first) == len(second), f"b: got {len(second)} values, want {len(first)}, one for each of a")
    require(
        len(first) >= FEWEST_PAIRS, f"a: got {len(first)} pairs, want {FEWEST_PAIRS} or more for a signed-rank test"
    )
    difference = (first - second).numpy()
    # A rounding error is no difference: 0.9 − 0.8 and 0.5 − 0.4 would else be untied, 0.3 − 0.1·3 different from zero.
    scale = max(float(first.abs().max()), float(second.abs().max()))
    difference = np.round(difference / scale, 12) * scale if scale > 0 else difference
    different = difference[difference != 0]
    p_value = 1.0 if len(different) == 0 else _signed_rank(different)
    return PairedTest(p_value, len(difference), len(different), float((first - second).quantile(0.5)))


def _signed_rank(different: NDArray[np.float64]) -> float:
    """Two-sided p-value for differences that are not zero.

    scipy's own exact distribution knows no shared ranks. Twice a mean rank is a whole number, so that the sums of all
    choices of signs are counted one rank after the other.
    """
    if len(different) > EXACT_UP_TO:
        return float(stats.wilcoxon(different, method="approx").pvalue)
    twice = (2 * stats.rankdata(np.abs(different))).astype(int)
    counts = np.zeros(int(twice.sum()) + 1)  # of 2^50 choices at most: exact in float64
    counts[0] = 1
    for rank in twice:
        counts[rank:] = counts[rank:] + counts[: len(counts) - rank]
    positive = int(twice[different > 0].sum())
    tail = min(counts[: positive + 1].sum(), counts[positive:].sum())
    return float(min(1.0, 2 * tail / 2.0 ** len(different)))


def bonferroni(p_values: Sequence[float]) -> list[float]:
    """Each p-value times their number, at most 1: how often chance does as well in *any* of that many tests."""
    listed = isinstance(p_values, Sequence) and not isinstance(p_values, str)
    require(listed, f"p_values: got {say(p_values)}, want a sequence of numbers from 0 to 1")
    for p in p_values:
        require(is_number(p) and 0 <= p <= 1, f"p_values: got {say(p)}, want numbers from 0 to 1")
    return [min(1.0, len(p_values) * float(p)) for p in p_values]


def mean_of(values: Float[Tensor, "*resamples n"]) -> Float[Tensor, "*resamples"]:
    """Mean over the last axis."""
    return values.mean(-1)


def bootstrap_interval(
    values: Values,
    statistic: Callable[[Tensor], Tensor] = mean_of,
    *,
    generator: torch.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> Interval:
    """Percentile interval of the bootstrap (Efron and Tibshirani 1993, chapter 13) of `statistic` over subjects.

    values: one for each subject; for two methods on the same subjects their differences a − b.
    statistic: of the last axis of (resamples, n), all resamples at once.

    With few subjects it is too narrow: of 2,000 simulated experiments with ten subjects, normally distributed, the 95 %
    interval of the mean covered the truth in 90 %.

    Raises:
        ValueError: fewer than two values, NaN or infinity, a level that is no fraction.
    """
    numbers = _numbers("values", values)
    require(len(numbers) > 1, f"values: got {len(numbers)}, want two or more")
    require_generator("generator", generator)
    require(is_number(level) and 0 < level < 1, f"level: got {say(level)}, want a fraction between 0 and 1")
    require_whole("resamples", resamples, 100)
    require(callable(statistic), f"statistic: got {say(statistic)}, want a function of (resamples, n)")
    drawn = torch.randint(len(numbers), (resamples, len(numbers)), generator=generator, device=generator.device).cpu()
    estimates = statistic(numbers[drawn])
    good = isinstance(estimates, Tensor) and estimates.shape == (resamples,) and estimates.is_floating_point()
    require(good, f"statistic: got {say(estimates)}, want one real number for each of {resamples} resamples")
    require_finite("statistic", estimates)
    tail = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=estimates.dtype)
    low, high = torch.quantile(estimates, tail).tolist()
    return Interval(float(statistic(numbers)), low, high, float(level))


def compare(
    results: Iterable[Result],
    metric: str,
    reference_method: str,
    *,
    region: str = "full",
    by: Sequence[str] = CELL_COLUMNS,
) -> list[Comparison]:
    """Every other method against `reference_method`, in each cell, by :func:`paired_test` over subjects.

    Rows pair where every key column but method, checkpoint, seed and maps agrees; rows without a partner and undefined
    values are left out on both sides. Pairs are averaged over frames, slices and seeds, then over all else within a
    subject that `by` does not part: one pair a subject.

    by: columns that part the results into cells. ``("mask", "nominal_R")`` pools views, for example.

    Raises:
        ValueError: no rows of `metric` or `reference_method`, fewer than six subjects that both methods have, or rows
            of one method with several checkpoints or maps (select one first).
    """
    found = scores_by_cell(results, metric, region=region, by=by)
    known = list(dict.fromkeys(method for methods in found.values() for method in methods))
    require(reference_method in known, f"reference_method: got {say(reference_method)}, want one of {', '.join(known)}")
    tests = [
        (method, cell, paired_test(*subject_pairs(scores, methods[reference_method])))
        for cell, methods in found.items()
        if reference_method in methods
        for method, scores in methods.items()
        if method != reference_method
    ]
    adjusted = bonferroni([test.p_value for _, _, test in tests])
    return [
        Comparison(method, reference_method, metric, region, cell, test, p)
        for (method, cell, test), p in zip(tests, adjusted, strict=True)
    ]


@dataclass(frozen=True)
class MethodScores:
    """Scores of one method in one cell, by what was reconstructed (values of :data:`PAIR_COLUMNS`); None: undefined."""

    by_pair: dict[tuple[object, ...], float | None]

    def by_subject(self, only: Iterable[tuple[object, ...]] | None = None) -> dict[str, float]:
        """Mean over the defined scores of each subject; `only` these, where given."""
        grouped: dict[str, list[float]] = {}
        for pair in self.by_pair if only is None else only:
            value = self.by_pair[pair]
            if value is not None:
                grouped.setdefault(str(pair[PAIR_COLUMNS.index("subject")]), []).append(value)
        return {subject: sum(values) / len(values) for subject, values in grouped.items()}


def subject_pairs(a: MethodScores, b: MethodScores) -> tuple[list[float], list[float]]:
    """Means of each subject over what both methods have reconstructed, in the same order of subjects."""
    both = [pair for pair, value in a.by_pair.items() if value is not None and b.by_pair.get(pair) is not None]
    first, second = a.by_subject(both), b.by_subject(both)
    return list(first.values()), [second[subject] for subject in first]


def scores_by_cell(
    results: Iterable[Result], metric: str, *, region: str = "full", by: Sequence[str] = CELL_COLUMNS
) -> dict[Cell, dict[str, MethodScores]]:
    """The scores of `metric` in `region` by cell and method, averaged over seeds; series rows where there are any."""
    parts = not isinstance(by, str) and all(name in PAIR_COLUMNS for name in by)
    require(parts, f"by: got {say(by)}, want columns among {', '.join(PAIR_COLUMNS)}")
    rows = [row for row in merged(results) if row.metric == metric and row.region == region]
    require(bool(rows), f"results: got no rows of {metric} in region {region}, want some")
    series = {row.key for row in rows if row.frame is None}
    rows = [row for row in rows if row.frame is None or replace(row, frame=None).key not in series]
    grouped: dict[Cell, dict[str, dict[tuple[object, ...], list[Result]]]] = {}
    for row in rows:
        cell = tuple((name, getattr(row, name)) for name in by)
        pair = tuple(getattr(row, name) for name in PAIR_COLUMNS)
        grouped.setdefault(cell, {}).setdefault(row.method, {}).setdefault(pair, []).append(row)
    return {cell: {method: _scores(pairs) for method, pairs in methods.items()} for cell, methods in grouped.items()}


def _scores(rows: Mapping[tuple[object, ...], Sequence[Result]]) -> MethodScores:
    return MethodScores({pair: _one_score(same) for pair, same in rows.items()})


def _one_score(rows: Sequence[Result]) -> float | None:
    """Mean over the seeds of one method on one pair; undefined where one of them is."""
    for name in ("checkpoint", "maps"):
        values = sorted({getattr(row, name) for row in rows})
        several = ", ".join(map(repr, values))
        require(len(values) == 1, f"results: got {rows[0].method} with {name} {several}, want one (select it first)")
    values = [row.value for row in rows]
    return None if None in values else math.fsum(value for value in values if value is not None) / len(values)


def _ordinary(value: object) -> bool:
    return is_number(value) and abs(value) < LARGEST  # type: ignore[arg-type]


def _numbers(name: str, values: Values) -> Float[Tensor, " n"]:
    """`values` as float64 on the CPU."""
    if not isinstance(values, Tensor):
        good = isinstance(values, Sequence) and not isinstance(values, str) and all(map(_ordinary, values))
        require(
            good and len(values) > 0,
            f"{name}: got {say(values)}, want a sequence of numbers without NaN, below {LARGEST:g}",
        )
        values = torch.tensor([float(value) for value in values], dtype=torch.float64)
    require_axes(name, values, "subject")
    require(not values.is_complex(), f"{name}: got complex values ({values.dtype}), want real ones")
    require_finite(name, values)
    large = int((values.abs() >= LARGEST).sum())
    require(large == 0, f"{name}: got {large} numbers of {LARGEST:g} or more, want smaller ones")
    return values.detach().cpu().double()
