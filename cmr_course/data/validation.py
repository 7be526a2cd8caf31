"""Does a tree follow the challenge's format, and keep what it promises? Every deviation, named in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmr_course.data.cmrxrecon import Case, Shape, numbers, positive_numbers, read_mask
from cmr_course.data.layouts import (
    COIL_FOLDERS,
    HELD_OUT,
    MASKS,
    WITHOUT_TIME,
    YEARS,
    Place,
    accelerations,
    coil_folders,
    is_mask,
    recognise_year,
)
from cmr_course.data.truth import image_variable, read_truth, truth_path
from cmr_course.sampling import Mask
from cmr_course.validate import require, say

COILS = 10
"""Coils in a multi-coil file, after the challenge's compression."""

WEIGHTINGS = {"T1map": 9, "T2map": 3}
"""Frames of a mapping file."""

ACS_LINES = {2023: 24, 2024: 16}
"""Fully sampled centre lines (k-t radial: side of the square); 2025 names no number."""

MANIFEST = "manifest.json"
"""In which a tree of ``cmr-course simulate`` lists its files."""

NUMBERS = ("times_ms", "pixel_size_mm", "field_T", "snr_db", "venc_cm_s")
"""Rows of an info file that hold numbers."""

ABOVE_ZERO = ("pixel_size_mm", "field_T", "venc_cm_s")
"""Those of them that hold numbers above zero; `About` says nothing of others."""

_DATA_FOLDERS = ("FullSample", "AccFactor", "UnderSample_")
_BESIDE = (".mat", ".csv")


def validate(root: Path | str, year: int | None = None) -> list[str]:
    """Every deviation of the tree below `root` from the layout of `year` (recognised where not given), a line each.

    Every k-space value is read, one slice at a time, and so are masks and, where there are any, truth files. A tree
    that ``cmr-course simulate`` wrote says so in its manifest: it must hold all files that the manifest lists, and an
    info and a truth file for each fully sampled one. An empty list means that no deviation was found. Raises
    ValueError only where `root` holds no tree at all.
    """
    require(isinstance(root, str | Path), f"root: got {say(root)}, want the folder of a CMRxRecon tree")
    root = Path(root)
    coil_folders(root)
    year = recognise_year(root) if year is None else year
    require(year in YEARS, f"year: got {year}, want one of {YEARS}")
    survey = _Survey(root, year)
    lines = [*survey.take_stock(), *survey.of_cases(), *survey.of_masks(), *survey.of_manifest()]
    if not survey.cases:
        lines.append(f"{root}: got no k-space file of the {year} layout, want at least one")
    return list(dict.fromkeys(lines))


