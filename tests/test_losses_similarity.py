"""1 − SSIM as a loss: scikit-image's value, blind to phase and unit, each series with its own range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.losses import PartsSSIMLoss, SSIMLoss, build

WINDOWS = {
    "uniform": {"win_size": 7},
    "gaussian": {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "truncate": 3.4},
}
"""What scikit-image calls them; its Gaussian is cut off at 3.4 widths, five pixels."""


def bare(image: torch.Tensor) -> Acquisition:
    """An acquisition that fits `image` and has no scale."""
    batch, frames, y, x = image.shape
    mask = torch.ones(1, 1, 1, y, 1, dtype=torch.bool)
    return Acquisition(torch.zeros(batch, frames, 1, y, x, dtype=image.dtype), mask, (y, x))


def pair(generator, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A reference and an image that resembles it."""
    reference = torch.randn(*shape, dtype=torch.complex128, generator=generator) + 2
    return reference + 0.3 * torch.randn(*shape, dtype=torch.complex128, generator=generator), reference


def of(loss, image, reference) -> torch.Tensor:
    return loss(Reconstruction(image), reference, bare(image))


@pytest.mark.parametrize("window", WINDOWS)
@given(
    y=st.integers(11, 20),
    x=st.integers(11, 20),
    frames=st.integers(1, 3),
    batch=st.integers(1, 2),
    unit=st.sampled_from([1.0, 1e-8, 1e5]),
)
def test_it_is_one_minus_the_similarity_of_scikit_image(window, y, x, frames, batch, unit):
    """Frame by frame, over the pixels around which the window fits, the range that of the series."""
    image, reference = pair(torch.Generator().manual_seed(y + x), batch, frames, y, x)
    reference[-1] *= 3
    wanted = []
    for one, true in zip(image.abs().numpy(), reference.abs().numpy(), strict=True):
        for frame, true_frame in zip(one, true, strict=True):
            _, full = structural_similarity(frame, true_frame, data_range=true.max(), full=True, **WINDOWS[window])
            edge = 3 if window == "uniform" else 5
            wanted.append(1 - full[edge:-edge, edge:-edge].mean())
    got = of(SSIMLoss(window), unit * image, unit * reference)
    assert float(got) == pytest.approx(np.mean(wanted), rel=1e-9)


def test_that_of_the_parts_sees_phase_but_no_gain_and_each_item_by_itself(generator):
    image, reference = pair(generator, 2, 2, 9, 10)
    loss = PartsSSIMLoss()
    assert torch.autograd.gradcheck(lambda one: of(loss, one, reference), (image.clone().requires_grad_(),))
    assert float(of(loss, reference, reference)) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(of(loss, 3 * image, reference), of(loss, image, reference), rtol=1e-4, atol=1e-5)
    assert of(loss, reference * 1j, reference) > 0.5
    alone = [of(loss, image[i : i + 1], reference[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(of(loss, image, reference), sum(alone) / 2)


@pytest.mark.parametrize("window", WINDOWS)
def test_gradients_are_right_and_phase_does_not_count(window, generator):
    image, reference = pair(generator, 2, 1, 12, 11)
    loss = SSIMLoss(window)
    assert torch.autograd.gradcheck(lambda one: of(loss, one, reference), (image.clone().requires_grad_(),))
    phase = torch.polar(torch.ones(12, 11, dtype=torch.float64), torch.linspace(0, 6, 11, dtype=torch.float64))
    assert float(of(loss, reference * phase, reference)) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(of(loss, image * phase, reference), of(loss, image, reference))


def test_a_batch_is_the_mean_of_its_series(generator):
    image, reference = pair(generator, 3, 2, 9, 10)
    gains = torch.tensor([1.0, 40.0, 1e-3]).view(3, 1, 1, 1)
    image, reference = gains * image, gains * reference
    alone = [of(SSIMLoss(), image[i : i + 1], reference[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(of(SSIMLoss(), image, reference), sum(alone) / 3)


def test_the_range_is_that_of_the_series_not_of_the_frame(generator):
    """A bright frame makes the constants larger for the dark ones, and the loss of these smaller."""
    image, reference = pair(generator, 1, 2, 12, 12)
    bright = torch.tensor([1.0, 50.0]).view(1, 2, 1, 1)
    alone = of(SSIMLoss(), image[:, :1], reference[:, :1])
    both = 2 * of(SSIMLoss(), image * bright, reference * bright) - of(SSIMLoss(), image[:, 1:], reference[:, 1:])
    assert float(both) < 0.8 * float(alone)


def test_empty_and_perfect_images_have_a_finite_loss_and_gradient(generator):
    _, reference = pair(generator, 1, 2, 9, 9)
    empty = torch.zeros_like(reference)
    for image, wanted in ((reference, reference), (empty, reference), (reference, empty), (empty, empty)):
        image = image.clone().requires_grad_()
        loss = of(SSIMLoss(), image, wanted)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())


@pytest.mark.parametrize("broken", [0, 1])
def test_nan_is_not_hidden(broken, generator):
    pictures = pair(generator, 1, 1, 9, 9)
    pictures[broken][0, 0, 4, 4] = complex("nan")
    assert bool(torch.isnan(of(SSIMLoss(), *pictures)))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"window": "hann"}, "window: got 'hann', want one of uniform, gaussian"),
        ({"window": 7}, "window: got 7, want one of uniform, gaussian"),
        ({"region": "lung"}, "region: got 'lung', want one of whole, heart"),
        ({"unit": "scale"}, "unit: got 'scale', want one of peak, range"),
        ({"range": 1}, "loss ssim: got range, want settings among window, region, unit"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        build("ssim", settings)


@pytest.mark.bad_input
@pytest.mark.parametrize(("window", "size"), [("uniform", 7), ("gaussian", 11)])
def test_what_does_not_fit_is_named(window, size, generator):
    image, reference = pair(generator, 1, 1, size - 1, size)
    with pytest.raises(ValueError, match=rf"got {size - 1} pixels along an axis, want at least the window's {size}"):
        of(SSIMLoss(window), image, reference)
    with pytest.raises(ValueError, match=r"reference: got shape"):
        of(SSIMLoss(window), image, reference[..., 1:])
