"""Write the student and the solution edition of every chapter: ``python -m tools.editions student|solutions OUT``.

In a code cell the solution of an exercise stands between ``# --- solution`` and ``# --- end``, both at the indentation
of the code between them; the cell's metadata has ``"hint": "…"``. In the student edition
``raise NotImplementedError("hint")`` stands there instead, folded solutions in the text are gone, cells tagged
``solution`` too, and no outputs are left. The solution edition is the committed notebook without the marker lines.
Nothing is blanked by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import notebook_format
from tools.environment import ROOT
from tools.notebook_format import Cell, Notebook, NotebookError

BEGIN, END = "# --- solution", "# --- end"
EDITIONS = ("student", "solutions")
FENCE = re.compile(r"^\s*(?P<fence>`{3,}|:{3,})\s*(?P<info>(?:\{(?P<name>[\w-]+)\})?\s*(?P<title>[^`]*))$")
FOLDED = ("admonition", "dropdown", "note", "tip")


def indentation(line: str) -> str:
    """The blanks a line begins with."""
    return line[: len(line) - len(line.lstrip())]


def split(source: str, where: str) -> list[tuple[str, list[str]]]:
    """The source as parts ``("text", lines)`` and ``("solution", lines)``; a solution keeps its two marker lines."""
    parts: list[tuple[str, list[str]]] = [("text", [])]
    for line in source.splitlines():
        marker = line.strip()
        inside = parts[-1][0] == "solution"
        if marker == BEGIN:
            if inside:
                raise NotebookError(f"{where}: a second '{BEGIN}' before '{END}'")
            parts.append(("solution", [line]))
        elif marker == END:
            if not inside:
                raise NotebookError(f"{where}: '{END}' without '{BEGIN}'")
            parts[-1][1].append(line)
            check_solution(parts[-1][1], where)
            parts.append(("text", []))
        elif marker.lower().startswith(("# --- sol", "# --- end", "#--- sol", "#--- end")):
            raise NotebookError(f"{where}: '{marker}' is no marker, want '{BEGIN}' or '{END}'")
        else:
            parts[-1][1].append(line)
    if parts[-1][0] == "solution":
        raise NotebookError(f"{where}: '{BEGIN}' without '{END}'")
    return parts


def check_solution(lines: Sequence[str], where: str) -> None:
    """A solution holds code, and nothing in it stands further left than its markers."""
    margin = indentation(lines[0])
    code = [line for line in lines[1:-1] if line.strip()]
    if not [line for line in code if not line.lstrip().startswith("#")]:
        raise NotebookError(f"{where}: nothing between '{BEGIN}' and '{END}'")
    if indentation(lines[-1]) != margin or any(not line.startswith(margin) for line in code):
        raise NotebookError(f"{where}: '{BEGIN}', '{END}' and the code between them want one indentation")


def blank(source: str, hint: object, where: str) -> str:
    """The student's source: each solution becomes one line that raises the hint."""
    lines: list[str] = []
    for kind, part in split(source, where):
        if kind == "text":
            lines += part
            continue
        if not isinstance(hint, str) or not hint.strip():
            raise NotebookError(f'{where}: a solution without a hint, want "hint": "…" in the metadata of the cell')
        lines.append(f"{indentation(part[0])}raise NotImplementedError({json.dumps(hint, ensure_ascii=False)})")
    return "\n".join(lines)


def unmarked(source: str, where: str) -> str:
    """The solution's source: without the marker lines."""
    parts = split(source, where)
    return "\n".join(line for kind, part in parts for line in (part[1:-1] if kind == "solution" else part))


