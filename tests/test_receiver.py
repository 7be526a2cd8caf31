"""The receiver: SNR, covariance, truth, phase, and the same bytes for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import About
from cmr_course.coils import combine, noise_covariance, normalise, rss
from cmr_course.plane import Plane, unit
from cmr_course.receiver import (
    PASS_BAND_HZ,
    SIGNAL_REGION,
    VENDORS,
    Receiver,
    field_offset,
    noise_model,
    perturb_maps,
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


OBLIQUE = Plane((-35.0, -20.0, 10.0), unit((1.0, 0.5, 0.0)), unit((-0.2, 0.4, 1.0)))
ODD = "uih with one coil dead, at 5 T"
KINDS = {
    "no plane": (Receiver(), None),
    "plane": (Receiver(), OBLIQUE),
    "all coils": (Receiver(n_coils=None, vendor="ge"), OBLIQUE),
    "virtual": (Receiver(n_coils=None, virtual_coils=10), OBLIQUE),
    "virtual, no plane": (Receiver(n_coils=None, vendor="philips", virtual_coils=4), None),
    ODD: (Receiver(n_coils=None, vendor="uih", field=5.0, dead_coils=(3,)), OBLIQUE),
}
"""Receivers and planes that between them switch on everything that changes the image."""


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


# --------------------------------------------------------------------------------------- coils, planes and channels


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {ODD}))
def test_kspace_is_the_fourier_transform_of_coil_times_image(kind):
    receiver, plane = KINDS[kind]
    clean, truth = run(disc(batch=2), replace(receiver, snr_db=None), plane=plane)
    maps, image = truth.sensitivities.numpy().astype(complex), truth.image.numpy().astype(complex)
    shifted = np.fft.ifftshift(maps * image[:, :, None], axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
    assert clean.kspace.dtype == torch.complex64
    assert np.abs(clean.kspace.numpy() - kspace).max() < 1e-5 * np.abs(kspace).max()
    power = truth.sensitivities.abs().square().sum(2)
    torch.testing.assert_close(power, torch.ones_like(power))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_receiver_has_the_stated_snr_and_covariance(kind):
    receiver, plane = KINDS[kind]
    image = disc(frames=40)
    noisy, truth = run(image, replace(receiver, snr_db=20.0), plane=plane)
    clean, _ = run(image, replace(receiver, snr_db=None), plane=plane)
    noise = noisy.kspace - clean.kspace
    combined = combine(replace(noisy, kspace=noise).coil_images(), truth.sensitivities)
    inside = signal_region(image.abs())[:, None].expand_as(combined)
    snr = truth.magnitude()[inside].mean() / torch.view_as_real(combined[inside]).std()
    assert snr == pytest.approx(10.0, rel=0.03)
    stated = noisy.noise_covariance
    samples = noise[0, 0, 0].numel() * 40
    found = noise_covariance(noise.movedim(2, 0).flatten(1))
    size = stated.diagonal().real.sqrt()
    assert ((found - stated).abs() / (size[:, None] * size)).max() < 5 / samples**0.5  # of a correlation coefficient
    assert torch.linalg.eigvalsh(stated).min() > 0


def test_slices_see_the_coils_from_where_they_are():
    image = disc(batch=2, frames=1)
    receiver = Receiver(snr_db=None, shading=1.0)
    middle = Plane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    planes = [middle, middle.moved(180.0)]
    _, both = run(image, receiver, plane=planes)
    for item, plane in enumerate(planes):
        _, alone = run(image, receiver, plane=plane)
        torch.testing.assert_close(both.sensitivities[item], alone.sensitivities[item], rtol=1e-4, atol=1e-5)
    signal = both.magnitude().sum((1, 2, 3))
    assert signal[0] > 1.2 * signal[1]  # the second one lies farther from the array
    front = Plane((0.0, -90.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))  # coronal, close to the anterior coils
    back = replace(front, centre=(0.0, 90.0, 0.0))
    _, coronal = run(image, replace(receiver, n_coils=10), plane=[front, back])
    share = coronal.sensitivities.abs().square()[:, 0, :5].mean((-2, -1)).sum(1)
    assert share[0] > 0.7
    assert share[1] < 0.3


def test_noise_correlations_belong_to_the_array_and_not_to_the_slice():
    first, _ = run(disc(), plane=OBLIQUE)
    second, _ = run(disc(), plane=OBLIQUE.moved(60.0))
    covariances = [item.noise_covariance / item.noise_covariance[0, 0].real for item in (first, second)]
    torch.testing.assert_close(*covariances, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vendor", sorted(VENDORS))
def test_vendors_offer_what_scanners_do(vendor):
    profile = VENDORS[vendor]
    assert {1.5, 3.0} <= set(profile.fields)
    assert (5.0 in profile.fields) == (vendor == "uih")
    assert profile.readout_oversampling == 2
    assert all(1 < length < 2.5 for length in profile.resolution)
    assert profile.field_of_view[0] > 300
    assert profile.field_of_view[1] / profile.readout_oversampling > 300
    assert len(profile.body_array.rows_mm) >= 2
    assert profile.off_resonance * max(profile.fields) / 3 <= PASS_BAND_HZ


def test_vendors_differ():
    for name in ("n_coils", "matrix", "phase", "shading", "off_resonance", "body_array"):
        values = [getattr(profile, name) for profile in VENDORS.values()]
        assert len(set(values)) == len(values), name


def test_virtual_coils_hold_most_of_the_image_and_as_many_as_coils_all_of_it():
    image = disc(batch=2)
    physical = Receiver(n_coils=None, snr_db=None)
    _, whole = run(image, physical, plane=OBLIQUE)
    few, truth = run(image, replace(physical, virtual_coils=10), plane=OBLIQUE)
    assert few.n_coils == truth.sensitivities.shape[2] == 10
    kept = truth.image.norm() / whole.image.norm()
    assert 0.98 < kept < 1
    assert bool((truth.magnitude() <= whole.magnitude() * (1 + 1e-5)).all())
    every, same = run(image, replace(physical, virtual_coils=18), plane=OBLIQUE)
    torch.testing.assert_close(same.image, whole.image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rss(every.coil_images()), whole.magnitude(), rtol=1e-4, atol=1e-5)
    energy = every.kspace.abs().square().sum((0, 1, 3, 4))
    assert bool((energy[:-1] >= energy[1:]).all())


# ------------------------------------------------------------------------------------------------ off-resonance


def test_the_offset_from_resonance_is_one_smooth_field_in_the_body():
    size, view = (90, 84), (360.0, 420.0)
    across = Plane((10.0, -15.0, 20.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    along = replace(across, down=(0.0, 0.0, 1.0))
    for seed in range(5):
        offset = field_offset([across, along], size, view, torch.Generator().manual_seed(seed), largest=70.0)
        torch.testing.assert_close(offset[0, 45], offset[1, 45])  # where the planes cross
        assert offset.diff(n=3, dim=1).abs().max() < 1e-2  # a polynomial of second degree
        body = torch.stack([plane.points(size, view) for plane in (across, along)])
        inside = ((body[:, 0] / 180) ** 2 + (body[:, 1] / 125) ** 2 <= 1) & (body[:, 2].abs() < 200)
        assert offset[inside].abs().max() < 70.0 * 1.05
        assert offset[inside].std() > 3


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_off_resonance_turns_the_phase_by_the_echo_time_and_the_field(field):
    image, receiver = disc(batch=2), Receiver(snr_db=None, off_resonance=60.0, field=field)
    _, off = run(image, replace(receiver, off_resonance=0.0), plane=OBLIQUE)
    _, early = run(image, receiver, plane=OBLIQUE, echo_time_ms=1.5)
    _, late = run(image, receiver, plane=OBLIQUE, echo_time_ms=3.0)
    inside = image.abs() > 0
    torch.testing.assert_close(early.magnitude(), off.magnitude())
    first, second = ((truth.image / off.image)[inside].angle() for truth in (early, late))
    torch.testing.assert_close(second, 2 * first, rtol=1e-3, atol=1e-4)
    assert 0.02 < first.abs().max() < 1.3 * 2 * torch.pi * 60.0 * field / 3 * 1.5e-3
    at_echo, _ = run(image, receiver, plane=OBLIQUE, echo_time_ms=0.0)
    assert torch.equal(at_echo.kspace, run(image, replace(receiver, off_resonance=0.0), plane=OBLIQUE)[0].kspace)


def test_without_a_plane_there_is_no_off_resonance_unless_asked_for():
    usual, asked, none = (run(receiver=Receiver(off_resonance=hertz))[0].kspace for hertz in (None, 50.0, 0.0))
    assert torch.equal(usual, none)
    assert not torch.equal(usual, asked)


# ------------------------------------------------------------------------------------------- options and other draws


@pytest.mark.parametrize("plane", [None, OBLIQUE])
@pytest.mark.parametrize(
    "option", [{"off_resonance": 45.0}, {"map_perturbation": 0.1}, {"dead_coils": (1, 6)}, {"virtual_coils": 4}]
)
def test_an_option_changes_no_other_draw(option, plane):
    image = disc(batch=2)
    usual = Receiver(off_resonance=0.0)
    states, noises, truths = [], [], []
    for receiver in (usual, replace(usual, **option)):
        generator = torch.Generator().manual_seed(8)
        settings = {"about": ABOUT, "pixel_size_mm": (6.0, 7.0), "plane": plane}
        noisy, truth = receive(image, receiver, generator=generator, **settings)
        clean, _ = run(image, replace(receiver, snr_db=None), seed=8, plane=plane)
        if "virtual_coils" not in option:
            states.append(generator.get_state())
            noises.append(noisy.kspace - clean.kspace)
        truths.append(truth.image)
    inside = image.abs() > 0
    turned = (truths[1] / truths[0])[inside]
    if "off_resonance" not in option:
        assert turned.angle().abs().max() < 1e-5  # the same background phase
    if states:
        assert torch.equal(*states)
        assert (noises[0] - noises[1]).abs().max() < 1e-5 * noises[0].abs().max()


def test_wrong_maps_come_with_the_acquisition_and_leave_everything_else():
    usual, truth = run(disc(batch=2), Receiver())
    wrong, same = run(disc(batch=2), Receiver(map_perturbation=0.2))
    assert torch.equal(usual.kspace, wrong.kspace)
    assert torch.equal(truth.sensitivities, same.sensitivities)
    assert usual.sensitivities is None
    error = (wrong.sensitivities - truth.sensitivities).abs().square().sum(2).sqrt()
    assert 0.02 < error.mean() < 0.2
    assert error.max() < 0.5


@given(strength=st.floats(0.01, 0.6), seed=st.integers(0, 99))
def test_perturbed_maps_are_normalised_smooth_and_wrong_by_their_strength(strength, seed):
    maps = torch.ones(2, 1, 4, 20, 24, dtype=torch.complex128) * torch.tensor([1, 1j, -1, 0.5])[:, None, None]
    maps[:, :, :, :3] = 0
    maps = normalise(maps)
    generator = torch.Generator().manual_seed(seed)
    wrong = perturb_maps(maps, strength, generator)
    power = wrong.abs().square().sum(2)
    torch.testing.assert_close(power, (maps.abs().square().sum(2) > 0).double())
    assert 0.05 * strength < (wrong - maps).abs().square().sum(2).sqrt()[:, :, 3:].mean() < 2 * strength
    ratio = wrong[0, 0, 0, 3:] / wrong[0, 0, 3, 3:]  # of two polynomials of third degree
    assert ratio.diff(dim=0).abs().max() < 3 * strength / (1 - strength) ** 2
    torch.testing.assert_close(perturb_maps(maps, 0.0, generator), maps)


def test_dead_coils_give_noise_alone_and_the_truth_is_that_of_the_whole_array():
    receiver = Receiver(dead_coils=(0, 7))
    whole, truth = run(disc(), Receiver(), plane=OBLIQUE)
    noisy, same = run(disc(), receiver, plane=OBLIQUE)
    clean, _ = run(disc(), replace(receiver, snr_db=None), plane=OBLIQUE)
    assert torch.equal(truth.image, same.image)
    assert torch.equal(truth.sensitivities, same.sensitivities)
    assert torch.equal(whole.noise_covariance, noisy.noise_covariance)
    dead = torch.zeros(10, dtype=torch.bool)
    dead[[0, 7]] = True
    assert torch.equal(noisy.kspace[:, :, ~dead], whole.kspace[:, :, ~dead])
    assert not clean.kspace[:, :, dead].any()
    assert clean.kspace[:, :, ~dead].abs().sum((0, 1, 3, 4)).min() > 0
    sigma = torch.view_as_real(noisy.kspace[:, :, 7]).std()
    assert sigma == pytest.approx(float(noisy.noise_covariance[7, 7].real.sqrt()), rel=0.03)
    compressed = replace(receiver, virtual_coils=6, snr_db=None)
    lost, ideal = run(disc(), compressed, plane=OBLIQUE)
    assert combine(lost.coil_images(), ideal.sensitivities).norm() < 0.95 * ideal.image.norm()


# -------------------------------------------------------------------------------------------------------- segments


@pytest.mark.parametrize("receiver", [Receiver(snr_db=None), Receiver(virtual_coils=4)])
def test_lines_of_a_segment_show_the_other_image(receiver):
    image, other, third = disc(batch=2), disc(batch=2).roll(5, -1), disc(batch=2) * 0.5
    first = torch.zeros(48, dtype=torch.bool)
    first[::3] = True
    second = torch.zeros(48, dtype=torch.bool)
    second[1::6] = True
    usual, truth = run(image, receiver, plane=OBLIQUE)
    mixed, same = run(image, receiver, plane=OBLIQUE, segments=[(other, first), (third, second)])
    rest = ~(first | second)
    assert torch.equal(truth.image, same.image)
    assert torch.equal(usual.kspace[..., rest, :], mixed.kspace[..., rest, :])
    # Receiving is linear in the image; phase, coils and noise are the same.
    clean = replace(receiver, snr_db=None)
    if receiver.virtual_coils is None:
        shown, _ = run(other, clean, plane=OBLIQUE, region=(image.abs() > 0)[:, :1])
        wanted, _ = run(image, clean, plane=OBLIQUE, region=(image.abs() > 0)[:, :1], segments=[(other, ~first)])
        torch.testing.assert_close(shown.kspace[..., ~first, :], wanted.kspace[..., ~first, :], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mixed.kspace[..., second, :], usual.kspace[..., second, :] * 0.5)
    noise = mixed.kspace - run(image, clean, plane=OBLIQUE, segments=[(other, first), (third, second)])[0].kspace
    plain = usual.kspace - run(image, clean, plane=OBLIQUE)[0].kspace
    torch.testing.assert_close(noise, plain, rtol=0, atol=1e-5)
    unchanged, _ = run(image, receiver, plane=OBLIQUE, segments=[(image, first)])
    assert torch.equal(unchanged.kspace, usual.kspace)


def test_frames_are_received_alike_however_many_come_at_a_time(monkeypatch):
    image = disc(batch=2, frames=7)
    together, truth = run(image)
    monkeypatch.setattr("cmr_course.receiver.measure.FEW", 1)
    singly, same = run(image)
    assert torch.equal(truth.image, same.image)
    torch.testing.assert_close(together.kspace, singly.kspace, rtol=0, atol=1e-6)


def test_a_gradient_flows_from_kspace_to_the_image():
    image = disc(frames=2, dtype=torch.complex128).requires_grad_()
    acquisition, _ = run(image, Receiver(n_coils=3))
    acquisition.kspace.abs().square().sum().backward()
    assert image.grad.abs().sum() > 0


def lines(*places: int, n: int = 48):
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[list(places)] = True
    return chosen


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
        (lambda: run(echo_time_ms=-1.0), "echo_time_ms: got -1.0"),
        (lambda: run(plane="sax"), "plane: got 'sax', want a Plane, or a sequence of 1"),
        (lambda: run(plane=[OBLIQUE, OBLIQUE]), "plane: got .*, want a Plane, or a sequence of 1"),
        (lambda: run(segments=[disc()]), "segments: got .*, want pairs"),
        (lambda: run(segments=[(disc(y=47), lines(1, n=47))]), r"segments: got an image .* \(1, 6, 47, 45\)"),
        (lambda: run(segments=[(disc() * torch.nan, lines(1))]), "segments: got .* NaN or infinite"),
        (lambda: run(segments=[(disc(), lines(1, n=45))]), r"segments: got lines .* want torch.bool of shape \(48,\)"),
        (lambda: run(segments=[(disc(), lines(1, 2)), (disc(), lines(2, 3))]), "segments: got 1 lines that two"),
        (lambda: Receiver(dead_coils=(10,)), r"dead_coils: got \(10,\), want a tuple of numbers from 0 to 9"),
        (lambda: Receiver(dead_coils=(-1,)), r"dead_coils: got \(-1,\)"),
        (lambda: Receiver(dead_coils=[1]), r"dead_coils: got \[1\]"),
        (lambda: Receiver(n_coils=2, dead_coils=(0, 1)), "dead_coils: got all 2 coils, want one that works"),
        (lambda: Receiver(virtual_coils=11), "virtual_coils: got 11, want 1 to 10"),
        (lambda: Receiver(n_coils=None, vendor="ge", virtual_coils=10), "virtual_coils: got 10, want 1 to 8"),
        (lambda: Receiver(virtual_coils=0), "virtual_coils: got 0"),
        (lambda: Receiver(off_resonance=120.0), "off_resonance: got 120.0, want 0 to 100 Hz"),
        (lambda: Receiver(off_resonance=float("nan")), "off_resonance: got nan"),
        (lambda: Receiver(off_resonance=70.0, field=5.0), "off_resonance: got 70.0, want 0 to 60 Hz"),
        (lambda: Receiver(map_perturbation=1.0), "map_perturbation: got 1.0"),
        (lambda: perturb_maps(disc()[:, :, None], -0.1, torch.Generator()), "strength: got -0.1"),
        (lambda: Receiver(vendor="acme"), "vendor: got 'acme', want one of ge, philips, siemens, uih"),
        (lambda: Receiver(n_coils=0), "n_coils: got 0, want 1 to 128, or None"),
        (lambda: Receiver(n_coils=129), "n_coils: got 129"),
        (lambda: Receiver(snr_db=float("nan")), "snr_db: got nan, want -200 to 200 dB, or None"),
        (lambda: Receiver(snr_db=float("inf")), "snr_db: got inf"),
        (lambda: Receiver(snr_db=-201), "snr_db: got -201"),
        (lambda: Receiver(shading=2.0), "shading: got 2.0, want 0 to 1, or None"),
        (lambda: Receiver(field=0.0), "field: got 0.0, want 0.1 to 20 tesla$"),
        (lambda: Receiver(field=21.0), "field: got 21.0"),
        (lambda: Receiver(field=None), "field: got None"),
        (lambda: Receiver(phase=float("inf")), "phase: got inf, want -100 to 100 radians, or None"),
        (lambda: Receiver(phase=1e30), "phase: got 1e"),
        (lambda: Receiver(noise_correlation=1.0), "noise_correlation: got 1.0"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
