"""CMRxRecon trees of 2023, 2024 and 2025, read in place and lazily.

`open_tree` lists what is there and reads no array; `Case.acquisition` reads the asked-for slices and frames, one slice
at a time, so that memory follows what is asked for and not the size of the file.
"""

from __future__ import annotations

import csv
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.acquisition import About, Acquisition
from cmr_course.data import matlab
from cmr_course.data.layouts import COIL_FOLDERS, MASK_KINDS, WITHOUT_TIME, YEARS, Place, coil_folders, recognise_year
from cmr_course.domains import GROUPS, Group, group_of
from cmr_course.sampling import Mask, detect_acs
from cmr_course.validate import require, say

Chosen = Sequence[int] | slice | None
"""Which slices or frames: None is all of them."""


class Shape(NamedTuple):
    """Size of a k-space file, in the order of the axes of `Acquisition.kspace`."""

    slices: int
    frames: int
    coils: int
    ky: int
    kx: int


@dataclass(frozen=True)
class Case(Place):
    """One k-space file of a tree: what its place says of it, and its content on demand."""

    def variable(self) -> matlab.Variable:
        """The k-space array, unread; ValueError where it is missing, real, or has the wrong number of axes."""
        variable = matlab.find(self.path, *self.variable_names, lone=self.year == 2025)
        require(
            variable.dtype is None or variable.dtype.kind == "c",
            f"{variable}: got real values ({variable.dtype}), want complex k-space",
        )
        require(
            len(variable.shape) in {len(axes) for axes in self._layouts()},
            f"{variable}: got {len(variable.shape)} axes {variable.shape}, want {' or '.join(self._wanted())}",
        )
        require(min(variable.shape) > 0, f"{variable}: got shape {variable.shape}, want no axis of length zero")
        return variable

    @property
    def shape(self) -> Shape:
        """Size of the file, read from its header."""
        return self._shape(self.variable())

    @property
    def group(self) -> Group | None:
        """The one of HyperCMR's groups that the file belongs to, by its stem and its size; None where it fits none."""
        shape = self.shape
        return group_of(self.stem, (shape.ky, shape.kx))

    def acquisition(self, slices: Chosen = None, frames: Chosen = None) -> Acquisition:
        """What was measured of `slices` (a stack is a batch) and `frames` (of a mapping file: weightings).

        Only this range is read. NaN, k-space outside the mask, and a mask that does not fit raise ValueError.
        """
        variable = self.variable()
        shape = self._shape(variable)
        chosen = chosen_indices(f"{self.path}: slices", slices, shape.slices)
        times = chosen_indices(f"{self.path}: frames", frames, shape.frames)
        kspace = self._read(variable, chosen, times)
        if self.fully_sampled:
            return Acquisition.fully_sampled(kspace, self._about(chosen, times, None))
        mask = self.mask(times)
        self._require_zero_outside(kspace, mask)
        acs = (mask.acs[0], shape.kx if mask.sampled.shape[-1] == 1 else mask.acs[1])
        return Acquisition(kspace, mask.sampled, acs, about=self._about(chosen, times, mask)).with_scale()

    def kspace(self, slices: Chosen = None, frames: Chosen = None) -> Complex[Tensor, "batch frame coil ky kx"]:
        """The stored k-space of `slices` and `frames`, checked for NaN, without a look at the mask."""
        variable = self.variable()
        shape = self._shape(variable)
        chosen = chosen_indices(f"{self.path}: slices", slices, shape.slices)
        return self._read(variable, chosen, chosen_indices(f"{self.path}: frames", frames, shape.frames))

    def about(self) -> About:
        """What place, info and mask say of the whole file, without reading k-space."""
        shape = self.shape
        mask = None if self.fully_sampled else self.mask()
        return self._about(list(range(shape.slices)), list(range(shape.frames)), mask)

    def mask(self, frames: Sequence[int] | None = None) -> Mask:
        """The mask of `frames`, (1, 1 or frame, 1, ky, kx or 1), its ACS read off the mask itself."""
        return read_mask(self, self.found_mask_path(), self.shape, self.path.name, frames)

    def found_mask_path(self) -> Path:
        """The mask file: where the layout puts it, else of the same name below any folder called ``Mask_…``."""
        path = self.mask_path
        if path is None:
            raise ValueError(f"{self.path}: is fully sampled, it has no mask")
        if path.is_file() or self.year == 2023:
            require(path.is_file(), f"{path}: is missing, want the mask of {self.path.name}")
            return path
        kinds = self.root / COIL_FOLDERS[self.single_coil] / self.modality / self.split
        found = sorted(kinds.glob(f"Mask_*/{self.scanner + '/' if self.scanner else ''}{self.subject}/{path.name}"))
        require(bool(found), f"{path}: is missing, want the mask of {self.path.name}")
        return found[0]

    def times(self) -> tuple[tuple[float, ...], ...]:
        """Of each slice its inversion or echo times in ms, from the csv of a mapping file (2023); else empty.

        The csv lies beside the data; that of the fully sampled file holds for its undersampled versions, too. Where it
        has a single column of times, that holds for all slices, as the first does for T2map.
        """
        folders = (self.path.parent, self.folder("FullSample"))
        found = [folder / f"{self.stem}.csv" for folder in folders if (folder / f"{self.stem}.csv").is_file()]
        if not found:
            return ()
        path = found[0]
        columns = read_times(path)
        n_slices = self.shape.slices
        if len(columns) < n_slices or self.stem == "T2map":
            require(len(columns) == 1 or self.stem == "T2map", f"{path}: got {len(columns)} columns for {n_slices}")
            return (columns[0],) * n_slices
        return columns[:n_slices]

    def info(self) -> Mapping[str, str]:
        """The ``*_info.csv`` of the file (2024, 2025), name and value; empty where there is none."""
        return next((read_info(path) for path in self.info_paths() if path.is_file()), {})

    def _layouts(self) -> tuple[tuple[str, ...], ...]:
        """The axes that the file may have, as h5py shows them; MATLAB drops axes of length one at its end."""
        coil = () if self.single_coil else ("coil",)
        layouts = [("time", "slice", *coil, "ky", "kx")]
        if self.modality in WITHOUT_TIME:
            layouts += [("slice", *coil, "ky", "kx"), (*coil, "ky", "kx")]
        return tuple(layouts)

    def _wanted(self) -> list[str]:
        return [f"{len(axes)} axes ({', '.join(axes)})" for axes in self._layouts()]

    def _axes(self, variable: matlab.Variable) -> tuple[str, ...]:
        return next(axes for axes in self._layouts() if len(axes) == len(variable.shape))

    def _shape(self, variable: matlab.Variable) -> Shape:
        sizes = dict(zip(self._axes(variable), variable.shape, strict=True))
        return Shape(*(sizes.get(axis, 1) for axis in ("slice", "time", "coil", "ky", "kx")))

    def _read(
        self, variable: matlab.Variable, slices: list[int], frames: list[int]
    ) -> Complex[Tensor, "batch frame coil ky kx"]:
        shape, axes = self._shape(variable), self._axes(variable)
        kspace: Tensor | None = None
        with variable.opened() as read:
            for position, number in enumerate(slices):
                index = {"slice": number, "time": as_range(frames)}
                part = read(tuple(index.get(axis, slice(None)) for axis in axes))
                require_sound(f"{variable}, slice {number}", part)
                item = torch.from_numpy(np.ascontiguousarray(part)).reshape(len(frames), *shape[2:])
                if kspace is None:
                    kspace = torch.empty((len(slices), *item.shape), dtype=item.dtype)
                kspace[position] = item
        assert kspace is not None  # chosen_indices lets no empty choice through
        return kspace

    def _require_zero_outside(self, kspace: Complex[Tensor, "batch frame coil ky kx"], mask: Mask) -> None:
        for item in kspace:
            outside = int(torch.count_nonzero(item * ~mask.sampled[0]))
            require(
                outside == 0,
                f"{self.path}: got {outside} samples outside the mask {self.found_mask_path()}, want a mask that fits",
            )

    def _about(self, slices: list[int], frames: list[int], mask: Mask | None) -> About:
        info = self.info()
        columns = {self.times()[number] for number in slices} if self.times() else {numbers(info, "times_ms")}
        times = columns.pop() if len(columns) == 1 else ()  # slices that differ: ask `times`
        pixel = positive_numbers(info, "pixel_size_mm")
        return About(
            contrast=info.get("contrast") or self.contrast,
            view=info.get("view") or self.view,
            subject=self.subject,
            vendor=(self.vendor or info.get("vendor", "")).lower(),  # 2025 writes Siemens and UIH, receivers do not
            field=self.field or next(iter(positive_numbers(info, "field_T")), None),
            trajectory="full" if mask is None else mask.kind,
            nominal_acceleration=1.0 if mask is None else mask.nominal_acceleration,
            realised_acceleration=1.0 if mask is None else mask.realised_acceleration,
            snr_db=next(iter(numbers(info, "snr_db")), None),
            snr_region=info.get("snr_region", ""),
            times=tuple(times[frame] for frame in frames) if len(times) > max(frames) else (),
            pixel_size=(pixel[0], pixel[1]) if len(pixel) == 2 else None,
            origin=info.get("origin") or "acquired",
            venc=next(iter(positive_numbers(info, "venc_cm_s")), None),
        )


