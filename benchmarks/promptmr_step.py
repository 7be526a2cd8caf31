"""What a training step of PromptMR costs, against the same network written down plainly:
python -m benchmarks.promptmr_step [--out FILE].

Both have the same weights and the same data, in one process and on two threads. Their steps are timed in turn, so that
both see the same machine, and their outputs and gradients are compared first. Peak memory is the largest size of the
process that a step adds, each measured in a process of its own. PromptMR+, whose arithmetic is another, has rows of its
own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain_promptmr import PlainPromptMR
from cmr_course.acquisition import Acquisition
from cmr_course.checkout import commit, device_name
from cmr_course.networks import PromptMR, PromptMRPlus
from cmr_course.networks.prompt_unet import UnetSettings
from cmr_course.networks.promptmr import sensitivity_settings
from cmr_course.networks.sensitivity import HALF
from cmr_course.sampling import uniform
from cmr_course.workers import warm_up

ROOT = Path(__file__).resolve().parents[1]
FRAMES, COILS, MATRIX, ACS = 5, 10, (96, 128), 12
"""Frames, coils, (ky, kx) and calibration lines of the data."""
KINDS = ("plain", "ours", "recomputed")
PLUS = ("plus", "plus, recomputed")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", nargs=2, metavar=("KIND", "CASCADES"), help="print the peak of one step, in MiB")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "promptmr_step.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warm_up()
    if options.memory:
        print(json.dumps(peak(options.memory[0], int(options.memory[1]))))
        return
    told = {"commit": commit(), "device": device_name("cpu"), "threads": options.threads, "torch": torch.__version__}
    data = f"{FRAMES} frames, {COILS} coils, ky x kx {MATRIX[0]} x {MATRIX[1]}, 2 cascades, PromptMR's widths"
    memory = {
        f"{kind}, {n} cascades": asked(kind, n, options.threads)
        for kind, n in (*((k, 2) for k in (*KINDS, *PLUS)), (KINDS[-1], 12))
    }
    weights = {f"{n} cascades": weights_and_gradients(n) for n in (2, 12)}
    found = {
        **told,
        "data": data,
        "seconds": timed(options.repeats),
        "added_MiB": memory,
        "of_which_weights_and_gradients_MiB": weights,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def example(generator: torch.Generator) -> Acquisition:
    """Noise in k-space that falls off from the centre: what the network costs does not depend on what it sees."""
    ky, kx = (torch.linspace(-1, 1, n) for n in MATRIX)
    fall = 1 / (0.05 + (ky[:, None] ** 2 + kx**2).sqrt())
    kspace = torch.randn(1, FRAMES, COILS, *MATRIX, dtype=torch.complex64, generator=generator) * fall
    mask = uniform(MATRIX[0], 4, acs=ACS)
    return Acquisition.fully_sampled(kspace).undersample(mask)


def made(cascades: int, plus: bool = False) -> PromptMR | PromptMRPlus:
    """Ours, with weights of seed 0."""
    torch.manual_seed(0)
    network = PromptMRPlus(cascades) if plus else PromptMR(cascades)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def plain_of(network: PromptMR) -> PlainPromptMR:
    """The plain one, with the weights of ours."""
    settings = UnetSettings()
    maps = UnetSettings.of(sensitivity_settings(None, settings), **HALF)
    plain = PlainPromptMR(len(network.cascades), FRAMES, settings, maps)
    plain.load_state_dict(network.to_released())
    return plain


def steps(kind: str, cascades: int) -> Callable[[], tuple[Tensor, float]]:
    """A training step without optimiser: forward and backward. It returns the image, and the norm of the gradient."""
    acquisition, network = example(torch.Generator().manual_seed(1)), made(cascades, kind in PLUS)
    parts: torch.nn.Module = network
    if kind == "plain":
        parts = plain_of(network)
        del network
        turned = acquisition.kspace.transpose(-1, -2).flatten(1, 2)
        pairs = torch.view_as_real(turned.contiguous())
        scale = acquisition.scale
        assert scale is not None
        mask = acquisition.mask.transpose(-1, -2)[:, 0][..., None]
        first = MATRIX[0] // 2 - ACS // 2
        centre = torch.zeros(MATRIX[0], 1)
        centre[first : first + ACS] = 1

        def forward() -> Tensor:
            return parts(pairs / scale, mask, centre).transpose(-1, -2)
    else:
        network.recompute = kind.endswith("recomputed")
        network.train()

        def forward() -> Tensor:
            return network(acquisition).image.real[:, 0] / acquisition.scale

    def step() -> tuple[Tensor, float]:
        image = forward()
        image.square().mean().backward()
        squares = [p.grad.square().sum() for p in parts.parameters() if p.grad is not None and p.numel() > 1]
        parts.zero_grad()
        return image.detach(), float(torch.stack(squares).sum().sqrt())

    return step


def timed(repeats: int) -> dict[str, Any]:
    """Median seconds of a step of each kind, in turn, and their ratios to the plain one."""
    kinds = {kind: steps(kind, 2) for kind in (*KINDS, *PLUS)}
    shown = {kind: step() for kind, step in kinds.items()}
    plain, gradient = shown["plain"]
    for kind in KINDS:
        image, norm = shown[kind]
        torch.testing.assert_close(image, plain, rtol=1e-3, atol=1e-4 * float(plain.max()))
        assert abs(norm / gradient - 1) < 1e-3, f"{kind}: gradient of norm {norm}, want {gradient}"
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(repeats):
        for kind, step in kinds.items():
            began = time.perf_counter()
            step()
            seconds[kind].append(time.perf_counter() - began)
    medians = {kind: round(median(values), 3) for kind, values in seconds.items()}
    return {**medians, "ratios": {kind: round(value / medians["plain"], 3) for kind, value in medians.items()}}


def peak(kind: str, cascades: int) -> float:
    """MiB that the second of two steps has added to the size of this process at most, over what it was without data."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = steps(kind, cascades)
    step()
    step()
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def weights_and_gradients(cascades: int) -> float:
    """MiB of PromptMR's parameters, and of the gradients of those that are trained."""
    with torch.device("meta"):
        network = PromptMR(cascades)
    numbers = sum(p.numel() * (2 if p.requires_grad else 1) for p in network.parameters())
    return round(numbers * 4 / 2**20, 1)


def asked(kind: str, cascades: int, threads: int) -> float:
    """:func:`peak` of a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.promptmr_step",
        "--threads",
        str(threads),
        "--memory",
        kind,
        str(cascades),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


if __name__ == "__main__":
    main()
