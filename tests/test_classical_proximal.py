"""Thresholds and proximal operators: against their definitions, closed forms, and optimality conditions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmr_course.classical.proximal import (
    TemporalPrior,
    clip,
    difference_t,
    difference_t_adjoint,
    momentum,
    singular_values,
    soft_threshold,
    spectrum_t,
    spectrum_t_adjoint,
    threshold_singular_values,
)
from cmr_course.fourier import fft_t

sizes = st.tuples(*(st.integers(1, high) for high in (3, 7, 4, 5)))
seeds = st.integers(0, 99)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.vdot(a.flatten(), b.flatten())


# ------------------------------------------------------------------------------------------------- soft threshold


@given(shape=sizes, level=st.floats(0, 3), seed=seeds)
def test_soft_threshold_minimises_distance_plus_magnitude(shape, level, seed):
    """0 ∈ x − z + λ ∂|x|: the phase is kept where x ≠ 0, and |z| ≤ λ where x = 0."""
    z = draw(*shape, seed=seed)
    x = soft_threshold(z, level)
    nonzero = x != 0
    torch.testing.assert_close((x - z + level * x / x.abs())[nonzero], torch.zeros_like(z)[nonzero])
    assert bool((z.abs()[~nonzero] <= level).all())
    torch.testing.assert_close(x + clip(z, level), z)


def test_soft_threshold_of_numbers_and_of_zero():
    values = torch.tensor([3 + 4j, 0.3 - 0.4j, 0, -2], dtype=torch.complex128)
    expected = torch.tensor([2.4 + 3.2j, 0, 0, -1], dtype=torch.complex128)
    torch.testing.assert_close(soft_threshold(values, 1.0), expected)
    torch.testing.assert_close(clip(values, 1.0), values - expected)
    levels = torch.tensor([5.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.equal(soft_threshold(values, levels), torch.tensor([0, 0.3 - 0.4j, 0, 0], dtype=torch.complex128))


# ----------------------------------------------------------------------------------------------------- low rank


@given(shape=sizes, level=st.floats(0.0, 4.0), seed=seeds)
def test_singular_value_threshold_is_that_of_the_svd(shape, level, seed):
    """The 12 × 12 way equals the pixel × frame way, also where there are more frames than pixels."""
    series = draw(*shape, seed=seed)
    casorati = series.flatten(2).mT  # (batch, pixel, frame)
    u, sigma, vh = torch.linalg.svd(casorati, full_matrices=False)
    expected = (u * (sigma - level).clamp(min=0)[:, None]) @ vh
    found = threshold_singular_values(series, level)
    torch.testing.assert_close(found.flatten(2).mT, expected, rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(singular_values(series)[:, : sigma.shape[1]], sigma, rtol=1e-9, atol=1e-7)


def test_singular_value_threshold_lowers_the_rank_and_each_item_has_its_level():
    series = draw(2, 6, 8, 9)
    sigma = singular_values(series)
    level = torch.stack([sigma[0, 2:4].mean(), sigma[1, 4:6].mean()])
    low = threshold_singular_values(series, level)
    ranks = torch.linalg.matrix_rank(low.flatten(2), rtol=1e-6)
    assert ranks.tolist() == [3, 5]
    expected = (sigma - level[:, None]).clamp(min=0)
    torch.testing.assert_close(singular_values(low), expected, rtol=1e-6, atol=1e-6)
    alone = threshold_singular_values(series[1:], level[1:])
    torch.testing.assert_close(low[1:], alone, rtol=1e-12, atol=1e-12)


def test_single_precision_keeps_what_is_small_beside_the_largest():
    """A component 3e-4 of the largest, near the square root of single precision, keeps its size."""
    basis = torch.linalg.qr(draw(400, 4)).Q * torch.tensor([1.0, 1e-2, 3e-4, 0.0])
    series = (basis @ torch.linalg.qr(draw(4, 4, seed=1)).Q).mT.reshape(1, 4, 20, 20)
    kept = threshold_singular_values(series.to(torch.complex64), 1e-4)
    assert kept.dtype == torch.complex64
    expected = torch.tensor([[1 - 1e-4, 1e-2 - 1e-4, 2e-4, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(singular_values(kept.to(torch.complex128)), expected, rtol=1e-3, atol=1e-6)


# ------------------------------------------------------------------------------------------- temporal transforms


@given(shape=sizes, seed=seeds)
def test_temporal_difference_is_circular_and_its_adjoint_is_one(shape, seed):
    x, q = draw(*shape, seed=seed), draw(*shape, seed=seed + 1)
    torch.testing.assert_close(inner(difference_t(x), q), inner(x, difference_t_adjoint(q)))
    frames = shape[1]
    for t in range(frames):
        torch.testing.assert_close(difference_t(x)[:, t], x[:, (t + 1) % frames] - x[:, t])
    assert float(difference_t(x).sum(1).abs().max()) < 1e-12  # round the heart beat and back
    assert float(difference_t(x).norm()) <= 2 * float(x.norm())


@given(shape=sizes, seed=seeds)
def test_temporal_spectrum_is_the_centred_one_in_another_order(shape, seed):
    x, k = draw(*shape, seed=seed), draw(*shape, seed=seed + 1)
    torch.testing.assert_close(torch.fft.fftshift(spectrum_t(x), dim=1).abs(), fft_t(x).abs())
    torch.testing.assert_close(inner(spectrum_t(x), k), inner(x, spectrum_t_adjoint(k)))
    torch.testing.assert_close(spectrum_t_adjoint(spectrum_t(x)), x)


# ---------------------------------------------------------------------------------------- the temporal proximal step


@settings(max_examples=12)
@given(shape=sizes, fourier=st.sampled_from([0.0, 0.2, 1.0]), variation=st.sampled_from([0.0, 0.3, 2.0]), seed=seeds)
def test_proximal_step_is_optimal(shape, fourier, variation, seed):
    """x = z − Fᴴp − Dᴴq with |p| ≤ λ_f, |q| ≤ λ_v and ⟨p, Fx⟩ = λ_f‖Fx‖₁, ⟨q, Dx⟩ = λ_v‖Dx‖₁: no x is better."""
    z, prior = draw(*shape, seed=seed), TemporalPrior(fourier, variation)
    x, dual = prior.proximal(z, iterations=400)
    p = dual[0] if len(dual) == 2 else torch.zeros_like(z)
    q = dual[-1] if dual else torch.zeros_like(z)
    if variation == 0:
        p = spectrum_t(z - x)
    torch.testing.assert_close(x, z - spectrum_t_adjoint(p) - difference_t_adjoint(q))
    assert bool((p.abs() <= fourier + 1e-9).all())
    assert bool((q.abs() <= variation + 1e-9).all())
    gap = prior.value(x).sum() - (inner(p, spectrum_t(x)) + inner(q, difference_t(x))).real
    assert -1e-9 <= float(gap) <= 1e-4 * (1 + float(z.norm()) ** 2)


@given(level=st.floats(0.01, 1.0), seed=seeds)
def test_variation_of_two_frames_has_a_closed_form(level, seed):
    """Two frames differ twice, there and back: the mean stays, the difference is soft-thresholded by 4λ."""
    z = draw(2, 2, 3, 4, seed=seed)
    mean, change = z.mean(1, keepdim=True), soft_threshold(z[:, 1:] - z[:, :1], 4 * level)
    expected = torch.cat([mean - change / 2, mean + change / 2], 1)
    found, _ = TemporalPrior(0.0, level).proximal(z, iterations=100)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_much_variation_leaves_the_mean_and_no_variation_leaves_all():
    z = draw(1, 8, 5, 5)
    still, _ = TemporalPrior(0.0, 100.0).proximal(z, iterations=300)
    torch.testing.assert_close(still, z.mean(1, keepdim=True).expand_as(z), rtol=1e-5, atol=1e-5)
    same, _ = TemporalPrior(0.0, 0.0).proximal(z)
    torch.testing.assert_close(same, z)


def test_dual_variables_passed_on_continue_where_they_ended():
    z, prior = draw(1, 8, 4, 4), TemporalPrior(0.1, 0.3)
    exact, _ = prior.proximal(z, iterations=1000)
    dual, errors = (), []
    for _ in range(40):
        x, dual = prior.proximal(z, dual, iterations=5)
        errors.append(float((x - exact).norm()))
    assert errors[-1] < 0.01 * errors[0]
    once, _ = prior.proximal(z, iterations=5)
    assert float((once - exact).norm()) == pytest.approx(errors[0])


def test_batch_items_have_their_own_levels():
    z = draw(2, 6, 3, 3)
    level = torch.tensor([0.05, 0.5], dtype=torch.float64)[:, None, None, None]
    both, _ = TemporalPrior(level, 2 * level).proximal(z, iterations=50)
    for item in range(2):
        alone, _ = TemporalPrior(float(level[item]), 2 * float(level[item])).proximal(z[item : item + 1], iterations=50)
        torch.testing.assert_close(both[item : item + 1], alone, rtol=1e-10, atol=1e-10)


def test_value_is_the_sum_of_both_norms():
    x = draw(2, 5, 3, 2)
    expected = 0.3 * fft_t(x).abs().sum((1, 2, 3)) + 0.7 * (torch.roll(x, -1, 1) - x).abs().sum((1, 2, 3))
    torch.testing.assert_close(TemporalPrior(0.3, 0.7).value(x), expected)


def test_momentum_numbers():
    """t₂ is the golden ratio, and t_k ≥ (k + 1)/2, on which FISTA's rate rests."""
    assert momentum(1.0) == pytest.approx((1 + 5**0.5) / 2)
    t = 1.0
    for k in range(2, 30):
        t = momentum(t)
        assert t >= (k + 1) / 2


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soft_threshold(draw(2), -1.0), "level: got -1.0"),
        (lambda: clip(draw(2), float("nan")), "level: got nan"),
        (lambda: threshold_singular_values(draw(3, 4), 1.0), "series: got 2 axes"),
        (lambda: threshold_singular_values(torch.zeros(1, 2, 3, 4), 1.0), "series: got real values"),
        (lambda: threshold_singular_values(draw(1, 2, 3, 4), "much"), "level: got 'much'"),
        (lambda: TemporalPrior(-0.1, 0.0), "fourier: got -0.1"),
        (lambda: TemporalPrior(0.0, None), "variation: got None"),
        (lambda: TemporalPrior(0.0, 1.0).proximal(draw(1, 2, 3, 4), iterations=0), "iterations: got 0"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
