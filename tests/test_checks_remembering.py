"""The checks of chapter 13: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch

from cmr_course import checks
from cmr_course.metrics import bonferroni
from cmr_course.networks import FeatureBank
from cmr_course.networks.feature_bank import Maps
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["bank_parameters", "fuse", "daggers"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


# ------------------------------------------------------------------------------------------------ parameters


def bank_parameters(cascades: int, channels: int) -> int:
    return 3 * sum(n * channels**2 + channels for n in range(1, cascades))


def test_the_package_has_as_many_parameters_as_the_check_says(capsys):
    checks.check_bank_parameters(bank_parameters)
    assert capsys.readouterr().out.startswith("✓ ")
    checks.check_bank_parameters(lambda n, c: sum(p.numel() for p in FeatureBank(n, c, fusion="conv").parameters()))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda n, c: bank_parameters(n, c) // 3, "one level"),
        (lambda n, c: bank_parameters(n, c) - 3 * (n - 1) * c, "leaves out the biases"),
        (lambda n, c: 3 * (n - 1) * (c * c + c), "one map for each cascade"),
        (lambda n, c: 3 * (n - 1) * ((n - 1) * c * c + c), "as many maps as the last one"),
        (lambda n, c: bank_parameters(n + 1, c), "a cascade too many"),
        (lambda n, c: 3 * sum(9 * k * c * c + c for k in range(1, n)), "3 × 3 taps"),
        (lambda n, c: 7, "list the convolutions"),
    ],
)
def test_each_wrong_count_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_bank_parameters(function)


# ------------------------------------------------------------------------------------------------ the fusion


def fuse(maps, weight, bias):
    wide = torch.cat(list(maps), 1)
    return torch.nn.functional.conv2d(wide, weight[:, :, None, None], bias)


def by_the_package(maps, weight, bias):
    bank = FeatureBank(len(maps) + 1, maps.shape[2], fusion="conv").double()
    with torch.no_grad():
        for one in bank.fusions[-1]:
            one.mix.weight.copy_(weight[:, :, None, None])
            one.mix.bias.copy_(bias)
    return bank([Maps(one, one, one) for one in maps]).full


@pytest.mark.parametrize("function", [fuse, by_the_package])
def test_the_fusion_of_the_package_is_the_one_the_check_wants(function, capsys):
    checks.check_fuse(function)
    assert capsys.readouterr().out.startswith("✓ ")


def interleaved(maps, weight, bias):
    return fuse(maps.permute(2, 1, 0, 3, 4), weight, bias)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda m, w, b: fuse(m, w, 0 * b), "leaves out the bias"),
        (lambda m, w, b: fuse(m.flip(0), w, b), "newest cascade first"),
        (interleaved, "first channels of all cascades"),
        (lambda m, w, b: fuse(m[-1:], w[:, -m.shape[2] :], b), "newest map only"),
        (lambda m, w, b: torch.relu(fuse(m, w, b)), "a ReLU"),
        (lambda m, w, b: fuse(m, w, b) / len(m), "mean over cascades"),
        (lambda m, w, b: m[0], "by hand"),
    ],
)
def test_each_wrong_fusion_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_fuse(function)


# ------------------------------------------------------------------------------------------------ daggers


def test_daggers_are_those_of_the_package(capsys):
    checks.check_daggers(lambda p, level: p < level / len(p))
    assert capsys.readouterr().out.startswith("✓ ")
    checks.check_daggers(lambda p, level: torch.tensor(bonferroni(p.tolist())) < level)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda p, level: p < level, "the level itself"),
        (lambda p, level: p < level / max(len(p) - 1, 1), "one less than there are tests"),
        (lambda p, level: p < level / (len(p) + 1), "one more than there are tests"),
        (lambda p, level: p >= level / len(p), "not significant"),
        (lambda p, level: p < level * len(p), "divide"),
        (lambda p, level: p < 0, "marks"),
    ],
)
def test_each_wrong_dagger_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_daggers(function)
