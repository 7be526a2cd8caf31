"""Checks of what contrasts measure: the inversion time that nulls a tissue, velocity from the phase of two images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.checks.asking import call, close, fail, number, passed, source

Images = Complex[Tensor, "frame y x"]
Velocity = Float[Tensor, "frame y x"]


def check_nulling_time(function: Callable[[float, float], float]) -> None:
    """f(T1, efficiency) → inversion time in ms at which a tissue that recovers with T1, in ms, gives no signal.

    efficiency: the share of the magnetisation that the pulse inverts, above 0 to 1. Of M the pulse leaves
    −efficiency·M, so that the signal is 1 − (1 + efficiency)·exp(−TI/T1).

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(41)
    for efficiency in (1.0, 0.96, 0.8, 0.5):
        T1 = 200 + 2000 * float(torch.rand((), dtype=torch.float64, generator=generator))
        got = number(function, T1, efficiency)
        left = 1 - (1 + efficiency) * math.exp(-min(max(got / T1, -50), 50))
        if abs(left) < 1e-4:
            continue
        mistakes = {
            "forgets the efficiency; an imperfect pulse starts nearer to zero and is there sooner": T1 * math.log(2),
            "scales the time with the efficiency; it belongs where the recovery starts": T1 * math.log(2) * efficiency,
            "returns seconds; the times are in ms": T1 * math.log(1 + efficiency) / 1000,
            "has its sign turned; the pulse comes before the image": -T1 * math.log(1 + efficiency),
            "uses a logarithm of another base; the recovery is an exponential": T1 * math.log10(1 + efficiency),
            "recovers from saturation; after an inversion the signal starts below zero": T1,
        }
        for says, wrong in mistakes.items():
            if abs(got - wrong) <= 1e-4 * T1:
                raise fail(function, says)
        when = "too early, the tissue is still below zero" if left < 0 else "too late, the tissue is above zero"
        raise fail(function, f"returns {got:.4g} ms for T1 {T1:.0f} ms and efficiency {efficiency:g}; that is {when}")
    passed("at this time the tissue gives no signal, for a good and for a poor inversion")


def check_velocity(function: Callable[[Images, Images, float], Velocity]) -> None:
    """f(reference, encoded, venc) → velocity in cm/s, between ±venc, of each pixel of two complex images.

    The phase of `encoded` is that of `reference`, of any size, plus π·v/venc.

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(42)
    for shape, venc in (((3, 6, 5), 150.0), ((1, 4, 7), 80.0), ((2, 8, 8), 37.5)):
        magnitude, background, share = torch.rand((3, *shape), dtype=torch.float64, generator=generator)
        # Phases all around the circle: where they wrap, a plain difference of two phases is wrong.
        turned = (2 * background - 1) * math.pi
        true = 0.95 * (2 * share - 1) * venc
        reference = torch.polar(0.2 + magnitude, turned)
        encoded = torch.polar(0.2 + magnitude, turned + math.pi * true / venc)
        got = _real(function, reference, encoded, venc)
        if close(got, true):
            continue
        difference = encoded.angle() - reference.angle()
        mistakes = {
            "has its sign turned; the velocity is what was added to the phase of the reference": -true,
            "returns a phase; a phase of π is the speed venc": math.pi * true / venc,
            "turns once around for a speed of venc; that is the phase π, not 2π": true / 2,
            "wraps where one of the phases does: take the phase of a product, not a difference": difference
            * (venc / math.pi),
            "forgets the reference; coils and field have turned the phase as well": encoded.angle() * (venc / math.pi),
            "adds the phases; the one of the reference has to go": (encoded * reference).angle() * (venc / math.pi),
            "loses the direction; blood that runs back is negative": true.abs(),
            "returns degrees; a phase of π is the speed venc": torch.rad2deg(math.pi * true / venc),
        }
        for says, wrong in mistakes.items():
            if close(got, wrong):
                raise fail(function, says)
        raise fail(function, f"is wrong for venc {venc:g} cm/s; what phase does a speed of half the venc have?")
    passed("what both images share has gone, and a phase of π is the speed venc")


def _real(function: Callable[..., Tensor], reference: Images, encoded: Images, venc: float) -> Velocity:
    """What `function` returned: real, finite, one value for each pixel."""
    result = call(function, reference, encoded, venc)
    wanted = tuple(reference.shape)
    if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise fail(function, f"returned {got}, want one velocity for each pixel, {wanted}")
    if result.is_complex():
        raise fail(function, "returned complex values; a velocity is a real number, the phase of something")
    if not bool(torch.isfinite(result).all()):
        raise fail(function, "returned NaN or infinity; is something divided by zero?")
    return result.detach().double()
