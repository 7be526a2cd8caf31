"""Records of studies and timings: complete, from a commit, of today's simulator, and what the recipes say today."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product
from statistics import fmean

import pytest
import torch
import yaml

from cmr_course import simulation
from cmr_course.benchmark import Cell, Pictures, method, pictures
from cmr_course.benchmark.pictures import UNIT
from cmr_course.metrics import read_results
from cmr_course.splits import TEST
from cmr_course.training import Recipe
from tools.environment import ROOT

RESULTS = ROOT / "results"
TRAINING = ROOT / "notebooks" / "training"
DEPTHS = ("1, no consistency", "1", "2", "3")
TRICKS = (
    *(design + trick for design in ("simple", "complex") for trick in ("", ", dropout", ", batch norm")),
    *(design + trick for design in ("simple", "complex") for trick in (", two channels", ", PyTorch's weights")),
    "complex, SGD",
    "complex, edge loss",
    "complex, perceptual loss",
    "complex, few series",
    "complex, few series, dropout",
)
WITHOUT_TRAINING = ("zero-filled", "kt-sparse-sense")
COMMIT = re.compile(r"[0-9a-f]{10}")


def assert_of_test_subjects(counted, rows, asked):
    """Every score is there once for each test subject that was asked for, by today's simulator, from a commit."""
    assert set(counted.values()) == {asked["subjects"]}
    assert {row.subject for row in rows} == {str(seed) for seed in TEST[: asked["subjects"]]}
    assert {row.simulation_version for row in rows} == {simulation.VERSION}
    assert all(COMMIT.fullmatch(row.commit) for row in rows)


def test_the_study_of_depth_is_whole():
    asked = yaml.safe_load((TRAINING / "depth" / "course.yaml").read_text(encoding="utf-8"))
    recipe, rows = Recipe.of(asked["recipe"]), read_results(RESULTS / "depth.jsonl")
    counted = Counter((row.method, row.seed, row.metric, row.region) for row in rows)
    regions, metrics = {row.region for row in rows}, {row.metric for row in rows}
    assert {"full"} <= regions
    assert metrics == {"psnr", "ssim"}
    assert len(counted) == len(DEPTHS) * len(asked["seeds"]) * len(regions) * len(metrics)
    assert_of_test_subjects(counted, rows, asked)
    ky, kx = recipe.data.matrices[0]
    assert {(row.matrix, row.coils, row.mask, row.nominal_R) for row in rows} == {
        (f"{ky}x{kx}", 1, recipe.data.masks.kinds[0], recipe.data.masks.acceleration[0])
    }


def test_the_study_of_frames_is_whole():
    asked = yaml.safe_load((TRAINING / "prompts" / "course.yaml").read_text(encoding="utf-8"))
    recipe, rows = Recipe.of(asked["recipe"]), read_results(RESULTS / "frames.jsonl")
    counted = Counter((row.method, row.seed, row.mask, row.metric, row.region) for row in rows)
    names, masks = ("1 frame", "5 frames"), recipe.data.masks.kinds
    scores = product(("psnr", "ssim"), ("full", "heart"))
    wanted = {(*one, *score) for one, score in product(product(names, asked["seeds"], masks), scores)}
    assert set(counted) == wanted
    assert_of_test_subjects(counted, rows, asked)
    ky, kx = recipe.data.matrices[0]
    here = (f"{ky}x{kx}", recipe.data.coils[0], recipe.data.masks.acceleration[0], "simulated")
    assert {(row.matrix, row.coils, row.nominal_R, row.domain) for row in rows} == {here}


def test_the_study_of_fine_detail_is_whole():
    asked = yaml.safe_load((TRAINING / "fine_detail" / "course.yaml").read_text(encoding="utf-8"))
    recipe, rows = Recipe.of(asked["recipe"]), read_results(RESULTS / "fine_detail.jsonl")
    counted = Counter((row.method, row.seed, row.contrast, row.metric) for row in rows)
    names = ("SSIM only", "all but Eagle", "all")
    assert set(counted) == {*product(names, asked["seeds"], ("cine", "tagging"), ("psnr", "ssim", "hfen"))}
    assert_of_test_subjects(counted, rows, asked)
    mask, R = recipe.data.masks.kinds[0], recipe.data.masks.acceleration[0]
    here = ("64x64", recipe.data.coils[0], mask, R, "simulated")
    assert {(row.matrix, row.coils, row.mask, row.nominal_R, row.domain) for row in rows} == {here}


