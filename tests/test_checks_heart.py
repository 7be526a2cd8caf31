"""The checks of chapter 3: right answers pass, each common mistake is named."""

from __future__ import annotations

import math

import pytest
import torch

from cmr_course import checks


def blank(*_):
    raise NotImplementedError("the hint")


ALL = [checks.check_ejection_fraction, checks.check_volume, checks.check_flip_angle]


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


def test_right_answers_pass(capsys):
    checks.check_ejection_fraction(lambda long, round_: 1 - (1 + long) * (1 + round_) ** 2)
    checks.check_volume(lambda areas, spacing: areas.sum(0) * spacing / 1000)
    checks.check_flip_angle(best_flip)
    assert capsys.readouterr().out.count("✓") == 3


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a, c: (1 + a) * (1 + c) ** 2, "ejects nothing"),
        (lambda a, c: 100 * (1 - (1 + a) * (1 + c) ** 2), "per cent"),
        (lambda a, c: 1 - (1 + a) * (1 + c), "one diameter only"),
        (lambda a, c: 1 - (1 + c) ** 2, "change of a slice's area"),
        (lambda a, c: 1 - (1 + a) ** 2 * (1 + c), "each other's place"),
        (lambda a, c: -(a + 2 * c), "how does the volume scale"),
    ],
)
def test_wrong_ejection_fractions(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_ejection_fraction(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a, s: a.sum(0) * s, "returns mm³"),
        (lambda a, s: a.sum(0) * s / 100, "by a hundred"),
        (lambda a, s: a.sum(0) / 1000, "adds areas"),
        (lambda a, s: a.mean(0) * s / 1000, "mean over slices"),
        (lambda a, s: a.sum(1) * s / 1000, "one volume for each of 12 frames"),
        (lambda a, s: 0.0, "returned float"),
        (lambda a, s: a[0] * s / 1000, "add up the discs"),
    ],
)
def test_wrong_volumes(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_volume(function)


def signal(tissue, degrees, TR):
    """Steady state of balanced SSFP by iterating the magnetisation itself, flip by flip: no closed form."""
    T1, T2, density = tissue
    E1, E2, alpha = math.exp(-TR / T1), math.exp(-TR / T2), math.radians(degrees)
    along, across = density, 0.0
    for k in range(4000):
        sign = 1 if k % 2 == 0 else -1  # alternating pulses
        turned = across * math.cos(alpha) + sign * along * math.sin(alpha)
        along = along * math.cos(alpha) - sign * across * math.sin(alpha)
        across = turned
        after = abs(across)
        across, along = across * E2, density + (along - density) * E1
    return after


def best_flip(one, other, TR):
    from cmr_course.checks.heart import _bssfp

    angles = [k / 4 for k in range(4, 600)]
    return max(angles, key=lambda angle: abs(_bssfp(one, angle, TR) - _bssfp(other, angle, TR)))


@pytest.mark.parametrize("degrees", [20.0, 45.0, 70.0])
@pytest.mark.parametrize("tissue", [(1932.0, 275.0, 0.83), (1471.0, 47.0, 0.79)])
def test_the_formula_of_the_check_is_the_steady_state(degrees, tissue):
    from cmr_course.checks.heart import _bssfp

    assert _bssfp(tissue, degrees, 3.4) == pytest.approx(signal(tissue, degrees, 3.4), rel=1e-3)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda one, other, TR: 20.0, "grows for larger angles"),
        (lambda one, other, TR: 150.0, "grows for smaller angles"),
        (lambda one, other, TR: math.radians(best_flip(one, other, TR)), "returns radians"),
        (lambda one, other, TR: brightest(one, TR), "where the first tissue is brightest"),
        (lambda one, other, TR: torch.zeros(3), "want one number"),
    ],
)
def test_wrong_flip_angles(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_flip_angle(function)


def brightest(one, TR):
    from cmr_course.checks.heart import _bssfp

    return max((k / 4 for k in range(4, 600)), key=lambda angle: _bssfp(one, angle, TR))
