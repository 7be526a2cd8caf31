"""The checks of chapter 12: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf

from cmr_course import checks
from cmr_course.networks import CRNNMRI
from cmr_course.networks.recurrent import Recurrence
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["crnn_parameters", "sweep", "both_ways"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


# ------------------------------------------------------------------------------------------- shared weights


def of(before: int, after: int) -> int:
    return (9 * before + 1) * after


def crnn_parameters(filters: int, layers: int, iterations: int) -> int:
    return of(2, filters) + 2 * (layers - 1) * of(filters, filters) + of(filters, 2)


def test_the_package_shares_what_the_check_says(capsys):
    checks.check_crnn_parameters(crnn_parameters)
    assert capsys.readouterr().out.startswith("✓ ")
    checks.check_crnn_parameters(lambda f, n, i: sum(p.numel() for p in CRNNMRI(i, n, f).parameters()))
    assert crnn_parameters(64, 5, 5) == 297_794


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda f, n, i: i * crnn_parameters(f, n, i), "every iteration"),
        (lambda f, n, i: crnn_parameters(f, n, i) + of(2, f) + 2 * of(f, f), "a cell for each direction"),
        (lambda f, n, i: crnn_parameters(f, n, i) - (2 * n - 1) * f - 2, "leaves out the biases"),
        (lambda f, n, i: crnn_parameters(f, n, i) - (n - 2) * of(f, f), "one convolution in each layer between"),
        (lambda f, n, i: crnn_parameters(f, n, i) - of(2, f) + of(f, f), "as many channels coming in"),
        (lambda f, n, i: crnn_parameters(f, n, i) - of(f, f), "the iteration before"),
        (lambda f, n, i: 7, "list the convolutions"),
    ],
)
def test_each_wrong_count_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_crnn_parameters(function)


# --------------------------------------------------------------------------------------------------- a sweep


def sweep(drive, kernel, rectify=torch.relu, late=False):
    state, found = torch.zeros_like(drive[:1]), []
    for frame in drive.split(1):
        remembered = nnf.conv2d(state, kernel, padding=1)
        state = frame + rectify(remembered) if late else rectify(frame + remembered)
        found.append(state)
    return torch.cat(found)


def test_the_package_sweeps_as_the_check_wants(capsys):
    checks.check_sweep(sweep)
    assert capsys.readouterr().out.startswith("✓ ")

    def ours(drive, kernel):
        cell = Recurrence(2, 2).double()
        with torch.no_grad():
            for convolution in (cell.input, cell.hidden, cell.carried):
                convolution.weight.zero_()
                convolution.bias.zero_()
            cell.input.weight[:, :, 1, 1] = torch.eye(2)
            cell.hidden.weight.copy_(kernel)
            return cell(drive, None, 1)

    checks.check_sweep(ours)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda d, k: sweep(d, k, rectify=lambda x: x), "has no ReLU"),
        (lambda d, k: sweep(d.flip(0), k).flip(0), "backward in time"),
        (
            lambda d, k: torch.relu(d + nnf.conv2d(torch.cat([0 * d[:1], d[:-1]]), k, padding=1)),
            "not at its state",
        ),
        (lambda d, k: sweep(d, k, late=True), "what is remembered only"),
        (lambda d, k: torch.relu(d), "does not use"),
        (lambda d, k: sweep(d, k * (torch.arange(9).reshape(3, 3) == 4)), "pixel by pixel"),
        (lambda d, k: sweep(d + 1, k), "wrong in the first frame"),
        (lambda d, k: sweep(d, k.transpose(-1, -2)), "not in those after it"),
        (lambda d, k: sweep(d, k)[1:], "returned shape"),
    ],
)
def test_each_wrong_sweep_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_sweep(function)


# ------------------------------------------------------------------------------------------------- both ways


def both_ways(drive, forward):
    return forward(drive) + forward(drive.flip(0)).flip(0)


def test_the_package_sweeps_both_ways_with_one_set_of_weights(capsys):
    checks.check_both_ways(both_ways)
    assert capsys.readouterr().out.startswith("✓ ")
    torch.manual_seed(0)
    one, both = Recurrence(2, 3), Recurrence(2, 3, direction="both")
    both.load_state_dict(one.state_dict())
    series = torch.randn(5, 2, 6, 4)
    torch.testing.assert_close(both(series, None, 1), both_ways(series, lambda x: one(x, None, 1)))
    torch.testing.assert_close(both(series.flip(0), None, 1).flip(0), both(series, None, 1))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda d, f: f(d) + f(d.flip(0)), "round again"),
        (lambda d, f: 2 * f(d), "does not turn the series round"),
        (lambda d, f: f(d), "forward only"),
        (lambda d, f: f(d.flip(0)).flip(0), "backward only"),
        (lambda d, f: both_ways(d, f) / 2, "the mean of both"),
        (lambda d, f: f(d + d.flip(0)), "sweep first"),
        (lambda d, f: d, "not the sum of both"),
    ],
)
def test_each_wrong_pair_of_sweeps_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_both_ways(function)