@pytest.mark.parametrize("name", ["cascade"])
def test_the_cost_of_a_step_is_on_record(name):
    record = json.loads((RESULTS / "training_step.json").read_text(encoding="utf-8"))
    assert COMMIT.fullmatch(record["commit"])
    assert record["device"]
    found = record["methods"][name]
    assert found["ratio"] == pytest.approx(found["step_s"] / found["convolutions_s"], abs=0.01)
    assert found["ratio"] > 1, "a step is more than its convolutions"
    assert sum(found["shares_of_step"].values()) == pytest.approx(100, abs=1)
    ledger = (ROOT / "cmr_course" / "weights" / "LEDGER.md").read_text(encoding="utf-8")
    assert f"{found['ratio']:.1f} times" in ledger


def tricks():
    """The parameters of the study of tricks, and its Results."""
    asked = yaml.safe_load((TRAINING / "tricks" / "course.yaml").read_text(encoding="utf-8"))
    return asked, read_results(RESULTS / "tricks.jsonl")


def test_the_study_of_tricks_is_whole():
    asked, rows = tricks()
    recipe = Recipe.of(asked["recipe"])
    counted = Counter((row.method, row.seed, row.metric) for row in rows)
    wanted = {(name, seed, metric) for name in TRICKS for seed in asked["seeds"] for metric in ("psnr", "ssim")}
    wanted |= {(name, None, metric) for name in WITHOUT_TRAINING for metric in ("psnr", "ssim")}
    assert set(counted) == wanted
    assert_of_test_subjects(counted, rows, asked)
    ky, kx = recipe.data.matrices[0]
    assert {(row.matrix, row.coils, row.mask, row.nominal_R, row.domain, row.region) for row in rows} == {
        (f"{ky}x{kx}", 1, recipe.data.masks.kinds[0], recipe.data.masks.acceleration[0], "simulated series", "full")
    }


def test_subjects_of_the_study_of_tricks_are_in_the_ratio_of_the_paper_and_in_one_split_each():
    asked, _ = tricks()
    recipe = Recipe.of(asked["recipe"])
    assert (recipe.data.pool, len(recipe.validation.subjects), asked["subjects"]) == (50, 10, 20)
    first, end = recipe.data.subjects
    assert end - first == 50
    assert not set(range(first, end)) & ({*recipe.validation.subjects} | {*TEST})


def test_the_curves_of_the_study_of_tricks_are_whole():
    asked, _ = tricks()
    recipe = Recipe.of(asked["recipe"])
    curves = json.loads((RESULTS / "tricks_curves.json").read_text(encoding="utf-8"))
    assert set(curves) == set(TRICKS)
    for lines in curves.values():
        assert len(lines) == len(asked["seeds"])
        for line in lines:
            assert line["step"] == list(range(recipe.log_every, recipe.steps + 1, recipe.log_every))
            assert line["validated"] == list(range(recipe.validation.every, recipe.steps + 1, recipe.validation.every))
            assert (len(line["loss"]), len(line["psnr"])) == (len(line["step"]), len(line["validated"]))


def test_the_pictures_of_the_study_of_tricks_are_of_the_trainings_on_record():
    """What a stored frame scores is what is said of it, and the mean over frames is the record's number: a record and
    pictures of different trainings would differ.
    """
    asked, rows = tricks()
    kept, seed = Pictures.load(RESULTS / "tricks_pictures.npz"), asked["seeds"][0]
    told = kept.about
    assert set(kept.psnr) <= {*WITHOUT_TRAINING, *TRICKS}
    assert {"simple", "complex", "complex, dropout", "complex, edge loss", "complex, perceptual loss"} < set(kept.psnr)
    for name, psnr in kept.psnr.items():
        wanted = (name, None if name in WITHOUT_TRAINING else seed, str(told["cell"]["subject"]), "psnr")
        (row,) = [row for row in rows if (row.method, row.seed, row.subject, row.metric) == wanted]
        assert fmean(psnr) == pytest.approx(row.value, abs=1e-4), name
        error = (kept.frames[name] - kept.frames["reference"]).square().mean()
        assert -10 * float(error.log10()) == pytest.approx(psnr[kept.frame], abs=0.02), name
        torch.testing.assert_close(kept.columns[name][kept.frame], kept.frames[name][:, kept.column], atol=0, rtol=0)
        assert (row.simulation_version, row.realised_R) == (told["simulation_version"], told["realised_R"])
    assert told["trained_by"] == sorted({row.commit for row in rows if row.seed == seed})


