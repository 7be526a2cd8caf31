"""DISTS of piq, with weights that a formula gives: the arithmetic, not what people see."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmr_course.features import VGG, VGG16, l2_pool, names
from cmr_course.metrics.dists import DISTS, TAPS, resized
from tests.parity.runner import Fixture, check

DOUBLE, SINGLE = 1e-8, 1e-6  # of distances and similarities, absolute: they are of order one
DOUBLE_GRADIENT, SINGLE_GRADIENT = 1e-9, 1e-3  # of the largest value


def formula_weights(seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """VGG-16's convolutions in float32, alpha and beta raw, as section 8 of the fixtures' manifest draws them."""
    random = np.random.RandomState(seed)  # the stream that the fixture names
    weights: dict[str, Tensor] = {}
    channels = 3
    widths = (width for stage in VGG16 for width in stage)
    for index, width in zip(names(VGG16).values(), widths, strict=True):
        weight = random.standard_normal((width, channels, 3, 3)).astype(np.float32)
        weight *= np.float32(math.sqrt(2 / (channels * 9)))
        bias = np.float32(0.01) * random.standard_normal(width).astype(np.float32)
        weights[f"features.{index}.weight"] = torch.from_numpy(weight)
        weights[f"features.{index}.bias"] = torch.from_numpy(bias)
        channels = width
    alpha, beta = (torch.from_numpy(random.uniform(0, 1, size=(1, 1475, 1, 1))) for _ in range(2))
    return weights, alpha, beta


def network(weights: dict[str, Tensor], alpha: Tensor, beta: Tensor, dtype: torch.dtype) -> DISTS:
    """DISTS that computes in `dtype`."""
    return DISTS(VGG(VGG16, weights, TAPS, pooling="l2").to(dtype), alpha, beta)


@check("dists")
def dists(fixture: Fixture) -> None:
    weights, alpha, beta = formula_weights(fixture.config["seed"])
    regenerated(fixture, weights, alpha, beta)
    double = network(weights, alpha, beta, torch.float64)
    single = network(weights, alpha, beta, torch.float32)
    constants(fixture, double)
    for key in fixture.config["cases"]:
        distance(fixture, key, double, single)
        if f"out/{key}/grad_x" in fixture:
            gradients(fixture, key, double, single)
        if f"out/{key}/term_mean_0" in fixture:
            layers(fixture, key, double)
        if f"out/{key}/x_resized" in fixture:
            near(f"{key}/x_resized", resized(fixture[f"in/{key}/x"]), fixture[f"out/{key}/x_resized"], SINGLE)
        if f"out/{key}/dists_mean" in fixture:
            means_and_sums(fixture, key, double)
        fixture.ran += 1


def near(name: str, got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Assert max|got − wanted| ≤ tolerance, and equal shapes and dtypes."""
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype), f"{name}: got {got.dtype} {tuple(got.shape)}"
    error = float((got - wanted).abs().max())
    assert error <= tolerance, f"{name}: error {error:.2e}, want at most {tolerance:.0e}"


def regenerated(fixture: Fixture, weights: dict[str, Tensor], alpha: Tensor, beta: Tensor) -> None:
    """The drawn weights are those of the fixture: by their bytes or, with another libm, by their sums."""
    pairs = [(weights[f"features.{i}.weight"], weights[f"features.{i}.bias"]) for i in names(VGG16).values()]
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for pair in pairs for tensor in pair))
    for kind, position in (("weight", 0), ("bias", 1)):
        tensors = [pair[position].double() for pair in pairs]
        heads = torch.stack([tensor.flatten()[:8] for tensor in tensors]).float()
        near(f"{kind} heads", heads, fixture[f"check/conv_{kind}_head"], SINGLE)
        near(f"{kind} sums", torch.stack([t.sum() for t in tensors]), fixture[f"check/conv_{kind}_sum"], 1e-3)
    squares = torch.stack([pair[0].double().square().sum() for pair in pairs])
    near("weight squares", squares, fixture["check/conv_weight_sumsq"], 1e-3)
    if digest.hexdigest() != fixture.config["sha256_conv"]:
        fixture.except_("weights: other last bits than the fixture's, with equal sums")
    for name, values in (("alpha", alpha), ("beta", beta)):
        near(name, values.flatten(), fixture[f"weights/{name}"], 1e-15)


