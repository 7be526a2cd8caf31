"""The physics loss: magnitudes and phases apart, phases on the circle, and how the literal reading fails."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.losses import LOSSES, KspaceFidelity, OfKspace, PhysicsFidelity, aims_at_kspace, build
from cmr_course.losses.physics import FAINTEST, PHASES, SOFTNESS

SHAPE = (2, 1, 2, 4, 3)


def drawn(generator, number=1, shape=SHAPE):
    return torch.randn(number, *shape, dtype=torch.complex128, generator=generator).unbind()


def of_scale(kspace: torch.Tensor, *scale: float) -> Acquisition:
    mask = torch.ones(1, 1, 1, kspace.shape[3], 1, dtype=torch.bool)
    bare = Acquisition(torch.zeros_like(kspace), mask, tuple(kspace.shape[3:]))
    return replace(bare, scale=torch.tensor(scale, dtype=kspace.real.dtype)) if scale else bare


def found(kspace: torch.Tensor | None) -> Reconstruction:
    image = torch.zeros(SHAPE[0], 1, *SHAPE[3:], dtype=torch.complex128) if kspace is None else 0 * kspace[:, :, 0]
    return Reconstruction(image, kspace=kspace)


def terms(phase: str, kspace, reference, *scale: float) -> tuple[float, float]:
    magnitude, apart = PhysicsFidelity(phase).terms(found(kspace), reference, of_scale(reference, *scale))
    return float(magnitude), float(apart)


def one(value: complex, dtype=torch.complex128) -> torch.Tensor:
    return torch.full((1, 1, 1, 1, 1), value, dtype=dtype)


@pytest.mark.parametrize("phase", PHASES)
def test_it_is_zero_for_what_is_equal_and_the_sum_of_both_terms(phase, generator):
    k, r = drawn(generator, 2)
    assert terms(phase, r, r, 0.5, 3.0) == (0, 0)
    loss = PhysicsFidelity(phase)(found(k), r, of_scale(r, 0.5, 3.0))
    assert float(loss) == pytest.approx(sum(terms(phase, k, r, 0.5, 3.0)))


def test_values_by_hand():
    """5 and 3 in magnitude at a scale of 2; a quarter turn is 1 on the circle, and (π/2)² between angles."""
    assert terms("circle", one(3 + 4j), one(3), 2.0)[0] == pytest.approx(1.0)
    magnitude, apart = terms("circle", one(10j), one(10))
    assert (magnitude, apart) == pytest.approx((0, 1 / (1 + SOFTNESS**2)))
    assert terms("wrapped", one(10j), one(10))[1] == pytest.approx((math.pi / 2) ** 2)
    two = torch.cat([one(1j), one(-4)], dim=-1), torch.cat([one(1), one(4)], dim=-1)
    wanted = (0.25 * 1 + 1 * 2) / 2 / (1 + SOFTNESS**2)  # a quarter turn at a quarter of the largest, a half turn there
    assert terms("circle", *two)[1] == pytest.approx(wanted)


def test_magnitudes_are_the_squared_error_and_twice_the_circle_with_other_weights(generator):
    """|k − r|² = (|k| − |r|)² + 2·|k|·|r|·(1 − cos Δ): what the docstring says of the fidelity."""
    k, r = drawn(generator, 2)
    turned = 2 * k.abs() * r.abs() * (1 - torch.cos(k.angle() - r.angle()))
    magnitude, _ = terms("circle", k, r)
    whole = float(KspaceFidelity()(found(k), r, of_scale(r)))
    assert magnitude + float(turned.mean()) == pytest.approx(whole)


@given(angle=st.floats(-3.1, 3.1))
def test_a_global_phase_is_seen_by_the_phase_term_alone(angle):
    k, r = drawn(torch.Generator().manual_seed(0), 2)
    turn = complex(math.cos(angle), math.sin(angle))
    for phase in PHASES:
        usual = terms(phase, k, r)
        assert terms(phase, turn * k, r)[0] == pytest.approx(usual[0])
        assert terms(phase, turn * r, r)[0] == pytest.approx(0, abs=1e-24)
    weight = float((r.abs() / r.abs().amax((1, 2, 3, 4), keepdim=True)).mean())
    wanted = weight * (1 - math.cos(angle)) / (1 + SOFTNESS**2)
    assert terms("circle", turn * r, r)[1] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(terms("circle", turn * k, turn * r)[1], terms("circle", k, r)[1])


@given(gain=st.floats(0.5, 2.0))
def test_the_phase_on_the_circle_hardly_sees_a_magnitude(gain):
    _, r = drawn(torch.Generator().manual_seed(0), 2)
    assert terms("circle", gain * r, r)[1] < 2e-4
    assert terms("wrapped", gain * r, r)[1] == pytest.approx(0, abs=1e-24)


def test_neighbours_on_both_sides_of_the_cut_are_near_on_the_circle_only():
    """−π + ε is as far from π − ε as 2ε is from 0; the difference of wrapped angles is 2π − 2ε."""
    hair = 0.01
    above, below = (one(complex(math.cos(a), math.sin(a))) for a in (math.pi - hair, hair - math.pi))
    near = one(complex(math.cos(2 * hair), math.sin(2 * hair)))
    assert terms("circle", below, above)[1] == pytest.approx(terms("circle", near, one(1))[1])
    assert terms("circle", below, above)[1] < hair**2 * 2.1
    assert terms("wrapped", near, one(1))[1] == pytest.approx((2 * hair) ** 2)
    assert terms("wrapped", below, above)[1] == pytest.approx((2 * math.pi - 2 * hair) ** 2)


def test_the_loss_on_the_circle_does_not_jump_at_the_cut_and_the_wrapped_one_does():
    angles = torch.linspace(-math.pi, math.pi, 400, dtype=torch.float64)
    steps = {}
    for phase in PHASES:
        values = [
            terms(phase, one(complex(torch.polar(torch.tensor(1.0).double(), a))), one(-1 + 1e-3j)) for a in angles
        ]
        around = torch.tensor([value for _, value in values])
        steps[phase] = float(around.diff().abs().max())
        steps[phase + " ends"] = float(around[0] - around[-1])
    assert steps["circle"] < 0.02
    assert abs(steps["circle ends"]) < 1e-9
    assert abs(steps["wrapped ends"]) > 30


def test_samples_without_signal_count_between_angles_only(generator):
    """What lies beyond the support of k-space is noise, whose phase says nothing."""
    (r,) = drawn(generator)
    faint, other = drawn(generator, 2)
    outside = torch.arange(4)[:, None] > 1
    empty, noisy = torch.where(outside, 0, r), torch.where(outside, 1e-6 * faint, r)
    for reference in (empty, noisy):
        k = torch.where(outside, 1e-6 * other, r)
        assert terms("circle", k, reference)[1] < 1e-5
        assert terms("wrapped", k, reference)[1] > 1


@given(unit=st.floats(1e-6, 1e6), phase=st.sampled_from(PHASES))
def test_the_unit_of_the_signal_does_not_matter(unit, phase):
    k, r = drawn(torch.Generator().manual_seed(0), 2)
    usual = terms(phase, k, r, 0.5, 3.0)
    assert terms(phase, unit * k, unit * r, 0.5 * unit, 3.0 * unit) == pytest.approx(usual, rel=1e-9)


@pytest.mark.parametrize("phase", PHASES)
def test_a_batch_is_the_mean_of_its_examples(phase, generator):
    k, r = drawn(generator, 2)
    gains = torch.tensor([1.0, 50.0], dtype=torch.float64).view(2, 1, 1, 1, 1)
    k, r = gains * k, gains * r
    alone = [terms(phase, k[i : i + 1], r[i : i + 1], scale) for i, scale in enumerate((0.5, 30.0))]
    wanted = [sum(pair) / 2 for pair in zip(*alone, strict=True)]
    assert terms(phase, k, r, 0.5, 30.0) == pytest.approx(wanted)


@pytest.mark.parametrize("phase", PHASES)
def test_gradients_are_right(phase, generator):
    k, r = (each[:1, :, :, :3, :2].clone() for each in drawn(generator, 2))
    loss, acquisition = PhysicsFidelity(phase), of_scale(r, 0.7)
    assert torch.autograd.gradcheck(lambda each: loss(found(each), r, acquisition), (k.requires_grad_(),))


def test_the_phase_term_on_the_circle_is_smooth_at_zero_and_at_the_cut(generator):
    """Where k is zero, and where k is opposite to the reference."""
    (r,) = (each[:1, :, :, :3, :2].clone() for each in drawn(generator))
    acquisition, loss = of_scale(r, 0.7), PhysicsFidelity()
    for k in (torch.zeros_like(r), -r, r):
        k = k.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda each: loss.terms(found(each), r, acquisition)[1], (k,))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_gradients_are_bounded_on_the_circle_and_grow_without_bound_between_angles(dtype):
    """Towards k = 0; at k = 0 itself, and where 1/|k| is no number, both are finite."""
    r = one(0.5j, dtype)
    bound = 2 / (SOFTNESS * 0.5)
    for size in (1.0, 1e-3, 1e-10, 1e-30, 1e-37, 1e-44, 0.0):
        for phase in PHASES:
            k = one(size, dtype).requires_grad_()
            loss = PhysicsFidelity(phase)(found(k), r, of_scale(r))
            loss.backward()
            length = float(k.grad.abs())
            assert bool(torch.isfinite(loss))
            assert math.isfinite(length)
            if phase == "circle":
                assert length < bound + 2
            elif size > 1e-38:
                assert length == pytest.approx(math.pi / size, rel=1e-2 if size < 1 else 1)


@pytest.mark.parametrize("phase", PHASES)
def test_empty_and_perfect_kspace_have_a_finite_loss_and_gradient(phase, generator):
    (r,) = drawn(generator)
    empty = torch.zeros_like(r)
    faint = r.clone()
    faint[..., 0] *= FAINTEST / 100
    for k, wanted in ((r, r), (empty, r), (r, empty), (empty, empty), (faint, r), (empty, faint), (r, faint)):
        for dtype in (torch.complex64, torch.complex128):
            k_now, wanted_now = k.to(dtype).clone().requires_grad_(), wanted.to(dtype)
            loss = PhysicsFidelity(phase)(found(k_now), wanted_now, of_scale(wanted_now, 1.0, 1.0))
            loss.backward()
            assert bool(torch.isfinite(loss))
            assert bool(torch.isfinite(torch.view_as_real(k_now.grad)).all())


def test_zero_filled_samples_are_drawn_towards_the_reference(generator):
    """The gradient at k = 0 of the phase on the circle points at r; that of magnitudes and wrapped angles is none."""
    (r,) = drawn(generator)
    k = torch.zeros_like(r).requires_grad_()
    for phase, there in (("circle", True), ("wrapped", False)):
        (slope,) = torch.autograd.grad(PhysicsFidelity(phase)(found(k), r, of_scale(r)), k)
        along = -(slope * r.conj()).real
        assert bool((along > 0).all()) is there
        if not there:
            assert float(slope.abs().max()) == 0


@pytest.mark.parametrize("phase", PHASES)
def test_nan_is_not_hidden(phase, generator):
    for broken in (0, 1):
        pair = drawn(generator, 2)
        pair[broken][0, 0, 0, 1, 1] = complex("nan")
        assert bool(torch.isnan(PhysicsFidelity(phase)(found(pair[0]), pair[1], of_scale(pair[1]))))


def test_it_aims_at_kspace():
    assert aims_at_kspace(build("physics"))
    assert isinstance(PhysicsFidelity(), OfKspace)
    assert LOSSES["physics"] is PhysicsFidelity
    assert repr(build("physics", {"phase": "wrapped"})) == "PhysicsFidelity(phase=wrapped)"


@pytest.mark.bad_input
def test_what_does_not_fit_is_named(generator):
    k, r = drawn(generator, 2)
    with pytest.raises(ValueError, match=r"reconstruction: got no kspace, want one of all coils"):
        PhysicsFidelity()(found(None), r, of_scale(r))
    with pytest.raises(ValueError, match=r"kspace: got shape \(2, 1, 1, 4, 3\), want that of the reconstruction's"):
        PhysicsFidelity()(found(k), r[:, :, :1], of_scale(r))
    for phase in ("angle", None):
        with pytest.raises(ValueError, match=f"phase: got {phase!r}, want one of circle, wrapped"):
            build("physics", {"phase": phase})
