"""Weights that come with the course: small, of today's simulator, with a provenance and a line in the ledger."""

from __future__ import annotations

import re

import pytest
import torch

from cmr_course import simulation, weights
from cmr_course.benchmark import NETWORKS, PRAISED, committed, select
from cmr_course.benchmark.designs import REAL_SERIES
from cmr_course.metrics import bootstrap_interval
from cmr_course.training import Recipe
from tools.environment import ROOT

LEDGER = (weights.FOLDER / "LEDGER.md").read_text(encoding="utf-8")
ALL_BYTES = 16 * 2**20


def test_the_benchmark_has_every_network_with_weights():
    assert set(NETWORKS) == set(weights.names())


def test_weights_are_small_together():
    assert sum(path.stat().st_size for path in weights.FOLDER.glob("*.safetensors")) <= ALL_BYTES


@pytest.mark.parametrize("name", weights.names())
def test_weights_say_where_they_come_from(name):
    told = weights.provenance(name)
    assert (weights.FOLDER / f"{name}.safetensors").stat().st_size <= weights.LARGEST
    assert told.simulation == simulation.VERSION
    assert re.fullmatch(r"[0-9a-f]{10}", told.commit), "made from a commit, not from changed files"
    assert told.hours > 0
    assert told.device
    assert told.scores["psnr"] > 20
    recipe = Recipe.of(told.recipe)
    assert (recipe.network.name, recipe.seed) == (told.network["name"], told.seed)
    assert told.step <= recipe.steps


def ahead(rows: list, name: str, region: str) -> dict[str, float]:
    """By subject, how many dB of PSNR the network is above low rank plus sparse."""
    scores = {
        method: {row.subject: row.value for row in select(rows, method=method, metric="psnr", region=region)}
        for method in (name, "low-rank-sparse")
    }
    assert scores[name].keys() == scores["low-rank-sparse"].keys()
    return {subject: value - scores["low-rank-sparse"][subject] for subject, value in scores[name].items()}


WHERE = [(name, mask, region) for name, places in PRAISED.items() for mask, region in places]


@pytest.mark.parametrize("matrix", ["128x128", "192x192"])
@pytest.mark.parametrize(("name", "mask", "region"), WHERE)
def test_what_is_praised_beats_low_rank_plus_sparse_on_test_subjects(name, mask, matrix, region):
    found = ahead(select(committed("learned"), mask=mask, matrix=matrix), name, region)
    assert len(found) == 10
    interval = bootstrap_interval(list(found.values()), generator=torch.Generator().manual_seed(0))
    assert interval.low > 0, found


@pytest.mark.parametrize(("name", "mask", "region"), WHERE)
def test_and_in_four_chambers(name, mask, region):
    found = ahead(select(committed("chambers"), mask=mask), name, region)
    assert len(found) == 10
    interval = bootstrap_interval(list(found.values()), generator=torch.Generator().manual_seed(0))
    assert interval.low > 0, found


@pytest.mark.parametrize(("name", "mask", "region"), WHERE)
def test_and_on_each_real_series(name, mask, region):
    found = ahead(select(committed("real"), mask=mask, nominal_R=8.0), name, region)
    assert set(found) == set(REAL_SERIES)
    assert min(found.values()) > 0, found


@pytest.mark.parametrize("matrix", ["128x128", "192x192"])
def test_crunet_with_attention_beats_low_rank_plus_sparse_in_the_short_axis_where_lines_stand_still(matrix):
    """Not in four chambers, nor on each real series, so that it is not praised; the ledger has the numbers."""
    found = ahead(select(committed("learned"), mask="uniform", matrix=matrix), "crunet-ca", "full")
    assert len(found) == 10
    interval = bootstrap_interval(list(found.values()), generator=torch.Generator().manual_seed(0))
    assert interval.low > 0, found
    assert "crunet-ca" not in PRAISED


@pytest.mark.parametrize("name", weights.names())
def test_the_ledger_has_a_line_for_them_and_the_recipe_is_there(name):
    (line,) = [line for line in LEDGER.splitlines() if line.startswith(f"| `{name}` |")]
    path = re.search(r"notebooks/training/\S+\.course\.yaml", line)
    assert path
    committed_recipe, told = Recipe.load(ROOT / path[0]), weights.provenance(name)
    assert committed_recipe.network.name == told.network["name"]
    assert committed_recipe.plain()["data"] == Recipe.of(told.recipe).plain()["data"]
