"""Where the challenge trees of 2023, 2024 and 2025 keep a file, and what its place says about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cmr_course.domains import CONTRASTS_2025, known_stem
from cmr_course.validate import is_number, require, say

YEARS = (2023, 2024, 2025)

MODALITIES: dict[int, tuple[str, ...]] = {
    2023: ("Cine", "Mapping"),
    2024: ("Cine", "Aorta", "Mapping", "Tagging", "Flow2d", "BlackBlood"),
    2025: CONTRASTS_2025,
}

WITHOUT_TIME = ("BlackBlood", "LGE", "T1w", "T2w")
"""Modalities whose k-space may come without a time axis."""

SPLITS = ("TrainingSet", "ValidationSet", "TestSet")

HELD_OUT: dict[int, tuple[str, ...]] = {2024: ("Flow2d", "BlackBlood")}
"""Modalities that no training set has and only the first task, by year."""

MASK_KINDS = {"Uniform": "uniform", "ktUniform": "kt_uniform", "ktGaussian": "kt_gaussian", "ktRadial": "kt_radial"}
"""The challenge's mask names and the course's."""

_MOVING = ("ktUniform", "ktGaussian", "ktRadial")
_KT_2024: dict[str, tuple[int, ...]] = dict.fromkeys(_MOVING, (4, 8, 12, 16, 20, 24))
_KT_2025: dict[str, tuple[int, ...]] = dict.fromkeys(_MOVING, (8, 16, 24))

MASKS: dict[int, dict[str, dict[str, tuple[int, ...]]]] = {
    2023: {"": {"Uniform": (4, 8, 10)}},
    2024: {"Task1": {"Uniform": (4, 8, 10)}, "Task2": _KT_2024},
    2025: dict.fromkeys(("Task1", "Task2", "TaskR1", "TaskR2"), _KT_2025),
}
"""Of each year and task the kinds of mask and their accelerations. 2023 has no tasks; those of 2025 are called 1 and 2
by the data page and R1 and R2 by the scoring scripts."""

COIL_FOLDERS = ("MultiCoil", "SingleCoil")

_ACCELERATED_2023 = re.compile(r"AccFactor(\d{2})")
_ACCELERATED = re.compile(r"UnderSample_(\w+)")
_MASK_NAME = r"(?P<mask>Uniform|ktUniform|ktGaussian|ktRadial)(?P<r>\d+)"
_UNDERSAMPLED_FILE = re.compile(rf"(?P<stem>\w+)_kus_{_MASK_NAME}\.mat")
_MASK_FILE = re.compile(rf"(?P<stem>\w+)_mask_{_MASK_NAME}\.mat")
_MASK_FOLDER = re.compile(r"Mask_(\w+)")
_SCANNER = re.compile(r"(?P<vendor>[^_]+)_(?P<field>\d+)T_(?P<model>.+)")
_CENTRES = {
    "ge": "Center001/GE",
    "philips": "Center002/Philips",
    "siemens": "Center003/Siemens",
    "uih": "Center004/UIH",
}
MODEL = "phantom"
"""Where the challenge names the model of a scanner, simulated data say what they are of."""


P = TypeVar("P", bound="Place")
Reader = Callable[[int, str, str], tuple[str, str, int, str]]
"""Of a year, a folder's name and a file's: (stem, mask, acceleration, task)."""


@dataclass(frozen=True, order=True)
class Place:
    """One k-space file of a challenge tree, named by what the layout says of it.

    root: the folder that holds ``MultiCoil`` (or ``SingleCoil``). split: TrainingSet, ValidationSet or TestSet.
    stem: the file's name without ending, mask and acceleration, such as ``cine_sax``.
    mask_kind: the challenge's mask name (``Uniform``, ``ktRadial``, …), empty where fully sampled.
    acceleration: nominal R, 1 where fully sampled. task: ``Task1`` and the like, 2024 and 2025, undersampled only.
    scanner: ``Center004/UIH_30T_umr780`` in 2025, else empty.
    """

    root: Path
    year: int
    modality: str
    split: str
    subject: str
    stem: str
    mask_kind: str = ""
    acceleration: int = 1
    task: str = ""
    scanner: str = ""
    single_coil: bool = False

    def __post_init__(self) -> None:
        require(self.year in YEARS, f"year: got {self.year}, want one of {YEARS}")
        known = MODALITIES[self.year]
        require(self.modality in known, f"modality: got {self.modality!r}, want one of {', '.join(known)}")
        require(self.split in SPLITS, f"split: got {self.split!r}, want one of {', '.join(SPLITS)}")
        require(bool(re.fullmatch(r"P\d+", self.subject)), f"subject: got {self.subject!r}, want P001 and the like")
        require(bool(re.fullmatch(r"\w+", self.stem)), f"stem: got {self.stem!r}, want cine_sax and the like")
        require(
            not self.mask_kind or self.mask_kind in MASK_KINDS,
            f"mask_kind: got {self.mask_kind!r}, want {', '.join(MASK_KINDS)}",
        )
        require(self.acceleration > 0, f"acceleration: got {self.acceleration}, want a number above zero")
        require(
            (self.year == 2025) == bool(self.scanner),
            f"scanner: got {self.scanner!r} in {self.year}, want Center001/Vendor_30T_model in 2025, nothing before",
        )
        # A part of a path, it must stay in this tree; `has_known_scanner` says whether it names a scanner.
        parts = self.scanner.split("/") if isinstance(self.scanner, str) else []
        sound = len(parts) == 2 and all(re.fullmatch(r"[^/\\\0]+", part) and part.strip(". ") for part in parts)
        require(
            self.year < 2025 or sound,
            f"scanner: got {say(self.scanner)}, want two folders, such as Center001/Vendor_30T_model",
        )
        require(
            isinstance(self.task, str) and bool(re.fullmatch(r"\w*", self.task)),
            f"task: got {say(self.task)}, want Task1 and the like",
        )
        require(
            bool(self.task) == (bool(self.mask_kind) and self.year > 2023),
            f"task: got {self.task!r}, want Task1 and the like for undersampled files of 2024 and 2025, else nothing",
        )

    @property
    def fully_sampled(self) -> bool:
        """Whether the file holds fully sampled k-space."""
        return not self.mask_kind

    @property
    def kind(self) -> str:
        """The folder that says how it was sampled: FullSample, AccFactor04, UnderSample_Task1."""
        if self.fully_sampled:
            return "FullSample"
        return f"AccFactor{self.acceleration:02d}" if self.year == 2023 else f"UnderSample_{self.task}"

    def folder(self, kind: str) -> Path:
        """The subject's folder below `kind` (FullSample, Mask_Task1, ImgSnapshot, …)."""
        coils = COIL_FOLDERS[self.single_coil]
        return self.root / coils / self.modality / self.split / kind / self.scanner / self.subject

    @property
    def path(self) -> Path:
        """The k-space file."""
        named = self.fully_sampled or self.year == 2023
        return self.folder(self.kind) / (
            f"{self.stem}.mat" if named else f"{self.stem}_kus_{self.mask_kind}{self.acceleration}.mat"
        )

    @property
    def relative(self) -> Path:
        """`path` as seen from the root."""
        return self.path.relative_to(self.root)

    @property
    def mask_path(self) -> Path | None:
        """The mask file that belongs to the k-space; None where fully sampled."""
        if self.fully_sampled:
            return None
        if self.year == 2023:
            return self.folder(self.kind) / f"{self.stem}_mask.mat"
        return self.folder(f"Mask_{self.task}") / f"{self.stem}_mask_{self.mask_kind}{self.acceleration}.mat"

    def info_paths(self) -> tuple[Path, ...]:
        """Where the ``*_info.csv`` may be, the layout's own place first: ImgSnapshot in 2024, beside the data later.

        What is said beside the fully sampled file holds for its undersampled versions, too.
        """
        name = f"{self.stem}_info.csv"
        beside, snapshot = self.path.with_name(name), self.folder("ImgSnapshot") / name
        own = (snapshot, beside) if self.year == 2024 else (beside, snapshot)
        return own if self.fully_sampled else (*own, self.folder("FullSample") / name)

    @property
    def variable_names(self) -> tuple[str, ...]:
        """Under which name the k-space is stored."""
        single = "_single" if self.single_coil else ""
        if self.year == 2023:
            return (f"kspace{single}_full" if self.fully_sampled else f"kspace{single}_sub{self.acceleration:02d}",)
        if not self.fully_sampled:
            return ("kus",)
        return ("kspace_full",) if self.year == 2024 else ("kspace", "kspace_full")

    @property
    def mask_name(self) -> str:
        """Under which name the mask is stored."""
        return f"mask{self.acceleration:02d}" if self.year == 2023 else "mask"

    @property
    def contrast(self) -> str:
        """The first word of the stem: cine, T1map, tagging, …; ``cine`` for the two views of the aorta."""
        return "cine" if self.modality == "Aorta" else self.stem.partition("_")[0]

    @property
    def view(self) -> str:
        """The rest of the stem: sax, lax, …; ``aorta_tra`` and ``aorta_sag`` whole; empty where the file says none."""
        return self.stem if self.modality == "Aorta" else self.stem.partition("_")[2]

    @property
    def has_known_stem(self) -> bool:
        """Whether files are called so in this modality. For 2025 the first word decides: not all names are known."""
        if self.year == 2025:
            known = ("T1map", "T2map") if self.modality == "Mapping" else (self.modality,)
            return self.stem.lower().startswith(tuple(name.lower() for name in known))
        stem = known_stem(self.stem, self.year)
        return stem is not None and stem.modality == self.modality

    @property
    def has_known_scanner(self) -> bool:
        """Whether centre, vendor and field can be read off the folders; always before 2025, which have none."""
        centre, _, _ = self.scanner.partition("/")
        return self.year < 2025 or (self.field is not None and bool(re.fullmatch(r"Center\d+", centre)))

    @property
    def vendor(self) -> str:
        """Of the scanner, as 2025 names it (``UIH_30T_umr780``); empty in the years before."""
        match = _SCANNER.fullmatch(self.scanner.rpartition("/")[2])
        return match["vendor"] if match else ""

    @property
    def field(self) -> float | None:
        """Field strength in tesla, in 2025: 30T is 3.0, 15T is 1.5, 055T is 0.55."""
        match = _SCANNER.fullmatch(self.scanner.rpartition("/")[2])
        return float(f"{match['field'][0]}.{match['field'][1:] or '0'}") if match else None

    @classmethod
    def parse(cls: type[P], root: Path, path: Path, year: int) -> P | None:
        """The place that `path` is, in a tree of `year`; None for files that hold no k-space (masks, pictures).

        Raises ValueError naming what does not fit the year's layout.
        """
        parts = path.relative_to(root).parts
        if is_mask(root, path, year) or (len(parts) > 4 and parts[3] in ("ImgSnapshot", "SegmentROI")):
            return None
        return cls._parsed(root, path, year, _sampling)

    @classmethod
    def parse_mask(cls: type[P], root: Path, path: Path, year: int) -> P:
        """The undersampled place that the mask at `path` is for, whether there is such a file or not.

        Raises ValueError naming what does not fit the year's layout.
        """
        return cls._parsed(root, path, year, _of_mask)

    @classmethod
    def _parsed(cls: type[P], root: Path, path: Path, year: int, read: Reader) -> P:
        """The place of `path`, of whose last folders and name `read` makes stem, mask, acceleration and task."""
        parts = path.relative_to(root).parts
        depth = 8 if year == 2025 else 6
        pattern = "coils/modality/set/kind/centre/scanner/subject/file" if depth == 8 else "coils/…/subject/file"
        require(len(parts) == depth, f"{path}: got {len(parts)} levels below the root, want {depth} ({pattern})")
        coils, modality, split, kind = parts[:4]
        scanner = "/".join(parts[4:-2])
        try:
            sampled = read(year, kind, path.name)
            return cls(root, year, modality, split, parts[-2], *sampled, scanner, coils == "SingleCoil")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _sampling(year: int, kind: str, name: str) -> tuple[str, str, int, str]:
    """(stem, mask, acceleration, task) that the folder `kind` and the file `name` stand for."""
    stem = name.removesuffix(".mat")
    if kind == "FullSample":
        return stem, "", 1, ""
    if year == 2023:
        factor = _ACCELERATED_2023.fullmatch(kind)
        require(factor is not None, f"folder: got {kind!r}, want FullSample or AccFactor04, 08, 10")
        return stem, "Uniform", int(factor[1]), ""  # type: ignore[index]
    task, file = _ACCELERATED.fullmatch(kind), _UNDERSAMPLED_FILE.fullmatch(name)
    require(task is not None, f"folder: got {kind!r}, want FullSample, UnderSample_Task1 or UnderSample_Task2")
    require(file is not None, f"file: got {name!r}, want cine_sax_kus_Uniform8.mat and the like")
    return file["stem"], file["mask"], int(file["r"]), task[1]  # type: ignore[index]


