"""The log of a training: a line of JSON for each entry, in step with the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cmr_course.training.checkpoints import atomically


def read_log(path: Path | str) -> list[dict[str, Any]]:
    """The entries of a log: of training, with ``loss``, and of validation, with ``validation``; each has a ``step``.

    A last line that was cut short, by a loss of power, is left out.
    """
    entries = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries


def cut_log(path: Path, step: int) -> None:
    """Leave out what was logged after `step`: it will be done, and logged, again."""
    if path.is_file():
        kept = [entry for entry in read_log(path) if entry["step"] <= step]
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def append_log(path: Path, entry: Mapping[str, Any]) -> None:
    """Write `entry` as the last line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
