"""Do methods do to simulated hearts what they do to real ones? Scores of both side by side, and their gaps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from cmr_course.metrics import Result
from cmr_course.metrics.tables import PaperTable
from cmr_course.validate import require, say

SCORE_LIMIT_DB = 1.5
"""Simulated and real hearts are alike to a method where its mean scores differ by no more."""
GAP_LIMIT_DB = 1.0
"""They are alike to two methods where the gap between these differs by no more."""

Setting = tuple[str, float]
"""Mask and nominal R."""
Place = tuple[str, int | None, str, str, str]
"""Subject, slice, view, contrast and perturbation: what methods have to share to be compared."""
Scores = dict[Setting, dict[str, dict[Place, list[float | None]]]]
"""By setting, method and place; several in one place are seeds of one method."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What one method scores under one mask: mean of simulated and of real hearts, each over the means of its subjects.

    gap: by how much more the method gains over the one before it in the list on simulated hearts than on real ones;
    None for the first one.
    """

    mask: str
    nominal_R: float  # noqa: N815
    method: str
    simulated: float
    real: float
    gap: float | None

    @property
    def difference(self) -> float:
        """Simulated minus real."""
        return self.simulated - self.real

    @property
    def alike(self) -> bool:
        """Whether score and gap are within :data:`SCORE_LIMIT_DB` and :data:`GAP_LIMIT_DB`."""
        return abs(self.difference) <= SCORE_LIMIT_DB and abs(self.gap or 0.0) <= GAP_LIMIT_DB


def likeness(
    simulated: Iterable[Result],
    real: Iterable[Result],
    methods: Sequence[str],
    *,
    metric: str = "psnr",
    region: str = "full",
) -> list[Likeness]:
    """One row for each mask, nominal R and method, in this order, of all masks and R that both Results hold.

    All methods are compared on the same hearts: a place (subject, slice …) in which one of them has no value, being
    undefined there, counts for none of them, under this mask and R and on this side.

    simulated, real: each of one domain: all measured as series are, or all in the simulator's own way.
    methods: from the simplest on; each has its gap to the one before.

    Raises:
        ValueError: a side of several domains, rows without R, scores that are not finite; a method without a score of
            `metric` in `region` on either side, no heart with scores of all methods, no mask and R in common.
    """
    several = isinstance(methods, Sequence) and not isinstance(methods, str) and len(methods) > 0
    named = several and all(isinstance(name, str) for name in methods)
    require(named, f"methods: got {say(methods)}, want names of methods, the simplest one first")
    sides = {"simulated": simulated, "real": real}
    groups = {side: _scores(side, rows, metric, region) for side, rows in sides.items()}
    ours, theirs = groups.values()
    common = sorted(ours.keys() & theirs.keys(), key=lambda setting: (setting[0] != "uniform", *setting))
    require(bool(common), f"real: got {say(sorted(theirs))}, want masks and R of {say(sorted(ours))}")
    found = []
    for mask, R in common:
        means = [
            _means(group[mask, R], methods, f"{side}: got no {metric} of {{}} in region {region}, mask {mask}, R {R:g}")
            for side, group in groups.items()
        ]
        before: float | None = None
        for name, of_simulated, of_real in zip(methods, *means, strict=True):
            apart = of_simulated - of_real
            gap = None if before is None else apart - before
            row = Likeness(mask=mask, nominal_R=R, method=name, simulated=of_simulated, real=of_real, gap=gap)
            found.append(row)
            before = apart
    return found


def likeness_table(rows: Iterable[Likeness]) -> PaperTable:
    """The rows as a table in dB; what lies beyond a limit is marked by an asterisk."""
    header = ("mask", "R", "method", "simulated", "real", "difference", "gap")
    lines = [
        (
            row.mask,
            f"{row.nominal_R:g}",
            row.method,
            f"{row.simulated:.2f}",
            f"{row.real:.2f}",
            _marked(row.difference, SCORE_LIMIT_DB),
            "" if row.gap is None else _marked(row.gap, GAP_LIMIT_DB),
        )
        for row in rows
    ]
    note = f"* more than {SCORE_LIMIT_DB:g} dB apart, or gaps to the method above more than {GAP_LIMIT_DB:g} dB apart"
    return PaperTable(header, tuple(lines), (note,))


def _scores(side: str, rows: Iterable[Result], metric: str, region: str) -> Scores:
    """The scores of whole series by `metric` over `region`, all of one domain."""
    listed = list(rows) if isinstance(rows, Iterable) else None
    good = listed is not None and all(isinstance(row, Result) for row in listed)
    require(good, f"{side}: got {say(rows)}, want Results")
    chosen = [row for row in listed or () if (row.metric, row.region, row.frame) == (metric, region, None)]
    domains = sorted({row.domain for row in chosen})
    require(len(domains) < 2, f"{side}: got rows of the domains {', '.join(map(repr, domains))}, want those of one")
    found: Scores = {}
    for row in chosen:
        told = f"{side}: got {metric} of {say(row.method)}, subject {say(row.subject)}, mask {row.mask},"
        if row.nominal_R is None:
            raise ValueError(f"{told} without a nominal R, want one")
        finite = row.value is None or math.isfinite(row.value)
        require(finite, f"{told} R {row.nominal_R:g}: {row.value}, want a finite number, or None")
        place = (row.subject, row.slice, row.view, row.contrast, row.perturbation)
        places = found.setdefault((row.mask, row.nominal_R), {}).setdefault(row.method, {})
        places.setdefault(place, []).append(row.value)
    return found


def _means(scores: dict[str, dict[Place, list[float | None]]], methods: Sequence[str], told: str) -> list[float]:
    """Mean over subjects of each subject's mean, for each method: over the places that all of them have scores in.

    told: the error of a method without a score, with braces for its name.
    """
    held = []
    for name in methods:
        places = {place for place, values in scores.get(name, {}).items() if None not in values}
        require(bool(places), f"{told.format(say(name))}, want some")
        held.append(places)
    shared = sorted(set.intersection(*held), key=repr)
    require(bool(shared), f"{told.format('all methods for any one heart')}, want some")
    subjects = sorted({place[0] for place in shared})
    means = []
    for name in methods:
        by_subject: dict[str, list[float]] = {subject: [] for subject in subjects}
        for place in shared:
            by_subject[place[0]] += [value for value in scores[name][place] if value is not None]
        means.append(fmean(map(fmean, by_subject.values())))
    return means


def _marked(value: float, limit: float) -> str:
    return f"{value:+.2f}" + ("*" if abs(value) > limit else "")