def _of_mask(year: int, kind: str, name: str) -> tuple[str, str, int, str]:
    """(stem, mask, acceleration, task) that the mask file `name` in the folder `kind` stands for."""
    if year == 2023:
        stem, _, acceleration, _ = _sampling(year, kind, name)
        return stem.removesuffix("_mask"), "Uniform", acceleration, ""
    task, file = _MASK_FOLDER.fullmatch(kind), _MASK_FILE.fullmatch(name)
    require(task is not None, f"folder: got {kind!r}, want Mask_Task1 or Mask_Task2")
    require(file is not None, f"file: got {name!r}, want cine_sax_mask_Uniform8.mat and the like")
    return file["stem"], file["mask"], int(file["r"]), task[1]  # type: ignore[index]


def is_mask(root: Path, path: Path, year: int) -> bool:
    """Whether `path` lies where masks do; in 2023 they lie beside the data, and their name says it."""
    parts = path.relative_to(root).parts
    if year == 2023:
        return path.name.endswith("_mask.mat")
    return len(parts) > 4 and parts[3].startswith("Mask_")


def accelerations(year: int, task: str, kind: str) -> tuple[int, ...]:
    """The accelerations that masks of `kind` have in `task`; none where the task has no such masks.

    A task that the year does not know, such as that of a folder ``Mask_TaskAll``, stands for all of them.
    """
    tasks = MASKS[year]
    chosen = [tasks[task]] if task in tasks else list(tasks.values())
    return tuple(sorted({r for kinds in chosen for r in kinds.get(kind, ())}))


