"""Classical reconstruction: each method a small frozen dataclass behind the one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from cmr_course.acquisition import Reconstructor
from cmr_course.classical.cg import conjugate_gradient
from cmr_course.classical.cg_sense import CGSense
from cmr_course.classical.zero_filled import ZeroFilled

METHODS: Mapping[str, Callable[..., Reconstructor]] = MappingProxyType(
    {
        "zero-filled": ZeroFilled,
        "zero-filled-rss": partial(ZeroFilled, combination="rss"),
        "cg-sense": CGSense,
    }
)
"""What makes each method, by name: call it with settings, then call the result with an acquisition."""


def method(name: str, **settings: Any) -> Reconstructor:
    """The method called `name`, with its defaults where `settings` do not say otherwise."""
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(f"method: got {name!r}, want one of {', '.join(METHODS)}")
    return METHODS[name](**settings)


__all__ = ["METHODS", "CGSense", "ZeroFilled", "conjugate_gradient", "method"]
