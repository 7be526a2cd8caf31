"""The losses of the paper *Dynamic MRI Reconstruction* (Shen et al. 2024): pixels, edges and features of magnitudes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import sobel
from cmr_course.losses.units import Image, near_one, peak_of, require_fits
from cmr_course.losses.vgg import both, load_features
from cmr_course.losses.weighted import Loss
from cmr_course.validate import is_number, require, require_whole, say

Magnitude = Float[Tensor, "batch frame y x"]
ALPHA = 0.2
"""What the paper found on its validation set (section 3)."""
FIRST = 100
"""Iterations with the squared error alone (eq. 2)."""
CLASSIC = 8.0
"""The Sobel operator is written with whole numbers, (1, 2, 1) by (−1, 0, 1): eight times a derivative per pixel."""
FEATURES = ("course", "vgg16")


@runtime_checkable
class Scheduled(Protocol):
    """A loss that changes in the course of a training."""

    def at(self, step: int) -> Loss:
        """The loss that holds at this step, counted from 0."""
        ...


def loss_at(loss: Loss, step: int) -> Loss:
    """`loss` as it is at this step of a training, counted from 0."""
    require_whole("step", step, 0)
    return loss.at(step) if isinstance(loss, Scheduled) else loss


def magnitude_mse(reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
    """Mean of (|x| − |reference|)² / scale²: phase does not count. The paper's ‖output − gt‖²."""
    output, truth = _magnitudes(reconstruction.image, reference, acquisition)
    return (output - truth).square().mean()


class EdgeLoss(nn.Module):
    """(1 − α)·‖x − r‖² + α·‖Sobel(x) − Sobel(r)‖², after `first` iterations of ‖x − r‖² alone (eq. 2).

    x, r: magnitudes of output and reference, divided by the scale of the data; ‖·‖² are means over pixels.
    alpha: the share of the edges, 0 to 1. first: the iteration, counted from 0, with which edges come in: iterations
    0 to first − 1 have none. They are steps of the optimiser here. The paper counts epochs (its "300 iterations" are
    300 passes over 125 series), so with batches of one its 100 are 12,500 steps.
    gain: factor on the derivatives per pixel of :func:`cmr_course.image.sobel`; 8 gives the classic whole numbers.

    The paper does not say which normalisation its Sobel has, nor whether both derivatives are compared or their root
    sum of squares. Here it is both, each for itself: the root has no derivative where an image is flat. Its text
    takes the edges of the network's *input*, its formula those of the output; with the input there would be no
    gradient, and the formula is what is done.
    """

    def __init__(self, alpha: float = ALPHA, first: int = FIRST, gain: float = CLASSIC) -> None:
        super().__init__()
        self.alpha = require_share(alpha)
        require_whole("first", first, 0)
        good = is_number(gain) and gain > 0
        require(good, f"gain: got {say(gain)}, want a number above zero")
        self.first, self.gain = first, gain

    def at(self, step: int) -> Loss:
        """The squared error before iteration `first`, this loss from there on."""
        return magnitude_mse if step < self.first else self

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss with edges."""
        output, truth = _magnitudes(reconstruction.image, reference, acquisition)
        error = output - truth
        along_y, along_x = sobel(error)  # the operator is linear: Sobel(x) − Sobel(r) = Sobel(x − r)
        edges = self.gain**2 * (along_y.square() + along_x.square()).mean()
        return (1 - self.alpha) * error.square().mean() + self.alpha * edges

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha:g}, first={self.first}, gain={self.gain:g}"


class PerceptualLoss(nn.Module):
    """(1 − α)·‖x − r‖² + α·mean over taps ‖F(x) − F(r)‖² (eq. 3; Johnson et al. 2016, arXiv:1603.08155).

    features: the network F, which has to be named. ``course`` is the small VGG that the course has trained on its own
    simulator (:func:`cmr_course.features.load_course_vgg`); ``vgg16`` is the one of the paper, trained on photographs,
    whose weights ``cmr-course fetch vgg16`` puts into the user's cache. FileNotFoundError where they are not there: no
    other network takes their place. Both have ReLU, pooling and the normalisation they were trained with.
    alpha: the share of the features, 0 to 1. taps: layers that are compared, for example ``relu2_2`` (the paper does
    not say which; Johnson et al. take this one for content).
    Images are divided by the largest value of the reference series, so that F sees 0 to 1; in ‖x − r‖² by the scale of
    the data, as in :func:`magnitude_mse`. ‖·‖² are means.
    """

    def __init__(self, features: str, alpha: float = ALPHA, taps: Sequence[str] = ("relu2_2",)) -> None:
        super().__init__()
        self.alpha = require_share(alpha)
        known = isinstance(features, str) and features in FEATURES
        require(known, f"features: got {say(features)}, want one of {', '.join(FEATURES)}")
        require(not isinstance(taps, str), f"taps: got {say(taps)}, want a list of layers, such as [{taps}]")
        self.named = features
        self.features = load_features(features, taps)

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        output, truth = _magnitudes(reconstruction.image, reference, acquisition)
        pixels = (output - truth).square().mean()
        return (1 - self.alpha) * pixels + self.alpha * self.distance(output, truth)

    def distance(self, output: Magnitude, truth: Magnitude) -> Float[Tensor, ""]:
        """Mean over taps of the mean squared difference of features; the gradient goes into `output` only."""
        peak = peak_of(truth)
        found, wanted = both(self.features, self.features.mean.dtype, output / peak, truth / peak)
        return torch.stack([(found[tap] - wanted[tap]).square().mean() for tap in wanted]).mean()

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha:g}, features of {self.named}, taps={', '.join(self.features.taps)}"


def require_share(alpha: float) -> float:
    """`alpha`, which must be 0 to 1."""
    good = is_number(alpha) and 0 <= alpha <= 1
    require(good, f"alpha: got {say(alpha)}, want a share from 0 to 1")
    return alpha


def _magnitudes(image: Image, reference: Image, acquisition: Acquisition) -> tuple[Magnitude, Magnitude]:
    """|x| and |reference|, divided by the scale where there is one."""
    require_fits(image, reference)
    return near_one(image.abs(), acquisition), near_one(reference.abs(), acquisition)
