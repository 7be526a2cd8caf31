"""The canonical form of a committed notebook, its digest, and what can be wrong with it.

Standard library only: editions and checks need no kernel. A notebook is its JSON, with every text joined to one string.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]
Cell = dict[str, Any]

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python", "pygments_lexer": "ipython3"}
# Whatever else a front end or papermill leaves in the metadata changes from run to run, or says nothing to a reader.
KEPT_METADATA = ("authors", "cmr_course", "mystnb", "title")
DROPPED_CELL_METADATA = ("ExecuteTime", "collapsed", "execution", "papermill", "scrolled", "trusted", "vscode")

CHAPTER_BYTES, CHAPTER_MEAN_BYTES, TRAINING_BYTES = 1_000_000, 700_000, 300_000
PICTURE_BYTES, ANIMATION_BYTES, ANIMATIONS = 120_000, 200_000, 4

MACHINE_PATH = re.compile(r"(?<![\w./:-])/(?:home|root|work|tmp|Users|mnt|opt|usr|var)/|\b[A-Z]:\\\\?\w|file://")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")
OUTSIDE_IMAGE = re.compile(
    r"""!\[[^\]]*\]\(\s*<?(?:https?:)?//|<img[^>]+src\s*=\s*["']?(?:https?:)?//|\{(?:image|figure)\}\s*(?:https?:)?//"""
)


class NotebookError(Exception):
    """A notebook that cannot be read or worked on; the text names it."""


def read(path: Path) -> Notebook:
    """Read a notebook of format 4 with every text joined."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotebookError(f"{path}: not a readable notebook ({error})") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise NotebookError(f"{path}: not a notebook of format 4")
    for cell in notebook["cells"]:
        cell["source"] = joined(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = joined(output["text"])
            for mime, value in output.get("data", {}).items():
                output["data"][mime] = value if is_json(mime) else joined(value)
    return notebook


def is_json(mime: str) -> bool:
    """Whether an output of this type is a JSON value and no text."""
    return mime == "application/json" or mime.endswith("+json")


def joined(text: str | list[str]) -> str:
    """Text as notebooks keep it (a list of lines, or one string) as one string."""
    return text if isinstance(text, str) else "".join(text)


def to_bytes(notebook: Notebook) -> bytes:
    """The bytes of a notebook as nbformat writes them: sorted keys, one line of text per line of the file."""
    copy: Notebook = json.loads(json.dumps(notebook))
    for cell in copy["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].splitlines(keepends=True)
            for mime, value in output.get("data", {}).items():
                output["data"][mime] = value if is_json(mime) else value.splitlines(keepends=True)
                # one line stays one string, as a picture is
                if isinstance(value, str) and mime.startswith("image/") and mime != "image/svg+xml":
                    output["data"][mime] = value
    return (json.dumps(copy, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def write(path: Path, notebook: Notebook) -> None:
    """Write a notebook to a temporary name and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(to_bytes(notebook))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def code_cells(notebook: Notebook) -> list[tuple[int, Cell]]:
    """The code cells that hold code, with their number in the notebook, counted from 1."""
    return [(n, c) for n, c in enumerate(notebook["cells"], 1) if c["cell_type"] == "code" and c["source"].strip()]


def tags(cell: Cell) -> list[str]:
    """The tags of a cell."""
    return list(cell.get("metadata", {}).get("tags", []))


