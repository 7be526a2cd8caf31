"""Time `simulate` on one thread and print a table: python -m benchmarks.simulate."""

from __future__ import annotations

import resource
import statistics
import time

import torch

from cmr_course.receiver import Receiver
from cmr_course.simulation import Scan, Subject, simulate

REPEATS = 5
CASES = {
    "training patch, 64 x 64 x 8": Scan(matrix=(64, 64), frames=8, receiver=Receiver(n_coils=6)),
    "book, 128 x 128 x 12": Scan(),
    "challenge, 204 x 448 x 12": Scan(matrix=(204, 448), field_of_view=(300.0, 500.0)),
}
"""What is timed, by name."""


def measure(scan: Scan) -> tuple[float, float]:
    """Median and largest seconds of one subject, over :data:`REPEATS` different ones, after a warm-up."""
    seconds = []
    for seed in range(REPEATS + 1):
        start = time.perf_counter()
        simulate(Subject(seed), scan, generator=torch.Generator().manual_seed(seed))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), max(seconds[1:])


def main() -> None:
    """Print one row a case."""
    torch.set_num_threads(1)
    print(f"{'scan':30} {'coils':>5} {'median ms':>10} {'worst ms':>10} {'peak MB':>8}")
    for name, scan in CASES.items():
        median, worst = measure(scan)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name:30} {scan.receiver.profile().n_coils:5} {1000 * median:10.0f} {1000 * worst:10.0f} {peak:8.0f}")


if __name__ == "__main__":
    main()
