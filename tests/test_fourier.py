"""The Fourier transform: centred, unitary, its own inverse's adjoint, equal to the published one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.fourier import fft2c, fft_t, ifft2c, ifft_t

sizes = st.tuples(*[st.integers(1, 9)] * 4)


def draw(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("forward", "backward"), [(fft2c, ifft2c), (fft_t, ifft_t)])
@given(shape=sizes, seed=st.integers(0, 999))
def test_inverse_is_the_adjoint_and_energy_is_kept(forward, backward, shape, seed):
    x, k = draw(shape, seed), draw(shape, seed + 1)
    torch.testing.assert_close(backward(forward(x)), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        torch.vdot(forward(x).flatten(), k.flatten()),
        torch.vdot(x.flatten(), backward(k).flatten()),
        rtol=1e-10,
        atol=1e-10,
    )
    torch.testing.assert_close(forward(x).norm(), x.norm(), rtol=1e-12, atol=1e-12)


@given(ky=st.integers(1, 12), kx=st.integers(1, 12))
def test_a_constant_image_lives_in_the_centre_sample(ky, kx):
    k = fft2c(torch.ones(1, ky, kx, dtype=torch.complex128))
    expected = torch.zeros_like(k)
    expected[:, ky // 2, kx // 2] = (ky * kx) ** 0.5
    torch.testing.assert_close(k, expected, rtol=0, atol=1e-12)


def test_a_shifted_image_has_a_linear_phase():
    image = torch.zeros(8, 8, dtype=torch.complex128)
    image[5, 4] = 1  # one pixel below the centre
    phase = -2 * torch.pi * (torch.arange(8, dtype=torch.float64) - 4) / 8
    expected = torch.polar(torch.full((8, 8), 1 / 8, dtype=torch.float64), phase[:, None].expand(8, 8))
    torch.testing.assert_close(fft2c(image), expected)
