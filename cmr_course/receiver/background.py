"""Smooth backgrounds: the phase of the coils and the chain behind them, and the offset from resonance."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from hashlib import sha256
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.plane import Plane
from cmr_course.validate import is_number, is_pair, is_whole, require, require_generator, require_whole, say

REACH_MM = (180.0, 125.0, 200.0)
"""Half the body's length along x, y and z, over which the offset from resonance is kept to its largest value."""


def aside(generator: torch.Generator, name: str) -> torch.Generator:
    """A random stream of its own for the option `name`, on the CPU.

    It follows from the state of `generator`, which it leaves as it is, so that no other draw changes.
    """
    require_generator("generator", generator)
    copy = torch.Generator(device=generator.device)
    copy.set_state(generator.get_state())
    drawn = int(torch.randint(2**62, (), generator=copy, device=copy.device))
    digest = sha256(f"{drawn} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@functools.lru_cache(maxsize=4)
def image_terms(shape: tuple[int, int], orders: range) -> Float[Tensor, "term y x"]:
    """The monomials in y and x of total degrees `orders`, float64, with both axes running from −1 to 1.

    Not to be changed in place: the next caller gets the same ones.
    """
    y, x = ((torch.arange(n, dtype=torch.float64) - n // 2) / max(n / 2, 1) for n in shape)
    terms = [y[:, None] ** i * x[None, :] ** (degree - i) for degree in orders for i in range(degree + 1)]
    return torch.stack(terms)


def smooth_phase(
    shape: tuple[int, int],
    generator: torch.Generator,
    *,
    strength: float = 1.2,
    order: int = 2,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "{batch} {shape[0]} {shape[1]}"]:
    """Smooth background phase (batch, y, x) in radians: a random polynomial in y and x of total degree `order`.

    Scaled so that its largest absolute value is `strength`. Draws: the coefficients of batch item 0, then 1, and
    so on, each in float64, so that a larger matrix shows the same phase more finely.
    """
    pair = is_pair(shape) and all(is_whole(n) and n > 0 for n in shape)
    require(pair, f"shape: got {say(shape)}, want whole (y, x) above zero")
    require_whole("order", order)
    require_whole("batch", batch)
    good = is_number(strength) and abs(strength) < float("inf")
    require(good, f"strength: got {say(strength)}, want radians")
    require(dtype.is_floating_point, f"dtype: got {dtype}, want a real one")
    require_generator("generator", generator)
    terms = image_terms((shape[0], shape[1]), range(1, order + 1))
    drawn = torch.randn((batch, len(terms)), dtype=torch.float64, generator=generator, device=generator.device)
    phase = torch.einsum("bt,tyx->byx", drawn.cpu(), terms)
    largest = phase.abs().amax((-2, -1), keepdim=True)
    return (strength * phase / largest.clamp(min=1e-12)).to(dtype)


def field_offset(
    planes: Sequence[Plane],
    shape: tuple[int, int],
    field_of_view_mm: tuple[float, float],
    generator: torch.Generator,
    *,
    largest: float,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "plane y x"]:
    """Smooth offset from resonance in Hz, float32: a random polynomial of degree two in patient coordinates.

    One polynomial for all planes, since they lie in one body. Its largest absolute value in the body, 360 mm wide,
    250 mm deep and 400 mm long, is `largest`. Draws: nine coefficients.
    """
    good = is_number(largest) and 0 <= largest < math.inf
    require(good, f"largest: got {say(largest)}, want Hz from zero up")
    require_generator("generator", generator)
    drawn = torch.randn(9, dtype=torch.float64, generator=generator, device=generator.device).to("cpu", torch.float32)
    peak = (_body_terms() * drawn[:, None]).sum(0).abs().max()
    scaled = (largest * drawn / peak.clamp(min=1e-12)).to(device)
    reach = torch.tensor(REACH_MM, dtype=torch.float32, device=device)[:, None, None]
    offsets = []
    for plane in planes:
        terms = _place_terms(plane.points(shape, field_of_view_mm, device) / reach)
        offsets.append(torch.einsum("t,tyx->yx", scaled, terms))
    return torch.stack(offsets)


@functools.lru_cache(maxsize=1)
def _body_terms() -> Float[Tensor, "term=9 place"]:
    """The terms of :func:`_place_terms` all over the body; not to be changed in place."""
    side = torch.linspace(-1, 1, 9, dtype=torch.float32)
    body = torch.cartesian_prod(side, side, side)
    return _place_terms(body[body[:, 0] ** 2 + body[:, 1] ** 2 <= 1].T)


def _place_terms(place: Float[Tensor, "xyz=3 ..."]) -> Float[Tensor, "term=9 ..."]:
    """The three coordinates and their six products."""
    products = [place[i] * place[j] for i, j in product(range(3), repeat=2) if i <= j]
    return torch.stack([*place, *products])
