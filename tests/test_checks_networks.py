"""The checks of chapter 7: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch

from cmr_course import checks
from cmr_course.networks import CNN3D
from cmr_course.networks.channels import wrapped
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["reach", "moving_mean", "best_step"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


def reach(layers, kernel, stride):
    return stride * (layers * (kernel - 1) + 1)


def by_package(series):
    """The mean of three frames by the circular frames that the package's convolutions have."""
    parts = torch.stack([series.real, series.imag])[None]
    real, imaginary = wrapped(parts)[0].unfold(1, 3, 1).mean(-1)
    return torch.complex(real, imaginary)


def moving_mean(series):
    return (series.roll(1, 0) + series + series.roll(-1, 0)) / 3


def best_step(scores, patience):
    best = waited = 0
    for index in range(1, len(scores)):
        best, waited = (index, 0) if scores[index] > scores[best] else (best, waited + 1)
        if waited == patience:
            break
    return best


def test_right_answers_pass(capsys):
    checks.check_reach(reach)
    checks.check_moving_mean(moving_mean)
    checks.check_moving_mean(by_package)
    checks.check_best_step(best_step)
    assert capsys.readouterr().out.count("✓ ") == 4


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda n, k, s: n * k, "windows overlap"),
        (lambda n, k, s: n * (k - 1), "in the middle counts"),
        (lambda n, k, s: n * (k - 1) + 1, "pixels of the input wide"),
        (lambda n, k, s: n * (k + 1) + s, "in a network of that shape"),
    ],
)
def test_mistakes_about_the_reach_are_named(mistake, said):
    with pytest.raises(checks.CheckError, match=said):
        checks.check_reach(mistake)


def padded(series, first, last):
    return (torch.cat([first, series[:-1]]) + series + torch.cat([series[1:], last])) / 3


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda x: padded(x, torch.zeros_like(x[:1]), torch.zeros_like(x[:1])), "for zero; the beat is circular"),
        (lambda x: padded(x, x[:1], x[-1:]), "repeats the first and the last"),
        (lambda x: 3 * moving_mean(x), "a mean of three"),
        (lambda x: x, "is not the mean of each"),
        (lambda x: x * torch.arange(len(x))[:, None, None], "time is not circular"),
    ],
)
def test_mistakes_about_circular_time_are_named(mistake, said):
    with pytest.raises(checks.CheckError, match=said):
        checks.check_moving_mean(mistake)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda scores, patience: max(range(len(scores)), key=scores.__getitem__), "by then the training had stopped"),
        (lambda scores, patience: min(range(len(scores)), key=scores.__getitem__), "higher is better"),
        (lambda scores, patience: len(scores) - 1, "the best before it stopped|by then"),
    ],
)
def test_mistakes_about_stopping_are_named(mistake, said):
    with pytest.raises(checks.CheckError, match=said):
        checks.check_best_step(mistake)


@pytest.mark.parametrize(("design", "layers", "stride"), [("naive", 4, 1), ("complex", 8, 2)])
def test_the_package_sees_as_far_as_the_formula_says(design, layers, stride):
    """With weights and images above zero no rectifier is shut, so that every way through the network counts."""
    network = CNN3D(design, filters=2)
    for parameter in network.parameters():
        parameter.data.fill_(0.1)
    x = torch.ones(1, 24, 64, 3, dtype=torch.complex64, requires_grad=True)
    network.improved(x)[0, 12, 32].real.sum().backward()
    seen = x.grad[0].abs() > 0
    assert int(seen.any(0).any(1).sum()) == reach(layers, 3, stride)
    assert int(seen.any(2).any(1).sum()) == reach(layers, 3, 1)