def test_the_pictures_of_the_study_of_tricks_say_where_they_come_from_and_stay_small():
    asked, _ = tricks()
    recipe, kept = Recipe.of(asked["recipe"]), Pictures.load(RESULTS / "tricks_pictures.npz")
    told = kept.about
    assert (RESULTS / "tricks_pictures.npz").stat().st_size <= 120_000
    assert (told["cell"]["subject"], told["seed"]) == (TEST[0], asked["seeds"][0])
    assert Recipe.of(told["recipe"]) == recipe
    assert COMMIT.fullmatch(told["commit"])
    assert told["simulation_version"] == simulation.VERSION
    ky, kx = recipe.data.matrices[0]
    shape = (recipe.data.frames[0], ky, kx)
    assert {tuple(kept.series(name).shape) for name in kept.frames} == {shape}


def test_the_pictures_of_the_study_of_tricks_are_those_that_the_code_makes_today():
    """Of what needs no training: the truth, the zero-filled image, and which column goes through the heart."""
    kept = Pictures.load(RESULTS / "tricks_pictures.npz")
    asked = kept.about["cell"] | {"matrix": tuple(kept.about["cell"]["matrix"])}
    again = pictures(Cell(**asked), {"zero-filled": method("zero-filled")}, frame=kept.frame)
    assert (again.box, again.column) == (kept.box, kept.column)
    for name in again.frames:
        torch.testing.assert_close(again.frames[name], kept.frames[name], atol=2 * UNIT, rtol=0)
        torch.testing.assert_close(again.columns[name], kept.columns[name], atol=2 * UNIT, rtol=0)


def by_subject(rows, name, metric="psnr"):
    """Scores of the test subjects, each the mean over the seeds."""
    found = {}
    for row in rows:
        if (row.method, row.metric) == (name, metric):
            found.setdefault(row.subject, []).append(row.value)
    return {who: fmean(values) for who, values in found.items()}


@pytest.mark.parametrize("name", ["simple", "complex"])
def test_both_networks_of_the_paper_beat_zero_filled(name):
    _, rows = tricks()
    ours, zero = by_subject(rows, name), by_subject(rows, "zero-filled")
    assert min(ours[who] - zero[who] for who in zero) > 0


def markdown_of(chapter):
    """All prose of a chapter, on one line."""
    cells = json.loads((ROOT / "notebooks" / chapter).read_text(encoding="utf-8"))["cells"]
    return " ".join(" ".join("".join(cell["source"]).split()) for cell in cells if cell["cell_type"] == "markdown")


@pytest.mark.parametrize(
    ("chapter", "name", "other"),
    [
        ("07_a_network_that_sees_time.ipynb", "complex", "simple"),
        ("07_a_network_that_sees_time.ipynb", "simple, dropout", "simple"),
        ("07_a_network_that_sees_time.ipynb", "complex, dropout", "complex"),
        ("07_a_network_that_sees_time.ipynb", "complex, SGD", "complex"),
        ("07_a_network_that_sees_time.ipynb", "simple, batch norm", "simple"),
        ("07_a_network_that_sees_time.ipynb", "complex, batch norm", "complex"),
        ("07_a_network_that_sees_time.ipynb", "simple, two channels", "simple"),
        ("07_a_network_that_sees_time.ipynb", "complex, two channels", "complex"),
        ("07_a_network_that_sees_time.ipynb", "complex, PyTorch's weights", "complex"),
        ("08_what_you_optimise.ipynb", "complex, edge loss", "complex"),
        ("08_what_you_optimise.ipynb", "complex, perceptual loss", "complex"),
    ],
)
def test_the_text_says_the_differences_of_the_record(chapter, name, other):
    _, rows = tricks()
    ours, base = by_subject(rows, name), by_subject(rows, other)
    difference = f"{fmean(ours[who] - base[who] for who in base):+.2f}"
    assert difference.replace("-", "−") in markdown_of(chapter).replace("-", "−"), f"{name} − {other}: {difference} dB"
