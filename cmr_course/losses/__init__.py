"""Losses: one file for each published one; each is called with a reconstruction, its reference, its acquisition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cmr_course.losses.adversarial import taken_for_real, told_apart
from cmr_course.losses.alignment import AlignmentLoss
from cmr_course.losses.eagle import EagleLoss
from cmr_course.losses.edge_region import EdgeRegionLoss
from cmr_course.losses.every_step import EveryStep, of_steps
from cmr_course.losses.kspace import KspaceFidelity, KspaceRegularisation
from cmr_course.losses.magnitude import EdgeLoss, PerceptualLoss, Scheduled, loss_at, magnitude_mse
from cmr_course.losses.physics import PhysicsFidelity
from cmr_course.losses.pixelwise import kspace_mse, l1, log_nmse, mse, steps_log_nmse
from cmr_course.losses.recipes import RECIPES, Share, recipe
from cmr_course.losses.similarity import PartsSSIMLoss, SSIMLoss
from cmr_course.losses.vgg import VGGChainLoss, VGGLoss
from cmr_course.losses.weighted import Loss, OfKspace, aims_at_kspace, total
from cmr_course.validate import require, require_settings, say

LOSSES: Mapping[str, Callable[..., Loss]] = MappingProxyType(
    {
        "l1": lambda: l1,
        "mse": lambda: mse,
        "kspace_mse": lambda: kspace_mse,
        "log_nmse": lambda: log_nmse,
        "steps_log_nmse": lambda: steps_log_nmse,
        "magnitude_mse": lambda: magnitude_mse,
        "edge": EdgeLoss,
        "perceptual": PerceptualLoss,
        "ssim": SSIMLoss,
        "parts_ssim": PartsSSIMLoss,
        "kspace_fidelity": KspaceFidelity,
        "kspace_regularisation": KspaceRegularisation,
        "eagle": EagleLoss,
        "vgg": VGGLoss,
        "vgg_chain": VGGChainLoss,
        "physics": PhysicsFidelity,
        "edge_region": EdgeRegionLoss,
        "alignment": AlignmentLoss,
    }
)
"""What makes each loss, by the name that recipes use."""


def build(name: str, settings: Mapping[str, Any] = MappingProxyType({})) -> Loss:
    """The loss called `name`, with its defaults where `settings` do not say otherwise."""
    known = isinstance(name, str) and name in LOSSES
    require(known, f"loss: got {say(name)}, want one of {', '.join(LOSSES)}")
    require_settings(f"loss {name}", LOSSES[name], settings)
    return LOSSES[name](**settings)


__all__ = [
    "LOSSES",
    "RECIPES",
    "AlignmentLoss",
    "EagleLoss",
    "EdgeLoss",
    "EdgeRegionLoss",
    "EveryStep",
    "KspaceFidelity",
    "KspaceRegularisation",
    "Loss",
    "OfKspace",
    "PartsSSIMLoss",
    "PerceptualLoss",
    "PhysicsFidelity",
    "SSIMLoss",
    "Scheduled",
    "Share",
    "VGGChainLoss",
    "VGGLoss",
    "aims_at_kspace",
    "build",
    "kspace_mse",
    "l1",
    "log_nmse",
    "loss_at",
    "magnitude_mse",
    "mse",
    "of_steps",
    "recipe",
    "steps_log_nmse",
    "taken_for_real",
    "told_apart",
    "total",
]
