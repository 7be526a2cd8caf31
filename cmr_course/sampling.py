"""Which k-space samples are measured: the k-t masks of the field, and the factor by which they really accelerate.

The phase encoding ky is the second to last axis and is what costs time; kx, the readout, comes for free. The rules are
those of the CMRxRecon 2024 mask generator (Wang et al. 2025, doi:10.1148/ryai.240443), whose arrays are (kx, ky, t).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.fourier import fft_t, ifft2c
from cmr_course.validate import (
    is_number,
    is_whole,
    require,
    require_axes,
    require_generator,
    require_whole,
    say,
)

KINDS = ("full", "uniform", "kt_uniform", "kt_gaussian", "kt_radial")
"""The kinds of mask that :class:`Sampling` knows; hyphens are read as underscores."""

GOLDEN_ANGLE = 137.5
"""Degrees by which the spokes of one frame are rotated against those of the frame before."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A sampling mask and what a table has to say about it.

    sampled: bool (batch or 1, frame or 1, 1, ky, kx or 1), true where a sample is measured.
    acs: (ky lines, kx points) of the fully sampled centre, shared by all frames. Where the kx axis has length one,
        the mask holds for the whole readout and so does its ACS; the second number is then 1.
    kind: ``uniform``, ``kt_uniform``, ``kt_gaussian``, ``kt_radial``, or any other name.
    nominal_acceleration: the R that was asked for, ACS not counted, or None where nobody named one.
    """

    sampled: Bool[Tensor, "batch frame 1 ky kx"]
    acs: tuple[int, int]
    kind: str = "custom"
    nominal_acceleration: float | None = None

    def __post_init__(self) -> None:
        require_axes("mask", self.sampled, "batch frame coil ky kx")
        require(self.sampled.dtype == torch.bool, f"mask: got {self.sampled.dtype}, want torch.bool")
        require(self.sampled.shape[2] == 1, f"mask: got {self.sampled.shape[2]} along the coil axis, want 1")
        require_acs(self.acs, self.sampled)
        nominal = self.nominal_acceleration
        named = nominal is None or is_number(nominal)
        require(named, f"nominal_acceleration: got {say(nominal)}, want a number, or None")

    @property
    def realised_acceleration(self) -> float:
        """Number of k-space points divided by the number sampled, ACS counted, over the whole mask."""
        return self.sampled.numel() / max(int(self.sampled.sum()), 1)

    def to(self, device: torch.device | str) -> Mask:
        """The same mask on `device`."""
        return replace(self, sampled=self.sampled.to(device))

    def __repr__(self) -> str:
        nominal = "?" if self.nominal_acceleration is None else f"{self.nominal_acceleration:g}"
        acs = f"{self.acs[0]} lines" if self.sampled.shape[4] == 1 else f"{self.acs[0]} x {self.acs[1]}"
        return (
            f"Mask({self.kind}, {tuple(self.sampled.shape)}, nominal R = {nominal}, "
            f"realised R = {self.realised_acceleration:.2f}, ACS {acs})"
        )


@dataclass(frozen=True)
class Sampling:
    """How to sample, before the matrix is known: the settings of one mask.

    kind: one of :data:`KINDS`.
    acceleration: nominal R, ACS not counted.
    acs: fully sampled centre lines (k-t radial: the side of a square), or None for :func:`course_acs`.
    offset: first line of a uniform mask. alpha: how much a k-t Gaussian mask prefers the centre.
    challenge_bug: see :func:`kt_uniform`.
    """

    kind: str = "full"
    acceleration: float = 1.0
    acs: int | None = None
    offset: int = 0
    alpha: float = 0.2
    challenge_bug: bool = False

    def __post_init__(self) -> None:
        kind = str(self.kind).replace("-", "_")
        require(kind in KINDS, f"kind: got {self.kind!r}, want one of {', '.join(KINDS)}")
        _require_acceleration(self.acceleration)
        full = kind != "full" or self.acceleration == 1
        require(full, f"acceleration: got {self.acceleration:g} with kind 'full', want 1")
        object.__setattr__(self, "kind", kind)

    def mask(self, ky: int, kx: int, frames: int, generator: torch.Generator | None = None) -> Mask:
        """The mask of a (`ky`, `kx`) matrix and `frames` frames; only ``kt_gaussian`` draws from `generator`."""
        require_whole("kx", kx)
        require_whole("frames", frames)
        if self.kind == "full":
            return full(ky)
        if self.kind == "uniform":
            return uniform(ky, self.acceleration, acs=self.acs, offset=self.offset)
        if self.kind == "kt_uniform":
            return kt_uniform(ky, frames, self.acceleration, acs=self.acs, challenge_bug=self.challenge_bug)
        if self.kind == "kt_radial":
            return kt_radial(ky, kx, frames, self.acceleration, acs=self.acs)
        if generator is None:
            raise ValueError("generator: got None, want a torch.Generator for kind 'kt_gaussian'")
        return kt_gaussian(ky, frames, self.acceleration, generator=generator, acs=self.acs, alpha=self.alpha)


def course_acs(ky: int) -> int:
    """ACS lines of the course's own masks: max(8, round(24·ky/256)), never more than there are lines.

    A fixed 24 lines would sample 19 % of a 128-line matrix whatever the nominal acceleration says.
    """
    require_whole("ky", ky)
    return min(ky, max(8, round(24 * ky / 256)))


def full(ky: int) -> Mask:
    """Every line of every frame: (1, 1, 1, ky, 1)."""
    require_whole("ky", ky)
    return Mask(torch.ones((1, 1, 1, ky, 1), dtype=torch.bool), (ky, 1), "full", 1.0)


def uniform(ky: int, acceleration: float, *, acs: int | None = None, offset: int = 0) -> Mask:
    """Every R-th line from `offset` on, and the ACS, the same in all frames: (1, 1, 1, ky, 1)."""
    n_acs = _checked(ky, acceleration, acs)
    require_whole("offset", offset, 0, ky - 1)
    lines = torch.zeros(ky, dtype=torch.bool)
    lines[offset:] = _lattice(ky - offset, acceleration)
    return Mask((lines | _centre(ky, n_acs)).view(1, 1, 1, ky, 1), (n_acs, 1), "uniform", float(acceleration))


def kt_uniform(
    ky: int, frames: int, acceleration: float, *, acs: int | None = None, challenge_bug: bool = False
) -> Mask:
    """Every R-th line, shifted by one line with every frame, and the ACS: (1, frame, 1, ky, 1).

    For a whole R, (ky, t) is sampled where (ky − t) mod R = 0; together, R frames see every line.

    challenge_bug: the generator of CMRxRecon 2024 halves an odd number of frames without rounding it, which moves
    every sample back by ky/2 along the frames laid end to end; what falls off the start gathers in the first sample.
    With this option the masks of odd series equal that generator's; even series never differ. Where ky is odd too the
    generator follows no known rule, and the option raises ValueError.
    """
    n_acs = _checked(ky, acceleration, acs)
    require_whole("frames", frames)
    shift = torch.arange(ky) - torch.arange(frames)[:, None]
    later, earlier = _lattice(ky, acceleration), _lattice(frames, acceleration)
    lines = torch.where(shift >= 0, later[shift.clamp(min=0)], earlier[(-shift).clamp(min=0)])
    if challenge_bug and frames % 2:
        require(ky % 2 == 0, f"challenge_bug: got ky = {ky} and frames = {frames}, want one of them even")
        moved = (lines.flatten().nonzero() - ky // 2).clamp(min=0)
        lines = torch.zeros(frames * ky, dtype=torch.bool).index_fill(0, moved.flatten(), True).view(frames, ky)
    sampled = (lines | _centre(ky, n_acs)).view(1, frames, 1, ky, 1)
    return Mask(sampled, (n_acs, 1), "kt_uniform", float(acceleration))


def kt_gaussian(
    ky: int,
    frames: int,
    acceleration: float,
    *,
    generator: torch.Generator,
    acs: int | None = None,
    alpha: float = 0.2,
) -> Mask:
    """In each frame round(ky/R) random lines, denser in the centre, and the ACS: (1, frame, 1, ky, 1).

    Lines are drawn with replacement from :func:`gaussian_density`; one that is drawn again goes to the nearest vacant
    line of its frame, to either side with equal chance where two are as near.
    """
    n_acs = _checked(ky, acceleration, acs)
    require_whole("frames", frames)
    require_generator("generator", generator)
    n_lines = min(math.floor(ky / acceleration + 0.5), ky)  # halves go up, as in MATLAB
    require(n_lines > 0, f"acceleration: got {acceleration:g}, want at most {2 * ky} for {ky} lines")
    density = gaussian_density(ky, alpha).to(generator.device)
    drawn = torch.multinomial(density.expand(frames, ky), n_lines, replacement=True, generator=generator)
    times_drawn = torch.zeros(frames, ky, dtype=torch.int64, device=generator.device).scatter_add_(
        1, drawn, torch.ones_like(drawn)
    )
    lines = times_drawn > 0
    position = torch.arange(ky, device=generator.device)
    again = (times_drawn - 1).clamp(min=0)
    frame_and_line = again.nonzero().repeat_interleave(again[again > 0], dim=0)
    # Half a line of jitter decides between two vacant lines at the same distance, and nothing else.
    jitter = torch.rand(len(frame_and_line), ky, generator=generator, device=generator.device) / 2
    for (frame, line), tie in zip(frame_and_line.tolist(), jitter, strict=True):
        distance = (position - line).abs() + tie
        lines[frame, distance.masked_fill(lines[frame], math.inf).argmin()] = True
    sampled = (lines | _centre(ky, n_acs).to(lines.device)).view(1, frames, 1, ky, 1)
    return Mask(sampled, (n_acs, 1), "kt_gaussian", float(acceleration))


def gaussian_density(ky: int, alpha: float = 0.2) -> Float[Tensor, " ky"]:
    """Chance of each line in a k-t Gaussian draw, sum one: 0.1 + α/(1−α)·exp(−p²/σ²), σ = ky/5, p from the centre."""
    require_whole("ky", ky)
    require(is_number(alpha) and 0 <= alpha < 1, f"alpha: got {say(alpha)}, want 0 or more and less than 1")
    p = torch.arange(ky, dtype=torch.float64) - ky // 2
    density = 0.1 + alpha / (1 - alpha) * torch.exp(-((p / (ky / 5)) ** 2))
    return density / density.sum()


def kt_radial(ky: int, kx: int, frames: int, acceleration: float, *, acs: int | None = None) -> Mask:
    """Spokes through the centre on the Cartesian grid, and a square ACS: (1, frame, 1, ky, kx).

    A frame has floor(180/(0.6·R)) + 1 spokes, equally spaced from 0° to 180°, both ends included, and is rotated
    against the one before by 137.5°. A spoke is one pixel wide, so small matrices are accelerated far less than R.
    """
    require_whole("kx", kx)
    n_acs = min(_checked(ky, acceleration, acs), kx) if acs is None else _checked(ky, acceleration, acs)
    require_whole("frames", frames)
    require(n_acs <= kx, f"acs: got {n_acs} points, want at most the {kx} of kx")
    n_gaps = math.floor(180 / (0.6 * acceleration))
    require(n_gaps > 0, f"acceleration: got {acceleration:g}, want at most 300 for a radial mask")
    spokes = torch.arange(n_gaps + 1, dtype=torch.float64) * 180 / n_gaps
    angles = spokes + GOLDEN_ANGLE * torch.arange(frames, dtype=torch.float64)[:, None]
    side = max(ky, kx)
    first_ky, first_kx = side // 2 - ky // 2, side // 2 - kx // 2
    points = _spokes(side, angles)[:, first_ky : first_ky + ky, first_kx : first_kx + kx]
    centre = _centre(ky, n_acs)[:, None] & _centre(kx, n_acs)
    sampled = (points | centre).view(1, frames, 1, ky, kx)
    return Mask(sampled, (n_acs, n_acs), "kt_radial", float(acceleration))


def require_acs(acs: tuple[int, int], sampled: Bool[Tensor, "batch frame 1 ky kx"]) -> None:
    """Some point must be sampled, and all of the centred block `acs` = (ky lines, kx points) in every frame.

    Where the kx axis has length one, which stands for the whole readout, only the lines count.
    """
    require(sampled.is_meta or bool(sampled.any()), "mask: got no sampled point, want at least one")
    lines, points = acs if isinstance(acs, tuple) and len(acs) == 2 else (-1, -1)
    ky, kx = sampled.shape[-2:]
    fits = is_whole(lines) and 0 <= lines <= ky and is_whole(points) and points >= 0 and (points <= kx or kx == 1)
    require(fits, f"acs: got {say(acs)}, want whole numbers (ky lines, kx points), at most the mask's {(ky, kx)}")
    width = points if kx > 1 else 1
    centre = sampled.narrow(-2, ky // 2 - lines // 2, lines).narrow(-1, kx // 2 - width // 2, width)
    missing = 0 if sampled.is_meta else int((~centre).sum())
    require(missing == 0, f"acs: got {acs}, of which the mask leaves out {missing} points, want all of them sampled")


def detect_acs(sampled: Bool[Tensor, "batch frame 1 ky kx"]) -> tuple[int, int]:
    """(ky lines, kx points) of the largest centred block that every frame samples, for masks read from a file.

    A block of n in an axis of N starts at N//2 − n//2. Largest means: by the shorter side, then by area, so that one
    long spoke does not win over the square of a radial mask; an axis of length one (a mask for the whole readout)
    does not count as a side. A fully sampled mask gives the whole matrix, an unsampled centre (0, 0).

    A lattice line that lies next to the block in every frame cannot be told from it and makes it one line larger.
    """
    require_axes("mask", sampled, "batch frame coil ky kx")
    require(sampled.dtype == torch.bool, f"mask: got {sampled.dtype}, want torch.bool")
    always = sampled.all(0).all(0).all(0)
    ky, kx = always.shape
    if kx == 1:
        always = always.expand(ky, ky)  # as if square: the ky side alone decides
    along = always[:, _centre_out(always.shape[1]).to(always.device)]
    points = along.cumprod(1).sum(1)  # of each line, how many around its centre
    width = points[_centre_out(ky).to(always.device)].cummin(0).values.tolist()  # of the first 1, 2, … lines
    blocks = [(lines, points) for lines, points in enumerate(width, start=1) if points]
    if not blocks:
        return 0, 0
    lines, points = max(blocks, key=lambda block: (min(block), block[0] * block[1]))
    return lines, 1 if kx == 1 else points


def point_spread_function(mask: Mask, dtype: torch.dtype = torch.complex64) -> Complex[Tensor, "batch frame y x"]:
    """What each frame makes of a single bright pixel: F⁻¹(mask), centred, 1 at its peak, in image space.

    Undersampling multiplies k-space by the mask and so convolves the image with this. For a mask whose kx axis has
    length one the x axis has length one too: nothing spreads along the readout. A frame without samples gives zeros.
    """
    samples = mask.sampled.squeeze(2).to(dtype)
    spread = ifft2c(samples) * math.prod(samples.shape[-2:]) ** 0.5
    return spread / samples.real.sum((-2, -1), keepdim=True).clamp(min=1)


def kt_point_spread_function(mask: Mask, dtype: torch.dtype = torch.complex64) -> Complex[Tensor, "batch f y x"]:
    """The same in y–f space, transformed over time as well: (batch, temporal frequency, y, x), 1 at its peak.

    Sampling that changes from frame to frame sends aliases to other temporal frequencies, where a heart has little
    signal (Tsao et al. 2003, doi:10.1002/mrm.10611).
    """
    samples = mask.sampled.squeeze(2).to(dtype)
    spread = fft_t(ifft2c(samples)) * math.prod(samples.shape[1:]) ** 0.5
    return spread / samples.real.sum((1, 2, 3), keepdim=True).clamp(min=1)


def _lattice(n: int, acceleration: float) -> Bool[Tensor, " n"]:
    """Every R-th of `n` positions from the first on, rounded half up where R is not whole."""
    count = math.floor((n - 1) / acceleration + 1e-10) + 1
    lines = torch.zeros(n, dtype=torch.bool)
    lines[(torch.arange(count, dtype=torch.float64) * acceleration + 0.5).floor().long()] = True
    return lines


def _centre(n: int, length: int) -> Bool[Tensor, " n"]:
    """True in the centred block of `length` out of `n`."""
    first = n // 2 - length // 2
    position = torch.arange(n)
    return (position >= first) & (position < first + length)


def _centre_out(n: int) -> Tensor:
    """Positions in the order in which a growing centred block takes them: n//2, n//2 − 1, n//2 + 1, …"""
    step = torch.arange(1, n + 1)
    return n // 2 + torch.where(step % 2 == 0, -(step // 2), step // 2)


