"""DISTS is the paper's formula on the weights it is given, and has no value without the published ones.

The weights here are drawn, so that no test says anything about what people see.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cmr_course.features import VGG, VGG16, VGG16_FILE, names
from cmr_course.metrics.dists import CHANNELS, DISTS, TAPS, WEIGHTS_FILE, load_dists, resized

COUNT = sum(CHANNELS)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    found, channels = {}, 3
    for index, width in zip(names(VGG16).values(), (w for stage in VGG16 for w in stage), strict=True):
        spread = (2 / (9 * channels)) ** 0.5
        found[f"features.{index}.weight"] = spread * torch.randn(width, channels, 3, 3, generator=generator)
        found[f"features.{index}.bias"] = 0.01 * torch.randn(width, generator=generator)
        channels = width
    return found


@pytest.fixture(scope="module")
def balance() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    alpha, beta = torch.rand(2, 1, COUNT, 1, 1, generator=generator)
    return alpha, beta


def build(weights: dict[str, Tensor], balance: tuple[Tensor, Tensor], **options: int) -> DISTS:
    return DISTS(VGG(VGG16, weights, TAPS, pooling="l2"), *balance, **options)


@pytest.fixture(scope="module")
def single(weights, balance) -> DISTS:
    return build(weights, balance)


@pytest.fixture(scope="module")
def double(weights, balance) -> DISTS:
    return DISTS(VGG(VGG16, weights, TAPS, pooling="l2").double(), *balance)


def pair(shape: tuple[int, ...], seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, generator=generator)
    return reference + 0.1 * torch.randn(shape, generator=generator), reference


def test_a_distance_is_the_papers_formula(double, balance):
    x, y = (image.double() for image in pair((2, 3, 21, 18)))
    wanted = torch.ones(2, dtype=torch.float64)
    total = sum(weights.double().sum() for weights in balance)
    layers = [{"image": image, **double.features(image)} for image in (x, y)]
    first = 0
    for name, channels in zip(("image", *TAPS), CHANNELS, strict=True):
        a, b = (layer[name].flatten(2) for layer in layers)
        both = slice(first, first + channels)
        alpha, beta = (weights.flatten()[both].double() / total for weights in balance)
        means = (2 * a.mean(2) * b.mean(2) + 1e-6) / (a.mean(2) ** 2 + b.mean(2) ** 2 + 1e-6)
        covariance = (a * b).mean(2) - a.mean(2) * b.mean(2)
        varies = (2 * covariance + 1e-6) / (a.var(2, correction=0) + b.var(2, correction=0) + 1e-6)
        wanted -= (alpha * means + beta * varies).sum(1)
        first += channels
    torch.testing.assert_close(double.distances(x, y), wanted, rtol=1e-10, atol=0)


def test_layers_are_those_of_the_paper(double):
    shapes = [
        tuple(means.shape) for means, _ in double.similarities(*(image.double() for image in pair((1, 3, 17, 17))))
    ]
    assert shapes == [(1, channels) for channels in CHANNELS]
    assert {name: tuple(f.shape[2:]) for name, f in double.features(torch.zeros(1, 3, 33, 57).double()).items()} == {
        "relu1_2": (33, 57),
        "relu2_2": (17, 29),
        "relu3_3": (9, 15),
        "relu4_3": (5, 8),
        "relu5_3": (3, 4),
    }


def test_identical_is_zero_and_the_order_does_not_matter(single, double):
    prediction, reference = pair((1, 2, 20, 24))
    assert single(reference, reference).abs().max() < 1e-6
    assert double(reference, reference).abs().max() < 1e-14
    x, y = prediction[0, :, None].double(), reference[0, :, None].double()
    torch.testing.assert_close(double.distances(x, y), double.distances(y, x))
    assert (double.distances(x, y) > 1e-3).all()


def test_only_the_ratio_of_the_weights_counts(weights, balance, double):
    x, y = (image.double() for image in pair((1, 1, 18, 18)))
    alpha, beta = balance
    features = double.features
    torch.testing.assert_close(DISTS(features, 7 * alpha, 7 * beta).distances(x, y), double.distances(x, y))
    torch.testing.assert_close(DISTS(features, alpha.flatten(), beta.flatten()).distances(x, y), double.distances(x, y))
    assert float(double.alpha.sum() + double.beta.sum()) == pytest.approx(1)
    zero = torch.zeros_like(alpha)
    means, varies = (DISTS(features, *weights).distances(x, y) for weights in ((alpha, zero), (zero, beta)))
    share = alpha.double().sum() / (alpha.double().sum() + beta.double().sum())
    torch.testing.assert_close(share * means + (1 - share) * varies, double.distances(x, y))
    assert not torch.allclose(DISTS(features, beta, alpha).distances(x, y), double.distances(x, y))


def test_the_maximum_of_the_reference_series_becomes_one_and_nothing_is_clamped(single):
    prediction, reference = pair((2, 2, 18, 18))
    reference[1] *= 900
    prediction[1] *= 900
    got = single(prediction, reference)
    assert got.shape == (2, 2)
    for item in range(2):
        peak = reference[item].max()
        alone = single.distances(prediction[item, :, None] / peak, reference[item, :, None] / peak)
        torch.testing.assert_close(got[item], alone, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(single(3.7e-4 * prediction, 3.7e-4 * reference), got, rtol=1e-4, atol=1e-6)
    assert (single(1.2 * reference, reference) > 1e-4).all()  # a wrong gain is seen
    assert (single(-reference, reference) > 0.1).all()
    assert single.distances(reference[1:, :1], reference[1:, :1]).abs().max() < 1e-5  # nor from 0 to 1


def test_images_pass_a_few_at_a_time_and_that_changes_nothing(weights, balance, single):
    prediction, reference = pair((1, 5, 17, 17))
    sizes: list[int] = []
    chunked = build(weights, balance, chunk=2)
    chunked.features.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[0]))
    torch.testing.assert_close(chunked(prediction, reference), single(prediction, reference), rtol=1e-5, atol=1e-7)
    assert sizes == [2, 2, 2, 2, 1, 1]


def test_one_instance_changes_its_precision_and_back(weights, balance):
    model = build(weights, balance)
    prediction, reference = pair((1, 1, 18, 18))
    first = model(prediction, reference)
    again = model.double()(prediction, reference)
    assert (first.dtype, again.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(first.double(), again, rtol=0, atol=1e-6)
    assert torch.equal(model.float()(prediction, reference), first)


def test_the_gradient_is_the_slope_of_the_distance(double):
    prediction, reference = (image.double() for image in pair((1, 1, 17, 18)))
    prediction.requires_grad_()
    (slope,) = torch.autograd.grad(double(prediction, reference).sum(), prediction)
    along = torch.randn(slope.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    step = 1e-6
    with torch.no_grad():
        ahead, behind = (double(prediction + sign * step * along, reference).sum() for sign in (1, -1))
    assert float((slope * along).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)
    assert not any(parameter.requires_grad for parameter in double.parameters())


def test_images_above_256_pixels_are_made_smaller_and_others_left_alone():
    large = torch.rand(1, 1, 260, 300, generator=torch.Generator().manual_seed(5))
    assert resized(large).shape == (1, 1, 256, 295)
    assert resized(large[..., :256]).shape == (1, 1, 260, 256)
    assert resized(large[..., :256]).data_ptr() == large.data_ptr()
    ramp = torch.arange(600, dtype=torch.float64).expand(1, 1, 512, 600)
    torch.testing.assert_close(resized(ramp)[0, 0, 7], 2 * torch.arange(300, dtype=torch.float64) + 0.5)


def test_published_weights_are_read_from_their_files(tmp_path, monkeypatch, weights, balance, single):
    torch.save({**weights, "classifier.6.bias": torch.zeros(3)}, tmp_path / VGG16_FILE)
    torch.save({"alpha": torch.nn.Parameter(balance[0]), "beta": balance[1]}, tmp_path / WEIGHTS_FILE)
    prediction, reference = pair((1, 1, 17, 17))
    assert torch.equal(load_dists(tmp_path)(prediction, reference), single(prediction, reference))
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path))
    assert torch.equal(load_dists(chunk=1)(prediction, reference), single(prediction, reference))


def test_without_the_files_there_is_no_number_but_the_command_that_fetches_them(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere: lacks vgg16-397923af\.pth and dists_weights\.pt") as refused:
        load_dists()
    assert "`cmr-course fetch dists` puts them there" in str(refused.value)
    torch.save(weights, tmp_path / VGG16_FILE)
    with pytest.raises(
        FileNotFoundError, match=r"lacks dists_weights\.pt, without which DISTS has no value"
    ) as refused:
        load_dists(tmp_path)
    assert f"`cmr-course fetch dists --to {tmp_path}`" in str(refused.value)
    with pytest.raises(TypeError):
        DISTS()  # type: ignore[call-arg]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"alpha": torch.ones(1, COUNT, 1, 1)}, r"dists_weights\.pt: got \['alpha'\], want tensors alpha and beta"),
        ({"alpha": torch.ones(COUNT - 3), "beta": torch.ones(COUNT)}, "alpha: got .*, want 1475 real weights"),
        ({"alpha": torch.ones(COUNT), "beta": torch.full((COUNT,), torch.nan)}, "beta: got NaN or infinity"),
        ({"alpha": torch.zeros(COUNT), "beta": torch.zeros(COUNT)}, "alpha, beta: got the sum 0, want it above zero"),
    ],
)
def test_a_file_of_other_weights_is_refused(tmp_path, weights, content, message):
    torch.save(weights, tmp_path / VGG16_FILE)
    torch.save(content, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ValueError, match=message):
        load_dists(tmp_path)


SERIES = torch.rand(1, 2, 17, 17, generator=torch.Generator().manual_seed(6))
NAN = SERIES.clone()
NAN[0, 0, 0, 0] = torch.nan


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (NAN, SERIES, "prediction: got 1 values that are NaN"),
        (SERIES[:, :1], SERIES, "prediction: got shape"),
        (SERIES, torch.zeros_like(SERIES), "reference: got 1 series whose maximum is not above zero"),
        (SERIES[..., :16], SERIES[..., :16], r"x: got \(17, 16\) pixels, want at least 17 along each axis"),
    ],
)
def test_bad_series_are_named(single, prediction, reference, message):
    with pytest.raises(ValueError, match=message):
        single(prediction, reference)


@pytest.mark.bad_input
def test_other_networks_and_images_are_refused(weights, balance, single):
    with pytest.raises(ValueError, match="features: got another network, want a VGG with L2 pooling"):
        DISTS(VGG(VGG16, weights, TAPS), *balance)
    with pytest.raises(ValueError, match="features: got another network"):
        DISTS(VGG(VGG16, weights, TAPS[:4], pooling="l2"), *balance)
    with pytest.raises(ValueError, match="chunk: got 0"):
        build(weights, balance, chunk=0)
    with pytest.raises(ValueError, match=r"x: got .*, want real images"):
        single.distances(torch.rand(1, 2, 20, 20), torch.rand(1, 2, 20, 20))
    with pytest.raises(ValueError, match="x: got shape"):
        single.distances(torch.rand(1, 3, 20, 20), torch.rand(1, 1, 20, 20))
