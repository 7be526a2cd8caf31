"""Painting tissue by signed distance: soft edges in the picture, sharp ones in the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int, Int8
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
            "lung_vessel",
            "mediastinum",
            "diaphragm",
            "abdomen",
            "liver",
            "liver_vessel",
            "stomach",
            "spleen",
            "oesophagus",
            "aorta",
            "pulmonary_artery",
            "vena_cava",
            "pulmonary_vein",
            "pericardial_fat",
            "la_blood",
            "ra_blood",
            "atrial_wall",
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
        strength: float | Tensor = 1.0,
    ) -> None:
        """Cover where `distance`, in mm and positive inside, is above zero.

        tissue: a name in `levels`, or the signal itself. label: what to call it, or None to keep the name below.
        strength: share of the tissue below that is covered.
        """
        level = self.levels[tissue] if isinstance(tissue, str) else tissue
        cover = torch.sigmoid(distance * (1 / self.softness))
        if isinstance(strength, Tensor) or strength != 1:
            cover = cover * strength
        if isinstance(level, Tensor):
            self.signal = torch.lerp(self.signal, level, cover)
        else:
            self.signal = torch.addcmul(self.signal, cover, level - self.signal)
        if label is not None:
            self.labels = self.labels.masked_fill(distance > 0, LABELS[label])

    def cut(self, rows: slice, columns: slice) -> Canvas:
        """A canvas of its own that shows this part of the picture."""
        return Canvas(self.signal[..., rows, columns], self.labels[..., rows, columns], self.levels, self.softness)

    def take(self, index: Int[Tensor, " n"]) -> Canvas:
        """A canvas of its own of only the points of these numbers."""
        return Canvas(self.signal.flatten()[index], self.labels.flatten()[index], self.levels, self.softness)

    def put_at(self, part: Canvas, index: Int[Tensor, " n"]) -> None:
        """Write `part` back to where it was taken from, in place."""
        self.signal.view(-1)[index] = part.signal
        self.labels.view(-1)[index] = part.labels

    def put(self, part: Canvas, rows: slice, columns: slice) -> None:
        """Write `part` back to where it was cut from, in place."""
        self.signal[..., rows, columns] = part.signal
        self.labels[..., rows, columns] = part.labels
