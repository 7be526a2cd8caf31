"""Training against a discriminator: whose gradient goes where, how often it learns, resuming, weights that vary."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cmr_course.acquisition import Reconstruction
from cmr_course.training import (
    Adversary,
    Checkpoint,
    Opponent,
    Optimiser,
    Recipe,
    Schedule,
    Term,
    Weighting,
    fit,
    read_log,
)
from cmr_course.training.adversary import Shown
from cmr_course.training.checkpoints import LAST
from cmr_course.training.processes import World
from cmr_course.training.run import Run, source_of
from tests.test_training_alignment import RECIPE as ALIGNED
from tests.test_training_processes import launched

GAME = replace(
    ALIGNED,
    name="game",
    adversary=Adversary(filters=4, layers=1),
    weighting=Weighting({"fidelity": ("physics", "ssim"), "sda": ("alignment",)}),
)
ALONE = World(0, 1, torch.device("cpu"))


def opponent(**changes) -> Opponent:
    settings = Adversary(**{"filters": 4, "layers": 1} | changes)
    return Opponent.made(settings, GAME.optimiser, 1.0, seed=0, world=ALONE)


def shown(steps: int = 3) -> Shown:
    generator = torch.Generator().manual_seed(0)
    real, zero_filled, *fakes = (torch.rand(2, 1, 24, 24, generator=generator) for _ in range(steps + 2))
    return Shown(real, zero_filled, tuple(fake.requires_grad_() for fake in fakes))


def test_the_judge_learns_from_images_without_a_gradient_and_teaches_without_learning():
    judge, seen = opponent(), shown()
    before = {name: value.clone() for name, value in judge.network.state_dict().items()}
    judge.judge(seen, seen.steps[0])
    assert seen.steps[0].grad is None
    assert any(not torch.equal(before[name], value) for name, value in judge.network.state_dict().items())
    judge.persuade(seen).backward()
    assert float(seen.steps[-1].grad.abs().max()) > 0
    assert all(step.grad is None for step in seen.steps[:-1]), "the generator is told once, of the last image"
    assert all(p.grad is None and p.requires_grad for p in judge.network.parameters())


def test_it_learns_to_tell_them_apart():
    judge, seen = opponent(), shown()
    smooth = replace(seen, real=torch.nn.functional.avg_pool2d(seen.real, 5, 1, 2))
    losses = [float(judge.judge(smooth, smooth.steps[0])) for _ in range(120)]
    assert losses[0] == pytest.approx(math.log(2), abs=0.25)
    assert losses[-1] < 0.3
    assert float(judge.persuade(smooth).detach()) > 0.7, "it holds the generator's image to be fake"


@pytest.mark.parametrize(("updates", "number"), [("step", 2), ("batch", 1)])
def test_one_update_for_each_unrolled_step_as_in_the_algorithm_or_one_for_each_batch(updates, number, tmp_path):
    recipe = replace(GAME, adversary=replace(GAME.adversary, updates=updates), steps=3)
    fit(recipe, tmp_path, progress=False)
    assert Checkpoint.load(tmp_path / LAST).adversary["updates"] == 3 * number


def test_before_its_first_step_it_does_not_play(tmp_path):
    recipe = replace(GAME, adversary=replace(GAME.adversary, first=3))
    fit(recipe, tmp_path, progress=False)
    assert Checkpoint.load(tmp_path / LAST).adversary["updates"] == 2 * 3
    early, late = (line for line in read_log(tmp_path / "log.jsonl") if "loss" in line)
    assert "adversarial" not in early
    assert late["adversarial"] > 0
    assert late["discriminator"] == pytest.approx(math.log(2), abs=0.4)


def test_a_game_goes_on_to_the_same_weights(tmp_path):
    fit(GAME, tmp_path / "whole", progress=False)
    fit(GAME, tmp_path / "parts", until=3, progress=False)
    fit(GAME, tmp_path / "parts", progress=False)
    whole, parts = (Checkpoint.load(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert all(torch.equal(whole.weights[name], parts.weights[name]) for name in whole.weights)
    ours, theirs = (one.adversary["weights"] for one in (whole, parts))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert whole.weighting == parts.weighting


def test_weights_begin_uniform_and_stay_a_whole(tmp_path):
    recipe = replace(GAME, adversary=None, log_every=1, checkpoint_every=1)
    fit(recipe, tmp_path, progress=False)
    lines = [line for line in read_log(tmp_path / "log.jsonl") if "loss" in line]
    for line in lines:
        assert line["weight of fidelity"] + line["weight of sda"] == pytest.approx(1)
    assert [line["weight of sda"] for line in lines[:2]] == [0.5, 0.5]
    first = lines[0]
    groups = first["physics"] + first["ssim"], first["alignment"]
    assert first["loss"] == pytest.approx(0.5 * sum(groups), rel=1e-4)


def test_what_is_shown_is_near_one_and_of_the_middle_frame(tmp_path):
    source = source_of(GAME)
    with Run.begin(replace(GAME, adversary=None), tmp_path, ALONE, source, False) as run:
        example = next(run.batches(None))
        found = run.network.train()(example.acquisition)
    seen = Shown.of(found, example)
    assert seen.real.shape == seen.zero_filled.shape == seen.steps[-1].shape == (1, 1, 40, 40)
    assert len(seen.steps) == 2
    assert 0.5 < float(seen.real.amax()) < 10
    alone = Shown.of(Reconstruction(found.image), example)
    assert len(alone.steps) == 1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adversary": {"updates": "epoch"}}, "adversary.updates 'epoch'"),
        ({"adversary": {"weight": 0}}, "adversary.weight: got 0"),
        ({"adversary": {"layers": 0}}, "adversary.layers: got 0"),
        ({"weighting": {"groups": {}}}, "weighting.groups: got none"),
        ({"weighting": {"groups": {"a": []}}}, "weighting.groups.a: got none"),
        ({"weighting": {"groups": {"a": ["sim"]}}}, "weighting.groups.a 'sim'"),
        ({"weighting": {"groups": {"a": ["ssim"], "b": ["ssim"]}}}, "got ssim more than once"),
    ],
)
def test_bad_recipes_speak(changes, said):
    with pytest.raises(ValueError, match=said):
        Recipe.of(ALIGNED.plain() | changes)


def test_a_checkpoint_of_another_discriminator_is_refused():
    with pytest.raises(ValueError, match=r"discriminator: the checkpoint's differs in body\.0\.bias, body\.0\.weight"):
        opponent().load_state_dict(opponent(filters=6).state_dict())


def test_two_processes_play_the_game_of_one_with_twice_the_batch(tmp_path):
    one = replace(
        GAME,
        losses={"ssim": Term(every_step=True), "mse": 1.0},
        weighting=Weighting({"similar": ("ssim",), "near": ("mse",)}),
        optimiser=Optimiser("sgd", 0.05, 0.0),
        schedule=Schedule("constant"),
        clip=None,
        batch=2,
        steps=3,
    )
    fit(one, tmp_path / "one", progress=False)
    done = launched(replace(one, batch=1, processes=2), tmp_path / "two")
    assert done.returncode == 0, done.stderr
    alone, both = (Checkpoint.load(tmp_path / name / LAST) for name in ("one", "two"))
    with Run.begin(one, tmp_path / "begun", ALONE, None, False) as run:
        begun = run.network.state_dict(), run.opponent.network.state_dict()
        begun = tuple({name: value.clone() for name, value in state.items()} for state in begun)
    for start, ours, theirs in (
        (begun[0], alone.weights, both.weights),
        (begun[1], alone.adversary["weights"], both.adversary["weights"]),
    ):
        moved = torch.stack([(ours[name] - start[name]).norm() for name in start]).norm()
        apart = torch.stack([(ours[name] - theirs[name]).norm() for name in start]).norm()
        assert float(moved) > 1e-4
        assert float(apart) < 2e-3 * float(moved)
    for group, state in alone.weighting.items():
        assert both.weighting[group]["mean"] == pytest.approx(state["mean"], rel=1e-4)
