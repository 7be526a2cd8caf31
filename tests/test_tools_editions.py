"""Both editions of generated notebooks, and the student edition of every committed one."""

from __future__ import annotations

import ast

import pytest

from tests.notebook_samples import code, markdown, notebook, stream
from tools import editions, notebook_format
from tools.editions import BEGIN, END
from tools.environment import ROOT
from tools.notebook_format import NotebookError

EXERCISE = f"""def shift(x):
    y = x + 1
    {BEGIN}
    if y > 1:
        y = y * 2
    {END}
    return y"""

COMMITTED = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def sample(source=EXERCISE, hint='say "twice"', **metadata):
    cell = code(source, hint=hint, **metadata)
    cell["outputs"], cell["execution_count"] = [stream("4\n")], 1
    return notebook(markdown("# Title"), cell, cmr_course={"digest": "old"})


def only_code(edition):
    return [cell["source"] for cell in edition["cells"] if cell["cell_type"] == "code"]


def test_the_student_gets_the_hint_where_the_solution_was():
    made = editions.student(sample(), "x")
    (source,) = only_code(made)
    assert "y * 2" not in source
    assert "# ---" not in source
    names = {}
    exec(source, names)
    with pytest.raises(NotImplementedError, match=r'^say "twice"$'):
        names["shift"](1)
    assert made["cells"][1]["outputs"] == []
    assert made["cells"][1]["execution_count"] is None
    assert made["metadata"]["cmr_course"] == {"edition": "student"}


def test_the_solution_edition_is_the_notebook_without_the_markers():
    given = sample()
    made = editions.solutions(given, "x")
    (source,) = only_code(made)
    assert source == "\n".join(line for line in EXERCISE.splitlines() if "# ---" not in line)
    assert made["cells"][1]["outputs"] == given["cells"][1]["outputs"]
    names = {}
    exec(source, names)
    assert names["shift"](1) == 4


def test_a_solution_at_the_margin_and_two_in_one_cell():
    source = f"a = 1\n{BEGIN}\nb = 2\n{END}\nfor i in range(2):\n    {BEGIN}\n    c = i\n\n    d = i\n    {END}"
    (made,) = only_code(editions.student(sample(source, "think"), "x"))
    assert (
        made == 'a = 1\nraise NotImplementedError("think")\nfor i in range(2):\n    raise NotImplementedError("think")'
    )
    ast.parse(made)


def test_a_notebook_without_exercises_keeps_its_code():
    (made,) = only_code(editions.student(sample("a = 1", hint=None), "x"))
    assert made == "a = 1"


@pytest.mark.parametrize(
    ("source", "hint", "said"),
    [
        (EXERCISE, None, 'without a hint, want "hint"'),
        (EXERCISE, "  ", 'without a hint, want "hint"'),
        (EXERCISE, ["a"], 'without a hint, want "hint"'),
        (f"{BEGIN}\na = 1", "h", "without '# --- end'"),
        (f"a = 1\n{END}", "h", "without '# --- solution'"),
        (f"{BEGIN}\na = 1\n{BEGIN}\nb = 1\n{END}", "h", "a second '# --- solution'"),
        (f"{BEGIN}\n{END}", "h", "nothing between"),
        (f"{BEGIN}\n# only words\n{END}", "h", "nothing between"),
        (f"if a:\n    {BEGIN}\n    b = 1\n{END}", "h", "want one indentation"),
        (f"if a:\n    {BEGIN}\nb = 1\n    {END}", "h", "want one indentation"),
        ("# --- Solution\na = 1\n# --- end", "h", "is no marker"),
        (f"{BEGIN}\na = 1\n# --- end solution", "h", "is no marker"),
    ],
)
@pytest.mark.parametrize("make", [editions.student, editions.solutions])
@pytest.mark.bad_input
def test_what_is_wrong_is_said_with_notebook_and_cell(make, source, hint, said):
    with pytest.raises(NotebookError, match=r"^05_x\.ipynb, cell 2: [^\n]*$") as error:
        make(sample(source, hint), "05_x.ipynb")
    assert said in str(error.value)


FOLDED = """Before.

```{exercise} Twice
:label: ex-twice
Double it. A solution of salt stays.
```

````{solution} ex-twice
:class: dropdown
```python
y = 2 * x
```
SECRET
````

:::{dropdown} Solution in words
SECRET
:::

After."""


def test_folded_solutions_leave_the_text():
    made = editions.student(notebook(markdown(FOLDED)), "x")
    (cell,) = made["cells"]
    assert "SECRET" not in cell["source"]
    assert "solution}" not in cell["source"]
    for kept in ("Before.", "```{exercise} Twice", "salt stays", "After."):
        assert kept in cell["source"]
    assert cell["source"].count("```") == 2
    kept = editions.solutions(notebook(markdown(FOLDED)), "x")["cells"][0]["source"]
    assert kept == FOLDED


