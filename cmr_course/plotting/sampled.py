"""K-space as log magnitude, and sampling masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cmr_course.acquisition import Acquisition
from cmr_course.plotting.inputs import require_named
from cmr_course.plotting.panels import columns_for
from cmr_course.plotting.style import grid, wrapped
from cmr_course.sampling import Mask
from cmr_course.validate import is_whole, require, require_positive, say

SHARED_MASK_FRAMES = 12
"""A mask that is the same in every frame is drawn with this many."""


def _plane(name: str, value: Tensor | Acquisition, frame: int, coil: int, item: int) -> Tensor:
    kspace = value.kspace if isinstance(value, Acquisition) else value
    require(isinstance(kspace, Tensor), f"kspaces: got {type(value).__name__} for {name!r}, want a tensor")
    require(
        kspace.ndim in (2, 5) and kspace.numel() > 0,
        f"kspaces: got shape {tuple(kspace.shape)} for {name!r}, want (ky, kx) or (batch, frame, coil, ky, kx)",
    )
    if kspace.ndim == 5:
        asked = {"item": item, "frame": frame, "coil": coil}
        for (axis, index), length in zip(asked.items(), kspace.shape, strict=False):
            there = is_whole(index) and -length <= index < length
            require(there, f"{axis}: got {say(index)}, want one of {name!r} (0…{length - 1})")
        kspace = kspace[item, frame, coil]
    magnitude = kspace.detach().cpu().abs().float()
    require(bool(torch.isfinite(magnitude).any()), f"kspaces: got NaN or infinity everywhere for {name!r}")
    return magnitude


def _extent(ky: int, kx: int) -> tuple[float, float, float, float]:
    """Edges of the drawn plane, so that sample (ky // 2, kx // 2) lies at (0, 0) and ky grows downwards."""
    return -(kx // 2) - 0.5, kx - kx // 2 - 0.5, ky - ky // 2 - 0.5, -(ky // 2) - 0.5


def _centre_ticks(length: int) -> list[int]:
    reach = length // 4 if length >= 8 else 0
    return sorted({-reach, 0, reach})


def show_kspace(
    kspaces: Mapping[str, Tensor | Acquisition],
    *,
    decades: float = 4,
    columns: int | None = None,
    size: float = 2.4,
    frame: int = 0,
    coil: int = 0,
    item: int = 0,
) -> Figure:
    """Log magnitude of k-space, ky down and kx to the right with the centre at 0, all on one range of `decades`.

    The brightest value of all planes is at the top of the range; what is weaker than the range, or zero, is black.
    frame, coil, item: which plane of (batch, frame, coil, ky, kx) or of an Acquisition is shown.
    """
    require_named("kspaces", kspaces)
    require_positive("decades", decades)
    planes = {name: _plane(name, value, frame, coil, item) for name, value in kspaces.items()}
    peak = max(float(plane[torch.isfinite(plane)].max()) for plane in planes.values()) or 1.0
    n_columns = columns_for(len(planes), columns)
    rows = -(-len(planes) // n_columns)
    tallest = max(plane.shape[0] / plane.shape[1] for plane in planes.values())
    figure, axes, width = grid(rows, n_columns, size=size, aspect=tallest, extra_height=0.5, extra_width=0.9)
    for panel in axes.flat[len(planes) :]:
        panel.axis("off")
    for panel, (name, plane) in zip(axes.flat, planes.items(), strict=False):
        shown = torch.log10(plane / peak).clamp(min=-decades)
        ky, kx = plane.shape
        drawn = panel.imshow(shown.numpy(), cmap="gray", vmin=-decades, vmax=0, extent=_extent(ky, kx))
        panel.set_title(wrapped(name, width))
        panel.set(xticks=_centre_ticks(kx), yticks=_centre_ticks(ky), xlabel="kx")
    for row in axes:
        row[0].set_ylabel("ky")
    bar = figure.colorbar(drawn, ax=list(axes.flat), shrink=0.8, ticks=range(-int(decades), 1))
    bar.set_label(f"log₁₀ (|k| / max), {decades:g} decades")
    return figure


def _pattern(mask: Mask, item: int) -> Bool[Tensor, "frame ky kx"]:
    sampled = mask.sampled.detach().cpu()
    batch = len(sampled)
    there = is_whole(item) and (batch == 1 or -batch <= item < batch)
    require(there, f"item: got {say(item)}, want a batch item of the mask (0…{batch - 1})")
    return sampled[0 if batch == 1 else item, :, 0]


def _draw_lines(panel: Axes, pattern: Tensor, title: str) -> None:
    """ky–t pattern: a column for each frame."""
    lines = pattern[..., 0]
    if len(lines) == 1:
        lines = lines.expand(SHARED_MASK_FRAMES, -1)
    frames, ky = lines.shape
    extent = (-0.5, frames - 0.5, ky - ky // 2 - 0.5, -(ky // 2) - 0.5)
    panel.imshow(lines.T.numpy(), cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
    panel.set(title=title, xlabel="frame", yticks=_centre_ticks(ky))
    panel.set_ylabel("ky", labelpad=-4)
    panel.set_xticks([0, frames - 1] if frames > 1 else [0])


def _draw_planes(panels: list[Axes], pattern: Tensor, title: str) -> None:
    """ky–kx plane of the first frames, one below the other."""
    for index, (panel, plane) in enumerate(zip(panels, pattern, strict=False)):
        picture = plane.float().numpy()
        panel.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=_extent(*plane.shape))
        panel.set(xticks=[], yticks=[], ylabel="ky", xlabel=f"kx, frame {index}", anchor="N")
    panels[0].set_title(title)


def show_masks(masks: Mapping[str, Mask], *, size: float = 1.8, item: int = 0) -> Figure:
    """What is sampled (white): ky against frame, or ky–kx of the first two frames where that depends on kx.

    The nominal and the realised acceleration stand in each title.
    """
    require_named("masks", masks)
    for name, mask in masks.items():
        require(isinstance(mask, Mask), f"masks: got {type(mask).__name__} for {name!r}, want a Mask")
    columns = min(len(masks), 4)
    rows = -(-len(masks) // columns)
    figure, axes, width = grid(rows, columns, size=size, aspect=1.6, extra_height=0.8, layout="constrained")
    for panel in axes.flat[len(masks) :]:
        panel.axis("off")
    for panel, (name, mask) in zip(axes.flat, masks.items(), strict=False):
        pattern = _pattern(mask, item)
        nominal = "?" if mask.nominal_acceleration is None else f"{mask.nominal_acceleration:g}"
        title = f"{wrapped(name, width)}\nnominal R = {nominal}\nrealised {mask.realised_acceleration:.2f}"
        if bool((pattern == pattern[..., :1]).all()):
            _draw_lines(panel, pattern, title)
        else:
            _draw_planes(_split(panel, min(2, len(pattern))), pattern, title)
    return figure


def _split(panel: Axes, parts: int) -> list[Axes]:
    """Replace `panel` by `parts` panels below each other in the same place."""
    figure, place = panel.figure, panel.get_subplotspec()
    panel.remove()
    inner: Any = place.subgridspec(parts, 1) if place is not None else None
    return list(np.ravel(inner.subplots())) if figure is not None else []
