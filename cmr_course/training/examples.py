"""Examples: what a network is given in training, and what it should have made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.acquisition import Acquisition
from cmr_course.coils import combine, rss
from cmr_course.coils.calibration import calibration_region
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.image import center_pad
from cmr_course.receiver import perturb_maps
from cmr_course.sampling import Mask, Sampling
from cmr_course.training.recipe import Undersampling
from cmr_course.validate import require

SUPPORT = 0.01
"""ESPIRiT's maps are zero without signal; here, where the image of the ACS is below this share of its peak."""


@dataclass(frozen=True, eq=False)
class Example:
    """An undersampled acquisition with its maps, the complex image to aim at, and where both come from.

    kspace: fully sampled, of the frames of the reference, where a loss aims at it; else None. It is of the coils' own
    images: the phase that maps give to the reference is not in it.
    """

    acquisition: Acquisition
    reference: Complex[Tensor, "batch frame y x"]
    names: tuple[str, ...]
    kspace: Complex[Tensor, "batch frame coil ky kx"] | None = None

    def to(self, device: torch.device) -> Example:
        """The same on `device`."""
        kspace = None if self.kspace is None else self.kspace.to(device)
        return replace(
            self, acquisition=self.acquisition.to(device), reference=self.reference.to(device), kspace=kspace
        )

    @classmethod
    def joined(cls, examples: Sequence[Example]) -> Example:
        """Several along the batch axis, each with its own mask, maps and scale."""
        if len(examples) == 1:
            return examples[0]
        shapes = sorted({tuple(one.acquisition.kspace.shape[1:]) for one in examples})
        wanted = "want one shape (a smaller readout, one matrix), or batch: 1"
        require(len(shapes) == 1, f"batch: got examples of the shapes {', '.join(map(str, shapes))}, {wanted}")
        parts = [one.acquisition for one in examples]
        first = parts[0]
        masks = [part.mask.expand(len(part.kspace), *part.mask.shape[1:]) for part in parts]
        shape = torch.broadcast_shapes(*(mask.shape[1:] for mask in masks))
        joined = Acquisition(
            torch.cat([part.kspace for part in parts]),
            torch.cat([mask.expand(-1, *shape) for mask in masks]),
            (min(part.acs[0] for part in parts), min(part.acs[1] for part in parts)),
            torch.cat([part.sensitivities for part in parts if part.sensitivities is not None]),
            scale=torch.cat([part.scale for part in parts if part.scale is not None]),
            about=first.about,
        )
        reference = torch.cat([one.reference for one in examples])
        kspaces = [one.kspace for one in examples if one.kspace is not None]
        some = 0 < len(kspaces) < len(examples)
        require(not some, f"batch: got k-space of {len(kspaces)} of {len(examples)} examples, want of all or of none")
        kspace = torch.cat(kspaces) if kspaces else None
        return cls(joined, reference, tuple(name for one in examples for name in one.names), kspace)


def drawn_mask(masks: Undersampling, shape: tuple[int, int, int], generator: torch.Generator) -> Mask:
    """A mask of `shape` (ky, kx, frames): its kind, acceleration and first line are drawn."""
    kind = masks.kinds[_drawn(len(masks.kinds), generator)]
    low, high = masks.acceleration
    acceleration = low + (high - low) * float(torch.rand((), generator=generator))
    if kind != "kt_gaussian":
        first = math.ceil(low)
        acceleration = float(first + _drawn(max(int(high) - first + 1, 1), generator))
    offset = _drawn(int(acceleration), generator) if kind == "uniform" else 0
    acceleration = 1.0 if kind == "full" else acceleration
    return Sampling(kind, acceleration, masks.acs, offset=offset).mask(*shape, generator)


def cropped(
    acquisition: Acquisition, reference: Tensor, readout: int | None, generator: torch.Generator
) -> tuple[Acquisition, Tensor]:
    """Fully sampled data of `readout` neighbouring columns of the image, anywhere: k-space, maps and reference."""
    columns = drawn_columns(acquisition.matrix[1], readout, generator)
    return in_columns(acquisition, columns), reference[..., columns].contiguous()


