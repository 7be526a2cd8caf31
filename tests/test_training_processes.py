"""Two processes of one training: the steps of one with twice the batch, and the same scores."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cmr_course.training import Checkpoint, Optimiser, Schedule, fit, read_log
from cmr_course.training.processes import World
from cmr_course.training.recipe import Recipe
from cmr_course.training.run import seeded
from tests.test_training_fit import CHECK, TINY, weights

ROOT = Path(__file__).resolve().parent.parent
ONE = replace(
    TINY,
    data=replace(TINY.data, matrices=((32, 32), (40, 24)), coils=(3, 4)),
    optimiser=Optimiser("sgd", 0.1, 0.0),
    schedule=Schedule("constant"),
    clip=None,
    steps=4,
    log_every=1,
    checkpoint_every=1,
    batch=2,
    validation=replace(CHECK, every=4, masks=("uniform", "kt_uniform", "kt_gaussian")),
)
TWO = replace(ONE, batch=1, processes=2)


def launched(recipe: Recipe, folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Train `recipe` on its number of processes, as a user would."""
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(recipe.text(), encoding="utf-8")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(recipe.processes)]
    command = [*start, "-m", "cmr_course", "train", str(path), "--out", str(folder), *words]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    """Folders of the same training: on one process, and on two."""
    folder = tmp_path_factory.mktemp("pair")
    fit(ONE, folder / "one")
    done = launched(TWO, folder / "two")
    assert done.returncode == 0, done.stderr
    return folder / "one", folder / "two"


def test_two_processes_take_the_steps_of_one_with_twice_the_batch(pair):
    one, two = (Checkpoint.load(folder / "last.pt") for folder in pair)
    assert one.step == two.step == 4
    start = weights(seeded(ONE))
    moved = torch.stack([(one.weights[name] - start[name]).norm() for name in start]).norm()
    apart = torch.stack([(one.weights[name] - two.weights[name]).norm() for name in start]).norm()
    assert float(moved) > 1e-3
    assert float(apart) < 1e-3 * float(moved)
    assert two.device.startswith("2 processes, ")


def test_the_first_gradients_are_the_same(pair):
    first = [read_log(folder / "log.jsonl")[0] for folder in pair]
    assert first[0]["gradient"] == pytest.approx(first[1]["gradient"], rel=1e-5)
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-5)


def test_scores_do_not_depend_on_the_number_of_processes(pair):
    """Three examples dealt out to two processes come back in their order."""
    scores = [read_log(folder / "log.jsonl")[-1]["validation"] for folder in pair]
    assert list(scores[0]) == list(scores[1])
    assert len(scores[0]) == 2 + 3
    for name, value in scores[0].items():
        assert scores[1][name] == pytest.approx(value, rel=1e-4)


def test_an_error_of_two_processes_is_told_and_ends_both(tmp_path):
    done = launched(replace(TWO, optimiser=Optimiser("sgd", 1e38, 0.0)), tmp_path / "bad")
    assert done.returncode != 0
    assert "lower the rate" in done.stderr


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 4, 7])
def test_what_is_gathered_is_in_the_order_before_it_was_dealt_out(size, number, monkeypatch):
    things = list(range(number))
    dealt = [things[rank::size] for rank in range(size)]

    def gather(everywhere: list, own: list) -> None:
        assert own in dealt
        everywhere[:] = dealt

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    for rank in range(size):
        assert World(rank, size, torch.device("cpu")).gathered(dealt[rank]) == things


@pytest.mark.bad_input
def test_processes_that_were_not_wanted_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"recipe wants 1, got 3 processes, .*processes: 3 in the recipe"):
        fit(TINY, tmp_path)
