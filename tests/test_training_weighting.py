"""Weights by the coefficient of variation: by hand, together one, and the same after a state was carried over."""

from __future__ import annotations

import json
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.training import CoVWeighting

NAMES = ("fidelity", "edge_region", "alignment")


def fed(*values: tuple[float, ...], names=NAMES) -> CoVWeighting:
    weighting = CoVWeighting(names)
    for each in values:
        weighting.update(dict(zip(names, each, strict=True)))
    return weighting


def test_weights_are_those_of_a_hand_calculation():
    """Two losses, three iterations, written out.

    a: 4, 2, 3. Ratios: 1; 2/4 = 1/2; 3/((4 + 2)/2) = 1. Their mean 5/6, variance (1 + 1/4 + 1)/3 − 25/36 = 1/18.
    b: 1, 2, 3. Ratios: 1; 2/1 = 2; 3/((1 + 2)/2) = 2. Their mean 5/3, variance (1 + 4 + 4)/3 − 25/9 = 2/9.
    σ/mean: √(1/18)·6/5 = 0.282843 and √(2/9)·3/5 = 0.282843: one half each. A fourth iteration, of 3 and 8:
    a: 3/3 = 1: ratios 1, 1/2, 1, 1: mean 7/8, variance 13/16 − 49/64 = 3/64.
    b: 8/2 = 4: ratios 1, 2, 2, 4: mean 9/4, variance 25/4 − 81/16 = 19/16.
    σ/mean: 0.247436 and 0.484322: shares 0.338139 and 0.661861.
    """
    names = ("a", "b")
    weighting = fed((4, 1), (2, 2), (3, 3), names=names)
    assert weighting.weights() == pytest.approx({"a": 0.5, "b": 0.5})
    weighting.update({"b": 8, "a": 3})
    a, b = (3 / 64) ** 0.5 * 8 / 7, (19 / 16) ** 0.5 * 4 / 9
    assert (a, b) == pytest.approx((0.247436, 0.484322), abs=1e-6)
    assert weighting.weights() == pytest.approx({"a": a / (a + b), "b": b / (a + b)})
    assert weighting.weights()["b"] == pytest.approx(0.661861, abs=1e-6)


@given(
    values=st.lists(
        st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=2, max_size=20
    ),
    unit=st.floats(1e-6, 1e6),
)
def test_they_are_the_shares_of_the_coefficients_of_variation_and_no_unit_counts(values, unit):
    """Against Python's own mean and population deviation of the ratios."""
    coefficients = []
    for losses in zip(*values, strict=True):
        ratios = [1.0, *(one / statistics.fmean(losses[:t]) for t, one in enumerate(losses) if t)]
        coefficients.append(statistics.pstdev(ratios) / statistics.fmean(ratios))
    whole = sum(coefficients)
    found = fed(*values).weights()
    assert sum(found.values()) == pytest.approx(1)
    if whole > 1e-6:
        assert list(found.values()) == pytest.approx([one / whole for one in coefficients], abs=1e-6)
        scaled = fed(*((unit * a, b, c) for a, b, c in values)).weights()
        assert scaled == pytest.approx(found, abs=1e-6)


def test_they_are_uniform_until_two_iterations_are_known_and_follow_from_there():
    third = dict.fromkeys(NAMES, 1 / 3)
    assert fed().weights() == pytest.approx(third)
    assert fed((1, 5, 0.2)).weights() == pytest.approx(third)
    two = fed((1, 5, 0.2), (1, 4, 0.8)).weights()
    assert two["fidelity"] == 0
    assert two["alignment"] > two["edge_region"] > 0


def test_losses_that_do_not_vary_weigh_the_same():
    assert fed(*([(1.0, 2.0, 3.0)] * 5)).weights() == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


def test_a_loss_that_varies_more_weighs_more_whatever_its_size(generator):
    wobble = torch.rand(40, generator=generator, dtype=torch.float64)
    found = fed(*((1 + 0.1 * float(w), 1e4 * (1 + 0.4 * float(w)), 1e-6 * (1 + 0.2 * float(w))) for w in wobble))
    weights = found.weights()
    assert weights["edge_region"] > weights["alignment"] > weights["fidelity"]


