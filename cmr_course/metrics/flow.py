"""Velocity and flow out of phase-contrast images: a map, a curve, a volume, a peak.

Two images differ only in a bipolar gradient, which turns the phase of moving spins by π·v/venc. Their phase difference
is therefore the velocity along the encoded direction, and what both have in common (coils, field) cancels (Bryant et
al. 1984, J Comput Assist Tomogr 8:588; practice: Nayak et al. 2015, doi:10.1186/s12968-015-0172-7).

Velocities are in cm/s, positive along the normal of the plane. In a batch the two images of a slice are neighbours:
reference, encoded, reference, encoded …
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import pad

from cmr_course.acquisition import Reconstruction, Truth
from cmr_course.validate import (
    is_number,
    is_pair,
    require,
    require_axes,
    require_complex,
    require_finite,
    require_positive,
    say,
)

Images = Complex[Tensor, "batch frame y x"]
Velocity = Float[Tensor, "batch frame y x"]
Vessel = Bool[Tensor, "batch frame y x"] | Bool[Tensor, "batch y x"]
"""Pixels of a vessel, in each frame or the same in all."""
Curve = Float[Tensor, "batch frame"]

UNEVEN = 0.02
"""By what part of their mean steps between frames may differ and still count as even."""
WINDOW = 3
"""Pixels along each side of the neighbourhood whose median is a velocity that noise did not make."""


def velocity_map(reference: Images, encoded: Images, venc: float) -> Velocity:
    """Velocity venc/π·arg(encoded·reference*) in cm/s, float64, between ±`venc`; zero where either image is black.

    Faster flow is aliased: it comes out 2·venc too slow, see :func:`unwrap_velocity`. The phase of an image has the
    noise 1/SNR, a difference of two √2 times that, so that the velocity has √2/π·venc/SNR: a venc far above the peak
    costs precision.

    Raises:
        ValueError: images that have no phase (a root sum of squares): no velocity is left in them.
    """
    for name, image in (("reference", reference), ("encoded", encoded)):
        require_axes(name, image, "batch frame y x")
        require_complex(name, image)
        require(image.dtype != torch.complex32, f"{name}: got {image.dtype}, want complex64 or complex128")
        require_finite(name, image)
    same = reference.shape == encoded.shape
    require(same, f"encoded: got shape {tuple(encoded.shape)}, want that of reference, {tuple(reference.shape)}")
    require_positive("venc", venc)
    magnitude_only = all(bool((image.imag == 0).all() and (image.real >= 0).all()) for image in (reference, encoded))
    dark = not bool(encoded.any())
    require(dark or not magnitude_only, "encoded: got magnitudes without a phase, want complex images")
    kind = torch.complex128
    return (encoded.to(kind) * reference.to(kind).conj()).angle() * (venc / math.pi)


def velocity_of(reconstruction: Reconstruction | Images, venc: float) -> Float[Tensor, "pair frame y x"]:
    """:func:`velocity_map` of each pair (reference, encoded) in the batch of a reconstruction or of images."""
    image = reconstruction.image if isinstance(reconstruction, Reconstruction) else reconstruction
    require_axes("reconstruction", image, "batch frame y x")
    require(len(image) % 2 == 0, f"reconstruction: got a batch of {len(image)}, want pairs (reference, encoded)")
    return velocity_map(image[0::2], image[1::2], venc)


def unwrap_velocity(velocity: Velocity, venc: float, region: Vessel | None = None) -> Velocity:
    """Undo one aliasing: follow every pixel through the beat, each frame the one of v and v ± 2·venc next to the last.

    It starts in the frame in which the mean |v| over `region` is least (diastole), and trusts it. Limits: where the
    true velocity changes by more than venc from one frame to the next, the wrong neighbour is taken. Such a pixel
    mostly shows, since the beat is a circle: one that does not come back to where it started is left as it was, and
    so is one that would need 4·venc or more. A pixel that the vessel enters or leaves has no smooth velocity.

    region: pixels that may be changed, all if None.
    """
    velocity = _checked("velocity", velocity)
    require_positive("venc", venc)
    largest = float(velocity.abs().max())
    require(largest <= venc * 1.0001, f"velocity: got up to {largest:.4g} cm/s, want at most venc, {venc:g}")
    inside = _in_frames(region, velocity)
    weights = inside.double()
    speed = (velocity.abs() * weights).sum((-2, -1)) / weights.sum((-2, -1)).clamp(min=1)
    start = speed.argmin(1)
    frames = velocity.shape[1]
    order = (start[:, None] + torch.arange(frames, device=velocity.device)) % frames
    wide = order[:, :, None, None].expand_as(velocity)
    turned = velocity.gather(1, wide)
    # How often 2·venc has to be added on the way from each frame to the next one, and from the last to the first.
    jumps = -torch.round((turned.roll(-1, 1) - turned) / (2 * venc))
    wraps = jumps.cumsum(1).roll(1, 1)
    closed = (wraps[:, :1] == 0) & (wraps.abs().amax(1, keepdim=True) <= 1)
    unwrapped = torch.empty_like(velocity).scatter_(1, wide, turned + 2 * venc * wraps * closed)
    return torch.where(inside, unwrapped, velocity)


def flow_curve(velocity: Velocity, region: Vessel, pixel_size: tuple[float, float]) -> Curve:
    """Flow through `region` in ml/s, a value for each frame: the sum of its velocities times the area of a pixel.

    pixel_size: (y, x) in mm.
    """
    velocity = _checked("velocity", velocity)
    good = is_pair(pixel_size) and all(0 < side < math.inf for side in pixel_size)
    require(good, f"pixel_size: got {say(pixel_size)}, want (y, x) in mm above zero")
    inside = _in_frames(region, velocity)
    area = pixel_size[0] * pixel_size[1] / 100  # mm² to cm²
    return (velocity * inside).sum((-2, -1)) * area


def net_volume(flow: Curve, times: Sequence[float], cycle: float | None = None) -> Float[Tensor, " batch"]:
    """Volume of one heart beat in ml: the flow (ml/s) integrated over the whole cycle, what runs back subtracted.

    The trapezium rule on a circle: after the last frame comes the first one again, so that no part of the beat is left
    out. times: of the frames in ms, increasing. cycle: length of the beat in ms; where None, the frames have to be
    even, and the step from the last to the first is like the others.
    """
    require_axes("flow", flow, "batch frame")
    require(flow.is_floating_point(), f"flow: got {flow.dtype}, want ml/s")
    require_finite("flow", flow)
    frames = flow.shape[1]
    row = isinstance(times, Iterable) and getattr(times, "ndim", 1) == 1
    given = list(times) if row else []
    moments = [float(time) for time in given if is_number(time) and math.isfinite(time)]
    good = len(moments) == len(given) == frames
    require(good, f"times: got {say(given if row else times)}, want {frames} finite numbers in ms, one for each frame")
    require(frames > 1, "times: got one frame, want two or more of a beat")
    steps = [after - before for before, after in itertools.pairwise(moments)]
    require(min(steps) > 0, f"times: got {say(moments)}, want increasing times")
    if cycle is None:
        mean = sum(steps) / len(steps)
        even = all(abs(step - mean) <= UNEVEN * mean for step in steps)
        require(even, "cycle: got None and frames that are not even, want the length of the beat in ms")
        cycle = mean * frames
    good = is_number(cycle) and moments[-1] - moments[0] < cycle < math.inf
    require(good, f"cycle: got {say(cycle)}, want ms, more than from the first frame to the last")
    steps.append(cycle - moments[-1] + moments[0])
    wide = torch.tensor(steps, dtype=torch.float64, device=flow.device) / 1000
    return ((flow + flow.roll(-1, 1)) / 2 * wide).sum(1)


def peak_velocity(velocity: Velocity, region: Vessel) -> Curve:
    """The fastest velocity in `region`, with its sign, in each frame: of the medians over 3 × 3 pixels within it.

    The largest of many noisy numbers is too large. Of even flow over 145 pixels it was, on average, too fast by 2.6
    standard deviations of Gaussian noise, the largest median by 1.0; and one wrong pixel does not move a median. A
    parabolic profile loses the fall of one pixel from its peak, v·(pixel/radius)², so that truth and reconstruction
    have to be read off by the same rule. Neighbours outside of `region` do not count.
    """
    velocity = _checked("velocity", velocity)
    inside = _in_frames(region, velocity)
    empty = int((~inside.flatten(2).any(-1)).sum())
    require(empty == 0, f"region: got {empty} frames without a pixel, want a vessel in every frame")
    medians = _medians(velocity, inside)
    fastest = medians.abs().masked_fill(~inside, -1).flatten(2).argmax(-1, keepdim=True)
    return medians.flatten(2).gather(-1, fastest)[..., 0]


def vessel_region(
    truth: Truth, name: str = "aorta", near: tuple[float, float] | None = None
) -> Bool[Tensor, "batch frame y x"]:
    """Pixels labelled `name`, in each frame.

    near: a pixel (y, x); only the connected part is kept that comes closest to it. A slice across the chest meets the
    aorta twice, on its way up and down: flow through both together nearly cancels.
    """
    require(isinstance(truth, Truth), f"truth: got {say(truth)}, want a Truth with labels")
    if truth.labels is None or not isinstance(name, str) or name not in truth.label_names:
        known = ", ".join(truth.label_names)
        raise ValueError(f"vessel: got {say(name)}, want a label of the truth ({known or 'it has none'})")
    region = truth.labels == truth.label_names[name]
    if near is None:
        return region
    require(is_pair(near), f"near: got {say(near)}, want a pixel (y, x)")
    frames = region.flatten(0, 1).cpu().numpy()
    parts = np.stack([_nearest_part(frame, near) for frame in frames])
    return torch.from_numpy(parts).to(region.device).view_as(region)


def _nearest_part(pixels: NDArray[np.bool_], near: tuple[float, float]) -> NDArray[np.bool_]:
    """The 8-connected part of `pixels` (y, x) with the pixel that is closest to `near`."""
    places = np.argwhere(pixels)
    if not len(places):
        return pixels
    numbered, _ = ndimage.label(pixels, np.ones((3, 3)))
    y, x = places[((places - np.asarray(near)) ** 2).sum(1).argmin()]
    part: NDArray[np.bool_] = numbered == numbered[y, x]
    return part


def peak_velocity_error(
    reconstruction: Reconstruction | Images, truth: Truth, venc: float, *, vessel: str = "aorta"
) -> Float[Tensor, " pair"]:
    """By how much the fastest velocity of the beat is too fast, in cm/s: below zero where a method smooths it away.

    Both are read off by :func:`peak_velocity` over the pixels labelled `vessel` in the truth, by size and without
    sign. One number for each pair of the batch. A velocity above venc is aliased in the reconstruction, and that
    counts as the error it is: choose another venc.
    """
    region = vessel_region(truth, vessel)[1::2]
    if truth.velocity is None:
        raise ValueError("truth: got no velocity, want that of a simulated flow scan")
    seen = velocity_of(reconstruction, venc)
    wanted = truth.velocity[1::2].double()
    require(seen.shape == wanted.shape, f"reconstruction: got pairs {tuple(seen.shape)}, want {tuple(wanted.shape)}")
    peaks = [peak_velocity(velocity, region).abs().amax(1) for velocity in (seen, wanted)]
    return peaks[0] - peaks[1]


def _checked(name: str, velocity: Tensor) -> Velocity:
    require_axes(name, velocity, "batch frame y x")
    require(velocity.is_floating_point(), f"{name}: got {velocity.dtype}, want cm/s")
    require_finite(name, velocity)
    return velocity.double()


def _in_frames(region: Vessel | None, velocity: Velocity) -> Bool[Tensor, "batch frame y x"]:
    """`region` in every frame; all pixels where there is none."""
    if region is None:
        return torch.ones_like(velocity, dtype=torch.bool)
    good = isinstance(region, Tensor) and region.dtype == torch.bool
    require(good, f"region: got {say(region)}, want a boolean tensor")
    batch, frames, y, x = velocity.shape
    wide = region[:, None] if region.ndim == 3 else region
    fits = tuple(wide.shape) in ((batch, frames, y, x), (batch, 1, y, x))
    wanted = f"{(batch, frames, y, x)}, (batch, frame, y, x), or without the frame"
    require(fits, f"region: got shape {tuple(region.shape)}, want {wanted}")
    empty = int((~region.flatten(1).any(1)).sum())
    require(empty == 0, f"region: got {empty} that hold no pixel, want at least one pixel in every batch item")
    return wide.expand(batch, frames, y, x)


def _medians(velocity: Velocity, inside: Tensor) -> Velocity:
    """Median over the part of each 3 × 3 neighbourhood that lies `inside`; the lower middle one of an even number."""
    reach = WINDOW // 2
    known = pad(velocity.masked_fill(~inside, math.nan), (reach,) * 4, value=math.nan)
    windows = known.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1).flatten(-2)
    return windows.nanmedian(-1).values.nan_to_num(0.0)
