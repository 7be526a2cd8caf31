"""Notebooks are executed to the same bytes twice, and what is wrong with one is found."""

from __future__ import annotations

import base64
import copy
import os
import re
import subprocess
import sys

import nbformat
import pytest

from tests.notebook_samples import code, markdown, notebook, picture, stream
from tools import notebook_format, notebooks
from tools.environment import ROOT, child_environment
from tools.notebook_format import NotebookError

SCRATCH = notebook(
    markdown("# Noise\n\n"),
    code("import matplotlib.pyplot as plt\nimport torch", tags=[]),
    code("size = 48", tags=["parameters"]),
    code("x = torch.randn(size, size, generator=torch.Generator().manual_seed(1))\nprint((x @ x.T).trace())\nx.mean()"),
    code("print(torch.get_num_threads())"),
    code("plt.imshow(x)\nplt.show()", mystnb={"image": {"alt": "Noise"}}, execution={"iopub.busy": "now"}),
    code(""),
    code("print(torch.get_num_threads())"),
    papermill={"duration": 3},
    kernelspec={"name": "mine", "display_name": "Mine"},
)


def run_tool(*arguments, home):
    variables = child_environment(ROOT / ".venv") | {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "tools.notebooks", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The scratch notebook executed twice, the second time from the output of the first; and the home it saw."""
    folder = tmp_path_factory.mktemp("a folder")
    home = folder / "home"
    home.mkdir()
    notebook_format.write(folder / "01_x.ipynb", SCRATCH)
    said = run_tool("execute", "--out", folder / "first", folder / "01_x.ipynb", home=home)
    assert said.returncode == 0, said.stderr
    assert re.search(r"^  \[1/1\] 01_x +\d+\.\d s  ok$", said.stdout, re.MULTILINE)
    again = folder / "second" / "01_x.ipynb"
    again.parent.mkdir()
    again.write_bytes((folder / "first" / "01_x.ipynb").read_bytes())
    assert run_tool("execute", "--in-place", again, home=home).returncode == 0
    return folder / "first" / "01_x.ipynb", again, home


def test_two_runs_give_identical_files_and_leave_the_home_alone(executed):
    first, again, home = executed
    assert first.read_bytes() == again.read_bytes()
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in first.parent.iterdir()) == ["01_x.ipynb"]


def test_an_executed_notebook_is_canonical_and_valid(executed):
    path = executed[0]
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    assert nbformat.writes(node).rstrip() == path.read_text().rstrip()
    assert notebook_format.problems(path) == []
    made = notebook_format.read(path)
    assert set(made["metadata"]) == {"cmr_course", "kernelspec", "language_info"}
    assert "execution" not in made["cells"][5]["metadata"]
    assert [cell.get("execution_count") for cell in made["cells"]] == [None, 1, 2, 3, 4, 5, None, 6]
    assert made["cells"][4]["outputs"] == [stream("1\n")], "cells run on one thread"
    assert base64.b64decode(made["cells"][5]["outputs"][0]["data"]["image/png"]).startswith(b"\x89PNG")
    ids = [cell["id"] for cell in made["cells"]]
    assert len(set(ids)) == len(ids), "equal cells have different names"


def test_a_cell_that_fails_is_named_with_its_error(tmp_path):
    broken = notebook(code("a = 1"), code("def f():\n    return a / 0"), code("# divide\nf()"))
    notebook_format.write(tmp_path / "01_bad.ipynb", broken)
    notebook_format.write(tmp_path / "02_good.ipynb", notebook(code("1 + 1")))
    paths = [tmp_path / "01_bad.ipynb", tmp_path / "02_good.ipynb"]
    said = run_tool("execute", "--out", tmp_path / "out", *paths, home=tmp_path)
    assert said.returncode == 1
    assert re.search(r"01_bad .* failed$", said.stdout, re.MULTILINE)
    assert re.search(r"02_good .* ok$", said.stdout, re.MULTILINE)
    assert "01_bad.ipynb, cell 3 (# divide):" in said.stderr
    assert "ZeroDivisionError: division by zero" in said.stderr
    assert "\x1b[" not in said.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["02_good.ipynb"]


def test_only_the_stale_ones_and_the_tour_are_chosen(tmp_path):
    fresh = notebook_format.executed(notebook(code("a = 1")))
    stale = copy.deepcopy(fresh)
    stale["cells"][0]["source"] = "a = 2"
    for name, each in (("00_tour", fresh), ("01_fresh", fresh), ("02_stale", stale)):
        notebook_format.write(tmp_path / f"{name}.ipynb", each)
    paths = sorted(tmp_path.glob("*.ipynb"))
    assert [p.stem for p in notebooks.chosen(paths, True, ["00_tour.ipynb"])] == ["00_tour", "02_stale"]
    assert notebooks.chosen(paths, False, []) == paths


def test_the_digest_is_of_the_code_and_the_parameters_only():
    given = notebook_format.executed(SCRATCH)
    assert not notebook_format.is_stale(given)
    for change, stale in [
        (lambda n: n["cells"][0].update(source="# Other words"), False),
        (lambda n: n["cells"][5]["metadata"].update(mystnb={}), False),
        (lambda n: n["cells"].insert(0, markdown("More")), False),
        (lambda n: n["cells"][4].update(outputs=[stream("2\n")]), False),
        (lambda n: n["cells"][2].update(source="size = 64"), True),
        (lambda n: n["cells"][2]["metadata"].update(tags=[]), True),
        (lambda n: n["cells"].insert(1, code("import os")), True),
        (lambda n: n["cells"].pop(), True),
    ]:
        changed = copy.deepcopy(given)
        change(changed)
        assert notebook_format.is_stale(changed) is stale


def test_a_new_cell_does_not_rename_the_others():
    before = notebook_format.canonical(SCRATCH)
    after = notebook_format.canonical(notebook(markdown("New"), *SCRATCH["cells"]))
    assert [cell["id"] for cell in after["cells"]][1:] == [cell["id"] for cell in before["cells"]]
    assert notebook_format.canonical(before) == before


def png(length, animated=False):
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + (b"acTL" if animated else b"IDAT") + bytes(length)).decode()


def shown(*outputs, source="show()", **metadata):
    cell = code(source, **{"mystnb": {"image": {"alt": "A heart"}}, **metadata})
    cell["outputs"], cell["execution_count"] = list(outputs), 1
    return notebook_format.executed(notebook(cell))


def test_what_is_wrong_with_the_content_is_found():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
    for given, said in [
        (shown(picture(png(10)), mystnb={}), "without alt text"),
        (shown(picture(png(10)), mystnb={"image": {"alt": " "}}), "without alt text"),
        (shown(error), "shows the error ValueError"),
        (shown(stream("saved to /home/ann/x.npz\n")), "a path of a machine"),
        (shown(source="open('C:\\\\Users\\\\ann')"), "a path of a machine"),
        (shown(stream("<object at 0x7f3a12345678>\n")), "a memory address"),
        (notebook(markdown("![heart](https://example.org/heart.png)")), "an image from outside"),
        (notebook(markdown("```{figure} //example.org/heart.png\n```")), "an image from outside"),
        (notebook(markdown('<img width=3 src="http://example.org/h.png">')), "an image from outside"),
    ]:
        found = notebook_format.problems_of_content(given, "x")
        assert len(found) == 1, found
        assert found[0].startswith("x, cell 1: ")
        assert said in found[0]
    for fine in (
        shown(picture(png(10))),
        shown(error, tags=["raises-exception"]),
        shown(stream("../shared/data, a/home/b, 3/4\n"), source="# https://example.org/home/x"),
        notebook(markdown("![heart](heart.png) [link](https://example.org/tmp/x)")),
    ):
        assert notebook_format.problems_of_content(fine, "x") == []


def test_what_is_too_large_is_found():
    small, large = picture(png(100)), picture(png(100_000))
    assert notebook_format.problems_of_size(shown(small, small), "x", 900_000) == []
    assert "1.10 MB, at most 1.0 MB" in notebook_format.problems_of_size(shown(small), "x", 1_100_000)[0]
    assert "at most 0.3 MB" in notebook_format.problems_of_size(shown(small), "x", 310_000, training=True)[0]
    assert "a picture of 133 kB" in notebook_format.problems_of_size(shown(large), "x", 1)[0]
    moving = [picture(png(100_000, animated=True))] * 4
    assert notebook_format.problems_of_size(shown(*moving), "x", 1) == []
    assert "5 animations" in notebook_format.problems_of_size(shown(*moving, moving[0]), "x", 1)[0]
    assert "an animation of 240 kB" in notebook_format.problems_of_size(shown(picture(png(180_000, True))), "x", 1)[0]


def test_what_is_wrong_with_the_form_is_found(tmp_path, capsys):
    path = tmp_path / "01_x.ipynb"
    given = shown(stream("1\n"))
    notebook_format.write(path, given)
    assert notebooks.main(["check", str(path)]) == 0
    path.write_text(path.read_text().replace(' "cells"', '  "cells"'))
    assert "not in canonical form" in notebook_format.problems(path)[0]
    given["cells"][0]["execution_count"] = 7
    given["cells"][0]["source"] = "changed()"
    notebook_format.write(path, notebook_format.canonical(given))
    assert notebooks.main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "do not belong to the source" in said
    assert "not executed in order, execution counts [7]" in said


@pytest.mark.bad_input
def test_a_file_that_is_no_notebook_is_named(tmp_path, capsys):
    path = tmp_path / "01_x.ipynb"
    for text in ("", "[1]", '{"nbformat": 3, "cells": []}', '{"nbformat": 4}'):
        path.write_text(text)
        with pytest.raises(NotebookError, match=r"01_x\.ipynb: not a"):
            notebook_format.read(path)
        assert notebooks.main(["check", str(path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
