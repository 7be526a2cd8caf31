"""Data consistency and the cascade of convolutional networks by Schlemper et al., as released."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.one_coil import measurement, series
from cmr_course.networks import D5C5, DataConsistency
from tests.parity.runner import Fixture, check, close


def pairs(image: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`series`."""
    frames = image[:, 0] if like.ndim == 4 else image.movedim(1, -1)
    return torch.stack([frames.real, frames.imag], 1)


@check("crnn_dataconsistency")
def data_consistency(fixture: Fixture) -> None:
    for case in fixture.config["cases"]:
        key = case["key"]
        x, k0, mask, weight = (fixture[f"in/{key}/{name}"] for name in ("x", "k0", "mask", "w"))
        x = x.clone().requires_grad_()
        encoding, measured = measurement(k0, mask)
        got = pairs(DataConsistency(case["noise_lvl"])(series(x), encoding, measured), x)
        close(f"{key}/y", got.detach(), fixture[f"out/{key}/y"], 1e-5)
        (gradient,) = torch.autograd.grad((got * weight).sum(), x)
        close(f"{key}/grad_x", gradient, fixture[f"out/{key}/grad_x"], 1e-4)
        fixture.ran += 1


@check("dncn", "dncn3d")
def cascade(fixture: Fixture) -> None:
    kwargs: dict[str, Any] = fixture.config["kwargs"]
    state = {name.removeprefix("state/"): fixture[name] for name in fixture.names if name.startswith("state/")}
    network = D5C5.from_released(state)
    assert len(network.stages) == kwargs["nc"]
    x, k, mask = (fixture[f"in/{name}"] for name in "xkm")
    encoding, measured = measurement(k, mask)
    image = network.refine(series(x), encoding, measured)[-1]
    close("y", pairs(image.detach(), x), fixture["out/y"], 1e-5)
    fixture.ran += 1
