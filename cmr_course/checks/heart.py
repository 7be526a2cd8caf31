"""Checks of the heart's numbers: ejection fraction from strain, volume from slices, the flip angle of most contrast."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.checks.asking import call, fail, number, passed, source

Tissue = tuple[float, float, float]
"""T1 and T2 in ms, and proton density."""


def check_ejection_fraction(function: Callable[[float, float], float]) -> None:
    """f(longitudinal, circumferential) → ejection fraction of a ventricle with these strains (negative: shorter).

    Raises:
        CheckError: what it computes instead.
    """
    if abs(number(function, 0.0, 0.0)) > 1e-6:
        raise fail(function, "a ventricle without strain ejects nothing; f(0, 0) has to be 0")
    generator = source(21)
    for _ in range(20):
        along, around = (-0.3 * torch.rand(2, dtype=torch.float64, generator=generator)).tolist()
        got, left = number(function, along, around), (1 + along) * (1 + around) ** 2
        if abs(got - (1 - left)) < 1e-6:
            continue
        if abs(got - left) < 1e-6:
            raise fail(function, "returns the share of blood that is left; the ejected share is the rest")
        if abs(got - 100 * (1 - left)) < 1e-3:
            raise fail(function, "returns per cent; a fraction lies between 0 and 1")
        if abs(got - (1 - (1 + along) * (1 + around))) < 1e-6:
            raise fail(function, "shrinks one diameter only; the circumference shrinks two")
        if abs(got - (1 - (1 + around) ** 2)) < 1e-6:
            raise fail(function, "is the change of a slice's area; the ventricle becomes shorter as well")
        if abs(got - (1 - (1 + along) ** 2 * (1 + around))) < 1e-6:
            raise fail(function, "has the two strains in each other's place")
        raise fail(function, f"returns {got:.4g} for strains {along:.3f} and {around:.3f}; how does the volume scale?")
    passed("length times diameter squared: that is how the volume scales")


def check_volume(function: Callable[[Float[Tensor, "slice frame"], float], Float[Tensor, " frame"]]) -> None:
    """f(areas, spacing) → volume of each frame in ml, from areas (slice, frame) in mm² of planes `spacing` mm apart.

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(22)
    for slices, frames in ((9, 12), (1, 3), (14, 1)):
        areas = 2000 * torch.rand((slices, frames), dtype=torch.float64, generator=generator)
        spacing = 4 + 8 * float(torch.rand((), dtype=torch.float64, generator=generator))
        result = call(function, areas, spacing)
        if not isinstance(result, Tensor) or tuple(result.shape) != (frames,):
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise fail(function, f"returned {shape}, want one volume for each of {frames} frames")
        got, sums = result.double(), areas.sum(0)
        if torch.allclose(got, sums * spacing / 1000, rtol=1e-5):
            continue
        if torch.allclose(got, sums * spacing, rtol=1e-5):
            raise fail(function, "returns mm³; a millilitre is a thousand of them")
        if torch.allclose(got, sums * spacing / 100, rtol=1e-5):
            raise fail(function, "divides by a hundred; a millilitre is a thousand mm³")
        if torch.allclose(got, sums / 1000, rtol=1e-5):
            raise fail(function, "adds areas; each stands for a disc as thick as the slices are apart")
        if torch.allclose(got, areas.mean(0) * spacing / 1000, rtol=1e-5) and slices > 1:
            raise fail(function, "takes the mean over slices; the discs lie on top of each other, add them")
        raise fail(function, f"is wrong for {slices} slices {spacing:.1f} mm apart; add up the discs")
    passed("each slice is a disc, and 1,000 mm³ are a millilitre")


def _bssfp(tissue: Tissue, degrees: float, TR: float) -> float:
    """Steady-state signal on resonance, echo decay left out; see `simulation.sequences.BalancedSSFP`."""
    T1, T2, density = tissue
    E1, E2, alpha = math.exp(-TR / T1), math.exp(-TR / T2), math.radians(degrees)
    return density * math.sin(alpha) * (1 - E1) / (1 - (E1 - E2) * math.cos(alpha) - E1 * E2)


def check_flip_angle(function: Callable[[Tissue, Tissue, float], float]) -> None:
    """f(one, other, TR) → the flip angle in degrees at which their signals in balanced SSFP differ most.

    one, other: (T1, T2, proton density), ms. Right within a degree, by what a neighbouring angle would give.

    Raises:
        CheckError: where a better angle lies.
    """
    pairs: list[tuple[Tissue, Tissue]] = [
        ((1932.0, 275.0, 0.83), (1471.0, 47.0, 0.79)),
        ((1441.0, 290.0, 0.83), (1030.0, 40.0, 0.79)),
        ((2500.0, 300.0, 0.95), (576.0, 46.0, 0.75)),
    ]
    for one, other in pairs:
        for TR in (2.8, 3.4, 5.0):
            got = number(function, one, other, TR)
            angles = [k / 10 for k in range(1, 1800)]
            best = max(angles, key=lambda angle: abs(_bssfp(one, angle, TR) - _bssfp(other, angle, TR)))
            if abs(got - best) <= 1:
                continue
            if abs(math.degrees(got) - best) <= 1:
                raise fail(function, "returns radians; the flip angle is wanted in degrees")
            brightest = max(angles, key=lambda angle: _bssfp(one, angle, TR))
            if abs(got - brightest) <= 1:
                raise fail(function, "finds where the first tissue is brightest; look for the largest difference")
            side = "larger" if got < best else "smaller"
            raise fail(function, f"returns {got:.1f} degrees for TR {TR:g} ms; the difference grows for {side} angles")
    passed("no neighbouring angle gives more contrast")