def _spokes(side: int, angles: Float[Tensor, "frame spoke"]) -> Bool[Tensor, "frame ky kx"]:
    """One-pixel lines through the middle of a square of `side`, rotated by `angles` (degrees), united in each frame.

    The line lies at kx index round(side/2) − 1 for angle 0 and is turned about (side − 1)/2, so that in an even square
    it runs half a pixel beside the pivot. A pixel is on a spoke where, turned back, its nearest neighbour is.
    """
    pivot = (side - 1) / 2
    row = (side + 1) // 2 - 1
    angles = angles % 360
    radians = angles[..., None, None] * math.pi / 180
    quarter = (angles % 90 == 0)[..., None, None]  # exact there, or ties are decided by the last bit of a cosine
    sine = torch.where(quarter, radians.sin().round(), radians.sin())
    cosine = torch.where(quarter, radians.cos().round(), radians.cos())
    # Walk along the axis that the spoke follows; across it, the spoke covers at most two neighbours: try three.
    steep = sine.abs() > cosine.abs()
    across, follow = torch.where(steep, sine, cosine), torch.where(steep, cosine, sine)
    walk = torch.arange(side, dtype=torch.float64)[:, None] - pivot
    nearest = ((row - pivot - follow * walk) / across + pivot).round()
    other = nearest + torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) - pivot
    kx, ky = torch.where(steep, walk, other), torch.where(steep, other, walk)
    turned_back = cosine * kx + sine * ky
    on_spoke = (turned_back + pivot + 0.5).floor() == row
    if side % 2 == 0:
        for degrees in (45, 135, 225, 315):
            tie = (angles == degrees)[..., None, None] & (turned_back.abs() < 0.1)
            on_spoke = torch.where(tie, _diagonal_ties(side, degrees)[(kx + pivot).long().clamp(0, side - 1)], on_spoke)
    inside = ((cosine * ky - sine * kx).abs() <= pivot) & (other.abs() <= pivot)
    hit = (inside & on_spoke).nonzero(as_tuple=True)
    mask = torch.zeros((angles.shape[0], side, side), dtype=torch.bool)
    mask[hit[0], (ky[hit] + pivot).round().long(), (kx[hit] + pivot).round().long()] = True
    return mask