def drawn_columns(width: int, readout: int | None, generator: torch.Generator) -> slice:
    """`readout` neighbouring columns of an image, anywhere; all of them where it has no more, or for None."""
    if readout is None or readout >= width:
        return slice(0, width)
    first = _drawn(width - readout + 1, generator)
    return slice(first, first + readout)


def in_columns(acquisition: Acquisition, columns: slice) -> Acquisition:
    """Fully sampled data of these neighbouring columns of the image; exact, each column has k-space of its own."""
    if columns == slice(0, acquisition.matrix[1]):
        return acquisition
    maps = acquisition.sensitivities
    kspace = fft2c(ifft2c(acquisition.kspace)[..., columns].contiguous())
    cut = Acquisition.fully_sampled(kspace, acquisition.about)
    return cut if maps is None else replace(cut, sensitivities=maps[..., columns].contiguous())


def like_espirit(
    acquisition: Acquisition, reference: Tensor, error: float, generator: torch.Generator
) -> tuple[Acquisition, Tensor]:
    """`acquisition` with its known maps made to look like ESPIRiT's, without the cost of them.

    They are wrong by about `error` (:func:`cmr_course.receiver.perturb_maps`), zero where there is no signal, and have
    ESPIRiT's phase: the strongest combination of coils is real. The reference gets the phase that goes with it.
    """
    known = acquisition.sensitivities
    assert known is not None
    maps = perturb_maps(known, error, generator) if error > 0 else known
    centre = calibration_region(acquisition.kspace, acquisition.acs)
    flat = centre.flatten(2)
    strongest = torch.linalg.eigh(flat @ flat.mH).eigenvectors[..., -1]
    together = torch.einsum("bc,bfcyx->bfyx", strongest.conj(), maps)
    phase = torch.polar(torch.ones_like(together.real), together.angle())
    low = rss(ifft2c(center_pad(centre, acquisition.matrix))[:, None])
    seen = low > SUPPORT * low.amax((-2, -1), keepdim=True)
    maps = maps * (phase.conj() * seen)[:, :, None]
    return replace(acquisition, sensitivities=maps).with_scale(), reference * phase


def in_phase(
    reference: Complex[Tensor, "batch frame y x"],
    coil_images: Complex[Tensor, "batch frame coil y x"],
    maps: Complex[Tensor, "batch map_frame coil y x"],
) -> Complex[Tensor, "batch frame y x"]:
    """`reference` with the phase that its coil images have when `maps` combine them.

    The phase of maps is free, and ESPIRiT chooses its own: an image with another one cannot be reached with them.
    """
    together = combine(coil_images, maps)
    return torch.polar(reference.abs(), together.angle())


def windowed(example: Example, frames: int | None, generator: torch.Generator, middle: int | None = None) -> Example:
    """`frames` neighbouring frames, circular in time, around `middle`, which is the reference; None: one is drawn.

    Of a series with fewer frames some are repeated (:meth:`~cmr_course.acquisition.Acquisition.window`).
    """
    if frames is None:
        return example
    middle = _drawn(example.acquisition.n_frames, generator) if middle is None else middle
    total, batch = example.acquisition.n_frames, len(example.reference)
    windows = example.acquisition.window(frames)
    index = torch.arange(batch) * total + middle

    def picked(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) == 1 else tensor[index]

    acquisition = replace(
        windows,
        kspace=windows.kspace[index],
        mask=picked(windows.mask),
        sensitivities=None if windows.sensitivities is None else windows.sensitivities[index],
        scale=None if windows.scale is None else windows.scale[index],
    )
    centre = slice(middle, middle + 1)
    kspace = None if example.kspace is None else example.kspace[:, centre]
    return Example(acquisition, example.reference[:, centre], example.names, kspace)


def _drawn(number: int, generator: torch.Generator) -> int:
    """A whole number from 0 to below `number`."""
    return int(torch.randint(number, (), generator=generator))
