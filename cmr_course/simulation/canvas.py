"""Painting tissue by signed distance: soft edges in the picture, sharp ones in the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Bool, Float, Int, Int8
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

    signal: real, signed (fat and water may have opposite signs), one channel for each weighting that is painted at
    once. labels: int8, see :data:`LABELS`. levels: signal of each tissue by name, one for each channel.
    softness: the edge goes from 12 to 88 % over four times this many mm.
    tissues: number of the tissue at each point, in the order of `levels`, or None where nobody asks.
    """

    def __init__(
        self,
        signal: Float[Tensor, channel * shape],
        labels: Int8[Tensor, "*shape"],
        levels: Mapping[str, Float[Tensor, " channel"]],
        softness: float,
        tissues: Int8[Tensor, "*shape"] | None = None,
    ) -> None:
        self.signal, self.labels, self.tissues = signal, labels, tissues
        self.levels, self.softness = levels, softness

    @classmethod
    def blank(
        cls,
        shape: tuple[int, ...],
        levels: Mapping[str, Float[Tensor, " channel"]],
        softness: float,
        *,
        tissues: bool = False,
    ) -> Canvas:
        """Nothing but air, on the device of `levels`."""
        air = levels["air"]
        labels = torch.zeros(shape, dtype=torch.int8, device=air.device)
        numbers = torch.full_like(labels, list(levels).index("air")) if tissues else None
        return cls(air.new_zeros((len(air), *shape)), labels, levels, softness, numbers)

    def paint(
        self,
        tissue: str,
        distance: Float[Tensor, "*shape"],
        label: str | None = None,
        strength: float | Tensor = 1.0,
        gain: float | Tensor = 1.0,
    ) -> None:
        """Cover where `distance`, in mm and positive inside, is above zero.

        tissue: a name in `levels`. label: what to call it, or None to keep the name below.
        strength: share of the tissue below that is covered; up to 0.6 that keeps its number among `tissues`.
        gain: of the tissue's signal; its density.
        """
        level = self.levels[tissue].reshape(-1, *[1] * distance.ndim)
        cover = torch.sigmoid(distance * (1 / self.softness))
        if isinstance(strength, Tensor) or strength != 1:
            cover = cover * strength
        if isinstance(gain, Tensor):
            self.signal = torch.lerp(self.signal, level * gain, cover)
        else:
            self.signal = torch.addcmul(self.signal, cover, level * gain - self.signal)
        if label is not None:
            self.labels = self.labels.masked_fill(distance > 0, LABELS[label])
        if self.tissues is not None and not isinstance(strength, Tensor) and strength > 0.6:
            self.tissues = self.tissues.masked_fill(distance > 0, list(self.levels).index(tissue))

    def clear(self, where: Bool[Tensor, "*shape"]) -> None:
        """Call what is there air."""
        if self.tissues is not None:
            self.tissues = self.tissues.masked_fill(where, list(self.levels).index("air"))

    def cut(self, rows: slice, columns: slice) -> Canvas:
        """A canvas of its own that shows this part of the picture."""
        return self._like(lambda values: values[..., rows, columns])

    def take(self, index: Int[Tensor, " n"]) -> Canvas:
        """A canvas of its own of only the points of these numbers."""
        shape = self.labels.shape
        return self._like(lambda values: values.reshape(*values.shape[: values.ndim - len(shape)], -1)[..., index])

    def put_at(self, part: Canvas, index: Int[Tensor, " n"]) -> None:
        """Write `part` back to where it was taken from, in place."""
        for own, new in self._pairs(part):
            own.view(*own.shape[: own.ndim - self.labels.ndim], -1)[..., index] = new

    def put(self, part: Canvas, rows: slice, columns: slice) -> None:
        """Write `part` back to where it was cut from, in place."""
        for own, new in self._pairs(part):
            own[..., rows, columns] = new

    def _like(self, of: Callable[[Tensor], Tensor]) -> Canvas:
        tissues = None if self.tissues is None else of(self.tissues)
        return Canvas(of(self.signal), of(self.labels), self.levels, self.softness, tissues)

    def _pairs(self, part: Canvas) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.signal, part.signal
        yield self.labels, part.labels
        if self.tissues is not None and part.tissues is not None:
            yield self.tissues, part.tissues
