"""The training loop: the same weights from the same recipe, to the digit and through kills; errors that help."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.encoding import Encoding
from cmr_course.training import (
    Checkpoint,
    Example,
    Network,
    Optimiser,
    Recipe,
    Schedule,
    SeriesData,
    SimulatedData,
    TrainingError,
    Undersampling,
    Validation,
    fit,
    read_log,
    release,
)
from cmr_course.training.datasets import Simulated
from cmr_course.training.processes import World
from cmr_course.training.run import _require_same, resume_generators, seeded
from cmr_course.training.validation import validate
from cmr_course.weights import load_file

ROOT = Path(__file__).resolve().parent.parent
ALONE = World(0, 1, torch.device("cpu"))
DATA = SimulatedData(
    matrices=((32, 32),), frames=(4,), coils=(4,), masks=Undersampling(("uniform", "kt_uniform"), (3.0, 4.0), 8)
)
CHECK = Validation(every=4, subjects=(10_000,), masks=("uniform",), accelerations=(3.0,), matrix=(32, 32), frames=4)
TINY = Recipe(
    "tiny",
    Network("cascade", {"n_stages": 2, "blocks": 1, "filters": 4}),
    DATA,
    {"log_nmse": 1.0, "steps_log_nmse": 0.2},
    steps=8,
    validation=CHECK,
    log_every=2,
    checkpoint_every=4,
    device="cpu",
    threads=1,
)
MADE: dict[int, Example] = {}


@dataclass(frozen=True)
class Kept:
    """Eight simulated examples, made once for all tests, again and again; `spoilt` is one number with NaN in it."""

    spoilt: int | None = None
    value: float = float("nan")

    def example(self, number: int) -> Example:
        place = number % 8
        if place not in MADE:
            MADE[place] = Simulated(DATA, 0).example(place)
        example = MADE[place]
        if number != self.spoilt:
            return example
        kspace = example.acquisition.kspace.clone()
        kspace[0, 0, 0, 16, 16] = self.value
        return replace(example, acquisition=replace(example.acquisition, kspace=kspace), names=("the spoilt one",))

    def held_out(self, validation: Validation) -> list[Example]:
        return list(Simulated(DATA, 0).held_out(validation))


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def equal(one: dict, other: dict) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained(recipe: Recipe, folder: Path, **how) -> dict[str, torch.Tensor]:
    return weights(fit(recipe, folder, **({"source": Kept()} | how)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict[str, torch.Tensor], Path]:
    """TINY, trained without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    return trained(TINY, folder), folder


def test_the_same_seed_gives_the_same_weights_and_another_does_not(whole, tmp_path):
    torch.rand(3)
    assert equal(trained(TINY, tmp_path / "again"), whole[0])
    assert (tmp_path / "again" / "log.jsonl").read_text() == (whole[1] / "log.jsonl").read_text()
    assert not equal(trained(replace(TINY, seed=1), tmp_path / "other"), whole[0])


