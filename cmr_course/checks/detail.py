"""Checks of losses for fine detail: a filter that keeps its word, a map of variances, a sum that grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.checks.asking import close, draw, fail, number, passed, picture, source

Frequencies = Float[Tensor, " frequency"]
Picture = Float[Tensor, "y x"]
Size = tuple[int, int, int, int]


def check_high_pass(function: Callable[[Frequencies, float, int], Frequencies]) -> None:
    """f(frequency, cutoff, order) → weights of a Butterworth high-pass: (f/c)²ⁿ / (1 + (f/c)²ⁿ).

    frequency: from zero up, cycles per sample; cutoff: in the same unit; order: n.

    Raises:
        CheckError: what it returns instead.
    """
    frequency = torch.linspace(0, 0.7, 71, dtype=torch.float64)
    for cutoff, order in ((0.35, 2), (0.2, 1), (0.5, 4)):
        got = picture(function, frequency, cutoff, order, shape=frequency.shape)
        ratio = frequency / cutoff
        right = _share(ratio ** (2 * order))
        if close(got, right):
            continue
        mistakes = {
            "is a low-pass: frequency zero has the largest weight": 1 - right,
            "raises to the order; it wants twice the order": _share(ratio**order),
            "is the root of the weights; these are of the magnitude squared": right.sqrt(),
            "has the same order whatever it is given": _share(ratio**4),
        }
        for says, wrong in mistakes.items():
            if close(got, wrong):
                raise fail(function, says)
        if not bool((got.diff() >= -1e-9).all()):
            raise fail(function, "falls somewhere; the weights of a high-pass never do")
        raise fail(function, "rises, but is not Butterworth's; it has one half at the cutoff and 0 at frequency zero")
    passed("a high-pass of any order: 0 at zero, one half at the cutoff, never falling")


def _share(power: Tensor) -> Tensor:
    return power / (1 + power)


def check_patch_variance(function: Callable[[Picture, int], Picture]) -> None:
    """f(image, patch) → the unbiased variance in patches of an image (y, x) that do not overlap.

    Rows and columns at the end that do not fill a patch are left out.

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(111)
    for rows, columns, patch in ((12, 8, 4), (13, 11, 3), (7, 20, 5)):
        image = draw((rows, columns), generator).real + 3
        y, x = rows // patch, columns // patch
        got = picture(function, image, patch, shape=(y, x))
        pieces = _patches(image[: y * patch, : x * patch], patch)
        wanted = (pieces - pieces.mean(-1, keepdim=True)).square().sum(-1) / (patch**2 - 1)
        if close(got, wanted):
            continue
        from_the_end = _patches(image[rows - y * patch :, columns - x * patch :], patch)
        mistakes = {
            "divides by the number of pixels; unbiased is one less": wanted * (patch**2 - 1) / patch**2,
            "returns the standard deviation; it is not squared": wanted.sqrt(),
            "returns the mean of squares; the mean of the patch is in it": pieces.square().mean(-1),
            "returns the mean of each patch": pieces.mean(-1),
            "leaves out the first rows or columns; it is the last that do not fill a patch": from_the_end.var(-1),
        }
        for says, wrong in mistakes.items():
            if close(got, wrong):
                raise fail(function, says)
        raise fail(function, "is not the variance in each patch; which pixels belong to the first one?")
    passed("the unbiased variance of each patch, whatever the size")


def _patches(image: Picture, patch: int) -> Float[Tensor, "patch_y patch_x pixel"]:
    """The pixels of each patch of an image that they fill."""
    return image.unflatten(1, (-1, patch)).unflatten(0, (-1, patch)).transpose(1, 2).flatten(2)


def check_norm_growth(function: Callable[[Size, Size], float]) -> None:
    """f(before, after) → the factor by which Σ |Re k| + |Im k|, k divided by √(2·ky·kx), grows with the data's size.

    before, after: (batch, coils, ky, kx); all samples are alike.

    Raises:
        CheckError: what it returns instead.
    """
    sizes: tuple[Size, ...] = ((1, 1, 64, 64), (1, 1, 128, 64), (2, 1, 128, 64), (2, 10, 96, 64), (1, 4, 204, 448))
    for before, after in pairwise(sizes):
        got = number(function, before, after)
        batch, coils, ky, kx = (new / old for old, new in zip(before, after, strict=True))
        right = batch * coils * math.sqrt(ky * kx)
        if math.isclose(got, right, rel_tol=1e-6):
            continue
        mistakes = {
            "counts the samples; each was divided by the root of the matrix": batch * coils * ky * kx,
            "forgets the batch": coils * math.sqrt(ky * kx),
            "forgets the coils": batch * math.sqrt(ky * kx),
            "forgets the matrix": batch * coils,
            "grows as the second norm, with the root of the number of batch items and coils": math.sqrt(batch * coils),
            "is the factor from the second size to the first": 1 / right,
        }
        for says, wrong in mistakes.items():
            if math.isclose(got, wrong, rel_tol=1e-6):
                raise fail(function, says)
        raise fail(function, f"returns {got:.4g} from {before} to {after}; how many numbers are summed?")
    passed("the factor by which the sum grows with batch, coils and matrix")