@dataclass
class _Survey:
    """What is found in a tree. shapes: of the cases whose header can be read. used: masks that belong to a file."""

    root: Path
    year: int
    cases: list[Case] = field(default_factory=list)
    masks: dict[Path, Place] = field(default_factory=dict)
    shapes: dict[Case, Shape] = field(default_factory=dict)
    used: set[Path] = field(default_factory=set)
    missing: set[Path] = field(default_factory=set)
    simulated: bool = False

    def take_stock(self) -> Iterator[str]:
        """List cases and masks; names the files that the layout has no place for."""
        self.simulated = _noted(self.root).get("command") == "simulate"
        for path in sorted(item for coils in COIL_FOLDERS for item in (self.root / coils).rglob("*")):
            if path.is_dir():
                continue
            try:
                if path.suffix != ".mat":
                    yield from _of_other(self.root, path)
                elif is_mask(self.root, path, self.year):
                    self.masks[path] = Place.parse_mask(self.root, path, self.year)
                else:
                    case = Case.parse(self.root, path, self.year)
                    self.cases += [] if case is None else [case]
            except ValueError as error:
                yield str(error)
        yield from self._of_scanners()

    def of_cases(self) -> Iterator[str]:
        """Deviations of each k-space file and of what lies beside it."""
        for case in self.cases:
            yield from self._of_place(case, case.path)
            if not case.fully_sampled and case.task not in MASKS[self.year]:
                yield f"{case.path}: got {case.task}, want {' or '.join(MASKS[self.year])}"
            yield from self._of_case(case)
        for case, shape in self.shapes.items():
            full = self.shapes.get(_full(case), shape)
            if shape != full:
                yield f"{case.path}: got {_said(shape)}, want {_said(full)}, as fully sampled"

    def of_masks(self) -> Iterator[str]:
        """Deviations of the masks that no undersampled file refers to, as those of a training set."""
        cases = set(self.cases)
        for path, place in self.masks.items():
            if path in self.used:
                continue
            yield from self._of_place(place, path)
            case = _full(place)
            if case not in cases:
                yield f"{path}: is a mask without data, want a k-space file {place.stem} of {place.subject}"
            elif case in self.shapes:
                yield from _of_mask(place, path, self.shapes[case], case.path.name, [])

    def of_manifest(self) -> Iterator[str]:
        """What a tree of our own promises and does not hold."""
        noted = _noted(self.root)
        if "unreadable" in noted:
            yield f"{self.root / MANIFEST}: cannot be read ({noted['unreadable']})"
        if not self.simulated:
            return
        if noted.get("status") != "complete":
            yield f"{self.root / MANIFEST}: got status {noted.get('status')!r}, want 'complete'"
        full = [case for case in self.cases if case.fully_sampled]
        promised = [path for case in full for path in (case.info_paths()[0], truth_path(case))]
        listed = noted.get("files")
        if isinstance(listed, list):
            promised += [self.root / str(name) for name in listed]
        for path in dict.fromkeys(promised):
            if not path.is_file() and path not in self.missing:
                yield f"{path}: is missing, want it in a tree of cmr-course simulate"

    def _of_place(self, place: Place, path: Path) -> Iterator[str]:
        """Deviations that names and folders show: stem, set, task, kind of mask and acceleration."""
        if not place.has_known_stem:
            yield f"{path}: got the stem {place.stem!r}, want one that {place.modality} has in {self.year}"
        elif place.modality in HELD_OUT.get(self.year, ()):
            if place.split == "TrainingSet":
                yield f"{path}: got {place.modality} in the training set, want it in validation and test only"
            elif place.task not in ("", "Task1"):
                yield f"{path}: got {place.modality} in {place.task}, want it in Task1 only"
        if place.fully_sampled:
            return
        known = accelerations(self.year, place.task, place.mask_kind)
        where = f"{place.mask_kind} masks{f' in {place.task}' if place.task else ''}"
        if not known:
            yield f"{path}: got {where}, want another kind of mask, or another task"
        elif place.acceleration not in known:
            yield f"{path}: got acceleration {place.acceleration}, want one of {', '.join(map(str, known))} for {where}"

    def _of_scanners(self) -> Iterator[str]:
        """The folders of 2025 that do not say which scanner it was, each once, however many files it holds."""
        places = [*((case, case.path) for case in self.cases), *((place, path) for path, place in self.masks.items())]
        folders = {path.parent.parent for place, path in places if not place.has_known_scanner}
        for folder in sorted(folders):
            got = "/".join(folder.parts[-2:])
            yield f"{folder}: got the scanner {got!r}, want centre, vendor and field: Center001/Vendor_30T_model"

    def _of_case(self, case: Case) -> Iterator[str]:
        try:
            shape = self.shapes[case] = case.shape
        except (ValueError, OSError) as error:
            yield str(error)
            yield from self._used_mask(case)
            return
        yield from _of_shape(case, shape, self.simulated)
        usable: list[Mask] = []
        if not case.fully_sampled:
            yield from self._used_mask(case)
            path = _found_mask(case)
            if path is not None:
                yield from _of_mask(case, path, shape, case.path.name, usable)
        yield from _of_values(case, shape, case.fully_sampled or bool(usable))
        yield from _of_info(case, shape, self.simulated)
        if case.fully_sampled and truth_path(case).is_file():
            yield from _of_truth(case, shape)

    def _used_mask(self, case: Case) -> Iterator[str]:
        """Note the mask of an undersampled `case`; names one that is missing."""
        if case.fully_sampled:
            return
        try:
            self.used.add(case.found_mask_path())
        except ValueError as error:
            assert case.mask_path is not None  # an undersampled case has one
            self.missing.add(case.mask_path)
            yield str(error)


def _full(place: Place) -> Case:
    """The fully sampled case of what `place` is a part of."""
    return Case(**vars(replace(place, mask_kind="", acceleration=1, task="")))


def _said(shape: Shape) -> str:
    return f"{shape.slices} slices, {shape.frames} frames, {shape.coils} coils, {shape.ky} x {shape.kx}"


def _noted(root: Path) -> dict[str, Any]:
    """What the manifest says; empty where there is none."""
    path = root / MANIFEST
    if not path.is_file():
        return {}
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {"unreadable": " ".join(str(error).split())}
    return noted if isinstance(noted, dict) else {"unreadable": f"got {type(noted).__name__}, want an object"}


