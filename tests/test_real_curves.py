"""What is committed of real hearts is numbers, says its source, and is what the script measures of the series."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import real_curves, realism
from benchmarks.realism import MEASURES, Film
from cmr_course import simulation
from cmr_course.fourier import fft2c
from tests.conftest import ROOT, data_folder

FILE = real_curves.RESULTS / "real_curves.json"
NOTEBOOK = ROOT / "notebooks" / "04_what_real_data_look_like.ipynb"
TOLERANCE = {"blood_level": 0.02, "centre": 0.02}
SERIES = sorted(data_folder().glob("*.npz")) if data_folder().is_dir() else []
MOST_IN_A_ROW = 64
"""Of numbers that belong together: eight by eight pixels are no picture."""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def lists(value: Any) -> Iterator[list[Any]]:
    """All lists within `value`."""
    if isinstance(value, list):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from lists(part)


@pytest.mark.parametrize("name", ["real_curves.json", "realism_measures.json"])
def test_no_row_of_numbers_is_large_enough_to_be_a_picture(name: str):
    path = real_curves.RESULTS / name
    assert path.stat().st_size <= real_curves.MOST_BYTES
    for row in lists(json.loads(path.read_text(encoding="utf-8"))):
        assert len(row) <= MOST_IN_A_ROW
        assert not any(isinstance(part, list) for part in row), "rows of rows are a picture"


def test_results_hold_text_and_no_arrays_but_pictures_of_a_simulated_heart():
    """Pictures refuses real series; which subject it is, tests/test_studies.py reads."""
    others = {path.name for path in real_curves.RESULTS.iterdir() if path.suffix not in (".json", ".jsonl")}
    assert others <= {"tricks_pictures.npz"}


def test_source_licence_and_citation_are_said_of_every_series(told):
    assert "Radau" in told["cite"]
    assert len(told["series"]) == 3
    for row in told["series"].values():
        assert row["licence"] == "CC0-1.0"
        assert "Sunnybrook" in row["source"]
    assert not {"birth", "date", "age", "sex"} & set(re.findall(r"\w+", FILE.read_text(encoding="utf-8").lower()))


def test_pooled_numbers_are_means_over_the_series(told):
    assert set(told["pooled"]) < set(next(iter(told["series"].values())))
    for name, value in told["pooled"].items():
        rows = [row[name] for row in told["series"].values()]
        np.testing.assert_allclose(value, np.mean(rows, 0), atol=1e-5)


@pytest.mark.skipif(len(SERIES) < 3, reason="fewer than three real series: CMR_COURSE_DATA, or ../shared/data")
def test_the_script_measures_these_numbers(told):
    assert [path.stem for path in SERIES] == list(told["series"])
    made = real_curves.record(SERIES)
    assert made["settings"] == told["settings"]
    for name, row in made["series"].items():
        before = told["series"][name]
        assert row.keys() == before.keys()
        for key, value in row.items():
            if isinstance(value, str):
                assert value == before[key]
            else:
                np.testing.assert_allclose(value, before[key], atol=TOLERANCE.get(key, 0.011 if "dB" in key else 1e-4))


def test_the_record_of_measures_is_of_this_simulator_and_names_every_measure():
    told = json.loads((real_curves.RESULTS / "realism_measures.json").read_text(encoding="utf-8"))
    assert told["simulation_version"] == simulation.VERSION, "python -m benchmarks.real_curves"
    assert [row["measure"] for row in told["measures"]] == [measure.name for measure in MEASURES]
    for row in told["measures"]:
        assert row["ratio"] == pytest.approx(row["distance"] / row["spread"], abs=0.02)
        assert row["passes"] == (row["ratio"] <= realism.LIMIT)


def film(seed: int = 0, centre: tuple[float, float] = (90.6, 100.2)) -> Film:
    """Noise that is smooth in space and time, as large as the real series."""
    spectrum = np.random.default_rng(seed).standard_normal((20, 192, 192))
    smooth = np.abs(np.fft.ifft2(np.fft.fft2(spectrum) * (np.hypot(*np.indices((192, 192))) < 60)))
    return Film("noise", smooth / smooth.max() * 2.2, realism.FIELD_OF_VIEW_MM / 192, centre)


def test_the_chapter_measures_the_phantom_as_the_script_measures_the_patients(told):
    """The functions of the notebook, on any film: the record and what is computed live can be laid over each other."""
    cells = [
        "".join(cell["source"])
        for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    (cell,) = (text for text in cells if "def radial_spectrum(" in text)
    one = film()
    known: dict[str, Any] = {"np": np, "torch": torch, "fft2c": fft2c, "asked": told["settings"]}
    known |= {"n": realism.MATRIX, "pixel": one.pixel}
    exec(cell, known)  # the chapter's own cell
    x, centre = one.images, list(one.centre)
    np.testing.assert_allclose(known["histogram"](x, centre), real_curves.histogram(one), atol=1e-12)
    np.testing.assert_allclose(known["radial_spectrum"](x), real_curves.radial_spectrum(one), atol=1e-6)
    np.testing.assert_allclose(known["temporal_spectrum"](x, centre), real_curves.temporal_spectrum(one), atol=1e-6)
    assert known["outside_acs"](x) == pytest.approx(real_curves.outside_acs(x), abs=1e-9)


def test_a_histogram_counts_every_pixel_once_and_the_brightest_last():
    share = real_curves.histogram(film())
    assert share.sum() == pytest.approx(1)
    bright = Film("bright", np.full((2, 192, 192), 7.0), 1.8, (96.0, 96.0))
    assert real_curves.histogram(bright)[-1] == 1


@pytest.mark.parametrize("cycles", [2, 17, 50])
def test_a_grating_appears_in_its_ring(cycles: int):
    wave = 1 + np.cos(2 * np.pi * cycles * np.arange(192) / 192)
    images = np.broadcast_to(wave, (20, 192, 192))
    power = real_curves.radial_spectrum(Film("grating", images, 1.8, (96.0, 96.0)))
    power[0] = power[0] if cycles < real_curves.RING else -120  # the mean of the picture
    assert power.argmax() == cycles // real_curves.RING


@pytest.mark.parametrize("harmonic", [1, 4, 10])
def test_a_pulsation_belongs_to_the_heart_or_to_what_is_around_it(harmonic: int):
    """A cosine of amplitude A has power A² / 4 at its harmonic; half of the frames' number is its own mirror: A²."""
    distance = np.hypot(*(np.indices((192, 192)) - 95.5)) * 1.8
    pulse = 0.2 * np.cos(2 * np.pi * harmonic * np.arange(20) / 20)[:, None, None]
    one = Film("pulse", 1 + pulse * (distance < real_curves.HEART_MM + 5), 1.8, (95.5, 95.5))
    heart, around = real_curves.temporal_spectrum(one)
    assert heart[harmonic - 1] == pytest.approx(20 * np.log10(0.2 if harmonic == 10 else 0.1), abs=1e-6)
    assert around[harmonic - 1] < heart[harmonic - 1] - 5
    assert np.delete(heart, harmonic - 1).max() < -100


