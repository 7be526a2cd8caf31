"""What losses and metrics share: SSIM against scikit-image, Sobel, crops, windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate
from skimage.metrics import structural_similarity

from cmr_course.image import (
    center_crop,
    center_pad,
    filter2d,
    gaussian_window,
    quantile,
    scharr,
    sobel,
    ssim_map,
    uniform_window,
)

sizes = st.tuples(st.integers(11, 30), st.integers(11, 30))


def pair(shape: tuple[int, ...], seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, dtype=torch.float64, generator=generator)
    return reference + 0.1 * torch.randn(shape, dtype=torch.float64, generator=generator), reference


@given(size=sizes, seed=st.integers(0, 999), data_range=st.floats(0.5, 3), sample=st.booleans())
def test_ssim_map_is_that_of_scikit_image(size, seed, data_range, sample):
    prediction, reference = pair(size, seed)
    oracle = structural_similarity(
        reference.numpy(), prediction.numpy(), data_range=data_range, use_sample_covariance=sample, full=True
    )[1][3:-3, 3:-3]
    ours = ssim_map(prediction, reference, data_range, uniform_window(7), sample_covariance=sample)
    np.testing.assert_allclose(ours.numpy(), oracle, rtol=0, atol=1e-10)


def test_gaussian_ssim_is_that_of_scikit_image():
    prediction, reference = pair((25, 32))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "truncate": 5 / 1.5}
    oracle = structural_similarity(
        reference.numpy(), prediction.numpy(), data_range=1.0, full=True, win_size=11, **settings
    )[1][5:-5, 5:-5]
    ours = ssim_map(prediction, reference, 1.0, gaussian_window(11, 1.5), sample_covariance=False)
    np.testing.assert_allclose(ours.numpy(), oracle, rtol=0, atol=1e-10)


def test_ssim_map_takes_any_leading_axes_and_a_data_range_for_each():
    prediction, reference = pair((2, 3, 14, 15))
    data_range = torch.tensor([0.5, 2.0], dtype=torch.float64)[:, None]
    together = ssim_map(prediction, reference, data_range, uniform_window(7))
    assert together.shape == (2, 3, 8, 9)
    alone = ssim_map(prediction[1, 2], reference[1, 2], 2.0, uniform_window(7))
    torch.testing.assert_close(together[1, 2], alone)
    assert ssim_map(prediction.float(), reference.float(), data_range, uniform_window(7)).dtype == torch.float32


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    _, reference = pair((20, 20))
    window = uniform_window(7)
    torch.testing.assert_close(
        ssim_map(reference, reference, 1.0, window), torch.ones(14, 14, dtype=torch.float64), rtol=0, atol=1e-12
    )
    noise = pair((20, 20), seed=2)[0]
    scores = [float(ssim_map(reference + level * noise, reference, 1.0, window).mean()) for level in (0.05, 0.2, 0.8)]
    assert scores == sorted(scores, reverse=True)


def test_ssim_has_the_right_gradients():
    prediction, reference = (image.requires_grad_() for image in pair((9, 8)))
    for window, sample in ((uniform_window(7), True), (gaussian_window(5, 1.0), False)):
        assert torch.autograd.gradcheck(
            lambda p, r, window=window, sample=sample: ssim_map(p, r, 1.0, window, sample_covariance=sample),
            (prediction, reference),
        )


@given(size=st.integers(1, 15), sigma=st.floats(0.3, 4))
def test_windows_sum_to_one_and_are_symmetric(size, sigma):
    for window in (uniform_window(size), gaussian_window(size, sigma)):
        assert float(window.sum()) == pytest.approx(1)
        torch.testing.assert_close(window, window.flip(0), rtol=1e-12, atol=0)
    if size > 2:
        ratio = gaussian_window(size, sigma)[size // 2] / gaussian_window(size, sigma)[size // 2 - 1]
        step = 0.5 if size % 2 else 0.0  # of a squared pixel: the middle is at 0, or half way between two samples
        assert float(ratio) == pytest.approx(np.exp(step / sigma**2))


def test_filtering_is_correlation_and_not_convolution():
    image = torch.zeros(5, 5, dtype=torch.float64)
    image[2, 2] = 1
    ramp = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    flat = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(filter2d(image, ramp, flat)[:, 2], ramp.flip(0))
    torch.testing.assert_close(filter2d(image, flat, ramp)[2], ramp.flip(0))


@given(size=st.tuples(st.integers(3, 12), st.integers(3, 12)), slope_y=st.floats(-3, 3), slope_x=st.floats(-3, 3))
def test_sobel_measures_the_slope_of_a_ramp(size, slope_y, slope_x):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    along_y, along_x = sobel((slope_y * y + slope_x * x).expand(2, 3, *size))
    assert along_y.shape == along_x.shape == (2, 3, *size)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(along_y[inner], torch.full_like(along_y[inner], slope_y), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(along_x[inner], torch.full_like(along_x[inner], slope_x), rtol=1e-9, atol=1e-9)


def test_sobel_of_a_constant_is_zero_up_to_the_border_and_has_a_gradient():
    for derivative in sobel(torch.full((6, 7), 3.0)):
        torch.testing.assert_close(derivative, torch.zeros(6, 7))
    image = pair((5, 6))[0].requires_grad_()
    assert torch.autograd.gradcheck(sobel, (image,))


@given(small=st.tuples(st.integers(1, 9), st.integers(1, 9)), more=st.tuples(st.integers(0, 7), st.integers(0, 7)))
def test_crop_undoes_pad_is_its_adjoint_and_the_centre_stays(small, more):
    large = (small[0] + more[0], small[1] + more[1])
    generator = torch.Generator().manual_seed(3)
    x = torch.randn((2, *small), dtype=torch.complex128, generator=generator)
    y = torch.randn((2, *large), dtype=torch.complex128, generator=generator)
    padded = center_pad(x, large)
    assert torch.equal(center_crop(padded, small), x)
    assert torch.equal(padded[:, large[0] // 2, large[1] // 2], x[:, small[0] // 2, small[1] // 2])
    left, right = torch.vdot(padded.flatten(), y.flatten()), torch.vdot(x.flatten(), center_crop(y, small).flatten())
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)
    assert center_pad(torch.ones(small, dtype=torch.bool), large).sum() == small[0] * small[1]


@given(n=st.integers(1, 50), q=st.floats(0, 1))
def test_quantile_is_that_of_numpy(n, q):
    values = pair((n,))[0]
    assert float(quantile(values, q)) == pytest.approx(float(np.quantile(values.numpy(), q)), rel=1e-12)


IMAGE = torch.ones(8, 8)
BAD = {
    r"prediction: got shape \(8, 8\)": lambda: ssim_map(IMAGE, torch.ones(8, 9), 1.0, uniform_window(7)),
    "reference: got 8 pixels along an axis": lambda: ssim_map(IMAGE, IMAGE, 1.0, gaussian_window(11)),
    "size: got 0": lambda: uniform_window(0),
    "sigma: got -1": lambda: gaussian_window(5, -1),
    r"size: got \(9, 8\)": lambda: center_crop(IMAGE, (9, 8)),
    r"size: got \(7, 8\)": lambda: center_pad(IMAGE, (7, 8)),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


@given(size=sizes, slope_y=st.floats(-3, 3), slope_x=st.floats(-3, 3))
def test_scharr_measures_the_slope_of_a_ramp_away_from_the_border(size, slope_y, slope_x):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    along_y, along_x = scharr((slope_y * y + slope_x * x).expand(2, 3, *size))
    assert along_y.shape == along_x.shape == (2, 3, *size)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(along_y[inner], torch.full_like(along_y[inner], slope_y), rtol=0, atol=1e-12)
    torch.testing.assert_close(along_x[inner], torch.full_like(along_x[inner], slope_x), rtol=0, atol=1e-12)


def test_scharr_turns_with_the_edge_better_than_sobel_and_sees_one_at_the_border():
    """Of waves in any direction: how far the direction found is off the true one."""
    y, x = torch.meshgrid(*(torch.arange(64, dtype=torch.float64) - 31.5 for _ in range(2)), indexing="ij")
    off = {}
    for operator in (sobel, scharr):
        worst = 0.0
        for angle in torch.linspace(0.1, 1.4, 9, dtype=torch.float64):
            both = operator(torch.sin(1.2 * (torch.sin(angle) * y + torch.cos(angle) * x)))
            along_y, along_x = (derivative[1:-1, 1:-1] for derivative in both)
            strong = along_y.abs() > 0.5 * along_y.abs().amax()
            found = torch.atan2(along_y[strong], along_x[strong]) % torch.pi
            worst = max(worst, float((found - angle).abs().max()))
        off[operator] = worst
    assert off[scharr] < 0.5 * off[sobel]
    along_y, along_x = scharr(torch.ones(5, 6))
    assert float(along_y[0, 2]) == pytest.approx(0.5)
    assert float(along_x[2, -1]) == pytest.approx(-0.5)
    assert not along_y[2, 2:4].any()


def test_scharr_is_scipys_operator_and_has_a_gradient():
    image, _ = pair((7, 9))
    kernel = np.outer([-1, 0, 1], [3, 10, 3]) / 32
    for derivative, weights in zip(scharr(image), (kernel, kernel.T), strict=True):
        np.testing.assert_allclose(derivative.numpy(), correlate(image.numpy(), weights, mode="constant"), atol=1e-15)
    assert torch.autograd.gradcheck(scharr, (image.clone().requires_grad_(),))
