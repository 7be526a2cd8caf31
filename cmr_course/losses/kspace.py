"""Losses of k-space: how near it is to the fully sampled one, and how large it is (HyperCMR, arXiv:2410.03624)."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.validate import is_number, require, say

Kspace = Complex[Tensor, "batch frame coil ky kx"]
FORMS = ("paper", "released")
BETA = 0.05
"""Share of the second norm in the released code; the paper does not give it."""
EPSILON = 1e-8
"""What the released code adds to a largest value that divides."""


class KspaceFidelity(nn.Module):
    """Distance of the reconstruction's k-space, of all coils, from the fully sampled one (section 3.2 of the paper).

    It aims at k-space: :func:`cmr_course.losses.total` hands it the fully sampled k-space of the reference's frames.
    ``paper``: mean of |k − k_full|² / scale². ``released``: mean of (|k|/m − |k_full|/m_full)², where each m, plus
    1e-8, is the largest magnitude of its own array on one phase-encoding line of one frame, over coils and readout:
    every line peaks at one, and neither phase nor the shape along ky counts.
    """

    aims_at = "kspace"

    def __init__(self, form: str = "paper") -> None:
        super().__init__()
        self.form = require_form(form)

    def forward(self, reconstruction: Reconstruction, reference: Kspace, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss, a mean over samples."""
        found, truth = both_by_scale(reconstruction, reference, acquisition)
        if self.form == "released":
            return (line_by_line(found) - line_by_line(truth)).square().mean()
        error = found - truth
        return (error.real.square() + error.imag.square()).mean()

    def extra_repr(self) -> str:
        """The settings."""
        return f"form={self.form}"


class KspaceRegularisation(nn.Module):
    """‖k‖₁ + β·‖k‖₂ of the reconstruction's k-space (section 3.2 of the paper); no reference is looked at.

    ``paper``: mean of |k| plus β times √(mean of |k|²), of each batch item by itself, k divided by the scale. The paper
    writes norms, which would grow with matrix and coils; as means they do not.
    ``released``: Σ|Re k| + |Im k| plus β times √Σ|k|², both over the whole batch, k divided by √(2·ky·kx): they grow
    with batch, coils and matrix.
    beta: the paper does not give it; 0.05 is the released code's.
    scaled: whether k is divided by the scale of the acquisition. The released code takes k-space as it is in the file.
    """

    def __init__(self, form: str = "paper", beta: float = BETA, scaled: bool = True) -> None:
        super().__init__()
        self.form = require_form(form)
        good = is_number(beta) and 0 <= beta < float("inf")
        require(good, f"beta: got {say(beta)}, want a number of 0 or more")
        require(isinstance(scaled, bool), f"scaled: got {say(scaled)}, want true or false")
        self.beta, self.scaled = beta, scaled

    def forward(self, reconstruction: Reconstruction, reference: Tensor, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss; `reference` may be whatever another loss has."""
        first, second = self.norms(reconstruction, acquisition)
        return first + self.beta * second

    def norms(
        self, reconstruction: Reconstruction, acquisition: Acquisition
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Both norms, each as its form takes it."""
        k = kspace_of(reconstruction)
        k = by_scale(k, acquisition) if self.scaled else k
        if self.form == "released":
            pairs = torch.view_as_real(k.resolve_conj()) / (2 * k.shape[-2] * k.shape[-1]) ** 0.5
            # Not abs().sum(), which is more exact: in float32 the sum of vector_norm, which the code has, is off by
            # 4e-6 for 42,000 numbers.
            return torch.linalg.vector_norm(pairs, 1), torch.linalg.vector_norm(pairs)
        each = k.flatten(1)
        return each.abs().mean(), (torch.linalg.vector_norm(each, dim=1) / each.shape[1] ** 0.5).mean()

    def extra_repr(self) -> str:
        """The settings."""
        return f"form={self.form}, beta={self.beta:g}, scaled={self.scaled}"


def require_form(form: str) -> str:
    """`form`, which must be one of :data:`FORMS`."""
    known = isinstance(form, str) and form in FORMS
    require(known, f"form: got {say(form)}, want one of {', '.join(FORMS)}")
    return form


def kspace_of(reconstruction: Reconstruction) -> Kspace:
    """The k-space of a reconstruction, which must have one."""
    if reconstruction.kspace is None:
        raise ValueError("reconstruction: got no kspace, want one of all coils: not every method returns it")
    return reconstruction.kspace


def by_scale(kspace: Kspace, acquisition: Acquisition) -> Kspace:
    """`kspace` divided by the scale of each acquisition of the batch, where there is one."""
    return kspace if acquisition.scale is None else kspace / acquisition.scale[:, None, None, None, None]


def both_by_scale(reconstruction: Reconstruction, reference: Kspace, acquisition: Acquisition) -> tuple[Kspace, Kspace]:
    """The k-space of a reconstruction and `reference`, which must have its shape, divided by the scale."""
    found = kspace_of(reconstruction)
    fits = found.shape == reference.shape
    wanted = f"want that of the reconstruction's, {tuple(found.shape)}"
    require(fits, f"kspace: got shape {tuple(reference.shape)}, {wanted}")
    return by_scale(found, acquisition), by_scale(reference, acquisition)


def line_by_line(kspace: Kspace) -> Float[Tensor, "batch frame coil ky kx"]:
    """|k|, each phase-encoding line of each frame divided by its largest magnitude over coils and readout."""
    magnitude = kspace.abs()
    return magnitude / (magnitude.amax((2, 4), keepdim=True) + EPSILON)