def scanner_folder(vendor: str, field: float) -> str:
    """The folders of 2025 for a simulated receiver: ``Center004/UIH_30T_phantom``; a centre has one maker's scanners.

    Raises ValueError for a vendor without a centre, and for a field that three digits after the first cannot name.
    """
    require(vendor in _CENTRES, f"vendor: got {say(vendor)}, want one of {', '.join(_CENTRES)}")
    good = is_number(field) and 0.1 <= field < 10
    require(good, f"field: got {say(field)}, want 0.1 to below 10 tesla in a tree of 2025")
    whole, _, part = f"{field:.3f}".partition(".")
    require(float(f"{whole}.{part}") == field, f"field: got {say(field)}, want tesla with at most three digits")
    return f"{_CENTRES[vendor]}_{whole}{part.rstrip('0') or '0'}T_{MODEL}"


def coil_folders(root: Path) -> set[str]:
    """Which of MultiCoil and SingleCoil are below `root`; ValueError where neither is, and so no tree."""
    require(root.is_dir(), f"{root}: got no folder, want a CMRxRecon tree")
    found = {coils for coils in COIL_FOLDERS if (root / coils).is_dir()}
    require(bool(found), f"{root}: got no folder MultiCoil or SingleCoil, want the root of a CMRxRecon tree")
    return found


