"""Truth files: the noise-free image that simulated data are scored against, beside the tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Complex
from torch import Tensor

from cmr_course.data import matlab
from cmr_course.data.cmrxrecon import Case, Chosen, as_range, chosen_indices, require_sound
from cmr_course.validate import require, require_axes, require_complex, require_finite


def truth_path(case: Case) -> Path:
    """``truth/P001/cine_sax_truth.h5`` below the root: a v7.3 file with the variable ``image``."""
    return case.root / "truth" / case.subject / f"{case.stem}_truth.h5"


class ImageWriter:
    """Adds slices to an open file of images; see :func:`writing_images`."""

    def __init__(self, writer: matlab.Writer, n_slices: int, magnitude: bool) -> None:
        self._writer, self._n_slices, self._magnitude = writer, n_slices, magnitude
        self._fill: dict[str, Callable[[tuple[int, ...], matlab.Array], None]] = {}
        self.count = 0

    def add(self, image: Complex[Tensor, "frame y x"]) -> None:
        """Write the next slice."""
        require_axes("image", image, "frame y x")
        require_complex("image", image)
        require_finite("image", image)
        values = image.detach().cpu().numpy()
        for name, part in {"image": values, "magnitude": abs(values)}.items():
            if name == "magnitude" and not self._magnitude:
                continue
            if name not in self._fill:
                shape = (len(part), self._n_slices, *part.shape[1:])
                self._fill[name] = self._writer.create(name, shape, part.dtype.name)
            for time, frame in enumerate(part):
                self._fill[name]((time, self.count), frame)
        self.count += 1

    def describe(self, attributes: Mapping[str, str | float | int]) -> None:
        """Attach `attributes` to the file."""
        self._writer.describe(attributes)


@contextmanager
def writing_images(path: Path, n_slices: int, *, magnitude: bool = False) -> Iterator[ImageWriter]:
    """Write complex images slice by slice as ``image`` (time, slice, y, x); with `magnitude`, that beside it.

    The file appears when the block ends well and all `n_slices` were added.
    """
    with matlab.writing(path) as writer:
        images = ImageWriter(writer, n_slices, magnitude)
        yield images
        require(images.count == n_slices, f"{path}: got {images.count} slices, want the {n_slices} announced")


def image_variable(path: Path) -> matlab.Variable:
    """The array that :func:`writing_images` wrote, unread; ValueError where there is none, or it does not fit."""
    variable = matlab.find(path, "image")
    require(len(variable.shape) == 4, f"{variable}: got {len(variable.shape)} axes, want 4 (time, slice, y, x)")
    kind = variable.dtype.kind if variable.dtype is not None else "c"
    require(kind == "c", f"{variable}: got real values ({variable.dtype}), want complex ones")
    return variable


def read_images(path: Path, slices: Chosen = None) -> Complex[Tensor, "batch frame y x"]:
    """Read images of `slices`, (batch=slice, frame, y, x), from a file of :func:`writing_images`."""
    variable = image_variable(path)
    chosen = chosen_indices(f"{path}: slices", slices, variable.shape[1])
    values = variable.read((slice(None), as_range(chosen)))
    require_sound(str(variable), values)
    return torch.from_numpy(values).movedim(1, 0).contiguous()
