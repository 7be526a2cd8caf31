"""Real hearts, one central slice, 128 × 128, 12 frames each: simulate, undersample, reconstruct, evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmr_course import classical, coils, sampling
from cmr_course.classical import CGSense, ZeroFilled
from cmr_course.classical.kt_sparse_sense import KtSparseSense
from cmr_course.classical.low_rank_sparse import LowRankSparse
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


@pytest.mark.slow
@pytest.mark.skipif(not SERIES, reason="no real series: no npz file in CMR_COURSE_DATA, nor in ../shared/data")
@pytest.mark.parametrize("mask", [sampling.uniform(128, 8), sampling.kt_uniform(128, 12, 8)], ids=["uniform", "k-t"])
@pytest.mark.parametrize("path", SERIES or [Path("none")], ids=lambda path: path.stem)
def test_temporal_priors_beat_parallel_imaging_on_a_real_heart(path: Path, mask: sampling.Mask, capsys):
    """Nominal R = 8, settings chosen on simulated hearts only."""
    series = read_series(path)
    chosen = series.select(slices=[series.n_slices // 2], frames=12).resample((128, 128))
    acquisition, truth = acquire(chosen, Receiver(snr_db=30.0), generator=stream(0, path.stem), subject=path.stem)
    undersampled = coils.with_maps(acquisition.undersample(mask))
    methods = (ZeroFilled(), CGSense(), KtSparseSense(), LowRankSparse())
    zero_filled, cg, sparse, low_rank = (
        float(evaluate(method(undersampled), truth)["psnr"].mean()) for method in methods
    )
    with capsys.disabled():
        print(
            f"\n{path.stem}: nominal R = 8, realised R = {undersampled.realised_acceleration:.2f}, {mask.kind}: "
            f"zero-filled {zero_filled:.2f}, CG-SENSE {cg:.2f}, k-t SPARSE-SENSE {sparse:.2f}, L+S {low_rank:.2f} dB",
            end="",
        )
    assert zero_filled + 3 <= cg
    assert cg + (5 if mask.kind == "kt_uniform" else 0.3) <= min(sparse, low_rank)
