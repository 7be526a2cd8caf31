"""Scores mean what they say, agree with scikit-image, and are kept and read back unharmed."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from cmr_course.acquisition import Reconstruction, Truth
from cmr_course.metrics import (
    COLUMNS,
    Result,
    append_results,
    evaluate,
    format_table,
    nmse,
    psnr,
    read_results,
    results_of,
    ssim,
    write_csv,
    write_results,
)

shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(7, 24), st.integers(7, 24))


def pair(shape: tuple[int, ...], seed: int = 1, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand(shape, dtype=torch.float64, generator=generator)
    noise = 0.1 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return scale * (reference + noise), scale * reference


@given(shape=shapes, seed=st.integers(0, 999), scale=st.sampled_from([3.7e-4, 1.0, 900.0]))
def test_each_frame_has_the_scores_of_scikit_image(shape, seed, scale):
    prediction, reference = pair(shape, seed, scale)
    scores = evaluate(prediction, reference)
    for b in range(shape[0]):
        peak = float(reference[b].max())  # of the series
        for t in range(shape[1]):
            p, r = prediction[b, t].numpy(), reference[b, t].numpy()
            oracle = {
                "psnr": peak_signal_noise_ratio(r, p, data_range=peak),
                "ssim": structural_similarity(r, p, data_range=peak),
                "nmse": normalized_root_mse(r, p) ** 2,
            }
            assert {name: float(values[b, t]) for name, values in scores.items()} == pytest.approx(oracle, rel=1e-9)


def test_identical_series_are_perfect():
    _, reference = pair((2, 3, 16, 16))
    assert nmse(reference, reference).eq(0).all()
    assert psnr(reference, reference).isposinf().all()
    torch.testing.assert_close(ssim(reference, reference), torch.ones(2, 3, dtype=torch.float64))


def test_scores_are_blind_to_the_unit_but_not_to_a_wrong_gain():
    prediction, reference = pair((1, 3, 16, 16))
    for metric in (nmse, psnr, ssim):
        torch.testing.assert_close(metric(7 * prediction, 7 * reference), metric(prediction, reference))
    torch.testing.assert_close(nmse(1.2 * reference, reference), torch.full((1, 3), 0.04, dtype=torch.float64))
    assert (ssim(1.2 * reference, reference) < 1).all()


def test_the_peak_is_that_of_the_series_and_of_no_other_batch_item():
    prediction, reference = pair((2, 2, 16, 16))
    brighter = reference.clone()
    brighter[0, 1, 0, 0] = 10.0
    change = psnr(prediction, brighter) - psnr(prediction, reference)
    gain = 20 * math.log10(10 / float(reference[0].max()))
    assert float(change[0, 0]) == pytest.approx(gain)  # frame 0 follows the peak of frame 1
    assert change[1].eq(0).all()


def test_evaluate_takes_records_complex_and_real_series():
    prediction, reference = pair((1, 2, 12, 12))
    phase = torch.polar(torch.ones_like(prediction), torch.linspace(0, 3, 12, dtype=torch.float64).expand(12, 12))
    wanted = evaluate(prediction.abs(), reference)
    for got in (
        evaluate(Reconstruction(prediction * phase), Truth(reference * phase.conj())),
        evaluate(prediction * phase, reference * phase),
    ):
        assert set(got) == {"nmse", "psnr", "ssim"}
        for name, values in got.items():
            torch.testing.assert_close(values, wanted[name], rtol=1e-9, atol=0)
    assert evaluate(prediction.float(), reference.float())["psnr"].dtype == torch.float64


SERIES = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))
NAN, DARK_FRAME = SERIES.clone(), SERIES.clone()
NAN[0, 0, 0, 0] = torch.nan
DARK_FRAME[0, 1] = 0
BAD_SERIES = {
    "prediction: got 1 values that are NaN": (NAN, SERIES),
    "reference: got 1 values that are NaN": (SERIES, NAN),
    r"prediction: got shape \(1, 1, 8, 8\)": (SERIES[:, :1], SERIES),
    "prediction: got 3 axes": (SERIES[0], SERIES),
    "prediction: got complex": (SERIES.to(torch.complex64), SERIES),
    "reference: got 1 (series|frames)": (SERIES[:, :1], torch.zeros(1, 1, 8, 8)),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("message", BAD_SERIES)
@pytest.mark.parametrize("metric", [nmse, psnr, ssim])
def test_bad_series_are_named(metric, message):
    with pytest.raises(ValueError, match=message):
        metric(*BAD_SERIES[message])


@pytest.mark.bad_input
def test_a_dark_frame_has_no_nmse_and_a_small_one_no_ssim():
    with pytest.raises(ValueError, match="reference: got 1 frames that are zero everywhere"):
        nmse(SERIES, DARK_FRAME)
    assert psnr(SERIES + 0.1, DARK_FRAME).isfinite().all()  # the series still has a peak
    with pytest.raises(ValueError, match="reference: got 6 pixels along an axis"):
        ssim(SERIES[..., :6], SERIES[..., :6])


def row(**columns: object) -> Result:
    settings = {"mask": "uniform", "nominal_R": 4.0, "realised_R": 3.1, "simulation_version": "0.1"}
    return Result(**({"method": "cg-sense", "metric": "psnr", "value": 31.5} | settings | columns))  # type: ignore[arg-type]


def test_the_columns_are_those_of_the_decisions():
    listed = (
        "method, checkpoint, seed, subject, slice, view, contrast, domain, matrix, coils, snr_db, maps, perturbation, "
        "mask, nominal_R, realised_R, frame, region, metric, value, reference, simulation_version, commit, seconds, "
        "peak_memory"
    )
    assert ", ".join(COLUMNS) == listed


def test_rows_are_read_back_as_they_were_written(tmp_path):
    rows = [row(), row(metric="ssim", value=0.9), row(frame=3, value=math.inf), row(method="grappa", value=None)]
    write_results(tmp_path / "scores.jsonl", rows)
    assert read_results(tmp_path / "scores.jsonl") == rows
    first, *lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    shared = {"mask": "uniform", "nominal_R": 4.0, "realised_R": 3.1, "simulation_version": "0.1"}
    assert json.loads(first) == {"shared": shared}
    for line, kept in zip(lines, rows, strict=True):
        columns = json.loads(line)
        assert list(columns) == [name for name in COLUMNS if name in columns]  # in their order
        assert {"method", "metric", "value"} <= set(columns)
        assert not set(shared) & set(columns)
        unsaid = set(COLUMNS) - set(columns) - set(shared)
        assert all(getattr(kept, name) in (None, "", "full") for name in unsaid)
    assert "Infinity" not in lines[2]  # strict JSON has no such number
    assert [path.name for path in tmp_path.iterdir()] == ["scores.jsonl"]


def test_a_file_without_a_line_of_what_rows_share_is_read_and_added_to(tmp_path):
    """As files were written before, and as anybody may write them."""
    path = tmp_path / "scores.jsonl"
    lines = [{"method": name, "mask": "uniform", "metric": "psnr", "value": 1.0} for name in ("a", "b")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [Result(method=name, mask="uniform", metric="psnr", value=1.0) for name in ("a", "b")]
    assert read_results(path) == rows
    append_results(path, [row(method="c")])
    assert read_results(path) == [*rows, row(method="c")]


@given(
    st.lists(
        st.builds(
            row,
            method=st.sampled_from("ab"),
            subject=st.sampled_from(["", "1", "shared"]),
            seed=st.sampled_from([None, 0, 1]),
            mask=st.sampled_from(["", "uniform"]),
            nominal_R=st.sampled_from([None, 4, 4.5]),
            region=st.sampled_from(["full", "heart"]),
            value=st.none() | st.floats(allow_nan=False),
            commit=st.sampled_from(["", "abc"]),
        ),
        max_size=8,
        unique_by=lambda one: one.key,
    ),
    st.integers(0, 8),
)
def test_what_a_column_holds_does_not_depend_on_what_rows_share(tmp_path_factory, rows, cut):
    """A column that one row leaves empty is none that all share; a file in two parts is the one written whole."""
    folder = tmp_path_factory.mktemp("shared")
    write_results(folder / "whole.jsonl", rows)
    assert read_results(folder / "whole.jsonl") == rows
    append_results(folder / "parts.jsonl", rows[:cut])
    append_results(folder / "parts.jsonl", rows[cut:])
    assert (folder / "parts.jsonl").read_bytes() == (folder / "whole.jsonl").read_bytes()


def test_a_rerun_replaces_and_everything_else_is_added(tmp_path):
    path = tmp_path / "scores.jsonl"
    append_results(path, [row(), row(subject="7")])
    rerun = row(value=32.0, reference="truth", commit="abc", seconds=1.5, peak_memory=12.0)
    append_results(path, [rerun, row(maps="known")])
    assert read_results(path) == [rerun, row(subject="7"), row(maps="known")]


@pytest.mark.parametrize("column", COLUMNS)
def test_the_key_is_every_column_but_what_a_rerun_changes(column):
    changes = {"maps": "wrong", "region": "heart"}
    other = "other" if isinstance(getattr(row(), column), str) else 5
    changed = replace(row(), **{column: changes.get(column, other)})
    assert (changed.key == row().key) == (column in {"value", "reference", "commit", "seconds", "peak_memory"})


def test_a_csv_holds_the_same_table(tmp_path):
    write_csv(tmp_path / "scores.csv", [row(subject='a "b", c'), row(frame=0, value=None)])
    with (tmp_path / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(COLUMNS)
    assert table[0]["subject"] == 'a "b", c'
    assert table[0]["value"] == "31.5"
    assert (table[1]["frame"], table[1]["value"]) == ("0", "")


def test_results_of_a_series_are_its_means_and_if_wanted_its_frames():
    scores = {"psnr": torch.tensor([[30.0, 32.0], [10.0, 20.0]]), "ssim": torch.tensor([[0.5, 0.7], [0.1, 0.2]])}
    rows = results_of(scores, {"method": "zero-filled", "subject": "s"}, item=1)
    assert [(r.metric, r.frame, r.subject) for r in rows] == [("psnr", None, "s"), ("ssim", None, "s")]
    assert rows[0].value == pytest.approx(15)
    frames = results_of(scores, {"method": "zero-filled"}, frames=True)
    assert [(r.metric, r.frame) for r in frames] == [(m, f) for m in ("psnr", "ssim") for f in (None, 0, 1)]
    assert frames[2].value == 32


def test_the_table_shows_means_of_series_with_both_accelerations():
    rows = [
        row(subject="1", value=30.0),
        row(subject="1", frame=0, value=99.0),  # its series has a row of its own
        row(subject="2", value=31.0),
        row(subject="1", metric="ssim", value=0.91234),
        row(method="grappa", value=None),
        row(method="only frames", frame=0, value=20.0, realised_R=None),
        row(region="heart", value=25.0),
    ]
    lines = format_table(rows).splitlines()
    assert " ".join(lines[0].split()) == "method mask R nominal R realised n psnr ssim psnr (heart)"
    assert lines[2].split() == ["cg-sense", "uniform", "4", "3.10", "2", "30.50", "0.9123", "25.00"]
    assert lines[3].split() == ["grappa", "uniform", "4", "3.10", "1", "undefined"]
    assert lines[4].split() == ["only", "frames", "uniform", "4", "1", "20.00"]


def test_mixed_simulation_versions_are_refused(tmp_path):
    path = tmp_path / "scores.jsonl"
    write_results(path, [row(), row(method="a", simulation_version="")])  # real data name none
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"simulation_version: got 0\.1, 0\.2 in one set of results"):
        append_results(path, [row(method="b", simulation_version="0.2")])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "scores.jsonl, line 3: "),
        ("[1]", "line 3: got list, want an object"),
        ('{"method": "a"}', "line 3: got no columns metric, value"),
        ('{"shared": {"mask": "uniform"}}', "line 3: got unknown columns shared"),  # two files in one
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, text, message):
    path = tmp_path / "scores.jsonl"
    write_results(path, [row()])
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(ValueError, match=message):
        read_results(path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"maps": "guessed"}, "maps: got 'guessed', want one of espirit, known, wrong, learned"),
        ({"region": "liver"}, "region: got 'liver'"),
        ({"value": math.nan}, "value: got NaN"),
        ({"method": ""}, "method: got an empty name"),
        ({"metric": ""}, "metric: got an empty name"),
    ],
)
def test_a_row_that_cannot_be_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        row(**columns)


def test_nothing_is_left_behind_when_writing_fails(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_results(tmp_path / "scores.jsonl", [row(subject="\ud800")])  # no UTF-8 can hold it
    with pytest.raises(FileNotFoundError):
        write_results(tmp_path / "nowhere" / "scores.jsonl", [row()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.bad_input
def test_text_with_other_line_ends_is_read_back(tmp_path):
    rows = [row(perturbation="a\u2028b\x85c"), row(subject="1\n2")]
    write_results(tmp_path / "scores.jsonl", rows)
    assert read_results(tmp_path / "scores.jsonl") == rows
    write_results(tmp_path / "none.jsonl", [])
    assert read_results(tmp_path / "none.jsonl") == []


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("column", "value"),
    [("nominal_R", math.nan), ("seconds", math.inf), ("frame", 1.5), ("seed", True), ("mask", None), ("value", "3")],
)
def test_a_column_of_the_wrong_kind_is_refused_before_it_is_written(column, value):
    with pytest.raises(ValueError, match=f"^{column}: got .*, want "):
        row(**{column: value})


@pytest.mark.bad_input
def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary(tmp_path):
    with pytest.raises(FileNotFoundError) as refused:
        write_results(tmp_path / "nowhere" / "scores.jsonl", [row()])
    assert refused.value.filename == str(tmp_path / "nowhere" / "scores.jsonl")
