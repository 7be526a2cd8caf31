"""The measurement model y = M F S x: adjoint, symmetric, and what the acquisition says it is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import encoding as encoding_module
from cmr_course.acquisition import Acquisition
from cmr_course.coils import combine, expand, normalise
from cmr_course.encoding import Encoding
from cmr_course.fourier import fft2c, fftc, ifft2c, ifftc
from cmr_course.sampling import kt_radial, kt_uniform


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


@given(model=models(), few=st.sampled_from([1, 200, 2**18]))
def test_normal_is_adjoint_after_forward_however_many_frames_go_together(model, few):
    encoding, (batch, frames, _, y, x), seed = model
    image = draw(batch, frames, y, x, seed=seed + 1)
    slow = combine(ifft2c(encoding.mask * fft2c(expand(image, encoding.sensitivities))), encoding.sensitivities)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding_module, "FEW", few)
        torch.testing.assert_close(encoding.normal(image), slow, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(encoding.adjoint(encoding.forward(image)), slow, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("y", "x"), [(12, 10), (11, 9), (13, 8)])
def test_a_mask_of_whole_readouts_needs_no_transform_along_them_and_one_of_points_does(y, x):
    maps, image = draw(1, 1, 3, y, x), draw(1, 4, y, x, seed=1)
    lines, points = kt_uniform(y, 4, 3, acs=2).sampled, kt_radial(y, x, 4, 3, acs=2).sampled
    spread = lines.expand(-1, -1, -1, -1, x)  # as it is read from a file: one entry for each point
    for mask, axes in ((lines, (-2,)), (spread, (-2,)), (points, (-2, -1))):
        encoding = Encoding(maps, mask)
        assert encoding._uncentred[1] == axes
        torch.testing.assert_close(
            encoding.normal(image), encoding.adjoint(encoding.forward(image)), rtol=1e-12, atol=1e-12
        )


@given(n=st.integers(1, 12), seed=st.integers(0, 99))
def test_why_normal_may_leave_out_the_shifts(n, seed):
    # Centred: F = shift · DFT · unshift. Fᴴ M F is then a shifted convolution, and the two shifts of the image cancel.
    mask = torch.rand(n, generator=torch.Generator().manual_seed(seed)) < 0.5
    image = draw(n, seed=seed)
    centred = ifftc(mask * fftc(image, (0,)), (0,))
    plain = torch.fft.ifft(torch.fft.ifftshift(mask) * torch.fft.fft(image))
    torch.testing.assert_close(plain, centred, rtol=1e-12, atol=1e-12)
    spread = torch.fft.ifft(torch.fft.ifftshift(mask).to(image.dtype))  # the point spread function, peak at index 0
    circulant = torch.stack([spread.roll(i) for i in range(n)], dim=1)
    torch.testing.assert_close(circulant @ image, centred, rtol=1e-12, atol=1e-12)


@given(model=models())
def test_backward_pass_of_normal_is_normal(model):
    encoding, (batch, frames, _, y, x), seed = model
    image = draw(batch, frames, y, x, seed=seed + 1).requires_grad_()
    other = draw(batch, frames, y, x, seed=seed + 2)
    (gradient,) = torch.autograd.grad(encoding.normal(image), image, other)
    torch.testing.assert_close(gradient, encoding.normal(other), rtol=1e-10, atol=1e-10)


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


@pytest.mark.bad_input
@pytest.mark.parametrize("operator", ["forward", "adjoint", "normal"])
def test_series_of_other_length_than_mask_or_maps_is_an_error(operator):
    shape = (1, 5, 3, 6, 5) if operator == "adjoint" else (1, 5, 6, 5)
    moving_mask = Encoding(draw(1, 1, 3, 6, 5), torch.ones(1, 4, 1, 6, 1, dtype=torch.bool))
    moving_maps = Encoding(draw(1, 4, 3, 6, 5), torch.ones(1, 1, 1, 6, 1, dtype=torch.bool))
    for name, encoding in (("mask", moving_mask), ("sensitivities", moving_maps)):
        with pytest.raises(ValueError, match=rf"{name}: got shape \(1, 4\), want \(1, 5\)"):
            getattr(encoding, operator)(draw(*shape))