def constants(fixture: Fixture, double: DISTS) -> None:
    for name, values in (("mean", double.features.mean), ("std", double.features.deviation)):
        near(name, values.flatten(), fixture[f"check/{name}_f64"], 0)
    # The response to one bright pixel at (1, 1) is the kernel, seen by every second pixel.
    kernel = fixture["check/l2pool_kernel"]
    for i in range(3):
        for j in range(3):
            point = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
            point[0, 0, i, j] = 1
            corners = l2_pool(point).square()
            seen = [kernel[i + 1 - 2 * a, j + 1 - 2 * b] for a in (0, 1) for b in (0, 1) if inside(i, j, a, b)]
            near("l2pool_kernel", corners.flatten().sort().values[-len(seen) :], torch.stack(seen).sort().values, 1e-11)


def inside(i: int, j: int, a: int, b: int) -> bool:
    """Whether output (a, b) of the pooling sees input (i, j)."""
    return 0 <= i + 1 - 2 * a <= 2 and 0 <= j + 1 - 2 * b <= 2


def distance(fixture: Fixture, key: str, double: DISTS, single: DISTS) -> None:
    """The weighed sums of each layer show that alpha and beta belong to the right term, layer and channel."""
    x, y = (fixture[f"in/{key}/{name}"] for name in "xy")
    weighed = double.weighed(x.double(), y.double())
    for position, name in enumerate(("alpha", "beta")):
        near(f"{key}/partial_{name}", weighed[..., position], fixture[f"out/{key}/partial_{name}"], DOUBLE)
    near(f"{key}/dists", 1 - weighed.sum((-2, -1)), fixture[f"out/{key}/dists"], DOUBLE)
    near(f"{key}/dists_f32", single.distances(x, y), fixture[f"out/{key}/dists_f32"], SINGLE)


def gradients(fixture: Fixture, key: str, double: DISTS, single: DISTS) -> None:
    for name, model, tolerance in (("grad_x", double, DOUBLE_GRADIENT), ("grad_x_f32", single, SINGLE_GRADIENT)):
        wanted = fixture[f"out/{key}/{name}"]
        x, y = (fixture[f"in/{key}/{side}"].to(wanted.dtype) for side in "xy")
        x.requires_grad_()
        (got,) = torch.autograd.grad(model.distances(x, y).sum(), x)
        near(f"{key}/{name}", got, wanted, tolerance * float(wanted.abs().max()))


def layers(fixture: Fixture, key: str, double: DISTS) -> None:
    x, y = (fixture[f"in/{key}/{name}"].double() for name in "xy")
    for k, terms in enumerate(double.similarities(x, y)):
        for name, got in zip(("term_mean", "term_cov"), terms, strict=True):
            near(f"{key}/{name}_{k}", got, fixture[f"out/{key}/{name}_{k}"], DOUBLE)
    seen: dict[str, Any] = {"x": {"input": x, **double.features(x)}, "y": {"input": y, **double.features(y)}}
    for k, tap in enumerate(("input", *TAPS)):
        for name, features in seen.items():
            wanted = fixture[f"out/{key}/feat_mean_{name}_{k}"]
            near(f"{key}/feat_mean_{name}_{k}", features[tap].mean((-2, -1)), wanted, DOUBLE)


def means_and_sums(fixture: Fixture, key: str, double: DISTS) -> None:
    """Reductions of piq. Its sum is of the similarities, taken from one."""
    x, y = (fixture[f"in/{key}/{name}"].double() for name in "xy")
    scores = double.distances(x, y)
    near(f"{key}/dists_mean", scores.mean(), fixture[f"out/{key}/dists_mean"], DOUBLE)
    near(f"{key}/dists_sum", 1 - (1 - scores).sum(), fixture[f"out/{key}/dists_sum"], DOUBLE)
