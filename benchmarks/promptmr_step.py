"""What a training step of PromptMR costs, against the same network written down plainly:
python -m benchmarks.promptmr_step [--out FILE].

Both have the same weights and the same data, in one process and on two threads. Their steps are timed in turn, so that
both see the same machine, and their outputs and gradients are compared first. Peak memory is the largest size of the
process that a step adds, each measured in a process of its own; that of many cascades also at the size of a scan, where
weights and gradients, which no recomputing saves, are not the most of it. PromptMR+, whose arithmetic is another, has
rows of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.plain_promptmr import PlainPromptMR
from benchmarks.steps import asked, head, in_turn, noise, parser_of, peak, weights_and_gradients, write
from cmr_course.acquisition import Acquisition
from cmr_course.networks import PromptMR, PromptMRPlus
from cmr_course.networks.prompt_unet import UnetSettings
from cmr_course.networks.promptmr import sensitivity_settings
from cmr_course.networks.sensitivity import HALF
from cmr_course.sampling import uniform
from cmr_course.workers import warm_up

FRAMES, COILS, MATRIX, ACS = 5, 10, (96, 128), 12
"""Frames, coils, (ky, kx) and calibration lines of the data."""
SCAN = (204, 448)
"""(ky, kx) of many a scan of CMRxRecon, in long-axis views."""
KINDS = ("plain", "ours", "recomputed")
PLUS = ("plus", "plus, recomputed")


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = parser_of(__doc__, "promptmr_step.json", repeats=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--memory", nargs=4, metavar=("KIND", "CASCADES", "KY", "KX"), help="print the peak of one step, in MiB"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warm_up()
    if options.memory:
        kind, (cascades, *matrix) = options.memory[0], map(int, options.memory[1:])
        print(json.dumps(peak(partial(steps, kind, cascades, tuple(matrix)))))
        return
    data = f"{FRAMES} frames, {COILS} coils, ky x kx {MATRIX[0]} x {MATRIX[1]}, 2 cascades, PromptMR's widths"
    asking = partial(asked, "benchmarks.promptmr_step", "--threads", options.threads, "--memory")
    memory = {
        f"{kind}, {n} cascades": asking(kind, n, *MATRIX)
        for kind, n in (*((k, 2) for k in (*KINDS, *PLUS)), (KINDS[-1], 12))
    } | {f"{KINDS[-1]}, {n} cascades, {SCAN[0]} x {SCAN[1]}": asking(KINDS[-1], n, *SCAN) for n in (2, 12)}
    found = {
        **head(threads=options.threads),
        "data": data,
        "seconds": timed(options.repeats),
        "added_MiB": memory,
        "of_which_weights_and_gradients_MiB": {
            f"{n} cascades": weights_and_gradients(partial(PromptMR, n)) for n in (2, 12)
        },
    }
    write(found, options.out)


def example(generator: torch.Generator, matrix: tuple[int, int]) -> Acquisition:
    """Noise that falls off from the centre of k-space, and a mask of every fourth line."""
    kspace = noise(FRAMES, COILS, matrix, generator)
    mask = uniform(matrix[0], 4, acs=ACS)
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


def steps(kind: str, cascades: int, matrix: tuple[int, int] = MATRIX) -> Callable[[], tuple[Tensor, float]]:
    """A training step without optimiser: forward and backward. It returns the image, and the norm of the gradient."""
    acquisition, network = example(torch.Generator().manual_seed(1), matrix), made(cascades, kind in PLUS)
    parts: torch.nn.Module = network
    if kind == "plain":
        parts = plain_of(network)
        del network
        turned = acquisition.kspace.transpose(-1, -2).flatten(1, 2)
        pairs = torch.view_as_real(turned.contiguous())
        scale = acquisition.scale
        assert scale is not None
        mask = acquisition.mask.transpose(-1, -2)[:, 0][..., None]
        first = matrix[0] // 2 - ACS // 2
        centre = torch.zeros(matrix[0], 1)
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
    return in_turn(kinds, repeats, against="plain")


if __name__ == "__main__":
    main()
