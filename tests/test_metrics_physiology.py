"""The left ventricle outlined in images whose truth is known: drawn, simulated, and drawn by experts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cmr_course import fourier
from cmr_course.data import read_series
from cmr_course.metrics import (
    areas,
    circumferential_strain,
    ejection_fraction,
    fractional_area_change,
    radial_strain,
    segment,
    volumes,
)
from cmr_course.simulation import Scan, Subject, simulate
from tests.conftest import data_folder

SERIES = sorted(data_folder().glob("*.npz")) if data_folder().is_dir() else []
MM = 2.0
FINE = 4
"""Drawn at this many pixels along each side of one pixel, then limited to the band of the image."""
FRAMES = 6
MUSCLE_MM2 = 1500.0


def beat(largest: float = 26.0, smallest: float = 17.0) -> Tensor:
    """Radius of the cavity in mm over one beat."""
    phase = torch.arange(FRAMES, dtype=torch.float64) / FRAMES * 2 * math.pi
    return (largest + smallest) / 2 + (largest - smallest) / 2 * phase.cos()


def epicardium(radius: Tensor) -> Tensor:
    """Radius of the wall's outside: the muscle keeps its area."""
    return (radius**2 + MUSCLE_MM2 / math.pi).sqrt()


def drawing(
    radius: Tensor,
    *,
    centre: tuple[float, float] = (130.0, 120.0),
    papillary: bool = True,
    gap: bool = False,
    noise: float = 0.0,
    size: int = 128,
) -> Tensor:
    """A short axis, (1, frame, y, x): lung, chest wall, right ventricle, muscle, cavity; blurred by the band limit.

    centre in mm. gap: part of the septum is missing, so that left and right blood touch.
    """
    # Index n//2 is the centre of the Fourier transform, drawn fine and kept coarse: the two stand on the same place.
    grid = (torch.arange(size * FINE, dtype=torch.float64) - size * FINE // 2) * MM / FINE + (size // 2 + 0.5) * MM
    y, x = grid[:, None] - centre[0], grid[None, :] - centre[1]
    frames = []
    for inner, outer in zip(radius.tolist(), epicardium(radius).tolist(), strict=True):
        image = torch.full((size * FINE, size * FINE), 0.05, dtype=torch.float64)
        image[(y.abs() > 105) | (x.abs() > 110)] = 0.9
        image[((x + 32) / (0.7 * inner + 12)) ** 2 + ((y + 8) / (inner + 12)) ** 2 < 1] = 1.0
        image[torch.hypot(y, x) < outer] = 0.35
        if gap:
            image[(y.abs() < 3) & (x < 0) & (x > -outer)] = 1.0
        image[torch.hypot(y, x) < inner] = 1.0
        for angle in (0.8, 2.4) if papillary else ():
            at = (0.75 * inner * math.sin(angle), 0.75 * inner * math.cos(angle))
            image[torch.hypot(y - at[0], x - at[1]) < 0.15 * inner] = 0.35
        frames.append(image)
    kspace = fourier.fft2c(torch.stack(frames).to(torch.complex128))
    first = (size * FINE - size) // 2
    kept = kspace[:, first : first + size, first : first + size]
    clean = fourier.ifft2c(kept)[None] / FINE
    sigma = noise * torch.randn(2, *clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return (clean + torch.complex(sigma[0], sigma[1])).abs()


def pixel(centre: tuple[float, float] = (130.0, 120.0)) -> tuple[float, float]:
    return centre[0] / MM - 0.5, centre[1] / MM - 0.5


def test_a_drawn_ventricle_is_found_and_measured():
    radius = beat()
    found = segment(drawing(radius), (MM, MM))
    true = math.pi * radius**2
    assert torch.allclose(found.areas[0], true, rtol=0.04)
    assert torch.allclose(areas(found.cavity, (MM, MM)), found.areas, rtol=0.03)
    assert torch.allclose(found.wall_thickness[0], epicardium(radius) - radius, atol=0.7)
    middle = torch.tensor([130.0, 120.0], dtype=torch.float64)
    assert float((found.centre[0] - middle).norm(dim=-1).max()) < 0.6
    assert abs(float(fractional_area_change(found.areas)) - (1 - (17 / 26) ** 2)) < 0.02
    strain = circumferential_strain(found.areas, 0)[0]
    assert torch.allclose(strain, radius / radius[0] - 1, atol=0.015)
    thickness = epicardium(radius) - radius
    thickening = radial_strain(found.wall_thickness, 0)[0]
    assert torch.allclose(thickening, thickness / thickness[0] - 1, atol=0.1)


def test_a_circle_read_from_a_rough_centre_is_the_same_circle():
    image = drawing(beat(), papillary=False)
    exact, off = (segment(image, (MM, MM), (pixel()[0] + y, pixel()[1] + x)) for y, x in ((0.0, 0.0), (3.0, -4.0)))
    # Within one sample of 0.5 mm along the rays.
    assert torch.allclose(exact.areas, off.areas, rtol=0.02)


def test_papillary_muscles_are_part_of_the_cavity():
    with_them, without = (segment(drawing(beat(), papillary=one), (MM, MM), pixel()) for one in (True, False))
    assert torch.allclose(with_them.areas, without.areas, rtol=0.03)


def test_a_missing_septum_does_not_empty_the_ventricle_into_its_neighbour():
    """The border bulges into the gap (6 mm wide) and goes no further; the neighbour is larger than the cavity."""
    radius = beat()
    found = segment(drawing(radius, gap=True), (MM, MM), pixel())
    assert torch.allclose(found.areas[0], math.pi * radius**2, rtol=0.18)


def test_a_small_cavity_at_end_systole():
    radius = beat(20.0, 8.0)
    found = segment(drawing(radius, papillary=False), (MM, MM), pixel())
    assert torch.allclose(found.areas[0].sqrt(), math.sqrt(math.pi) * radius, rtol=0.06)


def test_noise_moves_the_area_little():
    radius = beat()
    found = segment(drawing(radius, noise=0.05), (MM, MM))
    assert torch.allclose(found.areas[0], math.pi * radius**2, rtol=0.06)


def test_neither_gain_nor_shift_changes_the_measure():
    image = drawing(beat())
    one = segment(image, (MM, MM), pixel())
    louder = segment(1000 * image, (MM, MM), pixel())
    shifted = segment(image.roll((3, -5), (-2, -1)), (MM, MM), (pixel()[0] + 3, pixel()[1] - 5))
    assert torch.allclose(one.areas, louder.areas, rtol=1e-6)
    assert torch.allclose(one.areas, shifted.areas, rtol=0.01)


def test_pixels_that_are_not_square():
    image = drawing(beat())
    stretched = segment(image[..., ::2], (MM, 2 * MM), (pixel()[0], pixel()[1] / 2))
    # Pixels of 4 mm along x are at the limit of what the method is made for.
    assert torch.allclose(stretched.areas, segment(image, (MM, MM), pixel()).areas, rtol=0.1)


def test_a_frozen_heart_has_no_ejection_and_is_not_found_by_its_beat():
    still = drawing(beat())[:, :1].expand(-1, FRAMES, -1, -1)
    found = segment(still, (MM, MM), pixel())
    assert float(fractional_area_change(found.areas)) == pytest.approx(0, abs=1e-6)
    assert float(circumferential_strain(found.areas).abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_slices_of_a_stack_help_each_other():
    """The last slice holds no heart that beats visibly: its neighbours say where it must be."""
    slices = [drawing(beat(26.0, 18.0)), drawing(beat(22.0, 15.0)), drawing(beat(17.2, 16.8))]
    moving = torch.cat(slices)
    # Something round that beats much more, elsewhere in the last slice.
    y = (torch.arange(128, dtype=torch.float64)[:, None] + 0.5) * MM - 85
    x = (torch.arange(128, dtype=torch.float64)[None, :] + 0.5) * MM - 170
    for frame, radius in enumerate(beat(24.0, 14.0).tolist()):
        moving[2, frame][torch.hypot(y, x) < 27] = 0.35
        moving[2, frame][torch.hypot(y, x) < radius] = 1.0
    alone, together = segment(moving, (MM, MM)), segment(moving, (MM, MM), stack=True)
    middle = torch.tensor([130.0, 120.0], dtype=torch.float64)
    assert float((alone.centre[2, 0] - middle).norm()) > 30
    assert float((together.centre[:, 0] - middle).norm(dim=-1).max()) < 2


def test_a_stack_of_discs_has_the_volume_of_the_ellipsoid():
    """Half an ellipsoid of half axes 25, 25 and 80 mm holds (2/3)π·25·25·80 mm³; its ejection is known as well."""
    height = torch.arange(10, dtype=torch.float64)[:, None] * 8 + 4
    scale = torch.tensor([1.0, 0.7], dtype=torch.float64)
    slices = math.pi * (25 * scale) ** 2 * (1 - (height / 80) ** 2)
    ml = volumes(slices, 8.0)
    assert float(ml[0]) == pytest.approx(2 / 3 * math.pi * 25 * 25 * 80 / 1000, rel=0.01)
    assert float(ejection_fraction(ml)) == pytest.approx(1 - 0.7**2, abs=1e-9)
    assert torch.allclose(volumes(slices, torch.full((10,), 8.0, dtype=torch.float64)), ml)


def test_strain_is_that_of_a_circle_whose_radius_is_known():
    radius = torch.tensor([[20.0, 15.0, 22.0]], dtype=torch.float64)
    strain = circumferential_strain(math.pi * radius**2)
    assert torch.allclose(strain, radius / 22 - 1)
    assert torch.allclose(circumferential_strain(math.pi * radius**2, 0), radius / 20 - 1)
    thick = torch.tensor([[8.0, 12.0, 7.5]], dtype=torch.float64)
    assert float(radial_strain(thick, torch.tensor([2]))[0, 1]) == pytest.approx(0.6)


def test_simulated_hearts_against_their_truth(capsys):
    """Three training seeds, from a rough centre: area and its change near the truth."""
    for seed in (1, 2, 3):
        acquisition, truth = simulate(Subject(seed), Scan(), generator=torch.Generator().manual_seed(seed))
        assert truth.labels is not None
        names = truth.label_names
        cavity = (truth.labels == names["lv_blood"]) | (truth.labels == names["papillary"])
        true = truth.volumes["lv_area_mm2"]
        assert acquisition.about.pixel_size is not None
        y, x = cavity[0].any(0).nonzero().double().mean(0).tolist()
        found = segment(truth.magnitude(), acquisition.about.pixel_size, (y, x))
        dice = float(2 * (found.cavity & cavity).sum() / (found.cavity.sum() + cavity.sum()))
        change, true_change = float(fractional_area_change(found.areas)), float(fractional_area_change(true))
        with capsys.disabled():
            print(f"\nseed {seed}: Dice {dice:.3f}, area change {change:.3f}, true {true_change:.3f}", end="")
        assert dice > 0.93
        assert abs(change - true_change) < 0.06
        assert torch.allclose(found.areas, true.double(), rtol=0.12)


@pytest.mark.skipif(not SERIES, reason="no real series: no npz file in CMR_COURSE_DATA, nor in ../shared/data")
@pytest.mark.parametrize("path", SERIES or [Path("none")], ids=lambda path: path.stem)
def test_real_hearts_against_the_expert(path: Path, capsys):
    """All five slices at end diastole and end systole, centres found: Dice and area against the expert's contours.

    The expert draws outside of the trabeculae and partly into the wall, so that a border at the edge of the blood lies
    within; how far differs from heart to heart.
    """
    with np.load(path) as stored:
        expert, index = torch.from_numpy(stored["endo_masks"]) > 0, torch.from_numpy(stored["endo_index"]).long()
    series = read_series(path)
    assert series.pixel_size is not None
    found = segment(series.images, series.pixel_size, stack=True)
    ours = found.cavity[index[:, 0], index[:, 1]]
    dice = 2 * (ours & expert).sum((-2, -1)) / (ours.sum((-2, -1)) + expert.sum((-2, -1)))
    true = areas(expert, series.pixel_size)
    error = found.areas[index[:, 0], index[:, 1]] / true - 1
    # Contours come in pairs, slice by slice: end systole, end diastole. The same 5 slices for both fractions.
    fraction = float(ejection_fraction(found.areas[index[:, 0], index[:, 1]].view(-1, 2).sum(0)))
    true_fraction = float(ejection_fraction(true.view(-1, 2).sum(0)))
    with capsys.disabled():
        print(f"\n{path.stem}: area ejected from 5 slices {fraction:.3f}, expert {true_fraction:.3f}", end="")
        for (z, frame), one, off in zip(index.tolist(), dice.tolist(), error.tolist(), strict=True):
            print(f"\n  slice {z} frame {frame:2}: Dice {one:.3f}, area {off:+.0%}", end="")
    assert float(dice.min()) > 0.78
    assert float(dice.mean()) > 0.87
    assert float(error.abs().max()) < 0.35
    assert abs(fraction - true_fraction) < 0.08


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"magnitude": torch.ones(6, 32, 32)}, "magnitude: got 3 axes"),
        ({"magnitude": torch.ones(1, 6, 32, 32, dtype=torch.complex64)}, "magnitude: got torch.complex64"),
        ({"magnitude": torch.full((1, 6, 64, 64), math.nan)}, "magnitude: got 24576 values"),
        ({"magnitude": torch.ones(1, 6, 64, 64)}, "magnitude: got no contrast"),
        ({"magnitude": torch.ones(1, 6, 64, 64), "centre": None}, "without a beating heart"),
        ({"magnitude": torch.ones(1, 1, 64, 64), "centre": None}, "magnitude: got 1 frame"),
        ({"spacing_mm": 2.0}, "spacing_mm: got 2.0"),
        ({"spacing_mm": (2.0, 0.0)}, "spacing_mm: got"),
        ({"centre": (200.0, 3.0)}, "centre: got"),
        ({"centre": torch.zeros(3, 2)}, "centre: got shape"),
        ({"centre": 5}, "centre: got 5"),
    ],
)
def test_segment_refuses(change: dict, words: str):
    given = {"magnitude": torch.rand(1, 6, 64, 64), "spacing_mm": (2.0, 2.0), "centre": (32.0, 32.0)} | change
    with pytest.raises(ValueError, match=words):
        segment(given["magnitude"], given["spacing_mm"], given["centre"])


@pytest.mark.bad_input
def test_metrics_refuse():
    good = torch.ones(3, 4)
    for call in (
        lambda: areas(good, (1.0, 1.0)),
        lambda: areas(good > 0, (1.0, -1.0)),
        lambda: fractional_area_change(torch.zeros(4)),
        lambda: ejection_fraction(torch.tensor([1.0, math.nan])),
        lambda: circumferential_strain(good, 4),
        lambda: radial_strain(good, torch.tensor([0, 1])),
        lambda: radial_strain(-good, 0),
        lambda: volumes(good[0], 8.0),
        lambda: volumes(-good, 8.0),
        lambda: volumes(good, 0.0),
        lambda: volumes(good, torch.ones(2)),
    ):
        with pytest.raises(ValueError, match=r"got .* want "):
            call()
