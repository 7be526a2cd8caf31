"""The checks of chapter 11: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course import checks
from cmr_course.acquisition import About, Acquisition, Reconstruction
from cmr_course.losses import EagleLoss, KspaceRegularisation
from cmr_course.losses.eagle import filter_weights
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["high_pass", "patch_variance", "norm_growth"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


# ------------------------------------------------------------------------------------------------ a high-pass


def high_pass(frequency, cutoff, order):
    return 1 - 1 / (1 + (frequency / cutoff) ** (2 * order))


@pytest.mark.parametrize("cutoff", [0.2, 0.35, 0.5])
def test_the_package_has_the_filter_that_passes(cutoff, capsys):
    checks.check_high_pass(high_pass)
    assert capsys.readouterr().out.startswith("✓ ")
    weights = filter_weights("butterworth", (64, 64), cutoff, order=3)[0, :32]
    torch.testing.assert_close(weights, high_pass(torch.arange(32, dtype=torch.float64) / 64, cutoff, 3))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda f, c, n: 1 - high_pass(f, c, n), "is a low-pass"),
        (lambda f, c, n: high_pass(f, c, n / 2), "twice the order"),
        (lambda f, c, n: high_pass(f, c, n).sqrt(), "is the root"),
        (lambda f, c, n: high_pass(f, c, 2), "same order whatever"),
        (lambda f, c, n: 1 - torch.exp(-0.5 * (f - c) ** 2), "falls somewhere"),
        (lambda f, c, n: f, "not Butterworth's"),
        (lambda f, c, n: high_pass(f, c, n)[1:], "returned shape"),
        (lambda f, c, n: f / 0, "NaN or infinity"),
    ],
)
def test_each_wrong_filter_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_high_pass(function)


# ------------------------------------------------------------------------------------------ variance in patches


def patch_variance(image, patch):
    return image.unfold(0, patch, patch).unfold(1, patch, patch).var((-2, -1))


def by_loops(image, patch):
    y, x = (size // patch for size in image.shape)
    pieces = [image[i * patch : (i + 1) * patch, j * patch : (j + 1) * patch] for i in range(y) for j in range(x)]
    return torch.stack([piece.flatten().var() for piece in pieces]).view(y, x)


@pytest.mark.parametrize("function", [patch_variance, by_loops])
def test_right_maps_pass(function, capsys):
    checks.check_patch_variance(function)
    assert capsys.readouterr().out.startswith("✓ ")


@given(rows=st.integers(10, 30), columns=st.integers(10, 30), patch=st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_the_map_is_that_of_the_packages_loss(rows, columns, patch):
    image = torch.rand(1, rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
    found = EagleLoss(patch=patch, epsilon=0.0).pictures(image)
    for slopes, variance in zip(found.gradients[0], found.variance[0], strict=True):
        torch.testing.assert_close(patch_variance(slopes, patch), variance)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda v, p: patch_variance(v, p) * (p * p - 1) / p**2, "number of pixels"),
        (lambda v, p: patch_variance(v, p).sqrt(), "standard deviation"),
        (lambda v, p: patch_variance(v.square(), p), "which pixels belong"),
        (lambda v, p: v.square().unfold(0, p, p).unfold(1, p, p).mean((-2, -1)), "mean of squares"),
        (lambda v, p: v.unfold(0, p, p).unfold(1, p, p).mean((-2, -1)), "mean of each patch"),
        (lambda v, p: patch_variance(v.flip((0, 1)), p).flip((0, 1)), "leaves out the first"),
        (lambda v, p: v.unfold(0, p, 1).unfold(1, p, 1).var((-2, -1)), "returned shape"),
        (lambda v, p: patch_variance(v.zero_(), p), "in place"),
    ],
)
def test_each_wrong_map_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_patch_variance(function)


# ------------------------------------------------------------------------------------------------ how a sum grows


def growth(before, after):
    size = [b * c * (ky * kx) ** 0.5 for b, c, ky, kx in (before, after)]
    return size[1] / size[0]


def test_the_right_factor_passes_and_each_wrong_one_is_named(capsys):
    checks.check_norm_growth(growth)
    assert capsys.readouterr().out.startswith("✓ ")

    def count(before, after):
        return float(torch.tensor(after).prod() / torch.tensor(before).prod())

    for function, says in (
        (count, "counts the samples"),
        (lambda before, after: growth(after, before), "second size to the first"),
        (lambda before, after: growth((1, *before[1:]), (1, *after[1:])), "forgets the batch"),
        (lambda b, a: growth((b[0], 1, *b[2:]), (a[0], 1, *a[2:])), "forgets the coils"),
        (lambda b, a: growth((*b[:2], 1, 1), (*a[:2], 1, 1)), "forgets the matrix"),
        (lambda b, a: 7.0, "how many numbers"),
        (lambda b, a: float("inf"), "finite"),
    ):
        with pytest.raises(checks.CheckError, match=says):
            checks.check_norm_growth(function)


@pytest.mark.parametrize("after", [(2, 3, 40, 32), (1, 6, 40, 32), (1, 3, 80, 64), (3, 5, 60, 44)])
def test_the_factor_is_that_of_the_released_form(after):
    before, generator = (1, 3, 40, 32), torch.Generator().manual_seed(3)

    def summed(size):
        k = torch.randn(size[0], 1, *size[1:], dtype=torch.complex128, generator=generator)
        acquisition = Acquisition.fully_sampled(k, About())
        bare = Acquisition(acquisition.kspace, acquisition.mask, acquisition.acs)
        released = KspaceRegularisation("released", beta=0.0, scaled=False)
        return float(released(Reconstruction(k[:, :, 0], kspace=k), k, bare))

    assert summed(after) / summed(before) == pytest.approx(growth(before, after), rel=0.05)
