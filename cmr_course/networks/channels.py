"""Complex series outside, two real channels inside a network."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.validate import require, require_axes, require_complex


def to_channels(image: Complex[Tensor, "batch frame y x"]) -> Float[Tensor, "batch 2 frame y x"]:
    """Real part and imaginary part as channels, side by side in memory."""
    require_axes("image", image, "batch frame y x")
    require_complex("image", image)
    return torch.stack([image.real, image.imag], 1)


def wrapped(x: Float[Tensor, "batch channel frame y x"]) -> Float[Tensor, "batch channel frame_2 y x"]:
    """One frame more on each side, for a convolution of three frames: a gated cine begins again where it ends."""
    return torch.cat([x[:, :, -1:], x, x[:, :, :1]], 2)


def to_complex(channels: Float[Tensor, "batch 2 frame y x"]) -> Complex[Tensor, "batch frame y x"]:
    """The inverse of :func:`to_channels`."""
    require_axes("channels", channels, "batch channel frame y x")
    require(channels.shape[1] == 2, f"channels: got {channels.shape[1]}, want 2, real and imaginary part")
    return torch.complex(channels[:, 0], channels[:, 1])


def stacked(image: Complex[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel_2 y x"]:
    """All real parts, then all imaginary ones, as channels."""
    return torch.cat([image.real, image.imag], 1)


def unstacked(channels: Float[Tensor, "batch channel_2 y x"]) -> Complex[Tensor, "batch channel y x"]:
    """The inverse of :func:`stacked`."""
    even = channels.shape[1] % 2 == 0
    require(even, f"channels: got {channels.shape[1]}, want an even number, real parts and imaginary parts")
    return torch.complex(*channels.chunk(2, 1))
