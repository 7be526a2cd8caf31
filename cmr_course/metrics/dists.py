"""DISTS: means and covariances of VGG features, weighed by what people called alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cmr_course.features import VGG, VGG16, VGG16_FILE, load_vgg, read_tensors, weights_folder
from cmr_course.metrics.image_quality import Series, checked_pair, peak_of
from cmr_course.validate import require, require_whole, say

Images = Float[Tensor, "image channel y x"]

TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
CHANNELS = (3, 64, 128, 256, 512, 512)
"""Channels of the layers that are compared: the image itself, then the taps."""

WEIGHTS_FILE = "dists_weights.pt"
"""Name of the file of alpha and beta in the folder of weights."""

SMALLEST = 17
"""Pixels from which on the deepest features are two along each axis; those of one pixel have no covariance."""

LARGEST = 256
"""Images whose shorter axis has more pixels are made smaller, to this many along it."""

STABLE = 1e-6
"""c1 and c2 of the paper."""


class DISTS(nn.Module):
    """Deep image structure and texture similarity (Ding et al. 2020, doi:10.1109/TPAMI.2020.3045810), 0 is identical.

    D(x, y) = 1 − Σ_k Σ_c (α_kc·l + β_kc·s), over the layers k = 0 (the image) to 5 and their channels c, with
    l = (2 μ_x μ_y + c₁)/(μ_x² + μ_y² + c₁) for texture and s = (2 σ_xy + c₂)/(σ_x² + σ_y² + c₂) for structure, each
    over all pixels of a channel.

    features: VGG-16 with L2 pooling and the taps :data:`TAPS`.
    alpha, beta: 1475 weights each, in the order of :data:`CHANNELS`; they are divided by the sum of all 2950.
    chunk: images that pass through the network at a time. It bounds the memory, unless gradients are wanted.
    Symmetric and differentiable. The weights' dtype is that of the computation and of the answer: float32 as loaded,
    float64 after ``.double()``. Identical images score 0 up to rounding, which may be below zero.
    """

    alpha: Tensor
    beta: Tensor

    def __init__(self, features: VGG, alpha: Tensor, beta: Tensor, *, chunk: int = 4) -> None:
        super().__init__()
        fits = isinstance(features, VGG) and features.taps == TAPS and features.pooling == "l2"
        require(fits, f"features: got another network, want a VGG with L2 pooling and the taps {', '.join(TAPS)}")
        require_whole("chunk", chunk)
        alpha, beta = _checked_weights("alpha", alpha), _checked_weights("beta", beta)
        total = alpha.sum() + beta.sum()
        require(bool(total > 0), f"alpha, beta: got the sum {float(total):g}, want it above zero")
        self.features, self.chunk = features, chunk
        self.register_buffer("alpha", (alpha / total).to(features.mean))
        self.register_buffer("beta", (beta / total).to(features.mean))

    def forward(self, prediction: Series, reference: Series) -> Float[Tensor, "batch frame"]:
        """The distance of each frame of two magnitude series; the maximum of the reference *series* becomes 1."""
        checked = checked_pair(prediction, reference)
        peak = peak_of(checked[1])[..., None, None]
        as_images = (-1, 1, *reference.shape[-2:])
        p, r = ((series / peak).to(self.alpha.dtype).reshape(as_images) for series in checked)
        return self.distances(p, r).reshape(reference.shape[:2])

    def distances(self, x: Images, y: Images) -> Float[Tensor, " image"]:
        """The distance of each pair of images; one channel counts as three equal ones.

        Intensities are expected from 0 to 1, and neither scaled nor clamped.
        """
        return 1 - self.weighed(x, y).sum((-2, -1))

    def weighed(self, x: Images, y: Images) -> Float[Tensor, "image layer 2"]:
        """α·l and β·s of each layer, summed over its channels: 1 − their sum is the distance."""
        _require_pair(x, y)
        weights = [pair.split(CHANNELS) for pair in (self.alpha, self.beta)]
        chunks = []
        for pair in zip(x.split(self.chunk), y.split(self.chunk), strict=True):
            layers = [
                torch.stack([(w[k] * term).sum(1) for w, term in zip(weights, terms, strict=True)], dim=-1)
                for k, terms in enumerate(self.similarities(*pair))
            ]
            chunks.append(torch.stack(layers, dim=1))
        return torch.cat(chunks)

    def similarities(self, x: Images, y: Images) -> Iterator[tuple[Tensor, Tensor]]:
        """(l, s) of each layer, each (image, channel): how alike means and covariances are, before they are weighed."""
        _require_pair(x, y)
        x, y = resized(x), resized(y)
        of_x, of_y = self.features(x), self.features(y)
        yield compare(x, y)
        for tap in TAPS:
            yield compare(of_x[tap], of_y[tap])


def compare(x: Images, y: Images) -> tuple[Float[Tensor, "image channel"], Float[Tensor, "image channel"]]:
    """(l, s) of the paper: how alike the means of each channel are, and how alike what varies about them."""
    mean_x, mean_y = x.mean((-2, -1)), y.mean((-2, -1))
    about_x, about_y = x - mean_x[..., None, None], y - mean_y[..., None, None]
    covariance = (about_x * about_y).mean((-2, -1))
    variances = about_x.square().mean((-2, -1)) + about_y.square().mean((-2, -1))
    means = (2 * mean_x * mean_y + STABLE) / (mean_x.square() + mean_y.square() + STABLE)
    return means, (2 * covariance + STABLE) / (variances + STABLE)


def resized(images: Images) -> Float[Tensor, "image channel new_y new_x"]:
    """`images` with 256 pixels along the shorter axis where there are more: piq's choice, bilinear without smoothing.

    The authors resize with an image library before their metric sees an image, and only files.
    """
    shorter = min(images.shape[-2:])
    if shorter <= LARGEST:
        return images
    return interpolate(images, scale_factor=LARGEST / shorter, mode="bilinear", recompute_scale_factor=False)


def load_dists(folder: Path | str | None = None, *, chunk: int = 4) -> DISTS:
    """DISTS with the published weights from local files, which ``cmr-course fetch dists`` puts there.

    folder: where the files lie; where None, :func:`cmr_course.features.weights_folder`.
    FileNotFoundError without the files, ValueError where they hold something else: there is no number without them.
    """
    where = weights_folder(folder)
    lacking = [name for name in (VGG16_FILE, WEIGHTS_FILE) if not (where / name).is_file()]
    if lacking:
        to = "" if folder is None else f" --to {where}"
        raise FileNotFoundError(
            f"{where}: lacks {' and '.join(lacking)}, without which DISTS has no value; "
            f"`cmr-course fetch dists{to}` puts them there"
        )
    path = where / WEIGHTS_FILE
    weights = read_tensors(path)
    require({"alpha", "beta"} <= set(weights), f"{path}: got {say(sorted(weights))}, want tensors alpha and beta")
    features = load_vgg(where / VGG16_FILE, VGG16, TAPS, pooling="l2")
    try:
        return DISTS(features, weights["alpha"], weights["beta"], chunk=chunk)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked_weights(name: str, weights: Tensor) -> Tensor:
    """`weights` as 1475 numbers in float64."""
    count = sum(CHANNELS)
    fits = isinstance(weights, Tensor) and weights.is_floating_point() and weights.numel() == count
    require(fits, f"{name}: got {say(weights)}, want {count} real weights")
    require(bool(weights.isfinite().all()), f"{name}: got NaN or infinity, want finite weights")
    return weights.detach().double().reshape(count)


def _require_pair(x: Tensor, y: Tensor) -> None:
    for name, images in (("x", x), ("y", y)):
        real = isinstance(images, Tensor) and images.is_floating_point() and images.ndim == 4
        fits = real and images.shape[0] > 0 and images.shape[1] in (1, 3)
        require(fits, f"{name}: got {say(images)}, want real images (image, 1 or 3 channels, y, x)")
        large = min(images.shape[-2:]) >= SMALLEST
        require(large, f"{name}: got {tuple(images.shape[-2:])} pixels, want at least {SMALLEST} along each axis")
    require(x.shape == y.shape, f"x: got shape {tuple(x.shape)}, want that of y, {tuple(y.shape)}")
