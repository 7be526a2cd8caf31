"""Scores on whole subjects that the training does not see."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import nn

from cmr_course.acquisition import Truth
from cmr_course.metrics import evaluate
from cmr_course.training.examples import Example
from cmr_course.training.processes import World

METRICS = ("psnr", "ssim")


def validate(network: nn.Module, examples: Sequence[Example], world: World) -> dict[str, float]:
    """Mean PSNR and SSIM over `examples`, and PSNR of each by its name.

    Examples are dealt out to the processes; every one is scored by itself, and the scores come back in their order, so
    that the numbers do not depend on how many processes there are.
    """
    was_training = network.training
    network.eval()
    own = [_scored(network, example, world) for example in examples[world.rank :: world.size]]
    network.train(was_training)
    scores = world.gathered(own)
    found = {metric: fmean(score[metric] for score in scores) for metric in METRICS}
    return found | {f"psnr of {e.names[0]}": score["psnr"] for e, score in zip(examples, scores, strict=True)}


@torch.no_grad()
def _scored(network: nn.Module, example: Example, world: World) -> dict[str, float]:
    here = example.to(world.device)
    image = network(here.acquisition).image.abs().cpu()
    scores = evaluate(image, Truth(example.reference), metrics=METRICS, regions=("full",))
    return {metric: float(scores[metric, "full"].mean()) for metric in METRICS}
