"""Losses of k-space: by hand, by Parseval, what the released forms do not see, and who is handed what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.fourier import fft2c
from cmr_course.losses import KspaceFidelity, KspaceRegularisation, OfKspace, aims_at_kspace, build, l1, mse, total

SHAPE = (2, 3, 2, 5, 4)


def drawn(generator, number=1, shape=SHAPE):
    return torch.randn(number, *shape, dtype=torch.complex128, generator=generator).unbind()


def found(kspace: torch.Tensor | None, image: torch.Tensor | None = None) -> Reconstruction:
    if image is None:
        image = torch.zeros(2, 3, 5, 4, dtype=torch.complex128) if kspace is None else 0 * kspace[:, :, 0]
    return Reconstruction(image, kspace=kspace)


def of_scale(kspace: torch.Tensor, *scale: float) -> Acquisition:
    mask = torch.ones(1, 1, 1, kspace.shape[3], 1, dtype=torch.bool)
    bare = Acquisition(kspace, mask, tuple(kspace.shape[3:]))
    return replace(bare, scale=torch.tensor(scale, dtype=kspace.real.dtype)) if scale else bare


def losses() -> dict[str, KspaceFidelity | KspaceRegularisation]:
    return {
        "fidelity": KspaceFidelity(),
        "fidelity released": KspaceFidelity("released"),
        "regularisation": KspaceRegularisation(),
        "regularisation released": KspaceRegularisation("released"),
    }


NAMES = tuple(losses())


def test_the_fidelity_is_the_squared_error_of_the_coil_images(generator):
    """By Parseval's theorem, whatever the scale."""
    x, r = drawn(generator, 2)
    acquisition = of_scale(r, 0.5, 3.0)
    images = mse(Reconstruction(x.flatten(1, 2)), r.flatten(1, 2), acquisition)
    got = KspaceFidelity()(found(fft2c(x)), fft2c(r), acquisition)
    torch.testing.assert_close(got, images)


def test_values_by_hand():
    """|3 + 4j| = 5 off, at a scale of 2; norms of a constant 3 + 4j."""
    r = torch.ones(SHAPE, dtype=torch.complex128)
    acquisition = of_scale(r, 2.0, 2.0)
    assert float(KspaceFidelity()(found(r + 3 + 4j), r, acquisition)) == pytest.approx(6.25)
    constant = found((3 + 4j) * r)
    assert float(KspaceRegularisation(beta=0.3)(constant, r, acquisition)) == pytest.approx(2.5 + 0.3 * 2.5)
    released = KspaceRegularisation("released", beta=0.3)
    n, s = r.numel(), (2 * 5 * 4) ** 0.5
    wanted = n * 7 / s + 0.3 * 5 * n**0.5 / s
    assert float(released(constant, r, replace(acquisition, scale=None))) == pytest.approx(wanted)
    assert float(released(constant, r, acquisition)) == pytest.approx(wanted / 2)
    unscaled = KspaceRegularisation("released", beta=0.3, scaled=False)
    assert float(unscaled(constant, r, acquisition)) == pytest.approx(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name, generator):
    k, r = (one[:1, :2, :, :3, :3].clone() for one in drawn(generator, 2))
    loss, acquisition = losses()[name], of_scale(r, 0.7)
    assert torch.autograd.gradcheck(lambda one: loss(found(one), r, acquisition), (k.requires_grad_(),))


@given(unit=st.floats(1e-3, 1e6), name=st.sampled_from(NAMES))
def test_the_unit_of_the_signal_does_not_matter(unit, name):
    k, r = drawn(torch.Generator().manual_seed(0), 2)
    loss = losses()[name]
    usual = loss(found(k), r, of_scale(r, 0.5, 3.0))
    torch.testing.assert_close(loss(found(unit * k), unit * r, of_scale(unit * r, 0.5 * unit, 3.0 * unit)), usual)


@pytest.mark.parametrize("name", ["fidelity", "fidelity released", "regularisation"])
def test_a_batch_is_the_mean_of_its_examples(name, generator):
    k, r = drawn(generator, 2)
    loss, scales = losses()[name], (0.5, 30.0)
    alone = [loss(found(k[i : i + 1]), r[i : i + 1], of_scale(r[i : i + 1], scale)) for i, scale in enumerate(scales)]
    torch.testing.assert_close(loss(found(k), r, of_scale(r, *scales)), sum(alone) / 2)


@given(times=st.integers(2, 4), axis=st.sampled_from([0, 1, 2, 3, 4]))
def test_only_the_released_regularisation_grows_with_batch_coils_and_matrix(times, axis):
    (k,) = drawn(torch.Generator().manual_seed(1))
    more = torch.cat(times * [k], dim=axis)
    ours, theirs = KspaceRegularisation(), KspaceRegularisation("released")
    torch.testing.assert_close(ours(found(more), k, of_scale(more)), ours(found(k), k, of_scale(k)))
    grown = theirs.norms(found(more), of_scale(more))[0] / theirs.norms(found(k), of_scale(k))[0]
    matrix = axis > 2  # the division by √(2·ky·kx) takes half of that growth back
    assert float(grown) == pytest.approx(times**0.5 if matrix else times)


