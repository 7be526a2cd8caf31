"""Time the iterative methods and print a table: python -m benchmarks.classical_speed [threads].

The data are random, of 12 frames, 10 coils and 128 x 128, every eighth line shifted from frame to frame: what the
methods do does not depend on what is seen. Each case runs all of its iterations in a process of its own, so that the
peak memory (interpreter and torch included) is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from cmr_course.acquisition import Acquisition, Reconstructor
from cmr_course.classical import CGSense
from cmr_course.classical.kt_sparse_sense import KtSparseSense
from cmr_course.classical.low_rank_sparse import LowRankSparse
from cmr_course.coils import normalise
from cmr_course.sampling import kt_radial, kt_uniform

REPEATS = 3
FRAMES, N_COILS, MATRIX = 12, 10, 128
LIMITED = "L+S, 50 iterations"
SECONDS, MEGABYTES = 10.0, 1500.0
"""What that case may take on two cores that have nothing else to do."""
CASES: dict[str, tuple[Reconstructor, str]] = {
    "CG-SENSE, 30 iterations": (CGSense(tolerance=0.0), "kt_uniform"),
    "k-t SPARSE-SENSE, 50 iterations": (KtSparseSense(tolerance=0.0, progress=False), "kt_uniform"),
    LIMITED: (LowRankSparse(tolerance=0.0, progress=False), "kt_uniform"),
    "L+S, Fourier, 50 iterations": (
        LowRankSparse(tolerance=0.0, progress=False, transform="fourier"),
        "kt_uniform",
    ),
    "L+S, radial, 50 iterations": (LowRankSparse(tolerance=0.0, progress=False), "kt_radial"),
}
"""What is timed: the method, and the mask."""


def acquisition(mask: str) -> Acquisition:
    """Random k-space with random, normalised maps."""
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(1, FRAMES, N_COILS, MATRIX, MATRIX, dtype=torch.complex64, generator=generator)
    maps = torch.randn(1, 1, N_COILS, MATRIX, MATRIX, dtype=torch.complex64, generator=generator)
    lines = kt_uniform(MATRIX, FRAMES, 8) if mask == "kt_uniform" else kt_radial(MATRIX, MATRIX, FRAMES, 8)
    return Acquisition.fully_sampled(kspace, sensitivities=normalise(maps)).undersample(lines)


def measure(name: str, threads: int) -> tuple[float, float, float]:
    """Median and largest seconds of :data:`REPEATS` runs; peak memory of the process in MB."""
    torch.set_num_threads(threads)
    torch.ones(8).sqrt()
    method, mask = CASES[name]
    measured, seconds = acquisition(mask), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        method(measured)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(name: str, threads: int) -> tuple[float, float, float]:
    """:func:`measure` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure, name, threads).result()


def main() -> None:
    """Print one row a case."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    print(f"{threads} threads; {LIMITED} may take {SECONDS:g} s and {MEGABYTES:g} MB")
    print(f"{'method':34} {'median s':>9} {'worst s':>9} {'peak MB':>8}")
    for name in CASES:
        median, worst, peak = alone(name, threads)
        print(f"{name:34} {median:9.2f} {worst:9.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
