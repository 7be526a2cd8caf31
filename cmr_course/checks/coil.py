"""Checks of what is done with several coils: combining, measuring the noise, unfolding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.checks.asking import answer, close, draw, fail, number, passed, proportional, source

Combination = Callable[[Complex[Tensor, "coil y x"], Complex[Tensor, "coil y x"]], Complex[Tensor, "y x"]]


def _maps(shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Random complex maps with Σ|S|² = 1, and zero in one corner: outside the body there is no sensitivity."""
    maps = draw(shape, generator)
    maps = maps / maps.abs().square().sum(0).sqrt()
    maps[:, 0, :2] = 0
    return maps


def check_combination(function: Combination) -> None:
    """f(coil_images (coil, y, x), sensitivities (coil, y, x)) → image (y, x) is the adjoint of x ↦ S_c · x.

    Where Σ|S|² = 1 it therefore undoes the expansion, and where no coil sees anything it gives zero.

    Raises:
        CheckError: what it does instead (no conjugate, mean, product without weights, division).
    """
    generator = source(4)
    for shape in ((4, 5, 6), (3, 7, 4)):
        maps, x = _maps(shape, generator), draw(shape[1:], generator)
        seen = maps.abs().sum(0) > 0
        result = answer(function, maps * x, maps, shape=shape[1:])
        if not close(result, x * seen):
            raise fail(function, _combination_mistake(result, maps * x, maps))
        images = draw(shape, generator)
        result = answer(function, images, maps, shape=shape[1:])
        if not close(result, (maps.conj() * images).sum(0)):
            raise fail(function, _combination_mistake(result, images, maps))
        free = draw(shape, generator)
        if not close(answer(function, images, free, shape=shape[1:]), (free.conj() * images).sum(0)):
            raise fail(function, "is no adjoint of the expansion for maps whose Σ|S|² is not one: do not divide by it")
    passed("undoes the expansion where Σ|S|² = 1, and is its adjoint")


def _combination_mistake(result: Tensor, images: Tensor, maps: Tensor) -> str:
    weighted = maps.conj() * images
    if close(result, (maps * images).sum(0)):
        return "the conjugate of the sensitivities is missing: the coils' phases add up instead of cancelling"
    if close(result, weighted.mean(0)):
        return "takes the mean over coils, want the sum"
    if close(result, images.sum(0)) or close(result, images.mean(0)):
        return "adds the coil images without weighting them by the sensitivities"
    if close(result, weighted[0]):
        return "uses the first coil only"
    factor = proportional(result, weighted.sum(0))
    if factor is not None:
        return f"is right up to a factor of {abs(factor):.3g}"
    if close(result.abs(), images.abs().square().sum(0).sqrt()):
        return "is the root sum of squares: it drops the phase of the image and does not use the sensitivities"
    return "does not give back x from S_c · x where Σ|S|² = 1"


def check_noise_estimate(function: Callable[[Complex[Tensor, "coil ky kx"]], float]) -> None:
    """f(kspace (coil, ky, kx)) → σ of the noise per real and imaginary channel, within 10 %.

    The drawn k-space has a strong, narrow centre; its outer lines and corners hold noise only.

    Raises:
        CheckError: what it measures instead (the complex σ, the variance, the signal).
    """
    generator = source(5)
    ratios, louder = [], []
    for sigma in (0.02, 0.3, 1.0, 5.0, 40.0):
        kspace, signal = _noisy_kspace(sigma, generator)
        estimate = number(function, kspace)
        ratios.append(estimate / sigma)
        louder.append(number(function, kspace + 9 * signal) / sigma)
    middle = sorted(ratios)[2]
    if min(ratios) <= 0:
        raise fail(function, f"returned {min(ratios):.3g} times σ, want a positive number")
    if all(abs(ratio - 1) <= 0.1 for ratio in ratios) and all(abs(ratio - 1) <= 0.1 for ratio in louder):
        return passed("finds the noise within 10 %, whatever the signal")
    if max(abs(a / b - 1) for a, b in zip(louder, ratios, strict=True)) > 0.1:
        raise fail(function, "changes when only the signal grows: measure where there is none, far from the centre")
    if max(ratios) / min(ratios) > 2:
        raise fail(function, "does not scale with the noise: twice the noise must give twice the number (a variance?)")
    mistakes = {
        math.sqrt(2): "that is σ of the complex value; want σ of the real (or the imaginary) channel alone",
        math.sqrt(math.pi / 2): "that is the mean magnitude, which is Rayleigh distributed; want σ of one channel",
        math.sqrt(2 - math.pi / 2): "that is the spread of the magnitude, which is Rayleigh distributed; want σ of "
        "one channel",
        math.sqrt(
            2 * math.log(2)
        ): "that is the median magnitude, which is Rayleigh distributed; want σ of one channel",
    }
    nearest = min(mistakes, key=lambda factor: abs(middle / factor - 1))
    reason = mistakes[nearest] if abs(middle / nearest - 1) < 0.04 else "want it within 10 % in every case"
    raise fail(function, f"gives {middle:.2f} times the true σ: {reason}")


