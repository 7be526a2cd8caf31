"""Do methods do to simulated hearts what they do to real ones? Scores of both side by side, and their gaps."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What one method scores under one mask: mean of simulated and of real hearts, each over its subjects.

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

    simulated: of one domain, either all measured as series are, or all in the simulator's own way.
    methods: from the simplest on; each has its gap to the one before. Raises ValueError where a method has no score
    of `metric` in `region` on either side, or where both sides have no mask and R in common.
    """
    groups = [_scores(rows, metric, region) for rows in (simulated, real)]
    settings = [{(mask, R) for mask, R, _ in group} for group in groups]
    common = sorted(settings[0] & settings[1], key=lambda setting: (setting[0] != "uniform", *setting))
    require(bool(common), f"real: got {say(sorted(settings[1]))}, want masks and R of {say(sorted(settings[0]))}")
    found = []
    for mask, R in common:
        before: float | None = None
        for name in methods:
            for side, group in zip(("simulated", "real"), groups, strict=True):
                told = f"{side}: got no {metric} of {say(name)} in region {region}, mask {mask}, R {R:g}"
                require((mask, R, name) in group, f"{told}, want some")
            ours, theirs = (fmean(group[mask, R, name]) for group in groups)
            gap = None if before is None else ours - theirs - before
            found.append(Likeness(mask=mask, nominal_R=R, method=name, simulated=ours, real=theirs, gap=gap))
            before = ours - theirs
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


def _scores(rows: Iterable[Result], metric: str, region: str) -> dict[tuple[str, float, str], list[float]]:
    """Scores by (mask, nominal R, method)."""
    found: dict[tuple[str, float, str], list[float]] = {}
    for row in rows:
        if (row.metric, row.region, row.frame) == (metric, region, None) and row.value is not None:
            assert row.nominal_R is not None  # of every cell
            found.setdefault((row.mask, row.nominal_R, row.method), []).append(row.value)
    return found


def _marked(value: float, limit: float) -> str:
    return f"{value:+.2f}" + ("*" if abs(value) > limit else "")