def recognise_year(root: Path) -> int:
    """The year whose layout the tree below `root` has.

    2025 has centres below FullSample; 2023 has SingleCoil, AccFactor folders or times beside the maps; everything
    else is 2024. Raises ValueError where there is no tree, or marks of more than one year.
    """
    found = coil_folders(root)
    marks: dict[int, str] = {}
    for kind in sorted(path for coils in found for path in (root / coils).glob("*/*/*") if path.is_dir()):
        below = sorted(kind.iterdir())
        if any(item.name.startswith("Center") for item in below):
            marks.setdefault(2025, f"{kind.relative_to(root)}/Center…")
        elif _ACCELERATED_2023.fullmatch(kind.name):
            marks.setdefault(2023, str(kind.relative_to(root)))
        elif any(re.fullmatch(pattern, kind.name) for pattern in (_ACCELERATED, _MASK_FOLDER, "ImgSnapshot")):
            if below and not any(re.fullmatch(r"P\d+", item.name) for item in below):
                continue  # a centre of 2025 by another name, which `validate` names
            marks.setdefault(2024, str(kind.relative_to(root)))
    if "SingleCoil" in found or any((root / "MultiCoil").glob("Mapping/*/FullSample/*/T?map.csv")):
        marks.setdefault(2023, "SingleCoil or T1map.csv")
    require(
        len(marks) <= 1,
        f"{root}: got the marks of several years ({', '.join(f'{y}: {mark}' for y, mark in sorted(marks.items()))}), "
        "want the tree of one",
    )
    return next(iter(marks), 2024)
