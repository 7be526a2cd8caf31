"""Every fixture that is found agrees with the course, or is listed in pending.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity import (  # noqa: F401  (they register)
    check_cascade,
    check_dists,
    check_fourier,
    check_hypercmr,
    check_masks,
    check_metrics,
    check_promptmr,
    check_recurrent,
    runner,
)

FOLDER = runner.folder()
FILES = runner.files(FOLDER)


@pytest.mark.skipif(not FILES, reason="no fixtures in CMR_COURSE_FIXTURES, ../shared/fixtures or tests/fixtures")
@pytest.mark.parametrize("path", FILES or [Path("none")], ids=lambda path: path.name)
def test_fixture(path: Path, record_property: pytest.RecordProperty) -> None:
    record = {"kind": runner.kind_of(path) or "unknown", "file": path.name}
    record_property("parity", record)
    outcome = runner.run(path, runner.Pending.read())
    if isinstance(outcome, str):
        record["reason"] = outcome
        pytest.skip(outcome)
    record |= {"cases": outcome.ran, "excepted": outcome.excepted}
    assert outcome.ran or outcome.excepted, f"{path.name}: the file holds no case"
