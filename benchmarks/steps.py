"""What benchmarks of a step share: seconds in turn, the peak of a process of its own, a record and its head."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from cmr_course.checkout import commit, device_name

ROOT = Path(__file__).resolve().parents[1]


def parser_of(told: str | None, record: str, repeats: int) -> argparse.ArgumentParser:
    """Options --repeats and --out. told: the docstring of the command; record: the name of its file in results/."""
    parser = argparse.ArgumentParser(description=(told or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / record)
    return parser


def head(**settings: Any) -> dict[str, Any]:
    """What made a record: commit, device, `settings`, torch."""
    return {"commit": commit(), "device": device_name("cpu"), **settings, "torch": torch.__version__}


def noise(
    frames: int, coils: int, matrix: tuple[int, int], generator: torch.Generator
) -> Complex[Tensor, "1 frame coil ky kx"]:
    """Noise that falls off from the centre of k-space: what a network costs does not depend on what it sees."""
    ky, kx = (torch.linspace(-1, 1, n) for n in matrix)
    fall = 1 / (0.05 + (ky[:, None] ** 2 + kx**2).sqrt())
    return torch.randn(1, frames, coils, *matrix, dtype=torch.complex64, generator=generator) * fall


def in_turn(works: Mapping[str, Callable[[], object]], repeats: int, against: str) -> dict[str, Any]:
    """Median seconds of each of `works`, one after the other in each repeat, and their ratios to those of `against`."""
    seconds: dict[str, list[float]] = {kind: [] for kind in works}
    for _ in range(repeats):
        for kind, work in works.items():
            began = time.perf_counter()
            work()
            seconds[kind].append(time.perf_counter() - began)
    medians = {kind: round(median(values), 3) for kind, values in seconds.items()}
    return {**medians, "ratios": {kind: round(value / medians[against], 3) for kind, value in medians.items()}}


def peak(make: Callable[[], Callable[[], object]]) -> float:
    """MiB that the second of two steps has added to the size of this process at most, over what it was without data.

    make: makes the data, the network and the step.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = make()
    step()
    step()
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def weights_and_gradients(make: Callable[[], nn.Module]) -> float:
    """MiB of the parameters of a network, and of the gradients of those that are trained."""
    with torch.device("meta"):
        network = make()
    numbers = sum(p.numel() * (2 if p.requires_grad else 1) for p in network.parameters())
    return round(numbers * 4 / 2**20, 1)


def asked(module: str, *words: object, environment: Mapping[str, str] | None = None) -> Any:
    """What ``python -m module words`` prints, a process of its own. environment: more variables for it.

    Linux counts the largest size of a process from that of the process that started it: ask for a peak before anything
    large has been made here.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    more = os.environ | dict(environment or {})
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=more)
    return json.loads(done.stdout)


def write(record: Mapping[str, Any], out: Path) -> None:
    """Write `record` and print it."""
    text = json.dumps(record, indent=1)
    out.write_text(text + "\n", encoding="utf-8")
    print(text)
