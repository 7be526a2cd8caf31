"""The checks of chapter 4: right answers pass, each common mistake is named."""

from __future__ import annotations

import random

import pytest
import torch

from cmr_course import checks
from cmr_course.checks import files


def phase_axis(sampled):
    gaps = [bool((~sampled).all(axis).any()) for axis in (-1, -2)]
    return -2 if gaps[0] else -1


def mask_axes(mask):
    return mask.permute(2, 1, 0)[None, :, None]


def split(subjects, held_out, seed, *, names=sorted, draw=None):
    known = names(set(subjects))
    order = draw(known, seed) if draw else torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))
    chosen = {known[int(i)] for i in order[:held_out]}
    sides = [name in chosen for name in subjects]
    return [i for i, side in enumerate(sides) if not side], [i for i, side in enumerate(sides) if side]


RIGHT = {
    files.check_phase_axis: phase_axis,
    files.check_mask_axes: mask_axes,
    files.check_subject_split: split,
}
each_check = pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)


@each_check
def test_right_answers_pass(check, capsys):
    check(RIGHT[check])
    assert capsys.readouterr().out.startswith("✓")


@each_check
def test_what_is_no_answer_is_said_in_words_and_a_blank_shows_its_hint(check):
    def blank(*_):
        raise NotImplementedError("the hint")

    with pytest.raises(NotImplementedError, match="the hint"):
        check(blank)
    for says, function in {"returned nothing": lambda *_: None, "ZeroDivisionError": lambda *_: 1 / 0}.items():
        with pytest.raises(checks.CheckError, match=says):
            check(function)


def test_other_right_answers_pass():
    """Right is what is asked for, however it is written."""
    files.check_phase_axis(lambda m: torch.tensor(-1) if bool((m == m[..., :1, :]).all()) else torch.tensor(-2))
    files.check_mask_axes(lambda m: m.mT.movedim(1, 0).mT.reshape(1, m.shape[2], 1, m.shape[1], m.shape[0]))
    with_python = lambda known, seed: random.Random(seed).sample(range(len(known)), len(known))  # noqa: E731
    files.check_subject_split(lambda *inputs: split(*inputs, draw=with_python))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda m: -2, "which axis has gaps"),
        (lambda m: -1, "which axis has gaps"),
        (lambda m: -2 if m.shape[-2] <= m.shape[-1] else -1, "which axis has gaps"),
        (lambda m: -1 if m.shape[-2] > m.shape[-1] else -2, "which axis has gaps"),
        (lambda m: phase_axis(m) + m.ndim, "count from the end"),
        (lambda m: "ky", "want the number of an axis"),
    ],
)
def test_wrong_axes(function, says):
    with pytest.raises(checks.CheckError, match=says):
        files.check_phase_axis(function)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda m: m.reshape(1, m.shape[2], 1, m.shape[1], m.shape[0]), "without turning the axes"),
        (lambda m: m, "kx first"),
        (lambda m: m[None, None], "kx first"),
        (lambda m: mask_axes(m).mT, "readout before the phase encoding"),
        (lambda m: mask_axes(m)[:, :, 0], "one axis of length one for coils"),
        (lambda m: mask_axes(m)[0, :, 0], "one axis of length one for coils"),
        (lambda m: mask_axes(m).movedim(1, 2), "one axis of length one for coils"),
        (lambda m: mask_axes(m).float(), "torch.bool"),
        (lambda m: mask_axes(m)[:, :1], "of another frame"),
        (lambda m: mask_axes(m)[:, :-1], "does not broadcast"),
        (lambda m: mask_axes(m)[None].roll(1, -1), "axes, not five"),
    ],
)
def test_wrong_masks(function, says):
    with pytest.raises(checks.CheckError, match=says):
        files.check_mask_axes(function)


def test_a_square_matrix_shows_swapped_axes():
    """Where ky and kx are equally long, a mask with both swapped has the right shape and the wrong values."""

    def swapped(mask):
        square = mask.shape[0] == mask.shape[1]
        return mask_axes(mask).mT if square else mask_axes(mask)

    with pytest.raises(checks.CheckError, match="only the values show it"):
        files.check_mask_axes(swapped)


def test_as_many_frames_as_coils_do_not_hide_a_mask_on_the_wrong_axis():
    def on_coils(mask):
        right = mask_axes(mask)
        return right.movedim(1, 2) if mask.shape == (5, 5, 3) else right

    with pytest.raises(checks.CheckError, match="one axis of length one for coils"):
        files.check_mask_axes(on_coils)


def by_sample(subjects, held_out, seed):
    order = torch.randperm(len(subjects), generator=torch.Generator().manual_seed(seed)).tolist()
    share = round(held_out / len(set(subjects)) * len(subjects))
    return order[share:], order[:share]


def unseeded(known, seed):
    return torch.randperm(len(known))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (by_sample, "that is the leak"),
        (lambda *inputs: split(*inputs, draw=unseeded), "when it is called again"),
        (lambda *inputs: split(*inputs, names=lambda s: list(dict.fromkeys(inputs[0]))), "in another order"),
        (lambda *inputs: split(*inputs, draw=lambda known, seed: range(len(known))), "for every seed"),
        (lambda s, held_out, seed: split(s, 1 if held_out > 1 else 2, seed), "count subjects, not samples"),
        (lambda *inputs: (split(*inputs)[0][1:], split(*inputs)[1]), "leaves out 1 of"),
        (lambda *inputs: ([], []), "leaves out"),
        (lambda *inputs: split(*inputs)[0], "two lists of indices"),
        (lambda *inputs: (inputs[0], []), "indices of samples"),
    ],
)
def test_wrong_splits(function, says):
    with pytest.raises(checks.CheckError, match=says):
        files.check_subject_split(function)


def test_the_split_check_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    files.check_subject_split(split)
    assert torch.equal(torch.get_rng_state(), before)
