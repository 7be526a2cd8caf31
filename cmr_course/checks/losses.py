"""Checks of losses: which image a loss asks for, what its terms weigh, and whether features are more than a filter."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from cmr_course.checks.asking import call, close, draw, fail, number, passed, picture, source

Candidates = Float[Tensor, "image y x"]
Shares = Float[Tensor, " image"]
Picture = Float[Tensor, "y x"]
Map = Callable[[Picture], Picture]
PER_PIXEL = 0.375
"""What the two derivatives of :func:`cmr_course.image.sobel` keep of the energy of white noise: the sum of their
squared weights, twice (1 + 1)/4 · (1 + 4 + 1)/16."""


def check_safest_image(function: Callable[[Candidates, Shares], Picture]) -> None:
    """f(candidates, probabilities) → the image with the smallest expected squared error.

    candidates: images (image, y, x), one of which is true; probabilities: of each, with sum one.

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(81)
    for count, rows, columns in ((2, 4, 3), (3, 5, 5), (5, 3, 6)):
        candidates = draw((count, rows, columns), generator).real
        shares = torch.rand(count, dtype=torch.float64, generator=generator) + 0.1
        shares /= shares.sum()
        got = picture(function, candidates, shares, shape=(rows, columns))
        if close(got, torch.einsum("i,iyx->yx", shares, candidates)):
            continue
        if close(got, candidates.mean(0)):
            raise fail(function, "counts every image alike; some are more probable than others")
        if close(got, candidates.median(0).values):
            raise fail(function, "returns a median; that is what the absolute error asks for")
        if close(got, candidates[shares.argmax()]):
            raise fail(function, "returns the most probable image; another one has a smaller expected squared error")
        if close(got, torch.einsum("i,iyx->yx", shares, candidates) / count):
            raise fail(function, "divides by the number of images; the probabilities have done that")
        raise fail(function, "is not the image with the smallest expected squared error; set its derivative to zero")
    passed("no other image has a smaller expected squared error")


def check_edge_share(function: Callable[[float, float], float]) -> None:
    """f(beta, gain) → the share of the edges in an edge loss whose error is white noise.

    beta: weight of the edge term, 0 to 1; gain: of the Sobel operator over derivatives per pixel.

    Raises:
        CheckError: what it returns instead.
    """
    for beta, gain in ((0.0, 8.0), (1.0, 8.0), (0.2, 8.0), (0.2, 1.0), (0.7, 2.0), (0.5, 0.5)):
        got = number(function, beta, gain)
        if math.isclose(got, _share(beta, PER_PIXEL * gain**2), rel_tol=1e-6, abs_tol=1e-12):
            continue
        mistakes = {
            "returns the weight; the edges of a unit error are not of unit size": beta,
            "takes the gain once; errors are squared, and their gain with them": _share(beta, PER_PIXEL * gain),
            "counts one of the two derivatives": _share(beta, PER_PIXEL / 2 * gain**2),
            "forgets what the taps do to white noise: the sum of their squares": _share(beta, gain**2),
            "forgets the gain": _share(beta, PER_PIXEL),
            "returns the share of the pixels": 1 - _share(beta, PER_PIXEL * gain**2),
        }
        for says, wrong in mistakes.items():
            if math.isclose(got, wrong, rel_tol=1e-6, abs_tol=1e-12):
                raise fail(function, says)
        raise fail(function, f"returns {got:.4g} for beta {beta:g} and gain {gain:g}; which part of the sum is edges?")
    passed("the share of the edges in the whole loss")


def _share(beta: float, energy: float) -> float:
    """Share of the second term where the first one is 1 and the second `energy`."""
    return beta * energy / (1 - beta + beta * energy)


def check_is_affine(function: Callable[[Map, Candidates], bool]) -> None:
    """f(map, images) → whether `map` is affine, as far as two images can tell: map(a) + map(b) − map(a + b) = map(0).

    images: the two, (2, y, x); a map takes one of them.

    Tried on filters with and without an offset, and on maps that are not affine.

    Raises:
        CheckError: which of them it takes for the other kind.
    """
    generator = source(83)
    taps = draw((1, 1, 3, 3), generator).real

    def filtered(image: Tensor) -> Tensor:
        return conv2d(image[None, None], taps, padding=1)[0, 0]

    affine: dict[str, Map] = {
        "a filter": filtered,
        "a filter that adds a constant (an offset is allowed)": lambda image: filtered(image) + 0.7,
        "a constant (it is affine, too)": lambda image: torch.full_like(image, 3.0),
        "two filters that add constants, one after the other": lambda image: filtered(filtered(image) - 0.4) + 2,
    }
    bent: dict[str, Map] = {
        "a filter with a rectifier": lambda image: filtered(image).relu(),
        "a magnitude": lambda image: image.abs(),
        "a square": lambda image: image.square(),
        "a filter that adds a constant and a very small square": lambda image: (
            filtered(image) + 1 + 1e-7 * image.square()
        ),
    }
    images = draw((2, 6, 5), generator).real
    for known, wanted in ((affine, True), (bent, False)):
        for what, mapping in known.items():
            got = call(function, mapping, images)
            if not isinstance(got, bool | Tensor) or (isinstance(got, Tensor) and got.numel() != 1):
                raise fail(function, f"returned a {type(got).__name__}, want True or False")
            if bool(got) is not wanted:
                raise fail(function, f"calls {what} {'bent' if wanted else 'affine'}")
    passed("filters with and without an offset are told from what bends")
