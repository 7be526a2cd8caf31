"""Designs of the benchmark: one anchor, one thing different at a time, and a part small enough for any build."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cmr_course import classical, weights
from cmr_course.acquisition import Reconstructor
from cmr_course.benchmark import (
    ANCHOR,
    EVERY,
    FACTORS,
    MODALITIES,
    SHORT,
    cpu_tier,
    design,
    measured,
    method,
    missing,
    names,
    run,
    subset,
)
from cmr_course.benchmark.summary import drift, seconds_of, summary, what
from cmr_course.domains import STEMS
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


def test_the_design_of_hypercmr_is_its_table_1_and_can_be_measured():
    chosen = design("hypercmr")
    assert {cell.subject for cell in chosen.cells} == set(TEST[:3])
    assert {cell.acceleration for cell in chosen.cells} == {4.0, 8.0, 10.0}
    assert {cell.mask for cell in chosen.cells} == {"uniform"}
    pairs = {(cell.view, cell.contrast) for cell in chosen.cells}
    assert pairs == {pair for shown in MODALITIES.values() for pair in shown}
    assert len(chosen.cells) == 3 * 3 * len(pairs)
    assert len(chosen.cells) * len(chosen.methods) <= 500
    known = {stem.modality for stem in STEMS[2024] if (stem.view, stem.contrast) in pairs}
    assert set(MODALITIES) == known
    assert chosen.regions == ("full",)  # some have no heart
    small = {"matrix": (48, 48), "frames": 4, "coils": 4, "maps": "known", "subject": 10_001, "acceleration": 3.0}
    for view, contrast in sorted(pairs):
        cell = replace(ANCHOR, view=view, contrast=contrast, **small)
        rows = run([cell], ["zero-filled"], metrics=chosen.metrics, regions=chosen.regions)
        assert {row.metric for row in rows} == {"psnr", "ssim", "nmse"}
        assert all(row.value is not None and math.isfinite(row.value) for row in rows)


def test_a_part_of_a_design_is_scored_as_the_whole():
    whole = design("hypercmr")
    part = subset(whole, TEST[:1])
    assert (part.metrics, part.regions, part.methods) == (whole.metrics, whole.regions, whole.methods)
    assert len(part.cells) == len(whole.cells) // 3


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
