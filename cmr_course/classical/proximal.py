"""What sparse and low-rank priors do to an image series: thresholds, temporal transforms, proximal operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cmr_course.validate import is_number, require, require_axes, require_complex, require_whole, say

Image = Complex[Tensor, "batch frame y x"]
Level = float | Float[Tensor, "*level"]
"""A threshold: one number, or a tensor that broadcasts to what is thresholded."""


def soft_threshold(values: Complex[Tensor, "*shape"], level: Level) -> Complex[Tensor, "*shape"]:
    """Shrink magnitudes by `level`, to zero at most, and keep phases: the proximal operator of level·‖·‖₁."""
    _require_level("level", level)
    magnitude = values.abs()
    kept = (magnitude - level).clamp(min=0)
    return values * (kept / torch.where(magnitude > 0, magnitude, 1))


def clip(values: Complex[Tensor, "*shape"], level: Level) -> Complex[Tensor, "*shape"]:
    """Hold magnitudes to `level` at most and keep phases: what :func:`soft_threshold` takes away."""
    _require_level("level", level)
    magnitude = values.abs()
    larger = torch.clamp(magnitude, min=level) if not isinstance(level, Tensor) else torch.maximum(magnitude, level)
    return values * (level / larger.clamp(min=torch.finfo(larger.dtype).tiny))


# ---------------------------------------------------------------------------------------------------- low rank


def singular_values(series: Image) -> Float[Tensor, "batch frame"]:
    """Singular values of the Casorati matrix (pixel × frame) of each batch item, falling, float64."""
    return _gram_decomposition(series)[0]


def threshold_singular_values(series: Image, level: Level) -> Image:
    """Soft-threshold the singular values of the Casorati matrix: the proximal operator of level·(nuclear norm).

    (Cai, Candès & Shen 2010, doi:10.1137/080738970.) The Casorati matrix C has one row for each pixel and one column
    for each frame (Liang 2007, doi:10.1109/ISBI.2007.357020). With CᴴC = V Σ² Vᴴ, a small frame × frame problem for
    `eigh` on any device, the result is C V (Σ − level)₊ Σ⁻¹ Vᴴ: no vector of length pixel is ever orthogonalised.
    Squaring loses singular values below √ε of the largest; the Gram matrix is therefore kept in double precision,
    where they are below 1e-8, and any threshold above that removes them.
    level: one number, or one for each batch item.
    """
    _require_level("level", level)
    sigma, vectors = _gram_decomposition(series)
    each = level[:, None] if isinstance(level, Tensor) and level.ndim else level
    kept = (sigma - each).clamp(min=0) / torch.where(sigma > 0, sigma, 1)
    mixing = (vectors * kept[:, None, :]) @ vectors.mH
    return torch.einsum("btyx,bts->bsyx", series, mixing.to(series.dtype))


def _gram_decomposition(
    series: Image,
) -> tuple[Float[Tensor, "batch frame"], Complex[Tensor, "batch frame component"]]:
    """Σ and V of the Casorati matrix, largest first, from the eigenvectors of its Gram matrix."""
    require_axes("series", series, "batch frame y x")
    require_complex("series", series)
    rows = series.flatten(2).to(torch.complex128)
    values, vectors = torch.linalg.eigh(rows.conj() @ rows.mT)
    return values.flip(-1).clamp(min=0).sqrt(), vectors.flip(-1)


# ------------------------------------------------------------------------------------------- temporal transforms


def spectrum_t(series: Image) -> Image:
    """F_t x along the frame axis, unitary but not centred: a shift of time or frequency changes no magnitude."""
    return torch.fft.fft(series, dim=1, norm="ortho")


def spectrum_t_adjoint(spectrum: Image) -> Image:
    """Inverse and adjoint of :func:`spectrum_t`."""
    return torch.fft.ifft(spectrum, dim=1, norm="ortho")


def difference_t(series: Image) -> Image:
    """(D x)_t = x_{t+1} − x_t along the frame axis, circular: a heart beat ends where it began."""
    return torch.roll(series, -1, dims=1) - series


def difference_t_adjoint(differences: Image) -> Image:
    """(Dᴴ q)_t = q_{t−1} − q_t: the adjoint of :func:`difference_t`."""
    return torch.roll(differences, 1, dims=1) - differences


@dataclass(frozen=True)
class TemporalPrior:
    """g(x) = λ_f ‖F_t x‖₁ + λ_v ‖D x‖₁: the temporal spectrum and the temporal total variation of each pixel.

    fourier: λ_f, variation: λ_v; each one number or a tensor that broadcasts to (batch, frame, y, x).
    """

    fourier: Level
    variation: Level

    def __post_init__(self) -> None:
        _require_level("fourier", self.fourier)
        _require_level("variation", self.variation)

    def value(self, series: Image) -> Float[Tensor, " batch"]:
        """g(x) of each batch item."""
        spectrum, change = spectrum_t(series).abs(), difference_t(series).abs()
        return (self.fourier * spectrum + self.variation * change).sum((1, 2, 3))

    def proximal(
        self, series: Image, dual: tuple[Image, ...] = (), iterations: int = 10
    ) -> tuple[Image, tuple[Image, ...]]:
        """argmin_x ½‖x − series‖² + g(x), and the dual variables at which it was found.

        Without the variation it is exact in one step: soft thresholding of the spectrum, F_t being unitary.
        With it there is no closed form, and the dual problem is solved instead: x = series − F_tᴴp − Dᴴq, where
        p and q minimise ‖x‖² subject to |p| ≤ λ_f and |q| ≤ λ_v, by fast projected gradients (Beck &
        Teboulle 2009, doi:10.1109/TIP.2009.2028250, algorithm FGP). ‖F_tᴴp + Dᴴq‖² ≤ (1 + 4)(‖p‖² + ‖q‖²) gives the
        step 1/5, and 1/4 without the spectrum.
        dual: p and q to begin from, those of them whose weight is not zero. Passed on from call to call, a few
        `iterations` each make an outer loop exact in the end.
        """
        require_whole("iterations", iterations)
        terms = self._terms()
        if not _some(self.variation):
            return spectrum_t_adjoint(soft_threshold(spectrum_t(series), self.fourier)) if terms else series, ()
        slope, t = sum(term.norm for term in terms), 1.0
        old = dual or tuple(torch.zeros_like(series) for _ in terms)
        ahead = old
        for _ in range(iterations):
            x = _primal(series, terms, ahead)
            new = tuple(
                clip(start + term.forward(x) / slope, term.weight) for term, start in zip(terms, ahead, strict=True)
            )
            following = momentum(t)
            ahead = tuple(n + (t - 1) / following * (n - o) for n, o in zip(new, old, strict=True))
            old, t = new, following
        return _primal(series, terms, old), old

    def _terms(self) -> list[_Term]:
        """The terms of g whose weight is not zero: the spectrum first."""
        spectrum = _Term(spectrum_t, spectrum_t_adjoint, self.fourier, 1)
        variation = _Term(difference_t, difference_t_adjoint, self.variation, 4)
        return [term for term in (spectrum, variation) if _some(term.weight)]


class _Term(NamedTuple):
    """weight·‖forward(x)‖₁; `norm` is at least the squared norm of forward."""

    forward: Callable[[Image], Image]
    adjoint: Callable[[Image], Image]
    weight: Level
    norm: int


def _primal(series: Image, terms: Sequence[_Term], dual: Sequence[Image]) -> Image:
    """The image that belongs to dual variables, x = series − F_tᴴ p − Dᴴ q."""
    for term, variable in zip(terms, dual, strict=True):
        series = series - term.adjoint(variable)
    return series


def momentum(t: float) -> float:
    """The next of FISTA's numbers, t' = (1 + √(1 + 4t²))/2 (Beck & Teboulle 2009, doi:10.1137/080716542, eq. 4.2)."""
    return (1 + (1 + 4 * t * t) ** 0.5) / 2


def _some(level: Level) -> bool:
    """Whether `level` is above zero anywhere."""
    return bool((level > 0).any()) if isinstance(level, Tensor) else level > 0


def _require_level(name: str, level: Level) -> None:
    """`level` must be a number from zero up, or a tensor."""
    good = isinstance(level, Tensor) or (is_number(level) and level >= 0)
    require(good, f"{name}: got {say(level)}, want a number from zero up, or a tensor of them")
