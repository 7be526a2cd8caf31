"""Cine series: magnitude images of a beating heart, and what a receiver would have measured of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor

from cmr_course.acquisition import About, Acquisition, Truth
from cmr_course.fourier import fft2c, ifft2c
from cmr_course.receiver import SIGNAL_REGION, Receiver, receive
from cmr_course.validate import require, require_axes, require_finite

ORIGIN = "real anatomy and motion, simulated acquisition"
"""What `About.origin` says of k-space made from images: no scanner acquired it."""

ASSUMED_WIDTH_MM = 340.0
"""Field of view along x of a series that does not say its pixel size; it only places the coils."""


@dataclass(frozen=True, eq=False)
class CineSeries:
    """Magnitude images that a scanner has already reconstructed.

    images: real, not negative, (slice, frame, y, x), in the units of the file.
    pixel_size: (y, x) in mm, None where the file does not say. times: trigger time of each frame in ms, or empty.
    source: where the images come from, in words; licence: on what terms they may be used, empty where unknown.
    """

    images: Float[Tensor, "slice frame y x"]
    pixel_size: tuple[float, float] | None = None
    times: tuple[float, ...] = ()
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        require_axes("images", self.images, "slice frame y x")
        require(not self.images.is_complex(), f"images: got complex values ({self.images.dtype}), want magnitudes")
        require(self.images.is_floating_point(), f"images: got {self.images.dtype}, want floating point")
        require_finite("images", self.images)
        negative = int((self.images < 0).sum())
        require(negative == 0, f"images: got {negative} negative values, want magnitudes")
        require(bool((self.images > 0).any()), "images: got zeros everywhere, want a heart")
        frames = self.images.shape[1]
        require(len(self.times) in (0, frames), f"times: got {len(self.times)}, want none or {frames}, one a frame")
        finite = all(math.isfinite(time) for time in self.times)
        require(finite, f"times: got {self.times}, want finite numbers of ms")
        if self.pixel_size is not None:
            sound = len(self.pixel_size) == 2 and all(0 < size < math.inf for size in self.pixel_size)
            require(sound, f"pixel_size: got {self.pixel_size}, want (y, x) in mm above zero")

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.images.shape[0]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.images.shape[1]

    @property
    def matrix(self) -> tuple[int, int]:
        """(y, x)."""
        return self.images.shape[2], self.images.shape[3]

    def digest(self) -> str:
        """A fingerprint of the images, the same wherever and in whatever format they were stored."""
        values = self.images.to(torch.float32).contiguous()
        return sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()

    def select(self, slices: list[int] | None = None, frames: list[int] | int | None = None) -> CineSeries:
        """Only these slices and frames; a number of frames takes so many, evenly spread over the beat.

        Frames are picked and not interpolated: frame floor(i·n/m) for i = 0 … m − 1, with its own trigger time.
        """
        if isinstance(frames, int):
            require(0 < frames <= self.n_frames, f"frames: got {frames}, want 1 to {self.n_frames}")
            frames = [i * self.n_frames // frames for i in range(frames)]
        rows = list(range(self.n_slices)) if slices is None else slices
        columns = list(range(self.n_frames)) if frames is None else frames
        for name, chosen, length in (("slices", rows, self.n_slices), ("frames", columns, self.n_frames)):
            outside = [number for number in chosen if not 0 <= number < length]
            require(bool(chosen) and not outside, f"{name}: got {chosen}, want some of 0 to {length - 1}")
        times = tuple(self.times[frame] for frame in columns) if self.times else ()
        return replace(self, images=self.images[rows][:, columns], times=times)

    def resample(self, matrix: tuple[int, int]) -> CineSeries:
        """The series on a (y, x) `matrix`, by cropping or zero-filling its Fourier transform.

        First the largest centred field of view that has the aspect ratio of `matrix` (in pixels) is cut out: with
        the aspect ratio of the series it is the whole image, 256 × 256 to 128 × 128 loses resolution and no anatomy.
        Intensities keep their units; what rings below zero is set to zero, since these are magnitudes.
        """
        require(min(matrix) > 0, f"matrix: got {matrix}, want (y, x) above zero")
        scale = min(old / new for old, new in zip(self.matrix, matrix, strict=True))
        view = tuple(min(old, round(new * scale)) for old, new in zip(self.matrix, matrix, strict=True))
        cut = _centred(self.images, (view[0], view[1]))
        spectrum = _centred(fft2c(torch.complex(cut, torch.zeros_like(cut))), matrix)
        gain = math.sqrt(math.prod(matrix) / math.prod(view))  # the transform is orthonormal at both sizes
        images = (ifft2c(spectrum).real * gain).clamp(min=0)
        size = self.pixel_size
        if size is not None:
            size = (size[0] * view[0] / matrix[0], size[1] * view[1] / matrix[1])
        return replace(self, images=images, pixel_size=size)


def _centred(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop or zero-fill the last two axes to `size`, centre (index n // 2) on centre."""
    for axis, wanted in zip((-2, -1), size, strict=True):
        have = values.shape[axis]
        if wanted <= have:
            values = values.narrow(axis, have // 2 - wanted // 2, wanted)
        else:
            shape = list(values.shape)
            shape[axis] = wanted
            wider = torch.zeros(shape, dtype=values.dtype, device=values.device)
            wider.narrow(axis, wanted // 2 - have // 2, have).copy_(values)
            values = wider
    return values


def acquire(
    series: CineSeries,
    receiver: Receiver,
    *,
    generator: torch.Generator,
    subject: str = "",
    contrast: str = "cine",
    view: str = "sax",
) -> tuple[Acquisition, Truth]:
    """What `receiver` would have measured of `series`, fully sampled, slices along the batch axis; and the truth.

    Anatomy and motion are real; phase, coils, k-space and noise are simulated, and `about.origin` says so. The truth
    is the noise-free coil-combined image. The images hold the intensity profile of the array they were acquired with,
    so that of `receiver` is left out (shading 0) where `receiver` does not ask for one.
    """
    if receiver.shading is None:
        receiver = replace(receiver, shading=0.0)
    width = series.matrix[1]
    pixel = series.pixel_size or (ASSUMED_WIDTH_MM / width, ASSUMED_WIDTH_MM / width)
    about = About(contrast=contrast, view=view, subject=subject, times=series.times, origin=ORIGIN)
    image = torch.complex(series.images, torch.zeros_like(series.images))
    acquisition, truth = receive(image, receiver, generator=generator, about=about, pixel_size_mm=pixel)
    if series.pixel_size is None:
        acquisition = replace(acquisition, about=replace(acquisition.about, pixel_size=None))
    return acquisition, truth


def acquisition_info(series: CineSeries, receiver: Receiver) -> dict[str, str]:
    """Rows for the ``*_info.csv`` of what `receiver` measured of `series`; `Case.acquisition` reads them back."""
    rows = {
        "origin": ORIGIN,
        "source": series.source,
        "licence": series.licence,
        "pixel_size_mm": _words(series.pixel_size or ()),
        "times_ms": _words(series.times),
        "vendor": receiver.vendor,
        "field_T": _words((receiver.field,)),
        "snr_db": "" if receiver.snr_db is None else _words((receiver.snr_db,)),
        "snr_region": "" if receiver.snr_db is None else f"{SIGNAL_REGION}, of each slice",
    }
    # A file may be called anything; a row of the table is one line without blanks at its ends.
    lines = {name: " ".join(value.splitlines()).strip() for name, value in rows.items()}
    return {name: value for name, value in lines.items() if value}


def _words(numbers: tuple[float, ...]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def stream(seed: int, *names: str | int) -> torch.Generator:
    """The random stream that belongs to `seed` and `names` (subject, file, slice, …), whatever was drawn before.

    So each slice of each file gets the same numbers in whatever order, or by however many workers, they are made.
    """
    text = "\x1f".join(str(part) for part in (seed, *names))
    return torch.Generator().manual_seed(int.from_bytes(sha256(text.encode()).digest()[:8], "little") >> 1)
