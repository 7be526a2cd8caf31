"""Records of studies and timings: complete, from a commit, of today's simulator, and what the recipes say today."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
import yaml

from cmr_course import simulation
from cmr_course.metrics import read_results
from cmr_course.splits import TEST
from cmr_course.training import Recipe
from tools.environment import ROOT

RESULTS = ROOT / "results"
TRAINING = ROOT / "notebooks" / "training"
DEPTHS = ("1, no consistency", "1", "2", "3")
COMMIT = re.compile(r"[0-9a-f]{10}")


def test_the_study_of_depth_is_whole():
    asked = yaml.safe_load((TRAINING / "depth" / "course.yaml").read_text(encoding="utf-8"))
    recipe, rows = Recipe.of(asked["recipe"]), read_results(RESULTS / "depth.jsonl")
    counted = Counter((row.method, row.seed, row.metric, row.region) for row in rows)
    regions, metrics = {row.region for row in rows}, {row.metric for row in rows}
    assert {"full"} <= regions
    assert metrics == {"psnr", "ssim"}
    assert len(counted) == len(DEPTHS) * len(asked["seeds"]) * len(regions) * len(metrics)
    assert set(counted.values()) == {asked["subjects"]}
    assert {row.subject for row in rows} == {str(seed) for seed in TEST[: asked["subjects"]]}
    assert {row.simulation_version for row in rows} == {simulation.VERSION}
    assert all(COMMIT.fullmatch(row.commit) for row in rows)
    ky, kx = recipe.data.matrices[0]
    assert {(row.matrix, row.coils, row.mask, row.nominal_R) for row in rows} == {
        (f"{ky}x{kx}", 1, recipe.data.masks.kinds[0], recipe.data.masks.acceleration[0])
    }


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
