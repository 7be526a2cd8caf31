"""Relaxation times out of weighted images, and how far those of the muscle are from the truth.

A mapping scan shows one slice several times, each time with another weighting; the frame axis is the weighting. After
an inversion the signal recovers as A − B·exp(−t/T1); after a T2 preparation, or a spin lock (T1ρ), it decays as
M·exp(−t/T2). Amplitudes enter linearly. For any time constant the best ones are known in closed form, so that a search
over the time constant alone remains: variable projection (Golub and Pereyra 1973, doi:10.1137/0710036), for T1 the
search of Barral et al. 2010, doi:10.1002/mrm.22497. It runs over a logarithmic grid first, which no wrong minimum can
catch, then as a golden section between the neighbours of the best grid point.

Maps are float64 in ms, zero where there is no signal or outside of a mask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from cmr_course.acquisition import Reconstruction, Truth
from cmr_course.metrics.image_quality import Region
from cmr_course.validate import is_number, is_pair, require, require_axes, require_finite, say

Weighted = Float[Tensor, "batch frame y x"] | Complex[Tensor, "batch frame y x"]
"""One image for each weighting: complex, or magnitudes."""
Map = Float[Tensor, "batch y x"]
Energy = Callable[[Tensor], Tensor]

T1_LIMITS = (20.0, 8000.0)
"""Between which T1 is sought, ms: below fat at either field, above free water."""
T2_LIMITS = (1.0, 2000.0)
"""Between which T2 and T1ρ are sought, ms."""
N_GRID = 64
"""Points of the logarithmic grid: neighbours are a tenth apart for T1, an eighth for T2."""
N_GOLDEN = 24
"""Steps of the golden section: they shrink the bracket by 0.618²⁴, to 2 parts in a million of the time constant."""
CHUNK = 2**13
"""Pixels that are fitted together: what is computed on them takes some 20 MB."""
CORE = 3
"""Pixels along each side of the neighbourhood that has to be muscle altogether."""
KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
"""Of the images that are fitted."""
FARTHEST = 600.0
"""Time constants before the first weighting over which an amplitude is followed back: e⁶⁰⁰ still is a float64."""
MYOCARDIUM = "lv_myocardium"
"""The label of the muscle over which a bias is taken."""


@dataclass(frozen=True, eq=False)
class RelaxationMap:
    """What was fitted in each pixel, float64; all zero where there was nothing to fit.

    time: T1, T2 or T1ρ in ms. amplitude: |A| after an inversion, |M| of a decay, in the unit of the image.
    inversion: B/A − 1, the efficiency of the inversion (1 is perfect); −1 where A is zero, or where all had recovered
    before the first weighting; None for a decay.
    residual: root of the mean squared misfit over the weightings, in the unit of the image.
    """

    time: Map
    amplitude: Map
    residual: Map
    inversion: Map | None = None


def fit_T1(  # noqa: N802
    image: Weighted,
    times: Sequence[float],
    *,
    mask: Region | None = None,
    limits: tuple[float, float] = T1_LIMITS,
) -> RelaxationMap:
    """T1 from inversion recovery: A − B·exp(−t/T1), three parameters in each pixel.

    Complex images know the sign of the magnetisation: all weightings of a pixel share one background phase, which is
    fitted along with A and B in closed form. It is steadier than the phase of the last weighting alone
    (phase-sensitive inversion recovery, Kellman et al. 2002, doi:10.1002/mrm.10051), which noise or an artefact in this
    one image would carry into all of them.

    Magnitudes have lost the sign. Recovery is monotonic: from some weighting on all are positive, all before were
    negative. Each such place is tried, and the one with the least residual is taken (Nekolla et al. 1992, J Comput
    Assist Tomogr 16:327). Complex images whose imaginary part is zero and whose real part is nowhere negative, as
    methods that end in a root sum of squares return them, are magnitudes and treated so.

    T1 is the time constant of the exponential. Where a train of readouts disturbs the recovery (MOLLI), it is the
    apparent T1*, and T1 = T1*·(B/A − 1) = ``time * inversion`` (Messroghli et al. 2004, doi:10.1002/mrm.20110).

    times: inversion times in ms, increasing; three or more, for magnitudes four.
    mask: pixels to fit; without it all that are not zero. limits: between which T1 is sought, ms.
    """
    image, signed = _signed(image)
    moments = _checked(image, times, 3 if signed else 4, "T1 with its sign" if signed else "T1 of magnitudes")
    fit = _recovery if signed else _recovery_of_magnitudes
    return _by_chunks(image, moments, mask, limits, fit)


def fit_T2(  # noqa: N802
    image: Weighted,
    times: Sequence[float],
    *,
    mask: Region | None = None,
    limits: tuple[float, float] = T2_LIMITS,
) -> RelaxationMap:
    """T2 from a decay M·exp(−t/T2), by least squares of the signal itself and not of its logarithm.

    The logarithm would count noise in the dark late images more than in the bright first one. Of complex images M is
    complex: the noise stays centred at zero, where that of magnitudes lifts the late weightings and T2 with them.

    times: preparation (echo) times in ms, increasing, two or more; with spin-lock times the answer is T1ρ.
    mask: pixels to fit; without it all that are not zero. limits: between which T2 is sought, ms.
    """
    _, moments = _weighted(image), _checked(image, times, 2, "T2")
    return _by_chunks(image, moments, mask, limits, _decay)


def t1_bias(
    reconstruction: Reconstruction | Weighted, truth: Truth, times: Sequence[float], *, percent: bool = False
) -> Float[Tensor, " batch"]:
    """Mean of fitted minus true T1 over the core of the left-ventricular muscle, in ms, or in `percent` of the true.

    The core (:func:`myocardium_core`) leaves out pixels that share their signal with blood or fat, so that partial
    volume does not count. Ringing of a coarse matrix does: without noise, on six phantoms, T1 was off by up to 0.4 % at
    256 × 256, 1.4 % at 192 × 192, and 2.4 % at 128 × 128, where the core holds one to 37 pixels of 2.8 mm.

    times: inversion times in ms, of the acquisition: ``about.times``.
    """
    image, core = _image_of(reconstruction, truth), myocardium_core(truth)
    return _bias("T1", fit_T1(image, times, mask=core).time, truth.T1, core, percent)


def t2_bias(
    reconstruction: Reconstruction | Weighted, truth: Truth, times: Sequence[float], *, percent: bool = False
) -> Float[Tensor, " batch"]:
    """Mean of fitted minus true T2 over the core of the left-ventricular muscle, as :func:`t1_bias` for T1.

    Without noise it was up to 1.4 % on six phantoms at 192 × 192; at 128 × 128 3 %, and 11 % where the core was a
    single pixel.

    times: preparation times in ms, of the acquisition: ``about.times``.
    """
    image, core = _image_of(reconstruction, truth), myocardium_core(truth)
    return _bias("T2", fit_T2(image, times, mask=core).time, truth.T2, core, percent)


def t1rho_bias(
    reconstruction: Reconstruction | Weighted, truth: Truth, times: Sequence[float], *, percent: bool = False
) -> Float[Tensor, " batch"]:
    """Mean of fitted minus true T1ρ over the core of the left-ventricular muscle, as :func:`t1_bias` for T1.

    times: of the spin locks in ms, of the acquisition: ``about.times``.
    """
    image, core = _image_of(reconstruction, truth), myocardium_core(truth)
    return _bias("T1rho", fit_T2(image, times, mask=core).time, truth.T1rho, core, percent)


def myocardium_core(truth: Truth, name: str = MYOCARDIUM) -> Bool[Tensor, "batch y x"]:
    """Pixels whose whole 3 × 3 neighbourhood carries the label `name` in every frame.

    Raises:
        ValueError: no such label, or a batch item without a single such pixel: too thin a wall, or none.
    """
    require(isinstance(truth, Truth), f"truth: got {say(truth)}, want a Truth with labels")
    require(isinstance(name, str), f"name: got {say(name)}, want the name of a label")
    if truth.labels is None or name not in truth.label_names:
        raise ValueError(f"truth: got no label {name!r}, want labels and label_names that hold it")
    other = (truth.labels != truth.label_names[name]).any(1).float()
    # Beyond the border of the image there is no muscle known.
    surrounded = torch.nn.functional.pad(other[:, None], (1, 1, 1, 1), value=1.0)
    core = max_pool2d(surrounded, CORE, stride=1)[:, 0] == 0
    empty = int((~core.flatten(1).any(1)).sum())
    require(empty == 0, f"truth: got {empty} batch items without a pixel deep in {name!r}, want a wall of 3 pixels")
    return core


def _bias(name: str, fitted: Map, true: Tensor | None, core: Region, percent: bool) -> Tensor:
    if true is None:
        raise ValueError(f"truth: got no {name}, want the map of a simulated mapping scan")
    wanted, inside = true.double().mean(1), core.double()
    good = bool((wanted[core] > 0).all()) and bool(torch.isfinite(wanted[core]).all())
    require(good, f"truth: got {name} in the muscle that is not above zero, want ms")
    bias = ((fitted - wanted) * inside).sum((-2, -1)) / inside.sum((-2, -1))
    if percent:
        return 100 * bias / ((wanted * inside).sum((-2, -1)) / inside.sum((-2, -1)))
    return bias


def _image_of(reconstruction: Reconstruction | Tensor, truth: Truth) -> Tensor:
    """The images as they are, phase and all; as large as the truth's."""
    require(isinstance(truth, Truth), f"truth: got {say(truth)}, want a Truth with labels")
    image = reconstruction.image if isinstance(reconstruction, Reconstruction) else reconstruction
    require_axes("reconstruction", image, "batch frame y x")
    got, wanted = tuple(image.shape), tuple(truth.image.shape)
    require(got == wanted, f"reconstruction: got shape {got}, want that of the truth, {wanted}")
    return image


