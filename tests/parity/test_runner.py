"""The runner itself: a fixture cannot be passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity import check_cascade, check_dists, check_fourier, check_hypercmr, check_masks, check_metrics, runner  # noqa: F401  (they register)
from tests.parity.runner import Fixture, Pending, close, kind_of, run, torch

NOTHING = Pending({}, {})


def write(folder: Path, name: str, **arrays: object) -> Path:
    path = folder / name
    np.savez(path, config=json.dumps({"cases": []}), **{k.replace("__", "/"): np.asarray(v) for k, v in arrays.items()})
    return path


def test_the_longest_kind_wins():
    names = {
        "promptmr_b.npz": "promptmr",
        "promptmr_default_statedict.json": "promptmr_default_statedict",
        "crunet_small.npz": "crunet",
        "crunet_ssimloss_2.npz": "crunet_ssimloss",
        "crnn_small.npz": "crnn",
        "dncn3d_c.npz": "dncn3d",
        "masks_ktUniform_odd.npz": "masks_ktUniform",
        "novelty.npz": None,
    }
    assert {name: kind_of(Path(name)) for name in names} == names


def test_an_unknown_kind_is_a_failure(tmp_path):
    with pytest.raises(AssertionError, match=r"novelty\.npz: no known kind"):
        run(write(tmp_path, "novelty.npz"), NOTHING, {})


def test_a_kind_without_check_must_be_listed_and_one_with_a_check_must_not(tmp_path):
    path = write(tmp_path, "cab_b.npz")
    with pytest.raises(AssertionError, match="kind cab has no check and is not in"):
        run(path, NOTHING, {})
    assert run(path, Pending({"cab": "issue 8"}, {}), {}) == "cab is pending: issue 8"
    with pytest.raises(AssertionError, match="cab has a check and is in pending"):
        run(path, Pending({"cab": "issue 8"}, {}), {"cab": lambda fixture: None})


def test_an_output_must_be_compared_or_listed_and_not_both(tmp_path):
    path = write(tmp_path, "cab_b.npz", out__a=1.0, out__b=2.0, in__x=3.0)

    def only_a(fixture: Fixture) -> None:
        close("a", 1.0, fixture["out/a"].float(), 1e-6)

    with pytest.raises(AssertionError, match=r"1 outputs neither compared nor in pending\.toml: out/b"):
        run(path, NOTHING, {"cab": only_a})
    assert isinstance(run(path, Pending({}, {"cab": {"out/b": "later"}}), {"cab": only_a}), Fixture)
    with pytest.raises(AssertionError, match=r"compared, yet in pending\.toml: out/a"):
        run(path, Pending({}, {"cab": {"out/*": "later"}}), {"cab": only_a})


def test_what_is_listed_is_known_and_says_what_removes_it():
    pending = Pending.read()
    assert set(pending.kinds) <= set(runner.KINDS)
    assert set(pending.parts) <= set(runner.CHECKS)
    reasons = [*pending.kinds.values(), *(reason for parts in pending.parts.values() for reason in parts.values())]
    assert all(reason.startswith("issue ") for reason in reasons)


def test_the_named_folder_comes_first_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("CMR_COURSE_FIXTURES", str(tmp_path))
    write(tmp_path, "cab.npz")
    (tmp_path / "MANIFEST.md").write_text("no fixture")
    assert [path.name for path in runner.files(runner.folder())] == ["cab.npz"]
    monkeypatch.setenv("CMR_COURSE_FIXTURES", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="want a folder that exists"):
        runner.folder()


def test_without_a_name_the_shared_folder_comes_before_the_committed_one(tmp_path, monkeypatch):
    monkeypatch.delenv("CMR_COURSE_FIXTURES", raising=False)
    monkeypatch.setattr(runner, "ROOT", tmp_path / "course")
    assert runner.folder() is None
    assert runner.files(None) == []
    committed, shared = tmp_path / "course" / "tests" / "fixtures", tmp_path / "shared" / "fixtures"
    committed.mkdir(parents=True)
    assert runner.folder() == committed
    shared.mkdir(parents=True)
    assert runner.folder() == shared


def test_close_is_relative_to_the_largest_value():
    wanted = torch.tensor([0.0, 100.0])
    close("x", torch.tensor([0.0009, 100.0]), wanted, 1e-5)
    with pytest.raises(AssertionError, match=r"x: relative error 2\.00e-05"):
        close("x", torch.tensor([0.002, 100.0]), wanted, 1e-5)
    with pytest.raises(AssertionError, match="x: got shape"):
        close("x", torch.zeros(1), wanted, 1e-5)
    with pytest.raises(AssertionError, match="x: relative error nan"):
        close("x", torch.tensor([torch.nan, 100.0]), wanted, 1e-5)


def test_the_summary_counts_files_and_names_what_was_excepted_or_skipped():
    lines = runner.summary(
        [
            {"kind": "cab", "file": "cab.npz", "outcome": "passed", "cases": 3, "excepted": ["c1: odd and odd"]},
            {"kind": "cab", "file": "cab_b.npz", "outcome": "failed"},
            {"kind": "dists", "file": "dists.npz", "outcome": "skipped", "reason": "pending: issue 4"},
        ]
    )
    assert lines == [
        "cab: 1 files ran (3 cases), 1 failed, 0 skipped",
        "dists: 0 files ran (0 cases), 0 failed, 1 skipped",
        "excepted in cab.npz: c1: odd and odd",
        "skipped dists.npz: pending: issue 4",
    ]