def test_magnitudes_are_symmetric_and_a_phase_is_not():
    image = film().images[0]
    ramp = np.exp(1j * np.linspace(0, 2, 192))
    assert real_curves.asymmetry(image) < 1e-9
    assert real_curves.asymmetry(image * ramp) > 0.1
    assert real_curves.asymmetry(1j * image) == pytest.approx(2), "k is the negative of its mirror image"


def test_energy_of_central_lines_only_is_not_outside():
    line = np.arange(192)[:, None]
    slow, fast = (np.cos(2 * np.pi * cycles * line / 192) * np.ones((3, 1, 192)) for cycles in (5, 12))
    assert real_curves.outside_acs(slow) == pytest.approx(0, abs=1e-12)
    assert real_curves.outside_acs(slow + 2 * fast) == pytest.approx(0.8)


def test_a_record_that_is_too_large_is_not_written(tmp_path: Path):
    with pytest.raises(ValueError, match=r"x.json: got \d+ bytes, want at most 60000"):
        real_curves.write(tmp_path / "x.json", {"numbers": list(range(20_000))})
    assert not list(tmp_path.iterdir())


def test_without_real_series_the_script_says_so(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setenv("CMR_COURSE_DATA", str(tmp_path))
    with pytest.raises(SystemExit):
        real_curves.main([])
    assert "0 real series" in capsys.readouterr().err
