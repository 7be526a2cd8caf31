"""Designs of the benchmark: one anchor, one thing different at a time, and a part small enough for any build."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cmr_course import classical, weights
from cmr_course.acquisition import Reconstructor
from cmr_course.benchmark import ANCHOR, EVERY, FACTORS, SHORT, cpu_tier, design, measured, method, missing, names, run
from cmr_course.benchmark.summary import drift, seconds_of, summary, what
from cmr_course.metrics import Result
from cmr_course.simulation import CONTRASTS
from cmr_course.splits import TEST


def test_the_anchor_is_what_the_course_says():
    anchor = design("anchor")
    assert [cell.subject for cell in anchor.cells] == list(TEST[:10])
    for cell in anchor.cells:
        told = (cell.view, cell.frames, cell.matrix, cell.coils, cell.mask, cell.acceleration, cell.maps, cell.contrast)
        assert told == ("sax", 12, (128, 128), 10, "uniform", 8.0, "espirit", "cine")
    assert set(anchor.methods) == set(EVERY)


def test_one_thing_differs_at_a_time():
    factors = design("factors")
    for cell in factors.cells:
        changed = [name for name, value in vars(cell).items() if value != vars(ANCHOR)[name] and name != "subject"]
        assert len(changed) == 1
        assert what(cell).startswith(changed[0])
    assert len(factors.cells) == 3 * sum(map(len, FACTORS.values()))
    assert {cell.subject for cell in factors.cells} == set(TEST[:3])
    assert set(SHORT) <= set(EVERY)
    assert what(ANCHOR) == "anchor"


def test_the_cpu_tier_is_a_part_of_the_whole_and_small():
    tier = cpu_tier()
    for name, part in tier.items():
        assert set(part.cells) <= set(design(name).cells)
    reconstructions = sum(len(part.cells) * len(part.methods) for part in tier.values())
    assert reconstructions <= 250
    assert len(tier["anchor"].cells) == 4
    told = {what(cell).split()[0] for cell in tier["factors"].cells}
    assert len(told) >= len(FACTORS) - 1  # a dead coil and the rhythm are both a perturbation
    assert len(tier["factors"].cells) == 3 * len(FACTORS)


@pytest.mark.parametrize("name", names())
def test_every_name_is_a_method(name):
    assert isinstance(method(name), Reconstructor)
    assert name in classical.METHODS or name in weights.names()


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="method: got 'cascad', want one of zero-filled"):
        method("cascad")
    with pytest.raises(FileNotFoundError):
        method("nowhere.safetensors")


@pytest.mark.parametrize("contrast", ["T1map", "tagging", "lge", "flow2d"])
def test_a_cell_has_any_contrast(contrast):
    cell = replace(ANCHOR, contrast=contrast, matrix=(48, 48), frames=4, coils=4, subject=10_001, maps="known")
    acquisition, truth = measured(cell)
    fixed = CONTRASTS[contrast].fixed_frames
    assert acquisition.n_frames == truth.image.shape[1] == (4 if fixed is None else fixed)
    assert cell.columns(acquisition)["contrast"] == acquisition.about.contrast == contrast
    with pytest.raises(ValueError, match="contrast: got"):
        replace(cell, as_series=True)
    with pytest.raises(ValueError, match="contrast: got 'T3map'"):
        replace(cell, contrast="T3map")


def test_rows_of_other_weights_are_made_again():
    cell = replace(ANCHOR, matrix=(48, 48), frames=4, coils=4, subject=10_001, maps="known")
    rows = run([cell], ["zero-filled"])
    assert missing([cell], ["zero-filled"], rows) == []
    old = [replace(row, checkpoint="0123456789") for row in rows]
    assert missing([cell], ["zero-filled"], old) == [(cell, ("zero-filled",))]


def test_drift_is_the_largest_difference_of_the_same_rows():
    shared = {"metric": "psnr", "region": "heart", "method": "zero-filled", **ANCHOR.asked()}
    row = Result(**shared, value=24.0)
    assert drift([row], [row]) == {"psnr": 0.0}
    assert drift([row], [replace(row, value=24.5)]) == {"psnr": 0.5}
    assert drift([row], [replace(row, value=None)]) == {"psnr": math.inf}
    assert drift([row], [replace(row, mask="kt_uniform")]) == {}


def test_the_summary_has_a_line_for_each_thing_that_differs():
    cells = (ANCHOR, replace(ANCHOR, mask="kt_uniform"))
    shared = {"metric": "psnr", "region": "heart", "method": "zero-filled"}
    rows = [Result(**shared, **cell.asked(), value=value) for cell, value in zip(cells, (24.0, 26.0), strict=True)]
    lines = summary(rows, replace(design("anchor"), cells=cells, methods=("zero-filled", "grappa"))).splitlines()
    assert [line.split() for line in lines] == [
        ["psnr,", "heart", "zero-filled", "grappa"],
        ["anchor", "24.00", "–"],
        ["mask", "kt_uniform", "26.00", "–"],
    ]
    assert seconds_of(["zero-filled"]) < seconds_of(["zero-filled", "unheard-of"])