def _weighted(image: Tensor) -> Tensor:
    """`image` after the checks that both fits share."""
    require_axes("image", image, "batch frame y x")
    require(image.dtype in KINDS, f"image: got {image.dtype}, want complex images or magnitudes")
    require_finite("image", image)
    return image


def _signed(image: Tensor) -> tuple[Tensor, bool]:
    """The images, and whether they know the sign of the magnetisation; if not, they are real."""
    image = _weighted(image)
    if not image.is_complex():
        least = float(image.min())
        require(least >= 0, f"image: got real values down to {least:g}, want magnitudes, or complex images for a sign")
        return image, False
    if bool((image.imag == 0).all()) and bool((image.real >= 0).all()):
        return image.real, False
    return image, True


def _checked(image: Tensor, times: Sequence[float], fewest: int, what: str) -> Float[Tensor, " frame"]:
    """The times as float64 beside the image: as many as frames, finite, increasing, enough for the parameters."""
    row = isinstance(times, Iterable) and getattr(times, "ndim", 1) == 1
    require(row and not isinstance(times, str | bytes), f"times: got {say(times)}, want numbers in ms")
    values = times.tolist() if isinstance(times, Tensor) else list(times)
    good = all(is_number(value) and 0 <= value < math.inf for value in values)
    require(good, f"times: got {say(values)}, want finite numbers in ms from zero up")
    frames = image.shape[1]
    require(len(values) == frames, f"times: got {len(values)}, want {frames}, one for each frame of image")
    require(len(values) >= fewest, f"times: got {len(values)}, want {fewest} or more to fit {what}")
    rising = all(before < after for before, after in itertools.pairwise(values))
    require(rising, f"times: got {say(values)}, want increasing times, none twice")
    return torch.tensor(values, dtype=torch.float64, device=image.device)


