"""Checks of files: which axis is phase encoding, a k-t mask in the right axes, a split by subject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from cmr_course.checks.asking import call, fail, passed, source
from cmr_course.validate import is_whole

Mask = Bool[Tensor, "*frame row column"]
Split = Callable[[Sequence[str], int, int], tuple[Sequence[int], Sequence[int]]]


def check_phase_axis(function: Callable[[Mask], int]) -> None:
    """f(sampled (…, row, column)) → the axis along which lines are left out, −2 or −1.

    The mask is one of whole lines, with or without frames, of any size; how its axes are ordered is to be found out.

    Raises:
        CheckError: what it goes by instead.
    """
    generator = source(41)
    for frames, lines, points in (((), 12, 20), ((), 20, 12), ((), 15, 15), ((3,), 16, 9), ((5,), 9, 16)):
        share = torch.rand((*frames, lines), generator=generator) < 0.3
        share[..., 0], share[..., 1], share[..., lines // 2] = True, False, True
        first = share[..., None].expand(*frames, lines, points).contiguous()
        for sampled, wanted in ((first, -2), (first.mT.contiguous(), -1)):
            got = call(function, sampled)
            got = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
            if not is_whole(got):
                raise fail(function, f"returned a {type(got).__name__}, want the number of an axis, −2 or −1")
            if got == wanted:
                continue
            if got not in (-2, -1):
                raise fail(function, f"returns axis {got}; count from the end, −2 or −1, so that frames do not matter")
            size = tuple(sampled.shape)
            raise fail(function, f"takes the readout for the phase encoding (mask {size}): which axis has gaps in it?")
    passed("finds the axis that has gaps, whatever its length and with frames too")


def check_mask_axes(function: Callable[[Bool[Tensor, "kx ky time"]], Bool[Tensor, "1 time 1 ky kx"]]) -> None:
    """f(mask (kx, ky, time), as MATLAB says its size) → (1, time, 1, ky, kx), which broadcasts to the course's k-space.

    Sizes are chosen so that a wrong order is not found out by its shape alone: as many frames as coils or slices, a
    square matrix.

    Raises:
        CheckError: which axes are mixed.
    """
    generator = source(42)
    for kx, ky, time, coils, slices in ((6, 5, 4, 3, 2), (5, 5, 3, 3, 3), (4, 4, 4, 4, 1), (7, 3, 1, 2, 2)):
        mask = torch.rand((kx, ky, time), generator=generator) < 0.5
        mask[0, :2], mask[-1, 0] = torch.tensor([True, False])[:, None], True
        result = call(function, mask)
        wanted = mask.permute(2, 1, 0)[None, :, None]
        if not isinstance(result, Tensor) or result.dtype != torch.bool:
            what = str(result.dtype) if isinstance(result, Tensor) else type(result).__name__
            raise fail(function, f"returned {what}, want a tensor of torch.bool")
        if result.shape == wanted.shape and torch.equal(result, wanted):
            continue
        raise fail(function, _mask_mistake(result, mask, wanted, (slices, time, coils, ky, kx)))
    passed("every frame, every coil and every slice meets its own line")


def _mask_mistake(result: Tensor, mask: Tensor, wanted: Tensor, kspace: Sequence[int]) -> str:
    """What is wrong with `result`, in words."""
    same = result.numel() == mask.numel()
    if same and result.shape == wanted.shape and torch.equal(result.flatten(), mask.flatten()):
        return "reshapes without turning the axes: that deals the values out anew, line by line; permute first"
    if same and torch.equal(result.squeeze(), mask.squeeze()):
        return "leaves the axes as MATLAB counts them, kx first; here kx is the last one"
    if same and result.shape[-2:] != wanted.shape[-2:] and _equal(result.squeeze().mT, wanted.squeeze()):
        return "has the readout before the phase encoding; the last two axes are ky, kx"
    if same and _equal(result.flatten(), wanted.mT.flatten()):
        return "swaps the readout and the phase encoding: on a square matrix only the values show it"
    if same and _equal(result.flatten(), wanted.flatten()):
        return f"returned shape {tuple(result.shape)}, want {tuple(wanted.shape)}: one axis of length one for coils"
    try:
        broadcast = torch.broadcast_shapes(result.shape, tuple(kspace))
    except RuntimeError:
        return f"returned shape {tuple(result.shape)}, which does not broadcast to k-space {tuple(kspace)}"
    if broadcast != tuple(kspace):
        return f"returned shape {tuple(result.shape)}; k-space times it would have {len(broadcast)} axes, not five"
    return f"returned shape {tuple(result.shape)} with lines of another frame, coil or slice; want (1, time, 1, ky, kx)"


def _equal(one: Tensor, other: Tensor) -> bool:
    """The same sizes and values."""
    return one.shape == other.shape and torch.equal(one, other)


def check_subject_split(function: Split) -> None:
    """f(subjects, held_out, seed) → (training, test): indices of samples, all of `held_out` subjects in the second.

    subjects: of each sample the name of the subject, in any order. Which subjects are held out follows from the names
    and `seed`: not from the order of the samples, how many a subject has, or a global random state.

    Raises:
        CheckError: what it does instead.
    """
    generator = source(43)
    for n_subjects, most, held_out in ((6, 4, 2), (9, 3, 1), (5, 6, 3)):
        names = [f"P{number:03d}" for number in range(1, n_subjects + 1)]
        counts = torch.randint(1, most + 1, (n_subjects,), generator=generator).tolist()
        counts[0] = most + 5  # one subject with many samples
        ordered = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
        mixed = torch.randperm(len(ordered), generator=generator).tolist()
        samples = [ordered[index] for index in mixed]
        test = _held_out(function, samples, held_out, 7)
        if _held_out(function, samples, held_out, 7, disturb=True) != test:
            raise fail(function, "splits otherwise when it is called again: draw from a generator made from the seed")
        if _held_out(function, ordered, held_out, 7) != test:
            raise fail(function, "splits otherwise when the samples come in another order: sort the names first")
    split = [_held_out(function, [f"P{number:03d}" for number in range(20)], 5, seed) for seed in range(8)]
    if len({frozenset(names) for names in split}) == 1:
        raise fail(function, "holds out the same subjects for every seed; the seed is to choose them")
    passed("no subject on both sides, and the same split for the same seed")


def _held_out(function: Split, samples: Sequence[str], held_out: int, seed: int, *, disturb: bool = False) -> set[str]:
    """The names of the held-out subjects, after a look whether the split is one."""
    state = torch.get_rng_state()
    if disturb:
        torch.manual_seed(90_210 + seed)
    try:
        training, test = _parts(function, call(function, list(samples), held_out, seed))
    finally:
        torch.set_rng_state(state)
    everything = sorted([*training, *test])
    if everything != list(range(len(samples))):
        missing = len(set(range(len(samples))) - set(everything))
        raise fail(function, f"leaves out {missing} of {len(samples)} samples, or names some twice; each has one side")
    both = {samples[i] for i in training} & {samples[i] for i in test}
    if both:
        raise fail(function, f"has samples of {sorted(both)[0]} on both sides: that is the leak; split the names")
    found = {samples[i] for i in test}
    if len(found) != held_out:
        raise fail(function, f"holds out {len(found)} subjects, want {held_out}: count subjects, not samples")
    return found


def _parts(function: Split, result: Any) -> tuple[list[int], list[int]]:
    """The two lists of indices that a reader's function returned."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise fail(function, "did not return two lists of indices; end with return training, test")
    try:
        first, second = ([int(index) for index in part] for part in result)
    except (TypeError, ValueError) as problem:
        raise fail(function, "returned something other than whole numbers; return indices of samples") from problem
    return first, second
