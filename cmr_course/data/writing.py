"""Writing a CMRxRecon tree: the layout of any of the three years, one slice in memory at a time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Complex
from torch import Tensor

from cmr_course.data import matlab
from cmr_course.data.cmrxrecon import Case, info_rows
from cmr_course.data.files import fill_text, replacing_together
from cmr_course.data.layouts import MASK_KINDS, WITHOUT_TIME
from cmr_course.data.truth import require_own_truth
from cmr_course.sampling import Mask
from cmr_course.validate import is_number, require, require_axes, require_complex, require_finite, require_whole, say


def write_case(
    case: Case,
    slices: Iterable[Complex[Tensor, "frame coil ky kx"]],
    n_slices: int,
    *,
    mask: Mask | None = None,
    info: Mapping[str, str] | None = None,
    times: Sequence[Sequence[float]] | None = None,
) -> list[Path]:
    """Write the k-space `slices` to where `case` says, and what goes with them; returns the files, k-space last.

    mask: for an undersampled case; samples outside it are written as zero. Where all its frames agree it is stored as
    (kx, ky), else as (kx, ky, time). info: rows of ``*_info.csv`` (2024 and 2025), each of a name and a value, of one
    line without blanks at their ends. times: of a mapping file of 2023, the inversion or preparation times of each
    slice in ms, from zero up and rising, which that year keeps in a csv beside the data; a T2 map has one column for
    all slices.
    All files appear under their names only when all are written, k-space last, and whatever fails before leaves what
    was there. Tables of an earlier version of the same case go with it where `info` or `times` is not given; an info
    file that an undersampled case shares with others stays.
    Raises ValueError for what does not fit the case, and where its truth file is that of another split.
    """
    _check(case, slices, n_slices, mask)
    table = _info_table(case, info)
    _check_times(case, times, n_slices)
    require_own_truth(case)
    companions = [path for path, given in _companions(case, mask, info, times) if given]
    with replacing_together([*companions, case.path], _stale(case, companions)) as partials:
        names = dict(zip([*companions, case.path], partials, strict=True))
        with matlab.filling(names[case.path], case.path) as writer:
            frames, *size = _write_slices(writer, case, slices, n_slices, mask, times)
        if mask is not None and case.mask_path is not None:
            with matlab.filling(names[case.mask_path], case.mask_path) as writer:
                writer.save(case.mask_name, _mask_values(mask, (size[0], size[1])))
        if table:
            fill_text(names[case.info_paths()[0]], table)
        if times is not None:
            fill_text(names[_times_path(case)], _times_table(times, frames))
    return [*companions, case.path]


def _check(case: Case, slices: Iterable[Tensor], n_slices: int, mask: Mask | None) -> None:
    require(isinstance(case, Case), f"case: got {say(case)}, want a Case")
    require(isinstance(slices, Iterable), f"slices: got {say(slices)}, want tensors (frame, coil, ky, kx), one a slice")
    require_whole("n_slices", n_slices)
    require(mask is None or isinstance(mask, Mask), f"mask: got {say(mask)}, want a Mask or None")
    wanted = "none for a fully sampled case" if case.fully_sampled else "one for an undersampled case"
    require(case.fully_sampled == (mask is None), f"mask: got {say(mask)}, want {wanted}")


def _times_path(case: Case) -> Path:
    return case.path.with_name(f"{case.stem}.csv")


def _companions(
    case: Case,
    mask: Mask | None,
    info: Mapping[str, str] | None,
    times: Sequence[Sequence[float]] | None,
) -> list[tuple[Path, bool]]:
    """The files beside k-space that the case may have, and whether they are to be written."""
    found = [] if case.mask_path is None else [(case.mask_path, mask is not None)]
    return [*found, (case.info_paths()[0], bool(info)), (_times_path(case), times is not None)]


def _stale(case: Case, companions: Sequence[Path]) -> list[Path]:
    """Tables that would say of the new k-space what was said of the old: those of this case alone, not written anew.

    The info file of an undersampled case is also that of its other masks, or of the fully sampled one.
    """
    tables = [_times_path(case)] if case.year == 2023 and case.modality == "Mapping" else []
    tables += case.info_paths() if case.year > 2023 and case.fully_sampled else []
    return [path for path in dict.fromkeys(tables) if path not in companions]


def _write_slices(
    writer: matlab.Writer,
    case: Case,
    slices: Iterable[Tensor],
    n_slices: int,
    mask: Mask | None,
    times: Sequence[Sequence[float]] | None,
) -> tuple[int, int, int]:
    """Write `slices` one by one, `times` checked against the first; returns (frames, ky, kx)."""
    fill, shape, count = None, None, 0
    for kspace in slices:
        _check_slice(case, kspace, shape, mask)
        sampled = kspace if mask is None else kspace * mask.sampled[0].to(kspace.device)
        values = sampled.detach().cpu().numpy()
        values = values[:, 0] if case.single_coil else values
        timeless = case.modality in WITHOUT_TIME and len(values) == 1
        if fill is None:
            _check_frames(times, len(values))
            stored = (n_slices, *values.shape[1:]) if timeless else (len(values), n_slices, *values.shape[1:])
            fill, shape = writer.create(case.variable_names[0], stored, values.dtype.name), tuple(kspace.shape)
        require(count < n_slices, f"slices: got more than the {n_slices} that were announced")
        for time, frame in enumerate(values):
            fill((count,) if timeless else (time, count), frame)
        count += 1
    require(count == n_slices, f"slices: got {count}, want the {n_slices} that were announced")
    assert shape is not None  # at least one slice was written
    return shape[0], shape[-2], shape[-1]


def _check_slice(case: Case, kspace: Tensor, shape: tuple[int, ...] | None, mask: Mask | None) -> None:
    require_axes("slices", kspace, "frame coil ky kx")
    require_complex("slices", kspace)
    require_finite("slices", kspace)
    got = tuple(kspace.shape)
    require(shape in (None, got), f"slices: got shape {got} after {shape}, want all the same")
    require(not case.single_coil or got[1] == 1, f"slices: got {got[1]} coils, want 1 in a single-coil tree")
    if mask is not None:
        sizes = tuple(mask.sampled.shape)
        fits = sizes[0] == 1 and sizes[1] in (1, got[0]) and sizes[3] == got[2] and sizes[4] in (1, got[3])
        require(fits, f"mask: got shape {sizes}, want (1, 1 or {got[0]}, 1, {got[2]}, 1 or {got[3]})")
        require(
            mask.kind == MASK_KINDS[case.mask_kind],
            f"mask: got kind {mask.kind!r}, want {MASK_KINDS[case.mask_kind]!r} for {case.path.name}",
        )


def _mask_values(mask: Mask, size: tuple[int, int]) -> matlab.Array:
    """What is stored of `mask`, (ky, kx), or (frame, ky, kx) where its frames differ."""
    sampled = mask.sampled[0, :, 0].cpu().expand(-1, *size).numpy()
    constant = bool((sampled == sampled[:1]).all())
    return np.ascontiguousarray(sampled[0] if constant else sampled)


def _check_times(case: Case, times: Sequence[Sequence[float]] | None, n_slices: int) -> None:
    if times is None:
        return
    mapping = case.year == 2023 and case.modality == "Mapping"
    require(mapping, f"times: got {say(times)}, want none but for a mapping file of 2023; later years: info")
    columns = isinstance(times, list | tuple) and all(isinstance(column, list | tuple) for column in times)
    require(columns, f"times: got {say(times)}, want a list of columns, each a list of numbers of ms")
    wanted = 1 if case.stem == "T2map" else n_slices
    require(len(times) == wanted, f"times: got {len(times)} columns, want {wanted}, one a slice (T2map: one in all)")
    sound = all(is_number(time) and math.isfinite(time) for column in times for time in column)
    require(sound, f"times: got {say(times)}, want finite numbers of ms")
    for column in times:
        rising = all(time >= 0 for time in column) and all(a < b for a, b in pairwise(column))
        require(rising, f"times: got {say(column)} in a column, want ms from zero up, each above the one before")


def _check_frames(times: Sequence[Sequence[float]] | None, frames: int) -> None:
    for column in times or ():
        require(len(column) == frames, f"times: got {len(column)} in a column, want {frames}, one a weighting")


def _times_table(times: Sequence[Sequence[float]], frames: int) -> str:
    """The csv of 2023: a header row, a label column, then a column of times for each slice."""
    header = ["time_ms", *(f"Slice{number}" for number in range(1, len(times) + 1))]
    return _table([header, *([f"weighting{i}", *(repr(float(column[i])) for column in times)] for i in range(frames))])


def _info_table(case: Case, info: Mapping[str, str] | None) -> str:
    """The rows of `info` as the text of a csv, empty where there are none; ValueError for what does not come back."""
    require(info is None or isinstance(info, Mapping), f"info: got {say(info)}, want names and values, or None")
    if not info:
        return ""
    require(case.year > 2023, "info: got entries, want none in the 2023 layout, which has no place for them")
    wanted = "text of one line without blanks at its ends"
    for name, value in info.items():
        for said in (name, value):
            good = isinstance(said, str) and said.strip() == said and said.splitlines() == [said]
            require(good, f"info: got the row {say(name)}, {say(value)}, want {wanted}")
        text = _table([(name, value)])
        try:
            back = info_rows(io.StringIO(text.encode().decode("utf-8-sig"), newline=""))
        except (UnicodeError, csv.Error) as error:
            raise ValueError(f"info: got the row {say(name)}, {say(value)}, want {wanted} ({error})") from error
        require(
            back == {name: value}, f"info: got the row {say(name)}, {say(value)}, want {wanted} that a csv can hold"
        )
    return _table(info.items())


def _table(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