def digest(notebook: Notebook) -> str:
    """A digest of what the outputs come from: the code, and which cell holds the parameters."""
    parts = [[cell["source"].rstrip(), "parameters" in tags(cell)] for _, cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_stale(notebook: Notebook) -> bool:
    """Whether the outputs belong to another source than the one that is there."""
    return notebook["metadata"].get("cmr_course", {}).get("digest") != digest(notebook)


def canonical(notebook: Notebook) -> Notebook:
    """A copy in canonical form: the same code and outputs give the same bytes, whoever ran it."""
    copy: Notebook = json.loads(json.dumps(notebook))
    copy["nbformat"], copy["nbformat_minor"] = 4, 5
    metadata = {name: copy["metadata"][name] for name in KEPT_METADATA if name in copy["metadata"]}
    copy["metadata"] = metadata | {"kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE)}
    seen: dict[str, int] = {}
    for cell in copy["cells"]:
        cell["source"] = cell["source"].rstrip()
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k not in DROPPED_CELL_METADATA and v != []}
        # from the text, not from the place: a new cell does not change the names of all that follow
        name = hashlib.sha256(f"{cell['cell_type']}\n{cell['source']}".encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    return copy


def executed(notebook: Notebook) -> Notebook:
    """The canonical form of a notebook that was just run: with the digest of its source."""
    copy = canonical(notebook)
    copy["metadata"]["cmr_course"] = {**copy["metadata"].get("cmr_course", {}), "digest": digest(copy)}
    return copy


def texts(cell: Cell) -> Iterator[str]:
    """Every text a reader may see of a cell: its source, and what its outputs say."""
    yield cell["source"]
    for output in cell.get("outputs", []):
        yield from [output["text"]] if "text" in output else []
        yield from (v for m, v in output.get("data", {}).items() if m.startswith("text/") and isinstance(v, str))


def pictures(cell: Cell) -> list[tuple[int, bool]]:
    """Length in base64, and whether it moves, of every PNG a cell shows."""
    found = [output["data"]["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    return [(len(text.replace("\n", "")), b"acTL" in decoded(text)[:200]) for text in found]


def decoded(text: str) -> bytes:
    """The bytes of a picture, none where the text is not base64."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def problems_of_form(notebook: Notebook, name: str, data: bytes) -> list[str]:
    """Not canonical, not executed in order, or outputs that belong to another source."""
    found = []
    if to_bytes(canonical(notebook)) != data:
        found.append(f"{name}: not in canonical form; run make notebooks")
    if is_stale(notebook):
        found.append(f"{name}: the outputs do not belong to the source; run make notebooks")
    counts = [cell.get("execution_count") for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"{name}: not executed in order, execution counts {counts}")
    return found


def problems_of_content(notebook: Notebook, name: str) -> list[str]:
    """Errors in outputs, pictures without words, and what only this machine or the network has."""
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        where = f"{name}, cell {number}"
        outputs = cell.get("outputs", [])
        if "raises-exception" not in tags(cell):
            found += [f"{where}: shows the error {o.get('ename')}" for o in outputs if o["output_type"] == "error"]
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if pictures(cell) and not str(alt).strip():
            found.append(f'{where}: shows a picture without alt text (metadata "mystnb": {{"image": {{"alt": …}}}})')
        for text in texts(cell):
            for what, pattern in (("a path of a machine", MACHINE_PATH), ("a memory address", ADDRESS)):
                if match := pattern.search(text):
                    found.append(f"{where}: holds {what}, {text[match.start() : match.end() + 40]!r}")
            if OUTSIDE_IMAGE.search(text):
                found.append(f"{where}: shows an image from outside")
    return found


def problems_of_size(notebook: Notebook, name: str, size: int, training: bool = False) -> list[str]:
    """A notebook, or a picture in it, beyond its size."""
    limit = TRAINING_BYTES if training else CHAPTER_BYTES
    found = [f"{name}: {size / 1e6:.2f} MB, at most {limit / 1e6:.1f} MB"] if size > limit else []
    moving = 0
    for number, cell in enumerate(notebook["cells"], 1):
        for length, animated in pictures(cell):
            moving += animated
            most = ANIMATION_BYTES if animated else PICTURE_BYTES
            kind = "an animation" if animated else "a picture"
            if length > most:
                found.append(f"{name}, cell {number}: {kind} of {length / 1e3:.0f} kB, at most {most / 1e3:.0f} kB")
    if moving > ANIMATIONS:
        found.append(f"{name}: {moving} animations, at most {ANIMATIONS}")
    return found


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a committed notebook, one line each."""
    notebook, data = read(path), path.read_bytes()
    name, training = path.name, path.parent.name == "training"
    return (
        problems_of_form(notebook, name, data)
        + problems_of_content(notebook, name)
        + problems_of_size(notebook, name, len(data), training)
    )


def problems_together(paths: Iterable[Path]) -> list[str]:
    """What is wrong with the chapters as a whole: their mean size."""
    sizes = [path.stat().st_size for path in paths]
    mean = sum(sizes) / max(len(sizes), 1)
    most = CHAPTER_MEAN_BYTES
    return [f"the chapters have {mean / 1e6:.2f} MB on average, at most {most / 1e6:.1f} MB"] if mean > most else []
