"""SSIM where the reference has edges: the EAR loss of GENRE-CMR (Anvari Hamedani et al. 2025, arXiv:2508.20600)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import filter2d, quantile, sobel, uniform_window
from cmr_course.losses.looks import Magnitude, Seen
from cmr_course.losses.similarity import SSIMLoss
from cmr_course.losses.units import Image
from cmr_course.validate import is_number, require, say

SHARE = 0.25
"""Of the pixels that the mask keeps; the paper does not give one."""
NEIGHBOURS = 2
"""Pixels on each side over which edges are averaged: 5 × 5, as in the paper."""


class EdgeRegionLoss(nn.Module):
    """1 − SSIM(B⊙x, B⊙r) of magnitudes, B the region of the reference's edges (equations 2 to 4).

    E = √(G_x² + G_y²), Sobel derivatives of |r| per pixel; E_s its 5 × 5 mean, of the same size (the image repeats its
    last pixel beyond the border, and so does E); B = 1 where E_s ≥ τ, else 0: of each frame by itself.
    share: τ is the quantile of E_s above which this fraction of a frame's pixels lies. Of equal values all are kept,
    so a frame with too few edges may keep more, and one without any is kept whole.
    threshold: a fixed τ in place of it, in units of the image as it is seen, per pixel. The text prints τ = 0: with it
    B is all ones, and the loss is :class:`~cmr_course.losses.similarity.SSIMLoss` to the last bit.
    window, region, unit, heart: see there; B is made of what is looked at. The data range is that of the whole image.

    SSIM is one where both images are masked: they count in the mean, and with a share of 0.25 most pixels are such. B
    is also seen from within: at its border both images fall to zero, an edge that they share.
    Raises ValueError for a share outside (0, 1], a negative threshold, and where SSIMLoss does.
    """

    def __init__(
        self,
        share: float = SHARE,
        threshold: float | None = None,
        window: str = "uniform",
        region: str = "whole",
        unit: str = "peak",
        heart: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        good = is_number(share) and 0 < share <= 1
        require(good, f"share: got {say(share)}, want a number above 0, up to 1")
        good = threshold is None or (is_number(threshold) and 0 <= threshold < float("inf"))
        require(good, f"threshold: got {say(threshold)}, want a number of 0 or more, or None")
        self.share, self.threshold = share, threshold
        self.similarity = SSIMLoss(window, region, unit, heart)

    def forward(self, reconstruction: Reconstruction, reference: Image, acquisition: Acquisition) -> Float[Tensor, ""]:
        """The loss."""
        output, truth = self.similarity.look(reconstruction.image, reference, acquisition)
        mask = self._mask(truth)
        return self.similarity.distance(mask * output, mask * truth)

    def mask(self, reference: Image, acquisition: Acquisition) -> Seen:
        """B, one or zero, for each pixel of `reference` that is looked at: without a gradient."""
        return self._mask(self.similarity.look(reference, reference, acquisition)[1])

    @torch.no_grad()
    def _mask(self, truth: Magnitude) -> Magnitude:
        edges = smoothed_edges(truth)
        threshold = torch.as_tensor(self.threshold) if self.threshold is not None else self._quantiles(edges)
        return (edges >= threshold.to(edges)).to(truth)

    def _quantiles(self, edges: Magnitude) -> Float[Tensor, "batch frame 1 1"]:
        """τ of each frame."""
        each = [quantile(frame, 1 - self.share) for frame in edges.flatten(0, 1)]
        return torch.stack(each).view(*edges.shape[:2], 1, 1)

    def extra_repr(self) -> str:
        """The settings that are not of the similarity."""
        return f"share={self.share:g}" if self.threshold is None else f"threshold={self.threshold:g}"


def smoothed_edges(images: Magnitude) -> Magnitude:
    """E_s: the 5 × 5 mean of the length of the Sobel gradient, in image units per pixel."""
    along_y, along_x = sobel(images)
    edges = torch.hypot(along_y, along_x)
    window = uniform_window(2 * NEIGHBOURS + 1)
    return filter2d(pad(edges, 4 * (NEIGHBOURS,), mode="replicate"), window, window)
