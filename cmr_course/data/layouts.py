"""Where the challenge trees of 2023, 2024 and 2025 keep a file, and what its place says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cmr_course.validate import require

YEARS = (2023, 2024, 2025)

MODALITIES: dict[int, tuple[str, ...]] = {
    2023: ("Cine", "Mapping"),
    2024: ("Cine", "Aorta", "Mapping", "Tagging", "Flow2d", "BlackBlood"),
    2025: ("BlackBlood", "Cine", "Flow2d", "LGE", "Mapping", "Perfusion", "T1rho", "T1w", "T2w"),
}

WITHOUT_TIME = ("BlackBlood", "LGE", "T1w", "T2w")
"""Modalities whose k-space may come without a time axis."""

SPLITS = ("TrainingSet", "ValidationSet", "TestSet")

ACCELERATIONS: dict[int, tuple[int, ...]] = {2023: (4, 8, 10), 2024: (4, 8, 10, 12, 16, 20, 24), 2025: (8, 16, 24)}

MASK_KINDS = {"Uniform": "uniform", "ktUniform": "kt_uniform", "ktGaussian": "kt_gaussian", "ktRadial": "kt_radial"}
"""The challenge's mask names and the course's."""

COIL_FOLDERS = ("MultiCoil", "SingleCoil")

_ACCELERATED_2023 = re.compile(r"AccFactor(\d{2})")
_ACCELERATED = re.compile(r"UnderSample_(\w+)")
_UNDERSAMPLED_FILE = re.compile(r"(?P<stem>\w+)_kus_(?P<mask>Uniform|ktUniform|ktGaussian|ktRadial)(?P<r>\d+)\.mat")
_SCANNER = re.compile(r"(?P<vendor>[^_]+)_(?P<field>\d+)T_(?P<model>.+)")


P = TypeVar("P", bound="Place")


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
        """Where the ``*_info.csv`` may be, the layout's own place first: ImgSnapshot in 2024, beside the data later."""
        name = f"{self.stem}_info.csv"
        beside, snapshot = self.path.with_name(name), self.folder("ImgSnapshot") / name
        return (snapshot, beside) if self.year == 2024 else (beside, snapshot)

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
        """The first word of the stem: cine, T1map, tagging, …"""
        return self.stem.partition("_")[0]

    @property
    def view(self) -> str:
        """The rest of the stem: sax, lax, tra, …; empty where the file does not say."""
        return self.stem.partition("_")[2]

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
        depth = 8 if year == 2025 else 6
        if len(parts) > 4 and (parts[3].startswith("Mask_") or parts[3] in ("ImgSnapshot", "SegmentROI")):
            return None
        if year == 2023 and path.name.endswith("_mask.mat"):
            return None
        pattern = "coils/modality/set/kind/centre/scanner/subject/file" if depth == 8 else "coils/…/subject/file"
        require(len(parts) == depth, f"{path}: got {len(parts)} levels below the root, want {depth} ({pattern})")
        coils, modality, split, kind = parts[:4]
        scanner = "/".join(parts[4:-2])
        try:
            sampled = _sampling(year, kind, path.name)
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


def recognise_year(root: Path) -> int:
    """The year whose layout the tree below `root` has.

    2025 has centres below FullSample; 2023 has SingleCoil, AccFactor folders or times beside the maps; everything
    else is 2024. Raises ValueError where there is no tree, or marks of more than one year.
    """
    require(root.is_dir(), f"{root}: got no folder, want a CMRxRecon tree")
    found = {coils for coils in COIL_FOLDERS if (root / coils).is_dir()}
    require(bool(found), f"{root}: got no folder MultiCoil or SingleCoil, want the root of a CMRxRecon tree")
    marks: dict[int, str] = {}
    for kind in sorted(path for coils in found for path in (root / coils).glob("*/*/*") if path.is_dir()):
        below = sorted(kind.iterdir())
        if any(item.name.startswith("Center") for item in below):
            marks.setdefault(2025, f"{kind.relative_to(root)}/Center…")
        elif _ACCELERATED_2023.fullmatch(kind.name):
            marks.setdefault(2023, str(kind.relative_to(root)))
        elif _ACCELERATED.fullmatch(kind.name) or kind.name.startswith(("Mask_", "ImgSnapshot")):
            marks.setdefault(2024, str(kind.relative_to(root)))
    if "SingleCoil" in found or any((root / "MultiCoil").glob("Mapping/*/FullSample/*/T?map.csv")):
        marks.setdefault(2023, "SingleCoil or T1map.csv")
    require(
        len(marks) <= 1,
        f"{root}: got the marks of several years ({', '.join(f'{y}: {mark}' for y, mark in sorted(marks.items()))}), "
        "want the tree of one",
    )
    return next(iter(marks), 2024)
