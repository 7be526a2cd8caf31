"""In what order a training sees its examples: group after group, as HyperCMR's Algorithm 1, or balanced, as PromptMR+.

A group is of one kind of file and one size. HyperCMR (arXiv:2410.03624, section 2.2) has 11, called ``aorta_sag``,
``cine_lax204`` and so on (:data:`cmr_course.domains.GROUPS`); any other is called by its stem and its matrix,
``cine_sax_96x96``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cmr_course.domains import GROUPS, STEMS, Group, Stem, group_of
from cmr_course.training.settings import require_known
from cmr_course.validate import is_number, require, require_whole, say

KNOWN: Mapping[str, Group] = MappingProxyType({group.name: group for group in GROUPS})
"""The groups of HyperCMR by name."""
ALL_STEMS: Mapping[str, Stem] = MappingProxyType({stem.name: stem for stems in STEMS.values() for stem in stems})
"""The files of all years by name."""
PROMPTMR_PLUS: Mapping[str, int] = MappingProxyType({"T2map": 6, "cine_lvot": 6, "T1map": 2, "cine_lax": 2})
"""How often PromptMR+ sees a file in an epoch, by its stem; the others once."""

_NAME = re.compile(r"(\w+)_(\d+)x(\d+)")


@dataclass(frozen=True)
class ByGroup:
    """One pass over all groups in an epoch, group after group (HyperCMR, Algorithm 1), each with its own batch size.

    batches: examples in a batch, by the name of the group. Groups come in this order; those that are not named come
    last, in the data's own order, with the recipe's `batch`. Examples are shuffled within their group anew in each
    epoch. A batch is of one size: where the files of a group have several, each makes batches of its own. What is left
    over is a smaller batch, so nothing is dropped; its loss, a mean, weighs as much as that of a full one.
    share: of the examples of each group that an epoch has, drawn anew for each; HyperCMR's second task has 0.5
    (appendix A.1). Its number is rounded, and at least one.
    """

    kind: str = "groups"
    batches: Mapping[str, int] = field(default_factory=dict)
    share: float = 1.0

    def __post_init__(self) -> None:
        require(self.kind == "groups", f"order.kind: got {say(self.kind)}, want groups")
        for name, size in self.batches.items():
            group_named(f"order.batches.{name}", name)
            require_whole(f"order.batches.{name}", size)
        good = is_number(self.share) and 0 < self.share <= 1
        require(good, f"order.share: got {say(self.share)}, want a share above 0, up to 1")


@dataclass(frozen=True)
class Balanced:
    """All examples shuffled together, those of rare contrasts several times: the sampler of PromptMR+.

    repeats: how often a file of this stem comes in an epoch, each time with another mask; default
    :data:`PROMPTMR_PLUS`. Every other file comes once.
    """

    kind: str = "balanced"
    repeats: Mapping[str, int] = field(default_factory=lambda: dict(PROMPTMR_PLUS))

    def __post_init__(self) -> None:
        require(self.kind == "balanced", f"order.kind: got {say(self.kind)}, want balanced")
        for stem, times in self.repeats.items():
            require_known(f"order.repeats {say(stem)}", stem, ALL_STEMS)
            require_whole(f"order.repeats.{stem}", times)


def group_named(where: str, name: str) -> Group:
    """The group called `name`: one of HyperCMR's, or of the stem and matrix that it tells; `where` is for the error."""
    if name in KNOWN:
        return KNOWN[name]
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        require_known(where, name, KNOWN)
        raise AssertionError("what is known was returned above")
    require_known(where, match[1], ALL_STEMS)
    matrix = (int(match[2]), int(match[3]))
    require(min(matrix) > 0, f"{where}: got a matrix of {matrix[0]} x {matrix[1]}, want lines and points")
    return Group(match[1], matrix)


def name_of(stem: str, matrix: tuple[int, int]) -> str:
    """Of the group that a file belongs to; one that HyperCMR does not have is told by its stem and matrix."""
    group = group_of(stem, matrix)
    return f"{stem}_{matrix[0]}x{matrix[1]}" if group is None else group.name


def in_order(order: ByGroup, present: Iterable[str], where: str) -> list[str]:
    """The groups that are `present`, as `order` wants them.

    A group that it names and that is not there is an error, which starts with `where`; but for HyperCMR's, so that its
    recipe fits a tree that holds only some of its modalities.
    """
    found = list(dict.fromkeys(present))
    missing = [name for name in order.batches if name not in found and name not in KNOWN]
    held = f"want groups among {', '.join(found)}"
    require(not missing, f"order.batches: got {', '.join(missing)}, of which {where} has no example, {held}")
    return [name for name in order.batches if name in found] + [name for name in found if name not in order.batches]