def test_training_changes_weights_and_leaves_the_random_state_alone(tmp_path):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    after = trained(replace(TINY, steps=1, checkpoint_every=2), tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    start = weights(seeded(TINY))
    assert not any(torch.equal(start[name], after[name]) for name in start if "weight" in name)


@pytest.mark.parametrize("stops", [(4,), (3,), (1, 2, 7), (5, 5, 6)])
def test_a_training_goes_on_to_the_digit(stops, whole, tmp_path):
    for until in stops:
        fit(TINY, tmp_path, source=Kept(), until=until)
        assert Checkpoint.load(tmp_path / "last.pt").step == until
    assert equal(trained(TINY, tmp_path), whole[0])
    assert read_log(tmp_path / "log.jsonl") == read_log(whole[1] / "log.jsonl")
    one, other = (Checkpoint.load(folder / "last.pt") for folder in (tmp_path, whole[1]))
    assert (one.step, one.best, one.gradient) == (other.step, other.best, other.gradient)
    assert equal(one.weights, other.weights)


def test_a_finished_training_is_left_as_it_is(whole):
    stamp = (whole[1] / "last.pt").read_bytes()
    assert equal(trained(TINY, whole[1]), whole[0])
    assert (whole[1] / "last.pt").read_bytes() == stamp


def test_more_steps_go_on_where_it_stopped(tmp_path):
    short = replace(TINY, schedule=Schedule("constant"), steps=3, validation=None)
    long = replace(short, steps=7)
    trained(short, tmp_path / "a")
    assert equal(trained(long, tmp_path / "a"), trained(long, tmp_path / "b"))
    assert read_log(tmp_path / "a" / "log.jsonl") == read_log(tmp_path / "b" / "log.jsonl")


def test_a_fresh_start_forgets_what_is_there(whole, tmp_path):
    trained(replace(TINY, seed=3), tmp_path)
    assert equal(trained(TINY, tmp_path, resume=False), whole[0])
    assert len(read_log(tmp_path / "log.jsonl")) == len(read_log(whole[1] / "log.jsonl"))


@pytest.mark.parametrize("settings", [{"recompute": True}, {"workers": 1}, {"channels_last": False}])
def test_how_it_is_computed_does_not_matter(settings, whole, tmp_path):
    found = trained(replace(TINY, **settings), tmp_path, source=Kept())
    for name, value in found.items():
        torch.testing.assert_close(value, whole[0][name], rtol=1e-3, atol=1e-5)


def test_two_parts_of_a_step_are_a_batch_of_two(tmp_path):
    plain = replace(TINY, steps=2, optimiser=Optimiser("sgd", 0.1, 0.0), clip=None, validation=None)
    parts = trained(replace(plain, accumulation=2), tmp_path / "parts")
    batch = trained(replace(plain, batch=2), tmp_path / "batch")
    start = weights(seeded(plain))
    for name in parts:
        moved = (batch[name] - start[name]).norm()
        assert float((parts[name] - batch[name]).norm()) <= 1e-4 * float(moved) + 1e-6
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("parts", "batch")]
    assert logs[0][0]["loss"] == pytest.approx(logs[1][0]["loss"], abs=1e-4)
    assert logs[0][0]["gradient"] == pytest.approx(logs[1][0]["gradient"], rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_an_optimiser_goes_on_with_its_memory(name, tmp_path):
    recipe = replace(TINY, optimiser=Optimiser(name, 0.01, momentum=0.9), steps=4, validation=None)
    alone = trained(recipe, tmp_path / "a")
    fit(recipe, tmp_path / "b", source=Kept(), until=2)
    assert equal(trained(recipe, tmp_path / "b"), alone)


def test_a_step_of_sgd_is_the_clipped_gradient_times_the_rate(tmp_path):
    """With all else off, the weights move by rate × clip in all, whatever the gradient."""
    recipe = replace(
        TINY, steps=1, clip=1e-3, schedule=Schedule("constant"), optimiser=Optimiser("sgd", 0.5, 0.0), validation=None
    )
    after, start = trained(recipe, tmp_path), weights(seeded(recipe))
    moved = torch.stack([(after[name] - start[name]).double().norm() for name in start]).norm()
    assert float(moved) == pytest.approx(0.5e-3, rel=1e-3)


def test_the_log_tells_losses_rate_and_scores(whole):
    entries = read_log(whole[1] / "log.jsonl")
    lines, scores = ([e for e in entries if name in e] for name in ("loss", "validation"))
    assert [e["step"] for e in lines] == [2, 4, 6, 8]
    assert [e["step"] for e in scores] == [4, 8]
    for entry in lines:
        assert entry["loss"] == pytest.approx(entry["log_nmse"] + 0.2 * entry["steps_log_nmse"], abs=1e-6)
        assert entry["rate"] == pytest.approx(1e-3 * TINY.schedule.share(entry["step"] - 1, 8))
        assert entry["gradient"] > 0
    assert set(scores[0]["validation"]) == {"psnr", "ssim", "psnr of subject 10000, sax, uniform R = 3"}
    best = Checkpoint.load(whole[1] / "best.pt")
    assert best.best == (max(e["validation"]["psnr"] for e in scores), best.step)


def test_the_first_line_is_the_mean_loss_of_its_steps(tmp_path):
    """At a rate of almost nothing, the loss of each example is that of the untrained network."""
    recipe = replace(TINY, steps=2, optimiser=Optimiser("sgd", 1e-12, 0.0), validation=None, losses={"mse": 1.0})
    fit(recipe, tmp_path, source=Kept())
    network, found = seeded(recipe), []
    for number in range(2):
        example = Kept().example(number)
        with torch.no_grad():
            error = network(example.acquisition).image - example.reference
        found.append(float((error.abs() / example.acquisition.scale).square().mean()))
    assert read_log(tmp_path / "log.jsonl")[0]["mse"] == pytest.approx(sum(found) / 2, rel=1e-4)


def test_bfloat16_trains_to_about_the_same(whole, tmp_path):
    found = fit(replace(TINY, precision="bf16"), tmp_path, source=Kept())
    assert all(parameter.dtype == torch.float32 for parameter in found.parameters())
    one, other = (read_log(folder / "log.jsonl") for folder in (tmp_path, whole[1]))
    assert one[-2]["loss"] == pytest.approx(other[-2]["loss"], abs=0.05)
    assert one != other


def test_it_learns(tmp_path):
    """Sixty steps beat the untrained network and the zero-filled image on a subject that was not trained with."""
    recipe = replace(
        TINY,
        network=Network("cascade", {"n_stages": 1, "blocks": 1, "filters": 8, "start": "zero-filled", "iterations": 2}),
        steps=60,
        optimiser=Optimiser("adamw", 5e-3),
        validation=replace(CHECK, every=60, subjects=(10_000, 10_001)),
        checkpoint_every=60,
    )
    held = Kept().held_out(recipe.validation)
    before = validate(seeded(recipe), held, ALONE)["psnr"]
    fit(recipe, tmp_path, source=Kept())
    after = read_log(tmp_path / "log.jsonl")[-1]["validation"]["psnr"]

    class Filled(nn.Module):
        def forward(self, acquisition: Acquisition) -> Reconstruction:
            return Reconstruction(Encoding.of(acquisition).adjoint(acquisition.kspace))

    assert after > before + 0.2
    assert after > validate(Filled(), held, ALONE)["psnr"] + 1


def test_taken_up_again_no_two_processes_leave_out_the_same():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.rand(5)
        states = {"cpu": torch.get_rng_state()}
        goes_on = torch.rand(4)
        drawn = []
        for rank in range(4):
            torch.manual_seed(7 + rank)
            resume_generators(states, 7, 20, rank)
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], goes_on)
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 4


