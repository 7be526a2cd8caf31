"""What a chapter says it takes is held against the committed record of how it ran (`make notebooks` writes it)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
RECORD = json.loads((ROOT / "results" / "execution.json").read_text(encoding="utf-8"))
BUDGET = re.compile(r"\*\*Budget:\*\* (\d+) s on one core, (\d+) GB of memory, no download")
MOST_SECONDS, MOST_GB, MEAN_SECONDS = 120, 4, 60
SLACK = 3  # a busy or slow machine made the record


def budget(path: Path) -> tuple[int, int]:
    """(seconds, GB) that the chapter promises its reader."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    said = BUDGET.findall("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"))
    assert len(said) == 1, f"{path.name}: want one line '**Budget:** N s on one core, M GB of memory, no download'"
    return int(said[0][0]), int(said[0][1])


def test_the_record_names_the_committed_chapters():
    assert sorted(RECORD) == [path.stem for path in CHAPTERS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_keeps_its_budget(path):
    seconds, gigabytes = budget(path)
    assert seconds <= MOST_SECONDS
    assert gigabytes <= MOST_GB
    assert RECORD[path.stem]["seconds"] <= SLACK * seconds
    assert 0 < RECORD[path.stem]["peak_mb"] <= 1000 * gigabytes


def test_chapters_take_a_minute_on_average():
    assert sum(budget(path)[0] for path in CHAPTERS) <= MEAN_SECONDS * len(CHAPTERS)
