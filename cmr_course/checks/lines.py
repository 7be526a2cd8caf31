"""Checks of sampling: realised acceleration, a mask of lines, the point-spread function."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Complex
from torch import Tensor

from cmr_course.checks.asking import answer, call, close, fail, number, passed, proportional, source
from cmr_course.fourier import fftc, ifftc
from cmr_course.sampling import Mask


def _lines(ky: int, acceleration: int, acs: int) -> Tensor:
    """The course's rule: lines 0, R, 2R, … and `acs` lines that start at ky // 2 − acs // 2."""
    sampled = torch.zeros(ky, dtype=torch.bool)
    sampled[::acceleration] = True
    sampled[ky // 2 - acs // 2 : ky // 2 - acs // 2 + acs] = True
    return sampled


def check_realised_acceleration(function: Callable[[Bool[Tensor, "*shape"]], float]) -> None:
    """f(mask) → all points over sampled points, for boolean masks of any shape, frames that differ included.

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(7)
    line = _lines(37, 4, 9)
    frames = torch.rand((3, 1, 20, 1), generator=generator) < torch.tensor([0.2, 0.5, 0.8])[:, None, None, None]
    plane = torch.rand((5, 16, 11), generator=generator) < 0.3
    for mask in (line, frames, plane, torch.ones(8, dtype=torch.bool)):
        got, share = number(function, mask), float(mask.double().mean())
        if abs(got * share - 1) < 1e-5:
            continue
        if abs(got - share) < 1e-5:
            raise fail(function, "returns the fraction that is sampled; the acceleration is its inverse")
        if got in (float(1 / share // 1), float(round(1 / share))):
            raise fail(function, f"returns the whole number {got:g}; realised factors are seldom whole: do not round")
        if mask.ndim > 1 and abs(got * float(mask[0].double().mean()) - 1) < 1e-5:
            raise fail(function, "looks at the first frame only; count over the whole mask")
        if mask.ndim > 1 and abs(got * int(mask.sum()) / len(mask) - 1) < 1e-5:
            raise fail(function, "divides the length of the first axis; count all points of the mask")
        if mask is line and abs(got - 4) < 1e-5:
            raise fail(function, "returns the nominal factor of the lattice; the ACS lines cost time too, count them")
        raise fail(function, f"returns {got:.4g} for {mask.numel()} points of which {int(mask.sum())} are sampled")
    passed("counts every point of the mask, ACS included")


def check_sampling_mask(function: Callable[[int, int, int], Mask | Bool[Tensor, " ky"]]) -> None:
    """f(ky, acceleration, acs) → the mask: lines 0, R, 2R, … and `acs` central lines, nothing else.

    The result is a bool tensor (ky,) or a `Mask`. The ACS block starts at ky // 2 − acs // 2, so that it holds the
    centre line ky // 2 for odd and even sizes. Outside the block one line in R is sampled.

    Raises:
        CheckError: what is missing, extra or misplaced.
    """
    for ky, acceleration, acs in ((24, 4, 6), (25, 4, 5), (24, 5, 7), (31, 4, 8), (40, 8, 0), (16, 1, 4)):
        sampled = _as_lines(function, ky, acceleration, acs)
        case = f"for ky = {ky}, R = {acceleration}, ACS = {acs}"
        wanted = _lines(ky, acceleration, acs)
        if torch.equal(sampled, wanted):
            continue
        block = torch.zeros(ky, dtype=torch.bool)
        block[ky // 2 - acs // 2 : ky // 2 - acs // 2 + acs] = True
        missing = torch.nonzero(wanted & ~sampled).flatten().tolist()
        extra = torch.nonzero(sampled & ~wanted).flatten().tolist()
        raise fail(function, f"{_mask_mistake(sampled, block, missing, extra, ky, acceleration)} ({case})")
    passed("lattice lines, a centred ACS block, and nothing else")


def _as_lines(function: Callable[..., Mask | Tensor], ky: int, acceleration: int, acs: int) -> Tensor:
    result = call(function, ky, acceleration, acs)
    if isinstance(result, Mask):
        lines = result.sampled
        if lines.shape[3] != ky or not bool((lines == lines[:1, :1, :, :, :1]).all()):
            raise fail(
                function, f"returned a mask of shape {tuple(lines.shape)}, want {ky} lines, alike in every frame"
            )
        return lines[0, 0, 0, :, 0]
    if isinstance(result, Tensor) and tuple(result.shape) == (ky,) and result.dtype == torch.bool:
        return result
    what = f"{result.dtype} of shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
    raise fail(function, f"returned {what}, want torch.bool of shape ({ky},), or a Mask")


def _mask_mistake(
    sampled: Tensor, block: Tensor, missing: list[int], extra: list[int], ky: int, acceleration: int
) -> str:
    centre = ky // 2
    if block.any() and all(bool(block[line]) for line in missing) and missing:
        if not extra:
            return "some ACS lines are missing: the block in the centre is to be sampled completely"
        if len(missing) == len(extra) or all(abs(line - centre) <= int(block.sum()) for line in extra):
            return f"the ACS block is not centred: it must hold as many lines as asked around line {centre}"
    if missing and not extra:
        return f"lattice lines are missing, such as line {missing[0]}: one line in R over the whole of k-space"
    if extra and not missing:
        near = all(abs(line - centre) <= int(block.sum()) for line in extra) and bool(block.any())
        where = (
            "the ACS block is too large" if near else f"line {extra[0]} belongs neither to the lattice nor to the ACS"
        )
        return f"samples more than asked: {where}"
    if not bool(sampled[0]) and bool(sampled[missing[0] % acceleration :: acceleration].any()):
        return "the lattice does not start at line 0, or its step is not R"
    return f"line {missing[0]} is missing and line {extra[0]} is extra: is the step of the lattice R?"


def check_point_spread(function: Callable[[Bool[Tensor, " ky"]], Complex[Tensor, " ky"]]) -> None:
    """f(sampled (ky,)) → complex point-spread function (ky,): what one bright pixel in the centre becomes.

    Its value at the centre ky // 2 is one; a zero-filled image is the true one convolved with it, times the fraction
    of lines sampled. A uniform lattice without ACS, R dividing ky, gives R replicas ky / R apart, all of magnitude one,
    and Σ|psf|² is ky over the number of lines (Parseval).

    Raises:
        CheckError: which of these does not hold.
    """
    generator = source(8)
    odd = torch.rand(15, generator=generator) < 0.6
    odd[[0, 7]] = True
    for sampled in (_lines(16, 4, 4), odd, torch.ones(9, dtype=torch.bool), _lines(24, 3, 0), _lines(21, 3, 0)):
        ky = len(sampled)
        psf = answer(function, sampled, shape=(ky,))
        pixel = torch.zeros(ky, dtype=torch.complex128)
        pixel[ky // 2] = 1
        seen = ifftc(sampled * fftc(pixel, (0,)), (0,)) * ky / int(sampled.sum())
        if close(psf, seen):
            continue
        raise fail(function, _spread_mistake(psf, seen))
    passed("peak of one in the centre, replicas ky / R apart, energy as Parseval has it")


def _spread_mistake(psf: Tensor, seen: Tensor) -> str:
    ky = len(seen)
    factor = proportional(psf, seen)
    if factor is not None:
        return f"the value in the centre, at ky // 2, is {abs(factor):.3g}, want 1: scale by the number of lines"
    if any(proportional(psf.roll(shift), seen) is not None for shift in (ky // 2, ky - ky // 2, 1, -1)):
        return "the peak is not at the centre, ky // 2: a shift is missing or the wrong one"
    if proportional(psf.conj(), seen) is not None:
        return "goes the wrong way: from k-space to image is the inverse transform"
    if close(psf.abs() / psf.abs().max(), seen.abs() / seen.abs().max()):
        return "magnitude right, phase wrong: line ky // 2 is the zero frequency, and must come first in the transform"
    if close(psf.abs().roll(ky // 2) / psf.abs().max(), seen.abs() / seen.abs().max()):
        return "the peak is not at the centre, and the phase is wrong: both shifts around the transform are missing"
    return "is not what a single bright pixel in the centre becomes when only these lines are kept"
