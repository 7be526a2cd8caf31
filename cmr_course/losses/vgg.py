"""Distances of VGG features, HyperCMR's perceptual term (arXiv:2410.03624): as its paper and as its code has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.features import (
    VGG,
    VGG16,
    VGG16_FILE,
    VGG19,
    Layout,
    load_course_vgg,
    load_vgg,
    read_tensors,
    require_weights,
    weights_folder,
)
from cmr_course.losses.looks import Look, Magnitude
from cmr_course.losses.units import Image
from cmr_course.validate import require, say

VGG19_FILE = "vgg19-dcbb9e9d.pth"
"""torchvision's name of its VGG-19 weights (IMAGENET1K_V1); the digits begin the file's SHA-256."""
FILES: Mapping[str, tuple[str, Layout]] = {"vgg16": (VGG16_FILE, VGG16), "vgg19": (VGG19_FILE, VGG19)}
NETWORKS = ("course", *FILES)
CHAIN = (0, 5, 10, 19, 28)
"""The convolutions of VGG-19 that HyperCMR's code takes: the first of each stage, by torchvision's index."""


class VGGLoss(nn.Module):
    """Σ over taps of ‖F(x) − F(r)‖², means over features: the paper's VGG term (section 3.2).

    features: the network F. ``course`` is the small VGG that the course has trained on its own simulator; ``vgg16``
    and ``vgg19`` were trained on photographs, and ``cmr-course fetch`` puts them into the user's cache
    (FileNotFoundError where they are not there). All with ReLU, pooling and the normalisation they were trained with.
    taps: layers; none given, the first ReLU of each stage (the paper does not say which layers; its code takes the
    first convolution of each stage). region, unit, heart: see :class:`cmr_course.losses.looks.Look`.
    """

    def __init__(
        self,
        features: str = "course",
        taps: Sequence[str] | None = None,
        region: str = "whole",
        unit: str = "peak",
        heart: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        known = isinstance(features, str) and features in NETWORKS
        require(known, f"features: got {say(features)}, want one of {', '.join(NETWORKS)}")
        require(not isinstance(taps, str), f"taps: got {say(taps)}, want a list of layers, such as [{taps}]")
        self.named, self.look = features, Look(region, unit, heart)
        stages = 4 if features == "course" else 5
        taps = [f"relu{stage}_1" for stage in range(1, stages + 1)] if taps is None else taps
        self.features = load_features(features, taps)

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        return self.distance(*self.look(reconstruction.image, reference, acquisition))

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """The loss of magnitudes as they are; the gradient goes into `output` only."""
        found, wanted = both(self.features, self.features.mean.dtype, output, truth)
        return torch.stack([(found[tap] - wanted[tap]).square().mean() for tap in wanted]).sum()

    def extra_repr(self) -> str:
        """The settings."""
        taps = ", ".join(self.features.taps)
        return f"features of {self.named}, taps={taps}, {self.look}"


class VGGChainLoss(nn.Module):
    """Σ of ‖C_n(x) − C_n(r)‖², means, where C_n is the n-th of five convolutions of VGG-19 applied one after the other.

    HyperCMR's released code takes the first convolution of each stage out of VGG-19 and applies each to what the one
    before it gives, without the layers between them: no ReLU, no pooling, and without ImageNet's normalisation. The
    chain is affine: it is no perceptual loss but a weighted squared error over neighbourhoods of 11 × 11 pixels.
    Its file ``vgg19-dcbb9e9d.pth`` is put into the user's cache by ``cmr-course fetch vgg19``; FileNotFoundError where
    it is not there: no other network takes its place. region, unit, heart: see :class:`cmr_course.losses.looks.Look`;
    the code has the heart, each image from 0 to 1.
    """

    def __init__(self, region: str = "heart", unit: str = "range", heart: Sequence[int] | None = None) -> None:
        super().__init__()
        self.look = Look(region, unit, heart)
        path = fetched("vgg19")
        tensors = read_tensors(path)
        require_weights(str(path), tensors, VGG19)
        for place, index in enumerate(CHAIN):
            self.register_buffer(f"weight{place}", tensors[f"features.{index}.weight"].contiguous(), persistent=False)
            self.register_buffer(f"bias{place}", tensors[f"features.{index}.bias"].contiguous(), persistent=False)

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        return self.distance(*self.look(reconstruction.image, reference, acquisition))

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """The loss of magnitudes as they are; the gradient goes into `output` only."""
        found, wanted = both(self.chain, self.get_buffer("bias0").dtype, output, truth)
        return torch.stack([(found[name] - wanted[name]).square().mean() for name in wanted]).sum()

    def chain(self, images: Float[Tensor, "image 1 y x"]) -> dict[str, Float[Tensor, "image _ y x"]]:
        """What each convolution gives, by its name in torchvision."""
        values = images.expand(-1, 3, -1, -1)
        found: dict[str, Tensor] = {}
        for place, index in enumerate(CHAIN):
            weight, bias = self.get_buffer(f"weight{place}"), self.get_buffer(f"bias{place}")
            found[f"features.{index}"] = values = conv2d(values, weight, bias, padding=1)
        return found

    def extra_repr(self) -> str:
        """The settings."""
        return f"VGG-19 layers {', '.join(map(str, CHAIN))}, {self.look}"


def both(
    features: Callable[[Tensor], Mapping[str, Tensor]], dtype: torch.dtype, output: Magnitude, truth: Magnitude
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """`features` of both, every frame an image of one channel, in the precision `dtype` of the network."""
    shape = (-1, 1, *truth.shape[-2:])
    with torch.no_grad():
        wanted = features(truth.to(dtype).reshape(shape))
    return features(output.to(dtype).reshape(shape)), wanted


def load_features(name: str, taps: Sequence[str]) -> VGG:
    """The network called `name`, one of :data:`NETWORKS`."""
    return load_course_vgg(taps) if name == "course" else load_vgg(fetched(name), FILES[name][1], taps)


def fetched(name: str) -> Path:
    """The file of weights that ``cmr-course fetch`` has put into the user's cache, which must be there."""
    path = weights_folder() / FILES[name][0]
    if not path.is_file():
        network = f"{name[:3].upper()}-{name[3:]}"
        told = f"{path}: no such file, without which {network} has no features; `cmr-course fetch {name}` puts it there"
        raise FileNotFoundError(f"{told} (features: course takes the small VGG that the course trained instead)")
    return path
