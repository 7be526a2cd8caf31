"""Committed Results: complete, of one simulator, small, and what the code of today still computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmr_course import simulation
from cmr_course.benchmark import DESIGNS, Design, committed, design, missing, run, select, subset
from cmr_course.benchmark.runner import METRICS, REGIONS
from cmr_course.metrics import Result, read_results
from tests.conftest import data_folder

FOLDER = Path(__file__).resolve().parents[1] / "results"
TOLERANCE = {"psnr": 0.05, "ssim": 0.002, "nmse": 0.002}
"""By how much another machine may differ: sums in float32 in another order, and iterations that stop a step apart."""
real_data = pytest.mark.skipif(
    len(list(data_folder().glob("*.npz"))) < 3,
    reason="fewer than three real series: CMR_COURSE_DATA, or ../shared/data",
)


def scored_as(chosen: Design) -> dict[str, tuple[str, ...]]:
    return {"metrics": chosen.metrics, "regions": chosen.regions}


@pytest.mark.parametrize("name", DESIGNS)
def test_a_record_holds_every_cell_of_its_design_and_nothing_else(name):
    chosen, rows = design(name), committed(name)
    assert missing(chosen.cells, chosen.methods, rows, **scored_as(chosen)) == []
    assert len(rows) == len(chosen.cells) * len(chosen.methods) * len(chosen.metrics) * len(chosen.regions)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_record_is_of_todays_simulator_and_says_where_it_comes_from(name):
    rows = committed(name)
    assert {row.simulation_version for row in rows} == {simulation.VERSION}
    assert all(row.frame is None for row in rows)
    assert all(row.commit and not row.commit.endswith("-dirty") for row in rows)
    assert all(row.value is None or row.seconds for row in rows)


def test_records_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4e6
    for path in FOLDER.glob("*.jsonl"):
        rows = read_results(path)
        assert all(row.frame is None for row in rows), "committed records hold series, no frames"
        assert path.read_text(encoding="utf-8").startswith('{"shared":'), "what all rows share is said once"


def assert_same(rows: list[Result], record: list[Result]) -> None:
    before = {row.key: row.value for row in record}
    assert rows
    for row in rows:
        if row.value is None:
            assert before[row.key] is None
        else:
            assert row.value == pytest.approx(before[row.key], abs=TOLERANCE[row.metric]), row


@pytest.mark.parametrize("name", [name for name in DESIGNS if not design(name).needs_real])
def test_a_cell_of_each_record_is_what_the_code_computes_today(name):
    chosen = design(name)
    methods = [method for method in chosen.methods if method not in ("kt-sparse-sense", "low-rank-sparse")]
    assert_same(run(chosen.cells[-1:], methods, **scored_as(chosen)), committed(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=real_data if design(n).needs_real else ()) for n in DESIGNS])
def test_a_record_is_what_the_code_computes_today(name):
    chosen = design(name)
    rows = run(chosen.cells, chosen.methods, workers=2, folder=data_folder(), **scored_as(chosen))
    assert_same(rows, committed(name))


def test_a_subset_has_the_cells_of_its_subjects_only():
    some = subset(design("classical"), [20_000])
    assert len(some.cells) == 12
    assert len(select(committed("classical"), subject="20000")) == 12 * len(some.methods) * len(METRICS) * len(REGIONS)
    with pytest.raises(ValueError, match="subjects: got"):
        subset(design("classical"), [1])
    with pytest.raises(
        ValueError,
        match="design: got 'best', want one of anchor, factors, learned, chambers, classical, robustness, real",
    ):
        design("best")
