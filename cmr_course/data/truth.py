"""Truth files beside the tree: the noise-free image that simulated data are scored against, and all else that is known.

``truth/P001/cine_sax_truth.h5``, in 2025 ``truth/Center004/UIH_30T_phantom/P001/cine_sax_truth.h5``, is the truth of
one subject; the splits are not told apart. So that no case is scored against the truth of another, a subject whose
truth is known has a file of one name in one split only: `write_case`, `writing_truth` and `truth_of` refuse a second.

Every variable has the axes (time, slice, …), as h5py shows them: ``image``, ``labels``, ``T1``, ``T2`` and ``velocity``
(time, slice, y, x); ``displacement`` (time, slice, 3, y, x); ``sensitivities`` (1 or time, slice, coil, y, x);
``volumes_<name>`` and ``strain_<name>`` (time, slice). Only ``image`` is always there. The names of the labels are an
attribute of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.acquisition import Truth
from cmr_course.data import matlab
from cmr_course.data.cmrxrecon import Case, Chosen, as_range, chosen_indices, require_sound
from cmr_course.data.layouts import SPLITS
from cmr_course.validate import require, require_axes, require_complex, require_finite, say

FIELDS = ("displacement", "sensitivities", "T1", "T2", "T1rho", "velocity")
"""Parts of a :class:`~cmr_course.acquisition.Truth` that are stored as they are, where there are any."""
TABLES = ("volumes", "strain")
"""Parts that hold several series by name."""
LABEL_NAMES = "label_names"
"""Attribute of the file: the names of the labels and their numbers, as JSON."""


def truth_path(case: Case) -> Path:
    """``truth/P001/cine_sax_truth.h5`` below the root: a v7.3 file with the variable ``image``, and more.

    In 2025 each scanner has subjects of its own, and the folders of the scanner stand before that of the subject.
    """
    return case.root / "truth" / case.scanner / case.subject / f"{case.stem}_truth.h5"


def require_own_truth(case: Case) -> None:
    """ValueError where the truth file of `case` is there and belongs to the same file in another split."""
    path = truth_path(case)
    if not path.is_file():
        return
    full = replace(case, mask_kind="", acceleration=1, task="")
    others = [replace(full, split=split).path for split in SPLITS if split != case.split]
    found = [other for other in others if other.is_file()]
    wanted = "another subject or another tree: truth files do not tell splits apart"
    require(not found, f"{case.path}: got a truth ({path}) that is of {', '.join(map(str, found))}, too, want {wanted}")


class _Stack:
    """Arrays of an open file, filled slice by slice; the first slice says which there are, and their sizes."""

    def __init__(self, writer: matlab.Writer, n_slices: int) -> None:
        self._writer, self._n_slices = writer, n_slices
        self._fill: dict[str, Callable[[tuple[int, ...], matlab.Array], None]] = {}
        self.count = 0

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Write the next slice: tensors (time, …) by the names of their variables."""
        require(self.count < self._n_slices, f"slices: got more than the {self._n_slices} that were announced")
        values = {name: part.detach().cpu().numpy() for name, part in parts.items()}
        if not self.count:
            for name, part in values.items():
                shape = (len(part), self._n_slices, *part.shape[1:])
                self._fill[name] = self._writer.create(name, shape, part.dtype.name)
        same = set(values) == set(self._fill)
        require(same, f"parts: got {', '.join(values)} after {', '.join(self._fill)}, want all slices alike")
        for name, part in values.items():
            for time in range(len(part)):
                self._fill[name]((time, self.count), part[time, ...])  # an array also where a frame is one number
        self.count += 1


class ImageWriter:
    """Adds slices to an open file of images; see :func:`writing_images`."""

    def __init__(self, writer: matlab.Writer, n_slices: int, magnitude: bool) -> None:
        self._writer, self._stack, self._magnitude = writer, _Stack(writer, n_slices), magnitude

    @property
    def count(self) -> int:
        """Slices written so far."""
        return self._stack.count

    def add(self, image: Complex[Tensor, "frame y x"]) -> None:
        """Write the next slice."""
        _require_image(image, "frame y x")
        self._stack.add({"image": image, "magnitude": image.abs()} if self._magnitude else {"image": image})

    def describe(self, attributes: Mapping[str, str | float | int]) -> None:
        """Attach `attributes` to the file."""
        self._writer.describe(attributes)


class TruthWriter:
    """Adds slices to an open truth file; see :func:`writing_truth`."""

    def __init__(self, writer: matlab.Writer, n_slices: int) -> None:
        self._writer, self._stack = writer, _Stack(writer, n_slices)

    @property
    def count(self) -> int:
        """Slices written so far."""
        return self._stack.count

    def add(self, truth: Truth) -> None:
        """Write the next slices, as many as the batch of `truth` holds."""
        _require_image(truth.image, "batch frame y x")
        if not self.count and truth.label_names:
            self._writer.describe({LABEL_NAMES: json.dumps(dict(truth.label_names), sort_keys=True)})
        for item in range(len(truth.image)):
            self._stack.add(_parts(truth, item))


