"""Strain out of tagged images by their harmonic phase (HARP).

SPAMM paints parallel dark lines into the muscle, every `spacing` mm along the direction u, and they move with it.
Tissue keeps the phase of its place in the pattern, φ = 2π/spacing·u·X, X being where it was when the lines were
painted. Around the first harmonic of the pattern in k-space this phase can be cut out of any later image (Osman et al.
1999, doi:10.1002/(SICI)1522-2594(199912)42:6<1048::AID-MRM9>3.0.CO;2-M). Its gradient at a place x is
2π/spacing·u·∂X/∂x: two directions give F⁻¹ = ∂X/∂x, whose inverse F is the deformation gradient (Osman et al. 2000,
doi:10.1109/42.845177). Only gradients are used, so phase may wrap; nor does it matter how strong the lines still are.

What limits it: the filter passes frequencies within `bandwidth` of the first harmonic, so that detail finer than a tag
spacing or two is averaged, across the borders of the muscle as well. A wall of one or two tag spacings gives a mean
circumferential strain, and no trustworthy radial one. Tags fade: on a drawn ring at −20 % a contrast of 0.14 was enough
for 0.6 points, 0.11 gave 3 points and 0.08 gave 6, since what else the filter passes is as strong by then. Rotation and
shortening add up: 14 degrees at −25 % leave the filter.

Angles are in degrees from the direction of x towards that of y; vectors are (y, x).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from cmr_course.fourier import fft2c, ifft2c
from cmr_course.validate import is_number, is_pair, require, require_axes, require_finite, require_positive, say

Tagged = Float[Tensor, "batch frame y x"] | Complex[Tensor, "batch frame y x"]
Harmonic = Complex[Tensor, "*series y x"]
Wall = Bool[Tensor, "batch frame y x"] | Bool[Tensor, "batch y x"]
Gradient = Float[Tensor, "batch frame 2 2 y x"]

ANGLES = (45.0, -45.0)
"""Directions u across the lines of a SPAMM grid."""
BANDWIDTH = 0.5
"""Radius of the filter in units of 1/spacing: half way to the next harmonic. Muscle that has shortened by a fifth has
lines a quarter closer and lies at 0.25; what turns as well lies further out. On six phantoms (192 × 192, lines 8 mm
apart, without noise) strain was within 1.7 points of that of the displacement in all twelve frames. With 0.4 the
strongest shortening was up to 3.7 points too small, with 0.7 the faded lines of late frames gave errors up to 7.6."""
PLATEAU = 0.4
"""Part of this radius that passes whole; from there the filter falls to zero as a squared cosine, which rings less."""
SPACINGS = (4.0, 16.0)
"""Between which a tag spacing is sought, mm."""
N_SPACINGS = 241
"""Places at which the spectrum is looked at between them: closer than a peak of a 400 mm image is wide."""
SEARCH = 0.25
"""By what part of it the frequency of the first peak may be wrong: on phantoms with background phase, by a tenth."""
COHERENT = 0.7
"""Part of the harmonics' energy that has to lie in one wave. On ten phantoms it was 0.86 to 0.96 with tags that take
half of the signal, at most 0.62 without tags."""

FAINT = 1e-12
"""Part of the image's energy that the harmonics must have: less is rounding, of an even image for one."""


def harmonic_phase(
    images: Tagged,
    spacing: float,
    angle: float,
    pixel_size: tuple[float, float],
    *,
    bandwidth: float = BANDWIDTH,
) -> Float[Tensor, "batch frame y x"]:
    """Phase of the first harmonic of the tags along `angle`, in (−π, π], float64: the HARP image of Osman et al. 1999.

    On a magnitude image it is the phase of the material. A complex image adds the phase of its background.

    spacing: of the tags when they were painted, mm. pixel_size: (y, x) in mm. bandwidth: radius of the filter in units
    of 1/spacing.
    """
    images, pixel = _checked(images), _pixel(pixel_size)
    wave = _wave(spacing, angle, pixel)
    return _harmonic(images, wave, pixel, _radius(bandwidth, spacing)).angle()


