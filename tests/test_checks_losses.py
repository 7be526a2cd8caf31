"""The checks of chapter 8: right answers pass, each common mistake is named, and the package has the properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import checks
from cmr_course.acquisition import About, Acquisition, Reconstruction
from cmr_course.checks import losses
from cmr_course.features import COURSE_VGG, VGG, names
from cmr_course.image import sobel
from cmr_course.losses import EdgeLoss, magnitude_mse
from cmr_course.training.recognition import _random_weights
from tests.answers import assert_no_answer_is_said_in_words


@pytest.mark.parametrize("name", ["safest_image", "edge_share", "is_affine"])
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(name):
    assert_no_answer_is_said_in_words(getattr(checks, f"check_{name}"))


# ------------------------------------------------------------------------------------------------ the safest image


def safest(candidates, probabilities):
    return (probabilities[:, None, None] * candidates).sum(0)


def by_descent(candidates, probabilities):
    """Not the formula: gradient descent on the pixels."""
    x = torch.zeros_like(candidates[0], requires_grad=True)
    optimiser = torch.optim.SGD([x], lr=0.4)
    for _ in range(60):
        optimiser.zero_grad()
        (probabilities[:, None, None] * (x - candidates).square()).sum().backward()
        optimiser.step()
    return x.detach()


@pytest.mark.parametrize("function", [safest, by_descent])
def test_right_images_pass(function, capsys):
    checks.check_safest_image(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda c, p: c.mean(0), "counts every image alike"),
        (lambda c, p: c.median(0).values, "median|counts every image alike"),
        (lambda c, p: c[p.argmax()], "most probable image"),
        (lambda c, p: safest(c, p) / len(c), "divides by the number"),
        (lambda c, p: c.amax(0), "set its derivative to zero"),
        (lambda c, p: c, "returned shape"),
        (lambda c, p: safest(c, p) / 0, "NaN or infinity"),
        (lambda c, p: safest(c, p).tolist(), "returned a list"),
        (lambda c, p: c.mul_(p[:, None, None]).sum(0), "in place"),
    ],
)
def test_each_wrong_image_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_safest_image(function)


# ------------------------------------------------------------------------------------------ the share of the edges


def share(beta, gain):
    return beta * 0.375 * gain**2 / (1 - beta + beta * 0.375 * gain**2)


def test_the_right_share_passes_and_each_wrong_one_is_named(capsys):
    checks.check_edge_share(share)
    assert capsys.readouterr().out.startswith("✓ ")
    for function, says in (
        (lambda beta, gain: beta, "unit size"),
        (lambda beta, gain: share(beta, gain**0.5), "gain once"),
        (lambda beta, gain: share(beta, gain / 2**0.5), "one of the two"),
        (lambda beta, gain: beta * gain**2 / (1 - beta + beta * gain**2), "white noise"),
        (lambda beta, gain: share(beta, 1.0), "forgets the gain"),
        (lambda beta, gain: 1 - share(beta, gain), "share of the pixels"),
        (lambda beta, gain: 0.3, "which part of the sum"),
        (lambda beta, gain: float("nan"), "finite"),
    ):
        with pytest.raises(checks.CheckError, match=says):
            checks.check_edge_share(function)


def test_what_sobel_keeps_of_white_noise_is_what_the_check_says():
    """Not the taps but noise: the operator of the package on a large image of it."""
    noise = torch.randn(600, 600, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    energy = sum(edges.square().mean() for edges in sobel(noise))
    assert float(energy) == pytest.approx(losses.PER_PIXEL, rel=0.02)


@given(beta=st.floats(0.01, 0.99), gain=st.floats(0.1, 20))
def test_the_share_is_that_of_the_packages_loss(beta, gain):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(1, 1, 48, 48, dtype=torch.float64, generator=generator)
    reference = torch.full_like(noise, 50.0).to(torch.complex128)
    result = Reconstruction(reference + noise)
    acquisition = Acquisition.fully_sampled(reference[:, :, None], About())
    acquisition = Acquisition(acquisition.kspace, acquisition.mask, acquisition.acs)  # no scale
    whole = EdgeLoss(alpha=beta, gain=gain)(result, reference, acquisition)
    pixels = (1 - beta) * magnitude_mse(result, reference, acquisition)
    assert float(1 - pixels / whole) == pytest.approx(share(beta, gain), abs=0.03)


# -------------------------------------------------------------------------------------------------- affine or not


def affine(mapping, images):
    a, b = images
    left, right = mapping(a) + mapping(b) - mapping(a + b), mapping(torch.zeros_like(a))
    return torch.allclose(left, right, rtol=0, atol=1e-9)


def kind(mapping, images):
    """As torch.allclose is by itself: an offset hides a bend that is a hundred thousand times smaller."""
    a, b = images
    return torch.allclose(mapping(a) + mapping(b) - mapping(a + b), mapping(torch.zeros_like(a)))


def test_a_right_test_of_affine_maps_passes(capsys):
    checks.check_is_affine(affine)
    checks.check_is_affine(lambda mapping, images: torch.tensor(affine(mapping, images)))
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda mapping, images: torch.allclose(mapping(images[0]) * 2, mapping(2 * images[0])), "offset is allowed"),
        (lambda mapping, images: True, "calls a filter with a rectifier affine"),
        (kind, "a constant and a very small square affine"),
        (lambda mapping, images: False, "calls a filter bent"),
        (
            lambda mapping, images: bool((mapping(images[0]) + mapping(images[1])).shape == images[0].shape),
            "rectifier affine",
        ),
        (lambda mapping, images: "yes", "want True or False"),
        (lambda mapping, images: mapping(images[0]) == images[0], "want True or False"),
    ],
)
def test_each_wrong_test_of_affine_maps_is_named(function, says):
    with pytest.raises(checks.CheckError, match=says):
        checks.check_is_affine(function)


def test_a_vgg_is_bent_and_its_convolutions_alone_are_not():
    """The claim of the chapter, whatever the weights: the first convolution of each stage, one after the other."""
    weights = {name: value.double() for name, value in _random_weights().items()}
    network = VGG(COURSE_VGG, weights, ["relu2_2"])
    chain = [VGG(COURSE_VGG, weights, [f"conv{stage}_1"]).convolutions[f"conv{stage}_1"] for stage in (1, 2, 3, 4)]
    assert names(COURSE_VGG)["conv1_1"] == 0

    def linear(image):
        values = image.expand(1, 3, *image.shape)
        for convolution in chain:
            values = convolution(values) + 0.1
        return values

    images = torch.rand(2, 12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert affine(linear, images)
    assert not affine(lambda image: network(image[None, None])["relu2_2"], images)
