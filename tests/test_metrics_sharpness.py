"""The high-frequency error norm: its kernel, what it sees and what not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from cmr_course.metrics import hfen
from cmr_course.metrics.sharpness import log_kernel

shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(8, 24), st.integers(8, 24))


def pair(shape: tuple[int, ...] = (1, 2, 24, 28), seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, generator=generator, dtype=torch.float64)
    return reference + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64), reference


def test_the_kernel_is_a_laplacian():
    """Zero on constants and slopes, the second derivative of a parabola, symmetric in every direction."""
    kernel = log_kernel()
    position = torch.arange(15, dtype=torch.float64) - 7
    assert kernel.shape == (15, 15)
    assert float(kernel.sum()) == pytest.approx(0, abs=1e-15)
    assert float((kernel * position).sum()) == pytest.approx(0, abs=1e-14)
    assert float((kernel * position**2).sum()) == pytest.approx(2, rel=0.01)  # d²/dx² of x²
    for same in (kernel.T, kernel.flip(0), kernel.flip(1)):
        torch.testing.assert_close(kernel, same)
    assert kernel.argmin() == 7 * 15 + 7


def test_the_filter_is_that_of_scipy():
    """scipy filters one axis after the other and cuts its Gaussian at the same 7 pixels; the mean is not taken off."""
    _, reference = pair()
    ours = torch.nn.functional.conv2d(reference[:, :1], log_kernel()[None, None])[0, 0]
    oracle = ndimage.gaussian_laplace(reference[0, 0].numpy(), 1.5, truncate=7 / 1.5)[7:-7, 7:-7]
    assert float((ours - torch.from_numpy(oracle)).abs().max()) < 0.02 * abs(oracle).max()


@given(shape=shapes, seed=st.integers(0, 99), unit=st.sampled_from([1e-4, 1.0, 900.0]))
def test_it_has_no_unit_and_a_featureless_image_scores_one(shape, seed, unit):
    prediction, reference = pair(shape, seed)
    torch.testing.assert_close(hfen(unit * prediction, unit * reference), hfen(prediction, reference))
    assert hfen(reference, reference).eq(0).all()
    torch.testing.assert_close(hfen(torch.ones_like(reference), reference), torch.ones(shape[:2], dtype=torch.float64))
    torch.testing.assert_close(hfen(1.2 * reference, reference), torch.full(shape[:2], 0.2, dtype=torch.float64))
    torch.testing.assert_close(hfen(reference + 3, reference), torch.zeros(shape[:2], dtype=torch.float64))


def test_it_weighs_fine_structure_and_forgives_a_slow_wave():
    """Two errors of the same energy: one of 40 pixels' length, one of 6."""
    x = torch.arange(80, dtype=torch.float64)
    _, reference = pair((1, 1, 80, 80))
    slow, fast = (0.05 * torch.sin(2 * math.pi * x / length).expand(80, 80) for length in (40, 6))
    assert float(slow.square().mean()) == pytest.approx(float(fast.square().mean()), rel=0.03)
    assert float(hfen(reference + fast, reference)) > 10 * float(hfen(reference + slow, reference))


def test_a_region_looks_at_its_own_pixels():
    _, reference = pair((1, 1, 60, 60))
    wrong = reference.clone()
    wrong[..., 5:10, 5:10] += 1
    left = torch.zeros(1, 60, 60, dtype=torch.bool)
    left[..., :30] = True
    assert float(hfen(wrong, reference, left)) > 0.1
    assert float(hfen(wrong, reference, ~left)) == 0
    everything = torch.ones_like(left)
    torch.testing.assert_close(hfen(wrong, reference, everything), hfen(wrong, reference))


def test_it_is_differentiable():
    prediction, reference = pair((1, 1, 9, 10))
    assert torch.autograd.gradcheck(lambda p: hfen(p, reference), prediction.requires_grad_())
    same = reference.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(hfen(same, reference).sum(), same)
    assert gradient.isfinite().all()  # where nothing differs the norm has no slope, and no NaN


@pytest.mark.bad_input
def test_what_has_no_structure_is_refused():
    prediction, reference = pair()
    for bad, message in (
        (torch.zeros_like(reference), "reference: got 1 series whose maximum is not above zero"),
        (torch.full_like(reference, 0.3), "reference: got 2 frames without structure"),
        (reference[:, :1], "prediction: got shape"),
        (reference * math.nan, "reference: got 1344 values that are NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            hfen(prediction, bad)
    for size, sigma, message in ((14, 1.5, "size: got 14"), (1, 1.5, "size: got 1"), (15, 0.0, "sigma: got 0.0")):
        with pytest.raises(ValueError, match=message):
            log_kernel(size, sigma)
