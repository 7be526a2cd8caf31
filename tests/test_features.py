"""VGG features are those of the network they are named after, and the weights come from the file or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cmr_course.features import (
    DEVIATION,
    MEAN,
    VGG,
    VGG16,
    VGG19,
    l2_pool,
    load_vgg,
    names,
    read_tensors,
    weights_folder,
)

SMALL = ((4, 5), (6,), (7, 3))
ALL = ("conv1_1", "relu1_1", "relu1_2", "conv2_1", "relu2_1", "relu3_1", "conv3_2", "relu3_2")


def drawn(layout: tuple[tuple[int, ...], ...], dtype: torch.dtype = torch.float64, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights, channels = {}, 3
    for index, width in zip(names(layout).values(), (w for stage in layout for w in stage), strict=True):
        weights[f"features.{index}.weight"] = 0.3 * torch.randn(width, channels, 3, 3, dtype=dtype, generator=generator)
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(width, dtype=dtype, generator=generator)
        channels = width
    return weights


def images(*shape: int, seed: int = 2) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(layout: tuple[tuple[int, ...], ...], weights: dict[str, Tensor], pooling: nn.Module) -> nn.Sequential:
    """The network in one line, as torchvision lays it out."""
    modules: list[nn.Module] = []
    channels = 3
    for stage in layout:
        for width in stage:
            modules += [nn.Conv2d(channels, width, 3, padding=1, dtype=torch.float64), nn.ReLU()]
            channels = width
        modules.append(pooling)
    network = nn.Sequential(*modules)
    network.load_state_dict({key.removeprefix("features."): value for key, value in weights.items()}, strict=True)
    return network


class L2(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return l2_pool(values)


def test_convolutions_have_torchvisions_indices():
    assert tuple(names(VGG16).values()) == (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    assert tuple(names(VGG19).values()) == (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
    assert [names(VGG19)[f"conv{stage}_1"] for stage in range(1, 6)] == [0, 5, 10, 19, 28]
    assert list(names(VGG16))[-1] == "conv5_3"
    assert (sum(map(sum, VGG16)), sum(map(sum, VGG19))) == (4224, 5504)


@pytest.mark.parametrize(("pooling", "module"), [("max", nn.MaxPool2d(2)), ("l2", L2())])
def test_taps_are_the_layers_of_the_plain_network(pooling, module):
    weights = drawn(SMALL)
    network = VGG(SMALL, weights, ALL, pooling=pooling)
    x = images(2, 3, 13, 10)
    got = network(x)
    assert tuple(got) == ALL
    mean, deviation = (torch.tensor(v, dtype=torch.float32).double().view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    values = (x - mean) / deviation
    wanted, places = {}, {index: name for name, index in names(SMALL).items()}
    for index, layer in enumerate(plain(SMALL, weights, module)):
        values = layer(values)
        if index in places:
            wanted[places[index]] = values
        if index - 1 in places:
            wanted[places[index - 1].replace("conv", "relu")] = values
    for tap in ALL:
        torch.testing.assert_close(got[tap], wanted[tap], rtol=1e-13, atol=1e-13)


def test_only_what_the_taps_need_is_built_and_none_of_it_learns():
    network = VGG(SMALL, drawn(SMALL), ["relu2_1"])
    assert list(network.convolutions) == ["conv1_1", "conv1_2", "conv2_1"]
    assert not any(parameter.requires_grad for parameter in network.parameters())
    x = images(1, 3, 8, 8).requires_grad_()
    network(x)["relu2_1"].sum().backward()
    assert (x.grad != 0).any()


def test_nothing_random_is_drawn_and_the_weights_are_copies():
    weights = drawn(SMALL)
    before = torch.get_rng_state()
    network = VGG(SMALL, weights, ALL)
    x = images(1, 3, 8, 8)
    first = network(x)["relu3_2"]
    weights["features.0.weight"].zero_()
    assert torch.equal(network(x)["relu3_2"], first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_mean_colour_of_imagenet_gives_the_bias_up_to_the_border():
    weights = drawn(SMALL, torch.float32)
    x = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 6, 7)
    got = VGG(SMALL, weights, ["conv1_1"])(x)["conv1_1"]
    assert torch.equal(got, weights["features.0.bias"].view(1, -1, 1, 1).expand_as(got))


@pytest.mark.parametrize("pooling", ["max", "l2"])
def test_one_channel_counts_as_three_equal_ones(pooling):
    network = VGG(SMALL, drawn(SMALL), ["relu3_2"], pooling=pooling)
    grey = images(2, 1, 12, 9).requires_grad_()
    three = grey.detach().expand(-1, 3, -1, -1).clone().requires_grad_()
    a, b = network(grey)["relu3_2"], network(three)["relu3_2"]
    assert torch.equal(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(grey.grad, three.grad.sum(1, keepdim=True))


def test_one_network_changes_its_precision_and_back():
    network = VGG(SMALL, drawn(SMALL, torch.float32), ["relu3_2"], pooling="l2")
    x = images(1, 3, 12, 12)
    single = network(x.float())["relu3_2"]
    double = network.double()(x)["relu3_2"]
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)
    assert torch.equal(network.float()(x.float())["relu3_2"], single)


@given(y=st.integers(1, 9), x=st.integers(1, 9), seed=st.integers(0, 99))
def test_l2_pooling_is_the_root_of_the_weighed_mean_of_squares(y, x, seed):
    values = images(2, 3, y, x, seed=seed) - 0.5
    squares = np.pad(values.numpy() ** 2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    hann = np.outer([1, 2, 1], [1, 2, 1]) / 16
    wanted = np.zeros((2, 3, -(-y // 2), -(-x // 2)))
    for i in range(wanted.shape[2]):
        for j in range(wanted.shape[3]):
            window = squares[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            wanted[:, :, i, j] = np.sqrt((window * hann[: window.shape[2], : window.shape[3]]).sum((2, 3)) + 1e-12)
    np.testing.assert_allclose(l2_pool(values).numpy(), wanted, rtol=1e-12)


def test_l2_pooling_keeps_a_constant_inside_and_darkens_the_border():
    pooled = l2_pool(torch.full((1, 1, 9, 9), 2.0, dtype=torch.float64))[0, 0]
    assert pooled[1:-1, 1:-1].sub(2).abs().max() < 1e-12
    assert float(pooled[0, 2]) == pytest.approx(2 * 0.75**0.5)
    assert float(pooled[0, 0]) == pytest.approx(2 * 0.75)
    assert torch.isfinite(torch.func.grad(lambda v: l2_pool(v).sum())(torch.zeros(1, 1, 4, 4))).all()


def test_a_file_of_torchvision_is_read_and_its_classifier_left_aside(tmp_path):
    weights = drawn(SMALL, torch.float32)
    torch.save({**weights, "classifier.0.weight": torch.zeros(3, 3)}, tmp_path / "vgg.pth")
    loaded = load_vgg(tmp_path / "vgg.pth", SMALL, ["relu3_2"], pooling="l2")
    x = images(1, 3, 12, 12).float()
    assert torch.equal(loaded(x)["relu3_2"], VGG(SMALL, weights, ["relu3_2"], pooling="l2")(x)["relu3_2"])


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in drawn(SMALL).items() if name != key}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("features.2.bias"), r"vgg\.pth: lacks features\.2\.bias, want the 10 tensors"),
        ({}, r"vgg\.pth: lacks features\.0\.weight, features\.0\.bias, features\.2\.weight and 7 more"),
        ({**drawn(SMALL), "features.12.weight": torch.ones(1)}, r"got features\.12\.weight as well"),
        (
            {**drawn(SMALL), "features.0.weight": torch.ones(4, 1, 3, 3)},
            r"vgg\.pth: got features\.0\.weight of Tensor of torch\.float32, shape \(4, 1, 3, 3\), want",
        ),
        ([torch.ones(1)], r"vgg\.pth: got list, want tensors by name"),
        ({"features.0.weight": 3}, r"vgg\.pth: got dict, want tensors by name"),
    ],
)
def test_a_file_with_other_weights_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=message):
        load_vgg(tmp_path / "vgg.pth", SMALL, ["relu1_1"])


class Trap:
    """What a hostile file would hold: its loading calls a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("sprung",)


