"""The committed notebooks: canonical, fresh, small, in order, described in words, free of this machine.

What each check means is tested in tests/test_tools_notebooks.py; that the outputs are reproduced, by nbval.
"""

from __future__ import annotations

import pytest

from tools import notebook_format
from tools.environment import ROOT

CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TRAINING = sorted((ROOT / "notebooks" / "training").glob("*.ipynb"))


def test_the_tour_and_the_chapters_are_there():
    numbers = [path.name.partition("_")[0] for path in CHAPTERS]
    assert CHAPTERS[0].name == "00_tour.ipynb"
    assert len(set(numbers)) == len(numbers), "no two chapters have one number"


@pytest.mark.parametrize("path", CHAPTERS + TRAINING, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_it(path):
    problems = notebook_format.problems(path)
    assert not problems, "\n".join(problems)


def test_the_chapters_are_small_on_average():
    assert notebook_format.problems_together(CHAPTERS) == []
