"""What a training step of GENRE-CMR's generator costs: python -m benchmarks.genre_step [--out FILE].

16 steps with half of PromptMR's widths, each computed again in the backward pass. The losses of the last step alone
(last) and of every step (every: deep supervision) run in turn, in one process; the peak of memory of each, with the
losses of every step, is that of a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.steps import asked, head, in_turn, noise, parser_of, peak, weights_and_gradients, write
from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.fourier import ifft2c
from cmr_course.losses import EdgeRegionLoss, EveryStep, PhysicsFidelity, SSIMLoss
from cmr_course.losses.weighted import aims_at_kspace
from cmr_course.networks import GENRECMR
from cmr_course.networks.sensitivity import HALF
from cmr_course.sampling import uniform
from cmr_course.workers import warm_up

STEPS, FRAMES, COILS, MATRIX, ACS = 16, 5, 10, (96, 128), 16
"""Unrolled steps; frames, coils, (ky, kx) and calibration lines of the data."""
KINDS = ("last", "every")
COMMAND = "benchmarks.genre_step"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = parser_of(__doc__, "genre_step.json", repeats=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", choices=("kept", "recomputed"), help="print one peak, in MiB")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warm_up()
    if options.memory:
        print(json.dumps(peak(partial(step, "every", options.memory == "recomputed"))))
        return
    memory = {kind: asked(COMMAND, "--threads", options.threads, "--memory", kind) for kind in ("kept", "recomputed")}
    widths = f"first {HALF['first']}, then {', '.join(map(str, HALF['widths']))}"
    found = {
        **head(threads=options.threads, repeats=options.repeats),
        "data": f"{STEPS} steps of widths {widths}; {FRAMES} frames, {COILS} coils, ky x kx {MATRIX[0]} x {MATRIX[1]}",
        "seconds": in_turn({kind: step(kind, True) for kind in KINDS}, options.repeats, "last"),
        "added_MiB": memory,
        "of_which_weights_and_gradients_MiB": weights_and_gradients(generator),
    }
    write(found, options.out)


def generator() -> GENRECMR:
    """With weights of seed 0."""
    torch.manual_seed(0)
    return GENRECMR(STEPS, FRAMES, dict(HALF), {"first": 12, "widths": (18, 24, 30), "prompt_channels": (6, 12, 18)})


def step(kind: str, recompute: bool) -> Callable[[], Any]:
    """Forward and backward of the generator with all losses that look at one sample; no optimiser."""
    kspace = noise(FRAMES, COILS, MATRIX, torch.Generator().manual_seed(1))
    whole = Acquisition.fully_sampled(kspace).with_scale()
    acquired = whole.undersample(uniform(MATRIX[0], 8, acs=ACS))
    middle = slice(FRAMES // 2, FRAMES // 2 + 1)
    truth = kspace[:, middle]
    image = ifft2c(truth).abs().square().sum(2).sqrt() + 0j
    network = generator().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    network.recompute = recompute
    losses = [PhysicsFidelity(), SSIMLoss(), EdgeRegionLoss()]
    if kind == "every":
        losses = [EveryStep(loss) for loss in losses]  # type: ignore[arg-type,misc]

    def run() -> float:
        network.zero_grad()
        found: Reconstruction = network(acquired)
        total = torch.stack([loss(found, truth if aims_at_kspace(loss) else image, acquired) for loss in losses]).sum()
        total.backward()
        return float(total.detach())

    return run


if __name__ == "__main__":
    main()