def _noisy_kspace(sigma: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(signal + noise, signal): a Gaussian of 3 % of the width with random phases in white noise."""
    shape = (6, 96, 80)
    ky, kx = (torch.arange(n, dtype=torch.float64) / n - 0.5 for n in shape[1:])
    signal = 2_000 * torch.exp(-(ky[:, None] ** 2 + kx**2) / (2 * 0.03**2)) * draw(shape, generator)
    noise = sigma * torch.view_as_complex(torch.randn((*shape, 2), dtype=torch.float64, generator=generator))
    return signal + noise, signal


def check_sense_unfold(
    function: Callable[[Complex[Tensor, "coil half x"], Complex[Tensor, "coil y x"]], Complex[Tensor, "y x"]],
) -> None:
    """f(aliased (coil, y // 2, x), sensitivities (coil, y, x)) → image (y, x), unfolded by least squares (R = 2).

    aliased[c, i] = S[c, i]·x[i] + S[c, i + y // 2]·x[i + y // 2] (Pruessmann et al. 1999): the plain sum of the two
    pixels that fold onto each other, y even, no ACS. Exact without noise.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(6)
    for shape in ((4, 6, 5), (3, 8, 4)):
        coils, y, x = shape
        maps, truth = draw(shape, generator), draw((y, x), generator)
        pairs = maps.reshape(coils, 2, y // 2, x)
        aliased = (pairs * truth.reshape(2, y // 2, x)).sum(1)
        result = answer(function, aliased, maps, shape=(y, x))
        if not close(result, truth):
            raise fail(function, _unfold_mistake(result, truth, aliased, pairs))
        noisy = aliased + draw(aliased.shape, generator)
        unfolded = answer(function, noisy, maps, shape=(y, x)).reshape(2, y // 2, x)
        left_over = noisy - (pairs * unfolded).sum(1)
        if not close(torch.einsum("cpyx,cyx->pyx", pairs.conj(), left_over) + 1, torch.ones(2, y // 2, x)):
            raise fail(
                function,
                "is exact without noise but not the least-squares solution with noise: use all coils, and the "
                "conjugate of S where S is transposed",
            )
    passed("unfolds exactly without noise, and by least squares with noise")


def _unfold_mistake(result: Tensor, truth: Tensor, aliased: Tensor, pairs: Tensor) -> str:
    half = len(truth) // 2
    if close(result, truth.roll(half, 0)):
        return "the two halves of the image are swapped"
    factor = proportional(result, truth)
    if factor is not None:
        return f"is right up to a factor of {abs(factor):.3g}: aliased is the plain sum of the two pixels"
    if close(result, (pairs.conj() * aliased[:, None]).sum(0).flatten(0, 1)):
        return "combines the coils but does not unfold: a small system has to be solved for each pair of pixels"
    if close(result[:half], truth[:half]) or close(result[half:], truth[half:]):
        return "only one half of the image is right"
    return "does not give back the image from noise-free aliased coil images"