@pytest.mark.skipif(not os.environ.get("CMR_COURSE_COMPILE"), reason="compiles for minutes: set CMR_COURSE_COMPILE")
def test_compiled_it_learns_the_same(tmp_path):
    """In processes of their own: torch.compile cannot see through the hook that checks shapes in tests."""
    smoke = Recipe.load(ROOT / "notebooks" / "training" / "method" / "cascade.smoke.yaml")
    short = replace(smoke, steps=4, validation=None, log_every=2, checkpoint_every=4)
    for name, recipe in {"as-it-is": short, "compiled": replace(short, compile=True)}.items():
        (tmp_path / f"{name}.yaml").write_text(recipe.text(), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "cmr_course",
            "train",
            f"{tmp_path / name}.yaml",
            "--out",
            str(tmp_path / name),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=900, cwd=ROOT)
    wanted, found = (Checkpoint.load(tmp_path / name / "last.pt").weights for name in ("as-it-is", "compiled"))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "value"), [("cascade", float("nan")), ("cascade", 1e30), ("d5c5", float("nan")), ("d5c5", float("inf"))]
)
def test_bad_data_stop_the_training_and_are_named(network, value, tmp_path):
    settings = {"cascade": TINY.network.settings, "d5c5": {"cascades": 1, "convolutions": 2, "filters": 4}}[network]
    recipe = replace(TINY, network=Network(network, settings), losses={"mse": 1.0}, validation=None, checkpoint_every=2)
    with pytest.raises(TrainingError, match=r"step 6: .*, at the spoilt one; lower the rate, or look at these data"):
        fit(recipe, tmp_path, source=Kept(5, value))
    last = Checkpoint.load(tmp_path / "last.pt")
    assert last.step == 4
    assert all(bool(torch.isfinite(value).all()) for value in last.weights.values())
    assert len(trained(recipe, tmp_path)) == len(last.weights)  # goes on once the data are mended


def test_bad_data_at_the_first_step_are_named_too(tmp_path):
    for clip in (1.0, None):
        with pytest.raises(TrainingError, match=r"step 1: .* the spoilt one"):
            fit(replace(TINY, clip=clip, losses={"mse": 1.0}), tmp_path, source=Kept(0, 1e25))
    assert not (tmp_path / "last.pt").exists()


