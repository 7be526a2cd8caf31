"""The receiver: SNR, covariance, truth, phase, and the same bytes for the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import About
from cmr_course.coils import combine, noise_covariance, rss
from cmr_course.receiver import (
    SIGNAL_REGION,
    VENDORS,
    Receiver,
    noise_model,
    receive,
    signal_region,
    smooth_phase,
)

ABOUT = About(view="sax", origin="simulated acquisition of a disc")


def disc(batch: int = 1, frames: int = 6, y: int = 48, x: int = 45, dtype: torch.dtype = torch.complex64):
    """A disc of ones with a dimmer core that beats, on a black background."""
    rows = (torch.arange(y) - y // 2)[:, None] / y
    columns = (torch.arange(x) - x // 2)[None, :] / x
    radius = (rows**2 + columns**2).sqrt()
    core = 0.15 + 0.05 * torch.cos(torch.arange(frames) * 2 * torch.pi / frames)[:, None, None]
    image = (radius < 0.4).float() - 0.5 * (radius < core).float()
    return image.expand(batch, frames, y, x).to(dtype).clone()


def run(image=None, receiver=None, seed=1, **more):
    generator = torch.Generator().manual_seed(seed)
    image = disc() if image is None else image
    settings = {"about": ABOUT, "pixel_size_mm": (6.0, 7.0)} | more
    return receive(image, receiver or Receiver(), generator=generator, **settings)


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@pytest.mark.parametrize("snr_db", [10.0, 30.0])
def test_snr_of_the_combined_image_is_the_stated_one(vendor, snr_db):
    acquisition, truth = run(disc(frames=24), Receiver(snr_db=snr_db, vendor=vendor))
    noise = combine(acquisition.coil_images(), truth.sensitivities) - truth.image
    inside = signal_region(disc(frames=24).abs())[:, None].expand_as(noise)
    assert 200 < int(inside[:, 0].sum()) < 48 * 45 / 4
    sigma = torch.view_as_real(noise[inside]).std()
    snr = truth.magnitude()[inside].mean() / sigma
    assert snr == pytest.approx(10 ** (snr_db / 20), rel=0.03)
    assert acquisition.about.snr_db == snr_db


def test_snr_is_measured_where_the_caller_says():
    image = disc(batch=2, frames=24)
    region = image.abs() == 0.5  # the dim core, another one in each frame
    acquisition, truth = run(image, Receiver(snr_db=20.0), region=region, about=replace(ABOUT, snr_region="core"))
    noise = combine(acquisition.coil_images(), truth.sensitivities) - truth.image
    snr = truth.magnitude()[region].mean() / torch.view_as_real(noise[region]).std()
    assert snr == pytest.approx(10.0, rel=0.03)
    assert acquisition.about.snr_region == "core"
    static, _ = run(image, region=region.any(1))
    assert static.about.snr_region == "region given by the caller"


def test_noise_has_the_stated_covariance_and_is_independent_of_everything_else():
    noisy, truth = run(disc(batch=2, frames=40), Receiver(n_coils=5, snr_db=6.0, noise_correlation=0.6))
    clean, same = run(disc(batch=2, frames=40), Receiver(n_coils=5, snr_db=None, noise_correlation=0.6))
    assert torch.equal(truth.image, same.image)
    noise = noisy.kspace - clean.kspace
    found = noise_covariance(noise.movedim(2, 0).flatten(1))
    stated = noisy.noise_covariance
    assert (found - stated).abs().max() < 0.02 * stated.abs().max()
    assert (stated - torch.diag(stated.diagonal())).abs().max() > 0.1 * stated.abs().max()  # coils do share noise
    flat = noise[0, 0, 0].flatten()
    assert (flat**2).mean().abs() < 0.1 * flat.abs().square().mean()  # real and imaginary parts alike, not related
    assert clean.noise_covariance is None
    assert clean.about.snr_db is None


def test_truth_is_the_noise_free_combination_and_its_magnitude_the_root_sum_of_squares():
    image = disc(batch=2, dtype=torch.complex128)
    clean, truth = run(image, Receiver(snr_db=None))
    images = clean.coil_images()
    torch.testing.assert_close(combine(images, truth.sensitivities), truth.image, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(rss(images), truth.magnitude(), rtol=1e-10, atol=1e-10)
    power = truth.sensitivities.abs().square().sum(2)
    torch.testing.assert_close(power, torch.ones_like(power))
    assert clean.kspace.dtype == torch.complex128
    assert clean.sensitivities is None
    assert clean.matrix == (48, 45)
    assert clean.acs == (48, 45)
    assert bool(clean.mask.all())


def test_shading_is_moderate_and_phase_is_there():
    image = disc()
    _, truth = run(image, Receiver(snr_db=None))
    inside = image.abs() > 0
    shading = truth.magnitude()[inside] / image.abs()[inside]
    assert shading.std() > 0.01
    assert shading.min() > 0.5
    assert shading.max() < 2.5
    region = signal_region(image.abs())[:, None].expand_as(image)
    assert (truth.magnitude() / image.abs())[region].mean() == pytest.approx(1, rel=1e-4)
    assert truth.image.angle()[inside].std() > 0.1
    _, flat = run(image, Receiver(snr_db=None, shading=0.0, phase=0.0))
    torch.testing.assert_close(flat.image, image, rtol=1e-5, atol=1e-6)


def test_phase_grows_with_the_field_and_is_each_slices_own():
    image = disc(batch=2)
    _, low = run(image, Receiver(snr_db=None, field=1.0, phase=0.9))
    _, high = run(image, Receiver(snr_db=None, field=3.0, phase=0.9))
    inside = image.abs() > 0
    torch.testing.assert_close(3 * low.image.angle()[inside], high.image.angle()[inside], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(high.image[0], high.image[1])


def test_same_seed_same_bytes_and_another_seed_another_noise():
    first, _ = run(disc(batch=2), seed=4)
    again, _ = run(disc(batch=2), seed=4)
    other, _ = run(disc(batch=2), seed=5)
    assert first.kspace.numpy().tobytes() == again.kspace.numpy().tobytes()
    assert not torch.equal(first.kspace, other.kspace)


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_about_says_what_was_done_and_keeps_what_the_caller_said(vendor):
    acquisition, truth = run(receiver=Receiver(n_coils=None, vendor=vendor, field=1.5))
    about = acquisition.about
    assert (about.vendor, about.field, about.snr_db) == (vendor, 1.5, 30.0)
    assert about.snr_region == SIGNAL_REGION
    assert about.origin == ABOUT.origin
    assert about.pixel_size == (6.0, 7.0)
    assert acquisition.n_coils == truth.sensitivities.shape[2] == VENDORS[vendor].n_coils


@given(y=st.integers(1, 20), x=st.integers(1, 20), batch=st.integers(1, 3), seed=st.integers(0, 999))
def test_smooth_phase_is_bounded_and_low_order(y, x, batch, seed):
    settings = {"strength": 0.7, "batch": batch, "dtype": torch.float64}
    phase = smooth_phase((y, x), torch.Generator().manual_seed(seed), **settings)
    assert phase.shape == (batch, y, x)
    assert phase.abs().max() <= 0.7 + 1e-12
    if y > 3:  # a polynomial of second degree has no third difference
        assert phase.diff(n=3, dim=1).abs().max() < 1e-9


@given(correlation=st.floats(0, 0.99), n_coils=st.integers(1, 12))
def test_noise_model_is_a_covariance_with_unit_diagonal(correlation, n_coils):
    maps = torch.randn(1, 1, n_coils, 6, 7, dtype=torch.complex128, generator=torch.Generator().manual_seed(n_coils))
    model = noise_model(maps, correlation)
    torch.testing.assert_close(model, model.mH)
    torch.testing.assert_close(model.diagonal(), torch.ones(n_coils, dtype=torch.complex128))
    assert torch.linalg.eigvalsh(model).min() > 0


def test_signal_region_is_the_rule_of_the_decisions():
    magnitude = torch.zeros(1, 2, 16, 16)
    magnitude[:, :, 4:8, 4:12] = 1.0
    magnitude[:, 0, 10, 10] = 0.3  # mean over time 0.15: too dim
    magnitude[:, :, 11, 11] = 0.3
    magnitude[:, :, 0, 0] = 1.0  # bright, outside the box
    expected = torch.zeros(1, 16, 16, dtype=torch.bool)
    expected[:, 4:8, 4:12] = True
    expected[:, 11, 11] = True
    assert torch.equal(signal_region(magnitude), expected)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(disc().abs()), "image: got real values"),
        (lambda: run(disc()[0]), "image: got 3 axes"),
        (lambda: run(disc() * torch.nan), "image: got .* NaN or infinite"),
        (lambda: run(disc() * 0), "image: got zeros everywhere"),
        (lambda: run(region=torch.ones(1, 48, 44, dtype=torch.bool)), "region: got shape"),
        (lambda: run(region=torch.zeros(1, 48, 45, dtype=torch.bool)), "region: got no pixel with signal"),
        (lambda: run(region=torch.ones(1, 48, 45)), "region: got torch.float32"),
        (lambda: run(region=torch.ones(48, 45, dtype=torch.bool)), "region: got 2 axes"),
        (lambda: run(pixel_size_mm=(0.0, 1.0)), "pixel_size_mm: got 0.0"),
        (lambda: Receiver(vendor="acme"), "vendor: got 'acme', want one of ge, philips, siemens, uih"),
        (lambda: Receiver(n_coils=0), "n_coils: got 0"),
        (lambda: Receiver(snr_db=float("nan")), "snr_db: got nan"),
        (lambda: Receiver(shading=2.0), "shading: got 2.0"),
        (lambda: Receiver(field=0.0), "field: got 0.0"),
        (lambda: Receiver(noise_correlation=1.0), "noise_correlation: got 1.0"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