def deformation_gradient(
    images: Tagged,
    spacing: float,
    pixel_size: tuple[float, float],
    *,
    angles: tuple[float, float] = ANGLES,
    bandwidth: float = BANDWIDTH,
) -> Gradient:
    """F = ∂x/∂X in the plane, in each pixel of each frame: F[:, :, i, j] is the change of x_i with X_j, axes (y, x).

    The pattern of each direction has harmonics at +1/spacing and at −1/spacing. In one the background phase of a
    complex image is added to that of the material, in the other it is subtracted: the difference, twice the phase of
    the material, is free of it.

    spacing: of the tags as they were painted, mm. pixel_size: (y, x) in mm. angles: across the lines, degrees.
    bandwidth: radius of the filter in units of 1/spacing. Outside of tagged tissue F is arbitrary, and infinite where
    the phase stands still.
    """
    return _inverted(_inverse_gradient(images, spacing, pixel_size, angles, bandwidth))


def _inverse_gradient(
    images: Tagged, spacing: float, pixel_size: tuple[float, float], angles: tuple[float, float], bandwidth: float
) -> Gradient:
    """F⁻¹ = ∂X/∂x from the gradients of the phase along both directions."""
    images, pixel = _checked(images), _pixel(pixel_size)
    finite = is_pair(angles) and all(map(math.isfinite, angles))
    good = finite and abs(math.sin(math.radians(angles[0] - angles[1]))) > 0.1
    require(good, f"angles: got {say(angles)}, want two directions in degrees that are not nearly parallel")
    size = tuple(images.shape[-2:])
    require(min(size) > 1, f"images: got {size[0]} × {size[1]} pixels, want two or more along y and x for a gradient")
    require_positive("spacing", spacing)
    radius = _radius(bandwidth, spacing)
    rows, directions = [], []
    for angle in angles:
        wave = _wave(spacing, angle, pixel)
        rows.append(_phase_gradient(images, wave, pixel, radius) * (spacing / (2 * math.pi)))
        directions.append(_direction(angle))
    # Row k holds u_k·∂X/∂x, so that the matrix of the directions has to be undone first.
    undone = torch.linalg.inv(torch.tensor(directions, dtype=torch.float64, device=images.device))
    return torch.einsum("jk,kibtyx->btjiyx", undone, torch.stack(rows))


def circumferential_stretch(
    gradient: Gradient, centre: tuple[float, float] | Float[Tensor, "batch 2"], pixel_size: tuple[float, float]
) -> Float[Tensor, "batch frame y x"]:
    """How many times as long as undeformed the tissue is that now lies along the circle around `centre`.

    A line element ds along the circle's direction e, here and now, was F⁻¹e·ds long: the stretch is 1/|F⁻¹e|. Minus one
    it is the engineering strain of this tissue. Undeformed is where `gradient` starts from: with
    :func:`deformation_gradient` tissue whose tags lie at the painted spacing, which no frame need show.

    centre: a pixel (y, x), for all or one each. pixel_size: (y, x) in mm.
    """
    require_axes("gradient", gradient, "batch frame row column y x")
    good = gradient.is_floating_point() and gradient.shape[2:4] == (2, 2)
    require(good, f"gradient: got {say(gradient)}, want real 2 × 2 matrices (batch, frame, 2, 2, y, x)")
    return 1 / _length_before(_inverted(gradient), centre, pixel_size)


def _length_before(
    inverse: Gradient, centre: tuple[float, float] | Tensor, pixel_size: tuple[float, float]
) -> Float[Tensor, "batch frame y x"]:
    """|F⁻¹e|: how long a line element along the circle was, of which one mm is seen now."""
    pixel = _pixel(pixel_size)
    y, x = _around(inverse, centre)
    away = torch.hypot(y * pixel[0], x * pixel[1]).clamp(min=1e-9)
    circle = torch.stack([x * pixel[1], -y * pixel[0]], 1) / away[:, None]  # the radius turned by a quarter
    circle = circle.to(inverse).expand(len(inverse), -1, -1, -1)
    return torch.linalg.vector_norm(torch.einsum("btijyx,bjyx->btiyx", inverse, circle), dim=2)


