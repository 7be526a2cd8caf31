"""The course's own VGG: small, of today's simulator, able to tell hearts apart, and said where it comes from."""

from __future__ import annotations

import re

import pytest
import torch
import yaml

from cmr_course import simulation, weights
from cmr_course.features import COURSE_VGG, COURSE_VGG_FILE, VGG, load_course_vgg
from cmr_course.splits import TRAINING
from cmr_course.training.recognition import Recognition
from cmr_course.training.settings import read
from cmr_course.weights.store import LARGEST, Provenance, provenance
from tools.environment import ROOT

LAST = "relu4_3"


@pytest.fixture(scope="module")
def told() -> Provenance:
    return provenance(COURSE_VGG_FILE)


@pytest.fixture(scope="module")
def network() -> VGG:
    return load_course_vgg([LAST])


def test_the_file_is_there_and_small():
    assert COURSE_VGG_FILE.stat().st_size <= LARGEST == 2 * 2**20


def test_it_says_where_it_comes_from(told):
    assert told.simulation == simulation.VERSION
    assert re.fullmatch(r"[0-9a-f]{10}", told.commit), "made from a commit, not from changed files"
    assert told.hours > 0
    assert told.device
    assert told.network == {"name": "course_vgg", "settings": {"layout": [list(stage) for stage in COURSE_VGG]}}


def test_no_test_subject_trained_it(told):
    settings = read(Recognition, told.recipe)
    assert (settings.seed, settings.steps) == (told.seed, told.step)
    first, end = settings.subjects
    assert first in TRAINING
    assert end - 1 in TRAINING


def test_the_recipe_is_there(told):
    path = ROOT / "notebooks" / "training" / "recognition" / "course.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))["settings"]
    assert read(Recognition, settings) == read(Recognition, told.recipe)


@pytest.mark.parametrize("task", ["contrast", "view"])
def test_it_tells_contrast_and_view_of_test_subjects_apart(told, task):
    assert 0.9 <= told.scores[task] <= 1


def test_it_knows_more_of_the_phase_than_chance(told):
    assert 1 / 6 < told.scores["phase"] <= told.scores["phase within one"] <= 1


def test_features_are_alive_and_differ_from_those_of_nothing(network):
    """Each image gives features of its own: neither all zero behind the rectifiers, nor the same for all."""
    images = torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    found = network(torch.cat([images, torch.zeros(1, 1, 48, 48)]))[LAST].mean((-2, -1))
    assert bool(torch.isfinite(found).all())
    assert float((found > 0).float().mean()) > 0.05
    assert float(torch.pdist(found).min()) > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_it_is_no_method_of_the_benchmark():
    """Weights of methods lie one folder above: what lists them does not find this one."""
    assert COURSE_VGG_FILE.parent.parent == weights.FOLDER
    assert COURSE_VGG_FILE.stem not in weights.names()
