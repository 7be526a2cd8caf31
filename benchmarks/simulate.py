"""Time `simulate` and print a table: python -m benchmarks.simulate [threads].

Each case runs in a process of its own, so that the peak memory (interpreter and torch included) is its own. Several
subjects are imaged in turn, so that nothing but the code is warm, and this several times over: what counts is the
fastest time of each, since a machine that others use can only slow one down.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import statistics
import sys
import time

import torch

from cmr_course.receiver import Receiver
from cmr_course.simulation import Scan, Subject, simulate

SUBJECTS, ROUNDS = 11, 5
CASES = {
    "training patch, 64 x 64 x 8": (Scan(matrix=(64, 64), frames=8, receiver=Receiver(n_coils=6)), 0.030),
    "book, 128 x 128 x 12": (Scan(), None),
    "challenge, 204 x 448 x 12": (Scan(matrix=(204, 448), field_of_view=(306.0, 672.0)), 1.0),
    "four chambers, 204 x 448 x 12": (Scan(view="4ch", matrix=(204, 448), field_of_view=(306.0, 672.0)), 1.0),
}
"""What is timed, by name, and within how many seconds it should be."""


def measure(name: str, threads: int) -> tuple[float, float, float]:
    """Median and largest of the subjects' least seconds, after a warm-up; peak in MB."""
    torch.set_num_threads(threads)
    scan = CASES[name][0]
    simulate(Subject(SUBJECTS), scan, generator=torch.Generator().manual_seed(0))
    least = [math.inf] * SUBJECTS
    for seed in ROUNDS * list(range(SUBJECTS)):
        start = time.perf_counter()
        simulate(Subject(seed), scan, generator=torch.Generator().manual_seed(seed))
        least[seed] = min(least[seed], time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return statistics.median(least), max(least), peak


def main() -> None:
    """Print one row a case."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    heads = f"{'coils':>5} {'median ms':>10} {'worst ms':>10} {'wanted ms':>10} {'peak MB':>8}"
    print(f"{threads} threads\n{'scan':30} {heads}")
    for name, (scan, wanted) in CASES.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            median, worst, peak = pool.apply(measure, (name, threads))
        limit = "" if wanted is None else f"{1000 * wanted:.0f}"
        coils = scan.receiver.profile().n_coils
        print(f"{name:30} {coils:5} {1000 * median:10.1f} {1000 * worst:10.1f} {limit:>10} {peak:8.0f}")


if __name__ == "__main__":
    main()
