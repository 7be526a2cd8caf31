"""Masks: the rules they follow, what they really accelerate, and what they do to a point."""

from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from cmr_course.acquisition import Acquisition
from cmr_course.fourier import fft_t, ifft2c
from cmr_course.sampling import (
    KINDS,
    Mask,
    Sampling,
    course_acs,
    detect_acs,
    full,
    gaussian_density,
    kt_gaussian,
    kt_point_spread_function,
    kt_radial,
    kt_uniform,
    point_spread_function,
    uniform,
)

lines = st.integers(8, 70)
series = st.integers(1, 13)
accelerations = st.integers(1, 12)


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(mask: Mask) -> torch.Tensor:
    """(frame, ky) of a mask of whole lines."""
    return mask.sampled[0, :, 0, :, 0]


@pytest.mark.parametrize(("ky", "acs"), [(256, 24), (128, 12), (400, 38), (64, 8), (5, 5)])
def test_the_course_keeps_the_share_of_acs_lines(ky, acs):
    assert course_acs(ky) == acs


@given(ky=lines, acceleration=accelerations, data=st.data())
def test_uniform_is_every_rth_line_and_the_centre(ky, acceleration, data):
    acs = data.draw(st.integers(0, ky))
    offset = data.draw(st.integers(0, ky - 1))
    sampled = table(uniform(ky, acceleration, acs=acs, offset=offset))[0]
    first = ky // 2 - acs // 2
    for line in range(ky):
        on_lattice = line >= offset and (line - offset) % acceleration == 0
        assert sampled[line] == (on_lattice or first <= line < first + acs)


@given(ky=lines, frames=series, acceleration=accelerations)
def test_kt_uniform_moves_by_a_line_each_frame_and_sees_all_lines_in_time(ky, frames, acceleration):
    sampled = table(kt_uniform(ky, frames, acceleration, acs=0))
    line, frame = torch.arange(ky), torch.arange(frames)[:, None]
    assert torch.equal(sampled, (line - frame) % acceleration == 0)
    if frames >= acceleration:
        assert sampled.any(0).all()


