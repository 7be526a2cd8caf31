"""Checks of data consistency: what is mixed where, how far to trust, and what no consistency can see."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from cmr_course.checks.asking import answer, close, draw, fail, number, passed, source
from cmr_course.fourier import fft2c, ifft2c

Kspace = Complex[Tensor, "frame ky kx"]
Sampled = Bool[Tensor, "frame ky 1"]


def check_consistent_samples(function: Callable[[Kspace, Kspace, Sampled, float], Kspace]) -> None:
    """f(k, y, sampled, trust) → (k + trust · y)/(1 + trust) where sampled, y itself for infinite trust; k elsewhere.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(41)
    for shape, trust in (
        ((2, 8, 6), 1.0),
        ((3, 6, 5), 0.25),
        ((1, 9, 4), 9.0),
        ((2, 7, 3), 0.0),
        ((2, 6, 6), math.inf),
    ):
        sampled = torch.rand((*shape[:2], 1), generator=generator) < 0.5
        sampled[:, 0], sampled[:, 1] = True, False
        k, y = draw(shape, generator), draw(shape, generator) * sampled
        got = answer(function, k, y, sampled, trust, shape=shape)
        share = 1.0 if trust == math.inf else trust / (1 + trust)
        mixed = (1 - share) * k + share * y
        if close(got, torch.where(sampled, mixed, k)):
            continue
        if close(got, mixed):
            raise fail(function, "mixes everywhere; a zero of y where nothing was sampled is no measurement")
        if close(got, torch.where(sampled, k, mixed)):
            raise fail(function, "changes what was not sampled and keeps what was; it is the other way round")
        if trust not in (0.0, math.inf, 1.0) and close(got, torch.where(sampled, share * k + (1 - share) * y, k)):
            raise fail(function, "gives k the share of y; a large trust is a trust in the measurement")
        if close(got, torch.where(sampled, y, k)):
            raise fail(function, f"replaces at a trust of {trust:g}; only an infinite trust does")
        raise fail(function, f"is not consistent at a trust of {trust:g}: what becomes of sampled and other places?")
    passed("sampled places are mixed, others are left alone, infinite trust replaces")


def check_best_trust(function: Callable[[float, float], float]) -> None:
    """f(error, noise) → the trust with the smallest mean squared error of a mixed sample.

    error, noise: standard deviations of the network's sample and of the measured one, independent of each other.

    Raises:
        CheckError: what it returns instead.
    """
    for error, noise in ((1.0, 1.0), (2.0, 1.0), (0.3, 0.6), (5.0, 0.5), (0.1, 1.0)):
        got = number(function, error, noise)
        if got < 0:
            raise fail(function, f"returns {got:.4g}; a trust is never negative")
        ratio = error / noise
        if math.isclose(got, ratio**2, rel_tol=1e-6):
            continue
        if math.isclose(got, ratio, rel_tol=1e-6):
            raise fail(function, "returns a ratio of deviations; what is weighed are mean squares")
        if math.isclose(got, ratio**-2, rel_tol=1e-6):
            raise fail(function, "trusts the noisier measurement more; it is the other way round")
        if math.isclose(got, ratio**2 / (1 + ratio**2), rel_tol=1e-6):
            raise fail(function, "returns the share of the measurement, trust/(1 + trust); the trust is wanted")
        better = _mixed_error(got, error, noise) / _mixed_error(ratio**2, error, noise) - 1
        raise fail(
            function,
            f"returns {got:.4g} for error {error:g} and noise {noise:g}; another trust has a mean squared error "
            f"{better:.1%} of its own below"
            if better > 1e-6
            else "is not the smallest error",
        )
    passed("no other trust has a smaller error")


def _mixed_error(trust: float, error: float, noise: float) -> float:
    """Mean squared error of (k + trust · y)/(1 + trust)."""
    return (error**2 + (trust * noise) ** 2) / (1 + trust) ** 2


def check_unseen_part(function: Callable[[Kspace, Sampled], Kspace]) -> None:
    """f(image, sampled) → the part of a one-coil image series that the sampled lines do not see.

    Raises:
        CheckError: what it returns instead.
    """
    generator = source(43)
    for shape in ((2, 8, 6), (3, 9, 5), (1, 7, 4)):
        sampled = torch.rand((*shape[:2], 1), generator=generator) < 0.5
        sampled[:, 0], sampled[:, 1] = True, False
        image = draw(shape, generator)
        got = answer(function, image, sampled, shape=shape)
        k = fft2c(image)
        unseen, seen = (ifft2c(torch.where(where, k, 0)) for where in (~sampled, sampled))
        if close(got, unseen):
            continue
        if close(got, seen):
            raise fail(function, "returns what was seen; the rest is wanted")
        if close(got, torch.where(~sampled, k, torch.zeros((), dtype=k.dtype))):
            raise fail(function, "returns k-space; transform back to an image")
        if close(got, torch.where(sampled, 0, image)):
            raise fail(function, "takes rows of the image for lines of k-space; transform first")
        if float((fft2c(got) * sampled).abs().max()) > 1e-4 * float(k.abs().max()):
            raise fail(function, "leaves a part that the measurement sees; is the transform that of the course, fft2c?")
        raise fail(function, "changes what was not sampled; the unseen part keeps it as it is")
    passed("the measurement does not see it, and together with what it sees it is the image")
