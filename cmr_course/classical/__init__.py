"""Classical reconstruction: each method a small frozen dataclass behind the one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from cmr_course.acquisition import Reconstructor
from cmr_course.cg import conjugate_gradient
from cmr_course.classical.cg_sense import CGSense
from cmr_course.classical.grappa import GRAPPA, grappa_weights
from cmr_course.classical.kt_sparse_sense import KtSparseSense
from cmr_course.classical.low_rank_sparse import LowRankSparse
from cmr_course.classical.noise import g_factor
from cmr_course.classical.tuning import Tuned, tune
from cmr_course.classical.view_sharing import ViewSharing
from cmr_course.classical.zero_filled import ZeroFilled

METHODS: Mapping[str, Callable[..., Reconstructor]] = MappingProxyType(
    {
        "zero-filled": ZeroFilled,
        "zero-filled-rss": partial(ZeroFilled, combination="rss"),
        "view-sharing": ViewSharing,
        "grappa": GRAPPA,
        "cg-sense": CGSense,
        "kt-sparse-sense": KtSparseSense,
        "low-rank-sparse": LowRankSparse,
    }
)
"""What makes each method, by name: call it with settings, then call the result with an acquisition."""


def method(name: str, **settings: Any) -> Reconstructor:
    """The method called `name`, with its defaults where `settings` do not say otherwise."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"method: got {name!r}, want one of {', '.join(METHODS)}")
    return METHODS[name](**settings)


__all__ = [
    "GRAPPA",
    "METHODS",
    "CGSense",
    "KtSparseSense",
    "LowRankSparse",
    "Tuned",
    "ViewSharing",
    "ZeroFilled",
    "conjugate_gradient",
    "g_factor",
    "grappa_weights",
    "method",
    "tune",
]
