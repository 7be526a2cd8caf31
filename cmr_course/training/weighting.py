"""Weights of losses that follow how much each of them varies: CoV weighting, with which GENRE-CMR is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cmr_course.validate import is_number, is_whole, require, say

SMALLEST = 1e-30
"""A first loss below this counts as zero: a later one may be too many times as large for a number."""


@dataclass
class Running:
    """What is kept of one loss: how often it was seen, its mean, and mean and Σ(ℓ − mean)² of its ratios ℓ."""

    count: int = 0
    mean: float = 0.0
    ratio: float = 0.0
    squares: float = 0.0

    def add(self, loss: float) -> None:
        """Count one more value. Zeros before the first value above zero do not count: there is no ratio to them."""
        if self.count == 0 and loss < SMALLEST:
            return
        ratio = 1.0 if self.count == 0 else loss / self.mean
        self.count += 1
        self.mean += (loss - self.mean) / self.count
        before = ratio - self.ratio
        self.ratio += before / self.count
        self.squares += before * (ratio - self.ratio)

    @property
    def variation(self) -> float | None:
        """Standard deviation of the ratios by their mean; None before there are two of them."""
        return None if self.count < 2 else math.sqrt(self.squares / self.count) / self.ratio


class CoVWeighting:
    """Weights by the coefficient of variation: losses that vary more weigh more (Groenendijk et al. 2021, WACV,
    arXiv:2009.01717). GENRE-CMR (arXiv:2508.20600) sets its three λ so, once in an iteration, for the next one.

    Of each loss L the ratio to its own past is watched, ℓ_t = L_t / (mean of L_1 … L_{t−1}), ℓ_1 = 1; its weight is
    σ_ℓ / (mean of ℓ), divided by the sum of those of all losses. Means and variance (over the number of values) run
    over the whole past, by Welford's method, and a weight has no gradient: so far the cited paper. Weights are uniform
    in the first two iterations, until there are two ratios.

    Ours, where a loss is zero at the start, as SDA is until it knows two domains: its past begins with its first value
    above zero; until it has two, its weight is 1/(number of losses), and the others share the rest. Where no loss
    varies, weights are uniform.

    names: of the losses. Raises ValueError for names that are none, or twice the same.
    """

    def __init__(self, names: Sequence[str]) -> None:
        good = isinstance(names, list | tuple) and len(names) > 0 and all(isinstance(name, str) for name in names)
        require(good and len(set(names)) == len(names), f"names: got {say(names)}, want names of losses, each once")
        self.running = {name: Running() for name in names}

    def weights(self) -> dict[str, float]:
        """The weights of the next iteration, by name: together one."""
        number, found = len(self.running), {name: one.variation for name, one in self.running.items()}
        known = {name: value for name, value in found.items() if value is not None}
        whole, rest = sum(known.values()), len(known) / number
        shared = {name: rest * value / whole for name, value in known.items()} if whole > 0 else {}
        return {name: shared.get(name, 1 / number) for name in found}

    def update(self, losses: Mapping[str, float]) -> None:
        """Count the losses of an iteration, without their weights; once in each.

        Raises ValueError for other names, and for what is no finite number of 0 or more; nothing is counted then.
        """
        self._require_names("losses", losses)
        for name, value in losses.items():
            good = is_number(value) and 0 <= value < float("inf")
            require(good, f"losses: got {say(value)} for {name}, want a finite number of 0 or more")
        for name, value in losses.items():
            self.running[name].add(float(value))

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What is kept of each loss, as plain numbers."""
        return {name: asdict(one) for name, one in self.running.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from :meth:`state_dict`; ValueError where it is of other losses, or no such state."""
        self._require_names("state", state)
        wanted = ", ".join(asdict(Running()))
        for name, values in state.items():
            good = isinstance(values, Mapping) and set(values) == set(asdict(Running()))
            good = good and all(is_number(value) and 0 <= value < float("inf") for value in values.values())
            good = good and is_whole(values["count"])
            require(good, f"state of {name}: got {say(values)}, want finite {wanted} of 0 or more")
        self.running = {name: Running(**state[name]) for name in self.running}

    def _require_names(self, what: str, given: Mapping[str, Any]) -> None:
        good = isinstance(given, Mapping) and set(given) == set(self.running)
        got = ", ".join(map(str, given)) if isinstance(given, Mapping) else say(given)
        require(good, f"{what}: got {got or 'none'}, want {', '.join(self.running)}")
