"""GRAPPA: what was not measured, predicted in k-space from its neighbours in all coils."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Complex
from torch import Tensor
from torch.nn.functional import pad

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.classical.filled import Combination, reconstruct_filled
from cmr_course.classical.zero_filled import ZeroFilled
from cmr_course.coils.calibration import calibration_region
from cmr_course.sampling import detect_acs
from cmr_course.validate import is_whole, require, require_finite, require_positive, require_whole, say

Offsets = tuple[int, ...]


@dataclass(frozen=True)
class GRAPPA:
    """Generalised autocalibrating partially parallel acquisitions (Griswold et al. 2002, doi:10.1002/mrm.10171).

    Coil maps are smooth, so their transforms are narrow: in k-space a sample of one coil is nearly a fixed weighted sum
    of its neighbours in all coils. The weights are fitted where all samples are known, in the ACS, and
    fill the lines that are not. Lines that were measured stay as they were measured.

    kernel: (source lines, points along kx). A missing line is filled from the nearest measured lines of its own frame,
        half of them on either side where there are as many. Each distinct arrangement of sources has its own weights,
        so a mask need not be regular, but must hold for whole readouts. Of sources that reach further than the ACS is
        wide, the farthest are left out. A line with none left stays zero; ValueError where that is so of all lines.
    regularisation: λ of the fit, min ‖w A − b‖² + λ m ‖w‖² with m the mean eigenvalue of A Aᴴ.
    calibration: at most so many of the centred lines are read, averaged over the frames that measured them. With
        `average` they need not be measured by every frame: a k-t mask whose frames together see all lines calibrates
        on their average, as TGRAPPA does (Breuer et al. 2005, doi:10.1002/mrm.20430), although what moves makes its
        lines differ. One set of weights serves all frames.
    combination: of the filled coil images, ``sense`` or ``rss``, see :class:`ZeroFilled`.
    """

    kernel: tuple[int, int] = (2, 5)
    regularisation: float = 0.02
    calibration: int = 32
    average: bool = True
    combination: Combination = "sense"

    def __post_init__(self) -> None:
        pair = isinstance(self.kernel, tuple) and len(self.kernel) == 2 and all(map(is_whole, self.kernel))
        good = pair and min(self.kernel) > 0 and self.kernel[1] % 2 == 1
        require(good, f"kernel: got {say(self.kernel)}, want (lines of one or more, an odd number of points)")
        require_positive("regularisation", self.regularisation)
        require_whole("calibration", self.calibration)
        ZeroFilled(self.combination)  # knows what may be asked for

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        """Reconstruct `acquisition`."""
        require_acquisition(acquisition)
        return reconstruct_filled(acquisition, self.fill(acquisition), self.combination)

    def fill(self, acquisition: Acquisition) -> Complex[Tensor, "batch frame coil ky kx"]:
        """The k-space of `acquisition` with every missing line predicted, each batch item from its own lines."""
        require_acquisition(acquisition)
        if len(acquisition.kspace) > 1:
            return torch.cat([self.fill(_item(acquisition, item)) for item in range(len(acquisition.kspace))])
        require_finite("kspace", acquisition.kspace)
        kspace, measured = acquisition.kspace, measured_lines(acquisition.mask)
        measured = measured.expand(*kspace.shape[:2], -1)
        if bool(measured.all()):
            return kspace
        centre = self._centre(acquisition, measured)
        filled, reach = kspace.clone(), self.kernel[1] // 2
        padded = pad(kspace, (reach, reach))
        arrangements = self._arrangements(measured, centre)
        self._require_some(arrangements, centre)
        for offsets, places in arrangements.items():
            weights = grappa_weights(centre, offsets, self.kernel[1], self.regularisation)
            item, frame, line = torch.tensor(places, device=kspace.device).T
            rows = line[:, None] + torch.tensor(offsets, device=kspace.device)
            sources = padded[item[:, None], frame[:, None], :, rows].flatten(1, 2)  # (place, offset · coil, kx)
            filled[item, frame, :, line] = _apply(weights[item], sources)
        return filled

    def _centre(
        self, acquisition: Acquisition, measured: Bool[Tensor, "batch frame ky"]
    ) -> Complex[Tensor, "batch coil lines points"]:
        """The calibration data: lines that every frame measured, or some frame where `average` is set."""
        lines, points = acquisition.acs
        if self.average:
            once = measured.any(1).all(0)
            lines = max(lines, detect_acs(once.view(1, 1, 1, -1, 1))[0])
        require(lines > 0, f"acs: got {acquisition.acs}, want a fully sampled centre (ky lines, kx points) to fit in")
        lines, first = min(lines, self.calibration), acquisition.matrix[0] // 2
        block = acquisition.kspace.narrow(3, first - lines // 2, lines)
        return calibration_region(block, (lines, points), max(lines, points))

    def _arrangements(
        self, measured: Bool[Tensor, "batch frame ky"], centre: Complex[Tensor, "batch coil lines points"]
    ) -> dict[Offsets, list[tuple[int, int, int]]]:
        """The missing (batch item, frame, line), by where their sources lie relative to them."""
        places: dict[Offsets, list[tuple[int, int, int]]] = defaultdict(list)
        for item, frames in enumerate(measured.tolist()):
            for frame, lines in enumerate(frames):
                known = [line for line, is_known in enumerate(lines) if is_known]
                for line in (line for line, is_known in enumerate(lines) if not is_known):
                    near = self._that_fit(nearest_lines([other - line for other in known], self.kernel[0]), centre)
                    if near:
                        places[near].append((item, frame, line))
        return places

    def _that_fit(self, near: Offsets, centre: Complex[Tensor, "batch coil lines points"]) -> Offsets:
        """As many of the sources `near` (nearest first) as `centre` has equations for, in order; or none."""
        n_coils, lines, points = centre.shape[1:]
        across = points - self.kernel[1] + 1
        for count in range(len(near), 0, -1):
            down = lines - _span(near[:count]) + 1
            if min(down, across) > 0 and down * across >= n_coils * count * self.kernel[1]:
                return tuple(sorted(near[:count]))
        return ()

    def _require_some(self, found: dict[Offsets, Any], centre: Complex[Tensor, "batch coil lines points"]) -> None:
        """Some missing line must have sources; the smallest fit is of one line from its neighbour."""
        n_coils, lines, points = centre.shape[1:]
        unknowns, width = n_coils * self.kernel[1], self.kernel[1]
        more = f"want more (a kernel of 2 x {width} must fit in {unknowns} places, and reach a sampled line)"
        require(len(found) > 0, f"acs: got {lines} lines x {points} points to fit GRAPPA weights in, {more}")


def _item(acquisition: Acquisition, item: int) -> Acquisition:
    """One batch item, without what GRAPPA does not look at."""
    mask = acquisition.mask if len(acquisition.mask) == 1 else acquisition.mask[item : item + 1]
    return replace(acquisition, kspace=acquisition.kspace[item : item + 1], mask=mask, sensitivities=None, scale=None)


def measured_lines(mask: Bool[Tensor, "batch frame 1 ky kx"]) -> Bool[Tensor, "batch frame ky"]:
    """Which lines each frame measured; the mask must be the same along kx."""
    lines = mask[..., 0]
    whole = bool((mask == mask[..., :1]).all())
    require(whole, "mask: got one that differs along kx, want whole readout lines, which are what GRAPPA fills")
    return lines[:, :, 0]


def nearest_lines(offsets: list[int], count: int) -> Offsets:
    """The `count` of `offsets` nearest to 0, nearest first, and at most half of them (rounded up) on either side."""
    half = (count + 1) // 2
    below = sorted((o for o in offsets if o < 0), reverse=True)[:half]
    above = sorted(o for o in offsets if o > 0)[:half]
    return tuple(sorted(below + above, key=abs)[:count])


def grappa_weights(
    centre: Complex[Tensor, "batch coil lines points"], offsets: Offsets, width: int, regularisation: float
) -> Complex[Tensor, "batch coil offset_coil width"]:
    """The weights that best predict a line of each coil from the lines at `offsets`, fitted in all places of `centre`.

    width: points along kx, around the predicted one. The source matrix A has a row for each (offset, coil, point) and
    a column for each place; the normal equations w (A Aᴴ + λ m I) = b Aᴴ are solved in double precision.
    """
    first, last = min(*offsets, 0), max(*offsets, 0)
    n_lines, n_points = centre.shape[-2:]
    places = n_lines - (last - first)
    lines = torch.stack([centre.narrow(-2, offset - first, places) for offset in offsets], dim=1)
    sources = lines.unfold(-1, width, 1)  # (batch, offset, coil, place, point, width)
    rows = sources.movedim(-1, 3).flatten(4).flatten(1, 3)
    targets = centre.narrow(-2, -first, places).narrow(-1, width // 2, n_points - width + 1).flatten(2)
    rows, targets = rows.to(torch.complex128), targets.to(torch.complex128)
    gram, right = rows @ rows.mH, rows @ targets.mH
    mean = gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)[:, None, None]
    ridge = regularisation * torch.where(mean > 0, mean, 1) * torch.eye(rows.shape[1], device=centre.device)
    factor, failed = torch.linalg.cholesky_ex(gram + ridge)
    solvable = not bool(failed.any())
    require(solvable, f"regularisation: got {regularisation}, too little for these calibration data, want more")
    weights = torch.cholesky_solve(right, factor).mH
    return weights.unflatten(-1, (-1, width)).to(centre.dtype)


def _apply(
    weights: Complex[Tensor, "place coil offset_coil width"], sources: Complex[Tensor, "place offset_coil padded"]
) -> Complex[Tensor, "place coil kx"]:
    """Predicted lines: the weights slide along the readout, one matrix product for each of their points."""
    width = weights.shape[-1]
    n_points = sources.shape[-1] - width + 1
    products = [weights[..., i] @ sources[..., i : i + n_points] for i in range(width)]
    return torch.stack(products).sum(0)


def _span(offsets: Offsets) -> int:
    """Lines from the first to the last of `offsets` and the line at 0."""
    return max(*offsets, 0) - min(*offsets, 0) + 1
