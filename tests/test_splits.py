"""Subjects are told apart by seed, and no training code sees a test subject."""

from __future__ import annotations

import pytest

from cmr_course.splits import SPLITS, refuse_test_seed, require_training_seed, split_of


def test_the_borders_are_those_of_the_decisions():
    borders = {0: "training", 9_999: "training", 10_000: "validation", 19_999: "validation", 20_000: "test"}
    assert {seed: split_of(seed) for seed in borders} == borders
    assert split_of(20_019) == "test"


def test_no_seed_belongs_to_two_splits():
    seeds = [seed for split in SPLITS.values() for seed in split]
    assert len(seeds) == len(set(seeds)) == 20_020


@pytest.mark.bad_input
@pytest.mark.parametrize("seed", [-1, 20_020, 0.5, True, "7"])
def test_a_seed_outside_the_splits_is_refused(seed):
    with pytest.raises(ValueError, match=r"^seed: got .* want a whole number in 0 to 9999"):
        split_of(seed)


def test_training_refuses_what_is_held_out():
    assert require_training_seed(9_999) == refuse_test_seed(9_999) == 9_999
    assert refuse_test_seed(10_000) == 10_000
    for held_out in (10_000, 20_000):
        with pytest.raises(ValueError, match=f"got {held_out}, a (validation|test) subject"):
            require_training_seed(held_out)
    with pytest.raises(ValueError, match="got 20019, a test subject"):
        refuse_test_seed(20_019)
