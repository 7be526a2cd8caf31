"""HaarPSI is the paper's formula, and moves as an index of visible differences should."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d
from torch import Tensor

from cmr_course.metrics.haarpsi import haarpsi, haarpsi_images

Array = np.ndarray


def noise(shape: tuple[int, ...], seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heart(size: int = 64, frames: int = 2) -> Tensor:
    """(1, frame, y, x): a beating bright disc in a darker textured body, smooth at the scale of a pixel."""
    rows = torch.arange(size, dtype=torch.float64) - size // 2
    distance = torch.hypot(rows[:, None], rows) / size
    radius = torch.tensor([0.17, 0.12, 0.15])[:frames, None, None]
    texture = blurred(noise((1, 1, size, size), seed=4), 1.5)[0, 0]
    body = torch.sigmoid((0.42 - distance) * size) * (0.35 + 0.3 * texture)
    return (body + 0.5 * torch.sigmoid((radius - distance) * size))[None].clamp(min=0)


def blurred(series: Tensor, width: float) -> Tensor:
    frequency = torch.fft.fftfreq(series.shape[-1], dtype=torch.float64)
    fall = torch.exp(-2 * (math.pi * width * frequency) ** 2)
    return torch.fft.ifft2(torch.fft.fft2(series) * fall[:, None] * fall).real


def by_the_paper(a: Array, b: Array, scales: int, subsample: bool, c: float, alpha: float) -> float:
    """HaarPSI of two images from 0 to 255, with one two-dimensional kernel after the other as MATLAB's conv2 'same'."""

    def same(image: Array, kernel: Array) -> Array:
        size = kernel.shape[0]
        full = convolve2d(image, kernel, mode="full")
        return full[size // 2 :, size // 2 :][: image.shape[0], : image.shape[1]]

    def coefficients(image: Array) -> list[list[Array]]:
        if subsample:
            image = same(image, np.full((2, 2), 0.25))[::2, ::2]
        found = []
        for scale in range(1, scales + 1):
            kernel = np.full((2**scale, 2**scale), 2.0**-scale)
            kernel[: 2 ** (scale - 1)] *= -1
            found.append([np.abs(same(image, k)) for k in (kernel, kernel.T)])
        return found

    above = below = 0.0
    of_a, of_b = coefficients(a), coefficients(b)
    for direction in range(2):
        pairs = [(of_a[s][direction], of_b[s][direction]) for s in range(scales)]
        alike = np.mean([(2 * x * y + c) / (x**2 + y**2 + c) for x, y in pairs[:-1]], axis=0)
        weight = np.maximum(*pairs[-1])
        above += (weight / (1 + np.exp(-alpha * alike))).sum()
        below += weight.sum()
    mean = above / below
    return float((np.log(mean / (1 - mean)) / alpha) ** 2)


@given(
    size=st.tuples(st.integers(16, 31), st.integers(16, 31)),
    seed=st.integers(0, 99),
    scales=st.sampled_from([2, 3]),
    subsample=st.booleans(),
    c=st.sampled_from([5.0, 30.0]),
    alpha=st.sampled_from([4.2, 5.8]),
)
def test_each_frame_is_scored_by_the_papers_formula(size, seed, scales, subsample, c, alpha):
    reference = noise((1, 2, *size), seed).abs()
    prediction = reference + 0.1 * noise((1, 2, *size), seed + 100)  # some values below zero, some above the range
    options = {"scales": scales, "subsample": subsample, "c": c, "alpha": alpha}
    scores = haarpsi(prediction, reference, **options)
    scale = 255 / float(reference.max())
    for frame in range(2):
        a, b = (scale * series[0, frame].numpy() for series in (prediction, reference))
        assert float(scores[0, frame]) == pytest.approx(by_the_paper(a, b, **options), rel=1e-12)


def test_identical_series_score_one_and_the_order_does_not_matter():
    reference = heart()
    other = reference + 0.05 * noise(reference.shape)
    torch.testing.assert_close(haarpsi(reference, reference), torch.ones(1, 2, dtype=torch.float64))
    forward = haarpsi(other, reference, data_range=1.0)
    assert torch.equal(haarpsi(reference, other, data_range=1.0), forward)
    assert ((forward > 0) & (forward < 1)).all()


def test_it_falls_with_blur_noise_shift_and_gain():
    reference = heart(frames=3)
    degraded = {
        "blur": [blurred(reference, width) for width in (0.5, 1.0, 2.0, 4.0)],
        "noise": [reference + sigma * noise(reference.shape) for sigma in (0.01, 0.03, 0.1, 0.3)],
        "shift": [reference.roll(pixels, dims=-1) for pixels in (1, 2, 4)],
        "gain": [gain * reference for gain in (1.1, 1.3, 2.0)],
    }
    for name, series in degraded.items():
        scores = torch.stack([torch.ones(1, 3, dtype=torch.float64), *(haarpsi(p, reference) for p in series)])
        assert (scores.diff(dim=0) < 0).all(), name


def test_a_gain_of_both_changes_nothing_and_an_offset_is_seen_at_the_border_only():
    reference = heart()
    prediction = reference + 0.03 * noise(reference.shape)
    torch.testing.assert_close(haarpsi(3.7e-4 * prediction, 3.7e-4 * reference), haarpsi(prediction, reference))
    middle = torch.zeros(1, 64, 64, dtype=torch.bool)
    middle[:, 10:-10, 10:-10] = True  # the largest wavelet reaches ten pixels
    torch.testing.assert_close(haarpsi(reference + 0.2, reference, middle), torch.ones(1, 2, dtype=torch.float64))
    assert (haarpsi(reference + 0.2, reference) < haarpsi(1.2 * reference, reference)).all()


def test_noise_hides_on_the_heart_and_shows_in_the_dark():
    reference = heart()
    spoiled = 0.05 * noise(reference.shape)
    inside, outside = torch.zeros(2, 64, 64, dtype=torch.bool)
    inside[20:44, 20:44] = True
    outside[:24, :24] = True  # as many pixels, most of them without signal
    dark = haarpsi(reference + outside * spoiled, reference)
    assert (dark < haarpsi(reference + inside * spoiled, reference)).all()


def test_the_data_range_is_that_of_the_series_and_of_no_other_batch_item():
    reference = heart(frames=3).expand(2, -1, -1, -1) * torch.tensor([1.0, 5.0])[:, None, None, None]
    prediction = reference * (1 + 0.1 * noise((2, 3, 64, 64)))
    scores = haarpsi(prediction, reference)
    for item in range(2):
        alone = haarpsi(prediction[item, None], reference[item, None], data_range=float(reference[item].max()))
        torch.testing.assert_close(scores[item], alone[0])
    one_frame = haarpsi(prediction[:1, 1:2], reference[:1, 1:2], data_range=float(reference[0].max()))
    torch.testing.assert_close(scores[:1, 1:2], one_frame)


def test_it_is_as_strict_as_the_data_range_is_small():
    reference = heart()
    prediction = reference + 0.05 * noise(reference.shape)
    scores = torch.stack([haarpsi(prediction, reference, data_range=level) for level in (0.1, 1.0, 10.0, 100.0)])
    assert (scores.diff(dim=0) > 0).all()


def test_a_region_looks_at_its_pixels():
    reference = heart()
    box = torch.zeros(1, 64, 64, dtype=torch.bool)
    box[:, 20:44, 20:44] = True
    spoiled = reference.clone()
    spoiled[..., :8, :] += noise((1, 2, 8, 64)).abs()  # further from the box than the wavelets reach
    torch.testing.assert_close(haarpsi(spoiled, reference, box), torch.ones(1, 2, dtype=torch.float64))
    assert (haarpsi(spoiled, reference) < 0.99).all()
    everywhere = torch.ones_like(box)
    torch.testing.assert_close(haarpsi(spoiled, reference, everywhere), haarpsi(spoiled, reference))


def test_frames_that_are_zero_are_identical_only_to_zero():
    reference = heart()
    reference[0, 1] = 0
    torch.testing.assert_close(haarpsi(reference, reference), torch.ones(1, 2, dtype=torch.float64))
    prediction = reference.clone()
    prediction[0, 1] = heart()[0, 1]
    assert float(haarpsi(prediction, reference)[0, 1]) < 0.5


def test_gradients_are_those_of_the_score():
    reference, prediction = (noise((1, 2, 17, 16), seed).abs() for seed in (1, 2))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: haarpsi(p, reference, data_range=2.0), prediction, fast_mode=True)
    zero = torch.zeros(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    haarpsi(zero, torch.zeros_like(zero), data_range=1.0).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_a_step_along_the_gradient_is_an_improvement():
    reference = heart()
    prediction = (reference + 0.05 * noise(reference.shape)).requires_grad_()
    before = haarpsi(prediction, reference).mean()
    (slope,) = torch.autograd.grad(before, prediction)
    after = haarpsi(prediction.detach() + 0.02 * slope / slope.abs().max(), reference).mean()
    assert float(after) > float(before.detach())


def test_grey_in_three_channels_is_scored_by_its_brightness_and_a_colour_cast_costs():
    grey = 255 * heart()[0][:, None]
    other = grey + 10 * noise(grey.shape)
    three, cast = other.expand(-1, 3, -1, -1), other.repeat(1, 3, 1, 1)
    cast[:, 0] += 40
    reference = grey.expand(-1, 3, -1, -1)
    assert (haarpsi_images(three, reference) > haarpsi_images(other, grey)).all()  # colours that agree are added
    assert (haarpsi_images(cast, reference) < haarpsi_images(three, reference)).all()


SERIES = heart(16)
NAN = SERIES.clone()
NAN[0, 0, 0, 0] = torch.nan


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("prediction", "reference", "options", "message"),
    [
        (NAN, SERIES, {}, "prediction: got 1 values that are NaN"),
        (SERIES[:, :1], SERIES, {}, r"prediction: got shape \(1, 1, 16, 16\)"),
        (SERIES, torch.zeros_like(SERIES), {}, "reference: got 1 series whose maximum is not above zero"),
        (SERIES[..., :15], SERIES[..., :15], {}, r"reference: got \(16, 15\) pixels, want at least 16 along each axis"),
        (SERIES[..., :9], SERIES[..., :9], {"scales": 4, "subsample": False}, "want at least 16 along each axis"),
        (SERIES, SERIES, {"data_range": 0.0}, "data_range: got 0.0, want a number above zero"),
        (SERIES, SERIES, {"scales": 1}, "scales: got 1, want a whole number of 2 or more"),
        (SERIES, SERIES, {"c": -1.0}, "c: got -1.0, want a number above zero"),
        (SERIES, SERIES, {"alpha": 50.0}, "alpha: got 50.0, want a number above 0, at most 20"),
        (SERIES, SERIES, {"region": torch.ones(1, 16, 16)}, "region: got"),
        (SERIES, SERIES, {"region": torch.zeros(1, 16, 16, dtype=torch.bool)}, "region: got"),
    ],
)
def test_bad_input_is_named(prediction, reference, options, message):
    with pytest.raises(ValueError, match=message):
        haarpsi(prediction, reference, **options)


@pytest.mark.bad_input
def test_images_of_another_kind_are_named():
    with pytest.raises(ValueError, match=r"prediction: got .*, want real images \(image, 1 or 3 channels, y, x\)"):
        haarpsi_images(torch.rand(1, 2, 16, 16), torch.rand(1, 2, 16, 16))
    with pytest.raises(ValueError, match="prediction: got shape"):
        haarpsi_images(torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16))
