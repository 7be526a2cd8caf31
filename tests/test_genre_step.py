"""The record of what a step of GENRE-CMR's generator costs holds what the course promises of it."""

from __future__ import annotations

import json

import pytest

from tools.environment import ROOT

RECORD = ROOT / "results" / "genre_step.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_sixteen_steps_fit_where_each_is_made_again(record):
    assert record["data"].startswith("16 steps of widths first 24")
    assert "5 frames, 10 coils, ky x kx 96 x 128" in record["data"]
    added = record["added_MiB"]
    assert added["recomputed"] <= 6 * 1024
    assert added["recomputed"] < added["kept"]
    assert record["of_which_weights_and_gradients_MiB"] < added["recomputed"]


def test_deep_supervision_costs_little(record):
    seconds = record["seconds"]
    assert seconds["every"] / seconds["last"] == pytest.approx(seconds["ratios"]["every"], abs=2e-3)
    assert seconds["ratios"]["every"] <= 1.25
