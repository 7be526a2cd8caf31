"""Features of VGG-16, VGG-19 and the course's own small VGG, which perceptual losses and DISTS share.

Nothing here draws random weights and nothing downloads: the weights are read from a local file (``cmr-course fetch``
puts those of photographs there; the course's own come with it) or handed over.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d, relu
from torch.nn.utils import skip_init

from cmr_course.validate import require, say

Layout = tuple[tuple[int, ...], ...]

VGG16: Layout = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19: Layout = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))
"""Output channels of each 3 × 3 convolution, stage by stage (Simonyan & Zisserman 2015, arXiv:1409.1556, table 1,
columns D and E); the stages are separated by a pooling that halves the image."""

COURSE_VGG: Layout = ((16, 16), (32, 32), (64, 64, 64), (96, 96, 96))
"""The same with few channels and four stages, which the course trains on its simulator: see
``cmr_course.training.recognition``."""
COURSE_VGG_FILE = Path(__file__).parent / "weights" / "features" / "course_vgg.safetensors"
"""Its weights; the file of the same name that ends in ``.yaml`` says where they come from."""

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet's red, green and blue for intensities from 0 to 1: torchvision's weights were trained on
(image − mean)/deviation."""
DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""

VGG16_FILE = "vgg16-397923af.pth"
"""torchvision's name of its VGG-16 weights (IMAGENET1K_V1); the digits begin the file's SHA-256."""

POOLINGS = ("max", "l2")


def names(layout: Layout) -> dict[str, int]:
    """``conv1_1``, ``conv1_2``, … of `layout`, each with its index in torchvision's ``features``.

    There a ReLU follows each convolution and a pooling each stage, and all of them are counted.
    """
    indices: dict[str, int] = {}
    index = 0
    for stage, widths in enumerate(layout, start=1):
        for position in range(1, len(widths) + 1):
            indices[f"conv{stage}_{position}"] = index
            index += 2
        index += 1
    return indices