@dataclass(frozen=True)
class Tree:
    """The k-space files below `root`, in the order of their paths."""

    root: Path
    year: int
    cases: tuple[Case, ...]

    def matching(self, pattern: str) -> tuple[Case, ...]:
        """The cases whose path below the root fits `pattern`, with ``*`` and ``?`` as in file names."""
        return tuple(case for case in self.cases if fnmatch(case.relative.as_posix(), pattern))

    def groups(self) -> dict[Group | None, tuple[Case, ...]]:
        """The cases of each of HyperCMR's groups that the tree has, in the paper's order; last, of no group, None.

        Reads the header of every file, no values.
        """
        found = [(case.group, case) for case in self.cases]
        held = {group: tuple(case for own, case in found if own == group) for group in (*GROUPS, None)}
        return {group: cases for group, cases in held.items() if cases}


def open_tree(root: Path | str, year: int | None = None) -> Tree:
    """List the k-space files of a CMRxRecon tree; `year` is recognised by the layout where it is not given.

    Files that the layout has no place for are left out here; `validate` names them. Raises ValueError where `root`
    holds no tree, or no k-space file.
    """
    require(isinstance(root, str | Path), f"root: got {say(root)}, want the folder of a CMRxRecon tree")
    root = Path(root)
    coil_folders(root)
    year = recognise_year(root) if year is None else year
    require(year in YEARS, f"year: got {year}, want one of {YEARS}")
    cases = []
    for path in kspace_candidates(root):
        try:
            case = Case.parse(root, path, year)
        except ValueError:
            continue
        if case is not None:
            cases.append(case)
    require(bool(cases), f"{root}: got no k-space file of the {year} layout, want at least one")
    return Tree(root, year, tuple(sorted(cases, key=lambda case: case.path)))


