"""Real hearts, one central slice, 128 × 128, 12 frames each: simulate, undersample, reconstruct, evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmr_course import classical, coils, sampling
from cmr_course.data import acquire, read_series, stream
from cmr_course.metrics import evaluate
from cmr_course.receiver import Receiver
from tests.conftest import data_folder

SERIES = sorted(data_folder().glob("*.npz")) if data_folder().is_dir() else []


@pytest.mark.skipif(not SERIES, reason="no real series: no npz file in CMR_COURSE_DATA, nor in ../shared/data")
@pytest.mark.parametrize("path", SERIES or [Path("none")], ids=lambda path: path.stem)
def test_cg_sense_beats_zero_filled_on_a_real_heart(path: Path, capsys):
    series = read_series(path)
    chosen = series.select(slices=[series.n_slices // 2], frames=12).resample((128, 128))
    acquisition, truth = acquire(chosen, Receiver(snr_db=30.0), generator=stream(0, path.stem), subject=path.stem)
    assert acquisition.kspace.shape == (1, 12, 10, 128, 128)
    gains = {}
    for nominal in (4, 8):
        undersampled = coils.with_maps(acquisition.undersample(sampling.uniform(128, nominal)))
        psnr = {
            name: float(evaluate(classical.method(name)(undersampled), truth)["psnr"].mean())
            for name in ("zero-filled", "cg-sense")
        }
        gains[nominal] = psnr["cg-sense"] - psnr["zero-filled"]
        with capsys.disabled():
            print(
                f"\n{path.stem}: nominal R = {nominal}, realised R = {undersampled.realised_acceleration:.2f}, "
                f"zero-filled {psnr['zero-filled']:.2f} dB, CG-SENSE {psnr['cg-sense']:.2f} dB",
                end="",
            )
    assert gains[4] >= 3
    assert gains[8] >= 3