class VGG(nn.Module):
    """The convolutions of a VGG up to the last of `taps`: images (image, 1 or 3, y, x) to the features of each tap.

    weights: tensors ``features.N.weight`` and ``features.N.bias`` as torchvision names them, for all of `layout`.
    taps: ``relu2_2`` is what the second ReLU of the second stage gives, ``conv2_2`` what goes into it.
    pooling: "max" is the network as it was trained: the largest of 2 × 2. "l2" is what DISTS puts there, see
    :func:`l2_pool`.
    Images are expected from 0 to 1 and normalised by :data:`MEAN` and :data:`DEVIATION`, neither clamped nor checked;
    one channel counts as three equal ones. Convolutions pad with zeros. The weights are fixed, gradients reach the
    images. The dtype is that of the weights (``.double()`` for float64) and must be that of the images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, layout: Layout, weights: Mapping[str, Tensor], taps: Sequence[str], *, pooling: str = "max"
    ) -> None:
        super().__init__()
        require_weights("weights", weights, layout)
        indices = names(layout)
        known = [*indices, *(name.replace("conv", "relu") for name in indices)]
        unknown = [tap for tap in taps if tap not in known]
        require(len(taps) > 0, "taps: got none, want at least one, such as relu1_2")
        require(not unknown, f"taps: got {', '.join(map(str, unknown))}, want some of conv1_1, relu1_1 to {known[-1]}")
        require(pooling in POOLINGS, f"pooling: got {say(pooling)}, want one of {', '.join(POOLINGS)}")
        self.taps, self.pooling = tuple(taps), pooling
        last = max(indices[tap.replace("relu", "conv")] for tap in taps)
        self.convolutions = nn.ModuleDict(
            {name: _convolution(weights, index) for name, index in indices.items() if index <= last}
        )
        dtype = weights["features.0.weight"].dtype
        # Rounded to float32 as in torchvision and piq, also where the weights are float64.
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float32).to(dtype).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION, dtype=torch.float32).to(dtype).view(1, 3, 1, 1))

    def forward(self, images: Float[Tensor, "image channel y x"]) -> dict[str, Float[Tensor, "image _ _ _"]]:
        """The features of each tap, by its name."""
        self._require_images(images)
        values = (images - self.mean) / self.deviation
        found: dict[str, Tensor] = {}
        for name, convolution in self.convolutions.items():
            if name.endswith("_1") and name != "conv1_1":
                values = max_pool2d(values, 2) if self.pooling == "max" else l2_pool(values)
            values = found[name] = convolution(values)
            values = found[name.replace("conv", "relu")] = relu(values)
            found = {key: value for key, value in found.items() if key in self.taps}
        return {tap: found[tap] for tap in self.taps}

    def _require_images(self, images: Tensor) -> None:
        fits = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3) and images.numel() > 0
        require(fits, f"images: got {say(images)}, want (image, 1 or 3 channels, y, x)")
        require(images.dtype == self.mean.dtype, f"images: got {images.dtype}, want the weights' {self.mean.dtype}")
        halvings = sum(name.endswith("_1") for name in self.convolutions) - 1
        smallest = 2**halvings if self.pooling == "max" else 1  # max pooling drops what does not fill a pair
        small = min(images.shape[-2:]) < smallest
        require(not small, f"images: got {tuple(images.shape[-2:])} pixels, want at least {smallest} along each axis")


def l2_pool(values: Float[Tensor, "image channel y x"]) -> Float[Tensor, "image channel y_half x_half"]:
    """√(h² ∗ K + 10⁻¹²) at every second pixel, n to ⌈n/2⌉ (Hénaff & Simoncelli 2016, arXiv:1511.06394).

    K is the outer product of (1, 2, 1)/4 with itself, a Hann window; beyond its border h is zero, so that the border
    is darkened. Unlike the maximum it does not alias.
    """
    hann = torch.tensor([0.25, 0.5, 0.25], dtype=values.dtype, device=values.device)
    channels = values.shape[1]
    kernel = (hann[:, None] * hann).expand(channels, 1, 3, 3)
    return (conv2d(values.square(), kernel, stride=2, padding=1, groups=channels) + 1e-12).sqrt()


def load_vgg(path: Path | str, layout: Layout, taps: Sequence[str], *, pooling: str = "max") -> VGG:
    """The :class:`VGG` of torchvision's weights in the local file `path`; its classifier is left aside.

    FileNotFoundError where there is no such file; ValueError where it cannot be read or holds other weights.
    """
    weights = read_tensors(path)
    require_weights(str(path), weights, layout)
    return VGG(layout, weights, taps, pooling=pooling)


def load_course_vgg(taps: Sequence[str], *, pooling: str = "max") -> VGG:
    """The :class:`VGG` that the course has trained to tell contrast, view and phase of simulated hearts apart."""
    if not COURSE_VGG_FILE.is_file():
        raise FileNotFoundError(f"{COURSE_VGG_FILE}: no such file, want the one that comes with the course")
    try:
        weights = load_file(COURSE_VGG_FILE)
    except SafetensorError as error:
        raise ValueError(f"{COURSE_VGG_FILE}: is damaged, or holds no weights: {error}") from error
    require_weights(str(COURSE_VGG_FILE), weights, COURSE_VGG)
    return VGG(COURSE_VGG, weights, taps, pooling=pooling)


def require_weights(name: str, weights: Mapping[str, Tensor], layout: Layout) -> None:
    """`weights` must hold the convolutions of `layout` and no other ``features``, each of its shape."""
    wanted: dict[str, tuple[int, ...]] = {}
    channels = 3
    widths = (width for stage in layout for width in stage)
    for index, width in zip(names(layout).values(), widths, strict=True):
        wanted[f"features.{index}.weight"] = (width, channels, 3, 3)
        wanted[f"features.{index}.bias"] = (width,)
        channels = width
    missing = [key for key in wanted if key not in weights]
    extra = [key for key in weights if key.startswith("features.") and key not in wanted]
    require(not missing, f"{name}: lacks {_few(missing)}, want the {len(wanted)} tensors of a VGG's convolutions")
    require(not extra, f"{name}: got {_few(extra)} as well, want no other convolutions than the layout's")
    for key, shape in wanted.items():
        got = weights[key]
        real = isinstance(got, Tensor) and got.is_floating_point() and tuple(got.shape) == shape
        require(real, f"{name}: got {key} of {say(got)}, want real numbers of shape {shape}")


def weights_folder(folder: Path | str | None = None) -> Path:
    """Where fetched weights lie: `folder`, else CMR_COURSE_WEIGHTS, else ``cmr_course`` in the user's cache.

    The cache is XDG_CACHE_HOME, or ``~/.cache`` where that is not set.
    """
    if folder is not None:
        return Path(folder)
    named = os.environ.get("CMR_COURSE_WEIGHTS")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "cmr_course"


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors by name that ``torch.save`` wrote to `path`, on the CPU; code in the file is never run."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: cannot be read as tensors, want a file of torch.save") from error
    tensors = isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values())
    require(tensors, f"{path}: got {type(content).__name__}, want tensors by name")
    return {str(name): value.detach() for name, value in content.items()}


def _convolution(weights: Mapping[str, Tensor], index: int) -> nn.Conv2d:
    """Convolution `index` of torchvision's ``features``, its weights copied and fixed."""
    weight, bias = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
    # Without the initialisation of torch, which would draw from the global generator.
    convolution = skip_init(nn.Conv2d, weight.shape[1], weight.shape[0], 3, padding=1, dtype=weight.dtype)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution.requires_grad_(False)


def _few(words: Sequence[str]) -> str:
    """The first three of `words`, and how many more there are."""
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
