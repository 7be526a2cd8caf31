"""A training with a loss that remembers: it goes on with its memory, and domains follow each other."""

from __future__ import annotations

from dataclasses import replace

import torch

from cmr_course.training import Checkpoint, Recipe, branch, fit
from cmr_course.training.checkpoints import LAST

UNET = {
    "first": 8,
    "widths": [8, 8, 8],
    "prompt_channels": [4, 4, 4],
    "prompt_sizes": [8, 8, 8],
    "encoder": [1, 1, 1],
    "decoder": [1, 1, 1],
    "bottleneck": 1,
    "start": "zero",
}
RECIPE = Recipe.of(
    {
        "name": "aligned",
        "network": {
            "name": "genre-cmr",
            "settings": {
                "steps": 2,
                "frames": 3,
                "unet": UNET,
                "sensitivity": {"first": 4, "widths": [4, 4, 4], "prompt_channels": [4, 4, 4], "start": "identity"},
            },
        },
        "data": {
            "kind": "simulated",
            "views": ["sax", "4ch"],
            "matrices": [[40, 40]],
            "frames": [3],
            "coils": [3],
            "maps": "known",
            "window": 3,
        },
        "losses": {
            "ssim": {"every_step": True},
            "physics": {"every_step": True},
            "alignment": {"settings": {"domain": ["view"], "memory": 4}},
        },
        "optimiser": {"rate": 0.001},
        "steps": 6,
        "clip": 1.0,
        "log_every": 3,
        "checkpoint_every": 3,
        "threads": 1,
    }
)


def test_it_goes_on_with_its_memory_to_the_same_weights(tmp_path):
    whole = fit(RECIPE, tmp_path / "whole", progress=False).state_dict()
    fit(RECIPE, tmp_path / "parts", until=3, progress=False)
    kept = Checkpoint.load(tmp_path / "parts" / LAST).memories["alignment"]
    assert set(kept["banks"]) <= {"sax", "4ch"}
    assert 0 < len(kept["recent"]) <= 3
    parts = fit(RECIPE, tmp_path / "parts", progress=False).state_dict()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    ended = [Checkpoint.load(tmp_path / name / LAST).memories["alignment"] for name in ("whole", "parts")]
    assert ended[0]["recent"] == ended[1]["recent"]
    assert set(ended[0]["banks"]) == {"sax", "4ch"}, "a test of nothing where only one domain was seen"


def test_a_branch_remembers_nothing(tmp_path):
    fit(RECIPE, tmp_path / "one", until=3, progress=False)
    other = replace(RECIPE, losses={"ssim": 1.0})
    begun = branch(tmp_path / "one" / LAST, other, tmp_path / "two")
    assert begun.memories == {}
    fit(other, tmp_path / "two", progress=False)
