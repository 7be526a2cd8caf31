"""What CRUNet-MR and its feature bank cost, against the same network written down plainly, frame by frame:
python -m benchmarks.recurrent_step [--out FILE].

Plain and ours have the same weights and the same data; their images and gradients are compared first, and then they run
in turn, so that both see the same machine: without gradients (forward), and forward and backward without an optimiser
(step). The fusions of the bank are compared with ``last``, which is no bank, in the same way. Each number of threads
has a process of its own, and so has each peak of memory: the largest size of the process that a step adds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_crunet import PlainCRUNet
from benchmarks.steps import asked, head, in_turn, noise, parser_of, peak, weights_and_gradients, write
from cmr_course.acquisition import Acquisition
from cmr_course.coils import biot_savart, normalise
from cmr_course.fourier import ifft2c
from cmr_course.networks import CRUNetMR
from cmr_course.networks.feature_bank import Fusion
from cmr_course.sampling import kt_uniform
from cmr_course.workers import warm_up

FRAMES, COILS, MATRIX, ACS = 8, 6, (96, 80), 12
"""Frames, coils, (ky, kx) and calibration lines of the data."""
SMALL, FULL = (3, 32), (5, 64)
"""Cascades and channels of what is timed, and as published."""
FUSIONS: tuple[Fusion, ...] = ("last", "conv", "channel_attention")
PEAKS = (
    ("plain", 3, FRAMES),
    *(("ours", 3, frames) for frames in (4, 8, 16)),
    *(("recomputed", cascades, FRAMES) for cascades in (2, 5)),
)
"""Kind, cascades and frames of each peak."""
TIDY = {"MALLOC_MMAP_THRESHOLD_": str(2**18)}
"""glibc then gives blocks above 256 KiB back to the system once they are freed, so that a peak is what is in use. By
default it soon keeps blocks of up to 32 MiB, and holes between them count, other ones in each run."""
COMMAND = "benchmarks.recurrent_step"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = parser_of(__doc__, "recurrent_step.json", repeats=11)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", action="store_true", help="print seconds at the first number of threads, no more")
    parser.add_argument("--memory", nargs=3, metavar=("KIND", "CASCADES", "FRAMES"), help="print one peak, in MiB")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads[0])
    warm_up()
    if options.memory:
        kind, cascades, frames = options.memory
        print(json.dumps(peak(lambda: case(kind, int(cascades), int(frames)).step)))
        return
    if options.seconds:
        print(json.dumps(seconds(options.repeats)))
        return
    write(record(options.threads, options.repeats), options.out)


def record(threads: list[int], repeats: int) -> dict[str, Any]:
    """All that is recorded, each part of it made in a process of its own."""
    cascades, channels = SMALL
    data = (
        f"{FRAMES} frames, {COILS} coils with known maps, ky x kx {MATRIX[0]} x {MATRIX[1]}, k-t uniform R = 4; "
        f"{cascades} cascades, {channels} channels; full size: {FULL[0]} cascades, {FULL[1]} channels"
    )
    return {
        **head(repeats=repeats, repeats_at_full_size=seldom(repeats)),
        "data": data,
        "parameters": {fusion: parameters(fusion) for fusion in FUSIONS},
        "added_MiB": peaks(min(threads), TIDY),
        "allocator": TIDY,
        "added_MiB_with_default_allocator": peaks(min(threads)),
        "of_which_weights_and_gradients_MiB": {
            f"{n} cascades": weights_and_gradients(partial(CRUNetMR, n, channels))
            for n in sorted({n for _, n, _ in PEAKS})
        },
        "seconds": {
            f"{number} thread{'s' if number > 1 else ''}": asked(
                COMMAND, "--threads", number, "--seconds", "--repeats", repeats
            )
            for number in threads
        },
    }


def peaks(threads: int, environment: dict[str, str] | None = None) -> dict[str, float]:
    """MiB of each of :data:`PEAKS`, each in a process of its own."""
    return {
        f"{kind}, {n} cascades, {frames} frames": asked(
            COMMAND, "--threads", threads, "--memory", kind, n, frames, environment=environment
        )
        for kind, n, frames in PEAKS
    }


def seldom(repeats: int) -> int:
    """A third of `repeats`: a step at full size takes ten times as long."""
    return -(-repeats // 3)


def parameters(fusion: Fusion) -> int:
    """Of the network at full size."""
    with torch.device("meta"):
        network = CRUNetMR(*FULL, fusion=fusion)
    return sum(parameter.numel() for parameter in network.parameters())


@dataclass(frozen=True)
class Case:
    """A network and its data. call: what it makes of them, the image (frame, y, x) at the scale that it sees."""

    network: nn.Module
    call: Callable[[], Tensor]

    def forward(self) -> Tensor:
        """The image, without gradients."""
        with torch.no_grad():
            return self.call()

    def step(self) -> Tensor:
        """The image, forward and backward. The gradients stay until the next step."""
        self.network.zero_grad()
        image = self.call()
        image.abs().square().mean().backward()
        return image.detach()

    def gradient(self) -> Tensor:
        """Of all parameters, one after the other."""
        found = [p.grad for p in self.network.parameters()]
        return torch.cat([g.flatten() for g in found if g is not None])


def example(frames: int) -> Acquisition:
    """Noise that falls off from the centre of k-space, with maps of Σ|S|² = 1, every fourth line of each frame."""
    kspace = noise(frames, COILS, MATRIX, torch.Generator().manual_seed(1))
    maps = normalise(biot_savart(COILS, MATRIX, (300.0, 300.0)))
    mask = kt_uniform(MATRIX[0], frames, 4, acs=ACS)
    return Acquisition.fully_sampled(kspace, sensitivities=maps).undersample(mask)


def case(kind: str, cascades: int, frames: int = FRAMES, channels: int = SMALL[1]) -> Case:
    """kind: ``plain``, ``ours``, ``recomputed``, or a fusion. Weights of seed 0, which gives all the same cascades."""
    acquisition = example(frames)
    torch.manual_seed(0)
    network = CRUNetMR(cascades, channels, fusion=kind if kind in FUSIONS else "last").train()  # type: ignore[arg-type]
    assert acquisition.scale is not None
    assert acquisition.sensitivities is not None
    if kind == "plain":
        # Plain FFTs: the centre of k-space at index 0, and the origin of the image in its corner.
        kspace = torch.fft.fft2(ifft2c(acquisition.kspace[0] / acquisition.scale), norm="ortho")
        mask = torch.fft.ifftshift(acquisition.mask[0], dim=(-2, -1))
        plain, maps = PlainCRUNet(network), acquisition.sensitivities[0]
        return Case(plain, lambda: plain(kspace, mask, maps))
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.recompute = kind == "recomputed"
    return Case(network, lambda: network(acquisition).image[0] / acquisition.scale)


def seconds(repeats: int) -> dict[str, Any]:
    """Median seconds of plain and ours and of the fusions, and their ratios to plain and to ``last``."""
    pair = {kind: case(kind, SMALL[0]) for kind in ("plain", "ours")}
    require_same(*pair.values())
    found = both(pair, repeats, "", "plain")
    del pair
    sizes = (("bank, ", SMALL, repeats), ("bank at full size, ", FULL, seldom(repeats)))
    for title, (cascades, channels), often in sizes:
        banks: dict[str, Case] = {fusion: case(fusion, cascades, channels=channels) for fusion in FUSIONS}
        for one in banks.values():
            one.step()
        # The convolutions of a new bank hand on the newest map.
        require_near("image", banks["conv"].forward(), banks["last"].forward())
        found |= both(banks, often, title, "last")
    return found


def both(cases: dict[str, Case], repeats: int, title: str, against: str) -> dict[str, Any]:
    """Forward and step of each."""
    return {
        f"{title}forward": in_turn({kind: one.forward for kind, one in cases.items()}, repeats, against),
        f"{title}step": in_turn({kind: one.step for kind, one in cases.items()}, repeats, against),
    }


def require_same(plain: Case, ours: Case) -> None:
    """Both make the same image and the same gradients, but for rounding."""
    require_near("image", ours.step(), plain.step())
    require_near("gradient", ours.gradient(), plain.gradient())


def require_near(title: str, found: Tensor, wanted: Tensor) -> None:
    """The norm of what differs is 1e-4 of that of `wanted` at most."""
    distance = float((found - wanted).norm() / wanted.norm())
    assert distance < 1e-4, f"{title}: got one that is {distance:.2g} of its norm away, want the same"


if __name__ == "__main__":
    main()
