"""The record of what CRUNet-MR and its feature bank cost holds what the course promises of them."""

from __future__ import annotations

import json

import pytest
import torch

from cmr_course.networks import CRUNetMR
from tools.environment import ROOT

RECORD = ROOT / "results" / "recurrent_step.json"
BANKS = ("conv", "channel_attention")


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("threads", "forward", "step"), [("2 threads", 0.7, 0.7), ("1 thread", 0.85, 1.0)])
def test_ours_takes_less_than_frame_after_frame(record, threads, forward, step):
    for what, limit in (("forward", forward), ("step", step)):
        seconds = record["seconds"][threads][what]
        assert seconds["ours"] / seconds["plain"] == pytest.approx(seconds["ratios"]["ours"], abs=2e-3)
        assert seconds["ratios"]["ours"] <= limit


@pytest.mark.parametrize("threads", ["1 thread", "2 threads"])
@pytest.mark.parametrize("size", ["bank", "bank at full size"])
@pytest.mark.parametrize("what", ["forward", "step"])
def test_a_bank_takes_little_time(record, threads, size, what):
    seconds = record["seconds"][threads][f"{size}, {what}"]
    for fusion in BANKS:
        assert seconds[fusion] / seconds["last"] == pytest.approx(seconds["ratios"][fusion], abs=2e-3)
        assert seconds["ratios"][fusion] <= 1.25


def test_a_bank_has_few_parameters(record):
    numbers = record["parameters"]
    with torch.device("meta"):
        networks = {fusion: CRUNetMR(5, 64, fusion=fusion) for fusion in ("last", *BANKS)}
    assert numbers == {name: sum(p.numel() for p in one.parameters()) for name, one in networks.items()}
    assert numbers["last"] == 4_788_810 - 250_880, "published, less what the released model never uses"
    assert all(numbers[fusion] <= 1.2 * numbers["last"] for fusion in BANKS)


def test_memory_is_linear_in_frames(record):
    """Twice as many frames more, twice as much more: 2 where memory is c + a · frames, 4 where it is c + a · frames².

    The difference of two peaks takes c away, which is libraries, weights and scratch.
    """
    four, eight, sixteen = (record["added_MiB"][f"ours, 3 cascades, {frames} frames"] for frames in (4, 8, 16))
    assert 1.6 <= (sixteen - eight) / (eight - four) <= 2.4


def test_with_recomputing_cascades_add_little(record):
    added = record["added_MiB"]
    assert added["recomputed, 5 cascades, 8 frames"] <= 1.3 * added["recomputed, 2 cascades, 8 frames"]
