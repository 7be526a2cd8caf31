"""The checks of chapter 10: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import checks
from cmr_course.acquisition import Acquisition
from cmr_course.coils import rss
from cmr_course.networks.prompts import PromptBlock
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["neighbours", "maps_agree", "prompt_mixture"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


def neighbours(t, total, frames):
    return [(t + d) % total for d in range(-(frames // 2), frames // 2 + 1)]


def by_window(t, total, frames):
    """What a window of an acquisition really holds: each frame's k-space is its number."""
    kspace = torch.arange(total, dtype=torch.float32).to(torch.complex64)[None, :, None, None, None]
    seen = Acquisition.fully_sampled(kspace.expand(1, total, 1, 2, 2).contiguous()).window(frames)
    return [int(k) for k in seen.kspace[t, :, 0, 0, 0].real]


@pytest.mark.parametrize("function", [neighbours, by_window])
def test_right_neighbours_pass(function, capsys):
    checks.check_neighbours(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda t, total, frames: [t + d - frames // 2 for d in range(frames)], "time is a circle"),
        (lambda t, total, frames: [(t + d) % total for d in range(frames)], "in whose middle"),
        (lambda t, total, frames: sorted(neighbours(t, total, frames)), "follow each other"),
        (lambda t, total, frames: neighbours(t, total, frames)[1:], "returns 4 frames"),
        (lambda t, total, frames: [min(max(t + d - frames // 2, 0), total - 1) for d in range(frames)], "the end of"),
        (lambda t, total, frames: 3.0, "whole numbers"),
    ],
)
def test_each_wrong_neighbourhood_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_neighbours(function)


def inner_and_lengths(first, second):
    lengths = rss(first[None, None])[0, 0] * rss(second[None, None])[0, 0]
    return (first.conj() * second).sum(0), torch.where(lengths > 0, lengths, 1)


def agree(first, second):
    inner, lengths = inner_and_lengths(first, second)
    return inner.abs() / lengths


def by_einsum(first, second):
    inner = torch.einsum("cyx,cyx->yx", first.conj(), second).abs()
    squares = first.abs().square().sum(0) * second.abs().square().sum(0)
    return torch.nan_to_num(inner / squares.sqrt())


@pytest.mark.parametrize("function", [agree, by_einsum])
def test_right_agreements_pass(function, capsys):
    checks.check_maps_agree(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a, b: inner_and_lengths(a, b)[0].abs(), "divide by the lengths"),
        (lambda a, b: (a * b).sum(0).abs() / inner_and_lengths(a, b)[1], "without the complex conjugate"),
        (lambda a, b: (a.abs() * b.abs()).sum(0) / inner_and_lengths(a, b)[1], "magnitudes before the sum"),
        (lambda a, b: inner_and_lengths(a, b)[0].real / inner_and_lengths(a, b)[1], "real part"),
        (lambda a, b: (a.conj() * b).sum(0).abs() / (rss(a[None, None]) * rss(b[None, None]))[0, 0], "NaN"),
        (lambda a, b: torch.zeros(a.shape[1:], dtype=torch.float64), "not the inner product"),
    ],
)
def test_each_wrong_agreement_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_maps_agree(function)


@given(seed=st.integers(0, 2**20), coils=st.integers(1, 9))
def test_no_maps_agree_more_than_with_themselves(seed, coils):
    """Cauchy and Schwarz: the agreement that the check wants is at most one, and one for what differs by a factor."""
    generator = torch.Generator().manual_seed(seed)
    first, second, factor = (
        torch.randn(n, 3, 4, dtype=torch.complex128, generator=generator) for n in (coils, coils, 1)
    )
    assert float(agree(first, second).max()) <= 1 + 1e-12
    torch.testing.assert_close(agree(first * factor, first), torch.ones(3, 4, dtype=torch.float64))


def weights(x, matrix, bias):
    return torch.softmax(x.mean((-2, -1)) @ matrix.T + bias, -1)


def mixed(w, components):
    return torch.einsum("bl,lcyx->bcyx", w, components)


def by_package(x, components, matrix, bias):
    """The mixture of a prompt block of the package, before it is resized and convolved."""
    block = PromptBlock(components.shape[1], len(components), 2, x.shape[1]).double()
    with torch.no_grad():
        block.weigh.weight.copy_(matrix)
        block.weigh.bias.copy_(bias)
    return mixed(block.weights(x), components)


@pytest.mark.parametrize("function", [lambda x, p, m, b: mixed(weights(x, m, b), p), by_package])
def test_right_mixtures_pass(function, capsys):
    checks.check_prompt_mixture(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x, p, m, b: mixed(x.mean((-2, -1)) @ m.T + b, p), "softmax makes weights"),
        (lambda x, p, m, b: mixed(torch.softmax(x.mean((-2, -1)) @ m.T + b, 0), p), "over the batch"),
        (lambda x, p, m, b: mixed(weights(x, m, 0), p), "leaves out the bias"),
        (lambda x, p, m, b: mixed(torch.softmax(x.sum((-2, -1)) @ m.T + b, -1), p), "size of the image"),
        (lambda x, p, m, b: p.mean(0).expand(len(x), *p.shape[1:]), "the same weight"),
        (lambda x, p, m, b: mixed(weights(x, m, b), p) / 2, "is not Σ"),
        (lambda x, p, m, b: mixed(weights(x, m, b), p)[:, :1], "returned shape"),
    ],
)
def test_each_wrong_mixture_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_prompt_mixture(function)
