"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; what is written there takes `path`'s place when the block ends well.

    When the block fails or is interrupted, the temporary file goes, and so do the folders that were made for it.
    The temporary name follows from `path`, so that what a killed process left behind is overwritten by its successor.
    """
    made = make_folders(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        remove_empty(made)
        raise


@contextmanager
def replacing_together(paths: Sequence[Path], stale: Sequence[Path] = ()) -> Iterator[list[Path]]:
    """Yield temporary names beside `paths`; when the block ends well, all take their places, in this order.

    Files that belong to what was there and to nothing of the new, `stale`, go just before the last one takes its place.
    When the block fails or is interrupted, what was there stays as it was: nothing is touched before all is complete.
    Only a process that is killed between the renames themselves can leave new files beside an older last one.
    Raises OSError, before anything is written, where a folder is in the way.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    partials = [path.with_name(f".{path.name}.partial") for path in paths]
    made: list[Path] = []
    try:
        for path in paths:
            made += make_folders(path.parent)
        yield partials
        for partial, path in zip(partials[:-1], paths[:-1], strict=True):
            partial.replace(path)
        for path in stale:
            path.unlink(missing_ok=True)
        partials[-1].replace(paths[-1])
    except BaseException:
        for partial in partials:
            partial.unlink(missing_ok=True)
        remove_empty(made)
        raise


def make_folders(folder: Path) -> list[Path]:
    """Make `folder` and its parents; returns those that were not there, outermost first."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove those of `folders` (outermost first) that hold nothing."""
    for folder in reversed(folders):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with replacing(path) as partial:
        fill_text(partial, text)


def fill_text(partial: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends under a temporary name."""
    partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def fingerprint(path: Path) -> str:
    """What tells this file from another of its name: sha256 of its size and of its first and last MiB, in hex.

    K-space has noise in every sample, so two files of one size that agree there are the same; a whole tree of
    hundreds of GB need not be read for it.
    """
    size, part = path.stat().st_size, 2**20
    digest = sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(part))
        file.seek(max(size - part, 0))
        digest.update(file.read(part))
    return digest.hexdigest()
