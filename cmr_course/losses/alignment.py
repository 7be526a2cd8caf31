"""Statistical distribution alignment: the SDA loss of GENRE-CMR (Anvari Hamedani et al. 2025, arXiv:2508.20600)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from cmr_course.acquisition import About, Acquisition, Reconstruction
from cmr_course.domains import Domain
from cmr_course.validate import is_number, require, require_finite, require_whole, say

NAMED_BY = ("vendor", "field", "contrast", "trajectory")
"""What of :class:`~cmr_course.acquisition.About` makes a domain: the four words of ``Domain``."""
COVARIANCES = ("diagonal", "shrunk")
MEMORY, WINDOW, FLOOR, SHRINKAGE = 16, 4, 0.01, 0.5
ROUNDING = 2.0**-16
"""Variance, relative to the mean square, below which features differ by no more than bfloat16 rounds them."""
TINY = 1e-24
"""Variance below which features do not differ: it keeps gradients finite where all are almost zero."""

Mean = Float[Tensor, "... d"]
Covariance = Float[Tensor, "... d"]
Divergence = Float[Tensor, "..."]
Bank = list[Tensor]


def gaussian_kl(mean_a: Mean, cov_a: Covariance, mean_b: Mean, cov_b: Covariance) -> Divergence:
    """KL(a‖b) of two Gaussians, in nats: half of tr(Σ_b⁻¹Σ_a) + δᵀΣ_b⁻¹δ − d + ln(|Σ_b|/|Σ_a|), δ = μ_b − μ_a (eq. 5).

    mean_a, mean_b: (…, d). cov_a, cov_b: variances (…, d), or matrices (…, d, d), of which the lower half is read.
    Further axes broadcast. Raises ValueError for other shapes, and where a covariance is not positive definite.
    """
    matrices = _require_gaussians(mean_a, cov_a, mean_b, cov_b)
    return (_full_kl if matrices else _diagonal_kl)(mean_b - mean_a, cov_a, cov_b)


def symmetric_kl(mean_a: Mean, cov_a: Covariance, mean_b: Mean, cov_b: Covariance) -> Divergence:
    """KL(a‖b) + KL(b‖a): see :func:`gaussian_kl`."""
    return gaussian_kl(mean_a, cov_a, mean_b, cov_b) + gaussian_kl(mean_b, cov_b, mean_a, cov_a)


def domain_of(about: About, named_by: Sequence[str] = NAMED_BY) -> str:
    """The domain of an acquisition, ``siemens 3T cine kt_radial``: what ``str`` makes of its ``Domain``.

    named_by: other fields of `about`, whose values are put side by side. ValueError where `about` does not say one.
    """
    if tuple(named_by) == NAMED_BY:
        return str(Domain.of(about))
    values = {name: getattr(about, name) for name in named_by}
    for name, value in values.items():
        require(value not in (None, "", ()), f"about.{name}: got {say(value)}, want what names a domain")
    return " ".join(str(value).lower() for value in values.values())


def moments(vectors: Float[Tensor, "... sample d"], covariance: str = "diagonal") -> tuple[Mean, Covariance]:
    """Mean and covariance of (…, sample, d), over the number of samples, so that one sample has a covariance: zero.

    covariance: ``diagonal`` gives variances (…, d), anything else matrices (…, d, d).
    """
    mean = vectors.mean(-2)
    apart = vectors - mean[..., None, :]
    if covariance == "diagonal":
        return mean, apart.square().mean(-2)
    return mean, apart.mT @ apart / vectors.shape[-2]


def divergence(
    first: Float[Tensor, "*batch sample d"],
    second: Float[Tensor, "*batch sample_too d"],
    covariance: str = "diagonal",
    floor: float = FLOOR,
    shrinkage: float = SHRINKAGE,
) -> Float[Tensor, "*batch"]:
    """KL both ways between two sets of vectors, a Gaussian each; float64, and at most 6·d/`floor`, whatever they are.

    Both sets are moved and stretched alike, dimension by dimension, so that together they have mean zero and, each set
    counting as one half, variance one: KL does not see that, but what follows has a unit. `floor` is then added to
    every variance. Covariances that are not ``diagonal`` are first shrunk: (1 − s)·Σ + s·(mean of its diagonal)·1, s
    being `shrinkage`. Two means are at most two units apart and a variance is at most two: with the floor below both,
    neither one sample, equal ones, nor 1e30 beside 1e-30 has an infinite divergence. Differences below what bfloat16
    tells apart, or below 1e-12, hardly count. In float64 the squares of all that float32 and bfloat16 hold are finite.
    """
    return _compared(*moments(first.double(), covariance), *moments(second.double(), covariance), floor, shrinkage)


def _compared(
    mean_a: Mean, cov_a: Covariance, mean_b: Mean, cov_b: Covariance, floor: float, shrinkage: float
) -> Divergence:
    """:func:`divergence` of two sets with these moments."""
    middle, half = (mean_a + mean_b) / 2, (mean_a - mean_b) / 2
    matrices = cov_a.ndim > mean_a.ndim
    variance = (cov_a + cov_b) / 2
    spread = (variance.diagonal(dim1=-2, dim2=-1) if matrices else variance) + half.square()
    unit = (spread + ROUNDING * (spread + middle.square()) + TINY).sqrt()
    mean = half / unit
    area = unit[..., None] * unit[..., None, :] if matrices else unit.square()
    cov_a, cov_b = (_raised(cov / area, floor, shrinkage if matrices else None) for cov in (cov_a, cov_b))
    return symmetric_kl(mean, cov_a, -mean, cov_b).clamp(min=0)  # equal ones differ by rounding, to both sides


class AlignmentLoss(nn.Module):
    """How far the features of this sample's domain are from those of the domains seen just before (equations 5, 6).

    Of the reconstruction it reads `features`: for each of T steps real vectors (batch, sample, d), the samples being
    places in the image or a single pooled vector; (batch, d) is one vector for each item. The paper pools the output
    F_l of step l. Each domain is a Gaussian at each step; the loss is Σ over steps of the mean over pairs of domains of
    KL(i‖j) + KL(j‖i) (the paper's 1/10 Σ_{i<j} where there are five), each pair as :func:`divergence` compares it.
    With one vector for each domain, as in the paper, there is no covariance: hence a memory.

    memory: the latest vectors of each domain and step that are kept, without a gradient; of a sample that brings more,
    as many, evenly spaced. The current domain's Gaussian is that of its memory and its current vectors together, each
    vector counting alike: a single one beside a full memory has 1/(memory + 1) of the gradient.
    window: the current domain is compared with the others among so many samples before it; a domain counts once.
    covariance, floor, shrinkage: see :func:`divergence`. The floor decides how much a distance of means weighs where
    a domain hardly varies; shrinkage is of ``shrunk`` only, without which few vectors would make singular matrices.
    domain: names of fields of ``About`` for :func:`domain_of`, or a function from an ``About`` to a name.

    The gradient goes into the current vectors only. As every pair has its own unit, the pairs of the other domains do
    not know of them: they are part of the value alone. The loss is zero, and backward works, until two domains are
    there. A call is a sample, whatever its batch, and is remembered after it was compared; in ``eval`` mode nothing is
    remembered. The memory is part of the state dict. :meth:`reset` empties it.

    Raises ValueError for features that are missing, not finite, or not of the memory's steps and d; for an ``About``
    without vendor or field; and for settings out of range (memory 1 or more, floor 1e-6 to 1, shrinkage 0 to 1).
    """

    def __init__(
        self,
        memory: int = MEMORY,
        window: int = WINDOW,
        covariance: str = "diagonal",
        floor: float = FLOOR,
        shrinkage: float = SHRINKAGE,
        domain: Sequence[str] | Callable[[About], str] = NAMED_BY,
    ) -> None:
        super().__init__()
        require_whole("memory", memory)
        require_whole("window", window)
        known = isinstance(covariance, str) and covariance in COVARIANCES
        require(known, f"covariance: got {say(covariance)}, want one of {', '.join(COVARIANCES)}")
        for name, value, low in (("floor", floor, 1e-6), ("shrinkage", shrinkage, 0)):
            good = is_number(value) and low <= value <= 1
            require(good, f"{name}: got {say(value)}, want a number from {low:g} to 1")
        self.memory, self.window, self.covariance = memory, window, covariance
        self.floor, self.shrinkage, self.domain = floor, shrinkage, _require_naming(domain)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.banks: dict[str, Bank] = {}
        self.recent: deque[str] = deque(maxlen=self.window)

    def forward(self, reconstruction: Reconstruction, reference: Tensor, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss; `reference` may be whatever another loss has."""
        current = vectors_of(reconstruction)
        self._require_same(current)
        name = self._name(acquisition.about)
        others = [other for other in dict.fromkeys(self.recent) if other != name]
        terms = [self._step(step, now, name, others) for step, now in enumerate(current)]
        if self.training:
            self._remember(name, current)
        return torch.stack(terms).sum().to(torch.promote_types(current[0].dtype, torch.float32))

    def _step(self, step: int, current: Tensor, name: str, others: Sequence[str]) -> Float[Tensor, ""]:
        """Mean over pairs of domains at one step."""
        if not others:
            return current[:0].double().sum()  # zero whatever the features are, and part of the graph
        past = {one: self.banks[one][step].to(current.device).double() for one in (name, *others) if one in self.banks}
        own = torch.cat([past[name], current.double()]) if name in past else current.double()
        each = [moments(vectors, self.covariance) for vectors in (own, *(past[other] for other in others))]
        mean, cov = (torch.stack(parts) for parts in zip(*each, strict=True))
        a, b = (list(side) for side in zip(*combinations(range(len(each)), 2), strict=True))
        return _compared(mean[a], cov[a], mean[b], cov[b], self.floor, self.shrinkage).mean()

    def _remember(self, name: str, current: Bank) -> None:
        """Keep the latest vectors of a domain, and that it was there."""
        before = self.banks.get(name, [now[:0].detach() for now in current])
        kept = []
        for old, now in zip(before, current, strict=True):
            few = evenly(now.detach(), self.memory)
            few = few.to(torch.promote_types(few.dtype, torch.float32))
            kept.append(torch.cat([old.to(few), few])[-self.memory :].clone())
        self.banks[name] = kept
        self.recent.append(name)

    def _name(self, about: About) -> str:
        if not callable(self.domain):
            return domain_of(about, self.domain)
        name = self.domain(about)
        require(isinstance(name, str), f"domain: got {say(name)} for {about.contrast}, want a name")
        return name

    def _require_same(self, current: Bank) -> None:
        """The memory must be of this network: of as many steps, with vectors of these lengths."""
        got = next(iter(_lengths(bank) for bank in self.banks.values()), None)
        wanted = f"want that of these features, {_told(_lengths(current))}; reset() empties it"
        require(got is None or got == _lengths(current), f"memory: got one of {_told(got or [])}, {wanted}")

    def get_extra_state(self) -> dict[str, Any]:
        """The memory, for the state dict: tensors, names and lists of them."""
        return {"banks": {name: list(bank) for name, bank in self.banks.items()}, "recent": list(self.recent)}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Go on with the memory of :meth:`get_extra_state`; ValueError where it is none."""
        good = isinstance(state, Mapping) and set(state) == {"banks", "recent"} and isinstance(state["banks"], Mapping)
        require(good, f"memory: got {say(state)}, want what an AlignmentLoss has in its state dict")
        banks = {name: _require_bank(name, bank) for name, bank in state["banks"].items()}
        for bank in banks.values():
            self._require_same(bank)
            require(_lengths(bank) == _lengths(next(iter(banks.values()))), "memory: got several networks', want one's")
        recent = state["recent"]
        named = isinstance(recent, list | tuple) and all(isinstance(name, str) and name in banks for name in recent)
        require(named, f"memory: got {say(recent)} for the latest domains, want names of its banks")
        self.reset()
        self.banks = {name: [kept[-self.memory :].clone() for kept in bank] for name, bank in banks.items()}
        self.recent.extend(recent)

    def extra_repr(self) -> str:
        """The settings."""
        shrinkage = "" if self.covariance == "diagonal" else f", shrinkage={self.shrinkage:g}"
        sizes = f"memory={self.memory}, window={self.window}"
        return f"{sizes}, covariance={self.covariance}, floor={self.floor:g}{shrinkage}"


def vectors_of(reconstruction: Reconstruction) -> Bank:
    """The features of a reconstruction, (samples of all items, d) for each step."""
    features, wanted = reconstruction.features, "want for each step real vectors (batch, sample, d) or (batch, d)"
    if features is None:
        raise ValueError(f"reconstruction: got no features, {wanted}: not every method returns them")
    steps = isinstance(features, tuple | list) and len(features) > 0
    require(steps, f"features: got {say(features)}, {wanted}")
    for one in features:
        real = isinstance(one, Tensor) and one.is_floating_point() and one.ndim in (2, 3) and one.numel() > 0
        require(real, f"features: got {say(one)}, {wanted}")
        require_finite("features", one.detach())  # what is remembered would come back with every sample
    return [one.flatten(0, -2) for one in features]


def evenly(vectors: Shaped[Tensor, "sample d"], number: int) -> Shaped[Tensor, "fewer d"]:
    """At most `number` of the vectors, evenly spaced."""
    total = len(vectors)
    return vectors if total <= number else vectors[[i * total // number for i in range(number)]]


def _raised(cov: Covariance, floor: float, share: float | None) -> Covariance:
    """Variances plus `floor`; with a `share`, matrices: (1 − share)·Σ + (share·mean of its diagonal + floor)·1."""
    if share is None:
        return cov + floor
    level = share * cov.diagonal(dim1=-2, dim2=-1).mean(-1) + floor
    return (1 - share) * cov + level[..., None, None] * torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)


def _diagonal_kl(apart: Mean, cov_a: Covariance, cov_b: Covariance) -> Tensor:
    for name, cov in (("cov_a", cov_a), ("cov_b", cov_b)):
        require(not bool((cov <= 0).any()), f"{name}: got a variance of 0 or less, want all above 0")
    ratio = cov_a / cov_b
    return (ratio - 1 - ratio.log() + apart.square() / cov_b).sum(-1) / 2


def _full_kl(apart: Mean, cov_a: Covariance, cov_b: Covariance) -> Tensor:
    root_a, root_b = _root("cov_a", cov_a), _root("cov_b", cov_b)
    # Σ = LLᵀ: tr(Σ_b⁻¹Σ_a) = ‖L_b⁻¹L_a‖², δᵀΣ_b⁻¹δ = ‖L_b⁻¹δ‖², ln|Σ| = 2 Σ ln L_ii
    turned = torch.linalg.solve_triangular(root_b, root_a, upper=False).square().sum((-2, -1))
    far = torch.linalg.solve_triangular(root_b, apart[..., None], upper=False).square().sum((-2, -1))
    log_a, log_b = (root.diagonal(dim1=-2, dim2=-1).log().sum(-1) for root in (root_a, root_b))
    return (turned + far - apart.shape[-1]) / 2 + log_b - log_a


def _root(name: str, cov: Covariance) -> Tensor:
    root, failed = torch.linalg.cholesky_ex(cov)
    require(not bool(failed.any()), f"{name}: got a matrix that is not positive definite, want one that is")
    return root


def _require_gaussians(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> bool:
    """Whether covariances are matrices, and not variances."""
    d, matrices = mean_a.shape[-1:], cov_a.ndim == mean_a.ndim + 1
    for name, mean in (("mean_a", mean_a), ("mean_b", mean_b)):
        good = mean.ndim > 0 and mean.is_floating_point() and mean.shape[-1:] == d
        require(good, f"{name}: got {say(mean)}, want real (…, d), of one d")
    for name, mean, cov in (("cov_a", mean_a, cov_a), ("cov_b", mean_b, cov_b)):
        wanted = (*mean.shape, *d) if matrices else tuple(mean.shape)
        both = "variances or matrices, the same for both"
        require(tuple(cov.shape) == wanted, f"{name}: got shape {tuple(cov.shape)}, want {wanted}: {both}")
    return matrices


def _require_naming(domain: Any) -> tuple[str, ...] | Callable[[About], str]:
    """What names a domain, which must be a function or fields of About."""
    if callable(domain):
        return domain
    known = tuple(one.name for one in fields(About))
    good = isinstance(domain, tuple | list) and len(domain) > 0 and all(name in known for name in domain)
    require(good, f"domain: got {say(domain)}, want a function, or some of {', '.join(known)}")
    return tuple(domain)


def _require_bank(name: Any, bank: Any) -> Bank:
    steps = isinstance(bank, list | tuple) and len(bank) > 0
    good = steps and all(isinstance(one, Tensor) and one.is_floating_point() and one.ndim == 2 for one in bank)
    require(good, f"memory of {say(name)}: got {say(bank)}, want real vectors (sample, d) for each step")
    for one in bank:
        require_finite(f"memory of {say(name)}", one)
    return list(bank)


def _lengths(bank: Iterable[Tensor]) -> list[int]:
    """The d of each step."""
    return [one.shape[-1] for one in bank]


def _told(lengths: Sequence[int]) -> str:
    return f"{len(lengths)} steps with d = {', '.join(map(str, dict.fromkeys(lengths)))}"