def tag_strain(
    images: Tagged,
    spacing: float,
    pixel_size: tuple[float, float],
    region: Wall,
    centre: tuple[float, float] | Float[Tensor, "batch 2"],
    *,
    angles: tuple[float, float] = ANGLES,
    bandwidth: float = BANDWIDTH,
) -> Float[Tensor, "batch frame"]:
    """Circumferential engineering strain of the wall in each frame, from the painted spacing: −0.2 is a fifth shorter.

    It is that of the whole circle, its length now over what it was, 1/mean(|F⁻¹e|) − 1 over the pixels of `region`;
    a pixel in which the phase stands still (:func:`circumferential_stretch` is infinite there) does no harm. The first
    frame is no reference: what it had already deformed since the tags were painted shows as its own strain.

    region: (batch, y, x), or (batch, frame, y, x) where it follows the muscle: the middle of the wall, away from its
    borders. centre: of the left ventricle, a pixel (y, x). spacing: as painted, mm; if it is not known, what
    :func:`tag_spacing` finds: an error of one part in a hundred is near one point of strain. angles, bandwidth: as in
    :func:`deformation_gradient`.

    Raises:
        ValueError: no tags of this spacing in a first frame, by the test of :func:`tag_spacing` over the whole image.
            A first frame in which most of the image has deformed fails it too: a drawn ring whose surroundings move
            along passed at −4 % and not at −6 %.
    """
    inverse = _inverse_gradient(images, spacing, pixel_size, angles, bandwidth)
    for angle in angles:
        _require_tags(images, spacing, angle, _pixel(pixel_size))
    before = _length_before(inverse, centre, pixel_size)
    inside = _in_frames(region, before)
    return inside.sum((-2, -1)) / (before * inside).sum((-2, -1)) - 1


def tag_spacing(
    images: Tagged,
    angle: float,
    pixel_size: tuple[float, float],
    *,
    limits: tuple[float, float] = SPACINGS,
) -> Float[Tensor, " batch"]:
    """Distance of the tags along `angle` in the first frame, mm: where the spectrum along this direction peaks.

    First the spectrum itself is looked at, on both sides of the centre, each value weighed by its frequency, since the
    spectrum of the anatomy falls about like that from the centre outwards. Background phase smears this peak. So both
    harmonics around it are cut out, and one multiplied by the conjugate of the other: the background drops out, what is
    left is |harmonic|² times a wave of twice the frequency, and since no weight is negative its spectrum peaks just
    there. A parabola through the highest three values finds the place between them.

    limits: between which the spacing is sought, mm.

    Raises:
        ValueError: no tags along this direction: no peak between the limits, or one that is no wave.
    """
    images, pixel = _checked(images), _pixel(pixel_size)
    good = is_pair(limits) and 0 < limits[0] < limits[1] < math.inf
    require(good, f"limits: got {say(limits)}, want two spacings in mm, the smaller one first")
    _wave(limits[1], angle, pixel)
    measured = [_spacing_of(frame, angle, pixel, limits) for frame in images[:, 0]]
    without = sum(spacing is None for spacing in measured)
    wanted = f"want tags {limits[0]:g} to {limits[1]:g} mm apart"
    require(without == 0, f"images: got {without} first frames without tags along {angle:g} degrees, {wanted}")
    return torch.tensor(measured, dtype=torch.float64, device=images.device)


def _spacing_of(frame: Tensor, angle: float, pixel: tuple[float, float], limits: tuple[float, float]) -> float | None:
    """Distance of the tags in `frame` (y, x), mm; None where there are none."""
    finest = max(abs(part) * size for part, size in zip(_direction(angle), pixel, strict=True)) / 0.5
    frequency = _evenly(1 / limits[1], 1 / max(limits[0], finest), frame)
    sides = [_spectrum_along(frame, angle + turn, pixel, frequency) for turn in (0, 180)]
    rough = _peak((sides[0] + sides[1]) * frequency, frequency)
    fine = None if rough is None else _frequency_near(rough, frame, angle, pixel)
    return None if fine is None else 1 / fine


def _require_tags(images: Tensor, spacing: float, angle: float, pixel: tuple[float, float]) -> None:
    """Every first frame must hold tags along `angle`, about `spacing` mm apart."""
    without = sum(_frequency_near(1 / spacing, frame, angle, pixel) is None for frame in images[:, 0])
    wanted = f"want tags about {spacing:g} mm apart"
    require(without == 0, f"images: got {without} first frames without tags along {angle:g} degrees, {wanted}")


