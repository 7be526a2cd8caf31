"""The record of what CRNN-MRI's public weights make of each intensity, and the same computed again where they are."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks.crnn_intensity import FIXTURE, SCALES, scores
from cmr_course import simulation
from tests.parity.runner import folder
from tools.environment import ROOT

RECORD = ROOT / "results" / "crnn_intensity.json"
WHERE = folder()
FOUND = WHERE / FIXTURE if WHERE and (WHERE / FIXTURE).exists() else None


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_is_whole(record):
    assert re.fullmatch(r"[0-9a-f]{10}", record["commit"])
    assert record["simulation_version"] == simulation.VERSION
    for found in record["series"].values():
        assert list(found["after_each_iteration"]) == [f"{scale:g}" for scale in SCALES]
        assert {len(values) for values in found["after_each_iteration"].values()} == {5}


def test_what_the_public_weights_make_hangs_on_the_intensity(record):
    """The published mistake, of weights that are given out without their scale: one number decides on help or harm."""
    for name, found in record["series"].items():
        last = {float(scale): values[-1] for scale, values in found["after_each_iteration"].items()}
        best = max(last, key=last.__getitem__)
        assert 1 < best < 20
        assert last[best] > found["zero_filled"] + 3
        assert last[0.1] < found["zero_filled"] - 5, "worse than doing nothing"
        assert last[1.0] < last[best]
        assert (last[1.0] < found["zero_filled"]) == (name == "ring")


@pytest.mark.skipif(
    FOUND is None, reason=f"{FIXTURE} is not in CMR_COURSE_FIXTURES, ../shared/fixtures or tests/fixtures"
)
def test_the_public_weights_give_the_record_again(record):
    assert FOUND is not None
    again = scores(FOUND, (1.0, 4.0))
    for name, found in again.items():
        held = record["series"][name]
        assert found["zero_filled"] == pytest.approx(held["zero_filled"], abs=0.02)
        for scale, values in found["after_each_iteration"].items():
            assert values == pytest.approx(held["after_each_iteration"][scale], abs=0.05)
