"""Losses: one file for each published one; each is called with a reconstruction, its reference, its acquisition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cmr_course.losses.magnitude import EdgeLoss, PerceptualLoss, Scheduled, loss_at, magnitude_mse
from cmr_course.losses.pixelwise import l1, log_nmse, mse, steps_log_nmse
from cmr_course.losses.weighted import Loss, total
from cmr_course.validate import require, say

LOSSES: Mapping[str, Callable[..., Loss]] = MappingProxyType(
    {
        "l1": lambda: l1,
        "mse": lambda: mse,
        "log_nmse": lambda: log_nmse,
        "steps_log_nmse": lambda: steps_log_nmse,
        "magnitude_mse": lambda: magnitude_mse,
        "edge": EdgeLoss,
        "perceptual": PerceptualLoss,
    }
)
"""What makes each loss, by the name that recipes use."""


def build(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> Loss:
    """The loss called `name`, with its defaults where `settings` do not say otherwise."""
    known = isinstance(name, str) and name in LOSSES
    require(known, f"loss: got {say(name)}, want one of {', '.join(LOSSES)}")
    require_settings(name, settings)
    return LOSSES[name](**settings)


def require_settings(name: str, settings: Mapping[str, Any]) -> None:
    """`settings` must be some that the loss `name` has, and all that have no default."""
    wanted = inspect.signature(LOSSES[name]).parameters
    unknown = sorted(map(str, set(settings) - set(wanted)))
    require(not unknown, f"loss {name}: got {', '.join(unknown)}, want settings among {', '.join(wanted) or 'none'}")
    missing = [key for key, one in wanted.items() if one.default is one.empty and key not in settings]
    require(not missing, f"loss {name}: lacks {', '.join(missing)}, which has no default")


__all__ = [
    "LOSSES",
    "EdgeLoss",
    "Loss",
    "PerceptualLoss",
    "Scheduled",
    "build",
    "l1",
    "log_nmse",
    "loss_at",
    "magnitude_mse",
    "mse",
    "require_settings",
    "steps_log_nmse",
    "total",
]
