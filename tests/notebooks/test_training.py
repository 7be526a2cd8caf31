"""Training notebooks: papermill runs each at smoke size; every parameter file fits its notebook and the recipe."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import papermill
import pytest
import yaml

from cmr_course.networks import build
from cmr_course.training import Recipe
from cmr_course.training.recognition import Recognition
from cmr_course.training.settings import read
from tools.environment import ROOT

FOLDER = ROOT / "notebooks" / "training"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
FILES = sorted(FOLDER.glob("*/*.yaml"))
SIZES = ("smoke", "course", "paper")
SMOKE_SECONDS = 15
SLACK = 4  # a busy machine, and the start of a kernel


def name_of(path):
    return path.relative_to(FOLDER).as_posix()


def test_every_notebook_has_three_sizes():
    for notebook in NOTEBOOKS:
        stems = {path.stem.rpartition(".")[::2] for path in FILES if path.parent.name == notebook.stem}
        assert {size for _, size in stems} == set(SIZES), notebook.name
        for method in {method for method, _ in stems}:
            assert {size for other, size in stems if other == method} == set(SIZES)
    assert {path.parent.name for path in FILES} == {notebook.stem for notebook in NOTEBOOKS}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_parameter_file_fits_its_notebook_and_the_recipe(path):
    declared = papermill.inspect_notebook(str(FOLDER / f"{path.parent.name}.ipynb"))
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(values) <= set(declared), "papermill only logs an unknown parameter"
    if "settings" in values:  # of the one notebook that does not train a reconstruction
        read(Recognition, values["settings"])
        return
    recipe = Recipe.load(path)
    assert Recipe.of(recipe.plain()) == recipe
    build(recipe.network.name, recipe.network.settings)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_by_itself_is_of_smoke_size(path):
    """What is committed, and what a reader runs without a parameter file, takes seconds."""
    declared = papermill.inspect_notebook(str(path))
    kind, name = (Recipe, "recipe") if "recipe" in declared else (Recognition, "settings")
    assert read(kind, ast.literal_eval(re.sub(r"#.*", "", declared[name]["default"]))).steps <= 50


@pytest.mark.parametrize("path", [path for path in FILES if path.stem.endswith("smoke")], ids=name_of)
def test_papermill_runs_it_at_smoke_size(path, tmp_path):
    notebook = FOLDER / f"{path.parent.name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "out.ipynb"), "-f", str(path)]
    command += ["-k", "python3", "--cwd", str(FOLDER), "--no-progress-bar"]
    trains = "folder" in papermill.inspect_notebook(str(notebook))
    command += ["-p", "folder", str(tmp_path / "run")] if trains else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=SLACK * SMOKE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "unknown parameter" not in done.stderr
    assert not trains or list((tmp_path / "run").rglob("last.pt")), "it trained"


def test_the_slurm_example_is_a_script_that_names_what_exists():
    script = FOLDER / "slurm" / "train.sbatch"
    text = script.read_text(encoding="utf-8")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "-m cmr_course train" in text
    assert set(re.findall(r"--[a-z]+\b(?=[ \"])", text.rpartition("cmr_course train")[2])) == {"--out"}