def _of_other(root: Path, path: Path) -> Iterator[str]:
    """A file that is no MATLAB file: half a file, or one that has no place among k-space and masks."""
    parts = path.relative_to(root).parts
    kind = parts[3] if len(parts) > 4 else ""
    if path.name.endswith(".partial"):
        yield f"{path}: was left by a process that did not finish, want it removed"
    elif kind.startswith("Mask_") or (kind.startswith(_DATA_FOLDERS) and path.suffix not in _BESIDE):
        yield f"{path}: got a file that the layout does not know, want MATLAB files and tables"


def _of_shape(case: Case, shape: Shape, simulated: bool) -> Iterator[str]:
    """Deviations that the header shows: coils, weightings, an axis of time where there should be none."""
    if shape.coils != (1 if case.single_coil else COILS):
        yield f"{case.path}: got {shape.coils} coils, want {1 if case.single_coil else COILS}"
    weightings = WEIGHTINGS.get(case.stem, shape.frames)
    if shape.frames != weightings:
        yield f"{case.path}: got {shape.frames} weightings, want {weightings}"
    # 2025 does not say which of its contrasts have no time; black blood has none since 2024, ours are as we say.
    timeless = ("BlackBlood",) if not simulated else WITHOUT_TIME
    if case.modality in timeless and shape.frames > 1:
        yield f"{case.path}: got {shape.frames} frames, want no time axis in {case.modality}"


def _of_values(case: Case, shape: Shape, usable: bool) -> Iterator[str]:
    """Read every slice; without a mask that can be used, k-space is still looked through for NaN."""
    for number in range(shape.slices):
        try:
            if usable:
                case.acquisition(slices=[number])
            else:
                case.kspace(slices=[number])
        except (ValueError, OSError) as error:
            yield str(error)


def _of_info(case: Case, shape: Shape, simulated: bool) -> Iterator[str]:
    """Deviations of the tables: times, and name and value of what the info file says."""
    try:
        case.times()
        info = case.info()
    except (ValueError, OSError) as error:
        yield str(error)
        return
    path = next((path for path in case.info_paths() if path.is_file()), case.path)
    for name in NUMBERS:
        if info.get(name) and not numbers(info, name):
            yield f"{path}: got {name} = {info[name]!r}, want numbers"
        elif name in ABOVE_ZERO and numbers(info, name) and not positive_numbers(info, name):
            yield f"{path}: got {name} = {info[name]!r}, want numbers above zero"
    times = len(numbers(info, "times_ms"))
    if times not in (0, shape.frames):
        yield f"{path}: got {times} times, want {shape.frames}, one a frame"
    if info.get("contrast") == "":
        yield f"{path}: got an empty contrast, want its name, or no such row"
    elif simulated and info.get("contrast", case.contrast) != case.contrast:
        yield f"{path}: got the contrast {info['contrast']!r}, want {case.contrast!r} for {case.stem}"


def _of_truth(case: Case, shape: Shape) -> Iterator[str]:
    """Deviations of the truth file: its size, and every slice read."""
    path = truth_path(case)
    try:
        got, wanted = image_variable(path).shape, (shape.frames, shape.slices, shape.ky, shape.kx)
    except (ValueError, OSError) as error:
        yield str(error)
        return
    if got != wanted:
        yield f"{path}: got images of shape {got}, want {wanted} to fit {case.path.name}"
        return
    for number in range(shape.slices):
        try:
            read_truth(path, [number])
        except (ValueError, OSError) as error:
            yield str(error)


def _of_mask(place: Place, path: Path, shape: Shape, fits: str, usable: list[Mask]) -> Iterator[str]:
    """Deviations of the mask at `path` for k-space of `shape`; one that can be used is put into `usable`."""
    try:
        mask = read_mask(place, path, shape, fits)
    except (ValueError, OSError) as error:
        yield str(error)
        return
    usable.append(mask)
    wanted = ACS_LINES.get(place.year, 1)
    if mask.acs[0] < wanted:
        yield f"{path}: got {mask.acs[0]} fully sampled centre lines, want {wanted}"
    frames = mask.sampled.shape[1]
    if place.mask_kind != "Uniform" and frames != shape.frames:
        yield f"{path}: got one mask for all frames, want one for each of the {shape.frames}"
    elif place.mask_kind == "Uniform" and frames > 1:
        yield f"{path}: got a mask for each of {frames} frames, want one for all"


def _found_mask(case: Case) -> Path | None:
    try:
        return case.found_mask_path()
    except ValueError:
        return None
