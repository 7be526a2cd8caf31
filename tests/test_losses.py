"""Losses: values by hand, gradients right, and each example of a batch counted as it should be."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.fourier import fft2c
from cmr_course.losses import LOSSES, build, l1, log_nmse, mse, steps_log_nmse, total
from cmr_course.validate import require_settings

SHAPE = (2, 3, 5, 4)


def needs_settings(name: str) -> bool:
    """Whether it cannot be made without them: its own tests make it."""
    try:
        require_settings(name, LOSSES[name], {})
    except ValueError:
        return True
    return False


APART = (
    "ssim",
    "parts_ssim",
    "eagle",
    "vgg",
    "vgg_chain",
    "kspace_fidelity",
    "kspace_regularisation",
    "physics",
    "edge_region",
    "alignment",
)
"""Losses that need larger images than those here, k-space, features or a file; they have tests of their own."""
PLAIN = tuple(name for name in LOSSES if not needs_settings(name) and name not in APART)


def of_scale(*scale: float, dtype=torch.complex128) -> Acquisition:
    """An acquisition that only has a scale for each example."""
    batch, frames, y, x = len(scale), *SHAPE[1:]
    mask = torch.ones(1, 1, 1, y, 1, dtype=torch.bool)
    kspace = torch.zeros(batch, frames, 1, y, x, dtype=dtype)
    return Acquisition(kspace, mask, (y, x), scale=torch.tensor(scale, dtype=kspace.real.dtype))


def drawn(generator, number=1):
    return torch.randn(number, *SHAPE, dtype=torch.complex128, generator=generator).unbind()


def test_values_by_hand():
    """|3 + 4j| = 5 away from the reference, at a scale of 2."""
    reference = torch.full(SHAPE, 1 + 1j, dtype=torch.complex128)
    found, acquisition = Reconstruction(reference + 3 + 4j), of_scale(2.0, 2.0)
    assert float(l1(found, reference, acquisition)) == pytest.approx(2.5)
    assert float(mse(found, reference, acquisition)) == pytest.approx(6.25)
    assert float(log_nmse(found, reference, acquisition)) == pytest.approx(math.log10(25 / 2))


def test_without_a_scale_errors_are_in_the_unit_of_the_signal():
    reference = torch.full(SHAPE, 1 + 1j, dtype=torch.complex128)
    bare = replace(of_scale(2.0, 2.0), scale=None)
    assert float(l1(Reconstruction(reference + 3 + 4j), reference, bare)) == pytest.approx(5.0)


def test_phase_counts(generator):
    (reference,) = drawn(generator)
    turned = Reconstruction(reference * 1j)
    assert float(log_nmse(turned, reference, of_scale(1.0, 1.0))) == pytest.approx(math.log10(2))


def test_the_squared_error_is_the_same_in_kspace(generator):
    image, reference = drawn(generator, 2)
    acquisition = of_scale(1.0, 1.0)
    in_kspace = mse(Reconstruction(fft2c(image)), fft2c(reference), acquisition)
    torch.testing.assert_close(mse(Reconstruction(image), reference, acquisition), in_kspace)


@given(unit=st.floats(1e-6, 1e6), name=st.sampled_from(["l1", "mse", "log_nmse"]))
def test_the_unit_of_the_signal_does_not_matter(unit, name):
    image, reference = drawn(torch.Generator().manual_seed(0), 2)
    loss = build(name)
    usual = loss(Reconstruction(image), reference, of_scale(0.5, 3.0))
    scaled = loss(Reconstruction(unit * image), unit * reference, of_scale(0.5 * unit, 3.0 * unit))
    torch.testing.assert_close(scaled, usual, rtol=1e-6, atol=1e-9)


def test_log_nmse_weighs_examples_of_different_error_alike(generator):
    """Ten times less error is −2, whichever example it is of; the mean square sees the worse example alone."""
    error, reference = drawn(generator, 2)
    acquisition = of_scale(1.0, 1.0)

    def with_errors(first: float, second: float) -> Reconstruction:
        return Reconstruction(reference + torch.tensor([first, second]).view(2, 1, 1, 1) * error)

    before = log_nmse(with_errors(0.01, 1.0), reference, acquisition)
    better_first = log_nmse(with_errors(0.001, 1.0), reference, acquisition)
    better_second = log_nmse(with_errors(0.01, 0.1), reference, acquisition)
    assert float(before - better_first) == pytest.approx(1.0, abs=1e-6)  # half of −2: a mean over two examples
    assert float(before - better_second) == pytest.approx(1.0, abs=1e-6)
    change = mse(with_errors(0.01, 1.0), reference, acquisition) - mse(with_errors(0.001, 1.0), reference, acquisition)
    assert float(change) < 1e-3 * float(mse(with_errors(0.01, 1.0), reference, acquisition))


@pytest.mark.parametrize("name", ["log_nmse", "mse", "l1"])
def test_a_perfect_image_has_a_finite_loss_and_gradient(name, generator):
    (reference,) = drawn(generator)
    image = reference.clone().requires_grad_()
    loss = build(name)(Reconstruction(image), reference, of_scale(1.0, 1.0))
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())


def test_an_empty_reference_has_a_finite_loss(generator):
    (image,) = drawn(generator)
    image.requires_grad_()
    loss = log_nmse(Reconstruction(image), torch.zeros_like(image), of_scale(1.0, 1.0))
    loss.backward()
    assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())


def test_most_losses_need_no_settings():
    assert set(LOSSES) - set(PLAIN) - set(APART) == {"perceptual"}


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_gradients_are_right(name, generator):
    first, second, reference = (one[:, :2, :3, :2] for one in drawn(generator, 3))
    acquisition = of_scale(0.7, 2.0)

    def of(a, b):
        return build(name)(Reconstruction(b, steps=(a, b)), reference, acquisition)

    assert torch.autograd.gradcheck(of, (first.clone().requires_grad_(), second.clone().requires_grad_()))


def test_steps_are_those_before_the_last(generator):
    early, late, last, reference = drawn(generator, 4)
    acquisition = of_scale(1.0, 1.0)
    found = Reconstruction(last, steps=(early, late, last))
    wanted = (
        log_nmse(Reconstruction(early), reference, acquisition) + log_nmse(Reconstruction(late), reference, acquisition)
    ) / 2
    torch.testing.assert_close(steps_log_nmse(found, reference, acquisition), wanted)
    only = steps_log_nmse(Reconstruction(last, steps=(last,)), reference, acquisition)
    torch.testing.assert_close(only, log_nmse(found, reference, acquisition))


def test_total_is_the_weighted_sum_and_returns_every_term(generator):
    image, reference = drawn(generator, 2)
    found, acquisition = Reconstruction(image.requires_grad_(), steps=(image,)), of_scale(1.0, 2.0)
    losses = {name: (0.5 + number, build(name)) for number, name in enumerate(PLAIN)}
    summed, terms = total(losses, found, reference, acquisition)
    assert list(terms) == list(PLAIN)
    wanted = sum(weight * loss(found, reference, acquisition) for weight, loss in losses.values())
    torch.testing.assert_close(summed, wanted)
    assert summed.requires_grad
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.bad_input
def test_what_does_not_fit_is_named(generator):
    image, reference = drawn(generator, 2)
    acquisition = of_scale(1.0, 1.0)
    for loss in (l1, mse, log_nmse):
        with pytest.raises(ValueError, match=r"reference: got shape \(1, 3, 5, 4\), want that of the image"):
            loss(Reconstruction(image), reference[:1], acquisition)
    with pytest.raises(ValueError, match=r"got no steps, want the image after each stage"):
        steps_log_nmse(Reconstruction(image), reference, acquisition)
    with pytest.raises(ValueError, match=r"losses: got none"):
        total({}, Reconstruction(image), reference, acquisition)
