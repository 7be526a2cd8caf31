"""The record of what a step of PromptMR costs holds what the course promises of it."""

from __future__ import annotations

import json

import pytest

from tools.environment import ROOT

RECORD = ROOT / "results" / "promptmr_step.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_a_step_takes_at_most_two_thirds_of_a_plain_one(record):
    seconds = record["seconds"]
    assert record["threads"] == 2
    assert seconds["ours"] / seconds["plain"] == pytest.approx(seconds["ratios"]["ours"], abs=2e-3)
    assert seconds["ratios"]["ours"] <= 0.65
    assert seconds["ratios"]["recomputed"] <= 1.35


def test_recomputing_saves_memory_and_cascades_add_little_but_their_weights(record):
    added, weights = record["added_MiB"], record["of_which_weights_and_gradients_MiB"]
    assert added["recomputed, 2 cascades"] <= 0.6 * added["plain, 2 cascades"]
    few, many = (added[f"recomputed, {n} cascades"] - weights[f"{n} cascades"] for n in (2, 12))
    assert many <= 1.3 * few
    few, many = (added[f"recomputed, {n} cascades, 204 x 448"] for n in (2, 12))
    assert many <= 1.3 * few, "at the size of a scan weights and gradients, which stay, are the smaller part"
    assert added["plus, 2 cascades"] < added["ours, 2 cascades"], "the image-domain form keeps less"