def test_the_released_fidelity_sees_neither_phase_nor_the_level_of_a_line(generator):
    k, r = drawn(generator, 2)
    released, paper, acquisition = KspaceFidelity("released"), KspaceFidelity(), of_scale(r)
    usual = released(found(k), r, acquisition)
    phase = torch.polar(torch.ones(SHAPE, dtype=torch.float64), 6 * torch.rand(SHAPE, generator=generator).double())
    levels = 10 ** torch.rand(2, 3, 1, 5, 1, generator=generator, dtype=torch.float64)
    for other in (k * phase, k * levels):
        torch.testing.assert_close(released(found(other), r, acquisition), usual, rtol=1e-6, atol=0)
        assert float(paper(found(other), r, acquisition)) != pytest.approx(
            float(paper(found(k), r, acquisition)), rel=1e-2
        )
    assert float(released(found(r * levels * phase), r, acquisition)) == pytest.approx(0, abs=1e-14)
    along_x = 10 ** torch.rand(2, 3, 1, 1, 4, generator=generator, dtype=torch.float64)  # a level along the readout
    assert float(released(found(r * along_x), r, acquisition)) > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_empty_and_perfect_kspace_have_a_finite_loss_and_gradient(name, generator):
    (r,) = drawn(generator)
    empty = torch.zeros_like(r)
    for k, wanted in ((r, r), (empty, r), (r, empty), (empty, empty)):
        k = k.clone().requires_grad_()
        loss = losses()[name](found(k), wanted, of_scale(r, 1.0, 1.0))
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(torch.view_as_real(k.grad)).all())


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_hidden(name, generator):
    k, r = drawn(generator, 2)
    k[0, 0, 0, 1, 1] = complex("nan")
    assert bool(torch.isnan(losses()[name](found(k), r, of_scale(r))))


# Who is handed what


def test_total_hands_kspace_to_those_that_aim_at_it_and_images_to_others(generator):
    k, r = drawn(generator, 2)
    image, reference = k[:, :, 0], r[:, :, 1]
    given_losses = {"l1": (2.0, l1), "fit": (3.0, KspaceFidelity()), "small": (0.5, KspaceRegularisation())}
    assert [aims_at_kspace(loss) for _, loss in given_losses.values()] == [False, True, False]
    assert isinstance(KspaceFidelity(), OfKspace)
    reconstruction, acquisition = found(k, image), of_scale(r, 0.5, 3.0)
    summed, terms = total(given_losses, reconstruction, reference, acquisition, r)
    wanted = {
        "l1": l1(reconstruction, reference, acquisition),
        "fit": KspaceFidelity()(reconstruction, r, acquisition),
        "small": KspaceRegularisation()(reconstruction, reference, acquisition),
    }
    assert terms == wanted
    torch.testing.assert_close(summed, sum(weight * wanted[name] for name, (weight, _) in given_losses.items()))


@pytest.mark.bad_input
def test_kspace_that_is_not_there_is_named(generator):
    k, r = drawn(generator, 2)
    acquisition = of_scale(r)
    with pytest.raises(ValueError, match=r"kspace: got None for the loss fit, want the fully sampled k-space"):
        total({"fit": (1.0, KspaceFidelity())}, found(k), k[:, :, 0], acquisition)
    for loss in losses().values():
        with pytest.raises(ValueError, match=r"reconstruction: got no kspace, want one of all coils"):
            loss(found(None), r, acquisition)
    with pytest.raises(ValueError, match=r"kspace: got shape \(2, 1, 2, 5, 4\), want that of the reconstruction's"):
        KspaceFidelity()(found(k), r[:, :1], acquisition)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("kspace_fidelity", {"form": "code"}, "form: got 'code', want one of paper, released"),
        ("kspace_fidelity", {"form": None}, "form: got None"),
        ("kspace_fidelity", {"beta": 1}, "loss kspace_fidelity: got beta, want settings among form"),
        ("kspace_regularisation", {"form": 1}, "form: got 1"),
        ("kspace_regularisation", {"beta": -0.1}, "beta: got -0.1, want a number of 0 or more"),
        ("kspace_regularisation", {"beta": float("nan")}, "beta: got nan"),
        ("kspace_regularisation", {"scaled": 1}, "scaled: got 1, want true or false"),
    ],
)
def test_bad_settings_are_named(name, settings, said):
    with pytest.raises(ValueError, match=said):
        build(name, settings)
