"""The measurement model y = M F S x: adjoint, symmetric, and what the acquisition says it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition
from cmr_course.coils import combine, normalise
from cmr_course.encoding import Encoding


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@st.composite
def models(draws: st.DrawFn) -> tuple[Encoding, tuple[int, ...], int]:
    """A random model: odd and even shapes, static or moving maps, masks with and without batch, frame and kx axes."""
    batch, frames, n_coils = (draws(st.integers(1, 3)) for _ in range(3))
    y, x = draws(st.integers(1, 9)), draws(st.integers(1, 9))
    seed = draws(st.integers(0, 999))
    maps = draw(batch, draws(st.sampled_from([1, frames])), n_coils, y, x, seed=seed)
    shape = [draws(st.sampled_from([1, size])) for size in (batch, frames)] + [1, y, draws(st.sampled_from([1, x]))]
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return Encoding(maps, mask), (batch, frames, n_coils, y, x), seed


@given(model=models())
def test_adjoint(model):
    encoding, (batch, frames, n_coils, y, x), seed = model
    image, kspace = draw(batch, frames, y, x, seed=seed + 1), draw(batch, frames, n_coils, y, x, seed=seed + 2)
    left = torch.vdot(encoding.forward(image).flatten(), kspace.flatten())
    right = torch.vdot(image.flatten(), encoding.adjoint(kspace).flatten())
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@given(model=models())
def test_normal_is_hermitian_and_never_negative(model):
    encoding, (batch, frames, _, y, x), seed = model
    a, b = draw(batch, frames, y, x, seed=seed + 1), draw(batch, frames, y, x, seed=seed + 2)
    left = torch.vdot(encoding.normal(a).flatten(), b.flatten())
    right = torch.vdot(a.flatten(), encoding.normal(b).flatten())
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    energy = torch.vdot(a.flatten(), encoding.normal(a).flatten())
    torch.testing.assert_close(energy.real, encoding.forward(a).abs().square().sum(), rtol=1e-10, atol=1e-10)


@given(model=models())
def test_backward_pass_is_the_adjoint(model):
    encoding, (batch, frames, n_coils, y, x), seed = model
    image = draw(batch, frames, y, x, seed=seed + 1).requires_grad_()
    kspace = draw(batch, frames, n_coils, y, x, seed=seed + 2)
    (gradient,) = torch.autograd.grad(encoding.forward(image), image, kspace)
    torch.testing.assert_close(gradient, encoding.adjoint(kspace), rtol=1e-10, atol=1e-10)


@given(model=models())
def test_normalised_maps_bound_the_model_by_one(model):
    encoding, (batch, frames, _, y, x), seed = model
    bounded = Encoding(normalise(encoding.sensitivities), encoding.mask)
    image = draw(batch, frames, y, x, seed=seed + 1)
    assert bounded.normal(image).norm() <= image.norm() * (1 + 1e-12)
    full = Encoding(bounded.sensitivities, torch.ones_like(encoding.mask))
    torch.testing.assert_close(full.normal(image), image, rtol=1e-10, atol=1e-10)


def test_nothing_is_measured_where_the_mask_is_false():
    mask = torch.zeros(1, 1, 1, 6, 1, dtype=torch.bool)
    mask[:, :, :, 2::2] = True
    kspace = Encoding(draw(2, 1, 3, 6, 5), mask).forward(draw(2, 4, 6, 5, seed=1))
    measured = (kspace != 0).any((0, 1, 2, 4))
    assert measured.tolist() == [False, False, True, False, True, False]


def test_of_takes_maps_and_mask_from_the_acquisition():
    maps = normalise(draw(1, 1, 3, 6, 5))
    acquisition = Acquisition.fully_sampled(draw(1, 2, 3, 6, 5, seed=1), sensitivities=maps)
    image = Encoding.of(acquisition).adjoint(acquisition.kspace)
    torch.testing.assert_close(image, combine(acquisition.coil_images(), maps))


@pytest.mark.bad_input
def test_no_maps_is_an_error_that_says_how_to_get_them():
    with pytest.raises(ValueError, match=r"acquisition: got no sensitivities.*coils\.with_maps"):
        Encoding.of(Acquisition.fully_sampled(draw(1, 2, 3, 6, 5)))
