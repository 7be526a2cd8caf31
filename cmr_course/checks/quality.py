"""Checks of scores: PSNR, what sees a gain, how many subjects a table needs, which image is the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.checks.asking import CLOSE, call, fail, number, passed, source

Series = Float[Tensor, "frame y x"]
Images = Float[Tensor, "slice y x"] | Float[Tensor, "slice frame y x"]
Score = Callable[[Tensor, Tensor], Tensor]


def check_psnr(function: Callable[[Series, Series], Float[Tensor, " frame"]]) -> None:
    """f(prediction, reference) → PSNR in dB of each frame; the peak is the maximum of the reference series.

    Raises:
        CheckError: what it computes instead.
    """
    generator = source(31)
    for shape in ((4, 9, 7), (1, 5, 5), (3, 16, 12)):
        reference = torch.rand(shape, dtype=torch.float64, generator=generator)
        reference *= 0.5 + torch.arange(1, len(reference) + 1).view(-1, 1, 1)  # each frame has a maximum of its own
        error = 0.1 * torch.randn(shape, dtype=torch.float64, generator=generator)
        prediction = reference + error * torch.arange(1, len(reference) + 1).view(-1, 1, 1)
        got = _scores(function, prediction, reference, (len(reference),))
        mse, peak = (prediction - reference).square().mean((1, 2)), reference.max()
        if _alike(got, 10 * torch.log10(peak**2 / mse)):
            continue
        mistakes = {
            "takes the maximum of each frame; here it is that of the whole reference series": 10
            * torch.log10(reference.amax((1, 2)) ** 2 / mse),
            "takes its peak from the prediction; a reconstruction must not choose its own yardstick": 10
            * torch.log10(prediction.max() ** 2 / mse),
            "does not square the peak; the squared error has the unit of its square": 10 * torch.log10(peak / mse),
            "doubles the decibels; 20 belongs to amplitudes, 10 to squares": 20 * torch.log10(peak**2 / mse),
            "averages the error over all frames; each frame has a score": (
                10 * torch.log10(peak**2 / mse.mean())
            ).expand(len(mse)),
            "returns natural logarithms; decibels have the base ten": 10 * torch.log(peak**2 / mse),
            "has its sign turned; a smaller error is a larger score": 10 * torch.log10(mse / peak**2),
        }
        for says, wrong in mistakes.items():
            if _alike(got, wrong):
                raise fail(function, says)
        raise fail(function, "is wrong; the peak squared over the mean squared error of each frame, in decibels")
    passed("the peak of the series, the error of the frame, in decibels")


def check_sees_gain(function: Callable[[Score, Series, Series], bool]) -> None:
    """f(score, prediction, reference) → whether `score(prediction, reference)`, one value a frame, sees a wrong gain.

    Tried on scores that normalise nothing, and on some that divide or standardise each image by itself.

    Raises:
        CheckError: for which score the answer is wrong.
    """
    generator = source(32)
    answers = []
    for name, (score, sees) in _SCORES.items():
        reference = 0.2 + torch.rand((3, 8, 9), dtype=torch.float64, generator=generator)
        prediction = reference + 0.1 * torch.randn(reference.shape, dtype=torch.float64, generator=generator).abs()
        answers.append((name, bool(call(function, score, prediction, reference)), sees))
    given = [answer for _, answer, _ in answers]
    if all(given):
        raise fail(function, "says of every score that it sees a gain; equal up to rounding is equal, too")
    if not any(given):
        raise fail(function, "says of every score that it is blind; is only one of the two images scaled?")
    for name, answer, sees in answers:
        if answer != sees:
            raise fail(function, f"is wrong about a score that {name}; scale the prediction alone and compare")
    passed("a score that does not change when only one image becomes brighter is blind to gain")


def check_subjects_needed(function: Callable[[int, float], int]) -> None:
    """f(tests, level) → fewest subjects with which a two-sided signed-rank test can stay below level/tests.

    n pairs that all point the same way have p = 2/2^n. There are never fewer than six (what the package tests).

    Raises:
        CheckError: a number that is too small, or larger than needed.
    """
    for tests, level in itertools.product((1, 4, 7, 24, 100), (0.05, 0.01)):
        needed = next(n for n in itertools.count(6) if tests * 2.0 ** (1 - n) < level)
        got = number(function, tests, level)
        if got == needed:
            continue
        one_sided = next(n for n in itertools.count(6) if tests * 2.0**-n < level)
        alone = next(n for n in itertools.count(6) if 2.0 ** (1 - n) < level)
        if got != round(got):
            raise fail(function, f"returns {got:.3g}; subjects come in whole numbers")
        if got < 6:
            raise fail(function, f"returns {got:.0f}; below six pairs nothing is tested")
        if got == alone:
            raise fail(function, f"forgets the {tests} tests; Bonferroni multiplies each p-value by their number")
        if got == one_sided:
            raise fail(function, "is one-sided; with all signs alike, either way, p is 2/2^n")
        side = "too few" if got < needed else "more than needed"
        raise fail(function, f"returns {got:.0f} for {tests} tests at {level:g}, which is {side}; what is p at best?")
    passed("p is never below 2/2^n, and Bonferroni multiplies it by the number of tests")


def check_reference_finder(function: Callable[[Score, int], bool]) -> None:
    """f(score, n_axes) → whether `score(prediction, reference)` takes the *prediction* as the reference.

    The scores are NMSEs, one for each image of (slice, y, x) or (slice, frame, y, x); `n_axes` is 3 or 4. In some
    of them one branch is swapped, in some both, in some none.

    Raises:
        CheckError: of which kind of score the answer is wrong.
    """
    for wrong_3d, wrong_4d in itertools.product((False, True), repeat=2):
        score = _branches(wrong_3d, wrong_4d)
        for n_axes, swapped in ((3, wrong_3d), (4, wrong_4d)):
            answer = call(function, score, n_axes)
            if not isinstance(answer, bool | Tensor) or (isinstance(answer, Tensor) and answer.numel() != 1):
                raise fail(function, f"returned a {type(answer).__name__}, want True or False")
            if bool(answer) == swapped:
                continue
            other = wrong_4d if n_axes == 3 else wrong_3d
            if swapped and other:
                raise fail(function, "misses that both branches are swapped; that they agree does not make them right")
            what = "misses a swap in" if swapped else "sees a swap that is not there in"
            raise fail(function, f"{what} the branch for {n_axes} axes; try images whose NMSE you know beforehand")
    passed("an image whose score is known beforehand tells the two arguments apart")


def _scores(function: Callable[..., Tensor], x: Tensor, r: Tensor, shape: tuple[int, ...]) -> Float[Tensor, " frame"]:
    """What `function` returned, as float64 of the wanted shape."""
    result = call(function, x, r)
    if not isinstance(result, Tensor) or tuple(result.shape) != shape:
        got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise fail(function, f"returned {got}, want one score for each of {shape[0]} frames")
    return result.detach().double()


def _alike(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=CLOSE, atol=CLOSE)


def _nmse(image: Tensor, reference: Tensor) -> Tensor:
    return (image - reference).square().sum((-2, -1)) / reference.square().sum((-2, -1))


def _standardised(image: Tensor) -> Tensor:
    deviation, mean = torch.std_mean(image, dim=(-2, -1), keepdim=True)
    return (image - mean) / deviation


def _by_maximum(image: Tensor) -> Tensor:
    return image / image.amax((-2, -1), keepdim=True)


def _psnr(image: Tensor, reference: Tensor) -> Tensor:
    return 10 * torch.log10(reference.max() ** 2 / (image - reference).square().mean((-2, -1)))


_SCORES: dict[str, tuple[Score, bool]] = {
    "normalises nothing": (_nmse, True),
    "divides each image by its maximum": (lambda x, r: _nmse(_by_maximum(x), _by_maximum(r)), False),
    "is a PSNR and normalises nothing": (_psnr, True),
    "standardises each image": (lambda x, r: _psnr(_standardised(x), _standardised(r)), False),
    "divides both images by the maximum of the reference": (lambda x, r: _nmse(x / r.max(), r / r.max()), True),
}
"""By what they do: the score, and whether it sees a gain."""


def _branches(wrong_3d: bool, wrong_4d: bool) -> Score:
    """NMSE with a branch for each number of axes, in which the arguments are exchanged or not."""

    def score(prediction: Images, reference: Images) -> Tensor:
        axes = prediction.ndim
        if axes not in (3, 4) or prediction.shape != reference.shape:
            shapes = tuple(prediction.shape), tuple(reference.shape)
            raise ValueError(f"prediction, reference: got shapes {shapes}, want two alike with 3 or 4 axes")
        if axes == 3:
            return _nmse(reference, prediction) if wrong_3d else _nmse(prediction, reference)
        pairs = zip(prediction.unbind(1), reference.unbind(1), strict=True)
        return torch.stack([_nmse(r, p) if wrong_4d else _nmse(p, r) for p, r in pairs], dim=1)

    return score