def test_a_solution_inside_a_box_leaves_the_box():
    text = "::::{exercise}\nDouble it.\n```python\nx = 1\n```\n:::{solution} a\nSECRET\n:::\nEnd.\n::::"
    made = editions.student(notebook(markdown(text)), "x")["cells"][0]["source"]
    assert made == "::::{exercise}\nDouble it.\n```python\nx = 1\n```\nEnd.\n::::"


def test_a_fence_shown_as_text_is_no_solution():
    text = "````text\n```{solution} x\n```\n````\nAfter."
    assert editions.student(notebook(markdown(text)), "x")["cells"][0]["source"] == text


def test_cells_that_are_a_solution_leave():
    given = notebook(
        markdown("Keep 1"),
        markdown("SECRET", tags=["solution"]),
        code("SECRET = 1", tags=["solution"]),
        markdown("```{solution} ex-a\nSECRET\n```"),
        markdown("```{solution-start} ex-b\n```"),
        code("SECRET = 2"),
        markdown("SECRET"),
        markdown("```{solution-end}\n```"),
        code("kept = 2"),
    )
    made = editions.student(given, "x")
    assert [cell["source"] for cell in made["cells"]] == ["Keep 1", "kept = 2"]
    assert len(editions.solutions(given, "x")["cells"]) == 9


@pytest.mark.parametrize(
    "cells",
    [
        [markdown("```{solution-start} a\n```"), code("a = 1")],
        [markdown("```{solution-end}\n```")],
        [markdown("```{solution-start} a\n```"), markdown("```{solution-start} b\n```")],
        [markdown("```{solution} a\nnever closed")],
    ],
)
@pytest.mark.bad_input
def test_a_solution_that_is_not_closed_is_an_error(cells):
    with pytest.raises(NotebookError, match=r"^x"):
        editions.student(notebook(*cells), "x")


def test_the_command_writes_all_chapters_or_none(tmp_path, capsys):
    folder = tmp_path / "notebooks"
    notebook_format.write(folder / "01_a.ipynb", sample())
    notebook_format.write(folder / "02_b.ipynb", sample(hint=None))
    arguments = ["student", str(tmp_path / "out"), "--notebooks", str(folder)]
    assert editions.main(arguments) == 2
    assert capsys.readouterr().err.startswith("02_b.ipynb, cell 2: a solution without a hint")
    assert not (tmp_path / "out").exists()
    notebook_format.write(folder / "02_b.ipynb", sample("a = 1"))
    assert editions.main(arguments) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["01_a.ipynb", "02_b.ipynb"]
    made = notebook_format.read(tmp_path / "out" / "01_a.ipynb")
    assert made == editions.student(sample(), "x")


def test_an_edition_has_beside_it_what_its_chapters_read(tmp_path):
    """By the same relative paths as the committed chapters: ../results/NAME and training/NAME/SIZE.yaml."""
    folder, out = tmp_path / "course" / "notebooks", tmp_path / "built" / "student"
    notebook_format.write(folder / "01_a.ipynb", sample())
    for name in ("../results/one.jsonl", "training/method/one.paper.yaml", "training/method.ipynb"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    assert editions.main(["student", str(out), "--notebooks", str(folder)]) == 0
    assert (out / "../results/one.jsonl").read_text() == "1\n"
    assert (out / "training/method/one.paper.yaml").is_file()
    assert not (out / "training/method.ipynb").exists()


@pytest.mark.bad_input
def test_the_committed_notebooks_are_never_overwritten(tmp_path, capsys):
    notebook_format.write(tmp_path / "01_a.ipynb", sample())
    before = (tmp_path / "01_a.ipynb").read_bytes()
    assert editions.main(["solutions", str(tmp_path), "--notebooks", str(tmp_path)]) == 2
    assert "want another one" in capsys.readouterr().err
    assert (tmp_path / "01_a.ipynb").read_bytes() == before
    assert editions.main(["solutions", str(tmp_path / "out"), "--notebooks", str(tmp_path / "none")]) == 2


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_notebooks_have_both_editions(path):
    given = notebook_format.read(path)
    student, solved = editions.student(given, path.name), editions.solutions(given, path.name)
    for made in (student, solved):
        for number, cell in notebook_format.code_cells(made):
            ast.parse(cell["source"], f"{path.name}, cell {number}")
    marked = sum(cell["source"].count(BEGIN) for cell in given["cells"])
    assert sum(cell["source"].count("raise NotImplementedError(") for cell in student["cells"]) >= marked
    assert not any(cell.get("outputs") for cell in student["cells"])
    assert not any(BEGIN in cell["source"] or "{solution" in cell["source"] for cell in student["cells"])
    assert not any(BEGIN in cell["source"] for cell in solved["cells"])
