"""The checks of chapter 5: right answers pass, each common mistake is named."""

from __future__ import annotations

import math

import pytest
import torch

from cmr_course import checks
from cmr_course.checks import quality


def blank(*_):
    raise NotImplementedError("the hint")


def right_psnr(x, r):
    return 10 * torch.log10(r.max() ** 2 / (x - r).square().mean((1, 2)))


def right_sees(score, x, r):
    return not torch.allclose(score(1.2 * x, r), score(x, r))


def right_needed(tests, level):
    return max(6, math.floor(1 - math.log2(level / tests)) + 1)


def right_finder(score, n_axes):
    r = torch.arange(1.0, 61.0).view((2, 6, 5) if n_axes == 3 else (2, 1, 6, 5))
    return not torch.allclose(score(2 * r, r), torch.ones(()))


RIGHT = {
    quality.check_psnr: right_psnr,
    quality.check_sees_gain: right_sees,
    quality.check_subjects_needed: right_needed,
    quality.check_reference_finder: right_finder,
}


@pytest.mark.parametrize("check", RIGHT)
def test_a_right_answer_passes(check, capsys):
    check(RIGHT[check])
    assert capsys.readouterr().out.startswith("✓")


NO_ANSWERS = [
    (blank, NotImplementedError, "the hint"),
    (lambda *_: None, checks.CheckError, "returned nothing"),
    (lambda *_: 1 / 0, checks.CheckError, "stopped with ZeroDivisionError"),
]


@pytest.mark.parametrize(("function", "error", "says"), NO_ANSWERS)
@pytest.mark.parametrize("check", RIGHT)
def test_no_answer_is_said_in_words(check, function, error, says):
    with pytest.raises(error, match=says):
        check(function)


def mse(x, r):
    return (x - r).square().mean((1, 2))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x, r: 10 * torch.log10(r.amax((1, 2)) ** 2 / mse(x, r)), "maximum of each frame"),
        (lambda x, r: 10 * torch.log10(x.max() ** 2 / mse(x, r)), "from the prediction"),
        (lambda x, r: 10 * torch.log10(r.max() / mse(x, r)), "does not square"),
        (lambda x, r: 2 * right_psnr(x, r), "doubles"),
        (lambda x, r: 10 * torch.log10(r.max() ** 2 / mse(x, r).mean()).expand(len(r)), "over all frames"),
        (lambda x, r: 10 * torch.log(r.max() ** 2 / mse(x, r)), "natural"),
        (lambda x, r: -right_psnr(x, r), "sign"),
        (lambda x, r: right_psnr(x, r) + 1, "is wrong"),
        (lambda x, r: right_psnr(x, r).mean(), "one score for each"),
        (lambda _x, _r: 30.0, "one score for each"),
    ],
)
def test_wrong_psnr(function, says):
    with pytest.raises(checks.CheckError, match=says):
        quality.check_psnr(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda *_: True, "every score that it sees"),
        (lambda *_: False, "every score that it is blind"),
        (
            lambda score, x, r: not torch.equal(score(1.3 * x, r), score(x, r)),
            "every score that it sees|is wrong about",
        ),
        (lambda score, x, r: not torch.allclose(score(2 * x, 2 * r), score(x, r)), "every score that it is blind"),
        (lambda score, x, r: not torch.allclose(score(x + 1, r), score(x, r)), "is wrong about"),
    ],
)
def test_wrong_about_gain(function, says):
    with pytest.raises(checks.CheckError, match=says):
        quality.check_sees_gain(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda _tests, level: right_needed(1, level), "forgets"),
        (lambda tests, level: max(6, math.floor(-math.log2(level / tests)) + 1), "one-sided"),
        (lambda tests, level: right_needed(tests, level) + 1, "more than needed"),
        (lambda tests, level: right_needed(tests, level) + 0.5, "whole numbers"),
        (lambda _tests, _level: 3, "below six"),
        (lambda tests, level: right_needed(tests, level) - (2 if tests == 100 else 0), "too few"),
    ],
)
def test_wrong_numbers_of_subjects(function, says):
    with pytest.raises(checks.CheckError, match=says):
        quality.check_subjects_needed(function)


def agree(score, n_axes):
    """Finds that branches differ, and blames the one that was asked for."""
    r = torch.arange(1.0, 61.0).view(2, 6, 5)
    x = r + 3
    same = torch.allclose(score(x, r), score(x[:, None], r[:, None])[:, 0])
    return not same and n_axes in (3, 4)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda *_: False, "misses a swap"),
        (lambda *_: True, "not there"),
        (agree, "not there|both branches"),
        (lambda score, n: n == 3 and right_finder(score, 3) and not right_finder(score, 4), "misses a swap|both"),
        (lambda score, n: right_finder(score, 3) != right_finder(score, 4) and right_finder(score, n), "both branches"),
        (lambda *_: "yes", "want True or False"),
    ],
)
def test_wrong_finders(function, says):
    with pytest.raises(checks.CheckError, match=says):
        quality.check_reference_finder(function)


def test_the_smallest_p_is_that_of_the_package():
    """What the exercise says of n pairs that point the same way."""
    from cmr_course.metrics import paired_test

    for n in (6, 8, 11):
        assert paired_test([float(k) for k in range(1, n + 1)], [0.0] * n).p_value == pytest.approx(2.0 ** (1 - n))
