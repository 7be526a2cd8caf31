"""The chest around the heart: closed, complete, of a size that people have, and still where it should be."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from cmr_course.plane import Plane
from cmr_course.simulation.brightness import brightness
from cmr_course.simulation.canvas import LABELS, Canvas
from cmr_course.simulation.chest import Chest
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.sequences import BalancedSSFP
from cmr_course.simulation.shapes import chain
from cmr_course.simulation.subject import Subject
from cmr_course.simulation.texture import Texture
from cmr_course.simulation.tissue import Composition

CPU = torch.device("cpu")
STEP = 8.0
SEEDS = range(40)
# Painted by others: the heart, its vessels and their fat.
ELSEWHERE = {
    "aorta",
    "pulmonary_artery",
    "vena_cava",
    "pulmonary_vein",
    "pericardial_fat",
    "la_blood",
    "ra_blood",
    "atrial_wall",
    "lv_blood",
    "lv_myocardium",
    "papillary",
    "rv_blood",
    "rv_myocardium",
}


def hull_of(pose: Pose, scale: float = 1.0) -> Tensor:
    """Points on a stand-in for heart and great vessels: an ellipsoid, an atrium behind it, and the aorta."""
    generator = torch.Generator().manual_seed(5)
    sphere = torch.nn.functional.normalize(torch.randn((3, 500), dtype=torch.float32, generator=generator), dim=0)
    half = torch.tensor([48.0, 46.0, 60.0], dtype=torch.float32)[:, None] * scale
    middle = torch.tensor([10.0, 0.0, 33.0], dtype=torch.float32)[:, None]
    ventricles = pose.patient(sphere * half + middle)
    atrium = sphere[:, :200] * 26 + torch.tensor(pose.place(-24), dtype=torch.float32)[:, None]
    z = torch.linspace(-60, 90, 100, dtype=torch.float32)
    turn = torch.linspace(0, 40, 100, dtype=torch.float32)
    aorta = torch.stack([27 + 12 * turn.cos(), 58 + 12 * turn.sin(), z])
    return torch.cat([ventricles, atrium, aorta], dim=1)


AORTA = chain(((27.0, 58.0, 90.0), (27.0, 58.0, 20.0), (24.0, 58.0, -60.0), (15.0, 50.0, -140.0)), (12.0,) * 4)
"""A stand-in for the descending aorta."""


def built(subject: Subject, scale: float = 1.0) -> Chest:
    pose = Pose.of(subject)
    return Chest.of(subject, pose, hull_of(pose, scale), AORTA)


@functools.cache
def chest_of(seed: int, scale: float = 1.0) -> Chest:
    return built(Subject(seed), scale)


def grid() -> Tensor:
    """Points all over the body, on a coarse grid (x, y, z)."""
    axes = [torch.arange(low, high, STEP, dtype=torch.float32) for low, high in ((-228, 229), (-190, 191), (-260, 205))]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def blank(points: Tensor) -> Canvas:
    levels = brightness(BalancedSSFP(), Composition.usual(1.5), (0.0,)).levels(points)
    return Canvas.blank(tuple(points.shape[1:]), levels, 0.6)


def painted(seed: int, points: Tensor) -> Canvas:
    canvas = blank(points)
    chest = chest_of(seed)
    chest.paint(canvas, chest.locate(points), Texture.of(Subject(seed), CPU))
    return canvas


@functools.cache
def volume(seed: int) -> Tensor:
    """Labels on the coarse grid."""
    return painted(seed, grid()).labels


def litres(seed: int, *names: str) -> float:
    return sum(int((volume(seed) == LABELS[name]).sum()) for name in names) * STEP**3 / 1e6


def touches(labels: Tensor, one: Tensor, other: Tensor) -> bool:
    """Whether any point of `one` has a neighbour along an axis in `other`."""
    for axis in range(3):
        n = labels.shape[axis]
        a, b = one.narrow(axis, 0, n - 1), one.narrow(axis, 1, n - 1)
        c, d = other.narrow(axis, 0, n - 1), other.narrow(axis, 1, n - 1)
        if bool(((a & d) | (b & c)).any()):
            return True
    return False


@pytest.mark.parametrize("seed", SEEDS)
def test_every_organ_is_there(seed: int) -> None:
    found = {name for name, number in LABELS.items() if bool((volume(seed) == number).any())}
    assert found >= set(LABELS) - ELSEWHERE
    assert not found & ELSEWHERE


@pytest.mark.parametrize("seed", SEEDS)
def test_volumes_are_those_of_people(seed: int) -> None:
    # Both lungs at rest hold about 2 to 7 l of air and tissue (functional residual capacity 3 l, total lung capacity
    # 6 l: Stocks and Quanjer 1995, doi:10.1183/09031936.95.08030492, and half a litre to one of tissue and blood).
    assert 2.0 < litres(seed, "lung", "lung_vessel") < 7.0
    # The regression of 728 autopsies (Liver Transplantation 2004, doi:10.1002/lt.20113) gives a liver of 1.4 kg for a
    # woman of 20 years and 55 kg, and of 2.1 kg for a man of 40 years and 70 kg; a litre of liver weighs about 1 kg.
    assert 0.8 < litres(seed, "liver", "liver_vessel") < 2.2
    # Spleens: about 0.2 l, from 0.05 to 0.5 l.
    assert 0.05 < litres(seed, "spleen") < 0.5
    # An empty to a well filled stomach.
    assert 0.04 < litres(seed, "stomach") < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_the_wall_is_closed(seed: int) -> None:
    labels = volume(seed)
    outside = labels == LABELS["background"]
    inner = ("lung", "lung_vessel", "liver", "stomach", "spleen", "abdomen", "mediastinum", "diaphragm")
    within = torch.stack([labels == LABELS[name] for name in inner]).any(0)
    assert not touches(labels, within, outside)
    points, chest = grid(), chest_of(seed)
    depth = chest.skin.depth(*points) + chest.skin.bump(*points)
    assert float(depth[within].min()) > 8
    assert float(depth[labels == LABELS["bone"]].min()) > 2
    assert bool(outside[:, :, :-1][(0, -1), :].all()), "the body is as wide as the grid"
    assert bool(outside[:, (0, -1)].all()), "the body is as deep as the grid"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_body_reaches_from_the_belly_to_the_neck(seed: int) -> None:
    body = volume(seed) != LABELS["background"]
    across = body.any(1).sum(0) * STEP
    deep = body.any(0).sum(0) * STEP
    heart = round(260 / STEP)
    assert 290 < float(across[heart]) < 440
    assert 195 < float(deep[heart]) < 300
    assert bool(body.flatten(0, 1).any(0).all())
    assert float(across[-1]) < 0.6 * float(across[heart])


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("seed", SEEDS)
def test_heart_and_vessels_fit_in(seed: int, scale: float) -> None:
    chest, hull = chest_of(seed, scale), hull_of(Pose.of(Subject(seed)), scale)
    assert float(chest.locate(hull).inside.min()) >= 10
    assert float(chest.diaphragm.above(*hull).min()) >= 1
    x, y, z = hull
    assert float(chest.spine.body(x, chest.spine.ahead(y, z)).max()) < 0


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_lie_above_and_the_belly_below_the_diaphragm(seed: int) -> None:
    labels, above = volume(seed), chest_of(seed).diaphragm.above(*grid())
    for name in ("lung", "lung_vessel", "oesophagus"):
        assert bool((above[labels == LABELS[name]] > -3).all()), name
    for name in ("liver", "liver_vessel", "stomach", "spleen", "abdomen"):
        assert bool((above[labels == LABELS[name]] < 0).all()), name


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_on_their_side(seed: int) -> None:
    x, y, _ = grid()
    labels = volume(seed)
    middle = {name: float(x[labels == LABELS[name]].mean()) for name in ("liver", "stomach", "spleen")}
    assert middle["liver"] < -25 < 20 < middle["stomach"] < middle["spleen"]
    assert float(y[labels == LABELS["spinal_canal"]].mean()) > 50
    # The liver reaches under the heart.
    assert float(x[labels == LABELS["liver"]].max()) > 5


@pytest.mark.parametrize("seed", range(8))
def test_organs_stay_apart(seed: int) -> None:
    """Between liver, stomach and spleen there is always some fat, so that none covers a part of another."""
    for y in (-10.0, 20.0, 50.0):
        upright = Plane((45.0, y, -85.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)).points((110, 140), (165.0, 210.0))
        cut = painted(seed, upright).labels[None]
        liver = (cut == LABELS["liver"]) | (cut == LABELS["liver_vessel"])
        stomach, spleen = cut == LABELS["stomach"], cut == LABELS["spleen"]
        for one, other in ((liver, stomach), (liver, spleen), (stomach, spleen)):
            assert not touches(cut, one, other)


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_organs_give_way_to_the_aorta(seed: int) -> None:
    """Its wall and a rim of fat lie between it and every organ of the belly."""
    points, labels = grid(), volume(seed)
    away = -torch.stack([tube.distance(*points) for tube in AORTA]).amax(0)
    for name in ("liver", "liver_vessel", "stomach", "spleen"):
        assert float(away[labels == LABELS[name]].min()) > 2.5, name
    near = (away > 0) & (away < 2) & (points[2] < -80)
    assert bool((labels[near] == LABELS["abdomen"]).any())


def test_breath_is_closed_and_small() -> None:
    phase = torch.linspace(0, 1, 101, dtype=torch.float64)
    spans = []
    for seed in SEEDS:
        drift = chest_of(seed).breath(phase)
        assert drift.shape == (101, 3)
        torch.testing.assert_close(drift[0], torch.zeros(3, dtype=torch.float64))
        torch.testing.assert_close(drift[-1], drift[0], atol=1e-9, rtol=0)
        z = drift[:, 2]
        spans.append(float(z.max() - z.min()))
        assert float(z.abs().max()) >= float(drift[:, 1].abs().max())
        assert bool((drift[:, 0] == 0).all())
    assert min(spans) >= 0.3
    assert max(spans) <= 1.4
    assert max(spans) > 2 * min(spans)


@pytest.mark.parametrize("seed", [0, 4, 11])
def test_drift_is_that_of_the_diaphragm_and_dies_out_upwards(seed: int) -> None:
    chest, points, labels = chest_of(seed), grid(), volume(seed)
    located = chest.locate(points)
    drift, wall, above = chest.drift(located), located.inside, located.above
    assert float(drift.min()) >= 0
    assert float(drift.max()) <= 1 + 1e-6
    assert bool((drift[wall <= 0] == 0).all())
    assert bool((drift[labels == LABELS["spinal_canal"]] == 0).all())
    far = (points[0].abs() > 60) & (wall > 12)
    torch.testing.assert_close(
        drift[far & (above.abs() < 3)], torch.ones(()).expand(int((far & (above.abs() < 3)).sum())), atol=0.01, rtol=0
    )
    apex = (labels == LABELS["lung"]) & (above > 150) & (wall > 12)
    if bool(apex.any()):
        torch.testing.assert_close(drift[apex].mean(), torch.tensor(0.3), atol=0.02, rtol=0)


@pytest.mark.parametrize("seed", [0, 4, 11])
def test_the_pulse_is_closed_and_spares_heart_and_back(seed: int) -> None:
    chest, points = chest_of(seed), grid()
    phase = torch.linspace(0, 1, 101, dtype=torch.float64)
    way = chest.pulse.at(phase)
    torch.testing.assert_close(way[[0, -1]], torch.zeros((2, 3), dtype=torch.float64), atol=1e-9, rtol=0)
    assert 0.3 < float(way[:, 2].max() - way[:, 2].min()) < 6
    located = chest.locate(points)
    share = chest.pulsed(located, chest.drift(located))
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1 + 1e-6
    cavity = located.inside > 12
    assert bool((share[cavity & (chest.heart.inside(*points) > 0)] == 0).all())
    assert bool((share[(located.inside < 0) & (points[1] > 100)] == 0).all())
    front = share[(located.inside < 0) & (points[1] < 0)]
    torch.testing.assert_close(front, torch.full_like(front, 0.3))


def test_wall_is_a_distance() -> None:
    """Towards the wall the distance falls by about one mm for each mm."""
    chest = chest_of(2)
    points = torch.zeros((3, 20), dtype=torch.float32)
    points[0] = torch.linspace(70, 120, 20, dtype=torch.float32)
    points[1] = 25
    wall = chest.locate(points).inside
    slope = (wall[1:] - wall[:-1]) / (points[0, 1:] - points[0, :-1])
    assert bool(((slope < -0.7) & (slope > -1.3)).all())


def test_same_seed_same_bytes() -> None:
    plane = Plane((0.0, 10.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)).points((64, 64), (380.0, 380.0))
    subject = Subject(6)
    pictures = []
    for _ in range(2):
        canvas = blank(plane)
        chest = built(subject)
        chest.paint(canvas, chest.locate(plane), Texture.of(subject, CPU))
        pictures.append(canvas.signal)
    assert pictures[0].dtype == torch.float32
    assert torch.equal(pictures[0], pictures[1])
    other = painted(7, plane).signal
    assert float((other - pictures[0]).abs().mean()) > 0.02


def test_a_point_looks_the_same_in_every_plane() -> None:
    """Two planes that cross show the same tissue along their common line."""
    flat = Plane((0.0, 10.0, -20.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)).points((64, 64), (360.0, 360.0))
    upright = Plane((0.0, 10.0, -20.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)).points((64, 64), (360.0, 360.0))
    a, b = painted(9, flat), painted(9, upright)
    torch.testing.assert_close(a.signal[:, 32], b.signal[:, 32], atol=1e-3, rtol=0)
    assert torch.equal(a.labels[32], b.labels[32])


def test_outside_the_body_nothing_is_painted() -> None:
    points = torch.full((3, 5, 4), 900.0, dtype=torch.float32)
    canvas = painted(0, points)
    assert not bool(canvas.signal.any())
    assert not bool(canvas.labels.any())
    assert canvas.signal.shape == (1, 5, 4)


def test_contrast_is_that_of_balanced_ssfp() -> None:
    """Fat is bright and of the other sign at 1.5 T, lung almost black, muscle between, air nothing."""
    points = grid()[:, :, :, 20:45:3]
    for seed in (1, 8):
        canvas = painted(seed, points)
        signal, labels = canvas.signal[0], canvas.labels
        mean = {name: float(signal[labels == LABELS[name]].mean()) for name in LABELS if name not in ELSEWHERE}
        assert mean["fat"] < -0.6
        assert 0 < mean["lung"] < 0.12
        assert 0.2 < mean["muscle"] < 0.45
        assert 0.4 < mean["liver"] < 0.65
        assert mean["lung_vessel"] > 0.2
        assert mean["liver_vessel"] > mean["liver"] + 0.1
        assert abs(mean["background"]) < 0.02


def test_the_chest_does_not_depend_on_the_number_of_points() -> None:
    """Painting half of the points paints them as before: no plane-wide quantity enters."""
    points = Plane((0.0, 10.0, 5.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)).points((48, 48), (380.0, 380.0))
    whole, half = painted(3, points), painted(3, points[:, :24])
    torch.testing.assert_close(whole.signal[:, :24], half.signal, atol=1e-5, rtol=0)
    assert math.isfinite(float(whole.signal.abs().max()))


@pytest.mark.bad_input
def test_neither_hull_nor_aorta_may_be_missing() -> None:
    subject = Subject(0)
    with pytest.raises(ValueError, match="hull: got no points"):
        Chest.of(subject, Pose.of(subject), torch.zeros((3, 0), dtype=torch.float32), AORTA)
    with pytest.raises(ValueError, match="aorta: got 1 pieces"):
        Chest.of(subject, Pose.of(subject), hull_of(Pose.of(subject)), AORTA[:1])