def read_mask(place: Place, path: Path, shape: Shape, fits: str, frames: Sequence[int] | None = None) -> Mask:
    """The mask of `place` from the file at `path`, for k-space of `shape`, of which an error says that it is `fits`.

    Raises ValueError where the file cannot be read, or holds anything but zeros and ones of that shape.
    """
    variable = matlab.find(path, place.mask_name, "mask", lone=True)
    wanted = ((shape.ky, shape.kx), (shape.frames, shape.ky, shape.kx))
    require(
        variable.shape in wanted,
        f"{variable}: got shape {variable.shape}, want {wanted[0]} or {wanted[1]} to fit {fits}",
    )
    values = variable.read()
    require(values.dtype.kind != "c", f"{variable}: got complex values, want zeros and ones")
    require(bool(np.isin(values, (0, 1)).all()), f"{variable}: got values other than 0 and 1, want a mask")
    require(bool(values.any()), f"{variable}: got zeros only, want a mask that samples something")
    sampled = torch.from_numpy(values.astype(bool)).reshape(1, -1, 1, shape.ky, shape.kx)
    times = chosen_indices(f"{path}: frames", frames, shape.frames)
    if frames is not None and sampled.shape[1] > 1:
        sampled = sampled[:, times]
    if bool((sampled == sampled[..., :1]).all()):
        sampled = sampled[..., :1]
    return Mask(sampled, detect_acs(sampled), MASK_KINDS[place.mask_kind], float(place.acceleration))


