"""The command line around networks: train, go on, reconstruct and score by checkpoint or weights; the benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cmr_course.benchmark import cpu_tier
from cmr_course.data import open_tree, read_images
from cmr_course.metrics import read_results
from cmr_course.training import Checkpoint, read_log, release
from tests.test_command_line import course

RECIPE = {
    "name": "small",
    "network": {"name": "cascade", "settings": {"n_stages": 1, "blocks": 1, "filters": 4, "iterations": 2}},
    "data": {"kind": "simulated", "matrices": [[32, 32]], "frames": [3], "coils": [3], "maps": "known"},
    "losses": {"mse": 1.0},
    "steps": 4,
    "log_every": 1,
    "checkpoint_every": 2,
    "threads": 1,
    "device": "cpu",
}
TREE = ("--slices", 1, "--coils", 4, "--matrix", 48, 48, "--frames", 3, "--seed", 20_000)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    assert course("train", recipe, "--out", folder / "small", "--until", 2) == 0
    assert Checkpoint.load(folder / "small" / "last.pt").step == 2
    assert course("train", recipe, "--out", folder / "small") == 0
    return folder / "small"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    tree = tmp_path_factory.mktemp("phantom") / "tree"
    assert course("simulate", "--subjects", 1, "--out", tree, *TREE) == 0
    return tree


def test_a_training_goes_on_where_it_was_stopped(trained):
    assert Checkpoint.load(trained / "last.pt").step == 4
    assert [entry["step"] for entry in read_log(trained / "log.jsonl")] == [1, 2, 3, 4]


def test_fresh_begins_anew(trained, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | {"seed": 1}), encoding="utf-8")
    assert course("train", recipe, "--out", tmp_path / "small") == 0
    first = Checkpoint.load(tmp_path / "small" / "last.pt")
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    assert course("train", recipe, "--out", tmp_path / "small") == 2
    assert Checkpoint.load(tmp_path / "small" / "last.pt").recipe == first.recipe
    assert course("train", recipe, "--out", tmp_path / "small", "--fresh") == 0
    ours, theirs = (Checkpoint.load(path / "last.pt").weights for path in (tmp_path / "small", trained))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": {"name": "adam"}}, "optimizer: is not known, did you mean optimiser?"),
        ({"processes": 8}, "processes: the recipe wants 8"),
        ({"device": "cuda"}, "device: got 0 GPUs"),
        ({"data": RECIPE["data"] | {"subjects": [19_990, 20_010]}}, "data.subjects: got"),
    ],
)
def test_bad_recipes_are_one_line(tmp_path, capsys, changes, said):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | changes), encoding="utf-8")
    assert course("train", recipe, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_and_its_weights_reconstruct_the_same(trained, phantom, tmp_path, capsys):
    weights = tmp_path / "own.safetensors"
    told = release(trained, weights, which="last")
    assert told.step == 4
    images = {}
    for name, typed in (("checkpoint", trained / "last.pt"), ("weights", weights)):
        out = tmp_path / name
        call = ("reconstruct", phantom, "--method", typed, "--mask", "uniform", "--acceleration", 4, "--out", out)
        assert course(*call) == 0
        case = open_tree(phantom).cases[-1]
        images[name] = read_images(out / case.relative)
        assert course("evaluate", phantom, "--reconstruction", out) == 0
    assert bool((images["checkpoint"] == images["weights"]).all())
    said = capsys.readouterr().out
    assert "small-last, uniform" in said
    assert "own, uniform" in said
    scored = said.splitlines()[-2:]
    assert course("evaluate", phantom, "--method", weights, "--mask", "uniform", "--acceleration", 4) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == scored
    assert not (phantom / "reconstruction").exists()


def test_what_belongs_to_a_method_is_refused_without_one(phantom, tmp_path, capsys):
    assert course("evaluate", phantom, "--reconstruction", tmp_path, "--mask", "uniform") == 2
    assert "--mask: got it with --reconstruction" in capsys.readouterr().err
    assert course("evaluate", phantom) == 2
    assert "one of the arguments --reconstruction --method is required" in capsys.readouterr().err
    assert course("reconstruct", phantom, "--method", tmp_path / "no.pt") == 2
    assert "no such file" in capsys.readouterr().err


def test_torchrun_trains_by_the_same_command(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | {"processes": 2, "steps": 2}), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["-m", "cmr_course", "train", str(recipe), "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = Checkpoint.load(tmp_path / "two" / "last.pt")
    assert found.step == 2
    assert found.device.startswith("2 processes")


def test_the_benchmark_says_first_how_long_it_takes(tmp_path, capsys):
    assert course("benchmark", "--estimate", "--methods", "zero-filled", "--out", tmp_path / "results") == 0
    said = capsys.readouterr().out.splitlines()
    cells = {name: len(design.cells) for name, design in cpu_tier().items()}
    assert [line.split(",")[0] for line in said] == [f"{name}: {number} cells" for name, number in cells.items()]
    assert all("min" in line for line in said)
    assert not (tmp_path / "results").exists()


def test_the_benchmark_writes_results_and_goes_on(tmp_path, capsys):
    call = ("benchmark", "--only", "anchor", "--methods", "zero-filled", "--out", tmp_path)
    assert course(*call) == 0
    said = capsys.readouterr().out
    assert "psnr, heart" in said
    assert "largest difference from the committed Results:" in said
    path = tmp_path / "anchor.jsonl"
    before = path.read_bytes()
    rows = read_results(path)
    assert {row.subject for row in rows} == {"20000", "20001", "20002", "20003"}
    assert {row.mask for row in rows} == {"uniform"}
    assert course(*call) == 0
    assert "anchor: 0 cells, 0 reconstructions" in capsys.readouterr().out
    assert path.read_bytes() == before
