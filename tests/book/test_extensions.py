"""The local Sphinx extensions, on a small book that is built with the configuration of the real one."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools import page_gate

ROOT = Path(__file__).resolve().parents[2]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
INTRO = """# First page

Inline $x$, and an equation:

$$ y = \\argmin_x \\norm{A x} $$

Read {cite:p}`someone2020`, {term}`ACS`, {py:func}`cmr_course.fourier.fft2c` and {py:class}`small.rooms.Room`.

```{glossary}
ACS
  Calibration lines.
```

```{image} picture.png
:alt: one red pixel
```

```{exercise} Recall
:label: recall
What is $k$?
```

```{solution} recall
:class: dropdown
A number.
```

```{exercise} Apply
:label: apply
Do it.
```

```{prf:theorem} Parseval
:label: parseval
Energies agree.
```

```{prf:theorem} Another
:label: another
They do.
```

## The rooms

```{course-module} cmr_course.fourier
```

```{course-module} small.rooms
```

```{bibliography}
```
"""
CHAPTER = "notebooks/05_chapter"
MODULE = '''"""Rooms of a house.

See :func:`enter`.
"""

LIMIT = 3
"""How many fit in."""
_SECRET = 1


class Room:
    """A room.

    doors: how many. colour: of the walls,
    inside.
    """

    def __init__(self, doors: int = 1, colour: str = 'red') -> None:
        self.doors, self.colour = doors, colour

    def paint(self, colour: str) -> None:
        """Paint it; see :meth:`paint`."""

    @property
    def size(self) -> float:
        """In m²."""
        return 1.0

    def undocumented(self) -> None: ...

    def _hidden(self) -> None:
        """No."""


def enter(room: Room, /, people: Float[Tensor, "batch y x"], *, knock: bool = True, **others: int) -> None:
    """Go in.

    Args:
        room: where
            to go.
        people: who.

    - one
    - two

    An indented block stays as it is::

        a  =  b
    """


@overload
def leave(room: Room) -> None: ...


@overload
def leave(room: int) -> int: ...


def leave(room: Room | int) -> int | None:
    """Go out."""


def _private() -> None:
    """No."""
'''


def notebook(alt: str | None) -> dict:
    """One hidden cell with a picture as its output."""
    metadata: dict = {"tags": ["hide-input"]} | ({"mystnb": {"image": {"alt": alt}}} if alt else {})
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/png": PNG, "text/plain": "<Figure>"}}
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A chapter"},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": metadata,
            "execution_count": 1,
            "source": "show()",
            "outputs": [output],
        },
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def lay_out(folder: Path, *, alt: str | None) -> None:
    (folder / "book").mkdir(parents=True)
    (folder / "small").mkdir()
    (folder / "small" / "rooms.py").write_text(MODULE, encoding="utf-8")
    shutil.copy(ROOT / "_config.yml", folder)
    for name in ("_ext", "_static"):
        shutil.copytree(ROOT / "book" / name, folder / "book" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    numbered = {"caption": "Chapters", "numbered": 1, "chapters": [{"file": CHAPTER}]}
    toc = {"format": "jb-book", "root": "book/intro", "parts": [numbered]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
    page = INTRO if alt else INTRO.replace(":alt: one red pixel\n", "")
    (folder / "book" / "intro.md").write_text(page, encoding="utf-8")
    (folder / f"{CHAPTER}.ipynb").write_text(json.dumps(notebook(alt)))
    (folder / "book" / "picture.png").write_bytes(base64.b64decode(PNG))
    reference = "@book{someone2020, author={One, Some}, title={T}, publisher={P}, year={2020}}"
    (folder / "book" / "references.bib").write_text(reference)


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", ".", "-W", "-n", "--keep-going", *options]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("book")
    lay_out(folder, alt="a heart")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def intro(book: Path) -> str:
    return (book / "_build" / "html" / "book" / "intro.html").read_text(encoding="utf-8")


def test_images_without_alt_text_fail_the_build(tmp_path):
    lay_out(tmp_path, alt=None)
    done = build(tmp_path)
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert len(warnings) == 2, done.stderr
    assert sum("book/intro: image book/picture.png has no alt text" in line for line in warnings) == 1
    assert sum(f"{CHAPTER}: image" in line and "mystnb" in line for line in warnings) == 1


def test_a_chapter_has_the_number_of_its_file(book, intro):
    """The only chapter of this book is the fifth: in the sidebar, and on the page that links on to it."""
    assert "5. A chapter" in intro
    assert "1. A chapter" not in intro
    assert "<title>5. A chapter" in (book / "_build" / "html" / f"{CHAPTER}.html").read_text(encoding="utf-8")


def test_pages_pass_the_gate(book):
    pages, problems = page_gate.check(book / "_build" / "html")
    assert len(pages) >= 3
    assert problems == []


def test_thebe_is_gone(book):
    pages = list((book / "_build" / "html").rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "THEBE_JS_URL" not in text
        assert "sphinx-thebe" not in text
        assert "thebe-config" not in text


def test_entries_of_the_bibliography_are_list_items(intro):
    assert 'class="citation" id="' in intro
    assert "doc-biblioentry" not in intro


def test_the_page_for_print_has_the_same_content(book):
    done = build(book, "--builder", "singlehtml")
    assert done.returncode == 0, done.stdout + done.stderr
    page = next((book / "_build" / "singlehtml").rglob("intro.html")).read_text(encoding="utf-8")
    for text in ("First page", "A chapter", "What is", "Energies agree", "show", 'alt="a heart"'):
        assert text in page


def test_reference_lists_what_is_public(intro):
    for name in ("LIMIT", "Room", "Room.paint", "Room.size", "enter"):
        assert f'id="small.rooms.{name}"' in intro
    for name in ("_SECRET", "_private", "Room._hidden", "Room.undocumented"):
        assert f"small.rooms.{name}" not in intro


def test_signatures_stand_as_written(book):
    soup = page_gate.parse(book / "_build" / "html" / "book" / "intro.html")

    def signature(name: str) -> str:
        return soup.find(id=name).find(class_="course-signature").get_text().replace("\N{NO-BREAK SPACE}", " ")

    assert signature("small.rooms.Room") == '(doors: int = 1, colour: str = "red")'
    assert signature("small.rooms.Room.paint") == "(colour: str) → None"
    assert signature("small.rooms.LIMIT") == " = 3"
    assert signature("small.rooms.enter").splitlines() == [
        "(",
        "    room: Room,",
        "    /,",
        '    people: Float[Tensor, "batch y x"],',
        "    *,",
        "    knock: bool = True,",
        "    **others: int,",
        ") → None",
    ]
    assert 'Complex[Tensor, "*shape y x"]' in signature("cmr_course.fourier.fft2c")


def test_docstrings_keep_their_structure(book):
    soup = page_gate.parse(book / "_build" / "html" / "book" / "intro.html")
    room, enter = (soup.find(id=f"small.rooms.{name}").find_next_sibling("dd") for name in ("Room", "enter"))
    terms = {
        dt.get_text(): " ".join(dt.find_next_sibling("dd").get_text().split()) for dt in room.select("dl.simple dt")
    }
    assert terms == {"doors": "how many.", "colour": "of the walls, inside."}
    assert [" ".join(dd.get_text().split()) for dd in enter.select("dl.simple dd")] == ["where to go.", "who."]
    assert [li.get_text().strip() for li in enter.find_all("li")] == ["one", "two"]
    assert "a  =  b" in enter.find("pre").get_text()


def test_references_lead_into_the_listing(book):
    soup = page_gate.parse(book / "_build" / "html" / "book" / "intro.html")
    targets = [a["href"] for a in soup.select("article a.reference.internal")]
    for name in ("cmr_course.fourier.fft2c", "small.rooms.Room", "small.rooms.enter", "small.rooms.Room.paint"):
        assert f"#{name}" in targets
