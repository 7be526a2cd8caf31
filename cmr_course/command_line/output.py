"""An output folder that says in its ``manifest.json`` what made it and whether it is finished."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cmr_course import __version__
from cmr_course.data.files import make_folders, remove_empty, write_json

MANIFEST = "manifest.json"


class Output:
    """A folder being filled. `files` are those that are finished, as paths below it."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], files: Iterable[str] = ()) -> None:
        self.folder = folder
        self._identity = dict(identity)
        self.files = set(files)
        self._pause, self._noted = 0.0, 0.0

    def has(self, paths: Iterable[Path]) -> bool:
        """Whether all of `paths` are finished, by this run or by the one it continues."""
        return all(self._name(path) in self.files and path.is_file() for path in paths)

    def add(self, paths: Iterable[Path]) -> None:
        """Note `paths` as finished.

        A manifest of very many files takes its time to write; then it is not written after each of them.
        """
        self.files.update(self._name(path) for path in paths)
        if time.monotonic() - self._noted >= self._pause:
            self.note("unfinished")

    def note(self, status: str) -> None:
        """Write the manifest with `status`."""
        begin = time.monotonic()
        write_json(self.folder / MANIFEST, {**self._identity, "status": status, "files": sorted(self.files)})
        self._noted = time.monotonic()
        self._pause = 20 * (self._noted - begin)

    def sweep(self, paths: Iterable[Path]) -> None:
        """Remove what a process that was killed while it wrote `paths` has left: half files, and empty folders."""
        for path in paths:
            path.with_name(f".{path.name}.partial").unlink(missing_ok=True)
        remove_empty(sorted(item for item in self.folder.rglob("*") if item.is_dir()))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


@contextmanager
def filling(folder: Path, command: str, seed: int, settings: Mapping[str, Any]) -> Iterator[Output]:
    """Fill `folder`, which must be new, empty, or what an interrupted run of the same command and settings left.

    The manifest says ``unfinished`` until the block ends well. When it fails before any file is finished, the folder
    is left as it was found. Raises ValueError where the folder holds anything else.
    """
    identity = json.loads(json.dumps({"command": command, "seed": seed, "settings": settings, "version": __version__}))
    output = Output(folder, identity, _finished(folder, identity))
    made = make_folders(folder)
    try:
        output.note("unfinished")
        yield output
        output.note("complete")
    except BaseException:
        if not [item for item in folder.rglob("*") if item.is_file() and item.name != MANIFEST]:
            (folder / MANIFEST).unlink(missing_ok=True)
            remove_empty([*made, *sorted(item for item in folder.rglob("*") if item.is_dir())])
        else:
            with suppress(OSError):  # the error that ended the block is the one to report
                output.note("unfinished")
        raise


def _finished(folder: Path, identity: Mapping[str, Any]) -> list[str]:
    """The files that an interrupted run finished; ValueError unless `folder` is new, empty or such a run's."""
    if not folder.exists() or (folder.is_dir() and not _content(folder)):
        return []
    refused = f"{folder}: is neither empty nor an unfinished tree of the same command and seed"
    if not folder.is_dir():
        raise ValueError(f"{refused} (it is a file)")
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(f"{refused} (it has no {MANIFEST})")
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        status, files = noted["status"], [str(name) for name in noted["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{refused} (its {MANIFEST} cannot be read)") from error
    if status != "unfinished":
        raise ValueError(f"{refused} ({MANIFEST}: {status})")
    other = [name for name in identity if noted.get(name) != identity[name]]
    if other:
        raise ValueError(f"{refused} ({MANIFEST}: another {' and '.join(other)})")
    return files


def _content(folder: Path) -> list[Path]:
    """What is in `folder`, apart from a manifest that a killed run had begun to write."""
    return [item for item in folder.iterdir() if item.name != f".{MANIFEST}.partial"]
