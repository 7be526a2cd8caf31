"""Networks: one file for each published one, and the blocks that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from cmr_course.networks.cascade import Cascade
from cmr_course.networks.cnn3d import CNN3D
from cmr_course.networks.consistency import DataConsistency
from cmr_course.networks.crnn import CRNNMRI
from cmr_course.networks.crunet import CRUNetMR
from cmr_course.networks.d5c5 import D5C5
from cmr_course.networks.discriminator import PatchDiscriminator
from cmr_course.networks.feature_bank import FeatureBank
from cmr_course.networks.genre import GENRECMR
from cmr_course.networks.promptmr import PromptMR
from cmr_course.networks.promptmr_plus import PromptMRPlus
from cmr_course.networks.unrolled import Unrolled
from cmr_course.networks.windows import Windowed
from cmr_course.validate import require, require_settings, say

NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "3d-cnn": CNN3D,
        "cascade": Cascade,
        "d5c5": D5C5,
        "promptmr": PromptMR,
        "promptmr-plus": PromptMRPlus,
        "crnn": CRNNMRI,
        "crunet": CRUNetMR,
        "genre-cmr": GENRECMR,
    }
)
"""What makes each network, by the name that recipes and weights use."""


def build(name: str, settings: Mapping[str, Any]) -> nn.Module:
    """The network called `name`, with its defaults where `settings` do not say otherwise; random weights."""
    known = isinstance(name, str) and name in NETWORKS
    require(known, f"network: got {say(name)}, want one of {', '.join(NETWORKS)}")
    require_settings(f"network {name}", NETWORKS[name], settings)
    return NETWORKS[name](**settings)


__all__ = [
    "CNN3D",
    "CRNNMRI",
    "D5C5",
    "GENRECMR",
    "NETWORKS",
    "CRUNetMR",
    "Cascade",
    "DataConsistency",
    "FeatureBank",
    "PatchDiscriminator",
    "PromptMR",
    "PromptMRPlus",
    "Unrolled",
    "Windowed",
    "build",
]
