"""The processes of one training: alone, or as many as ``torchrun`` started, on one machine or several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cmr_course.checkout import device_name
from cmr_course.training.recipe import Recipe
from cmr_course.validate import require


@dataclass(frozen=True)
class World:
    """This process among all: `rank` from 0 to below `size`, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def name(self) -> str:
        """The devices in words."""
        one = device_name(self.device)
        return one if self.size == 1 else f"{self.size} processes, {one}"

    def spread(self, network: nn.Module) -> nn.Module:
        """`network`, whose gradients are averaged over all processes in every backward pass."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def apart(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Gradients are added up and not averaged yet, unless this is the `last` part of a step."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) and not last else nullcontext()

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of `value` over all processes."""
        if self.size > 1:
            value = value.clone()
            distributed.all_reduce(value)
            value /= self.size
        return value

    def gathered(self, values: list[Any]) -> list[Any]:
        """What process r holds at place i comes to place r + i · size: the order before it was dealt out."""
        if self.size == 1:
            return values
        everywhere: list[Any] = [None] * self.size
        distributed.all_gather_object(everywhere, values)
        total = sum(map(len, everywhere))
        return [everywhere[place % self.size][place // self.size] for place in range(total)]


@contextmanager
def joined(recipe: Recipe) -> Iterator[World]:
    """Join the processes that ``torchrun`` started for `recipe`, or be the only one; leave them at the end."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    started = f"{size} {'process' if size == 1 else 'processes'}"
    how = f"torchrun --nproc-per-node {recipe.processes} -m cmr_course train …, or processes: {size} in the recipe"
    require(size == recipe.processes, f"processes: the recipe wants {recipe.processes}, got {started}, want {how}")
    device = _device(recipe.device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(0, 1, device)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size, device)
    finally:
        distributed.destroy_process_group()


def _device(wanted: str, place: int) -> torch.device:
    """The device of the process that is the `place`-th on its machine."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not there):
        return torch.device("cpu")
    if place >= there:
        raise ValueError(f"device: got {there} GPUs here for process number {place + 1}, want one each, or device: cpu")
    return torch.device("cuda", place)
