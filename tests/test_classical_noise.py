"""The g-factor by pseudo-replicas, against the covariance of SENSE written out."""

from __future__ import annotations

import pytest
import torch

from cmr_course.acquisition import About, Acquisition
from cmr_course.classical import CGSense, ZeroFilled
from cmr_course.classical.grappa import GRAPPA
from cmr_course.classical.noise import full_variance, g_factor
from cmr_course.coils import normalise
from cmr_course.receiver import Receiver, correlated_noise, noise_model, receive
from cmr_course.sampling import kt_uniform, uniform


def maps_of_loops(n_coils: int, y: int, x: int) -> torch.Tensor:
    """Smooth maps of an array around the field of view, as `receive` simulates them."""
    _, truth = receive(
        torch.ones(1, 1, y, x, dtype=torch.complex64),
        Receiver(n_coils=n_coils, snr_db=None),
        generator=torch.Generator().manual_seed(1),
        about=About(),
        pixel_size_mm=(300 / y, 300 / x),
    )
    return truth.sensitivities.to(torch.complex128)


def unaliasing_g_factor(maps: torch.Tensor, covariance: torch.Tensor, acceleration: int) -> torch.Tensor:
    """SENSE on a uniform mask: R pixels fold on one; x = (SᴴS)⁻¹Sᴴ a, var x = 2 (SᴴS)⁻¹ SᴴΨS (SᴴS)⁻¹.

    For white noise this is eq. 23 of Pruessmann et al. 1999, g = sqrt([(SᴴS)⁻¹]_ρρ [SᴴS]_ρρ).
    """
    n_coils, y, x = maps.shape[2:]
    folded = maps[0, 0].reshape(n_coils, acceleration, y // acceleration, x)  # pixels y/R apart fold on one
    s = folded.permute(2, 3, 0, 1)  # (place, x, coil, pixel)
    inverse = torch.linalg.inv(s.mH @ s)
    covered = inverse @ (s.mH @ covariance @ s) @ inverse
    alone = torch.einsum("yxcp,cd,yxdp->yxp", s.conj(), covariance, s)
    g = (covered.diagonal(dim1=-2, dim2=-1) / alone).real.sqrt()
    return g.permute(2, 0, 1).reshape(y, x)


def acquired(acceleration: int = 2, acs: int = 0, frames: int = 20, y: int = 24, x: int = 20) -> Acquisition:
    maps = maps_of_loops(6, y, x)
    image = torch.randn(1, frames, y, x, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    kspace = torch.fft.fftshift(torch.fft.fft2(maps * image.unsqueeze(2), norm="ortho"), dim=(-2, -1))
    covariance = 1e-6 * noise_model(maps, 0.4)
    full = Acquisition.fully_sampled(kspace, sensitivities=maps, noise_covariance=covariance)
    return full.undersample(uniform(y, acceleration, acs=acs))


@pytest.mark.parametrize("acceleration", [2, 3])
def test_g_factor_of_cg_sense_is_that_of_unaliasing(acceleration):
    acquisition = acquired(acceleration)
    expected = unaliasing_g_factor(acquisition.sensitivities, acquisition.noise_covariance, acceleration)
    method = CGSense(regularisation=0.0, iterations=40, tolerance=1e-4)
    found = g_factor(method, acquisition, generator=torch.Generator().manual_seed(3), replicas=15)
    assert found.shape == (1, 1, 24, 20)
    assert expected.max() > 1.1
    relative = found[0, 0] / expected - 1
    error = 1 / (2 * (15 * 20) ** 0.5)  # 15 replicas of 20 frames
    assert abs(float(relative.mean())) < error / 4
    assert 0.8 * error < float(relative.std()) < 1.25 * error
    assert float(relative.abs().max()) < 5 * error


def test_without_undersampling_g_is_one_everywhere():
    acquisition = acquired(1)
    found = g_factor(ZeroFilled(), acquisition, generator=torch.Generator().manual_seed(3), replicas=9)
    torch.testing.assert_close(found, torch.ones_like(found), atol=0.2, rtol=0)
    assert abs(float(found.mean()) - 1) < 0.01


def test_variance_of_the_full_image_is_that_of_combined_noise():
    acquisition = acquired(1)
    noise = correlated_noise(
        torch.zeros(300, 1, 6, 24, 20, dtype=torch.complex128),
        acquisition.noise_covariance,
        torch.Generator().manual_seed(4),
    )
    image = (acquisition.sensitivities.conj() * noise).sum(2)
    found = image.abs().square().mean(0, keepdim=True)
    expected = full_variance(acquisition.sensitivities, acquisition.noise_covariance)
    torch.testing.assert_close(found / expected, torch.ones_like(expected), atol=0.3, rtol=0)
    assert abs(float((found / expected).mean()) - 1) < 0.01


def test_strength_of_the_noise_cancels_and_regularisation_trades_noise_for_aliasing():
    acquisition = acquired(3)
    louder = Acquisition(
        acquisition.kspace,
        acquisition.mask,
        acquisition.acs,
        acquisition.sensitivities,
        noise_covariance=9 * acquisition.noise_covariance,
    )
    plain, loud, damped = (
        g_factor(CGSense(lam, 40, 1e-8), data, generator=torch.Generator().manual_seed(5), replicas=2)
        for lam, data in ((0.0, acquisition), (0.0, louder), (0.05, acquisition))
    )
    torch.testing.assert_close(plain, loud, rtol=1e-3, atol=1e-3)
    assert float(damped.mean()) < 0.9 * float(plain.mean())


def test_frames_of_their_own_masks_have_their_own_g_factor_and_pixels_without_maps_have_none():
    maps = normalise(maps_of_loops(6, 24, 20), support=torch.arange(20).expand(1, 24, 20) > 2)
    kspace = torch.randn(2, 4, 6, 24, 20, dtype=torch.complex128, generator=torch.Generator().manual_seed(6))
    full = Acquisition.fully_sampled(kspace, sensitivities=maps.expand(2, -1, -1, -1, -1))
    acquisition = full.undersample(kt_uniform(24, 4, 3, acs=10))
    for method in (CGSense(), GRAPPA(kernel=(2, 3))):
        found = g_factor(method, acquisition, generator=torch.Generator().manual_seed(7), replicas=3)
        assert found.shape == (2, 4, 24, 20)
        assert bool((found[..., :3] == 0).all())
        assert bool((found[..., 3:] > 0).all())
        again = g_factor(method, acquisition, generator=torch.Generator().manual_seed(7), replicas=3)
        assert torch.equal(found, again)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g_factor(CGSense(), 1, generator=g), "acquisition: got int"),
        (lambda g: g_factor(CGSense(), acquired(), generator=3), "generator: got 3, want a torch.Generator"),
        (lambda g: g_factor(CGSense(), acquired(), generator=g, replicas=0), "replicas: got 0"),
        (lambda g: g_factor(ZeroFilled("rss"), acquired(), generator=g), "method: got an image without phase"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.Generator().manual_seed(0))
