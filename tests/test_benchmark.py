"""The benchmark: every method gets the same hearts, what went wrong with them is what was said, and a run goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmr_course import classical
from cmr_course.acquisition import About, Acquisition, Reconstruction
from cmr_course.benchmark import Cell, breathing, measured, run, score, select
from cmr_course.coils import combine, rss
from cmr_course.fourier import fft2c
from cmr_course.metrics import evaluate, read_results, write_results
from tests.conftest import data_folder

SMALL = {"matrix": (48, 48), "frames": 4, "coils": 4, "acceleration": 3.0}
SEED = 10_001


def test_all_masks_of_a_heart_share_noise_and_anatomy():
    one, truth = measured(Cell(subject=SEED, **SMALL))
    other, same = measured(Cell(subject=SEED, **(SMALL | {"mask": "kt_uniform", "acceleration": 6.0})))
    assert torch.equal(truth.image, same.image)
    both = one.mask & other.mask
    assert both.any()
    assert torch.equal((one.kspace * both), (other.kspace * both))


def test_the_row_of_a_cell_is_what_the_method_scores():
    cell = Cell(subject=SEED, **SMALL, maps="known")
    rows = score(cell, {"zero-filled": classical.ZeroFilled()}, metrics=["psnr"], regions=["full"], commit="abc")
    acquisition, truth = measured(cell)
    expected = float(evaluate(classical.ZeroFilled()(acquisition), truth)["psnr"].mean())
    (row,) = rows
    assert row.value == pytest.approx(expected)
    assert (row.subject, row.matrix, row.nominal_R, row.maps) == (str(SEED), "48x48", 3.0, "known")
    assert row.realised_R == pytest.approx(acquisition.realised_acceleration, abs=1e-4)
    assert row.commit == "abc"


def test_a_method_that_refuses_is_recorded_as_undefined():
    def refuses(acquisition: Acquisition) -> Reconstruction:
        raise ValueError("acquisition: got this, want that")

    rows = score(Cell(subject=SEED, **SMALL), {"refuses": refuses}, metrics=["psnr", "ssim"], regions=["full"])
    assert [row.value for row in rows] == [None, None]


def test_a_run_that_was_stopped_goes_on(tmp_path):
    cells = [Cell(subject=SEED, **SMALL), Cell(subject=SEED + 1, **SMALL)]
    path, told = tmp_path / "scores.jsonl", []
    run(cells[:1], ["zero-filled"], path)
    first = read_results(path)
    rows = run(cells, ["zero-filled", "zero-filled-rss"], path, tell=lambda: told.append(1))
    assert read_results(path)[: len(first)] == first  # seconds and all
    assert len(rows) == len(read_results(path)) == 2 * 2 * 4
    assert len(told) == 2
    assert run(cells, ["zero-filled", "zero-filled-rss"], path, tell=lambda: told.append(1)) == read_results(path)
    assert len(told) == 2
    write_results(path, [row for row in rows if row.subject != str(SEED)])
    again = run(cells, ["zero-filled", "zero-filled-rss"], path)
    values = {row.key: row.value for row in rows}
    assert {row.key: row.value for row in again} == values


def test_two_workers_score_as_one():
    cells = [Cell(subject=SEED + n, **SMALL) for n in range(2)]
    alone, shared = (run(cells, ["cg-sense"], workers=workers) for workers in (1, 2))
    assert {row.key: row.value for row in alone} == {row.key: row.value for row in shared}


def test_select():
    rows = run([Cell(subject=SEED, **SMALL)], ["zero-filled", "zero-filled-rss"])
    assert {row.method for row in select(rows, method="zero-filled")} == {"zero-filled"}
    assert len(select(rows, metric=("psnr", "ssim"), region="heart")) == 4
    with pytest.raises(ValueError, match="colour"):
        select(rows, colour="red")


def still(image: torch.Tensor, pixel: float = 2.0) -> Acquisition:
    return Acquisition.fully_sampled(fft2c(image)[None, None, None], About(pixel_size=(pixel, pixel)))


def test_breathing_moves_the_lines_of_each_beat_as_a_whole():
    """The second beat measures a body two pixels further down, the first beat one at rest."""
    image = torch.rand((56, 40), generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0j
    amplitude = 2 * 2.0 / np.sin(np.pi / 4.6) ** 2
    resting, moved = still(image), breathing(still(image, pixel=2.0), amplitude)
    assert torch.allclose(moved.kspace[..., 0::4, :], resting.kspace[..., 0::4, :])
    assert torch.allclose(moved.kspace[..., 1::4, :], still(image.roll(2, 0)).kspace[..., 1::4, :])
    assert not torch.allclose(moved.kspace[..., 2::4, :], resting.kspace[..., 2::4, :])
    assert torch.allclose(moved.kspace.abs(), resting.kspace.abs())
    assert torch.equal(breathing(resting, amplitude_mm=0.0).kspace, resting.kspace)


def test_breathing_and_a_dead_coil_hurt_and_arrhythmia_changes_the_heart():
    base = {"subject": SEED, "maps": "known", **SMALL, "snr_db": 40.0}
    psnr = {}
    for name in ("", "arrhythmia", "breathing", "dead-coil"):
        rows = score(Cell(**base, perturbation=name), {"cg": classical.CGSense()}, metrics=["psnr"])
        psnr[name] = {row.region: row.value for row in rows}
    assert psnr["breathing"]["full"] < psnr[""]["full"] - 0.5
    assert psnr["dead-coil"]["full"] < psnr[""]["full"] - 0.5
    assert psnr["arrhythmia"]["heart"] < psnr[""]["heart"]


def test_wrong_maps_hurt():
    cells = [Cell(subject=SEED, **SMALL, maps=maps) for maps in ("known", "wrong")]
    known, wrong = (score(cell, {"cg": classical.CGSense()})[0].value for cell in cells)
    assert wrong < known - 0.5


def test_the_truth_of_a_dead_coil_is_what_the_others_see():
    full = {"mask": "full", "acceleration": 1.0}
    acquisition, truth = measured(Cell(subject=SEED, **(SMALL | full), snr_db=80.0, perturbation="dead-coil"))
    seen = rss(acquisition.coil_images())
    assert float((seen - truth.magnitude()).abs().max()) < 2e-3 * float(seen.max())
    assert torch.equal(truth.sensitivities[:, :, 2], torch.zeros_like(truth.sensitivities[:, :, 2]))
    combined = combine(acquisition.coil_images(), truth.sensitivities)
    assert float((combined - truth.image).abs().max()) < 2e-3 * float(seen.max())


@pytest.mark.skipif(not data_folder().is_dir(), reason="no real series: CMR_COURSE_DATA, or ../shared/data")
def test_a_real_series_is_a_cell_too():
    name = sorted(path.stem for path in data_folder().glob("*.npz"))[0]
    cell = Cell(subject=name, matrix=(64, 64), frames=3, coils=4, acceleration=3.0)
    acquisition, truth = measured(cell, data_folder())
    assert truth.image.shape == (1, 3, 64, 64)
    row = score(cell, {"zero-filled": classical.ZeroFilled()}, folder=data_folder())[0]
    assert (row.domain, row.subject) == ("real series", name)
    with pytest.raises(ValueError, match="folder: got None"):
        measured(cell)
    moved, _ = measured(replace(cell, perturbation="breathing", maps="wrong"), data_folder())
    assert not torch.equal(moved.kspace, acquisition.kspace)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"subject": -1}, "subject: got -1"),
        ({"subject": ""}, "subject: got ''"),
        ({"matrix": (64,)}, "matrix: got"),
        ({"frames": 0}, "frames: got 0"),
        ({"coils": 2.5}, "coils: got 2.5"),
        ({"acceleration": 0}, "acceleration: got 0"),
        ({"mask": "kt-uniform"}, "mask: got 'kt-uniform', want one of full, uniform, kt_uniform"),
        ({"matrix": [64, 64]}, "matrix: got"),
        ({"snr_db": "loud"}, "snr_db: got 'loud'"),
        ({"subject": "20000"}, "subject: got '20000'"),
        ({"maps": "learned"}, "maps: got 'learned', want one of espirit, known, wrong"),
        ({"perturbation": "hiccup"}, "perturbation: got 'hiccup', want one of arrhythmia"),
        ({"subject": "real", "perturbation": "arrhythmia"}, "want a simulated subject"),
    ],
)
def test_bad_cells(settings, said):
    with pytest.raises(ValueError, match=said):
        Cell(**({"subject": SEED} | settings))


@pytest.mark.bad_input
def test_bad_runs(tmp_path):
    with pytest.raises(ValueError, match="method: got 'magic'"):
        run([Cell(subject=SEED, **SMALL)], ["magic"])
    cell = Cell(subject=SEED, **SMALL)
    with pytest.raises(ValueError, match=r"cells: got .* frames, want one number"):
        run([cell, replace(cell, frames=3)], ["zero-filled"])
    with pytest.raises(ValueError, match=r"metrics: got \['foo'\]"):
        score(cell, {"zero-filled": classical.ZeroFilled()}, metrics=["foo"])
    with pytest.raises(ValueError, match="methods: got None"):
        score(cell, None)
    with pytest.raises(ValueError, match="no pixel size"):
        breathing(Acquisition.fully_sampled(torch.ones((1, 1, 1, 8, 8)) + 0j))
