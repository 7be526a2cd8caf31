"""VGG losses: the paper's features, and the released chain of convolutions, which is affine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d

from cmr_course import features
from cmr_course.features import COURSE_VGG, VGG, VGG16_FILE, VGG19
from cmr_course.losses import PerceptualLoss, VGGChainLoss, VGGLoss, build
from cmr_course.losses.vgg import CHAIN, VGG19_FILE
from tests.test_losses_magnitude import drawn_weights
from tests.test_losses_similarity import of, pair


@pytest.fixture(scope="module")
def course_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("features") / "course_vgg.safetensors"
    save_file({name: value.contiguous() for name, value in drawn_weights(COURSE_VGG).items()}, path)
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A folder with a VGG-19 that nobody has trained."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(drawn_weights(VGG19, seed=3), folder / VGG19_FILE)
    return folder


@pytest.fixture(autouse=True)
def _course_features(course_file, tmp_path, monkeypatch) -> None:
    """Tests are of the loss, whatever the course's network has learned; and nobody's cache is read."""
    monkeypatch.setattr(features, "COURSE_VGG_FILE", course_file)
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path))


@pytest.fixture
def chain(photographs, monkeypatch) -> VGGChainLoss:
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(photographs))
    return VGGChainLoss()


def as_complex(magnitude: Tensor) -> Tensor:
    return torch.complex(magnitude, torch.zeros_like(magnitude))


# The paper's


def test_it_is_the_sum_over_taps_of_mean_squared_differences(generator):
    """Of the first ReLU of each stage, images divided by the largest value of their reference series."""
    image, reference = pair(generator, 2, 2, 16, 12)
    taps = [f"relu{stage}_1" for stage in (1, 2, 3, 4)]
    network = VGG(COURSE_VGG, {name: value.double() for name, value in drawn_weights(COURSE_VGG).items()}, taps)
    peak = reference.abs().amax((1, 2, 3), keepdim=True)
    x, r = (network((one.abs() / peak).reshape(-1, 1, 16, 12)) for one in (image, reference))
    wanted = sum(float((x[tap] - r[tap]).square().mean()) for tap in taps)
    assert float(of(VGGLoss().double(), image, reference)) == pytest.approx(wanted, rel=1e-12)
    perceptual = of(PerceptualLoss("course", 1.0, taps).double(), image, reference)
    assert float(perceptual) == pytest.approx(wanted / 4, rel=1e-12)  # Johnson's, as the course has it, is the mean


def test_gradients_are_right_and_go_into_the_output_only(generator):
    image, reference = pair(generator, 1, 1, 12, 11)
    loss = VGGLoss().double()
    image, reference = image.requires_grad_(), reference.requires_grad_()
    assert torch.autograd.gradcheck(lambda one: of(loss, one, reference.detach()), (image,), fast_mode=True)
    of(loss, image, reference).backward()
    assert bool(image.grad.any())
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_a_batch_is_the_mean_of_its_series(generator):
    image, reference = pair(generator, 2, 1, 24, 24)
    reference = reference * torch.tensor([1.0, 40.0]).view(2, 1, 1, 1)
    for loss in (VGGLoss(), VGGLoss(region="heart"), VGGLoss(unit="range")):
        loss = loss.double()
        alone = [of(loss, image[i : i + 1], reference[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(of(loss, image, reference), sum(alone) / 2)


def test_the_named_network_is_the_one_that_is_used(photographs, monkeypatch, generator):
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(photographs))
    loss = VGGLoss("vgg19")
    assert loss.features.taps == tuple(f"relu{stage}_1" for stage in (1, 2, 3, 4, 5))
    assert "features of vgg19" in repr(loss)
    assert "features of course, taps=relu1_1, relu2_1, relu3_1, relu4_1, region=whole, unit=peak" in repr(VGGLoss())
    image, reference = pair(generator, 1, 1, 16, 16)
    single = (one.to(torch.complex64) for one in (image, reference))
    assert bool(torch.isfinite(of(loss, *single)))


# The released chain


def test_the_chain_is_five_convolutions_one_after_the_other(chain, generator):
    """Of the heart, each image from 0 to 1, three equal channels, no ReLU, no pooling, no normalisation."""
    image, reference = (one.abs() for one in pair(generator, 2, 1, 24, 30))
    weights = drawn_weights(VGG19, seed=3)

    def outputs(images: Tensor) -> list[Tensor]:
        cut = images[..., 6:18, 10:20].float()
        low, high = (getattr(cut, name)((-2, -1), keepdim=True) for name in ("amin", "amax"))
        values = ((cut - low) / (high - low)).expand(-1, 3, -1, -1)
        found = []
        for index in (0, 5, 10, 19, 28):
            weight, bias = (weights[f"features.{index}.{part}"] for part in ("weight", "bias"))
            values = conv2d(values, weight.contiguous(), bias, padding=1)
            found.append(values)
        return found

    wanted = sum(float((x - r).square().mean()) for x, r in zip(outputs(image), outputs(reference), strict=True))
    assert float(of(chain, as_complex(image), as_complex(reference))) == pytest.approx(wanted, rel=1e-4)


def test_the_chain_sees_differences_only_and_of_any_sign_alike(chain, generator):
    """It is affine, so C(x) − C(r) depends on x − r alone: no feature is perceived. With ReLUs that is not so."""
    x, r, other = (torch.rand(1, 1, 10, 12, generator=generator) for _ in range(3))
    double = chain.double()
    x, r, other = (one.double() for one in (x, r, other))
    usual = double.distance(x, r)
    torch.testing.assert_close(double.distance(x + other, r + other), usual)
    torch.testing.assert_close(double.distance(r, x), usual)
    torch.testing.assert_close(double.distance(r + 3 * (x - r), r), 9 * usual)
    ours = VGGLoss().double()
    assert float(ours.distance(r + 3 * (x - r), r)) != pytest.approx(9 * float(ours.distance(x, r)), rel=1e-3)


def test_the_chain_is_blind_to_gain_and_offset_and_has_right_gradients(chain, generator):
    image, reference = pair(generator, 1, 1, 12, 15)
    double = chain.double()
    usual = of(double, image, reference)
    torch.testing.assert_close(of(double, as_complex(3 * image.abs() + 7), reference), usual)
    assert float(of(VGGLoss().double(), as_complex(3 * reference.abs() + 7), reference)) > 0.01
    leaf = image.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: of(double, one, reference), (leaf,), fast_mode=True)
    assert not list(chain.parameters())
    assert tuple(CHAIN) == (0, 5, 10, 19, 28)
    assert repr(chain) == "VGGChainLoss(VGG-19 layers 0, 5, 10, 19, 28, region=heart, unit=range)"


@pytest.mark.parametrize("broken", [0, 1])
def test_nan_is_not_hidden(broken, chain, generator):
    pictures = pair(generator, 1, 1, 24, 24)
    pictures[broken][0, 0, 12, 12] = complex("nan")
    for loss in (VGGLoss(), chain):
        assert bool(torch.isnan(of(loss, *pictures)))


def test_nothing_random_is_drawn(photographs, monkeypatch):
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(photographs))
    before = torch.get_rng_state()
    VGGLoss()
    VGGChainLoss()
    assert torch.equal(torch.get_rng_state(), before)


# Which file


@pytest.mark.parametrize(
    ("name", "settings", "file"),
    [
        ("vgg_chain", {}, VGG19_FILE),
        ("vgg", {"features": "vgg19"}, VGG19_FILE),
        ("vgg", {"features": "vgg16"}, VGG16_FILE),
    ],
)
def test_no_other_network_takes_the_place_of_a_missing_one(name, settings, file, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{file}: no such file.*`cmr-course fetch {file[:5]}`") as caught:
        build(name, settings)
    assert str(caught.value).startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bad_input
def test_damaged_and_wrong_weights_are_refused(tmp_path):
    torch.save(drawn_weights(COURSE_VGG), tmp_path / VGG19_FILE)
    with pytest.raises(ValueError, match=rf"{VGG19_FILE}: lacks features\."):
        VGGChainLoss()
    (tmp_path / VGG19_FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=rf"{VGG19_FILE}: cannot be read as tensors"):
        VGGChainLoss()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"features": "vgg11"}, "features: got 'vgg11', want one of course, vgg16, vgg19"),
        ({"features": None}, "features: got None"),
        ({"taps": "relu1_1"}, r"taps: got 'relu1_1', want a list of layers, such as \[relu1_1\]"),
        ({"taps": ["relu9_1"]}, "taps: got relu9_1"),
        ({"region": "mixed"}, "region: got 'mixed', want one of whole, heart"),
        ({"unit": 1}, "unit: got 1, want one of peak, range, scale"),
        ({"tap": []}, "loss vgg: got tap, want settings among features, taps"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        build("vgg", settings)


@pytest.mark.bad_input
def test_what_does_not_fit_is_named(generator):
    image, reference = pair(generator, 1, 1, 7, 12)
    with pytest.raises(ValueError, match=r"images: got \(7, 12\) pixels, want at least 8 along each axis"):
        of(VGGLoss().double(), image, reference)
    with pytest.raises(ValueError, match=r"reference: got shape"):
        of(VGGLoss(), image, reference[..., 1:])
