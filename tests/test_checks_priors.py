"""The checks of chapter 6: right answers pass, each common mistake is named."""

from __future__ import annotations

import pytest
import torch

from cmr_course import checks
from cmr_course.checks import priors
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["soft_threshold", "shrink_rank", "stopping_rule", "lent_samples"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(priors, f"check_{name}"))


def soft(v, level):
    return v * ((v.abs() - level).clamp(min=0) / torch.where(v.abs() > 0, v.abs(), 1))


def test_zero_is_tried_in_single_precision_too():
    """1e-300 is zero in float32, and 0/0 is NaN."""
    with pytest.raises(checks.CheckError, match="divided by zero"):
        priors.check_soft_threshold(lambda v, level: v * ((v.abs() - level).clamp(min=0) / v.abs().clamp(min=1e-300)))


def shrink(series, level):
    left, sigma, right = torch.linalg.svd(series.flatten(1), full_matrices=False)
    return ((left * (sigma - level).clamp(min=0)) @ right).reshape(series.shape)


def loop(step, x, tolerance, most, *, relative=True, old=False, off=0):
    count = 0
    for count in range(1, most + 1):  # noqa: B007
        new = step(x)
        stop = (new - x).norm() <= tolerance * (x.norm() if relative else 1)
        before, x = x, new
        if stop:
            break
    return (before if old else x), count + off


def lent(sampled, reach):
    seen = torch.zeros_like(sampled)
    for distance in range(-reach, reach + 1):
        seen = seen | sampled.roll(distance, 0)
    return seen.double().mean()


def test_right_answers_pass(capsys):
    priors.check_soft_threshold(soft)
    priors.check_shrink_rank(shrink)
    priors.check_stopping_rule(loop)
    priors.check_lent_samples(lent)
    assert capsys.readouterr().out.count("✓") == 4


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda v, a: v * (v.abs() > a), "shrinks them too"),
        (lambda v, a: v - soft(v, a), "what is taken away"),
        (lambda v, a: v * (1 - a / v.abs().clamp(min=1e-30)), "below the threshold"),
        (lambda v, a: priors._each_part(v, a), "real and imaginary part"),
        (lambda v, a: (v.abs() - a).clamp(min=0), "do not drop the phase"),
        (lambda v, a: v * ((v.abs() - a).clamp(min=0) / v.abs()), "NaN"),
        (lambda v, a: soft(v, a) + 0.1, "zero stays zero"),
        (lambda v, a: soft(v, 2 * a), "magnitudes other than"),
    ],
)
def test_wrong_thresholds(function, says):
    with pytest.raises(checks.CheckError, match=says):
        priors.check_soft_threshold(function)


def squared(series, level):
    values, left = torch.linalg.eigh(series.flatten(1) @ series.flatten(1).mH)
    kept = (values - level).clamp(min=0).sqrt() / values.clamp(min=0).sqrt()
    return ((left * kept) @ left.mH @ series.flatten(1)).reshape(series.shape)


def truncated(series, level):
    left, sigma, right = torch.linalg.svd(series.flatten(1), full_matrices=False)
    return ((left * torch.where(sigma > level, sigma, 0)) @ right).reshape(series.shape)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (truncated, "they shrink too"),
        (squared, "root of the eigenvalues"),
        (priors._of_each_frame, "matrix of its own"),
        (soft, "leaves nothing"),
        (lambda s, a: shrink(s, 0.5 * a), "other singular values"),
        (lambda s, a: shrink(s, a).flatten(1), "want"),
    ],
)
def test_wrong_singular_value_thresholds(function, says):
    with pytest.raises(checks.CheckError, match=says):
        priors.check_shrink_rank(function)


def forever(step, x, tolerance, most):
    for _ in range(60):
        x = step(x)
    return x, 60


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda *a: loop(*a, relative=False), "is the change a share"),
        (lambda *a: loop(*a, old=True), "another image"),
        (lambda *a: loop(*a, off=1), "says"),
        (lambda s, x, t, m: loop(s, x, 0.0, m), "want"),
        (forever, "at most"),
        (lambda *a: loop(*a)[0], "return x, count"),
    ],
)
def test_wrong_stopping_rules(function, says):
    with pytest.raises(checks.CheckError, match=says):
        priors.check_stopping_rule(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda s, r: s.double().mean(), "neighbours lend"),
        (lambda s, r: 100 * lent(s, r), "per cent"),
        (lambda s, r: torch.stack([s.roll(d, 0) for d in range(r + 1)]).any(0).double().mean(), "one direction"),
        (priors._not_circular, "a circle"),
        (lambda s, r: lent(s, r) / 2, "which samples"),
    ],
)
def test_wrong_shares(function, says):
    with pytest.raises(checks.CheckError, match=says):
        priors.check_lent_samples(function)
