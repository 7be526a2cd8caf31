"""Checks of the centred Fourier transform and of a low-pass filter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex
from torch import Tensor
from torch.fft import fftshift, ifftshift

from cmr_course.checks.asking import answer, close, draw, fail, passed, source
from cmr_course.fourier import fft2c, fftc, ifft2c

Shift = Callable[..., Tensor]


def _none(x: Tensor, dim: tuple[int, int]) -> Tensor:
    return x


def _transformed(x: Tensor, before: Shift, after: Shift) -> Tensor:
    axes = (-2, -1)
    return after(torch.fft.fft2(before(x, dim=axes), norm="ortho"), dim=axes)


def _fourier_mistakes(x: Tensor) -> list[tuple[Tensor, str]]:
    """What typical mistakes make of x (stack, odd, odd), with the sentence for each. All of them keep the energy."""
    odd = "right for even sizes only: on odd ones "
    spectrum = torch.fft.fft2(x, norm="ortho")
    return [
        (_transformed(x, _none, _none), "both shifts are missing: the zero frequency sits in the corner"),
        (_transformed(x, _none, fftshift), "magnitude right, phase wrong: a shift before the FFT is missing, so that "
         "the image's centre is not its origin"),
        (_transformed(x, ifftshift, _none), "the zero frequency sits in the corner: a shift after the FFT is missing"),
        (_transformed(x, _none, ifftshift), "a shift before the FFT is missing, and the one after is the wrong one"),
        (_transformed(x, fftshift, _none), "a shift after the FFT is missing, and the one before is the wrong one"),
        (_transformed(x, fftshift, ifftshift), odd + "the two shifts are swapped"),
        (_transformed(x, fftshift, fftshift), odd + "fftshift does not undo fftshift; look at the first shift"),
        (_transformed(x, ifftshift, ifftshift), odd + "ifftshift does not undo ifftshift; look at the last shift"),
        (fftshift(spectrum), "shifts every axis and only after the FFT: name the axes, and centre the image first"),
        (ifft2c(x), "goes the wrong way: this is the inverse transform, the sign of the exponent differs"),
        (fftc(x, (-1,)), "transforms the wrong axes: only the last one, want the last two"),
        (fftc(x, (-2,)), "transforms the wrong axes: only the second to last one, want the last two"),
        (fftc(x, (0, 1)), "transforms the wrong axes: the first two, want the last two"),
        (fftc(x, (0, 1, 2)), "transforms the wrong axes: all of them, want only the last two"),
    ]  # fmt: skip


def check_centred_fourier(
    transform: Callable[[Complex[Tensor, "*stack y x"]], Complex[Tensor, "*stack ky kx"]],
) -> None:
    """f(image) is the centred orthonormal Fourier transform over the last two axes, for odd and even sizes.

    It is called with complex128 (y, x) and (stack, y, x); the centre of an axis of length n is index n // 2.

    Raises:
        CheckError: which part is missing or wrong (normalisation, a shift, the axes, the direction).
    """
    generator = source(2)
    for shape in ((6, 4), (5, 7), (6, 5), (3, 5, 7), (2, 8, 6)):
        x = draw(shape, generator)
        ratio = float(answer(transform, x, shape=shape).norm() / x.norm())
        if abs(ratio - 1) > 1e-5:
            points = shape[-2] * shape[-1]
            raise fail(
                transform,
                f"multiplies the norm of a {shape[-2]} x {shape[-1]} image by {ratio:.3g} (√{points} = "
                f"{points**0.5:.3g}): the normalisation (norm) is missing or wrong",
            )
    for shape in ((3, 5, 7), (2, 8, 6), (6, 4), (5, 7)):
        x = draw(shape, generator)
        if close(answer(transform, x, shape=shape), fft2c(x)):
            continue
        stack = draw((3, 5, 7), generator)
        result = answer(transform, stack, shape=stack.shape)
        for wrong, sentence in _fourier_mistakes(stack):
            if close(result, wrong):
                raise fail(transform, sentence)
        raise fail(
            transform, "is not the centred Fourier transform: a constant image must end in the centre sample only"
        )
    passed("unitary, centred for odd and even sizes, over the last two axes")


LowPass = Callable[[Complex[Tensor, "y x"], float], Complex[Tensor, "y x"]]


def _response(function: LowPass, shape: tuple[int, int], fraction: float, generator: torch.Generator) -> Tensor:
    """By what each k-space sample is multiplied; random images have no sample that is zero."""
    gains = []
    for _ in range(2):
        image = draw(shape, generator)
        gains.append(fft2c(answer(function, image, fraction, shape=shape)) / fft2c(image))
    if float((gains[0] - gains[1]).abs().max()) > 1e-4:
        raise fail(
            function, "does more than multiply k-space samples: two images are filtered differently (not linear)"
        )
    return gains[0]


def check_low_pass(function: LowPass) -> None:
    """f(image (y, x), fraction) keeps the central `fraction` of the k-space lines in both directions, and no other.

    Kept samples are multiplied by one, the others by zero: so it is linear, idempotent, keeps the mean, and changes
    nothing for fraction 1. The number of lines may differ by one from fraction · n, for rounding.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(3)
    for shape, fraction in (((16, 12), 0.5), ((15, 21), 1 / 3), ((13, 16), 0.25), ((9, 8), 1.0)):
        gain = _response(function, shape, fraction, generator)
        kept = (gain - 1).abs() < 1e-4
        if fraction == 1.0 and not bool(kept.all()):
            raise fail(function, "changes the image for fraction 1, where every line is kept")
        _require_low_pass(function, gain, kept, fraction)
        _require_extent(function, kept, fraction)
    passed("keeps the central lines in both directions, removes the rest, and doing it twice changes nothing")


def _require_low_pass(function: LowPass, gain: Tensor, kept: Tensor, fraction: float) -> None:
    ky, kx = kept.shape
    removed = gain.abs() < 1e-4
    if bool((kept | removed).logical_not().any()):
        factor = float(gain.abs()[kept.logical_not() & removed.logical_not()][0])
        raise fail(function, f"multiplies some samples by {factor:.3g}: each is kept as it is or removed, nothing else")
    if not bool(kept[ky // 2, kx // 2]):
        corners_only = bool(kept[0, 0]) and not bool(kept[ky // 2, 0]) and not bool(kept[0, kx // 2])
        where = "its corners are kept; is the spectrum centred?" if corners_only else "the mean of the image is lost"
        raise fail(function, f"removes the centre of k-space: {where}")


def _require_extent(function: LowPass, kept: Tensor, fraction: float) -> None:
    rows, columns = kept.any(1), kept.any(0)
    if not bool((kept == (rows[:, None] & columns)).all()):
        raise fail(
            function, "does not keep a rectangle of k-space: the same rule holds for ky and for kx, both at once"
        )
    for axis, lines in (("ky", rows), ("kx", columns)):
        n, count = len(lines), int(lines.sum())
        if count == n and fraction < 0.9:
            raise fail(function, f"keeps every line along {axis}: filter in both directions")
        if abs(count - fraction * n) > 1.001:
            raise fail(
                function,
                f"keeps {count} of {n} lines along {axis} for fraction {fraction:.2g}, want {fraction * n:.3g}",
            )
        places = torch.nonzero(lines).flatten() - n // 2
        if int(places[-1] - places[0]) + 1 != count or abs(int(places[0]) + int(places[-1])) > 1:
            raise fail(
                function,
                f"keeps lines {int(places[0])} to {int(places[-1])} along {axis}, counted from the centre "
                f"n // 2 of {n}: not the central ones",
            )
