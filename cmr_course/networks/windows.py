"""What networks share that see a few neighbouring frames and return the middle one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Complex
from torch import Tensor, nn

from cmr_course.acquisition import Acquisition, Reconstruction, require_acquisition
from cmr_course.validate import is_whole, require, require_whole, say


class Windowed(nn.Module):
    """A network that sees `frames` neighbouring frames, circular in time, and returns the one in the middle.

    In training (``train()``) it is given such windows, one for each item of the batch, and returns the middle frames.
    Otherwise it takes an acquisition of any number of frames, makes the windows itself, runs `together` of them at a
    time, and returns every frame.
    recompute: in training, run each cascade again in the backward pass instead of keeping what is inside it.
    """

    recompute: bool = False

    def __init__(self, frames: int, together: int) -> None:
        super().__init__()
        odd = is_whole(frames) and frames > 0 and frames % 2 == 1
        require(odd, f"frames: got {say(frames)}, want an odd number above zero: the window has a middle")
        require_whole("together", together)
        self.frames, self.together = frames, together

    def forward(self, acquisition: Acquisition) -> Reconstruction:
        """Reconstruct `acquisition`: the middle frame of windows in training, else every frame."""
        require_acquisition(acquisition)
        known = acquisition if acquisition.scale is not None else acquisition.with_scale()
        if self.training:
            fits = known.n_frames == self.frames
            wanted = f"want windows of {self.frames} (Acquisition.window makes them)"
            require(fits, f"acquisition: got {known.n_frames} frames in training, {wanted}")
            return self.middle(replace(known, sensitivities=None))
        windows = replace(known, sensitivities=self.maps_of(known)).window(self.frames)
        parts = [self.middle(part) for part in _parts(windows, self.together)]
        return _in_series(parts, *known.kspace.shape[:2])

    def maps_of(self, acquisition: Acquisition) -> Complex[Tensor, "batch frame coil y x"] | None:
        """The network's own maps of each frame, where these do not depend on the frames around it; else None."""
        return None

    @abstractmethod
    def middle(self, windows: Acquisition) -> Reconstruction:
        """The middle frame of each item of the batch. Where `windows` have maps, they are those of :meth:`maps_of`."""


def _parts(windows: Acquisition, number: int) -> Iterator[Acquisition]:
    """So many windows at a time."""
    assert windows.scale is not None
    for first in range(0, len(windows.kspace), number):
        part = slice(first, first + number)
        mask = windows.mask if len(windows.mask) == 1 else windows.mask[part]
        maps = None if windows.sensitivities is None else windows.sensitivities[part]
        yield replace(windows, kspace=windows.kspace[part], mask=mask, sensitivities=maps, scale=windows.scale[part])


def _in_series(parts: list[Reconstruction], batch: int, frames: int) -> Reconstruction:
    """Middle frames of all windows, put back into series."""

    def series(tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors).squeeze(1).unflatten(0, (batch, frames))

    kspace = [part.kspace for part in parts if part.kspace is not None]
    maps = [part.sensitivities for part in parts if part.sensitivities is not None]
    steps = [part.steps for part in parts if part.steps is not None]
    return Reconstruction(
        series([part.image for part in parts]),
        kspace=series(kspace) if kspace else None,
        sensitivities=series(maps) if maps else None,
        steps=tuple(series(list(step)) for step in zip(*steps, strict=True)) if steps else None,
    )
