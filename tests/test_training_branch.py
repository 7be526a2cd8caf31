"""A training that branches off another one: the same up to there, and nothing but the losses differs afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cmr_course.training import Checkpoint, Network, branch, fit, read_log, release
from cmr_course.weights import load_file, provenance
from tests.test_training_fit import CHECK, TINY, equal, trained, weights

OTHER = replace(TINY, name="other", losses={"mse": 1.0})


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """TINY up to its step 4, and on to its end."""
    folder = tmp_path_factory.mktemp("trunk")
    trained(TINY, folder, until=4)
    (folder / "four.pt").write_bytes((folder / "last.pt").read_bytes())
    return folder / "four.pt", trained(TINY, folder)


def test_a_branch_with_the_same_losses_is_the_training_itself(trunk, tmp_path):
    branch(trunk[0], TINY, tmp_path)
    assert equal(trained(TINY, tmp_path), trunk[1])


def test_another_loss_leads_elsewhere_from_the_same_place(trunk, tmp_path):
    begun = branch(trunk[0], OTHER, tmp_path)
    there = Checkpoint.load(trunk[0])
    assert equal(dict(begun.weights), dict(there.weights))
    assert (begun.step, begun.best, begun.branched) == (4, None, "tiny at step 4")
    found = trained(OTHER, tmp_path)
    assert not equal(found, trunk[1])
    log = read_log(tmp_path / "log.jsonl")
    assert all(entry["step"] > 4 for entry in log)
    assert {"mse", "loss"} <= log[0].keys()
    release(tmp_path, tmp_path / "other.safetensors", which="last")
    assert provenance(tmp_path / "other.safetensors").branched == "tiny at step 4"
    assert equal(weights(load_file(tmp_path / "other.safetensors")), found)


def test_a_branch_of_a_branch_tells_where_the_first_began(trunk, tmp_path):
    branch(trunk[0], OTHER, tmp_path / "one")
    trained(OTHER, tmp_path / "one", until=6)
    told = branch(tmp_path / "one" / "last.pt", replace(OTHER, name="third"), tmp_path / "two").branched
    assert told == "tiny at step 4, other at step 6"


@pytest.mark.bad_input
def test_what_may_not_differ_is_named(trunk, tmp_path):
    wider = replace(TINY, network=Network("cascade", dict(TINY.network.settings) | {"filters": 6}), batch=2)
    with pytest.raises(ValueError, match=r"recipe: got another network, batch than .*four\.pt was trained with"):
        branch(trunk[0], wider, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(FileExistsError, match="a training is there, want a folder without one"):
        branch(trunk[0], OTHER, trunk[0].parent)
    with pytest.raises(FileNotFoundError):
        branch(tmp_path / "none.pt", OTHER, tmp_path / "new")


def test_validation_may_differ(trunk, tmp_path):
    branch(trunk[0], replace(TINY, validation=replace(CHECK, every=2)), tmp_path)
    with pytest.raises(ValueError, match="holds a training with another name, losses"):
        fit(OTHER, tmp_path)
