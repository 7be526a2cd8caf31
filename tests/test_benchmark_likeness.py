"""Likeness of simulated and real hearts to methods: differences and gaps are what they say, and within the limits."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.benchmark import committed
from cmr_course.benchmark.designs import REALISM_METHODS
from cmr_course.benchmark.likeness import likeness, likeness_table
from cmr_course.metrics import Result

METHODS = ("zero-filled", "cg-sense", "low-rank-sparse")
SCORE = st.floats(5, 50).map(lambda value: round(value, 2))


def rows(scores: dict[str, list[float]], mask: str = "uniform", R: float = 8.0, **others: str) -> list[Result]:
    shared = {"mask": mask, "nominal_R": R, "metric": "psnr", **others}
    return [
        Result(method=name, subject=str(number), value=value, **shared)
        for name, values in scores.items()
        for number, value in enumerate(values)
    ]


GROUP = st.fixed_dictionaries({name: st.lists(SCORE, min_size=1, max_size=4) for name in METHODS})


@given(GROUP, GROUP)
def test_gaps_are_what_methods_gain_more_on_simulated_hearts(simulated, real):
    found = likeness(rows(simulated), rows(real), METHODS)
    assert [row.method for row in found] == list(METHODS)
    for row in found:
        assert row.difference == pytest.approx(fmean(simulated[row.method]) - fmean(real[row.method]))
    assert found[0].gap is None
    gain = [fmean(group["low-rank-sparse"]) - fmean(group["cg-sense"]) for group in (simulated, real)]
    assert found[2].gap == pytest.approx(gain[0] - gain[1])


def test_what_is_beyond_a_limit_is_marked():
    real = {"zero-filled": [20.0], "cg-sense": [24.0], "low-rank-sparse": [30.0]}
    apart = {"zero-filled": [21.0], "cg-sense": [23.9], "low-rank-sparse": [31.6]}
    found = likeness(rows(apart), rows(real), METHODS)
    assert [row.alike for row in found] == [True, False, False]
    lines = likeness_table(found).rows
    assert [line[-2:] for line in lines] == [("+1.00", ""), ("-0.10", "-1.10*"), ("+1.60*", "+1.70*")]


def test_only_what_both_sides_hold_is_compared():
    scores = {name: [20.0] for name in METHODS}
    both = rows(scores) + rows(scores, mask="kt_uniform", R=4.0)
    heart = rows({name: [1.0] for name in METHODS}, region="heart")
    found = likeness(both + heart, rows(scores, mask="kt_uniform", R=4.0), METHODS)
    assert {(row.mask, row.nominal_R, row.simulated) for row in found} == {("kt_uniform", 4.0, 20.0)}


@pytest.mark.bad_input
def test_results_that_do_not_fit_are_named():
    scores = {name: [20.0] for name in METHODS}
    with pytest.raises(ValueError, match=r"real: got .*want masks and R of"):
        likeness(rows(scores), rows(scores, R=4.0), METHODS)
    with pytest.raises(ValueError, match="simulated: got no psnr of 'cg-sense' in region full, mask uniform, R 8"):
        likeness(rows({"zero-filled": [20.0]}), rows(scores), METHODS)


def test_methods_do_to_simulated_hearts_what_they_do_to_real_ones():
    """The criterion of the project, on the committed Results of both designs."""
    simulated = [row for row in committed("realism") if row.domain == "simulated series"]
    found = likeness(simulated, committed("real"), REALISM_METHODS)
    assert len({(row.mask, row.nominal_R) for row in found}) == 6
    print(likeness_table(found))
    assert all(row.alike for row in found), likeness_table([row for row in found if not row.alike])
