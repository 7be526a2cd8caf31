"""The records everything speaks: what was measured, what is true of it, and what a method returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Complex, Float, Integer
from torch import Tensor

from cmr_course.coils import combine, rss
from cmr_course.fourier import ifft2c
from cmr_course.image import quantile
from cmr_course.sampling import Mask, require_acs
from cmr_course.validate import (
    is_whole,
    require,
    require_axes,
    require_broadcast,
    require_complex,
    require_finite,
    say,
)

FEW = 2**18
"""Samples of k-space that are looked at together, where one frame has no more: what is computed stays in the cache."""
SCALE_QUANTILE = 0.99
"""`Acquisition.scale` is this quantile of the magnitude of the zero-filled image."""


@dataclass(frozen=True)
class About:
    """What a table, a title or a prompt may need to know of an acquisition. Times are in ms, the field in tesla.

    times: of each frame: after the (first) R wave; where frames are weightings, after the inversion or of preparation;
    of a single picture, its inversion or echo time.
    venc: speed in cm/s whose phase is π, where velocity is encoded.
    """

    contrast: str = "cine"
    view: str = "sax"
    subject: str = ""
    vendor: str = ""
    field: float | None = None
    trajectory: str = "full"
    nominal_acceleration: float | None = 1.0
    realised_acceleration: float = 1.0
    snr_db: float | None = None
    snr_region: str = ""
    times: tuple[float, ...] = ()
    venc: float | None = None
    pixel_size: tuple[float, float] | None = None
    origin: str = "acquired"


R = TypeVar("R", bound="_Record")


class _Record:
    """Shared by the records: tensors move together, and `repr` shows shapes, never numbers."""

    def to(self: R, device: torch.device | str) -> R:
        """The same record with every tensor on `device`."""
        return replace(self, **{name: _moved(value, device) for name, value in self._items()})  # type: ignore[type-var]

    def _items(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self)]  # type: ignore[arg-type]

    def __repr__(self) -> str:
        shown = [f"{name} {_shape(value)}" for name, value in self._items() if _shape(value)]
        return f"{type(self).__name__}({', '.join(shown)})"


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if isinstance(value, Mapping):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return "x".join(map(str, value.shape)) or "scalar"
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return f"{len(value)} of {_shape(value[0])}"
    if isinstance(value, Mapping) and value:
        return "{" + ", ".join(value) + "}"
    return ""


@dataclass(frozen=True, eq=False, repr=False)
class Acquisition(_Record):
    """What the receiver measured.

    kspace: complex, zero where not sampled.
    mask: bool, broadcasts to kspace; its coil axis has length one.
    acs: (ky lines, kx points) fully sampled in the centre.
    sensitivities: complex coil maps with Σ|S|² = 1 on their support and 0 elsewhere, or None.
    noise_covariance: of the coils, per real and imaginary channel, or None.
    scale: one number per batch item by which a network divides k-space; see :meth:`with_scale`.
    """

    kspace: Complex[Tensor, "batch frame coil ky kx"]
    mask: Bool[Tensor, "mask_batch mask_frame 1 ky mask_kx"]
    acs: tuple[int, int]
    sensitivities: Complex[Tensor, "batch map_frame coil ky kx"] | None = None
    noise_covariance: Complex[Tensor, "coil coil"] | None = None
    scale: Float[Tensor, " batch"] | None = None
    about: About = field(default_factory=About)

    def __post_init__(self) -> None:
        require_axes("kspace", self.kspace, "batch frame coil ky kx")
        require_complex("kspace", self.kspace)
        require_axes("mask", self.mask, "batch frame coil ky kx")
        require(self.mask.dtype == torch.bool, f"mask: got {self.mask.dtype}, want torch.bool")
        batch, frames, _, ky, kx = self.kspace.shape
        require_broadcast("mask", tuple(self.mask.shape), (batch, frames, 1, ky, kx), "batch frame coil ky kx")
        require(self.mask.shape[3] == ky, f"mask: got {self.mask.shape[3]} phase-encoding lines, want {ky}")
        require_acs(self.acs, self.mask)
        require(self.acs[1] <= kx, f"acs: got {self.acs}, want at most {(ky, kx)}, the matrix")
        # A record on the meta device has shapes and no values.
        known = self.kspace.is_meta or bool(self.mask.all())
        outside = 0 if known else int(((self.kspace != 0) & ~self.mask).sum())
        require(outside == 0, f"kspace: got {outside} samples outside the mask, want zeros there")
        self._check_parts()

    def _check_parts(self) -> None:
        """Maps, noise covariance, scale and `about` must fit k-space, where they are given."""
        batch, frames, n_coils, ky, kx = self.kspace.shape
        if self.sensitivities is not None:
            require_axes("sensitivities", self.sensitivities, "batch frame coil y x")
            require_complex("sensitivities", self.sensitivities)
            got, wanted = tuple(self.sensitivities.shape), (batch, frames, n_coils, ky, kx)
            require_broadcast("sensitivities", got, wanted, "batch frame coil y x")
            require(got[2:] == wanted[2:], f"sensitivities: got (coil, y, x) = {got[2:]}, want {wanted[2:]}")
        if self.noise_covariance is not None:
            require_axes("noise_covariance", self.noise_covariance, "coil coil")
            got = tuple(self.noise_covariance.shape)
            require(got == (n_coils, n_coils), f"noise_covariance: got {got}, want {(n_coils, n_coils)}")
            require_complex("noise_covariance", self.noise_covariance)
        if self.scale is not None:
            require_axes("scale", self.scale, "batch")
            fits = len(self.scale) == batch and self.scale.is_floating_point()
            require(fits, f"scale: got {self.scale.dtype} {tuple(self.scale.shape)}, want real ({batch},)")
        require(isinstance(self.about, About), f"about: got {say(self.about)}, want an About")

    @classmethod
    def fully_sampled(
        cls, kspace: Complex[Tensor, "batch frame coil ky kx"], about: About | None = None, **parts: Any
    ) -> Acquisition:
        """Wrap fully sampled `kspace`, checked for NaN; `parts` are further fields, such as sensitivities."""
        require_axes("kspace", kspace, "batch frame coil ky kx")
        require_complex("kspace", kspace)
        require_finite("kspace", kspace)
        ky, kx = kspace.shape[-2:]
        mask = torch.ones((1, 1, 1, ky, 1), dtype=torch.bool, device=kspace.device)
        return cls(kspace, mask, (ky, kx), about=about or About(), **parts).with_scale()

    @property
    def n_coils(self) -> int:
        """Number of receiver coils."""
        return self.kspace.shape[2]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.kspace.shape[1]

    @property
    def matrix(self) -> tuple[int, int]:
        """(ky, kx)."""
        return self.kspace.shape[3], self.kspace.shape[4]

    @property
    def realised_acceleration(self) -> float:
        """Number of k-space points divided by the number sampled, ACS counted."""
        return self.mask.numel() / max(int(self.mask.sum()), 1)

    def coil_images(self) -> Complex[Tensor, "batch frame coil y x"]:
        """Zero-filled coil images F⁻¹k."""
        return ifft2c(self.kspace)

    def undersample(self, mask: Mask) -> Acquisition:
        """Keep only the samples of `mask` (retrospective undersampling); ACS, scale and `about` follow."""
        require(isinstance(mask, Mask), f"mask: got {type(mask).__name__}, want a Mask")
        batch, frames, _, ky, kx = self.kspace.shape
        require_broadcast("mask", tuple(mask.sampled.shape), (batch, frames, 1, ky, kx), "batch frame coil ky kx")
        require(mask.sampled.shape[3] == ky, f"mask: got {mask.sampled.shape[3]} phase-encoding lines, want {ky}")
        kept = self.mask & mask.sampled.to(self.mask.device)
        acs_points = kx if mask.sampled.shape[-1] == 1 else mask.acs[1]  # one entry for the whole readout: all of it
        undersampled = replace(
            self,
            kspace=self.kspace * kept,
            mask=kept,
            acs=(min(self.acs[0], mask.acs[0]), min(self.acs[1], acs_points)),
            about=replace(
                self.about,
                trajectory=mask.kind,
                nominal_acceleration=mask.nominal_acceleration,
                realised_acceleration=kept.numel() / max(int(kept.sum()), 1),
            ),
        )
        return undersampled.with_scale()

    def with_sensitivities(self, sensitivities: Complex[Tensor, "batch map_frame coil y x"]) -> Acquisition:
        """The same measurement with these coil maps, and the scale that follows from them."""
        return replace(self, sensitivities=sensitivities).with_scale()

    def with_scale(self) -> Acquisition:
        """Set `scale`: per batch item the 99th percentile of the magnitude of the zero-filled image.

        The image is the sensitivity-weighted one, or the root sum of squares where there are no maps. Where the
        percentile is zero it is the maximum, and one where there is no signal at all: `scale` divides.
        """
        maps = self.sensitivities
        magnitude = torch.empty_like(self.kspace[:, :, 0].real)
        step = max(FEW * self.n_frames // self.kspace.numel(), 1)
        for first in range(0, self.n_frames, step):
            part = slice(first, first + step)
            images = ifft2c(self.kspace[:, part])
            if maps is None:
                magnitude[:, part] = rss(images)
            else:
                magnitude[:, part] = combine(images, maps if maps.shape[1] == 1 else maps[:, part]).abs()
        require_finite("magnitude of the zero-filled image", magnitude)
        scale = torch.stack([quantile(item, SCALE_QUANTILE) for item in magnitude])
        peak = magnitude.amax((1, 2, 3))
        scale = torch.where(scale > 0, scale, torch.where(peak > 0, peak, 1))
        return replace(self, scale=scale)

    def window(self, frames: int) -> Acquisition:
        """Windows of `frames` neighbouring frames, circular in time, along the batch axis.

        The window of batch item b around frame t is item b·T + t. A series shorter than the window repeats frames:
        offsets are held to ±T//2, so that three weightings give t−1, t−1, t, t+1, t+1 (the rule PromptMR uses).
        """
        odd = is_whole(frames) and frames > 0 and frames % 2 == 1
        require(odd, f"frames: got {say(frames)}, want an odd number above zero")
        batch, total = self.kspace.shape[:2]
        reach = torch.arange(-(frames // 2), frames // 2 + 1).clamp(-(total // 2), total // 2)
        index = ((torch.arange(total)[:, None] + reach) % total).to(self.kspace.device)

        def windowed(tensor: Tensor) -> Tensor:
            spread = tensor.expand(batch, *tensor.shape[1:])
            if tensor.shape[1] == 1:
                return spread.repeat_interleave(total, dim=0)
            return spread[:, index].flatten(0, 1)

        maps = None if self.sensitivities is None else windowed(self.sensitivities)
        mask = self.mask if self.mask.shape[:2] == (1, 1) else windowed(self.mask)
        scale = None if self.scale is None else self.scale.repeat_interleave(total)
        # K-space always gets its frames, also those of a single one; only maps and masks may stay static.
        return replace(self, kspace=self.kspace[:, index].flatten(0, 1), mask=mask, sensitivities=maps, scale=scale)

    def __repr__(self) -> str:
        batch, frames, n_coils, ky, kx = self.kspace.shape
        about = self.about
        nominal = "?" if about.nominal_acceleration is None else f"{about.nominal_acceleration:g}"
        maps = "no maps" if self.sensitivities is None else "with maps"
        return (
            f"Acquisition({about.contrast} {about.view}, batch {batch}, {frames} frames, {n_coils} coils, "
            f"{ky} x {kx}, {about.trajectory}, nominal R = {nominal}, "
            f"realised R = {self.realised_acceleration:.2f}, ACS {self.acs[0]} x {self.acs[1]}, {maps})"
        )


def require_acquisition(value: Any) -> None:
    """`value` must be an :class:`Acquisition`: what every method is called with."""
    require(isinstance(value, Acquisition), f"acquisition: got {type(value).__name__}, want an Acquisition")


@dataclass(frozen=True, eq=False, repr=False)
class Truth(_Record):
    """What is true of simulated data. `image` is the noise-free Σ_c S_c*·(coil image c): scores are taken against it.

    labels: tissue number of each pixel, named by `label_names`.
    displacement: of each pixel's tissue since end diastole, (y, x, through the slice) in mm.
    volumes: by name, whose ending is the unit (ml, mm2, ml_s), one value a frame; strain likewise.
    T1, T2, T1rho in ms, zero where there is no signal; velocity of the blood in vessels through the plane, along
    right × down, in cm/s, zero elsewhere.
    """

    image: Complex[Tensor, "batch frame y x"]
    labels: Integer[Tensor, "batch frame y x"] | None = None
    label_names: Mapping[str, int] = field(default_factory=dict)
    sensitivities: Complex[Tensor, "batch map_frame coil y x"] | None = None
    displacement: Float[Tensor, "batch frame 3 y x"] | None = None
    volumes: Mapping[str, Tensor] = field(default_factory=dict)
    strain: Mapping[str, Tensor] = field(default_factory=dict)
    T1: Float[Tensor, "batch frame y x"] | None = None
    T2: Float[Tensor, "batch frame y x"] | None = None
    T1rho: Float[Tensor, "batch frame y x"] | None = None
    velocity: Float[Tensor, "batch frame y x"] | None = None

    def __post_init__(self) -> None:
        require_axes("image", self.image, "batch frame y x")
        require_complex("image", self.image)
        for name in ("labels", "T1", "T2", "T1rho", "velocity"):
            part = getattr(self, name)
            if part is not None:
                require_axes(name, part, "batch frame y x")
                got, wanted = tuple(part.shape), tuple(self.image.shape)
                require(got == wanted, f"{name}: got shape {got}, want that of the image, {wanted}")

    def magnitude(self) -> Float[Tensor, "batch frame y x"]:
        """|image|, the reference of metrics."""
        return self.image.abs()


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(_Record):
    """What a method returns: the image, and where it has them k-space, maps, what each step leaves, features."""

    image: Complex[Tensor, "batch frame y x"]
    kspace: Complex[Tensor, "batch frame coil ky kx"] | None = None
    sensitivities: Complex[Tensor, "batch map_frame coil y x"] | None = None
    steps: tuple[Complex[Tensor, "batch frame y x"], ...] | None = None
    step_kspaces: tuple[Complex[Tensor, "batch frame coil ky kx"], ...] | None = None
    features: Any = None

    def __post_init__(self) -> None:
        require_axes("image", self.image, "batch frame y x")
        require_complex("image", self.image)

    def magnitude(self) -> Float[Tensor, "batch frame y x"]:
        """|image|: what metrics see."""
        return self.image.abs()


@runtime_checkable
class Reconstructor(Protocol):
    """Every method, classical or learned: called with an Acquisition, it returns a Reconstruction."""

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        """Reconstruct `acquisition`."""
        ...
