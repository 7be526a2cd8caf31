"""Fixtures: where they are, of what kind, what of them was read, and what checks them.

A fixture is an npz or json file of numbers that published code produced. Its kind is the longest known kind that its
file name begins with; sizes, options and cases come from its config, so a check runs on any further file of the kind.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]

KINDS = (
    "cab",
    "crnn",
    "crnn_dataconsistency",
    "crnn_pretrained",
    "crunet",
    "crunet_default_statedict",
    "crunet_ssimloss",
    "dists",
    "dncn",
    "dncn3d",
    "eagle_hypercmr",
    "eagle_original",
    "fft_rss",
    "hypercmr_total_loss",
    "masks_Uniform",
    "masks_ktGaussian",
    "masks_ktRadial",
    "masks_ktUniform",
    "metrics",
    "normpromptunet",
    "promptblock",
    "promptmr",
    "promptmr_default_statedict",
    "promptunet",
)

PENDING = Path(__file__).with_name("pending.toml")

CHECKS: dict[str, Callable[[Fixture], None]] = {}


def check(*kinds: str) -> Callable[[Callable[[Fixture], None]], Callable[[Fixture], None]]:
    """Register a function as the check of every file of `kinds`."""

    def register(function: Callable[[Fixture], None]) -> Callable[[Fixture], None]:
        for kind in kinds:
            assert kind in KINDS, f"{kind} is no known kind"
            assert kind not in CHECKS, f"{kind} has two checks"
            CHECKS[kind] = function
        return function

    return register


def folder() -> Path | None:
    """CMR_COURSE_FIXTURES, else ../shared/fixtures, else tests/fixtures, else None."""
    named = os.environ.get("CMR_COURSE_FIXTURES")
    if named:
        if not Path(named).is_dir():
            raise FileNotFoundError(f"CMR_COURSE_FIXTURES: got {named}, want a folder that exists")
        return Path(named)
    return next(
        (path for path in (ROOT.parent / "shared" / "fixtures", ROOT / "tests" / "fixtures") if path.is_dir()), None
    )


def files(where: Path | None) -> list[Path]:
    """The fixture files of a folder, in order."""
    return [] if where is None else sorted(p for p in where.iterdir() if p.suffix in (".npz", ".json"))


def kind_of(path: Path) -> str | None:
    """The longest known kind that the file name begins with."""
    return max((kind for kind in KINDS if path.name.startswith(kind)), key=len, default=None)


@dataclass(frozen=True)
class Pending:
    """What is not built yet: kinds, and parts (patterns of array names) of kinds, each with what will remove it."""

    kinds: dict[str, str]
    parts: dict[str, dict[str, str]]

    @classmethod
    def read(cls, path: Path = PENDING) -> Pending:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(table.get("kinds", {}), table.get("parts", {}))

    def part(self, kind: str, name: str) -> str | None:
        """The pattern that lists array `name` of `kind`, or None."""
        return next((pattern for pattern in self.parts.get(kind, {}) if fnmatchcase(name, pattern)), None)


@dataclass
class Fixture:
    """An npz fixture that remembers which of its arrays were read; a json file is all config."""

    path: Path
    kind: str
    excepted: list[str] = field(default_factory=list)
    ran: int = 0

    def __post_init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._read: set[str] = set()
        if self.path.suffix == ".json":
            self.config: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
            return
        with np.load(self.path, allow_pickle=False) as arrays:
            self._arrays.update({name: arrays[name] for name in arrays.files})
        self.config = json.loads(str(self._arrays.pop("config")))

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> torch.Tensor:
        """Array `name`; it counts as read, and so must be compared."""
        self._read.add(name)
        return torch.from_numpy(np.asarray(self._arrays[name]).copy())

    @property
    def names(self) -> list[str]:
        """Names of all arrays."""
        return list(self._arrays)

    def outputs(self) -> list[str]:
        """Names of the arrays that published code put out."""
        return [name for name in self._arrays if name.startswith("out/")]

    def unread(self) -> list[str]:
        """Outputs that no check has read."""
        return [name for name in self.outputs() if name not in self._read]

    def except_(self, what: str) -> None:
        """Count a case that is excused by the decisions, and say so in the summary."""
        self.excepted.append(what)


def close(name: str, got: torch.Tensor | float, wanted: torch.Tensor, tolerance: float) -> None:
    """Assert max|got − wanted| ≤ tolerance · max|wanted| (absolute where `wanted` is zero), and equal shapes."""
    got = torch.as_tensor(got)
    assert got.shape == wanted.shape, f"{name}: got shape {tuple(got.shape)}, want {tuple(wanted.shape)}"
    scale = float(wanted.abs().max()) or 1.0
    error = float((got - wanted).abs().max()) / scale
    assert error <= tolerance, f"{name}: relative error {error:.2e}, want at most {tolerance:.0e}"


def run(path: Path, pending: Pending, checks: dict[str, Callable[[Fixture], None]] | None = None) -> Fixture | str:
    """Check one file. The fixture, with what it counted, or the reason for which it is skipped.

    AssertionError: the file's kind is unknown, or neither checked nor pending; a part was neither read nor is pending;
    or a number is wrong.
    """
    checks = CHECKS if checks is None else checks
    kind = kind_of(path)
    assert kind is not None, f"{path.name}: no known kind begins its name; add it to KINDS with a check or to pending"
    if kind not in checks:
        assert kind in pending.kinds, f"{path.name}: kind {kind} has no check and is not in pending.toml"
        return f"{kind} is pending: {pending.kinds[kind]}"
    assert kind not in pending.kinds, f"{kind} has a check and is in pending.toml as well"
    fixture = Fixture(path, kind)
    checks[kind](fixture)
    left = [name for name in fixture.unread() if pending.part(kind, name) is None]
    assert not left, f"{path.name}: {len(left)} outputs neither compared nor in pending.toml: {', '.join(left[:5])}"
    stale = [n for n in fixture.outputs() if n not in fixture.unread() and pending.part(kind, n) is not None]
    assert not stale, f"{path.name}: compared, yet in pending.toml: {', '.join(stale[:5])}"
    return fixture


def summary(records: Iterable[dict[str, Any]]) -> list[str]:
    """Lines that say how many files of each kind ran, failed or were skipped, and what was excepted."""
    counts: dict[str, dict[str, int]] = {}
    notes: list[str] = []
    for record in records:
        count = counts.setdefault(record["kind"], {"passed": 0, "failed": 0, "skipped": 0, "cases": 0})
        count[record["outcome"]] += 1
        count["cases"] += record.get("cases", 0)
        notes += [f"excepted in {record['file']}: {what}" for what in record.get("excepted", [])]
        if record["outcome"] == "skipped":
            notes.append(f"skipped {record['file']}: {record['reason']}")
    lines = [
        f"{kind}: {c['passed']} files ran ({c['cases']} cases), {c['failed']} failed, {c['skipped']} skipped"
        for kind, c in sorted(counts.items())
    ]
    return lines + sorted(notes)
