"""Results: one row for each score, with everything that tells it from another, kept as JSON lines."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from cmr_course.validate import is_number, is_whole, require, say

MAPS = ("", "espirit", "known", "wrong", "learned")
REGIONS = ("full", "heart", "dynamic", "static")
NOT_IN_KEY = ("value", "reference", "commit", "seconds", "peak_memory")
DECIMALS = {
    "psnr": 2,
    "T1 bias": 1,
    "T2 bias": 2,
    "relative T1 bias": 2,
    "T1rho bias": 2,
    "relative T2 bias": 2,
    "relative T1rho bias": 2,
    "peak velocity error": 1,
}
"""Digits after the point in tables; four for any other metric."""
UNITS = {
    "T1 bias": "ms",
    "T2 bias": "ms",
    "T1rho bias": "ms",
    "relative T1 bias": "%",
    "relative T2 bias": "%",
    "relative T1rho bias": "%",
    "peak velocity error": "cm/s",
}
"""Units that :func:`format_table` says along with a metric's name."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One score. Text is empty and numbers are None where a column does not apply.

    frame: None for a whole series. value: None where the method is undefined for this cell. reference: what was scored
    against. matrix: ``kyxkx``, such as ``128x128``. maps, region: one of :data:`MAPS`, :data:`REGIONS`.
    seconds, peak_memory (MB): what the reconstruction took.
    """

    method: str
    checkpoint: str = ""
    seed: int | None = None
    subject: str = ""
    slice: int | None = None
    view: str = ""
    contrast: str = ""
    domain: str = ""
    matrix: str = ""
    coils: int | None = None
    snr_db: float | None = None
    maps: str = ""
    perturbation: str = ""
    mask: str = ""
    nominal_R: float | None = None  # noqa: N815
    realised_R: float | None = None  # noqa: N815
    frame: int | None = None
    region: str = "full"
    metric: str
    value: float | None
    reference: str = ""
    simulation_version: str = ""
    commit: str = ""
    seconds: float | None = None
    peak_memory: float | None = None

    def __post_init__(self) -> None:
        require(bool(self.method), "method: got an empty name, want the method that was scored")
        require(bool(self.metric), "metric: got an empty name, want the metric of the value")
        require(self.maps in MAPS, f"maps: got {self.maps!r}, want one of {', '.join(MAPS[1:])}, or nothing")
        require(self.region in REGIONS, f"region: got {self.region!r}, want one of {', '.join(REGIONS)}")
        number = not (isinstance(self.value, float) and math.isnan(self.value))
        require(number, "value: got NaN, want a number, or None where the method is undefined")
        for column in fields(self):
            value = getattr(self, column.name)
            if column.type == "str":
                require(isinstance(value, str), f"{column.name}: got {say(value)}, want text")
            elif column.type == "int | None":
                good = value is None or is_whole(value)
                require(good, f"{column.name}: got {say(value)}, want a whole number, or None")
            else:
                # PSNR is infinite where nothing differs; no other number of a row may be.
                good = value is None or (is_number(value) and (column.name == "value" or math.isfinite(value)))
                require(good, f"{column.name}: got {say(value)}, want a finite number, or None")

    @property
    def key(self) -> tuple[Any, ...]:
        """What a re-run replaces: every column but value, reference, commit, seconds and peak memory."""
        return tuple(getattr(self, name) for name in COLUMNS if name not in NOT_IN_KEY)


COLUMNS = tuple(field.name for field in fields(Result))
"""The columns of a results file, in order."""
ALWAYS = ("method", "metric", "value")
"""The columns that a row of a results file never leaves out."""
UNSAID = {field.name: field.default for field in fields(Result)}
"""What a column holds where a results file says nothing of it."""
SHARED = "shared"
"""The only name in the first line of a results file, with the columns that are the same in all of its rows."""


def results_of(
    scores: Mapping[str, Float[Tensor, "batch frame"]] | Mapping[tuple[str, str], Float[Tensor, "batch frame"]],
    shared: Mapping[str, Any],
    *,
    item: int = 0,
    frames: bool = False,
) -> list[Result]:
    """Rows of one series: for each metric, in each region, the mean over its frames, and with `frames` each frame too.

    scores: what :func:`evaluate` returns, by metric or by (metric, region); `item` is the place of the series in the
    batch. shared: the other columns, by name.
    """
    rows = []
    for key, values in scores.items():
        about: dict[str, Any] = {"metric": key} if isinstance(key, str) else {"metric": key[0], "region": key[1]}
        series = Result(value=float(values[item].mean()), **about, **shared)
        rows.append(series)
        if frames:
            rows += [replace(series, frame=t, value=value) for t, value in enumerate(values[item].tolist())]
    return rows


def merged(*groups: Iterable[Result]) -> list[Result]:
    """All rows; one with the key of an earlier row takes its place. ValueError for mixed simulation versions."""
    by_key = {row.key: row for group in groups for row in group}
    versions = sorted({row.simulation_version for row in by_key.values()} - {""})
    mixed = ", ".join(versions)
    require(len(versions) <= 1, f"simulation_version: got {mixed} in one set of results, want a single version")
    return list(by_key.values())


def write_results(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write JSON lines, one row a line after one of what they share; the file appears whole or not at all.

    The first line is ``{"shared": {…}}``, if there is anything to say in it; a row leaves those columns out.
    """
    rows = [_as_json(row) for row in merged(results)]
    shared = _shared(rows)
    lines = [{SHARED: shared}] if shared else []
    lines += [{name: value for name, value in row.items() if name not in shared} for row in rows]
    _write_whole(Path(path), "".join(map(_line, lines)))


