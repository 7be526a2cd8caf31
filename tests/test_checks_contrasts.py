"""The checks of what the contrasts measure: right answers pass, each common mistake is named."""

from __future__ import annotations

import math

import pytest
import torch

from cmr_course import checks
from cmr_course.metrics import velocity_map
from cmr_course.simulation import InversionRecovery
from cmr_course.simulation.tissue import Composition


def blank(*_):
    raise NotImplementedError("the hint")


ALL = [checks.check_nulling_time, checks.check_velocity]


@pytest.mark.parametrize("check", ALL)
def test_a_blank_shows_its_hint(check):
    with pytest.raises(NotImplementedError, match="the hint"):
        check(blank)


@pytest.mark.parametrize("check", ALL)
def test_nothing_and_crashes_are_said_in_words(check):
    with pytest.raises(checks.CheckError, match="returned nothing"):
        check(lambda *_: None)
    with pytest.raises(checks.CheckError, match="stopped with ZeroDivisionError"):
        check(lambda *_: 1 / 0)


def nulling(T1, efficiency):
    return T1 * math.log(1 + efficiency)


def velocity(reference, encoded, venc):
    return (encoded * reference.conj()).angle() * (venc / math.pi)


def through_the_package(reference, encoded, venc):
    return velocity_map(reference[None], encoded[None], venc)[0]


def by_bisection(T1, efficiency):
    """Without the closed form: where the recovery changes its sign."""
    low, high = 0.0, 10 * T1
    for _ in range(60):
        middle = (low + high) / 2
        below = 1 - (1 + efficiency) * math.exp(-middle / T1) < 0
        low, high = (middle, high) if below else (low, middle)
    return low


def test_right_answers_pass(capsys):
    checks.check_nulling_time(nulling)
    checks.check_nulling_time(by_bisection)
    checks.check_nulling_time(lambda T1, efficiency: torch.tensor(nulling(T1, efficiency)))
    checks.check_velocity(velocity)
    checks.check_velocity(through_the_package)
    assert capsys.readouterr().out.count("✓") == 5


@pytest.mark.parametrize("efficiency", [1.0, 0.9])
def test_the_simulated_tissue_is_null_at_this_time(efficiency):
    tissues = Composition.usual(3.0)
    sequence = InversionRecovery(efficiency=efficiency)
    muscle = tissues.number("myocardium")
    at = nulling(float(tissues.T1[muscle]), efficiency)
    around = torch.tensor([at - 20, at, at + 20], dtype=torch.float64)
    before, null, after = sequence.signal(tissues, around)[:, muscle].tolist()
    assert before < -1e-3 < 1e-3 < after
    assert before < -1e-3 < 1e-3 < after
    assert abs(null) < 1e-9


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda T1, e: T1 * math.log(2), "forgets the efficiency"),
        (lambda T1, e: e * T1 * math.log(2), "belongs where the recovery starts"),
        (lambda T1, e: nulling(T1, e) / 1000, "returns seconds"),
        (lambda T1, e: -nulling(T1, e), "sign turned"),
        (lambda T1, e: T1 * math.log10(1 + e), "another base"),
        (lambda T1, e: T1, "recovers from saturation"),
        (lambda T1, e: 0.3 * T1, "too early"),
        (lambda T1, e: 3 * T1, "too late"),
        (lambda T1, e: 1e9, "too late"),
        (lambda T1, e: torch.zeros(2), "want one number"),
        (lambda T1, e: float("nan"), "want a finite number"),
    ],
)
def test_wrong_nulling_times(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_nulling_time(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda r, e, v: -velocity(r, e, v), "sign turned"),
        (lambda r, e, v: (e * r.conj()).angle(), "returns a phase"),
        (lambda r, e, v: velocity(r, e, v) / 2, "not 2π"),
        (lambda r, e, v: (e.angle() - r.angle()) * v / math.pi, "take the phase of a product"),
        (lambda r, e, v: e.angle() * v / math.pi, "forgets the reference"),
        (lambda r, e, v: (e * r).angle() * v / math.pi, "adds the phases"),
        (lambda r, e, v: velocity(r, e, v).abs(), "loses the direction"),
        (lambda r, e, v: torch.rad2deg((e * r.conj()).angle()), "returns degrees"),
        (lambda r, e, v: velocity(r, e, 1.3 * v), "half the venc"),
        (lambda r, e, v: e * r.conj(), "returned complex values"),
        (lambda r, e, v: velocity(r, e, v)[0], "one velocity for each pixel"),
        (lambda r, e, v: 1.0, "returned float"),
        (lambda r, e, v: velocity(r, e, v) / 0, "NaN or infinity"),
        (lambda r, e, v: velocity(r.mul_(2), e, v), "changed its input"),
    ],
)
def test_wrong_velocities(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_velocity(function)


def test_messages_are_one_short_sentence_and_do_not_show_the_answer():
    with pytest.raises(checks.CheckError) as caught:
        checks.check_nulling_time(lambda T1, e: T1 * math.log(2))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200
    assert "log(1" not in str(caught.value)
