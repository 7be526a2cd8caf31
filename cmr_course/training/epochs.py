"""Epochs: which examples come in which batch, as a function of the batch's number alone.

All batches of all epochs stand in one row. With several processes, batch n of process r is number n · processes + r of
this row: in a step each has batches of its own, and together they go once through the data in an epoch, whatever their
number. An epoch may end within a step.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import torch

from cmr_course.data import stream
from cmr_course.training.order import Balanced, ByGroup, in_order
from cmr_course.validate import require


@dataclass(frozen=True)
class Part:
    """Examples that come together in an epoch, by their places in the data; `sizes` holds those of one size together.

    batch: so many examples of one size in each, the rest in a smaller one.
    """

    name: str
    batch: int
    sizes: tuple[tuple[int, ...], ...]

    def drawn(self, share: float, generator: torch.Generator) -> list[list[int]]:
        """The batches of an epoch: this share of the examples of each size, shuffled; and then the batches are."""
        batches = []
        for places in self.sizes:
            order = torch.randperm(len(places), generator=generator).tolist()
            chosen = [places[i] for i in order[: _taken(len(places), share)]]
            batches += [chosen[first : first + self.batch] for first in range(0, len(chosen), self.batch)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


@dataclass(frozen=True)
class _Epoch:
    """Batches of one epoch; starts: how many examples come before each of them."""

    batches: list[list[int]]
    starts: list[int]


@dataclass(frozen=True)
class Plan:
    """The batches of every epoch: its parts one after the other. All epochs have equally many, of other examples.

    Examples are numbered in the order in which they come, from 0 up and without an end: an example that comes again,
    in this epoch or another, has another number, and so another mask.
    """

    parts: tuple[Part, ...]
    seed: int
    share: float = 1.0
    kept: dict[int, _Epoch] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        order: ByGroup | Balanced,
        members: Mapping[tuple[str, str], Sequence[tuple[int, Hashable]]],
        batch: int,
        seed: int,
        where: str,
    ) -> Plan:
        """The plan of `order` for the `members`: for each group and stem the places of its examples, and their sizes.

        batch: of groups that have no size of their own. where: names the data in errors.
        """
        if isinstance(order, Balanced):
            times = [(order.repeats.get(stem, 1), held) for (_, stem), held in members.items()]
            everything = [one for number, held in times for one in held for _ in range(number)]
            return cls((Part("all", batch, _by_size(everything)),), seed)
        held = {name: found for (name, _), found in members.items()}
        names = in_order(order, held, where)
        parts = [Part(name, order.batches.get(name, batch), _by_size(held[name])) for name in names]
        return cls(tuple(parts), seed, order.share)

    @property
    def batches(self) -> int:
        """How many in an epoch."""
        taken = [(part, _taken(len(places), self.share)) for part in self.parts for places in part.sizes]
        return sum(-(-number // part.batch) for part, number in taken)

    @property
    def examples(self) -> int:
        """How many in an epoch."""
        return sum(_taken(len(places), self.share) for part in self.parts for places in part.sizes)

    def numbers(self, batch: int) -> range:
        """Of the examples in the batch of this number."""
        number, index = divmod(batch, self.batches)
        epoch = self._epoch(number)
        first = number * self.examples + epoch.starts[index]
        return range(first, first + len(epoch.batches[index]))

    def at(self, number: int) -> tuple[int, int]:
        """The place in the data of the example of this number, and the number of its batch."""
        count, position = divmod(number, self.examples)
        epoch = self._epoch(count)
        index = bisect_right(epoch.starts, position) - 1
        return epoch.batches[index][position - epoch.starts[index]], count * self.batches + index

    def _epoch(self, number: int) -> _Epoch:
        """The last one that was asked for is kept."""
        if number not in self.kept:
            generator = stream(self.seed, "order", number)
            batches = [batch for part in self.parts for batch in part.drawn(self.share, generator)]
            starts = [0]
            for batch in batches[:-1]:
                starts.append(starts[-1] + len(batch))
            self.kept.clear()
            self.kept[number] = _Epoch(batches, starts)
        return self.kept[number]


@dataclass(frozen=True)
class Length:
    """How long a training is. steps: of the optimiser in all. epoch: steps in an epoch, a fraction where it ends within
    one; None where the data have no end.
    """

    steps: int
    epoch: Fraction | None = None

    @classmethod
    def of(cls, steps: int | None, epochs: int | None, epoch: Fraction | None, wanted: bool) -> Length:
        """So many `steps`, or the steps of so many `epochs`: the last one may go on a little into the next epoch.

        wanted: whether anything else needs to know the length of an epoch. ValueError where it is not known.
        """
        if steps is None or wanted:
            none = "got data without an end, want a pool, groups with an order, a tree or series to count epochs"
            require(epoch is not None, f"epochs: {none}")
        if steps is None:
            assert epochs is not None
            assert epoch is not None
            steps = math.ceil(epochs * epoch)
        return cls(steps, epoch)


def _taken(number: int, share: float) -> int:
    return max(1, round(share * number))


def _by_size(members: Sequence[tuple[int, Hashable]]) -> tuple[tuple[int, ...], ...]:
    """Places, those of one size together, in the order in which sizes come first."""
    found: dict[Hashable, list[int]] = {}
    for place, size in members:
        found.setdefault(size, []).append(place)
    return tuple(tuple(places) for places in found.values())
