"""Writing a CMRxRecon tree: the layout of any of the three years, one slice in memory at a time."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Complex
from torch import Tensor

from cmr_course.data import matlab
from cmr_course.data.cmrxrecon import Case
from cmr_course.data.files import write_text
from cmr_course.data.layouts import MASK_KINDS, WITHOUT_TIME
from cmr_course.sampling import Mask
from cmr_course.validate import is_number, require, require_axes, require_complex, require_finite, say


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
    (kx, ky), else as (kx, ky, time). info: rows of ``*_info.csv`` (2024 and 2025). times: of a mapping file of 2023,
    the inversion or preparation times of each slice in ms, which that year keeps in a csv beside the data; a T2 map has
    one column for all slices.
    The k-space file appears under its name only when all is written, so that a case is whole or not there.
    """
    require(n_slices > 0, f"n_slices: got {n_slices}, want one or more")
    wanted = "none for a fully sampled case" if case.fully_sampled else "one for an undersampled case"
    require(case.fully_sampled == (mask is None), f"mask: got {mask}, want {wanted}")
    require(
        not info or case.year > 2023, "info: got entries, want none in the 2023 layout, which has no place for them"
    )
    _check_times(case, times, n_slices)
    written: list[Path] = []
    try:
        with matlab.writing(case.path) as writer:
            frames, *size = _write_slices(writer, case, slices, n_slices, mask)
            if mask is not None:
                written.append(_write_mask(case, mask, (size[0], size[1])))
            if info:
                written.append(_write_info(case, info))
            if times is not None:
                written.append(_write_times(case, times, frames))
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return [*written, case.path]


def _write_slices(
    writer: matlab.Writer, case: Case, slices: Iterable[Tensor], n_slices: int, mask: Mask | None
) -> tuple[int, int, int]:
    """Write `slices` one by one; returns (frames, ky, kx)."""
    fill, shape, count = None, None, 0
    for kspace in slices:
        _check_slice(case, kspace, shape, mask)
        sampled = kspace if mask is None else kspace * mask.sampled[0].to(kspace.device)
        values = sampled.detach().cpu().numpy()
        values = values[:, 0] if case.single_coil else values
        timeless = case.modality in WITHOUT_TIME and len(values) == 1
        if fill is None:
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


def _write_mask(case: Case, mask: Mask, size: tuple[int, int]) -> Path:
    path = case.mask_path
    assert path is not None  # an undersampled case has one
    sampled = mask.sampled[0, :, 0].cpu().expand(-1, *size).numpy()
    constant = bool((sampled == sampled[:1]).all())
    matlab.save(path, {case.mask_name: np.ascontiguousarray(sampled[0] if constant else sampled)})
    return path


def _check_times(case: Case, times: Sequence[Sequence[float]] | None, n_slices: int) -> None:
    if times is None:
        return
    mapping = case.year == 2023 and case.modality == "Mapping"
    require(mapping, f"times: got {say(times)}, want none but for a mapping file of 2023; later years: info")
    wanted = 1 if case.stem == "T2map" else n_slices
    require(len(times) == wanted, f"times: got {len(times)} columns, want {wanted}, one a slice (T2map: one in all)")
    sound = all(is_number(time) and math.isfinite(time) for column in times for time in column)
    require(sound, f"times: got {say(times)}, want finite numbers of ms")


def _write_times(case: Case, times: Sequence[Sequence[float]], frames: int) -> Path:
    """Write the csv of 2023: a header row, a label column, then a column of times for each slice."""
    for column in times:
        require(len(column) == frames, f"times: got {len(column)} in a column, want {frames}, one a weighting")
    path = case.path.with_name(f"{case.stem}.csv")
    header = ["time_ms", *(f"Slice{number}" for number in range(1, len(times) + 1))]
    rows = [[f"weighting{i}", *(repr(float(column[i])) for column in times)] for i in range(frames)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())
    return path


def _write_info(case: Case, info: Mapping[str, str]) -> Path:
    path = case.info_paths()[0]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(info.items())
    write_text(path, text.getvalue())
    return path
