"""Magnitude and phase of k-space, each by itself: the physics term of GENRE-CMR (Anvari Hamedani et al. 2025,
arXiv:2508.20600, section 2.3).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.losses.kspace import Kspace, both_by_scale
from cmr_course.validate import require, say

PHASES = ("circle", "wrapped")
SOFTNESS = 0.1
"""Below this share of the reference's magnitude, a sample has too little signal of its own to have a phase."""
FAINTEST = 1e-12
"""A sample of the reference that is smaller than this share of its item's largest counts as one without signal."""


class PhysicsFidelity(nn.Module):
    """MSE(|k|, |r|) and how far the phases of k and r are apart: the paper's L_phys, without its SSIM.

    k: k-space of the reconstruction, of all coils; r: fully sampled, of the same frames. Both are divided by the scale
    of the acquisition. It aims at k-space: :func:`cmr_course.losses.total` hands it r.

    phase: the paper writes MSE(∠k, ∠r), and does not say how angles are subtracted.
    ``circle``: mean over samples of w·½|u(k) − u(r)|², w = |r| / (the item's largest |r|): where k has signal, this is
    w·(1 − cos Δ), Δ the difference of the phases. It is compared on the circle, where π − ε and ε − π are neighbours;
    samples without signal do not count, whose phase is noise. u(z) = z/√(|z|² + δ²|r|²) is the direction of z, which
    fades where |z| falls below δ = 0.1 of |r|: so the gradient is smooth, also at k = 0, where zero-filled k-space
    begins, and nowhere longer than 2/(δ·largest |r|) for a sample, before the mean. An empty k has half of w.
    ``wrapped``: mean of (∠k − ∠r)², angles from −π to π: the literal reading, to be seen failing. Two phases on both
    sides of the cut, a hair apart, are almost (2π)² apart; noise without signal counts as much as the centre; and the
    gradient grows as 1/|k| towards k = 0. At k = 0 itself, which has no angle, angle and gradient are 0.

    With the weight |k|·|r| in place of w, twice the term on the circle would add up with the first one to |k − r|²,
    which is what :class:`~cmr_course.losses.kspace.KspaceFidelity` has; with w, a small k is turned as strongly as a
    large one. The first term has a kink at k = 0, where torch takes its gradient to be zero. Of a zero-filled simulated
    cine at R = 8 the first term is 0.0008, that on the circle 0.002 and that of wrapped angles 2.5.

    Raises ValueError for another phase, a reconstruction without k-space, and a reference that does not fit it.
    """

    aims_at = "kspace"

    def __init__(self, phase: str = "circle") -> None:
        super().__init__()
        known = isinstance(phase, str) and phase in PHASES
        require(known, f"phase: got {say(phase)}, want one of {', '.join(PHASES)}")
        self.phase = phase

    def forward(self, reconstruction: Reconstruction, reference: Kspace, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss, a mean over samples."""
        magnitude, phase = self.terms(reconstruction, reference, acquisition)
        return magnitude + phase

    def terms(
        self, reconstruction: Reconstruction, reference: Kspace, acquisition: Acquisition
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """That of magnitudes, and that of phases."""
        found, truth = both_by_scale(reconstruction, reference, acquisition)
        apart = on_the_circle if self.phase == "circle" else between_angles
        return (_normal(found).abs() - truth.abs()).square().mean(), apart(found, truth)

    def extra_repr(self) -> str:
        """The settings."""
        return f"phase={self.phase}"


def on_the_circle(found: Kspace, truth: Kspace) -> Float[Tensor, ""]:
    """Mean of w·½|u(k) − u(r)|², see :class:`PhysicsFidelity`; zero where a whole reference is."""
    largest = truth.abs().amax((1, 2, 3, 4), keepdim=True)
    largest = torch.where(largest == 0, torch.ones_like(largest), largest)
    found, truth = found / largest, truth / largest
    magnitude = truth.abs()
    weight = torch.where(magnitude > FAINTEST, magnitude, torch.zeros_like(magnitude))
    soft = SOFTNESS * magnitude.clamp(min=FAINTEST)
    apart = torch.view_as_real((_direction(found, soft) - _direction(truth, soft)).resolve_conj())
    return (weight * apart.square().sum(-1)).mean() / 2


def between_angles(found: Kspace, truth: Kspace) -> Float[Tensor, ""]:
    """Mean of (∠k − ∠r)², the angles from −π to π and not their difference."""
    return (_angle(found) - _angle(truth)).square().mean()


def _direction(values: Kspace, soft: Float[Tensor, "batch frame coil ky kx"]) -> Kspace:
    """z/√(|z|² + soft²): of length one where |z| is large, and a smooth function of z everywhere."""
    return values / (values.real.square() + values.imag.square() + soft.square()).sqrt()


def _normal(values: Kspace) -> Kspace:
    """`values`, with zeros for those so small that 1/|z| is no number: torch's gradient of |z| is NaN there."""
    faint = values.detach().abs() < torch.finfo(values.dtype).tiny
    return torch.where(faint, torch.zeros_like(values), values)


def _angle(values: Kspace) -> Float[Tensor, "batch frame coil ky kx"]:
    """∠z, with 0 and no gradient where z is zero."""
    # torch's gradient divides by |z|², which is zero long before |z| is; of z/|z| it is right for all of them.
    values = _normal(values)
    size = values.detach().abs()
    unit = values / torch.where(size == 0, torch.ones_like(size), size)
    return torch.where(size == 0, torch.ones_like(values), unit).angle()
