"""The power iteration: against a dense eigenvalue problem, item by item, and from below."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.classical.power import largest_eigenvalue
from cmr_course.coils import normalise
from cmr_course.encoding import Encoding


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def dense(matrices: torch.Tensor):
    """(batch, n, n) as an operator on images."""
    return lambda image: (matrices @ image.flatten(1)[..., None])[..., 0].reshape(image.shape)


@given(batch=st.integers(1, 3), y=st.integers(1, 4), x=st.integers(1, 4), seed=st.integers(0, 99))
def test_largest_eigenvalue_is_that_of_the_dense_matrix(batch, y, x, seed):
    mixing = draw(batch, 2 * y * x, y * x, seed=seed)
    matrices = mixing.mH @ mixing
    expected = torch.linalg.eigvalsh(matrices)[:, -1]
    like = torch.zeros(batch, 1, y, x, dtype=torch.complex128)
    found = largest_eigenvalue(dense(matrices), like, iterations=2000, tolerance=1e-15)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=0)


@given(seed=st.integers(0, 99), iterations=st.integers(1, 20))
def test_estimate_grows_with_iterations_and_never_exceeds(seed, iterations):
    mixing = draw(2, 12, 12, seed=seed)
    matrices, like = mixing.mH @ mixing, torch.zeros(2, 2, 3, 2, dtype=torch.complex128)
    options = {"tolerance": 0.0, "generator": torch.Generator().manual_seed(seed)}
    few = largest_eigenvalue(dense(matrices), like, iterations=iterations, **options)
    options["generator"] = torch.Generator().manual_seed(seed)
    more = largest_eigenvalue(dense(matrices), like, iterations=iterations + 5, **options)
    expected = torch.linalg.eigvalsh(matrices)[:, -1]
    assert bool((few <= more * (1 + 1e-12)).all())
    assert bool((more <= expected * (1 + 1e-12)).all())


def test_an_item_has_the_same_answer_in_any_batch():
    weights = torch.rand(3, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights[1] = 0
    like = torch.zeros(3, 2, 5, 4, dtype=torch.complex128)
    together = largest_eigenvalue(lambda image: weights * image, like)
    for item in range(3):
        alone = largest_eigenvalue(lambda image, item=item: weights[item] * image, like[:1])
        torch.testing.assert_close(together[item : item + 1], alone, rtol=1e-12, atol=0)
    assert together[1] == 0
    torch.testing.assert_close(together[[0, 2]], weights[[0, 2]].amax((1, 2, 3)), rtol=0.05, atol=0)


@settings(max_examples=10)
@given(sampled=st.floats(0.3, 1.0), seed=st.integers(0, 99))
def test_encoding_with_normalised_maps_is_bounded_by_one(sampled, seed):
    mask = torch.rand(1, 3, 1, 9, 1, generator=torch.Generator().manual_seed(seed)) < sampled
    encoding = Encoding(normalise(draw(1, 1, 4, 9, 8, seed=seed)), mask)
    found = largest_eigenvalue(encoding.normal, draw(1, 3, 9, 8), iterations=20, tolerance=1e-6)
    assert 0 <= float(found) <= 1 + 1e-12
    full = Encoding(encoding.sensitivities, torch.ones_like(mask))
    torch.testing.assert_close(largest_eigenvalue(full.normal, draw(1, 3, 9, 8)), torch.ones(1).double())


def test_single_precision_agrees():
    maps = normalise(draw(1, 1, 4, 9, 8)).to(torch.complex64)
    mask = torch.arange(9).view(1, 1, 1, 9, 1) % 2 == 0
    single = largest_eigenvalue(Encoding(maps, mask).normal, torch.zeros(1, 2, 9, 8, dtype=torch.complex64))
    wide = torch.zeros(1, 2, 9, 8, dtype=torch.complex128)
    double = largest_eigenvalue(Encoding(maps.to(torch.complex128), mask).normal, wide)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0.02, atol=0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: largest_eigenvalue(lambda x: x, torch.zeros(3, 4)), "like: got 2 axes"),
        (lambda: largest_eigenvalue(lambda x: x, torch.zeros(1, 1, 3, 4)), "like: got real values"),
        (lambda: largest_eigenvalue(lambda x: x, draw(1, 1, 3, 4), iterations=0), "iterations: got 0"),
        (lambda: largest_eigenvalue(lambda x: x, draw(1, 1, 3, 4), tolerance=-1.0), "tolerance: got -1.0"),
        (lambda: largest_eigenvalue(lambda x: x, draw(1, 1, 3, 4), generator=3), "generator: got 3"),
        (lambda: largest_eigenvalue(lambda x: x * torch.nan, draw(1, 1, 3, 4)), "normal: got a product that is NaN"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
