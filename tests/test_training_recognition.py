"""The recogniser: what it is asked, what it is shown, and that its features are what the loss reads."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
import yaml
from torch import Tensor, nn

from cmr_course import features, simulation
from cmr_course.features import COURSE_VGG, load_course_vgg
from cmr_course.losses import PerceptualLoss
from cmr_course.splits import TEST, TRAINING, VALIDATION
from cmr_course.training.recognition import (
    ASKED_CONTRASTS,
    ASKED_VIEWS,
    FRAMES,
    NONE,
    PHASES,
    TAP,
    TASKS,
    Labelled,
    Recogniser,
    Recognition,
    accuracy,
    cross_entropy,
    labelled,
    release_features,
    shown,
    train,
)
from cmr_course.training.settings import read
from cmr_course.weights.store import provenance
from tools.environment import ROOT

NOTEBOOK = ROOT / "notebooks" / "training" / "recognition"
TINY = Recognition(subjects=(0, 12), matrix=32, crop=24, steps=12, batch=12, frames=4)


def same(one: Labelled, other: Labelled) -> bool:
    return torch.equal(one.images, other.images) and all(
        torch.equal(one.answers[task], other.answers[task]) for task in TASKS
    )


@pytest.fixture(scope="module")
def data() -> Labelled:
    return TINY.scanned()


@pytest.fixture(scope="module")
def beats() -> Labelled:
    """Every frame of enough subjects to have several of each contrast."""
    return replace(TINY, subjects=(100, 140), frames=FRAMES).scanned()


@pytest.fixture(scope="module")
def network(data) -> Recogniser:
    return train(TINY, data)


def test_images_are_magnitudes_from_zero_to_one_and_answers_in_range(data):
    assert data.images.shape[1:] == (1, 32, 32)
    assert 12 <= len(data) <= 12 * 4
    assert float(data.images.min()) >= 0
    assert float(data.images.max()) <= 1
    assert data.images.amax((1, 2, 3)).min() > 0.2  # the largest value is that of the whole scan
    for task, options in TASKS.items():
        found = data.answers[task]
        assert found.shape == (len(data),)
        assert int(found.max()) < options
        assert int(found.min()) >= (NONE if task == "phase" else 0)
    assert list(TASKS.values()) == [len(ASKED_CONTRASTS), len(ASKED_VIEWS), PHASES]


def test_every_contrast_and_view_is_asked_for_and_only_beating_ones_have_a_phase(beats):
    contrast, phase = beats.answers["contrast"], beats.answers["phase"]
    assert set(contrast.tolist()) == set(range(len(ASKED_CONTRASTS)))
    assert set(beats.answers["view"].tolist()) == set(range(len(ASKED_VIEWS)))
    beating = torch.isin(contrast, torch.tensor([ASKED_CONTRASTS.index("cine"), ASKED_CONTRASTS.index("tagging")]))
    assert torch.equal(phase != NONE, beating)
    assert int(beating.sum()) % FRAMES == 0
    assert torch.bincount(phase[beating], minlength=PHASES).tolist() == [int(beating.sum()) // PHASES] * PHASES


def test_the_first_phase_is_the_one_after_the_r_wave():
    """End diastole is full, and the fourth to sixth of a beat is not: frames of one phase show one heart."""
    settings = replace(TINY, matrix=64, frames=FRAMES, snr_db=(60.0, 60.0))
    for seed in range(100, 160):
        one = labelled([seed], settings)
        if ASKED_CONTRASTS[one.answers["contrast"][0]] == "cine" and ASKED_VIEWS[one.answers["view"][0]] == "sax":
            break
    order = one.answers["phase"].argsort()
    images, phases = one.images[order, 0], one.answers["phase"][order]
    apart = (images[:, None] - images[None]).square().sum((-2, -1))
    alike, different = phases[:, None] == phases[None], (phases[:, None] - phases[None]).abs() == PHASES // 2
    beside = float(apart[alike].sum() / (alike.sum() - len(phases)))
    assert beside < 0.5 * float(apart[different].mean())
    from_rest = [float(apart[0][phases == phase].mean()) for phase in range(PHASES)]
    assert max(from_rest[1:]) > 3 * from_rest[0]


def test_labelled_images_are_functions_of_settings_and_subject(data):
    torch.rand(5)
    before = torch.get_rng_state()
    assert same(TINY.scanned(), data)
    assert torch.equal(torch.get_rng_state(), before)
    some = labelled(range(3, 6), TINY)
    whole = {image.numpy().tobytes() for image in data.images}
    assert {image.numpy().tobytes() for image in some.images} <= whole
    assert not same(labelled(range(3, 6), replace(TINY, seed=1)), some)


def test_the_number_of_workers_does_not_matter():
    many = replace(TINY, subjects=(0, 21), frames=1)  # two jobs
    assert same(many.scanned(workers=2), many.scanned(workers=1))


def test_more_scans_of_a_subject_are_others():
    one, two = (labelled([3], replace(TINY, scans=scans, frames=1)) for scans in (1, 2))
    assert (len(one), len(two)) == (1, 2)
    assert torch.equal(two.images[:1], one.images)
    assert not torch.equal(two.images[1], two.images[0])


@pytest.mark.bad_input
@pytest.mark.parametrize("subjects", [(TEST[0], TEST[0] + 1), (TEST[-1], TEST[-1] + 1), (VALIDATION[-1], TEST[0] + 1)])
def test_a_test_subject_does_not_train(subjects):
    with pytest.raises(ValueError, match=r"seed: got 200\d\d, a test subject"):
        replace(TINY, subjects=subjects).scanned()


@pytest.mark.bad_input
def test_but_it_can_be_asked_about_and_nobody_cannot():
    assert len(labelled([TEST[0]], replace(TINY, frames=1))) == 1
    with pytest.raises(ValueError, match=r"seeds: got none, want at least one subject"):
        labelled([], TINY)


@pytest.mark.parametrize("name", ["smoke", "course", "paper"])
def test_the_settings_of_the_course_are_sound(name):
    settings = read(Recognition, yaml.safe_load((NOTEBOOK / f"{name}.yaml").read_text(encoding="utf-8"))["settings"])
    first, end = settings.subjects
    assert first in TRAINING
    assert end - 1 in TRAINING
    assert settings.crop <= settings.matrix


def test_a_step_shows_a_part_from_anywhere(data, generator):
    settings = replace(TINY, crop=8)
    place = torch.arange(32.0)[:, None] * 32 + torch.arange(32.0)
    found = shown(place.expand(400, 1, 32, 32), settings, generator)
    assert found.shape == (400, 1, 8, 8)
    steps = found[:, 0].diff(dim=-1)  # a gain of its own for each image, and nothing turned or stretched
    gains = steps[:, :1, :1]
    torch.testing.assert_close(steps, gains.expand_as(steps), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[:, 0].diff(dim=-2), 32 * gains.expand(-1, 7, 8), rtol=1e-3, atol=1e-3)
    assert 0.69 < float(gains.min()) < 0.75
    assert 1.15 < float(gains.max()) < 1.21
    corners = (found[:, 0, 0, 0] / gains[:, 0, 0]).round().int()
    assert set((corners // 32).tolist()) == set(range(25)) == set((corners % 32).tolist())


def test_the_whole_image_is_shown_where_the_crop_is_as_large(data, generator):
    found = shown(data.images, replace(TINY, crop=32), generator)
    ratio = found.sum((1, 2, 3)) / data.images.sum((1, 2, 3))
    torch.testing.assert_close(found, data.images * ratio.view(-1, 1, 1, 1))


def test_cross_entropy_by_hand():
    """Equal numbers for all answers: the sum of log 7, log 4 and log 6; without a phase, the first two."""
    answers = {task: torch.zeros(3, options) for task, options in TASKS.items()}
    right = {task: torch.zeros(3, dtype=torch.int64) for task in TASKS}
    assert float(cross_entropy(answers, right)) == pytest.approx(math.log(7 * 4 * 6))
    right["phase"][:] = NONE
    assert float(cross_entropy(answers, right)) == pytest.approx(math.log(7 * 4))


def test_images_without_a_phase_do_not_count_in_it(generator):
    answers = {task: torch.randn(4, options, generator=generator) for task, options in TASKS.items()}
    right = {task: torch.tensor([0, 1, 2, 3]) for task in TASKS}
    right["phase"] = torch.tensor([2, NONE, 5, NONE])
    answers["phase"].requires_grad_()
    cross_entropy(answers, right).backward()
    assert (answers["phase"].grad.abs().sum(1) > 0).tolist() == [True, False, True, False]
    halved = {task: torch.zeros(2, options) for task, options in TASKS.items()}
    halved["phase"] = answers["phase"].detach()[[0, 2]]
    only = {task: torch.zeros(2, dtype=torch.int64) for task in ("contrast", "view")}
    asked = cross_entropy(halved, only | {"phase": torch.tensor([2, 5])})
    halved["phase"], both = answers["phase"].detach(), {task: one.repeat(2) for task, one in only.items()}
    halved |= {task: torch.zeros(4, TASKS[task]) for task in only}
    torch.testing.assert_close(cross_entropy(halved, both | {"phase": right["phase"]}), asked)


def test_training_lowers_the_loss_and_leaves_torchs_generator_alone(data):
    losses: list[float] = []
    before = torch.get_rng_state()
    trained = train(replace(TINY, steps=40), data, tell=lambda step, loss: losses.append(loss))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(losses) == 40
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_a_training_is_a_function_of_its_settings_and_data(data, network):
    again, other = train(TINY, data), train(replace(TINY, seed=1), data)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    weight = "features.convolutions.conv2_1.weight"
    assert not torch.equal(other.state_dict()[weight], network.state_dict()[weight])


def test_features_and_heads_learn_and_the_normalisation_stays(data, network):
    torch.manual_seed(TINY.seed)
    fresh = Recogniser()
    for name, value in fresh.state_dict().items():
        fixed = name.endswith(("mean", "deviation"))
        assert torch.equal(network.state_dict()[name], value) == fixed, name


class Oracle(Recogniser):
    """Knows the answers by heart, image by image in their order; `off` adds to the phase, circular."""

    def __init__(self, answers: dict[str, Tensor], off: int = 0) -> None:
        nn.Module.__init__(self)  # it has nothing to learn
        self.answers, self.off, self.at = answers, off, 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        part = slice(self.at, self.at + len(images))
        self.at += len(images)
        found = {}
        for task, options in TASKS.items():
            right = self.answers[task][part].clamp(min=0)
            right = (right + self.off) % options if task == "phase" else right
            found[task] = nn.functional.one_hot(right, options).float()
        return found


@pytest.mark.parametrize(("off", "exact", "near"), [(0, 1, 1), (1, 0, 1), (-1, 0, 1), (2, 0, 0), (3, 0, 0)])
def test_who_is_right_has_an_accuracy_of_one(beats, off, exact, near):
    """In a beat the last phase is a neighbour of the first."""
    found = accuracy(Oracle(beats.answers, off), beats, TINY)
    assert found == {"contrast": 1.0, "view": 1.0, "phase": exact, "phase within one": near}


def test_who_always_says_the_same_is_right_as_often_as_that_is(beats):
    silent = {task: torch.full_like(answers, 2) for task, answers in beats.answers.items()}
    found = accuracy(Oracle(silent), beats, TINY)
    for task in ("contrast", "view"):
        assert found[task] == pytest.approx(float((beats.answers[task] == 2).float().mean()))
    assert found["phase"] == pytest.approx(1 / PHASES)
    assert found["phase within one"] == pytest.approx(3 / PHASES)


def test_a_small_training_has_accuracies_that_are_shares(data, network):
    found = accuracy(network, data, TINY)
    assert set(found) == {*TASKS, "phase within one"}
    assert all(0 <= value <= 1 for value in found.values())
    assert found["phase"] <= found["phase within one"]


@pytest.fixture
def released(tmp_path, monkeypatch, network):
    path = tmp_path / "course_vgg.safetensors"
    monkeypatch.setattr(features, "COURSE_VGG_FILE", path)
    release_features(network, TINY, {"contrast": 0.98764, "view": 0.9}, path, hours=0.123, device="a CPU")
    return path


def test_released_features_are_those_that_were_learned(released, network, data):
    images = data.images[:5]
    loaded = load_course_vgg([TAP, "relu1_2"])
    with torch.no_grad():
        wanted = network.features(images)[TAP]
        torch.testing.assert_close(loaded(images)[TAP], wanted, rtol=1e-4, atol=1e-5 * float(wanted.max()))
    for name, parameter in loaded.convolutions.named_parameters():
        assert torch.equal(parameter, network.features.convolutions.get_parameter(name)), name
    assert PerceptualLoss("course", taps=[TAP]).features.taps == (TAP,)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_released_features_say_where_they_come_from(released):
    told = provenance(released)
    assert told.simulation == simulation.VERSION
    assert told.scores == {"contrast": 0.9876, "view": 0.9}
    assert (told.seed, told.step, told.hours, told.device) == (TINY.seed, TINY.steps, 0.12, "a CPU")
    assert told.recipe["subjects"] == [0, 12]
    assert told.network == {"name": "course_vgg", "settings": {"layout": [list(stage) for stage in COURSE_VGG]}}
    assert released.stat().st_size < 2 * 2**20


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"crop": 40, "matrix": 32}, "crop: got 40, want 8"),
        ({"crop": 4}, "crop: got 4, want 8"),
        ({"steps": 0}, "steps: got 0"),
        ({"subjects": (5, 5)}, "subjects: got"),
        ({"rate": 0.0}, "rate: got 0"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_named(settings, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        Recognition(**settings)
