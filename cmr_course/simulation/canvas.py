"""Painting tissue by signed distance: soft edges in the picture, sharp ones in the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int8
from torch import Tensor

LABELS = {
    name: number
    for number, name in enumerate(
        [
            "background",
            "fat",
            "muscle",
            "bone",
            "spinal_canal",
            "lung",
            "mediastinum",
            "diaphragm",
            "abdomen",
            "liver",
            "stomach",
            "spleen",
            "aorta",
            "pericardial_fat",
            "lv_blood",
            "lv_myocardium",
            "papillary",
            "rv_blood",
            "rv_myocardium",
        ]
    )
}
"""Label of each kind of pixel; papillary stands for all muscle inside the left-ventricular cavity."""


class Canvas:
    """A picture on which each further tissue covers what lies below it.

    signal: real, signed (fat and water may have opposite signs), blood = 1. labels: int8, see :data:`LABELS`.
    levels: signal of each tissue by name. softness: the edge goes from 12 to 88 % over four times this many mm.
    """

    def __init__(
        self,
        signal: Float[Tensor, "*shape"],
        labels: Int8[Tensor, "*shape"],
        levels: Mapping[str, float],
        softness: float,
    ) -> None:
        self.signal, self.labels = signal, labels
        self.levels, self.softness = levels, softness

    def paint(
        self,
        tissue: str | float | Float[Tensor, "*shape"],
        distance: Float[Tensor, "*shape"],
        label: str | None = None,
        strength: float = 1.0,
    ) -> None:
        """Cover where `distance`, in mm and positive inside, is above zero.

        tissue: a name in `levels`, or the signal itself. label: what to call it, or None to keep the name below.
        strength: share of the tissue below that is covered.
        """
        level = self.levels[tissue] if isinstance(tissue, str) else tissue
        cover = torch.sigmoid(distance / self.softness) * strength
        self.signal = self.signal + cover * (level - self.signal)
        if label is not None:
            self.labels = torch.where(distance > 0, LABELS[label], self.labels)