@given(ky=lines.map(lambda n: 2 * (n // 2)), frames=series, acceleration=accelerations)
def test_the_challenge_bug_shows_in_odd_series_only(ky, frames, acceleration):
    plain = table(kt_uniform(ky, frames, acceleration, acs=0))
    bug = table(kt_uniform(ky, frames, acceleration, acs=0, challenge_bug=True))
    if frames % 2 == 0:
        assert torch.equal(plain, bug)
        return
    # Frames laid end to end, moved back by ky/2; the last half frame is left empty.
    assert torch.equal(bug.flatten()[1 : -ky // 2], plain.flatten()[ky // 2 + 1 :])
    assert not bug[-1, ky // 2 :].any()
    assert bug[0, 0] == plain[0, : ky // 2 + 1].any()


@given(ky=lines, frames=series, acceleration=st.floats(1, 16), seed=st.integers(0, 99))
def test_kt_gaussian_has_the_same_number_of_lines_in_each_frame(ky, frames, acceleration, seed):
    bare = kt_gaussian(ky, frames, acceleration, acs=0, generator=seeded(seed))
    assert table(bare).sum(1).tolist() == [int(ky / acceleration + 0.5)] * frames
    with_acs = kt_gaussian(ky, frames, acceleration, acs=6, generator=seeded(seed))
    assert bool((with_acs.sampled >= bare.sampled).all())
    assert detect_acs(with_acs.sampled)[0] >= 6


def test_kt_gaussian_follows_its_density_and_its_generator():
    ky, frames = 48, 40_000
    drawn = table(kt_gaussian(ky, frames, ky, acs=0, generator=seeded()))  # one line a frame: none is drawn twice
    density = gaussian_density(ky)
    error = (density * (1 - density) / frames).sqrt()
    assert ((drawn.double().mean(0) - density).abs() < 5 * error).all()
    # The stated formula: 0.1 far out against 0.1 + 0.25 in the centre.
    torch.testing.assert_close(
        density[ky // 2] / density[0], torch.tensor(0.35 / 0.1), rtol=0.01, atol=0, check_dtype=False
    )
    assert density[ky // 2 - 3] == density[ky // 2 + 3]
    one, same, other = (kt_gaussian(ky, 5, 4, generator=seeded(s)).sampled for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_line_drawn_twice_goes_to_a_neighbour_on_either_side():
    ky, frames = 64, 4000
    pairs = table(kt_gaussian(ky, frames, ky / 2, acs=0, generator=seeded()))
    first = pairs.int().argmax(1)
    last = ky - 1 - pairs.flip(1).int().argmax(1)
    density = gaussian_density(ky)
    together = float(density.square().sum() + 2 * (density[1:] * density[:-1]).sum())
    share = float((last - first == 1).double().mean())
    assert abs(share - together) < 5 * (together / frames) ** 0.5


@given(ky=st.integers(12, 40), kx=st.integers(12, 40), frame=st.integers(0, 3), acceleration=st.integers(8, 60))
def test_kt_radial_is_made_of_spokes_through_the_centre(ky, kx, frame, acceleration):
    sampled = kt_radial(ky, kx, 4, acceleration, acs=0).sampled[0, frame, 0]
    n_gaps = int(180 / (0.6 * acceleration))
    angles = torch.deg2rad(torch.arange(n_gaps + 1) * 180 / n_gaps + 137.5 * frame)
    y, x = sampled.nonzero(as_tuple=True)
    off = -0.5 if max(ky, kx) % 2 == 0 else 0.0  # of the pivot from index n//2, and of the spoke from the pivot
    beside = (x - kx // 2 - off)[:, None] * angles.cos() + (y - ky // 2 - off)[:, None] * angles.sin() - off
    assert (beside.abs().min(1).values < 0.5 + 1e-4).all()
    radius = torch.arange(2 - min(ky, kx) // 2, min(ky, kx) // 2 - 1)[:, None]
    on_y = ky // 2 + off + off * angles.sin() + radius * angles.cos()
    on_x = kx // 2 + off + off * angles.cos() - radius * angles.sin()
    gap = (on_y.flatten()[:, None] - y).square() + (on_x.flatten()[:, None] - x).square()
    assert (gap.min(1).values < 1).all()  # no spoke has a hole


def test_kt_radial_keeps_its_axes_apart_and_turns_by_the_golden_angle():
    mask = kt_radial(61, 31, 2, 300, acs=0)  # two spokes a frame, at 0° and 180°: one line in an odd square
    first = mask.sampled[0, 0, 0]
    assert first.sum() == 61  # along ky, at the centre of kx
    assert first[:, 15].all()
    ky, kx = mask.sampled[0, 1, 0].nonzero(as_tuple=True)
    slope = (ky - 30).double() @ (kx - 15).double() / ((kx - 15).double() @ (kx - 15).double())
    # The spoke starts along ky and turns by 137.5°, from +ky towards −kx: kx = −ky · tan(137.5°).
    assert float(slope) == pytest.approx(-1 / math.tan(math.radians(137.5)), abs=0.05)


def test_a_spoke_in_an_even_square_lies_beside_the_centre():
    mask = kt_radial(32, 32, 1, 300, acs=0).sampled[0, 0, 0]  # 0° and 180°: two adjacent lines, each half a pixel off
    assert mask.sum() == 64
    assert mask[:, 15].all()
    assert mask[:, 16].all()


def test_realised_accelerations_at_the_matrix_of_the_challenge():
    """Section 6 of the fixtures' manifest, for 400 × 246 and 12 frames."""
    uniform_R = [3.347, 5.487, 6.995, 8.066, 8.918, 9.616]
    radial_R = [4.164, 8.015, 11.569, 15.687, 18.452, 22.379]
    for nominal, line_R, spoke_R in zip((4, 8, 12, 16, 20, 24), uniform_R, radial_R, strict=True):
        assert kt_uniform(246, 12, nominal, acs=16).realised_acceleration == pytest.approx(line_R, abs=6e-4)
        assert kt_radial(246, 400, 12, nominal, acs=16).realised_acceleration == pytest.approx(spoke_R, abs=6e-4)


def test_a_large_radial_mask_takes_less_than_a_second():
    start = time.perf_counter()
    kt_radial(246, 400, 12, 4)
    assert time.perf_counter() - start < 3  # the budget of one second, with threefold slack


@given(ky=st.integers(1, 30), data=st.data())
def test_detect_acs_finds_the_centre_block_of_lines(ky, data):
    acs = data.draw(st.integers(0, ky))
    mask = uniform(ky, 3 * ky, acs=acs).sampled.clone()
    mask[..., 0, :] = acs == ky  # without the lattice's only line, which may lie next to the block
    assume(ky > 1 or acs == ky)
    assert detect_acs(mask) == (acs, 1 if acs else 0)
    frames = torch.cat([mask, torch.ones_like(mask)], dim=1)
    assert detect_acs(frames)[0] == acs


@given(ky=st.integers(2, 20), kx=st.integers(2, 20), data=st.data())
def test_detect_acs_finds_the_centre_block_of_points(ky, kx, data):
    side = data.draw(st.integers(1, min(ky, kx)))
    sampled = torch.zeros(1, 1, 1, ky, kx, dtype=torch.bool)
    first_y, first_x = ky // 2 - side // 2, kx // 2 - side // 2
    sampled[..., first_y : first_y + side, first_x : first_x + side] = True
    assert detect_acs(sampled) == (side, side)
    if side > 1:
        sampled[..., ky // 2, :] = True  # a spoke along kx is no reason to call the ACS one line high
        assert detect_acs(sampled) == (side, side)


def test_detect_acs_of_full_and_empty_masks_and_of_a_neighbouring_lattice_line():
    assert detect_acs(full(9).sampled) == (9, 1)
    assert detect_acs(torch.ones(1, 3, 1, 8, 5, dtype=torch.bool)) == (8, 5)
    assert detect_acs(torch.zeros(1, 1, 1, 8, 5, dtype=torch.bool)) == (0, 0)
    assert detect_acs(uniform(204, 10, acs=16).sampled) == (17, 1)  # line 110 is next to 94 … 109


@given(
    ky=lines, acceleration=accelerations, kind=st.sampled_from(["uniform", "kt-uniform", "kt-gaussian", "kt_radial"])
)
def test_the_image_is_convolved_with_the_point_spread_function(ky, acceleration, kind):
    kx, frames = 9, 3
    mask = Sampling(kind, acceleration, acs=3).mask(ky, kx, frames, seeded())
    spread = point_spread_function(mask, torch.complex128)
    assert spread.shape == (1, mask.sampled.shape[1], ky, mask.sampled.shape[4])
    point = torch.ones(1, frames, 1, ky, kx, dtype=torch.complex128)  # k-space of one bright pixel in the middle
    image = ifft2c(point * mask.sampled)[:, :, 0]
    share = mask.sampled.double().mean((-2, -1), keepdim=True)[:, :, 0]
    expected = torch.zeros_like(image)
    middle = kx // 2
    if spread.shape[-1] == 1:
        expected[..., middle] = (spread * share)[..., 0] * (ky * kx) ** 0.5
    else:
        expected[:] = spread * share * (ky * kx) ** 0.5
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-10)
    peak = spread[..., ky // 2, spread.shape[-1] // 2]
    torch.testing.assert_close(peak, torch.ones_like(peak), rtol=0, atol=1e-10)


def test_uniform_sampling_folds_and_kt_sampling_sends_aliases_to_other_temporal_frequencies():
    ky, frames, R = 24, 12, 4
    folded = point_spread_function(uniform(ky, R, acs=0), torch.complex128)[0, 0, :, 0].abs()
    aliases = (torch.arange(ky) - ky // 2) % (ky // R) == 0
    torch.testing.assert_close(folded, aliases.double(), rtol=0, atol=1e-12)
    spread = kt_point_spread_function(kt_uniform(ky, frames, R, acs=0), torch.complex128)[0, :, :, 0].abs()
    y, f = (spread > 1e-9).nonzero()[:, 1] - ky // 2, (spread > 1e-9).nonzero()[:, 0] - frames // 2
    assert len(y) == R
    assert sorted(y.abs().tolist()) == [0, 6, 6, 12]
    assert len(set(f.tolist())) == R  # each alias has a temporal frequency of its own: only the peak is at zero
    per_frame = point_spread_function(kt_uniform(ky, frames, R, acs=0), torch.complex128)
    ratio = fft_t(per_frame)[0, :, :, 0].abs() / frames**0.5
    torch.testing.assert_close(spread, ratio, rtol=0, atol=1e-12)  # every frame has as many lines here


def test_undersampling_with_a_line_mask_keeps_the_whole_readout_in_the_acs():
    kspace = torch.randn(1, 2, 3, 32, 20, dtype=torch.complex64, generator=seeded())
    acquisition = Acquisition.fully_sampled(kspace)
    for kind, acs in (("uniform", (6, 20)), ("kt_radial", (6, 6))):
        undersampled = acquisition.undersample(Sampling(kind, 4, acs=6).mask(32, 20, 2))
        assert undersampled.acs == acs
        assert undersampled.about.trajectory == kind
        assert undersampled.about.realised_acceleration > 1


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_makes_each_kind(kind):
    sampling = Sampling(kind.replace("_", "-"), 1 if kind == "full" else 4)
    mask = sampling.mask(48, 40, 6, seeded())
    assert sampling.kind == mask.kind == kind
    assert mask.nominal_acceleration == sampling.acceleration
    assert mask.realised_acceleration == pytest.approx(mask.sampled.numel() / int(mask.sampled.sum()))
    assert detect_acs(mask.sampled)[0] >= mask.acs[0] == (48 if kind == "full" else 8)
    assert "nominal R" in repr(mask)


BAD = {
    "kind: got 'spiral', want one of full, uniform": lambda: Sampling("spiral", 4),
    "acceleration: got 4 with kind 'full'": lambda: Sampling("full", 4),
    "acceleration: got 0,": lambda: uniform(64, 0),
    "acceleration: got nan": lambda: kt_uniform(64, 4, float("nan")),
    "acceleration: got 301": lambda: kt_radial(64, 64, 4, 301),
    "acceleration: got 200, want at most 128": lambda: kt_gaussian(64, 4, 200, generator=seeded()),
    "acs: got 65 lines": lambda: uniform(64, 4, acs=65),
    "acs: got 20 points": lambda: kt_radial(64, 16, 4, 4, acs=20),
    "offset: got 64": lambda: uniform(64, 4, offset=64),
    "frames: got 0": lambda: kt_uniform(64, 0, 4),
    "ky: got 0": lambda: uniform(0, 4),
    "alpha: got 1": lambda: kt_gaussian(64, 4, 4, generator=seeded(), alpha=1.0),
    "challenge_bug: got ky = 63 and frames = 5": lambda: kt_uniform(63, 5, 4, challenge_bug=True),
    "generator: got None": lambda: Sampling("kt_gaussian", 4).mask(64, 64, 4),
    "mask: got 2 axes": lambda: detect_acs(torch.ones(3, 3, dtype=torch.bool)),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises(ValueError, match=message) as error:
        BAD[message]()
    assert "\n" not in str(error.value)
