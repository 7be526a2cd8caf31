"""Recurrent networks with the course's weights say of time what was measured: hearts that beat, stand still, run
backward or stumble, and a single frame.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

import cmr_course
from cmr_course import weights
from cmr_course.acquisition import Acquisition
from cmr_course.benchmark import Cell, measured, method
from cmr_course.encoding import Encoding
from cmr_course.metrics import profile_correlation, psnr
from cmr_course.plotting import heart_box

RECURRENT = [name for name in weights.names() if name.startswith("cr")]
CELL = Cell(subject=20_004, mask="kt_uniform", acceleration=8.0, matrix=(96, 96), coils=6, maps="known", snr_db=None)
KINDS = ("beating", "still", "backward", "stumbling", "single")


@cache
def heart(kind: str) -> tuple[Acquisition, Tensor]:
    """Measured without noise, and the true image (1, frame, y, x)."""
    acquired, truth = measured(replace(CELL, perturbation="arrhythmia" if kind == "stumbling" else ""))
    image = truth.image
    if kind in ("beating", "stumbling"):
        return acquired, image
    if kind == "still":
        image = image[:, :1].expand_as(image)
    image = image.flip(1) if kind == "backward" else image[:, : 1 if kind == "single" else None]
    mask = acquired.mask[:, : image.shape[1]]
    kspace = Encoding(acquired.sensitivities, mask).forward(image)
    return replace(acquired, kspace=kspace, mask=mask).with_scale(), image


@cache
def place() -> tuple[tuple[slice, slice], int]:
    """The heart's box, and the column through the middle of the ventricle."""
    _, truth = measured(CELL)
    y0, y1, x0, x1 = heart_box(truth)
    ventricle = truth.labels[0, 0] == truth.label_names["lv_blood"]
    return (slice(y0, y1), slice(x0, x1)), round(float(ventricle.nonzero().double().mean(0)[1]))


@cache
def found(name: str, kind: str) -> Tensor:
    reconstruct = method(name) if name == "zero-filled" else cmr_course.load(name)
    return reconstruct(heart(kind)[0]).image


def movement(image: Tensor) -> float:
    """By how much the heart's box changes along time."""
    inside, _ = place()
    return float(image.abs()[(..., *inside)].std(1, correction=0).norm())


def along_time(name: str, kind: str) -> float:
    """Correlation of the changes along the profile through the ventricle with those of the truth."""
    truth = heart(kind)[1]
    return float(profile_correlation(found(name, kind).abs(), truth.abs(), place()[1]))


def test_there_are_recurrent_networks():
    assert "crnn" in RECURRENT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RECURRENT)
def test_each_is_better_than_what_it_was_given(name, kind):
    truth = heart(kind)[1].abs()
    image = found(name, kind)
    assert image.shape == truth.shape
    assert torch.isfinite(torch.view_as_real(image)).all()
    gain = psnr(image.abs(), truth).mean() - psnr(found("zero-filled", kind).abs(), truth).mean()
    assert gain > (0.2 if kind == "single" else 4), "a single frame has nothing to remember"


@pytest.mark.parametrize("kind", ["beating", "backward", "stumbling"])
@pytest.mark.parametrize("name", RECURRENT)
def test_profiles_along_time_follow_the_truth(name, kind):
    assert along_time(name, kind) > max(0.9, along_time("zero-filled", kind))
    assert 0.6 < movement(found(name, kind)) / movement(heart(kind)[1]) < 1, "neither frozen nor made livelier"


@pytest.mark.parametrize("name", RECURRENT)
def test_a_heart_that_stands_still_moves_less_than_one_that_beats(name):
    """What moves there is aliasing, since the lines move; chapter 12 shows how much of it is left."""
    assert movement(found(name, "still")) < 0.65 * movement(found(name, "beating"))
    assert movement(heart("still")[1]) == 0


def test_two_sweeps_of_one_cell_do_not_know_the_direction_of_time():
    acquired, _ = heart("beating")
    turned = replace(acquired, kspace=acquired.kspace.flip(1), mask=acquired.mask.flip(1))
    image = cmr_course.load("crnn")(turned).image.flip(1)
    torch.testing.assert_close(image, found("crnn", "beating"), rtol=1e-3, atol=1e-3 * float(image.abs().max()))
