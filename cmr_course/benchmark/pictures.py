"""Pictures of what methods make of one measurement, small enough to be kept beside the scores of their trainings."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cmr_course.acquisition import Reconstructor
from cmr_course.benchmark.cells import Cell, measured
from cmr_course.checkout import commit
from cmr_course.metrics import heart_box, psnr
from cmr_course.metrics.regions import Box
from cmr_course.validate import require, require_whole, say

REFERENCE = "reference"
UNIT = 0.001
"""Magnitudes are kept in thousandths of the reference's maximum: too fine to be seen, even in errors times five."""
MARGIN = 0.25
"""Around the heart, as a share of it."""
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading raises where a file is cut off, or is something else."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pictures:
    """One frame, and one column over time, of the reference and of what each method makes of one measurement.

    frames: by name, the reference first; in units of the reference's maximum over all frames. columns: by the same
    names, one image column in every frame. frame, column: which. box: the heart, (y0, y1, x0, x1).
    psnr: of every frame, by method, in dB, from the images before they were rounded to :data:`UNIT`.
    about: where they come from, as :func:`pictures` fills it.
    """

    frames: Mapping[str, Float[Tensor, "y x"]]
    columns: Mapping[str, Float[Tensor, "frame y"]]
    frame: int
    column: int
    box: Box
    psnr: Mapping[str, list[float]]
    about: Mapping[str, Any] = field(default_factory=dict)

    def series(self, name: str) -> Float[Tensor, "frame y x"]:
        """A series that holds what was kept, and NaN elsewhere: what :func:`show_comparison` needs, and no more."""
        known = isinstance(name, str) and name in self.frames
        require(known, f"name: got {say(name)}, want one of {', '.join(self.frames)}")
        picture, line = self.frames[name], self.columns[name]
        series = torch.full((len(line), *picture.shape), torch.nan)
        series[:, :, self.column] = line
        series[self.frame] = picture
        return series

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.npz``: ``frames`` and ``columns`` in whole multiples of :data:`UNIT`, all else as JSON."""
        told = {"names": list(self.frames), "unit": UNIT, "frame": self.frame, "column": self.column}
        told |= {"box": list(self.box), "psnr": dict(self.psnr), "about": dict(self.about)}
        stacks = {"frames": self.frames, "columns": self.columns}
        whole = {key: np.stack([_whole(one) for one in stack.values()]) for key, stack in stacks.items()}
        with Path(path).open("wb") as file:  # given a name, numpy may add to it
            np.savez_compressed(file, allow_pickle=False, told=np.array(json.dumps(told)), **whole)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Pictures:
        """Read what :meth:`save` wrote; ValueError for anything else."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                told = json.loads(str(archive["told"]))
                stacks = {key: torch.from_numpy(archive[key].astype(np.int32)) for key in ("frames", "columns")}
            names, unit = told.pop("names"), told.pop("unit")
            parts: dict[str, Any] = {k: dict(zip(names, unit * v, strict=True)) for k, v in stacks.items()}
            return cls(**parts, **told | {"box": tuple(told["box"])})
        except DAMAGE as error:
            raise ValueError(f"{path}: got no pictures ({error}), want a file of Pictures.save") from error


def pictures(cell: Cell, methods: Mapping[str, Reconstructor], *, frame: int, **about: Any) -> Pictures:
    """Measure `cell`, reconstruct it by each of `methods`, and keep `frame` and the column through the heart's middle.

    about: what else to say of where the methods come from, as JSON holds it. The heart is found in the labels of the
    same subject, so `cell` cannot be a real series. ``cell``, ``realised_R``, ``simulation_version`` and ``commit`` are
    said of themselves.
    """
    good = isinstance(methods, Mapping) and bool(methods) and all(map(callable, methods.values()))
    require(good and REFERENCE not in methods, f"methods: got {say(methods)}, want reconstructors by name")
    require(not isinstance(cell.subject, str), f"cell: got the real series {cell.subject}, want a simulated subject")
    require_whole("frame", frame, 0, cell.frames - 1)
    acquisition, truth = measured(cell)
    _, labelled = measured(replace(cell, as_series=False))
    box = heart_box(labelled, margin=MARGIN)
    column = (box[2] + box[3]) // 2
    with torch.no_grad():
        images = {name: reconstruct(acquisition).magnitude() for name, reconstruct in methods.items()}
    reference = truth.magnitude()
    shown = {name: (image / reference.max())[0] for name, image in {REFERENCE: reference, **images}.items()}
    return Pictures(
        frames={name: UNIT * _units(image[frame]) for name, image in shown.items()},
        columns={name: UNIT * _units(image[:, :, column]) for name, image in shown.items()},
        frame=frame,
        column=column,
        box=box,
        psnr={name: psnr(image, reference)[0].tolist() for name, image in images.items()},
        about={
            "cell": asdict(cell),
            "realised_R": cell.columns(acquisition)["realised_R"],
            "simulation_version": cell.columns(acquisition)["simulation_version"],
            "commit": commit(),
            **about,
        },
    )


def _units(image: Tensor) -> Tensor:
    return (image / UNIT).round().float()


def _whole(image: Tensor) -> NDArray[np.uint16]:
    return _units(image).clamp(max=65_535).numpy().astype(np.uint16)
