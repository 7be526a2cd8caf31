"""Losses: one file for each published one; each is called with a reconstruction, its reference, its acquisition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from cmr_course.losses.pixelwise import l1, log_nmse, mse, steps_log_nmse
from cmr_course.losses.weighted import Loss, total

LOSSES: Mapping[str, Callable[..., Loss]] = MappingProxyType(
    {"l1": lambda: l1, "mse": lambda: mse, "log_nmse": lambda: log_nmse, "steps_log_nmse": lambda: steps_log_nmse}
)
"""What makes each loss, by the name that recipes use."""

__all__ = ["LOSSES", "Loss", "l1", "log_nmse", "mse", "steps_log_nmse", "total"]
