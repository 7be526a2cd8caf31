"""What the pictures accept, and the range they are shown on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from cmr_course.image import quantile
from cmr_course.validate import is_number, is_whole, require, say

SHOWN_QUANTILE = 0.998
"""The brightest grey is this quantile of what is shown: a single bright pixel does not darken the rest."""


@runtime_checkable
class HasMagnitude(Protocol):
    """A record with an image: `Truth`, `Reconstruction`, or anything else with `magnitude()`."""

    def magnitude(self) -> Tensor:
        """|image|, (batch, frame, y, x)."""
        ...


Shown = Tensor | HasMagnitude
"""An image (y, x), a series (frame, y, x), a batch of series (batch, frame, y, x), or a record that holds one."""

T = TypeVar("T")


def require_named(name: str, pictures: Mapping[str, T]) -> None:
    """`pictures` must be a mapping from names to what is shown, with at least one entry."""
    require(
        isinstance(pictures, Mapping), f"{name}: got {type(pictures).__name__}, want a mapping from names to pictures"
    )
    require(len(pictures) > 0, f"{name}: got an empty mapping, want at least one picture")
    for key in pictures:
        require(isinstance(key, str), f"{name}: got {say(key)} as a name, want text")


def complex_series(name: str, value: Shown, item: int = 0) -> Shaped[Tensor, "frame y x"]:
    """The values of `value` as they are, on the CPU, one batch item, an image as a series of one frame.

    Raises:
        ValueError: something that is no picture, an item that is not there, nothing finite.
    """
    tensor = value if isinstance(value, Tensor) else getattr(value, "image", None)
    if tensor is None and isinstance(value, HasMagnitude):
        tensor = value.magnitude()
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name}: got {type(value).__name__}, want a tensor or a record that has an image")
    require(
        tensor.ndim in (2, 3, 4) and tensor.numel() > 0,
        f"{name}: got shape {tuple(tensor.shape)}, want (y, x), (frame, y, x) or (batch, frame, y, x), none empty",
    )
    if tensor.ndim == 4:
        there = is_whole(item) and -len(tensor) <= item < len(tensor)
        require(there, f"item: got {say(item)}, want a batch item of {name} (0…{len(tensor) - 1})")
        tensor = tensor[item]
    series = tensor.detach().cpu()
    series = series if series.ndim == 3 else series[None]
    require(bool(torch.isfinite(series).any()), f"{name}: got NaN or infinity everywhere, want finite values")
    return series


def series_of(name: str, value: Shown, item: int = 0) -> Float[Tensor, "frame y x"]:
    """The real series that is shown: the magnitude of what is complex, anything else as it is."""
    series = complex_series(name, value, item)
    if series.is_complex():
        series = series.abs()
    return series.double() if series.dtype == torch.float64 else series.float()


def frame_of(name: str, series: Shaped[Tensor, "frame y x"], frame: int) -> Shaped[Tensor, "y x"]:
    """One frame of a series; a series of one frame is the same at every time."""
    frames = len(series)
    there = is_whole(frame) and (frames == 1 or -frames <= frame < frames)
    require(there, f"frame: got {say(frame)}, want a frame of {name} (0…{frames - 1})")
    return series[0 if frames == 1 else frame]


def image_of(name: str, value: Shown, frame: int = 0, item: int = 0) -> Float[Tensor, "y x"]:
    """One frame of :func:`series_of`."""
    return frame_of(name, series_of(name, value, item), frame)


def require_same_size(name: str, pictures: Mapping[str, Tensor], *, frames: bool = True) -> None:
    """All `pictures` must have one shape, or with ``frames=False`` one (y, x)."""
    shapes = {key: tuple(picture.shape if frames else picture.shape[-2:]) for key, picture in pictures.items()}
    wanted = next(iter(shapes.values()))
    for key, got in shapes.items():
        require(got == wanted, f"{name}: got shape {got} for {key!r}, want {wanted} as the first has")


def shown_range(pictures: Iterable[Tensor], vmax: float | None = None) -> tuple[float, float]:
    """(lowest, highest) value shown for all `pictures`: zero to `vmax`, symmetric about zero where values are signed.

    Without `vmax` the highest is the 99.8th percentile of all magnitudes, their maximum where that is zero.
    """
    values = torch.cat([picture.flatten() for picture in pictures])
    values = values[torch.isfinite(values)]
    if vmax is None:
        top = float(quantile(values.abs(), SHOWN_QUANTILE)) or float(values.abs().max()) or 1.0
    else:
        require(is_number(vmax) and 0 < vmax < float("inf"), f"vmax: got {say(vmax)}, want a number above zero")
        top = float(vmax)
    return (-top if bool((values < 0).any()) else 0.0), top


def say_range(low: float, high: float) -> str:
    """The shown range in words, as it stands under a picture."""
    return f"{low:.3g} … {high:.3g}".replace("-", "−")


def phase_of(image: Complex[Tensor, "y x"], threshold: float) -> Float[Tensor, "y x"]:
    """Phase in (−π, π], NaN where the magnitude is below `threshold` times its 99.8th percentile."""
    magnitude = image.abs()
    top = shown_range([magnitude])[1]
    return image.angle().masked_fill(magnitude < threshold * top, float("nan"))