def _frequency_near(rough: float, frame: Tensor, angle: float, pixel: tuple[float, float]) -> float | None:
    """Frequency near `rough` of the tags in `frame` (y, x), cycles/mm; None where both harmonics make no wave."""
    wave = _wave(1 / rough, angle, pixel)
    forward, backward = (
        _harmonic(frame, (sign * wave[0], sign * wave[1]), pixel, BANDWIDTH * rough) for sign in (1, -1)
    )
    twice = forward * backward.conj()
    near = _evenly((1 - SEARCH) * rough, (1 + SEARCH) * rough, frame)
    spectrum = _spectrum_along(twice, angle, pixel, 2 * near)
    whole = float(_spectrum_along(twice.abs(), angle, pixel, torch.zeros_like(near[:1])))
    seen = whole > FAINT * float(_spectrum_along(frame.abs().square(), angle, pixel, torch.zeros_like(near[:1])))
    return _peak(spectrum, near) if seen and float(spectrum.max()) >= COHERENT * whole else None


def _evenly(first: float, last: float, frame: Tensor) -> Float[Tensor, " frequency"]:
    return torch.linspace(first, last, N_SPACINGS, dtype=torch.float64, device=frame.device)


def _direction(angle: float) -> tuple[float, float]:
    """Unit vector (y, x) at `angle` degrees."""
    return math.sin(math.radians(angle)), math.cos(math.radians(angle))


def _peak(spectrum: Tensor, frequency: Tensor) -> float | None:
    """Where `spectrum` is largest, by a parabola through three values; None where that is at an end."""
    best = int(spectrum.argmax())
    if not 0 < best < len(spectrum) - 1 or float(spectrum[best]) == 0:
        return None
    low, top, high = spectrum[best - 1 : best + 2].tolist()
    shift = (low - high) / (2 * (low - 2 * top + high))
    return float(frequency[best] + shift * (frequency[1] - frequency[0]))


def _spectrum_along(frame: Tensor, angle: float, pixel: tuple[float, float], frequency: Tensor) -> Tensor:
    """Magnitude of the Fourier transform of `frame` (y, x) on a ray from the centre of k-space towards `angle`.

    Separable, exp(−2πik·y)·exp(−2πik·x), under a Hann window, whose side lobes do not hide a peak.
    """
    sides = []
    for n, size, part in zip(frame.shape, pixel, _direction(angle), strict=True):
        place = torch.arange(n, dtype=torch.float64, device=frame.device) - n // 2
        window = torch.cos(math.pi * place / (n + 2)).square()
        turn = -2 * math.pi * part * frequency[:, None] * (place * size)
        sides.append(torch.polar(window.expand_as(turn).contiguous(), turn))
    along_x = torch.einsum("yx,kx->ky", frame.to(torch.complex128), sides[1])
    return (along_x * sides[0]).sum(-1).abs()


def _checked(images: Tensor) -> Tensor:
    """`images` in double precision, after a look at them."""
    require_axes("images", images, "batch frame y x")
    good = (images.is_complex() and images.dtype != torch.complex32) or images.is_floating_point()
    require(good, f"images: got {images.dtype}, want complex images or magnitudes")
    require_finite("images", images)
    return images.to(torch.complex128 if images.is_complex() else torch.float64)


def _pixel(pixel_size: tuple[float, float]) -> tuple[float, float]:
    good = is_pair(pixel_size) and all(0 < side < math.inf for side in pixel_size)
    require(good, f"pixel_size: got {say(pixel_size)}, want (y, x) in mm above zero")
    return float(pixel_size[0]), float(pixel_size[1])


def _wave(spacing: float, angle: float, pixel: tuple[float, float]) -> tuple[float, float]:
    """Frequency (y, x) of the tags in cycles/mm."""
    require_positive("spacing", spacing)
    require(is_number(angle) and math.isfinite(angle), f"angle: got {say(angle)}, want degrees")
    down, right = _direction(angle)
    wave = down / spacing, right / spacing
    seen = all(abs(part) * size < 0.5 for part, size in zip(wave, pixel, strict=True))
    require(seen, f"spacing: got {spacing:g} mm at pixels of {pixel} mm, want two pixels or more along each axis")
    return wave


def _radius(bandwidth: float, spacing: float) -> float:
    good = is_number(bandwidth) and 0 < bandwidth <= 1
    require(good, f"bandwidth: got {say(bandwidth)}, want a fraction of 1/spacing, at most 1")
    return bandwidth / spacing


