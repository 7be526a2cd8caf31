"""What a log of a training shows: the loss, and the scores of the validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cmr_course.validate import require


def learning_curve(
    entries: Iterable[Mapping[str, Any]],
    *,
    terms: Sequence[str] = ("loss",),
    metric: str = "psnr",
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Terms of the loss over the steps, and beside them, where there was a validation, its mean `metric`.

    entries: of :func:`cmr_course.training.read_log`. lines: scores of other methods by name, as level lines.
    """
    entries = list(entries)
    trained = [entry for entry in entries if "loss" in entry]
    checked = [entry for entry in entries if metric in entry.get("validation", {})]
    require(bool(trained), f"entries: got {len(entries)}, none with a loss, want the log of a training")
    for name in terms:
        require(name in trained[0], f"terms: got {name}, want some of {', '.join(trained[0])}")
    figure, axes = plt.subplots(
        1, 2 if checked else 1, figsize=(8 if checked else 4.5, 3), squeeze=False, layout="constrained"
    )
    for name in terms:
        axes[0, 0].plot([entry["step"] for entry in trained], [entry[name] for entry in trained], label=name)
    axes[0, 0].set(xlabel="step", ylabel="training loss")
    if len(terms) > 1:
        axes[0, 0].legend()
    if checked:
        right = axes[0, 1]
        right.plot(
            [e["step"] for e in checked], [e["validation"][metric] for e in checked], marker="o", label="network"
        )
        for style, (name, value) in zip(("--", ":", "-."), (lines or {}).items(), strict=False):
            right.axhline(value, linestyle=style, color="0.4", label=name)
        right.set(xlabel="step", ylabel=f"validation {metric.upper()}" + (" (dB)" if metric == "psnr" else ""))
        right.legend()
    return figure
