"""The Patch-GAN and the losses of its game: what a patch is, what the labels are, what normalising does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cmr_course.losses import taken_for_real, told_apart
from cmr_course.networks import PatchDiscriminator


def tiny(**changes) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(**{"filters": 4, "layers": 2} | changes)


def test_three_layers_are_the_published_patch_of_70_pixels():
    assert PatchDiscriminator(filters=2).patch == 70
    assert tiny(layers=1).patch == 16
    assert tiny(layers=2).patch == 34


@pytest.mark.parametrize("layers", [1, 2])
def test_a_logit_depends_on_its_patch_and_on_nothing_else(layers):
    """Without the normalisation over the image, which looks at all of it."""
    network = tiny(layers=layers, spectral=True).eval()
    image = torch.rand(1, 1, 80, 76, requires_grad=True)
    logits = network(image, torch.rand(1, 1, 80, 76))
    y, x = (n // 2 for n in logits.shape[-2:])
    (slope,) = torch.autograd.grad(logits[0, 0, y, x], image)
    for axis in (1, 2):
        touched = slope[0].abs().sum((0, 3 - axis)).nonzero()
        assert int(touched.max() - touched.min()) + 1 == network.patch


def test_it_sees_the_image_and_the_one_it_was_made_of():
    network = tiny()
    one, other = torch.rand(2, 1, 40, 40), torch.rand(2, 1, 40, 40)
    assert not torch.equal(network(one, other), network(other, one))
    assert network(one, other).shape[:2] == (2, 1)


def test_spectral_normalisation_makes_the_largest_singular_value_one():
    network = tiny(spectral=True)
    for _ in range(50):  # power iterations, one in each pass
        network(torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40))
    for layer in (one for one in network.modules() if isinstance(one, nn.Conv2d)):
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.02)


def test_every_parameter_of_it_gets_a_gradient_and_two_share_nothing():
    one, two = tiny(), tiny()
    real, fake, zero_filled = (torch.rand(1, 1, 40, 40) for _ in range(3))
    told_apart(one(real, zero_filled), one(fake, zero_filled)).backward()
    assert all(float(p.grad.abs().max()) > 1e-9 for p in one.parameters())
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in two.parameters()}


def test_the_labels_are_zero_for_real_and_one_for_fake():
    """Logits below zero say real, above zero fake."""
    real, fake = torch.full((1, 1, 2, 2), -9.0), torch.full((1, 1, 2, 2), 9.0)
    assert float(told_apart(real, fake)) < 1e-3
    assert float(told_apart(fake, real)) == pytest.approx(9, abs=1e-3)
    assert float(taken_for_real(fake)) == pytest.approx(9, abs=1e-3)
    assert float(taken_for_real(real)) < 1e-3
    guess = torch.zeros(1, 1, 2, 2)
    assert float(told_apart(guess, guess)) == pytest.approx(math.log(2))


def test_the_game_by_hand():
    real, fake = torch.tensor([[[[0.3, -1.2]]]]), torch.tensor([[[[0.5, 2.0]]]])
    of_real = sum(-math.log(1 - 1 / (1 + math.exp(-v))) for v in (0.3, -1.2)) / 2
    of_fake = sum(-math.log(1 / (1 + math.exp(-v))) for v in (0.5, 2.0)) / 2
    assert float(told_apart(real, fake)) == pytest.approx((of_real + of_fake) / 2, rel=1e-5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tiny(layers=0), "layers: got 0"),
        (lambda: tiny(filters=0), "filters: got 0"),
        (lambda: tiny(spectral=1), "spectral: got 1, want true or false"),
        (lambda: tiny()(torch.rand(1, 1, 33, 50), torch.rand(1, 1, 33, 50)), "got 33 x 50 pixels, want at least 34"),
        (lambda: tiny()(torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 44)), "zero_filled: got shape"),
        (lambda: tiny(frames=3)(torch.rand(1, 1, 40, 40), torch.rand(1, 1, 40, 40)), "image: got 1 frames, want 3"),
    ],
)
def test_bad_input_speaks(make, said):
    with pytest.raises(ValueError, match=said):
        make()
