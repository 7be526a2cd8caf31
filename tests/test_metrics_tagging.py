"""Tags whose deformation is known: a ring that contracts and keeps its area, drawn from the formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmr_course import fourier
from cmr_course.metrics import (
    circumferential_stretch,
    deformation_gradient,
    harmonic_phase,
    tag_spacing,
    tag_strain,
)
from cmr_course.simulation import Scan, Subject, simulate

FINE = 3
"""Drawn at this many pixels along each side of one pixel, then limited to the band of the image."""
SIZE = 128
INNER, WALL = 25.0, 10.0
STRAINS = (0.0, -0.1, -0.2)
CENTRE = (3.0, -2.0)
"""Of the ring, mm from the pixel with index n // 2."""


def places(pixel: float, fine: int = 1) -> tuple[Tensor, Tensor]:
    """(y, x) in mm from the centre of the ring."""
    n = SIZE * fine
    side = (torch.arange(n, dtype=torch.float64) - n // 2) * pixel / fine
    return (side[:, None] - CENTRE[0]).expand(n, n), (side[None, :] - CENTRE[1]).expand(n, n)


def before(y: Tensor, x: Tensor, strain: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where the tissue was, and its radius ρ then: r² = ρ² + b, with b from the strain of the middle of the wall."""
    middle = INNER + WALL / 2
    b = (middle * (1 + strain)) ** 2 - middle**2
    r = torch.hypot(y, x)
    rho = (r.square() - b).clamp(min=0).sqrt()
    scale = rho / r.clamp(min=1e-9)
    return y * scale, x * scale, rho


def tags(y: Tensor, x: Tensor, spacing: float, angles: tuple[float, float], contrast: float) -> Tensor:
    """The grid at places of the first frame."""
    pattern = torch.ones_like(y)
    for angle in angles:
        u = (y + CENTRE[0]) * math.sin(math.radians(angle)) + (x + CENTRE[1]) * math.cos(math.radians(angle))
        pattern = pattern * (1 - contrast / 2 - contrast / 2 * torch.cos(2 * math.pi / spacing * u))
    return pattern


def ring(
    spacing: float,
    pixel: float,
    *,
    strains: tuple[float, ...] = STRAINS,
    angles: tuple[float, float] = (45.0, -45.0),
    fading: float = 0.0,
    surround: float = 0.3,
    cavity: float = 0.3,
) -> Tensor:
    """(1, frame, y, x), real: tagged muscle between blood without tags and darker tissue that moves along.

    fading: what the contrast of the tags loses from frame to frame.
    """
    y, x = places(pixel, FINE)
    frames = []
    for frame, strain in enumerate(strains):
        y0, x0, rho = before(y, x, strain)
        grid = tags(y0, x0, spacing, angles, 0.9 * (1 - fading) ** frame)
        image = torch.where(rho > INNER + WALL, surround * grid, grid)
        frames.append(torch.where(rho < INNER, cavity, image))
    kspace = fourier.fft2c(torch.stack(frames).to(torch.complex128))
    first = (SIZE * FINE - SIZE) // 2
    return fourier.ifft2c(kspace[:, first : first + SIZE, first : first + SIZE])[None].real / FINE


def centre_of(pixel: float) -> tuple[float, float]:
    return SIZE // 2 + CENTRE[0] / pixel, SIZE // 2 + CENTRE[1] / pixel


def middle_of(pixel: float, strains: tuple[float, ...] = STRAINS) -> tuple[Tensor, Tensor]:
    """(the middle half of the wall (1, frame, y, x), circumferential strain there by the formula (1, frame))."""
    y, x = places(pixel)
    regions, wanted = [], []
    for strain in strains:
        rho = before(y, x, strain)[2]
        region = (rho > INNER + WALL / 4) & (rho < INNER + 3 * WALL / 4)
        regions.append(region)
        wanted.append(1 / (rho / torch.hypot(y, x))[region].mean() - 1)
    return torch.stack(regions)[None], torch.stack(wanted)[None]


def phase_of_a_receiver(pixel: float) -> Tensor:
    y, x = (side / 60 for side in places(pixel))
    return torch.polar(torch.ones_like(y), 2 * (y.square() - x + 0.5 * x * y))


@settings(max_examples=12)
@given(spacing=st.floats(7, 8), pixel=st.floats(1.4, 1.9), turn=st.sampled_from([0.0, 20.0, -45.0]))
def test_strain_of_a_contracting_ring(spacing, pixel, turn):
    """−20 % within 1.5 points, whichever way the grid lies; and no strain where there is none within half a point."""
    angles = (45.0 + turn, -45.0 + turn)
    region, wanted = middle_of(pixel)
    found = tag_strain(
        ring(spacing, pixel, angles=angles), spacing, (pixel, pixel), region, centre_of(pixel), angles=angles
    )
    assert float(wanted[0, -1]) == pytest.approx(-0.2, abs=0.01)
    assert float((found - wanted).abs().max()) < 0.015
    assert abs(float(found[0, 0])) < 0.005


def test_tags_may_fade_and_the_background_may_have_a_phase():
    """A quarter of the contrast left, and radians of phase across the heart: the strain stays what it was."""
    region, wanted = middle_of(1.6)
    for fading in (0.3, 0.5):
        image = ring(7.5, 1.6, fading=fading)
        for shown in (image, image * phase_of_a_receiver(1.6)):
            found = tag_strain(shown, 7.5, (1.6, 1.6), region, centre_of(1.6))
            assert float((found - wanted).abs().max()) < 0.015


def test_noise_is_averaged():
    region, wanted = middle_of(1.6)
    image = ring(7.5, 1.6) * phase_of_a_receiver(1.6)
    drawn = torch.randn((2, *image.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = tag_strain(image + 0.05 * torch.complex(*drawn), 7.5, (1.6, 1.6), region, centre_of(1.6))
    assert float((found - wanted).abs().max()) < 0.015


def affine(
    F: Tensor, spacing: float, pixel: tuple[float, float], angles: tuple[float, float] = (45.0, -45.0)
) -> Tensor:
    """One frame (1, 1, y, x) of a plane of tissue deformed by `F` (y, x), all over the image."""
    y, x = (torch.arange(SIZE, dtype=torch.float64) - SIZE // 2 for _ in range(2))
    place = torch.stack(torch.broadcast_tensors(y[:, None] * pixel[0], x[None, :] * pixel[1]))
    y0, x0 = torch.einsum("ij,jyx->iyx", torch.linalg.inv(F), place)
    return tags(y0 - CENTRE[0], x0 - CENTRE[1], spacing, angles, 0.8)[None, None]


@settings(max_examples=15)
@given(
    stretch=st.tuples(st.floats(0.85, 1.2), st.floats(0.85, 1.2)),
    shear=st.floats(-0.12, 0.12),
    turn=st.floats(-8, 8),
    side=st.tuples(st.floats(1.2, 1.9), st.floats(1.2, 1.9)),
)
def test_the_deformation_gradient_of_an_affine_motion(stretch, shear, turn, side):
    """All four numbers: stretch, shear, rotation, on pixels that are not square. Far from the borders of the image."""
    angle = math.radians(turn)
    rotation = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    F = rotation.double() @ torch.tensor([[stretch[0], shear], [shear, stretch[1]]], dtype=torch.float64)
    found = deformation_gradient(affine(F, 8.0, side), 8.0, side)[0, 0, :, :, 48:-48, 48:-48]
    torch.testing.assert_close(found, F[:, :, None, None].expand_as(found), rtol=0, atol=0.01)
    centre = (SIZE / 2, SIZE / 2)
    everywhere = F.expand(1, 1, 2, 2).permute(0, 1, 2, 3)[..., None, None].expand(1, 1, 2, 2, SIZE, SIZE)
    stretches = circumferential_stretch(everywhere, centre, side)[0, 0]
    # On the x axis the circle runs along y: the fibre that lies along y now is F⁻¹e_y long per mm.
    inverse = torch.linalg.inv(F)
    assert float(stretches[SIZE // 2, -1]) == pytest.approx(1 / float(inverse[:, 0].norm()), rel=1e-9)
    assert float(stretches[-1, SIZE // 2]) == pytest.approx(1 / float(inverse[:, 1].norm()), rel=1e-9)


def test_a_stretch_depends_on_the_right_axes():
    """Tissue that doubles along y alone: around the centre, it is longer beside it and unchanged above it."""
    F = torch.diag(torch.tensor([2.0, 1.0])).double()[None, None, :, :, None, None].expand(1, 1, 2, 2, 9, 9)
    stretch = circumferential_stretch(F, (4.0, 4.0), (1.0, 1.0))[0, 0]
    assert float(stretch[4, 8]) == pytest.approx(2)
    assert float(stretch[0, 4]) == pytest.approx(1)
    one_each = torch.tensor([[4.0, 4.0]])
    torch.testing.assert_close(circumferential_stretch(F, one_each, (1.0, 1.0))[0, 0], stretch)


def test_the_harmonic_phase_moves_with_the_material():
    """The phase at a place is that of the pattern where its tissue came from; radii count."""
    pixel, spacing = 1.5, 7.5
    image = ring(spacing, pixel, surround=1.0)
    y, x = places(pixel)
    region, _ = middle_of(pixel)
    for angle in (45.0, -45.0):
        found = harmonic_phase(image, spacing, angle, (pixel, pixel))[0]
        for frame, strain in enumerate(STRAINS):
            y0, x0, _ = before(y, x, strain)
            u = (y0 + CENTRE[0]) * math.sin(math.radians(angle)) + (x0 + CENTRE[1]) * math.cos(math.radians(angle))
            wanted = 2 * math.pi / spacing * u + math.pi  # tags are dark where the pattern's cosine is one
            apart = torch.remainder(found[frame] - wanted + math.pi, 2 * math.pi) - math.pi
            assert float(apart[region[0, frame]].abs().median()) < 0.1  # radians: an eighth of a millimetre


@settings(max_examples=12)
@given(
    spacing=st.floats(6, 10),
    pixel=st.floats(1.4, 1.9),
    turn=st.floats(-45, 45),
    phase=st.booleans(),
)
def test_the_spacing_is_measured(spacing, pixel, turn, phase):
    """Within 2 %, on a ring that fills a small part of the image, also on complex images."""
    angles = (45.0 + turn, -45.0 + turn)
    image = ring(spacing, pixel, strains=(0.0,), angles=angles)
    image = image * phase_of_a_receiver(pixel) if phase else image
    for angle in angles:
        assert float(tag_spacing(image, angle, (pixel, pixel))) == pytest.approx(spacing, rel=0.02)


def test_simulated_tags_have_the_spacing_and_the_strain_of_the_heart():
    """From the images against what the simulator says of every pixel's motion: within two points in all frames."""
    scan = Scan(contrast="tagging", matrix=(192, 192))
    acquisition, truth = simulate(Subject(3), scan, generator=torch.Generator().manual_seed(0))
    pixel = acquisition.about.pixel_size
    spacing = scan.settings.spacing
    for angle in scan.settings.angles:
        assert float(tag_spacing(truth.image, angle, pixel)) == pytest.approx(spacing, rel=0.005)
    # Within the muscle: a pixel away from everything else.
    other = (truth.labels != truth.label_names["lv_myocardium"]).float()
    deep = torch.nn.functional.max_pool2d(other, 3, stride=1, padding=1) == 0
    blood = (truth.labels[0, 0] == truth.label_names["lv_blood"]).nonzero().double().mean(0)
    centre = (float(blood[0]), float(blood[1]))
    found = tag_strain(truth.image, spacing, pixel, deep, centre)
    side = [torch.arange(n, dtype=torch.float64) * mm for n, mm in zip((192, 192), pixel, strict=True)]
    came = torch.stack(torch.meshgrid(*side, indexing="ij")) - truth.displacement[:, :, :2].double()
    inverse = torch.stack(torch.gradient(came, spacing=pixel, dim=(-2, -1)), 3)
    stretch = circumferential_stretch(
        torch.linalg.inv(inverse.movedim((2, 3), (-2, -1))).movedim((-2, -1), (2, 3)), centre, pixel
    )
    wanted = deep.sum((-2, -1)) / torch.where(deep, 1 / stretch, 0).sum((-2, -1)) - 1
    assert float(wanted.min()) < -0.12
    assert float((found - wanted).abs().max()) < 0.02


def test_the_first_frame_may_be_deformed():
    """Strain is counted from the painted spacing, and not from the first frame."""
    late = (-0.04, -0.2)
    region, wanted = middle_of(1.6, late)
    found = tag_strain(ring(7.5, 1.6, strains=late), 7.5, (1.6, 1.6), region, centre_of(1.6))
    assert float((found - wanted).abs().max()) < 0.015
    assert float(found[0, 0]) < -0.03


IMAGE = ring(7.5, 1.6, strains=(0.0,))
REGION = middle_of(1.6, (0.0,))[0]
P = (1.6, 1.6)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: harmonic_phase(IMAGE[0], 7.5, 45, P), "images: got 3 axes"),
        (lambda: harmonic_phase(IMAGE * math.nan, 7.5, 45, P), "images: got 16384 values that are NaN"),
        (lambda: harmonic_phase(IMAGE, 0.0, 45, P), "spacing: got 0.0, want a number above zero"),
        (lambda: harmonic_phase(IMAGE, 2.0, 45, P), "spacing: got 2 mm at pixels of .* want two pixels or more"),
        (lambda: harmonic_phase(IMAGE, 7.5, math.inf, P), "angle: got inf, want degrees"),
        (lambda: harmonic_phase(IMAGE, 7.5, 45, (1.6, -1.6)), "pixel_size: got .* want \\(y, x\\) in mm"),
        (lambda: harmonic_phase(IMAGE, 7.5, 45, P, bandwidth=1.5), "bandwidth: got 1.5, want a fraction"),
        (lambda: deformation_gradient(IMAGE, 7.5, P, angles=(45.0, 225.0)), "angles: got .* not nearly parallel"),
        (
            lambda: circumferential_stretch(torch.ones(1, 1, 2, 3, 4, 4), (2.0, 2.0), P),
            "gradient: got .* want real 2 × 2",
        ),
        (lambda: tag_strain(IMAGE, 7.5, P, REGION, (1.0, 2.0, 3.0)), "centre: got .* want a pixel"),
        (lambda: tag_strain(IMAGE, 7.5, P, REGION[:, :, 1:], (64.0, 64.0)), "region: got shape"),
        (lambda: tag_strain(IMAGE, 7.5, P, REGION & ~REGION, (64.0, 64.0)), "region: got 1 that hold no pixel"),
        (lambda: tag_strain(IMAGE, 7.5, P, REGION.double(), (64.0, 64.0)), "region: got .* want a boolean tensor"),
        (lambda: deformation_gradient(IMAGE, 7.5, P, angles=(0, math.inf)), "angles: got .*inf.*, want two directions"),
        (lambda: deformation_gradient(IMAGE, 0.0, P), "spacing: got 0.0, want a number above zero"),
        (lambda: deformation_gradient(IMAGE[:, :, :1], 7.5, P), "images: got 1 × 128 pixels, want two or more"),
        (lambda: deformation_gradient(IMAGE[..., :1], 7.5, P), "images: got 128 × 1 pixels, want two or more"),
        (lambda: deformation_gradient((1j * IMAGE).to(torch.complex32), 7.5, P), "images: got torch.complex32"),
        (
            lambda: tag_strain(IMAGE[:, :, :1], 7.5, P, REGION[:, :, :1], (64.0, 64.0)),
            "images: got 1 × 128 pixels, want two or more",
        ),
        (
            lambda: tag_strain(torch.zeros_like(IMAGE), 7.5, P, REGION, (64.0, 64.0)),
            "images: got 1 first frames without tags along 45 degrees, want tags about 7.5 mm apart",
        ),
        (
            lambda: tag_strain(torch.ones_like(IMAGE), 7.5, P, REGION, (64.0, 64.0)),
            "images: got 1 first frames without tags along 45 degrees",
        ),
        (
            lambda: tag_strain(ring(7.5, 1.6, strains=(0.0,), angles=(45.0, 45.0)), 7.5, P, REGION, (64.0, 64.0)),
            "images: got 1 first frames without tags along -45 degrees",
        ),
        (lambda: tag_spacing(IMAGE, 45, P, limits=(8.0, 6.0)), "limits: got .* want two spacings"),
        (
            lambda: tag_spacing(torch.zeros_like(IMAGE), 45, P),
            "images: got 1 first frames without tags along 45 degrees",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_what_has_no_tags_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_a_cine_has_no_tags():
    _, truth = simulate(Subject(1), Scan(frames=1, matrix=(192, 192)), generator=torch.Generator().manual_seed(0))
    for image in (truth.image, truth.magnitude()):
        with pytest.raises(ValueError, match="without tags along 45 degrees, want tags 4 to 16 mm apart"):
            tag_spacing(image, 45.0, (1.875, 1.875))
        muscle = truth.labels == truth.label_names["lv_myocardium"]
        for spacing in (5.0, 7.0, 8.0, 12.0):
            with pytest.raises(ValueError, match=f"without tags along 45 degrees, want tags about {spacing:g} mm"):
                tag_strain(image, spacing, (1.875, 1.875), muscle, (96.0, 96.0))