def test_a_gradient_that_explodes_stops_the_training(tmp_path):
    recipe = replace(TINY, losses={"mse": 1.0}, explosion=5.0, checkpoint_every=2, validation=None)
    with pytest.raises(TrainingError, match=r"step 6: the gradient has norm .*, usually .*, at the spoilt one"):
        fit(recipe, tmp_path, source=Kept(5, 3e3))
    assert Checkpoint.load(tmp_path / "last.pt").step == 4


def test_a_rate_that_is_too_high_is_a_training_error(tmp_path):
    recipe = replace(TINY, optimiser=Optimiser("sgd", 1e38), clip=None, schedule=Schedule("constant"), validation=None)
    with pytest.raises(TrainingError, match=r"step \d: .*lower the rate"):
        fit(recipe, tmp_path, source=Kept())


def test_a_gradient_that_is_gone_stops_the_training(tmp_path):
    """PromptMR once ran away to values that SSIM does not tell apart, and went on for hours without learning."""
    recipe = replace(TINY, losses={"mse": 1e-300}, log_every=2, checkpoint_every=4, validation=None)
    with pytest.raises(TrainingError, match="step 2: the gradient was zero at all of the last 2 steps"):
        fit(recipe, tmp_path, source=Kept())


def test_another_recipe_does_not_go_on(whole):
    for name, value in (("seed", 5), ("losses", {"mse": 1.0}), ("batch", 2)):
        with pytest.raises(
            ValueError, match=rf"holds a training with another {name}, want the recipe it was begun with"
        ):
            fit(replace(TINY, **{name: value}), whole[1], source=Kept())
    assert Recipe.load(whole[1] / "recipe.yaml") == TINY


def test_nobody_who_was_trained_with_is_held_out_later(tmp_path):
    one = replace(TINY, data=SeriesData("x"), validation=replace(CHECK, subjects=("P1",)))
    _require_same(one, replace(one, validation=replace(CHECK, subjects=("P1",), every=9)), tmp_path)
    for validation in (replace(CHECK, subjects=("P2",)), None):
        with pytest.raises(ValueError, match=r"with another validation\.subjects"):
            _require_same(one, replace(one, validation=validation), tmp_path)


def test_a_checkpoint_of_another_network_names_the_keys(whole, tmp_path):
    found = Checkpoint.load(whole[1] / "last.pt")
    names = list(found.weights)
    renamed = {("extra" if name == names[0] else name): value for name, value in found.weights.items()}
    replace(found, weights=renamed).save(tmp_path / "last.pt")
    with pytest.raises(ValueError, match=rf"last.pt: is of another network: lacks {names[0]}; has too much extra"):
        fit(TINY, tmp_path, source=Kept())
    smaller = found.weights | {names[-1]: torch.zeros(2, 3)}
    with pytest.raises(ValueError, match=rf"differs in shape: {names[-1]} \(2, 3\) for"):
        replace(found, weights=smaller).method()


def test_damaged_checkpoints_are_named(whole, tmp_path):
    content, path, draw = (whole[1] / "last.pt").read_bytes(), tmp_path / "last.pt", random.Random(0)
    lengths = [draw.randrange(len(content)) for _ in range(20)]
    junk = [b"", b"PK\x03\x04", b"\x00" * 99, b"\x80\x02.", b"hello", pickle.dumps([1], 2)]
    for damaged in [*(content[:length] for length in lengths), *junk]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last.pt: is ") as caught:
            Checkpoint.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"last.pt: is "):
        fit(TINY, tmp_path, source=Kept())
    assert path.read_bytes() == junk[-1]  # nothing was written over it
    for other in ({"kind": "other"}, [1, 2], {"kind": "cmr-course training checkpoint"}):
        torch.save(other, path)
        with pytest.raises(ValueError, match=r"last.pt: is "):
            Checkpoint.load(path)
    with pytest.raises(FileNotFoundError):
        Checkpoint.load(tmp_path / "nothing.pt")