def test_a_loss_that_is_zero_at_first_begins_when_it_is_not():
    """As alignment does, which waits for a second domain: its zeros are no past to which anything has a ratio."""
    start = [(1.0, 3.0, 0.0), (2.0, 3.5, 0.0), (1.5, 2.0, 0.0)]
    weights = fed(*start).weights()
    assert weights["alignment"] == pytest.approx(1 / 3)
    without = fed(*(each[:2] for each in start), names=NAMES[:2]).weights()
    assert weights["fidelity"] == pytest.approx(2 / 3 * without["fidelity"])
    later = fed(*start, (1.2, 2.2, 5.0))
    assert later.weights()["alignment"] == pytest.approx(1 / 3)
    later.update(dict(zip(NAMES, (1.2, 2.2, 6.0), strict=True)))
    assert sum(later.weights().values()) == pytest.approx(1)
    assert later.running["alignment"].variation == pytest.approx(0.1 / 1.1)  # ratios 1 and 6/5
    later.update(dict.fromkeys(NAMES, 0.0))  # once it has begun, a zero counts
    assert later.running["alignment"].count == 3


def test_a_loss_that_is_next_to_nothing_at_first_is_no_past_either():
    weighting = fed((1.0, 5e-324, 1e-29), (1.5, 1.0, 1e6), (1.0, 2.0, 1.0))
    assert weighting.running["edge_region"].count == 2
    assert sum(weighting.weights().values()) == pytest.approx(1)


def test_weights_do_not_change_between_updates_and_are_copies():
    weighting = fed((1, 2, 3), (2, 2, 4))
    first = weighting.weights()
    first["fidelity"] = 7.0
    assert weighting.weights() != first
    assert weighting.weights() == weighting.weights()


def test_a_state_goes_on_to_the_digit():
    values = [(1.0, 3.0, 0.0), (2.0, 3.5, 0.3), (1.5, 2.0, 0.7), (1.1, 2.5, 0.1)]
    whole, part, other = fed(*values), fed(*values[:2]), CoVWeighting(NAMES)
    state = json.loads(json.dumps(part.state_dict()))  # plain numbers: any file can hold them
    other.load_state_dict(state)
    for each in values[2:]:
        other.update(dict(zip(NAMES, each, strict=True)))
    assert other.weights() == whole.weights()
    assert other.state_dict() == whole.state_dict()
    assert part.state_dict() == state


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ({"a": float("nan"), "b": 1.0}, "losses: got nan for a, want a finite number of 0 or more"),
        ({"a": 1.0, "b": -0.1}, "losses: got -0.1 for b"),
        ({"a": 1.0, "b": float("inf")}, "losses: got inf for b"),
        ({"a": 1.0, "b": None}, "losses: got None for b"),
        ({"a": 1.0}, "losses: got a, want a, b"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "losses: got a, b, c, want a, b"),
        ({}, "losses: got none, want a, b"),
        ([1.0, 2.0], r"losses: got \[1.0, 2.0\], want a, b"),
    ],
)
def test_bad_losses_are_named_and_nothing_is_counted(losses, said):
    weighting = fed((1, 2), names=("a", "b"))
    before = weighting.state_dict()
    with pytest.raises(ValueError, match=said):
        weighting.update(losses)
    assert weighting.state_dict() == before


@pytest.mark.bad_input
def test_bad_names_and_states_are_named():
    for names in ((), ("a", "a"), "ab", [1]):
        with pytest.raises(ValueError, match=r"names: got .*, want names of losses, each once"):
            CoVWeighting(names)
    weighting = CoVWeighting(["a"])
    good = weighting.state_dict()["a"]
    for state, said in (
        ({"b": good}, "state: got b, want a"),
        (None, "state: got None, want a"),
        ({"a": {"count": 1}}, "state of a: got .*, want finite count, mean, ratio, squares of 0 or more"),
        ({"a": good | {"mean": float("nan")}}, "state of a: got"),
        ({"a": good | {"count": 1.5}}, "state of a: got"),
        ({"a": 3}, "state of a: got 3"),
    ):
        with pytest.raises(ValueError, match=said):
            weighting.load_state_dict(state)