def _diagonal_ties(side: int, degrees: int) -> Bool[Tensor, " kx"]:
    """Whether a spoke at 45°, 135°, 225° or 315° in an even square takes the pixels that lie half a pixel beside it.

    In exact arithmetic all of these pixels are ties, one for each kx. The challenge's masks decide them by the rounding
    errors of Octave's `imrotate`, so this repeats its steps in double precision: the rotation and its shift as a matrix
    (the shift with one fused multiply-add), inverted by elimination with a pivot, applied with another fused step.
    """
    sine, cosine = math.sin(degrees * math.pi / 180), math.cos(degrees * math.pi / 180)
    middle = (side + 1) / 2  # positions are counted from 1 here
    first = (cosine, sine, middle - _fused(sine, middle, cosine * middle))
    second = (-sine, cosine, middle - _fused(cosine, middle, -sine * middle))
    swap = abs(sine) > abs(cosine)
    pivot_row, other_row = (second, first) if swap else (first, second)
    factor = other_row[0] * (1 / pivot_row[0])
    inverse = 1 / (other_row[1] - factor * pivot_row[1])
    shift = -(inverse * (other_row[2] - factor * pivot_row[2]))
    of_ky, of_kx = (inverse, -factor * inverse) if swap else (-factor * inverse, inverse)
    kx = range(1, side + 1)
    ky = [position if degrees % 180 == 135 else side + 1 - position for position in kx]
    turned_back = [_fused(of_kx, x, of_ky * y) + shift for x, y in zip(kx, ky, strict=True)]
    return torch.tensor([math.floor(value + 0.5) == (side + 1) // 2 for value in turned_back])


def _fused(a: float, b: float, c: float) -> float:
    """a·b + c, rounded once (`math.fma` from Python 3.13 on)."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


def _require_acceleration(acceleration: float) -> None:
    good = is_number(acceleration) and 1 <= acceleration < math.inf
    require(good, f"acceleration: got {say(acceleration)}, want a number of 1 or more")


def _checked(ky: int, acceleration: float, acs: int | None) -> int:
    """Check what all masks share; the number of ACS lines."""
    require_whole("ky", ky)
    _require_acceleration(acceleration)
    n_acs = course_acs(ky) if acs is None else acs
    require(is_whole(n_acs) and 0 <= n_acs <= ky, f"acs: got {say(n_acs)} lines, want 0 to the {ky} of ky")
    return n_acs
