"""The records: windows, undersampling, scale, devices, what they say of themselves and of bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import About, Acquisition, Reconstruction, Reconstructor, Truth
from cmr_course.coils import combine, normalise, rss
from cmr_course.sampling import Mask


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def full(batch: int = 2, frames: int = 4, n_coils: int = 3, ky: int = 8, kx: int = 6, **parts) -> Acquisition:
    return Acquisition.fully_sampled(draw(batch, frames, n_coils, ky, kx), **parts)


def every_second(ky: int = 8, frames: int = 1, acs: int = 2, kx: int = 6) -> Mask:
    """Every second line, one on in each frame, and `acs` in the centre."""
    sampled = torch.zeros(1, frames, 1, ky, 1, dtype=torch.bool)
    for frame in range(frames):
        sampled[:, frame, :, frame % 2 :: 2] = True
    sampled[:, :, :, ky // 2 - acs // 2 : ky // 2 - acs // 2 + acs] = True
    return Mask(sampled, (acs, kx), "kt_uniform", 2)


def numbered(frames: int) -> Acquisition:
    """K-space whose every sample is 1 + 100·(batch item) + (frame)."""
    values = 1 + 100 * torch.arange(2)[:, None] + torch.arange(frames)
    return Acquisition.fully_sampled(values[:, :, None, None, None].expand(2, frames, 1, 3, 2).to(torch.complex128))


# --------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("frames", "width", "offsets"),
    [
        (6, 5, [-2, -1, 0, 1, 2]),
        (5, 5, [-2, -1, 0, 1, 2]),
        (4, 5, [-2, -1, 0, 1, 2]),  # t − 2 and t + 2 are one frame
        (3, 5, [-1, -1, 0, 1, 1]),  # three weightings
        (2, 5, [-1, -1, 0, 1, 1]),
        (1, 5, [0, 0, 0, 0, 0]),
        (9, 5, [-2, -1, 0, 1, 2]),
        (3, 7, [-1, -1, -1, 0, 1, 1, 1]),
        (7, 1, [0]),
    ],
)
def test_windows_are_circular_and_hold_their_offsets_to_half_the_series(frames, width, offsets):
    windows = numbered(frames).window(width)
    assert windows.kspace.shape == (2 * frames, width, 1, 3, 2)
    for item in range(2):
        for frame in range(frames):
            got = windows.kspace[item * frames + frame, :, 0, 0, 0].real.int().tolist()
            assert got == [1 + 100 * item + (frame + offset) % frames for offset in offsets]


@given(batch=st.integers(1, 3), frames=st.integers(1, 7), half=st.integers(0, 3))
def test_the_centre_frames_of_all_windows_are_the_series(batch, frames, half):
    acquisition = full(batch, frames)
    windows = acquisition.window(2 * half + 1)
    torch.testing.assert_close(windows.kspace[:, half].reshape(acquisition.kspace.shape), acquisition.kspace)
    assert torch.equal(windows.scale, acquisition.scale.repeat_interleave(frames))


def test_windows_carry_masks_and_maps_of_their_frames():
    maps = normalise(draw(2, 4, 3, 8, 6, seed=1))
    acquisition = full(sensitivities=maps).undersample(every_second(frames=4))
    windows = acquisition.window(3)
    assert windows.mask.shape == (8, 3, 1, 8, 1)
    for item in range(2):
        for frame in range(4):
            for place, offset in enumerate((-1, 0, 1)):
                source = (frame + offset) % 4
                assert torch.equal(windows.mask[4 * item + frame, place], acquisition.mask[0, source])
                assert torch.equal(windows.sensitivities[4 * item + frame, place], maps[item, source])
    assert bool((windows.kspace[~windows.mask.expand_as(windows.kspace)] == 0).all())


def test_windows_of_static_maps_and_masks_keep_one_frame():
    maps = normalise(draw(2, 1, 3, 8, 6, seed=1))
    windows = full(sensitivities=maps).undersample(every_second()).window(3)
    assert windows.mask.shape == (1, 1, 1, 8, 1)
    assert windows.sensitivities.shape == (8, 1, 3, 8, 6)
    assert torch.equal(windows.sensitivities[5], maps[1])


# --------------------------------------------------------------------------------------------------- undersampling


def test_undersampling_keeps_the_samples_of_the_mask_and_nothing_else():
    acquisition, mask = full(), every_second(frames=4)
    less = acquisition.undersample(mask)
    kept = mask.sampled.expand_as(acquisition.kspace)
    assert torch.equal(less.kspace[kept], acquisition.kspace[kept])
    assert bool((less.kspace[~kept] == 0).all())
    assert less.acs == (2, 6)
    assert less.about.trajectory == "kt_uniform"
    assert less.about.nominal_acceleration == 2
    # 8 lines, every second one and two centre lines, of which one is on the lattice: 5 of 8.
    assert less.about.realised_acceleration == pytest.approx(8 / 5)
    assert less.realised_acceleration == pytest.approx(8 / 5)
    assert acquisition.realised_acceleration == 1


def test_undersampling_twice_keeps_what_both_masks_hold():
    once = full().undersample(every_second(acs=4))
    twice = once.undersample(Mask(torch.ones(1, 1, 1, 8, 6, dtype=torch.bool), (2, 6)))
    assert torch.equal(twice.kspace, once.kspace)
    assert twice.acs == (2, 6)
    assert twice.realised_acceleration == pytest.approx(once.realised_acceleration)


# ----------------------------------------------------------------------------------------------------------- scale


def test_scale_is_the_99th_percentile_of_the_zero_filled_image_of_each_item():
    acquisition = full().undersample(every_second())
    plain = rss(acquisition.coil_images()).numpy()
    np.testing.assert_allclose(acquisition.scale, [np.percentile(item, 99) for item in plain], rtol=1e-12)
    maps = normalise(draw(2, 1, 3, 8, 6, seed=1))
    weighted = acquisition.with_sensitivities(maps)
    magnitude = combine(weighted.coil_images(), maps).abs().numpy()
    np.testing.assert_allclose(weighted.scale, [np.percentile(item, 99) for item in magnitude], rtol=1e-12)
    assert not torch.allclose(weighted.scale, acquisition.scale)


@given(gain=st.floats(1e-3, 1e3))
def test_scale_follows_intensity(gain):
    louder = Acquisition.fully_sampled(gain * full().kspace)
    torch.testing.assert_close(louder.scale, gain * full().scale)


# --------------------------------------------------------------------------------------------------------- records


def test_records_move_all_their_tensors():
    maps = normalise(draw(2, 1, 3, 8, 6))
    acquisition = full(sensitivities=maps, noise_covariance=torch.eye(3, dtype=torch.complex128)).to("meta")
    for name in ("kspace", "mask", "sensitivities", "noise_covariance", "scale"):
        assert getattr(acquisition, name).device.type == "meta", name
    assert acquisition.about == full().about
    truth = Truth(draw(2, 4, 8, 6), volumes={"left ventricle": torch.ones(4)}).to("meta")
    assert truth.volumes["left ventricle"].device.type == "meta"
    steps = Reconstruction(draw(2, 4, 8, 6), steps=(draw(2, 4, 8, 6),)).to("meta").steps
    assert steps[0].device.type == "meta"


def test_records_are_frozen_and_say_shapes_not_numbers():
    acquisition = full(about=About(contrast="cine", view="lax")).undersample(every_second())
    with pytest.raises(dataclasses.FrozenInstanceError):
        acquisition.acs = (1, 1)
    assert repr(acquisition) == (
        "Acquisition(cine lax, batch 2, 4 frames, 3 coils, 8 x 6, kt_uniform, nominal R = 2, realised R = 1.60, "
        "ACS 2 x 6, no maps)"
    )
    assert "with maps" in repr(acquisition.with_sensitivities(normalise(draw(2, 1, 3, 8, 6))))
    assert repr(Truth(draw(2, 4, 8, 6), label_names={"myocardium": 3})) == (
        "Truth(image 2x4x8x6, label_names {myocardium})"
    )
    steps = (draw(1, 4, 8, 6),) * 3
    assert repr(Reconstruction(draw(1, 4, 8, 6), steps=steps)) == ("Reconstruction(image 1x4x8x6, steps 3 of 1x4x8x6)")


def test_magnitude_is_what_metrics_see():
    image = draw(1, 2, 3, 4)
    torch.testing.assert_close(Reconstruction(image).magnitude(), image.abs())
    torch.testing.assert_close(Truth(image).magnitude(), image.abs())


def test_any_callable_is_a_reconstructor():
    assert isinstance(lambda acquisition: Reconstruction(acquisition.coil_images()[:, :, 0]), Reconstructor)


# ------------------------------------------------------------------------------------------------------- bad input

LINES = torch.ones(1, 1, 1, 8, 1, dtype=torch.bool)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: full(kx=6).undersample(every_second(ky=7)), "mask: got shape .*7"),
        (lambda: full().undersample(every_second(frames=3)), "mask: got shape"),
        (lambda: Acquisition.fully_sampled(draw(4, 3, 8, 6)), "kspace: got 4 axes .*want 5 axes"),
        (lambda: Acquisition.fully_sampled(draw(1, 4, 3, 8, 6).real), "kspace: got real values"),
        (lambda: Acquisition.fully_sampled(draw(1, 4, 3, 8, 6) * torch.inf), "kspace: got .* NaN or infinite"),
        (lambda: Acquisition.fully_sampled(draw(1, 0, 3, 8, 6)), "kspace: got shape .*want no axis of length zero"),
        (lambda: Acquisition.fully_sampled(np.zeros((1, 4, 3, 8, 6))), "kspace: got ndarray, want a torch.Tensor"),
        (lambda: Acquisition(draw(1, 4, 3, 8, 6), LINES.float(), (8, 6)), "mask: got torch.float32"),
        (lambda: Acquisition(draw(1, 4, 3, 8, 6), LINES[..., :1, :], (8, 6)), "mask: got 1 phase-encoding lines"),
        (lambda: Acquisition(draw(1, 4, 3, 8, 6), LINES[0], (8, 6)), "mask: got 4 axes"),
        (lambda: full(sensitivities=draw(2, 1, 4, 8, 6)), "sensitivities: got shape"),
        (lambda: full(sensitivities=draw(2, 1, 1, 8, 6)), r"sensitivities: got \(coil, y, x\) = \(1, 8, 6\)"),
        (lambda: full(noise_covariance=torch.eye(2)), r"noise_covariance: got \(2, 2\), want \(3, 3\)"),
        (lambda: full().window(4), "frames: got 4, want an odd number above zero"),
        (lambda: full().window(-1), "frames: got -1"),
        (lambda: Truth(draw(2, 4, 8, 6).real), "image: got real values"),
        (lambda: Reconstruction(draw(4, 8, 6)), "image: got 3 axes"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_scale_is_never_zero_for_it_divides():
    kspace = torch.zeros(2, 1, 2, 16, 16, dtype=torch.complex128)
    kspace[0] = 1  # a single bright pixel in the first item, nothing at all in the second
    scale = Acquisition.fully_sampled(kspace).scale
    torch.testing.assert_close(scale, torch.tensor([16 * 2**0.5, 1.0], dtype=torch.float64))
