"""What the pages of prose name, and whether it exists."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROSE = sorted([*(ROOT / "book").glob("*.md"), *ROOT.glob("*.md")])
"""Every page of prose, of the book and beside it."""

CODE_NAME = re.compile(r"`(cmr_course(?:\.\w+)+)(?:\(\))?`")


def code_names(text: str) -> list[str]:
    """Every dotted name of the package that stands in backticks in `text`."""
    return CODE_NAME.findall(text)


def resolve(name: str) -> object:
    """The object a dotted `name` stands for: a module, or what it holds; a field of a dataclass gives its Field.

    Raises AttributeError that says which part of the name does not exist.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        try:
            found: object = importlib.import_module(prefix)
        except ModuleNotFoundError as error:
            if length == 1 or not f"{prefix}.".startswith(f"{error.name}."):  # what a module of ours needs is missing
                raise
        else:
            break
    for part in parts[length:]:
        fields = {field.name: field for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else {}
        if part not in fields and not hasattr(found, part):
            raise AttributeError(f"{name}: {getattr(found, '__name__', found)} has no {part}")
        found = fields[part] if part in fields else getattr(found, part)
    return found


def table_rows(text: str, first_heading: str) -> list[list[str]]:
    """The cells of the rows of the Markdown table whose first column is headed `first_heading`."""
    lines = text.splitlines()
    begin = next(i for i, line in enumerate(lines) if re.match(rf"\|\s*{re.escape(first_heading)}\s*\|", line))
    rows = []
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            break
        # A bar inside $…$ or `…` belongs to the cell.
        guarded = re.sub(r"\$[^$]*\$|`[^`]*`", lambda match: match[0].replace("|", "\0"), line)
        rows.append([cell.strip().replace("\0", "|") for cell in guarded.strip().strip("|").split("|")])
    return rows