def _by_chunks(
    image: Tensor,
    times: Tensor,
    mask: Tensor | None,
    limits: tuple[float, float],
    fit: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
) -> RelaxationMap:
    """`fit` in every pixel of `mask` that is not black in all weightings, some thousand at a time."""
    good = is_pair(limits) and 0 < limits[0] < limits[1] < math.inf
    require(good, f"limits: got {say(limits)}, want two times in ms, the smaller one first")
    batch, _, *size = image.shape
    if mask is not None:
        good = isinstance(mask, Tensor) and mask.dtype == torch.bool and tuple(mask.shape) == (batch, *size)
        require(good, f"mask: got {say(mask)}, want a boolean tensor of shape {(batch, *size)}, (batch, y, x)")
    wanted = (image != 0).any(1) if mask is None else mask & (image != 0).any(1)
    pixels = image.detach().movedim(1, -1)
    places = wanted.nonzero()
    grid = torch.logspace(
        math.log10(limits[0]), math.log10(limits[1]), N_GRID, dtype=torch.float64, device=image.device
    )
    kind = torch.complex128 if image.is_complex() else torch.float64
    maps: list[Tensor] = []
    for first in range(0, len(places), CHUNK):
        part = tuple(places[first : first + CHUNK].T)
        values = fit(pixels[part].to(kind), times, grid)
        maps = maps or [torch.zeros((batch, *size), dtype=torch.float64, device=image.device) for _ in values]
        for whole, value in zip(maps, values, strict=True):
            whole[part] = value
    if not maps:
        one = torch.zeros((1, len(times)), dtype=kind, device=image.device)
        maps = [torch.zeros((batch, *size), dtype=torch.float64, device=image.device) for _ in fit(one, times, grid)]
    return RelaxationMap(*maps)


