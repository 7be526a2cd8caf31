"""Pictures of reconstructions: what they keep, with what they say of themselves, and files that are none."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from cmr_course import plotting, simulation
from cmr_course.benchmark import Cell, Pictures, measured, method, pictures
from cmr_course.benchmark.pictures import UNIT
from cmr_course.metrics import evaluate

CELL = Cell(
    subject=10_000, matrix=(48, 40), frames=4, coils=1, maps="known", mask="kt_gaussian", acceleration=4, as_series=True
)


@pytest.fixture(scope="module")
def kept() -> Pictures:
    return pictures(CELL, {"zero-filled": method("zero-filled")}, frame=1, seed=3)


def test_what_is_kept_is_what_the_method_makes_and_the_truth(kept):
    acquisition, truth = measured(CELL)
    image = method("zero-filled")(acquisition)
    for name, whole in (("reference", truth.magnitude()[0]), ("zero-filled", image.magnitude()[0])):
        whole = whole / truth.magnitude().max()
        series = kept.series(name)
        assert series.shape == whole.shape
        torch.testing.assert_close(series[1], whole[1], atol=0.51 * UNIT, rtol=0)
        torch.testing.assert_close(series[:, :, kept.column], whole[:, :, kept.column], atol=0.51 * UNIT, rtol=0)
        elsewhere = series[[0, 2, 3]][:, :, [x for x in range(40) if x != kept.column]]
        assert elsewhere.isnan().all(), "nothing that was not kept is shown as if it had been"
    scores = evaluate(image, truth, metrics=["psnr"])["psnr"][0]
    assert kept.psnr == {"zero-filled": pytest.approx(scores.tolist())}


def test_the_column_runs_through_the_heart(kept):
    _, labelled = measured(replace(CELL, as_series=False))
    y0, y1, x0, x1 = kept.box
    assert x0 < kept.column < x1
    assert labelled.labels is not None
    wall = labelled.labels == labelled.label_names["lv_myocardium"]
    assert wall[0, 1, :, kept.column].any()
    assert wall.sum() == wall[..., y0:y1, x0:x1].sum()


def test_where_they_come_from_is_said(kept):
    assert kept.about["simulation_version"] == simulation.VERSION
    assert {"commit", "realised_R"} < set(kept.about)
    assert kept.about["seed"] == 3
    assert Cell(**{name: tuple(v) if isinstance(v, list) else v for name, v in kept.about["cell"].items()}) == CELL


def test_a_file_holds_whole_numbers_and_gives_the_same_pictures_back(kept, tmp_path):
    path = tmp_path / "pictures.npz"
    kept.save(path)
    again = Pictures.load(path)
    for name in kept.frames:
        torch.testing.assert_close(again.series(name), kept.series(name), rtol=0, atol=0, equal_nan=True)
    assert (again.frame, again.column, again.box, again.psnr) == (kept.frame, kept.column, kept.box, kept.psnr)
    assert again.about == json.loads(json.dumps(kept.about))
    with np.load(path, allow_pickle=False) as archive:
        assert archive["frames"].dtype == archive["columns"].dtype == np.uint16
        assert archive["frames"].shape == (2, 48, 40)
        assert archive["frames"][0].max() <= 1 / UNIT
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_the_comparison_of_the_book_takes_them(kept):
    figure = plotting.show_comparison(
        kept.series("reference"),
        {"zero-filled": kept.series("zero-filled")},
        frame=kept.frame,
        box=kept.box,
        column=kept.column,
        scores={},
    )
    shown = [panel.images[0].get_array() for panel in figure.axes if panel.images]
    assert shown
    assert all(np.isfinite(np.asarray(one, dtype=float)).all() for one in shown if one.ndim == 2)
    plt.close(figure)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("cell", "methods", "frame", "message"),
    [
        (CELL, {}, 0, "methods: got "),
        (CELL, {"reference": method("zero-filled")}, 0, "methods: got "),
        (CELL, {"a": 1}, 0, "methods: got "),
        (CELL, {"zero-filled": method("zero-filled")}, 4, "frame: got 4"),
        (
            replace(CELL, subject="heart", as_series=False),
            {"zero-filled": method("zero-filled")},
            0,
            "got the real ser",
        ),
    ],
)
def test_bad_input_is_named(cell, methods, frame, message):
    with pytest.raises(ValueError, match=message):
        pictures(cell, methods, frame=frame)


@pytest.mark.bad_input
def test_a_file_that_holds_no_pictures_is_named(kept, tmp_path):
    path = tmp_path / "some.npz"
    kept.save(path)
    whole = path.read_bytes()
    np.savez(tmp_path / "arrays.npz", images=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    others = [(tmp_path / name).read_bytes() for name in ("arrays.npz", "array.npy")]
    for content in (b"", b"nonsense", whole[:100], whole[: len(whole) // 2], *others):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"some\.npz: got no pictures"):
            Pictures.load(path)
    with pytest.raises(FileNotFoundError):
        Pictures.load(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="name: got 'grappa', want one of reference, zero-filled"):
        kept.series("grappa")