def kspace_candidates(root: Path) -> Iterator[Path]:
    """Every MATLAB file below MultiCoil and SingleCoil."""
    for coils in COIL_FOLDERS:
        yield from sorted((root / coils).rglob("*.mat"))


def chosen_indices(name: str, chosen: Chosen, length: int) -> list[int]:
    """The indices that `chosen` stands for along an axis of `length`; ValueError where they leave it, or are none."""
    if chosen is None:
        return list(range(length))
    try:
        indices = list(range(length))[chosen] if isinstance(chosen, slice) else [_whole(number) for number in chosen]
    except (TypeError, ValueError) as error:
        wanted = f"a list or a slice of whole numbers from 0 to {length - 1}, or None for all"
        raise ValueError(f"{name}: got {say(chosen)}, want {wanted}") from error
    require(bool(indices), f"{name}: got none, want at least one of {length}")
    outside = [number for number in indices if not 0 <= number < length]
    require(not outside, f"{name}: got {', '.join(map(str, outside))}, want 0 to {length - 1}")
    return indices


def _whole(number: Any) -> int:
    """`number` as an index; TypeError for what is no whole number, a truth value among them."""
    if isinstance(number, bool | np.bool_):
        raise TypeError
    return operator.index(number)


def as_range(indices: list[int]) -> slice | list[int]:
    """`indices` as a slice where they are evenly spaced and rising, which HDF5 reads much faster than a list."""
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    even = step > 0 and indices == list(range(indices[0], indices[-1] + 1, step))
    return slice(indices[0], indices[-1] + 1, step) if even else indices


def require_sound(name: str, values: matlab.Array) -> None:
    """`values` must be complex and finite."""
    require(values.dtype.kind == "c", f"{name}: got real values ({values.dtype}), want complex k-space")
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    require(bad == 0, f"{name}: got {bad} values that are NaN or infinite, want finite ones")


def read_times(path: Path) -> tuple[tuple[float, ...], ...]:
    """The columns of numbers of a mapping csv: a header row, a label column, then times in ms, a column a slice."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)][1:]
    try:
        numbers = [[float(cell) for cell in row[1:] if cell.strip()] for row in rows]
        return tuple(zip(*numbers, strict=True))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as a table of times ({error})") from error


def read_info(path: Path) -> dict[str, str]:
    """Name and value of each row of an ``*_info.csv``; further columns are joined to the value."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return info_rows(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table ({error})") from error


def info_rows(lines: Iterable[str]) -> dict[str, str]:
    """Name and value of each row of the text of an ``*_info.csv``; csv.Error for what is no table."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    return {row[0]: " ".join(cell for cell in row[1:] if cell) for row in rows if len(row) > 1 and row[0]}


def numbers(info: Mapping[str, str], name: str) -> tuple[float, ...]:
    """The numbers of one entry, separated by spaces; none where there is no such entry or it holds words or NaN."""
    try:
        numbers = tuple(float(word) for word in info.get(name, "").split())
    except ValueError:
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()


def positive_numbers(info: Mapping[str, str], name: str) -> tuple[float, ...]:
    """`numbers` of what only numbers above zero can measure, such as a pixel; none where one is not."""
    found = numbers(info, name)
    return found if all(number > 0 for number in found) else ()
