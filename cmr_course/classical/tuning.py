"""One way to choose settings: try all of a grid on measured cases whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cmr_course.acquisition import Acquisition, Reconstructor
from cmr_course.validate import is_number, require, require_finite, say

Magnitude = Float[Tensor, "batch frame y x"]
Case = tuple[Acquisition, Magnitude]
Score = Callable[[Magnitude, Magnitude], float]


def squared_error_ratio(magnitude: Magnitude, reference: Magnitude) -> float:
    """‖magnitude − reference‖² / ‖reference‖² over the whole series: the normalised mean squared error."""
    energy = float(reference.square().sum())
    require(energy > 0, f"reference: got energy {energy:g}, want a series that is not zero")
    return float((magnitude - reference).square().sum()) / energy


@dataclass(frozen=True)
class Row:
    """One point of the grid: its settings, its score of each case, and their mean."""

    settings: Mapping[str, Any]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class Tuned:
    """What :func:`tune` found. rows: the whole grid, in the order in which it was tried; smaller scores are better."""

    rows: tuple[Row, ...]

    @property
    def best(self) -> Row:
        """The row of the smallest mean score; of equal ones the first."""
        return min(self.rows, key=lambda row: row.mean)

    @property
    def best_by_case(self) -> tuple[Mapping[str, Any], ...]:
        """The settings each case would choose for itself: where they differ, no one setting suits all."""
        cases = range(len(self.rows[0].scores))
        return tuple(min(self.rows, key=lambda row, case=case: row.scores[case]).settings for case in cases)  # type: ignore[misc]

    @property
    def regret(self) -> tuple[float, ...]:
        """By how much the best row's score of each case is above the smallest score the grid has for it."""
        smallest = [min(scores) for scores in zip(*(row.scores for row in self.rows), strict=True)]
        return tuple(score - least for score, least in zip(self.best.scores, smallest, strict=True))

    def __str__(self) -> str:
        """The grid as text, best row first: settings, mean score, and the smallest and largest of a case."""
        lines = [f"{'mean':>12} {'smallest':>12} {'largest':>12}  settings"]
        for row in sorted(self.rows, key=lambda row: row.mean):
            named = ", ".join(f"{name} = {value}" for name, value in row.settings.items())
            lines.append(f"{row.mean:12.6g} {min(row.scores):12.6g} {max(row.scores):12.6g}  {named}")
        return "\n".join(lines)


def tune(
    make: Callable[..., Reconstructor],
    settings: Mapping[str, Sequence[Any]],
    cases: Iterable[Case],
    *,
    score: Score = squared_error_ratio,
) -> Tuned:
    """Try every combination of `settings` on every one of `cases`.

    make: what makes the method from settings, for example ``LowRankSparse``.
    settings: the values to try, by name; the grid is their product, the last name varying fastest.
    cases: (acquisition, magnitude of its truth), each with its coil maps filled beforehand, or ESPIRiT runs anew for
        every point of the grid. What is tuned on a case says nothing about that case: take training subjects, and
        test on others.
    score: of (magnitude, reference), smaller is better; for a metric that is better when larger pass its negative.

    The smallest mean decides. Where cases are of different difficulty, a ratio such as the default lets the hardest
    cases decide; a score in decibels weighs a change alike everywhere.
    """
    require(callable(make), f"make: got {say(make)}, want what makes a method from settings")
    require(callable(score), f"score: got {say(score)}, want a function of (magnitude, reference)")
    points = [dict(zip(settings, values, strict=True)) for values in product(*_grid(settings))]
    try:
        methods = [make(**point) for point in points]  # a setting out of range is said before hours of work
    except TypeError as error:
        raise ValueError(f"settings: got {', '.join(map(str, settings))}, want those of make ({error})") from error
    known = _checked(cases)
    rows = []
    for point, method in zip(points, methods, strict=True):
        scores = tuple(_number(score(method(acquisition).magnitude(), truth)) for acquisition, truth in known)
        rows.append(Row(MappingProxyType(point), scores))
    return Tuned(tuple(rows))


def _grid(settings: Mapping[str, Sequence[Any]]) -> list[list[Any]]:
    """The values of each setting, after a look at them."""
    good = isinstance(settings, Mapping) and len(settings) > 0
    require(good, f"settings: got {say(settings)}, want a mapping from names to the values to try")
    for name, values in settings.items():
        good = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
        require(good, f"settings: got {say(values)} for {name}, want a sequence of at least one value")
    return [list(values) for values in settings.values()]


def _checked(cases: Iterable[Case]) -> list[Case]:
    """`cases` as a list, after a look at each."""
    known = list(cases)
    require(len(known) > 0, "cases: got none, want at least one (acquisition, reference)")
    for number, case in enumerate(known):
        pair = isinstance(case, tuple) and len(case) == 2 and isinstance(case[0], Acquisition)
        require(pair and isinstance(case[1], Tensor), f"cases: got {say(case)} as {number}, want (Acquisition, tensor)")
        acquisition, reference = case
        kspace = acquisition.kspace
        wanted, got = (*kspace.shape[:2], *kspace.shape[-2:]), tuple(reference.shape)
        fits = got == wanted and reference.is_floating_point()
        require(fits, f"cases: got a reference of {reference.dtype} {got} as {number}, want real magnitudes {wanted}")
        require_finite(f"reference of case {number}", reference)
    return known


def _number(value: Any) -> float:
    """A score as a number that can be compared."""
    number = float(value) if isinstance(value, Tensor) and value.numel() == 1 else value
    good = is_number(number) and math.isfinite(number)
    require(good, f"score: got {say(value)}, want one finite number for each case")
    return float(number)