def _decay(data: Tensor, times: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
    """(T, |M|, residual) of M·exp(−t/T) for each row of `data` (pixel, time), real or complex."""
    # From the first weighting on: the curve starts at one, where exp(−t/T) itself may be too small for a float64.
    since = times - times[0]

    def energy(constants: Tensor) -> Tensor:
        basis = torch.exp(-since / constants[..., None])
        return _along(data, basis).abs().square() / basis.square().sum(-1)

    found = _most(energy, grid)
    basis = torch.exp(-since / found)
    amplitude = (data * basis).sum(-1, keepdim=True) / basis.square().sum(-1, keepdim=True)
    back = torch.exp((times[0] / found[:, 0]).clamp(max=FARTHEST))
    return found[:, 0], amplitude[:, 0].abs() * back, _root_mean_square(data - amplitude * basis)


def _recovery(data: Tensor, times: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
    """(T1, |A|, residual, B/A − 1) of exp(iθ)·(A − B·exp(−t/T1)) for each row of complex `data` (pixel, time).

    On the orthonormal basis of the model's plane the data have two complex components c. Turned back by θ, their real
    parts hold the energy ½(|c|² + Re e^(−2iθ) Σc²), most where θ is half the angle of Σc².
    """
    level = data.mean(-1, keepdim=True) * math.sqrt(len(times))

    def energy(constants: Tensor) -> Tensor:
        change = _along(data, _change(times, constants))
        return level.abs().square() + change.abs().square() + (level.square() + change.square()).abs()

    found = _most(energy, grid)
    change = (data * _change(times, found)[:, 0]).sum(-1, keepdim=True)
    phase = torch.polar(torch.ones_like(found), (level.square() + change.square()).angle() / 2)
    return _solved((data / phase).real, times, found, (data / phase).imag)


def _recovery_of_magnitudes(data: Tensor, times: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
    """As :func:`_recovery`, of magnitudes: the first weightings are made negative, none, one, two …, and all tried.

    The two best places of the change of sign on the grid are both sought out finely: next to a weighting that is
    nearly zero the grid cannot tell them apart.
    """
    frames = len(times)
    signs = 1 - 2 * torch.ones((frames, frames), dtype=torch.float64, device=data.device).tril(-1)

    def energy(signed: Tensor, constants: Tensor) -> Tensor:
        change = _along(signed, _change(times, constants)).square()
        return signed.mean(-1, keepdim=True).square() * frames + change

    held = torch.stack([energy(data * sign, grid).amax(-1) for sign in signs], -1)
    tried = []
    for place in held.topk(2, -1).indices.T:
        signed = data * signs[place]
        tried.append(_solved(signed, times, _most(lambda T: energy(signed, T), grid)))  # noqa: B023
    first, second = tried
    better = first[2] <= second[2]
    return tuple(torch.where(better, a, b) for a, b in zip(first, second, strict=True))


def _solved(
    data: Tensor, times: Tensor, found: Tensor, beside: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(T1, |A|, residual, B/A − 1) of real `data` (pixel, time) for T1 as `found` (pixel, 1).

    beside: what of the data no real model can hold; it counts as misfit. B/A is not defined where A is zero, or where
    exp(−t/T1) is lost beside one from the first weighting on, and then taken to be zero.
    """
    curve = torch.exp(-(times - times[0]) / found)
    centred = _centred(times, found[:, 0])
    first = -(data * centred).sum(-1, keepdim=True) / centred.square().sum(-1, keepdim=True)
    A = data.mean(-1, keepdim=True) + first * curve.mean(-1, keepdim=True)
    misfit = data - A + first * curve
    if beside is not None:
        misfit = torch.complex(misfit, beside)
    left = torch.exp(-times[0] / found)
    lost = (A == 0) | (left < torch.finfo(torch.float64).eps)
    ratio = torch.where(lost, 0, first / torch.where(lost, 1, A * left))
    return found[:, 0], A[:, 0].abs(), _root_mean_square(misfit), ratio[:, 0] - 1


def _change(times: Tensor, constants: Tensor) -> Tensor:
    """exp(−t/T) less its mean, of norm one, the times along the last axis: with a constant it spans the model."""
    centred = _centred(times, constants)
    return centred / torch.linalg.vector_norm(centred, dim=-1, keepdim=True)


def _centred(times: Tensor, constants: Tensor) -> Tensor:
    """exp(−(t − t₀)/T) less its mean, t₀ the first time: never all zero, however late t₀ is and however short T."""
    curve = torch.expm1(-(times - times[0]) / constants[..., None])
    return curve - curve.mean(-1, keepdim=True)


def _along(data: Tensor, basis: Tensor) -> Tensor:
    """Σ_j data·basis of data (pixel, time), with a basis (grid, time) for all pixels or (pixel, 1, time) for each."""
    if basis.ndim == 2:
        return data @ basis.to(data.dtype).T
    return (data[:, None] * basis).sum(-1)


def _root_mean_square(misfit: Tensor) -> Tensor:
    return misfit.abs().square().mean(-1).sqrt()


def _most(energy: Energy, grid: Tensor) -> Tensor:
    """The time constant (pixel, 1) at which the model holds most of the signal's energy."""
    best = energy(grid).argmax(-1, keepdim=True)
    low, high = grid.log()[(best - 1).clamp(min=0)], grid.log()[(best + 1).clamp(max=len(grid) - 1)]
    return _golden(lambda place: energy(place.exp()), low, high).exp()


def _golden(energy: Energy, low: Tensor, high: Tensor) -> Tensor:
    """Where `energy` is largest between `low` and `high`, by golden sections."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = energy(left), energy(right)
    for _ in range(N_GOLDEN):
        lower = at_left > at_right
        low, high = torch.where(lower, low, left), torch.where(lower, right, high)
        # One of the two places is the other one of the smaller bracket.
        kept, at_kept = torch.where(lower, left, right), torch.where(lower, at_left, at_right)
        new = torch.where(lower, high - ratio * (high - low), low + ratio * (high - low))
        at_new = energy(new)
        left, right = torch.where(lower, new, kept), torch.where(lower, kept, new)
        at_left, at_right = torch.where(lower, at_new, at_kept), torch.where(lower, at_kept, at_new)
    return (low + high) / 2