@contextmanager
def writing_images(path: Path, n_slices: int, *, magnitude: bool = False) -> Iterator[ImageWriter]:
    """Write complex images slice by slice as ``image`` (time, slice, y, x); with `magnitude`, that beside it.

    The file appears when the block ends well and all `n_slices` were added.
    """
    with matlab.writing(path) as writer:
        images = ImageWriter(writer, n_slices, magnitude)
        yield images
        require(images.count == n_slices, f"{path}: got {images.count} slices, want the {n_slices} announced")


@contextmanager
def writing_truth(place: Path | Case, n_slices: int) -> Iterator[TruthWriter]:
    """Write all that a :class:`~cmr_course.acquisition.Truth` holds, slice by slice; :func:`read_truth` reads it.

    place: the file, or the case whose truth it is; then ValueError where that file is the truth of another split.
    The file appears when the block ends well and all `n_slices` were added.
    """
    if isinstance(place, Case):
        require_own_truth(place)
    path = truth_path(place) if isinstance(place, Case) else place
    with matlab.writing(path) as writer:
        truths = TruthWriter(writer, n_slices)
        yield truths
        require(truths.count == n_slices, f"{path}: got {truths.count} slices, want the {n_slices} announced")


def image_variable(path: Path) -> matlab.Variable:
    """The images of a truth file or of a reconstruction, unread; ValueError where there are none, or do not fit."""
    variable = matlab.find(path, "image")
    require(len(variable.shape) == 4, f"{variable}: got {len(variable.shape)} axes, want 4 (time, slice, y, x)")
    kind = variable.dtype.kind if variable.dtype is not None else "c"
    require(kind == "c", f"{variable}: got real values ({variable.dtype}), want complex ones")
    return variable


def read_images(path: Path, slices: Chosen = None) -> Complex[Tensor, "batch frame y x"]:
    """Read images of `slices`, (batch=slice, frame, y, x), from a truth file or one of :func:`writing_images`."""
    variable = image_variable(path)
    chosen = chosen_indices(f"{path}: slices", slices, variable.shape[1])
    image = _read(variable, chosen)
    require_sound(str(variable), image.numpy())
    return image


def read_truth(path: Path, slices: Chosen = None) -> Truth:
    """Read what is known of `slices`; a file that holds images only gives a truth with an image only."""
    held, n_slices = matlab.variables(path), image_variable(path).shape[1]
    chosen = chosen_indices(f"{path}: slices", slices, n_slices)
    for variable in held.values():
        fits = len(variable.shape) > 1 and variable.shape[1] == n_slices
        require(fits, f"{variable}: got shape {variable.shape}, want (time, slice = {n_slices}, …)")
    tables: dict[str, Any] = {table: {} for table in TABLES}
    for name, variable in held.items():
        table, _, series = name.partition("_")
        if table in TABLES and series:
            tables[table][series] = _read(variable, chosen)
    parts: dict[str, Any] = {name: _read(held[name], chosen) for name in FIELDS if name in held}
    if "labels" in held:
        parts["labels"] = _read(held["labels"], chosen).to(torch.int8)
    return Truth(read_images(path, chosen), label_names=_label_names(path), **parts, **tables)


def truth_of(case: Case, slices: Chosen = None) -> Truth:
    """What is known of `slices` of a simulated case.

    ValueError for acquired k-space, whose truth nobody knows, and where the truth may be that of another split.
    """
    require(isinstance(case, Case), f"case: got {say(case)}, want a Case")
    path = truth_path(case)
    wanted = "want simulated data; score acquired data against the root sum of squares of the fully sampled file"
    require(path.is_file(), f"{case.path}: got k-space without a truth file ({path}), {wanted}")
    require_own_truth(case)
    return read_truth(path, slices)


def _label_names(path: Path) -> dict[str, int]:
    try:
        noted = json.loads(matlab.described(path).get(LABEL_NAMES, "{}"))
        return {str(name): int(number) for name, number in noted.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: attribute {LABEL_NAMES!r}: cannot be read ({error})") from error


def _read(variable: matlab.Variable, chosen: list[int]) -> Tensor:
    """The values of the `chosen` slices, (batch=slice, frame, …)."""
    values = variable.read((slice(None), as_range(chosen)))
    return torch.from_numpy(values).movedim(1, 0).contiguous()


def _require_image(image: Tensor, axes: str) -> None:
    require_axes("image", image, axes)
    require_complex("image", image)
    require_finite("image", image)


def _parts(truth: Truth, item: int) -> dict[str, Tensor]:
    """What is stored of slice `item`: tensors (time, …) by the names of their variables."""
    parts = {"image": truth.image[item]}
    if truth.labels is not None:
        labels = truth.labels[item]
        low, high = int(labels.min()), int(labels.max())
        require(low >= 0 and high < 128, f"labels: got {low} to {high}, want whole numbers from 0 to 127")
        parts["labels"] = labels.to(torch.uint8)  # MATLAB's class of one byte
    for name in FIELDS:
        value = getattr(truth, name)
        if value is not None:
            parts[name] = value[item]
    for table in TABLES:
        for series, values in getattr(truth, table).items():
            require(bool(re.fullmatch(r"\w+", series)), f"{table}: got the name {say(series)}, want letters, digits, _")
            parts[f"{table}_{series}"] = values[item]
    return parts
