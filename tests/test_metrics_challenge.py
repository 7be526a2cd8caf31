"""The challenges' scores: whom they take for the reference, what they do not see, and what a submission holds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cmr_course.metrics import challenge_scores, ranking_crop

YEARS = (2023, 2024, 2025)


def pair(shape: tuple[int, ...] = (2, 3, 20, 24), seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (reference + 0.1 * noise).abs(), reference


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("shape", [(2, 3, 20, 24), (3, 20, 24)])
def test_each_image_is_scored_and_identical_ones_are_perfect(year, shape):
    prediction, reference = pair(shape)
    scores = challenge_scores(prediction, reference, year)
    assert {name: values.shape for name, values in scores.items()} == dict.fromkeys(
        ("psnr", "ssim", "nmse"), shape[:-2]
    )
    perfect = challenge_scores(reference, reference, year)
    assert perfect["psnr"].isposinf().all()
    assert perfect["nmse"].eq(0).all()
    torch.testing.assert_close(perfect["ssim"], torch.ones(shape[:-2], dtype=torch.float64))


@given(year=st.sampled_from(YEARS), gain=st.floats(0.01, 100), offset=st.floats(0, 5), frame=st.integers(0, 2))
def test_gain_is_hidden_in_every_year_and_offset_in_2024(year, gain, offset, frame):
    """Also a gain of one frame only: the images are normalised one by one."""
    prediction, reference = pair()
    wanted = challenge_scores(prediction, reference, year)
    wrong = prediction.clone()
    wrong[:, frame] *= gain
    for name, values in challenge_scores(wrong, reference, year).items():
        torch.testing.assert_close(values, wanted[name], rtol=1e-5, atol=1e-7)
    moved = challenge_scores(prediction + offset, reference, year)["ssim"]
    if year == 2024:
        torch.testing.assert_close(moved, wanted["ssim"], rtol=1e-5, atol=1e-7)
    elif offset > 0.1:
        assert (moved < wanted["ssim"]).all()


@pytest.mark.parametrize("year", YEARS)
def test_the_scripts_exchange_the_two_images(year):
    prediction, reference = pair()
    ours = challenge_scores(prediction, reference, year)
    scripts = challenge_scores(prediction, reference, year, as_scripts=True)
    exchanged = challenge_scores(reference, prediction, year)
    for name in ours:
        torch.testing.assert_close(scripts[name], exchanged[name])
    assert (ours["nmse"] != scripts["nmse"]).all()
    if year == 2023:  # one data range for both, so these two are symmetric
        torch.testing.assert_close(ours["psnr"], scripts["psnr"])
        torch.testing.assert_close(ours["ssim"], scripts["ssim"])


@pytest.mark.parametrize("year", [2024, 2025])
def test_three_axes_exchange_them_once_more(year):
    """A property the two branches break: a frame scores the same, whether the array has a time axis of one or none."""
    prediction, reference = pair((3, 20, 24))
    three = challenge_scores(prediction, reference, year)
    four = challenge_scores(prediction[:, None], reference[:, None], year)
    four_scripts = challenge_scores(prediction[:, None], reference[:, None], year, as_scripts=True)
    assert not torch.allclose(three["ssim"], four["ssim"][:, 0])
    for name in three:
        torch.testing.assert_close(three[name], four_scripts[name][:, 0])


def test_the_data_range_of_2024_is_no_range():
    """It is the maximum of the standardised reference, which leaves out all that lies below the mean."""
    prediction, reference = pair((1, 1, 20, 24))
    mean, deviation = reference.mean(), reference.std(correction=0)
    error = (prediction - prediction.mean()) / prediction.std(correction=0) - (reference - mean) / deviation
    peak = (reference.max() - mean) / deviation
    wanted = 20 * math.log10(float(peak / error.square().mean().sqrt()))
    assert float(challenge_scores(prediction, reference, 2024)["psnr"]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, r: challenge_scores(p, r, 2022), "year: got 2022, want one of 2023, 2024, 2025"),
        (lambda p, r: challenge_scores(p[0, 0], r[0, 0], 2023), "prediction: got 2 axes"),
        (lambda p, r: challenge_scores(p[:1], r, 2023), r"prediction: got shape \(1, 3, 20, 24\)"),
        (lambda p, r: challenge_scores(p * math.nan, r, 2023), "prediction: got 2880 values that are NaN"),
        (lambda p, r: challenge_scores(p, r + 0j, 2023), "reference: got complex values"),
        (lambda p, r: challenge_scores(p, 0 * r, 2023), "reference: got 6 images whose maximum is not above zero"),
        (lambda p, r: challenge_scores(0 * p, r, 2025), "prediction: got 6 images whose 99.5th percentile"),
        (lambda p, r: challenge_scores(0 * p + 3, r, 2024), "prediction: got 6 constant images"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(*pair())


def numbered(slices: int, frames: int, height: int, width: int) -> Tensor:
    """Every pixel says where it comes from."""
    axes = [torch.arange(n, dtype=torch.float64) for n in (slices, frames, height, width)]
    s, t, y, x = torch.meshgrid(*axes, indexing="ij")
    return ((s * 100 + t) * 1000 + y) * 1000 + x


@pytest.mark.parametrize(
    ("slices", "kept"),
    [(1, [0]), (2, [0, 1]), (3, [0, 1]), (4, [0, 1]), (5, [1, 2]), (6, [1, 2]), (7, [2, 3]), (12, [4, 5])],
)
def test_the_submission_holds_the_middle_slices(slices, kept):
    """By hand: of 5 slices round(2.5) = 3, so numbers 2 and 3 counted from one."""
    got = ranking_crop(numbered(slices, 4, 8, 9), "cine")
    assert (got[:, 0, 0, 0] // 100_000_000).tolist() == kept
    assert got.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "y", "x"),
    [
        # By hand: 11/2 = 5.5 → 6, rows 5 − 3 … 7 around row 5; 10/3 = 3.3 → 3, columns 5 − 1 … 6 around column 5.
        ((11, 10), range(2, 8), range(4, 7)),
        ((12, 12), range(3, 9), range(4, 8)),
        ((7, 8), range(1, 5), range(3, 6)),
    ],
)
def test_it_is_cropped_around_the_centre(size, y, x):
    got = ranking_crop(numbered(3, 3, *size), "cine")[0, 0].double()
    assert (got[:, 0] // 1000).tolist() == list(y)
    assert (got[0] % 1000).tolist() == list(x)


def test_three_frames_of_cine_all_of_mapping_one_of_black_blood():
    images = numbered(3, 9, 8, 9)
    assert ranking_crop(images, "cine").shape[1] == 3
    assert ranking_crop(images, "mapping").shape[1] == 9
    assert ranking_crop(images[:, :1], "blackblood").shape[1] == 1
    phase = torch.polar(torch.ones_like(images), torch.rand(images.shape, dtype=torch.float64))
    torch.testing.assert_close(ranking_crop(images * phase, "cine"), ranking_crop(images, "cine"))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranking_crop(numbered(2, 3, 8, 9), "cine", year=2023), "images: got 2 slices, want three or more"),
        (lambda: ranking_crop(numbered(3, 2, 8, 9), "cine"), "images: got 2 frames of cine, want 3 or more"),
        (lambda: ranking_crop(numbered(3, 2, 8, 9), "blackblood"), "images: got 2 frames of blackblood, want 1"),
        (lambda: ranking_crop(numbered(3, 3, 8, 9), "perfusion"), "kind: got 'perfusion'"),
        (lambda: ranking_crop(numbered(3, 3, 8, 9), "cine", year=2025), "year: got 2025, want 2023 or 2024"),
        (lambda: ranking_crop(torch.ones(3, 8, 9), "cine"), "images: got 3 axes"),
    ],
)
def test_what_cannot_be_submitted_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