class Trap:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_checkpoint_is_not_run(whole, tmp_path):
    found = vars(Checkpoint.load(whole[1] / "last.pt"))
    torch.save(
        {"kind": "cmr-course training checkpoint", **found, "device": Trap(tmp_path / "ran")}, tmp_path / "bad.pt"
    )
    with pytest.raises(ValueError, match=r"it holds more than tensors and numbers"):
        Checkpoint.load(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def python(program: str, *words: object, **how: object) -> subprocess.Popen:
    """Start `program` with this file's names at hand."""
    text = "from tests.test_training_fit import *\nimport sys\n" + textwrap.dedent(program)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    env.pop("WORLD_SIZE", None)
    return subprocess.Popen([sys.executable, "-c", text, *map(str, words)], env=env, cwd=ROOT, **how)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """Files may have 20 000 bytes from step 4 on: the checkpoint of step 4 fits in no more."""
    program = """
        import resource
        folder = Path(sys.argv[1])
        recipe = replace(TINY, checkpoint_every=2, validation=None)
        fit(recipe, folder, source=Kept(), until=2)
        before = (folder / "last.pt").read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, resource.RLIM_INFINITY))
        try:
            fit(recipe, folder, source=Kept())
        except OSError as error:
            assert "last.pt" in str(error), error
            assert (folder / "last.pt").read_bytes() == before
            assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "log.jsonl", "recipe.yaml"]
            sys.exit(7)
    """
    assert python(program, tmp_path).wait(timeout=120) == 7
    assert Checkpoint.load(tmp_path / "last.pt").step == 2


TRAIN = """
    recipe = replace(TINY, steps=int(sys.argv[2]), checkpoint_every=2, validation=replace(CHECK, every=6))
    fit(recipe, sys.argv[1], source=Kept())
"""


def killed(folder: Path, steps: int, number: int) -> None:
    """Train in a process of its own, kill it `number` times after a random number of its steps, let it finish."""
    draw = random.Random(1)
    for _ in range(number):
        log = folder / "log.jsonl"
        at = log.stat().st_size if log.exists() else 0
        process = python(TRAIN, folder, steps)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until and (not log.exists() or log.stat().st_size <= at):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / ".last.pt.1.partial").touch()  # as if it had been killed while it wrote
    assert python(TRAIN, folder, steps).wait(timeout=300) == 0


@pytest.mark.parametrize(("number", "steps"), [(1, 24), pytest.param(5, 120, marks=pytest.mark.slow)])
def test_kills_do_not_change_the_weights(number, steps, tmp_path):
    killed(tmp_path / "killed", steps, number)
    recipe = replace(TINY, steps=steps, checkpoint_every=2, validation=replace(CHECK, every=6))
    alone = trained(recipe, tmp_path / "alone")
    assert equal(Checkpoint.load(tmp_path / "killed" / "last.pt").weights, alone)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("killed", "alone")]
    assert logs[0] == logs[1]
    assert not list((tmp_path / "killed").glob(".*"))


def test_a_log_that_was_cut_short_is_read_to_there(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
    assert read_log(path) == [{"step": 1}]


def test_a_training_becomes_weights_that_can_be_shipped(whole, tmp_path):
    path = tmp_path / "tiny.safetensors"
    told = release(whole[1], path, which="last", notes="for a test")
    assert equal(weights(load_file(path)), whole[0])
    last = read_log(whole[1] / "log.jsonl")[-1]
    assert told.step == last["step"] == 8
    assert told.scores["psnr"] == pytest.approx(last["validation"]["psnr"], abs=1e-3)
    assert Recipe.of(told.recipe) == TINY
    shared = replace(TINY, network=Network("cascade", TINY.network.settings | {"shared": True}), validation=None)
    found = trained(shared, tmp_path / "shared")
    release(tmp_path / "shared", tmp_path / "shared.safetensors", which="last")
    assert equal(weights(load_file(tmp_path / "shared.safetensors")), found)


@pytest.mark.bad_input
def test_what_there_is_not_to_ship_is_named(whole, tmp_path):
    with pytest.raises(ValueError, match=r"which 'bset': is not known, did you mean best?"):
        release(whole[1], tmp_path / "tiny.safetensors", which="bset")
    with pytest.raises(FileNotFoundError):
        release(tmp_path, tmp_path / "tiny.safetensors")


@pytest.mark.bad_input
def test_until_is_a_step(tmp_path):
    for until, said in itertools.product((0, -1, 2.5), ("until: got",)):
        with pytest.raises(ValueError, match=said):
            fit(TINY, tmp_path, source=Kept(), until=until)