def _shared(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all rows say, and say alike; what none of them says is :data:`UNSAID`."""
    first = rows[0] if rows else {}
    candidates = {name: value for name, value in first.items() if name not in ALWAYS}
    return {name: v for name, v in candidates.items() if all(name in row and row[name] == v for row in rows)}


def _line(columns: Mapping[str, Any]) -> str:
    """JSON without a blank too many: there are thousands of rows."""
    return json.dumps(columns, allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def append_results(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Add rows to a file of JSON lines, which need not exist; a row with the key of one that is there replaces it."""
    present = read_results(path) if Path(path).exists() else []
    write_results(path, merged(present, results))


def read_results(path: str | os.PathLike[str]) -> list[Result]:
    """Read JSON lines, with or without a first line of what they share; ValueError names file and line of what is no
    result.
    """
    rows, shared = list[Result](), dict[str, Any]()
    # Not splitlines: text may hold other line ends than the one that parts rows, such as U+2028.
    lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            columns = _columns(json.loads(line))
            if number == 1 and set(columns) == {SHARED}:
                shared = _columns(columns[SHARED])
            else:
                rows.append(_from_json(shared | columns))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return merged(rows)


def write_csv(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write a table with one row a result and the columns of :data:`COLUMNS`; empty where a column is None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in merged(results))
    _write_whole(Path(path), text.getvalue())


def format_table(results: Iterable[Result]) -> str:
    """Means in plain text: a line for each method, mask and acceleration (nominal and realised), a column a metric.

    Rows of single frames are left out where the series has a row of its own. `n` counts the series of the mean; an
    undefined value is left out of it and shown as "undefined" where nothing else is there.
    """
    rows = merged(results)
    series = {replace(row, frame=None).key for row in rows if row.frame is None}
    rows = [row for row in rows if row.frame is None or replace(row, frame=None).key not in series]
    metrics = list(dict.fromkeys(_heading(row) for row in rows))
    groups: dict[tuple[str, str, float | None], list[Result]] = {}
    for row in rows:
        groups.setdefault((row.method, row.mask, row.nominal_R), []).append(row)
    table = [["method", "mask", "R nominal", "R realised", "n", *metrics]]
    for (method, mask, nominal), members in groups.items():
        realised = [row.realised_R for row in members if row.realised_R is not None]
        by_metric = [[row for row in members if _heading(row) == metric] for metric in metrics]
        table.append(
            [
                method,
                mask,
                "" if nominal is None else f"{nominal:g}",
                f"{sum(realised) / len(realised):.2f}" if realised else "",
                str(max(len(column) for column in by_metric)),
                *(_mean_cell(column) for column in by_metric),
            ]
        )
    return aligned(table)


def _heading(row: Result) -> str:
    name = f"{row.metric} [{UNITS[row.metric]}]" if row.metric in UNITS else row.metric
    return name if row.region == "full" else f"{name} ({row.region})"


def _mean_cell(rows: Sequence[Result]) -> str:
    if not rows:
        return ""
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return "undefined"
    return f"{sum(values) / len(values):.{DECIMALS.get(rows[0].metric, 4)}f}"


def aligned(table: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: text to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if place < 2 else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in table)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _as_json(row: Result) -> dict[str, Any]:
    """A row by column, those that do not apply left out: a results file is committed, and stays small.

    JSON has no infinity, which the PSNR of identical images is, so it is written as text.
    """
    numbers = {name: int(value) if is_whole(value) else value for name, value in asdict(row).items()}  # numpy's too
    numbers = {name: float(v) if is_number(v) and not is_whole(v) else v for name, v in numbers.items()}
    used = {name: v for name, v in numbers.items() if name in ALWAYS or v != UNSAID[name]}
    return {name: str(v) if isinstance(v, float) and math.isinf(v) else v for name, v in used.items()}


def _columns(found: Any) -> dict[str, Any]:
    require(isinstance(found, dict), f"got {type(found).__name__}, want an object with the columns of a result")
    return dict(found)


def _from_json(columns: dict[str, Any]) -> Result:
    unknown, missing = sorted(set(columns) - set(COLUMNS)), [name for name in ALWAYS if name not in columns]
    require(not unknown, f"got unknown columns {', '.join(unknown)}, want those of a result")
    require(not missing, f"got no columns {', '.join(missing)}, want them in every result")
    if columns["value"] in ("inf", "-inf"):
        columns = columns | {"value": float(columns["value"])}
    return Result(**columns)


def _write_whole(path: Path, text: str) -> None:
    """Write under a temporary name beside `path`, then move into place; an OSError names `path`."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