@pytest.mark.bad_input
def test_a_file_that_is_no_tensors_is_refused_and_its_code_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "text.pth").write_text("not a file of torch")
    (tmp_path / "empty.pth").touch()
    torch.save(drawn(SMALL), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:500])
    for name in ("trap", "text", "empty", "cut"):
        with pytest.raises(ValueError, match=rf"{name}\.pth: cannot be read as tensors"):
            read_tensors(tmp_path / f"{name}.pth")
    assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth: no such file"):
        read_tensors(tmp_path / "nowhere.pth")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taps": ["relu6_1"]}, "taps: got relu6_1, want some of conv1_1, relu1_1 to relu3_2"),
        ({"taps": []}, "taps: got none"),
        ({"pooling": "average"}, "pooling: got 'average', want one of max, l2"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGG(**{"layout": SMALL, "weights": drawn(SMALL), "taps": ["relu1_1"], **arguments})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (images(1, 2, 8, 8), r"images: got Tensor of torch\.float64, shape \(1, 2, 8, 8\), want \(image, 1 or 3"),
        (images(3, 8, 8), r"images: got .*, want \(image, 1 or 3 channels, y, x\)"),
        (images(1, 3, 8, 8).float(), r"images: got torch\.float32, want the weights' torch\.float64"),
        (images(1, 3, 8, 3), r"images: got \(8, 3\) pixels, want at least 4 along each axis"),
    ],
)
def test_images_that_do_not_fit_are_named(x, message):
    with pytest.raises(ValueError, match=message):
        VGG(SMALL, drawn(SMALL), ["relu3_1"])(x)


def test_weights_lie_where_the_caller_or_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("CMR_COURSE_WEIGHTS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert weights_folder() == Path.home() / ".cache" / "cmr_course"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "cmr_course"
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path / "weights"))
    assert weights_folder() == tmp_path / "weights"
    assert weights_folder(tmp_path) == tmp_path
