"""Likeness of simulated and real hearts to methods: differences and gaps are what they say, and within the limits."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.benchmark import committed
from cmr_course.benchmark.designs import YARDSTICKS
from cmr_course.benchmark.likeness import likeness, likeness_table
from cmr_course.metrics import Result

METHODS = ("zero-filled", "cg-sense", "low-rank-sparse")
SCORE = st.floats(5, 50).map(lambda value: round(value, 2))


def rows(
    scores: dict[str, list[float | None]], mask: str = "uniform", R: float | None = 8.0, **others: str
) -> list[Result]:
    shared = {"mask": mask, "nominal_R": R, "metric": "psnr", **others}
    return [
        Result(method=name, subject=str(number), value=value, **shared)
        for name, values in scores.items()
        for number, value in enumerate(values)
    ]


GROUP = st.integers(1, 4).flatmap(
    lambda n: st.fixed_dictionaries({name: st.lists(SCORE, min_size=n, max_size=n) for name in METHODS})
)


@given(GROUP, GROUP)
def test_gaps_are_what_methods_gain_more_on_simulated_hearts(simulated, real):
    found = likeness(rows(simulated), rows(real), METHODS)
    assert [row.method for row in found] == list(METHODS)
    for row in found:
        assert row.difference == pytest.approx(fmean(simulated[row.method]) - fmean(real[row.method]))
    assert found[0].gap is None
    gain = [fmean(group["low-rank-sparse"]) - fmean(group["cg-sense"]) for group in (simulated, real)]
    assert found[2].gap == pytest.approx(gain[0] - gain[1])


@given(GROUP, GROUP, st.data())
def test_a_heart_that_one_method_cannot_do_counts_for_none(simulated, real, data):
    """Whichever method fails, and whatever the others score there: as if the heart had not been drawn."""
    wanted = likeness(rows(simulated), rows(real), METHODS)
    fails = data.draw(st.sampled_from(METHODS))
    lacks = data.draw(st.booleans())
    more = {name: [*real[name], None if name == fails else data.draw(SCORE)] for name in METHODS}
    extended = [row for row in rows(more) if row.value is not None or not lacks]
    assert likeness(rows(simulated), extended, METHODS) == wanted
    swapped = likeness(extended, rows(simulated), METHODS)
    assert [row.simulated for row in swapped] == [row.real for row in wanted]


def test_subjects_count_alike_however_many_slices_they_have():
    """Two slices of 20 dB and one subject of 40 dB: 30 and not 26.7."""
    first = [replace(row, slice=number) for number in (0, 1) for row in rows({name: [20.0] for name in METHODS})]
    second = [replace(row, subject="other") for row in rows({name: [40.0] for name in METHODS})]
    found = likeness([*first, *second], rows({name: [30.0] for name in METHODS}), METHODS)
    assert [row.difference for row in found] == pytest.approx([0.0] * 3)


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
    apart = {"zero-filled": [20.0, None], "cg-sense": [None, 20.0], "low-rank-sparse": [20.0, 20.0]}
    with pytest.raises(ValueError, match="real: got no psnr of all methods for any one heart in region full, mask uni"):
        likeness(rows(scores), rows(apart), METHODS)
    two = rows(scores, domain="simulated") + rows(scores, domain="simulated series", R=4.0)
    with pytest.raises(ValueError, match="simulated: got rows of the domains 'simulated', 'simulated series', want"):
        likeness(two, rows(scores), METHODS)
    with pytest.raises(
        ValueError, match="real: got psnr of 'zero-filled', subject '0', mask uniform, without a nominal"
    ):
        likeness(rows(scores), rows(scores, R=None), METHODS)
    for value in (math.inf, -math.inf):
        with pytest.raises(ValueError, match=r"simulated: got psnr of 'cg-sense', .* R 8: -?inf, want a finite number"):
            likeness(rows({**scores, "cg-sense": [value]}), rows(scores), METHODS)


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [None, 5, [5]])
def test_what_is_no_result_or_method_is_named(wrong):
    good = rows({name: [20.0] for name in METHODS})
    with pytest.raises(ValueError, match=r"simulated: got .*, want Results"):
        likeness(wrong, good, METHODS)
    with pytest.raises(ValueError, match=r"real: got .*, want Results"):
        likeness(good, wrong, METHODS)
    with pytest.raises(ValueError, match=r"methods: got .*, want names of methods"):
        likeness(good, good, wrong)


def test_methods_do_to_simulated_hearts_what_they_do_to_real_ones():
    """The criterion of the project, on the committed Results of both designs."""
    simulated = [row for row in committed("realism") if row.domain == "simulated series"]
    found = likeness(simulated, committed("real"), YARDSTICKS)
    assert len({(row.mask, row.nominal_R) for row in found}) == 6
    print(likeness_table(found))
    assert all(row.alike for row in found), likeness_table([row for row in found if not row.alike])
