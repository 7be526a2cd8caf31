"""What a training step costs, against its convolutions alone: python -m benchmarks.training_step [--out FILE].

One process, one thread by default. Step and convolutions alone are timed in turn, so that both see the same machine;
the medians are compared. The convolutions are those that the step calls, with their shapes, layouts and precision,
forward and backward; a profile says where the rest of the step goes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from cmr_course.checkout import commit, device_name
from cmr_course.losses import LOSSES, total
from cmr_course.training import Example, Recipe, source_of
from cmr_course.training.run import seeded
from cmr_course.workers import warm_up

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "notebooks" / "training" / "method"
GROUPS = {
    "convolutions": ("convolution",),
    "Fourier transforms": ("fft",),
    "activations": ("leaky_relu",),
    "joining and copying": ("copy_", "cat", "clone", "contiguous", "fill_", "slice", "stack"),
    "sums and products": ("add", "mul", "div", "sub", "sum", "conj", "abs", "square", "mean", "where", "exp"),
    "optimiser": ("adam", "_foreach", "sqrt"),
}
"""Operators of torch by what they do; the first group whose word is in an operator's name counts it."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--method", nargs="+", default=["cascade", "d5c5"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "training_step.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warm_up()
    found = {name: measured(name, options.repeats) for name in options.method}
    told = {"commit": commit(), "device": device_name("cpu"), "threads": options.threads, "torch": torch.__version__}
    options.out.write_text(json.dumps({**told, "methods": found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def measured(name: str, repeats: int) -> dict[str, Any]:
    """Seconds of a step of the course recipe of `name`, of its convolutions, and the shares of its operators."""
    recipe = Recipe.load(RECIPES / f"{name}.course.yaml")
    data = replace(recipe.data, matrices=((128, 128),), frames=(12,), coils=(10,))  # type: ignore[arg-type]
    recipe = replace(recipe, data=data, processes=1, workers=0)
    network = seeded(recipe).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimiser = recipe.optimiser.made(network.parameters())
    began = time.perf_counter()
    example = source_of(recipe).example(0)
    making = time.perf_counter() - began

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            reconstruction = network(example.acquisition)
        losses = {one: (weight, LOSSES[one]()) for one, weight in recipe.losses.items()}
        total(losses, reconstruction, example.reference, example.acquisition)[0].backward()
        optimiser.step()
        optimiser.zero_grad()

    with seen_by_convolutions(network) as calls:
        step()
    alone = convolutions(calls, recipe.precision == "bf16")
    alone()
    times: dict[str, list[float]] = {"step": [], "convolutions": []}
    for _ in range(repeats):
        for title, work in (("step", step), ("convolutions", alone)):
            began = time.perf_counter()
            work()
            times[title].append(time.perf_counter() - began)
    whole, conv = (median(values) for values in times.values())
    return {
        "example": shape(example),
        "precision": recipe.precision,
        "step_s": round(whole, 4),
        "convolutions_s": round(conv, 4),
        "ratio": round(whole / conv, 2),
        "making_an_example_s": round(making, 4),
        "shares_of_step": shares(step),
    }


@contextmanager
def seen_by_convolutions(network: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor]]]:
    """Every convolution that is called meanwhile, with what it was given."""
    calls: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given: calls.append((module, given[0].detach().clone())))
        for module in network.modules()
        if isinstance(module, nn.Conv3d)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def convolutions(calls: list[tuple[nn.Module, Tensor]], bf16: bool) -> Callable[[], None]:
    """The same convolutions, each by itself, forward and backward."""
    given = [(module, value.requires_grad_()) for module, value in calls]

    def work() -> None:
        for module, value in given:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = module(value)
            torch.autograd.grad(out, (value, *module.parameters()), torch.ones_like(out))

    return work


def shares(step: Callable[[], None]) -> dict[str, float]:
    """What part of the time in torch's operators each group takes, in percent."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    spent = dict.fromkeys([*GROUPS, "else"], 0.0)
    for event in found.key_averages():
        name = event.key.lower()
        group = next((title for title, words in GROUPS.items() if any(word in name for word in words)), "else")
        spent[group] += event.self_cpu_time_total
    return {title: round(100 * time_ / sum(spent.values()), 1) for title, time_ in spent.items()}


def shape(example: Example) -> str:
    """Of its k-space, in words."""
    _, frames, coils, ky, kx = example.acquisition.kspace.shape
    return f"{frames} frames, {coils} coils, {ky} x {kx}"


if __name__ == "__main__":
    main()