def without_folded(source: str, where: str) -> str:
    """Markdown without its ``{solution}`` directives and boxes entitled Solution."""
    kept: list[str] = []
    blocks: list[tuple[str, str]] = []  # fence and kind of the blocks around a line: box, literal or solution
    for line in source.splitlines():
        match = FENCE.match(line)
        kind = blocks[-1][1] if blocks else "box"
        if blocks and match and closes(match, blocks[-1][0]):
            blocks.pop()
        elif match and kind == "box":
            kind = "solution" if is_solution(match) else "box" if match["name"] else "literal"
            blocks.append((match["fence"], kind))
        if kind != "solution":
            kept.append(line)
    if blocks and blocks[-1][1] == "solution":
        raise NotebookError(f"{where}: a folded solution without its closing {blocks[-1][0]}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def closes(match: re.Match[str], fence: str) -> bool:
    """Whether a line ends the block that `fence` began."""
    return not match["info"].strip() and match["fence"][0] == fence[0] and len(match["fence"]) >= len(fence)


def is_solution(match: re.Match[str]) -> bool:
    """Whether a line begins a folded solution."""
    name, title = match["name"] or "", (match["title"] or "").lower()
    return name == "solution" or (name in FOLDED and title.startswith("solution"))


def gate(cell: Cell) -> str:
    """``"start"`` or ``"end"`` where a Markdown cell opens or closes a gated solution, ``"both"``, or empty."""
    if cell["cell_type"] != "markdown":
        return ""
    starts, ends = "{solution-start}" in cell["source"], "{solution-end}" in cell["source"]
    return "both" if starts and ends else "start" if starts else "end" if ends else ""


def student(notebook: Notebook, name: str) -> Notebook:
    """The student edition."""
    copy = notebook_format.canonical(notebook)
    cells: list[Cell] = []
    gated = False
    for number, cell in enumerate(copy["cells"], 1):
        where, opens = f"{name}, cell {number}", gate(cell)
        if (opens == "start" and gated) or (opens == "end" and not gated):
            raise NotebookError(f"{where}: {{solution-start}} and {{solution-end}} do not match")
        hidden = gated or bool(opens) or "solution" in notebook_format.tags(cell)
        gated = (gated or opens == "start") and opens != "end"
        if hidden:
            continue
        if cell["cell_type"] == "code":
            cell["source"] = blank(cell["source"], cell["metadata"].get("hint"), where)
            cell["outputs"], cell["execution_count"] = [], None
        elif cell["cell_type"] == "markdown":
            shown = without_folded(cell["source"], where)
            if not shown and cell["source"].strip():
                continue
            cell["source"] = shown
        cells.append(cell)
    if gated:
        raise NotebookError(f"{name}: {{solution-start}} without {{solution-end}}")
    return finished(copy, cells, "student")


def solutions(notebook: Notebook, name: str) -> Notebook:
    """The solution edition."""
    copy = notebook_format.canonical(notebook)
    for number, cell in enumerate(copy["cells"], 1):
        if cell["cell_type"] == "code":
            where = f"{name}, cell {number}"
            blank(cell["source"], cell["metadata"].get("hint"), where)  # the same errors in both editions
            cell["source"] = unmarked(cell["source"], where)
    return finished(copy, copy["cells"], "solutions")


def finished(notebook: Notebook, cells: list[Cell], edition: str) -> Notebook:
    """The edition with its name in place of the digest, which speaks of the committed source."""
    notebook["cells"] = cells
    notebook["metadata"]["cmr_course"] = {"edition": edition}
    return notebook_format.canonical(notebook)


def write_edition(edition: str, folder: Path, out: Path) -> list[Path]:
    """Write an edition of every chapter in `folder` into `out`; none is written unless all of them can be."""
    if out.resolve() == folder.resolve():
        raise NotebookError(f"{out}: got the folder of the committed notebooks, want another one")
    sources = sorted(folder.glob("[0-9]*.ipynb"))
    if not sources:
        raise NotebookError(f"{folder}: no notebook named NN_short_name.ipynb")
    make = student if edition == "student" else solutions
    made = [(out / source.name, make(notebook_format.read(source), source.name)) for source in sources]
    for path, notebook in made:
        notebook_format.write(path, notebook)
    copy_what_is_read(folder, out)
    return [path for path, _ in made]


def copy_what_is_read(folder: Path, out: Path) -> None:
    """What chapters read beside themselves, so that an edition runs in its own folder: `results` and `training`."""
    for there, here in ((folder.parent / "results", out.parent / "results"), (folder / "training", out / "training")):
        if there.is_dir() and there.resolve() != here.resolve():
            shutil.copytree(there, here, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.ipynb"))


def main(arguments: Sequence[str]) -> int:
    """The command line; exit status 0, or 2 with one line that names notebook and cell."""
    parser = argparse.ArgumentParser(prog="python -m tools.editions", description="Write an edition of the chapters.")
    parser.add_argument("edition", choices=EDITIONS)
    parser.add_argument("out", type=Path, help="the folder to write into")
    parser.add_argument("--notebooks", type=Path, default=ROOT / "notebooks", help="the folder of the chapters")
    options = parser.parse_args(arguments)
    try:
        written = write_edition(options.edition, options.notebooks, options.out)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {len(written)} notebooks of the {options.edition} edition to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