def _harmonic(images: Tensor, wave: tuple[float, float], pixel: tuple[float, float], radius: float) -> Harmonic:
    """The part of `images` whose frequency lies within `radius` of `wave`, in cycles/mm."""
    distance = torch.zeros((), dtype=torch.float64, device=images.device)
    for axis, (n, size, part) in enumerate(zip(images.shape[-2:], pixel, wave, strict=True)):
        frequency = (torch.arange(n, dtype=torch.float64, device=images.device) - n // 2) / (n * size)
        distance = distance + (frequency - part).square().reshape((-1, 1) if axis == 0 else (1, -1))
    beyond = ((distance.sqrt() / radius - PLATEAU) / (1 - PLATEAU)).clamp(0, 1)
    return ifft2c(fft2c(images.to(torch.complex128)) * torch.cos(math.pi / 2 * beyond).square())


def _phase_gradient(images: Tensor, wave: tuple[float, float], pixel: tuple[float, float], radius: float) -> Tensor:
    """Gradient (2, batch, frame, y, x) of the phase of the material along (y, x), radians per mm.

    Both harmonics are turned back by the undeformed wave first: what is left turns slowly from pixel to pixel, though
    it is twice the phase, and does not wrap.
    """
    back = torch.zeros((), dtype=torch.float64, device=images.device)
    for axis, (n, size, part) in enumerate(zip(images.shape[-2:], pixel, wave, strict=True)):
        place = (torch.arange(n, dtype=torch.float64, device=images.device) - n // 2) * size
        back = back + (-4 * math.pi * part * place).reshape((-1, 1) if axis == 0 else (1, -1))
    forward = _harmonic(images, wave, pixel, radius)
    backward = _harmonic(images, (-wave[0], -wave[1]), pixel, radius)
    twice = forward * backward.conj() * torch.polar(torch.ones_like(back), back)
    slopes = []
    for axis, size, part in zip((-2, -1), pixel, wave, strict=True):
        n = twice.shape[axis]
        step = (twice.narrow(axis, 1, n - 1) * twice.narrow(axis, 0, n - 1).conj()).angle()
        first, last = step.narrow(axis, 0, 1), step.narrow(axis, n - 2, 1)
        # Mean of the steps on both sides, which is centred on the pixel.
        both = torch.cat([first, step], axis) + torch.cat([step, last], axis)
        slopes.append(2 * math.pi * part + both / 4 / size)
    return torch.stack(slopes)


def _inverted(matrix: Gradient) -> Gradient:
    """The inverse of 2 × 2 matrices along axes 2 and 3."""
    (a, b), (c, d) = matrix[:, :, 0].unbind(2), matrix[:, :, 1].unbind(2)
    rows = torch.stack([torch.stack([d, -b], 2), torch.stack([-c, a], 2)], 2)
    return rows / (a * d - b * c)[:, :, None, None]


def _around(images: Tensor, centre: tuple[float, float] | Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (batch or 1, y, x) by which each pixel lies below, and right of, `centre`."""
    pair = is_pair(centre)
    tensor = isinstance(centre, Tensor) and tuple(centre.shape) in ((2,), (len(images), 2))
    require(pair or tensor, f"centre: got {say(centre)}, want a pixel (y, x), or one for each batch item")
    places = torch.as_tensor(centre, dtype=torch.float64, device=images.device).reshape(-1, 2)
    require_finite("centre", places)
    y, x = (torch.arange(n, dtype=torch.float64, device=images.device) for n in images.shape[-2:])
    shape = (len(places), *images.shape[-2:])
    return (
        (y[:, None] - places[:, 0, None, None]).expand(shape),
        (x[None, :] - places[:, 1, None, None]).expand(shape),
    )


def _in_frames(region: Tensor, strain: Tensor) -> Tensor:
    """`region` in every frame, with a pixel in each."""
    good = isinstance(region, Tensor) and region.dtype == torch.bool
    require(good, f"region: got {say(region)}, want a boolean tensor")
    wide = region[:, None] if region.ndim == 3 else region
    batch, frames, y, x = strain.shape
    fits = tuple(wide.shape) in ((batch, 1, y, x), (batch, frames, y, x))
    wanted = f"{(batch, frames, y, x)}, (batch, frame, y, x), or without the frame"
    require(fits, f"region: got shape {tuple(region.shape)}, want {wanted}")
    empty = int((~wide.flatten(2).any(-1)).sum())
    require(empty == 0, f"region: got {empty} that hold no pixel, want at least one pixel in each")
    return wide.expand(batch, frames, y, x)
