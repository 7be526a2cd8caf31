"""Atria and great vessels: there in every subject, apart from each other, of the stated size, and moving smoothly."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from cmr_course.plane import Plane, along, dot
from cmr_course.simulation.brightness import brightness
from cmr_course.simulation.canvas import LABELS, Canvas
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.sequences import BalancedSSFP
from cmr_course.simulation.shapes import Arch, Capsule, Ellipsoid, Field, chain, curve, smooth_union
from cmr_course.simulation.subject import CONDITIONS, Subject
from cmr_course.simulation.texture import Grain, Texture
from cmr_course.simulation.tissue import Composition
from cmr_course.simulation.vessels import FADE, Vessels

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
NAMES = ("aorta", "pulmonary_artery", "vena_cava", "pulmonary_vein", "la_blood", "ra_blood", "rv_blood")


def anatomy(seed, condition=None):
    """Pose and vessels of a subject; conditions take turns."""
    subject = Subject(seed, condition or tuple(CONDITIONS)[seed % len(CONDITIONS)])
    pose = Pose.of(subject)
    heart = Heart.of(subject, pose)
    return pose, Vessels.of(subject, pose, heart.length, heart.R_epi)


def everywhere(place, reach):
    """Nothing is skipped."""
    return True


def about(plane):
    """Whether a slice in `plane`, whose points have moved by 5 mm at most, comes near."""
    return lambda place, reach: abs(dot(along(place, plane.centre, -1.0), plane.normal)) < reach + 5


def box(step=4.0):
    """Places all over the chest (xyz, z, y, x), mm."""
    axes = [torch.arange(low, high, step, dtype=torch.float32) for low, high in ((-155, 181), (-80, 101), (-90, 91))]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z])


def painted(vessels, points, near=everywhere, textured=False):
    """A picture at `points`, on dark ground; softness 0.5 mm."""
    shape = points.shape[1:]
    zeros = torch.zeros(shape, dtype=torch.float32)
    levels = brightness(BalancedSSFP(), Composition.usual(3.0), (0.0,)).levels(points)
    canvas = Canvas.blank(tuple(shape), levels, 0.5)
    grain = Texture.of(Subject(0), points.device).at(points) if textured else Grain(zeros, zeros, zeros, zeros)
    shown = vessels.shown(points if points.ndim > 2 else points[:, None], near)
    if shown is not None:
        part = canvas.take(shown.index)
        blotch = grain.blotch.flatten()[shown.index]
        vessels.cover(part, shown, blotch, torch.ones_like(blotch))
        canvas.put_at(part, shown.index)
    return canvas


def share(canvas, name):
    return (canvas.labels == LABELS[name]).double().mean()


# Anatomy


@pytest.mark.parametrize("seed", range(12))
def test_everything_is_there_and_of_plausible_size(seed):
    labels = painted(anatomy(seed)[1], box()).labels
    millilitres = {name: float((labels == LABELS[name]).sum()) * 4**3 / 1000 for name in (*NAMES, "atrial_wall")}
    # Atria are smallest at end diastole; what the box holds of the vessels is part of their length.
    for name, (low, high) in {
        "aorta": (120, 320),
        "pulmonary_artery": (40, 130),
        "vena_cava": (40, 160),
        "pulmonary_vein": (4, 40),
        "la_blood": (25, 110),
        "ra_blood": (35, 140),
        "rv_blood": (3, 60),
        "atrial_wall": (15, 90),
    }.items():
        assert low < millilitres[name] < high, (name, millilitres)


@pytest.mark.parametrize("seed", range(0, 100, 4))
def test_organs_do_not_run_through_each_other(seed):
    """All blood of different organs is apart, but where vein and atrium, outflow tract and trunk are one tube."""
    _, vessels = anatomy(seed)
    field = Field(box(5.0), vessels.solids(), everywhere, 10.0)
    inside = {name: distance > 0 for name, distance in vessels.distances(field).items()}
    joined = {("la_blood", "pulmonary_vein"), ("ra_blood", "vena_cava"), ("pulmonary_artery", "rv_blood")}
    for one, other in itertools.combinations(NAMES, 2):
        if (one, other) in joined or (other, one) in joined:
            continue
        both = (inside[one] & inside[other]).sum()
        assert both <= 0.02 * min(inside[one].sum(), inside[other].sum()), (one, other)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_little_has_to_give_way(seed):
    """The shapes as drawn hardly meet; giving way only takes off a sliver."""
    _, vessels = anatomy(seed)
    field = Field(box(5.0), vessels.solids(), everywhere, 10.0)
    drawn = {
        "aorta": field.union((*vessels.aorta, *vessels.branches)) > 0,
        "pulmonary": field.union((*vessels.pulmonary, *vessels.twigs)) > 0,
        "left": field.union(vessels.left.solids) > 0,
        "right": field.union(vessels.right.solids) > 0,
    }
    above = vessels.frame.depth(field.x, field.y, field.z) < 0
    for one, other in itertools.combinations(drawn, 2):
        both = (drawn[one] & drawn[other] & above).sum() / min(drawn[one].sum(), drawn[other].sum())
        assert both < 0.08, (one, other)


def test_anatomy_reads_like_a_textbook():
    """At the fork of the trunk, axial: vena cava, ascending aorta, trunk from right to left; right artery behind."""
    for seed in range(20):
        _, vessels = anatomy(seed, "normal")
        x0, y0, z = vessels.bifurcation()
        canvas = painted(vessels, Plane((0.0, 10.0, z), X, Y).points((160, 160), (200.0, 200.0)))
        points = Plane((0.0, 10.0, z), X, Y).points((160, 160), (200.0, 200.0))

        def middle(mask, points=points):
            return points[0][mask].mean(), points[1][mask].mean()

        aorta, back = canvas.labels == LABELS["aorta"], points[1] > 30
        ascending, descending = middle(aorta & ~back), middle(aorta & back)
        cava = middle((canvas.labels == LABELS["vena_cava"]) & (points[1] < 30))
        artery = canvas.labels == LABELS["pulmonary_artery"]
        right = artery & (points[0] < ascending[0])
        assert cava[0] < ascending[0] - 15 < x0 - 30
        assert descending[0] > 5
        assert descending[1] > y0 + 20
        assert right.any()
        assert points[1][right].min() > ascending[1]


def test_views_find_what_they_show():
    for seed in range(20):
        pose, vessels = anatomy(seed)
        valve, out = vessels.root
        centre, right = vessels.arch()
        assert abs(dot(along(valve, pose.base, -1.0), pose.axis)) < 1e-3  # in the basal plane
        assert out[2] > 0.2
        assert dot(out, pose.axis) < -0.3
        assert math.sqrt(dot(out, out)) == pytest.approx(1)
        assert math.sqrt(dot(right, right)) == pytest.approx(1)
        assert right[2] == 0
        assert right[0] > 0
        assert right[1] > 0
        assert 28 < next(part for part in vessels.aorta if isinstance(part, Arch)).circle < 45
        arch = painted(vessels, Plane(centre, right, (0.0, 0.0, -1.0)).points((120, 120), (160.0, 160.0)))
        assert share(arch, "aorta") > 0.1
        fork = painted(vessels, Plane(vessels.bifurcation(), X, Y).points((120, 120), (160.0, 160.0)))
        assert share(fork, "pulmonary_artery") > 0.07


def test_surface_lies_on_the_outside():
    """Points for the chest to be built around: not inside any blood, nor far from everything."""
    _, vessels = anatomy(3)
    points = vessels.surface()
    assert 100 < points.shape[1] < 600
    assert points.dtype == torch.float32
    field = Field(points[:, None].expand(3, 2, -1), vessels.solids(), everywhere, 20.0)
    outer = torch.stack(list(vessels.distances(field).values())).amax(0)[0]
    assert (outer > -10).double().mean() > 0.95
    assert (outer < 1).double().mean() > 0.6  # the others lie where one part joins the next


@pytest.mark.parametrize("seed", range(6))
def test_descending_aorta_has_the_stated_radius(seed):
    _, vessels = anatomy(seed)
    tube = next(t for t in vessels.aorta if isinstance(t, Capsule) and t.start[2] == 25.0)
    place = tube.middle
    radius = 0.5 * (tube.radius + tube.end_radius)
    canvas = painted(vessels, Plane(place, X, Y).points((160, 160), (40.0, 40.0)))
    assert share(canvas, "aorta") * 40**2 == pytest.approx(math.pi * radius**2, rel=0.05)


def test_same_seed_same_vessels_and_different_seeds_differ():
    assert anatomy(5) == anatomy(5)
    assert anatomy(5)[1].aorta != anatomy(9)[1].aorta


# Motion


def material(vessels, points, pressure, contraction, near=everywhere):
    """Where the tissue now at `points` (xyz, frame, rows, columns) was at end diastole, as far as vessels go."""
    field = vessels.swelling(points, near)
    if not field.windows:
        return points
    shape, moved = points.shape[1:], points.clone()
    now = (torch.tensor(value, dtype=points.dtype).reshape(-1, 1, 1).expand(shape) for value in (pressure, contraction))
    field.cut(moved).sub_(vessels.push(field, *now))
    return moved


def frames(points, n):
    return points[:, None].expand(3, n, *points.shape[1:])


def test_at_end_diastole_nothing_has_moved():
    _, vessels = anatomy(1)
    points = frames(Plane((10.0, 10.0, 40.0), X, Y).points((60, 60), (200.0, 200.0)), 2)
    assert torch.equal(material(vessels, points, [0.0, 0.0], [0.0, 0.0]), points)


@pytest.mark.parametrize("seed", range(5))
def test_aorta_widens_with_pressure(seed):
    _, vessels = anatomy(seed)
    growth = vessels.growth[0]
    assert 0.03 <= growth <= 0.08
    tube = next(t for t in vessels.aorta if isinstance(t, Capsule) and t.start[2] == 25.0)
    points = frames(Plane(tube.middle, X, Y).points((300, 300), (40.0, 40.0)), 3)
    labels = painted(vessels, material(vessels, points, [0.0, 0.5, 1.0], [0.0, 0.0, 0.0])).labels
    area = (labels == LABELS["aorta"]).double().sum((1, 2))
    wanted = torch.tensor([(1 + growth * p) ** 2 for p in (0.0, 0.5, 1.0)], dtype=torch.float64)
    assert torch.allclose(area / area[0], wanted, atol=0.015)


def test_atria_fill_while_the_ventricles_contract():
    _, vessels = anatomy(2)
    points = frames(box(3.0).flatten(2), 1)[:, 0]
    rest, full = (painted(vessels, material(vessels, points[:, None], [0.0], [c])).labels[0] for c in (0.0, 1.0))
    for name in ("la_blood", "ra_blood"):
        ratio = (full == LABELS[name]).sum() / (rest == LABELS[name]).sum()
        assert 1.03 < ratio < 1.3


@pytest.mark.parametrize("seed", range(6))
def test_tissue_never_folds(seed):
    _pose, vessels = anatomy(seed)
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.tensor(v, dtype=torch.float64)[:, None] for v in ((-70, -50, -90), (80, 85, 130)))
    points = low + (high - low) * torch.rand((3, 40000), dtype=torch.float64, generator=generator)
    step = 1e-3
    columns = []
    for axis in range(3):
        shift = torch.zeros((3, 1), dtype=torch.float64)
        shift[axis] = step
        ahead, behind = (
            material(vessels, (points + sign * shift)[:, None, None], [1.0], [1.0])[:, 0, 0] for sign in (1, -1)
        )
        columns.append((ahead - behind) / (2 * step))
    determinant = torch.linalg.det(torch.stack(columns).permute(2, 1, 0))
    assert determinant.min() > 0.3
    assert torch.quantile(determinant, 0.99) < 1.6


def test_far_tissue_and_the_ventricles_do_not_move():
    pose, vessels = anatomy(4)
    points = frames(box(6.0).flatten(2), 1)[:, 0]
    moved = material(vessels, points[:, None], [1.0], [1.0])[:, 0]
    size = (moved - points).square().sum(0).sqrt()
    assert 0.5 < size.max() < 4
    field = Field(points, vessels.solids(), everywhere, 500.0)
    far = torch.stack(list(vessels.distances(field).values())).amax(0) < -FADE - 1
    assert far.any()
    assert (size[far] == 0).all()
    u, v, w = pose.local(points).unbind(0)
    ventricle = (w > 0) & ((u.square() + v.square()).sqrt() < vessels.frame.radius)
    assert ventricle.any()
    assert (size[ventricle] < 1e-6).all()


# Skipping what is not near


@pytest.mark.parametrize("seed", range(3))
def test_skipping_what_is_not_near_changes_nothing(seed):
    pose, vessels = anatomy(seed)
    planes = [Plane((0.0, 10.0, z), X, Y) for z in (-60.0, 15.0, 60.0)]
    planes += [Plane(pose.place(depth), pose.across, pose.up) for depth in (-20.0, 10.0, 60.0)]
    for plane in planes:
        points = frames(plane.points((70, 90), (280.0, 300.0)), 2)
        whole, part = (material(vessels, points, [0.5, 1.0], [0.3, 1.0], near) for near in (everywhere, about(plane)))
        assert torch.allclose(whole, part, atol=1e-5)
        full, quick = (painted(vessels, whole, near, textured=True) for near in (everywhere, about(plane)))
        assert torch.allclose(full.signal, quick.signal, atol=1e-4)
        assert torch.equal(full.labels, quick.labels)


def test_cut_out_rows_and_columns_change_nothing():
    """Each point alone looks as it does in the whole picture."""
    _, vessels = anatomy(7)
    points = Plane((5.0, 15.0, 30.0), X, Y).points((60, 80), (240.0, 240.0))
    whole, single = painted(vessels, points), painted(vessels, points.flatten(1))
    assert torch.allclose(whole.signal.flatten(), single.signal, atol=1e-4)
    assert torch.equal(whole.labels.flatten(), single.labels)
    moved = material(vessels, points[:, None], [1.0], [1.0])[:, 0]
    line = material(vessels, points.flatten(1)[:, None, None], [1.0], [1.0])
    assert torch.allclose(moved.flatten(1), line[:, 0, 0])


def test_a_slice_that_meets_nothing_stays_as_it_is():
    _, vessels = anatomy(0)
    plane = Plane((0.0, 0.0, 400.0), X, Y)
    points = plane.points((20, 20), (100.0, 100.0))
    canvas = painted(vessels, points, about(plane))
    assert (canvas.labels == 0).all()
    assert (canvas.signal == 0).all()
    assert torch.equal(material(vessels, points, [1.0], [1.0], about(plane)), points)


# Shapes


def coordinates(*places):
    return torch.tensor(places, dtype=torch.float64).T.unbind(0)


def test_capsule_distance_is_exact():
    tube = Capsule((0.0, 0.0, 0.0), (10.0, 0.0, 0.0), 2.0, 2.0)
    found = tube.distance(*coordinates((5, 0, 0), (5, 3, 4), (-3, 0, 4), (14, 3, 0)))
    assert torch.allclose(found, torch.tensor([2.0, -3.0, -3.0, -3.0], dtype=torch.float64))
    cone = Capsule((0.0, 0.0, 0.0), (10.0, 0.0, 0.0), 2.0, 4.0)
    assert cone.distance(*coordinates((5, 0, 3)))[0] == pytest.approx(0)


def test_arch_distance_is_exact():
    arch = Arch((1.0, 2.0, 3.0), (0.6, 0.8, 0.0), 20.0, 4.0, 4.0)
    for angle in (0.0, 0.4, math.pi / 2, math.pi):
        place = arch.place(angle)
        assert arch.distance(*coordinates(place))[0] == pytest.approx(4)
        assert arch.distance(*coordinates(along(place, (0.8, -0.6, 0.0), 9.0)))[0] == pytest.approx(-5)
    below = along(arch.place(0.0), Z, -10.0)
    assert arch.distance(*coordinates(below))[0] == pytest.approx(-6)
    *offset, radius = arch.offset(*coordinates(below))
    assert [float(part) for part in offset] == pytest.approx([0, 0, -10])
    assert float(radius) == pytest.approx(4)


def test_ellipsoid_distance_is_right_to_first_order():
    ball = Ellipsoid((1.0, -2.0, 3.0), (5.0, 5.0, 5.0))
    assert ball.distance(*coordinates((1, -2, 9)))[0] == pytest.approx(-1, abs=0.01)
    body = Ellipsoid((0.0, 0.0, 0.0), (10.0, 20.0, 30.0))
    for direction in ((1, 0, 0), (0.6, 0.8, 0), (0.48, 0.6, 0.64)):
        unit = torch.tensor(direction, dtype=torch.float64)
        half = torch.tensor(body.half, dtype=torch.float64)
        surface = unit * half
        normal = surface / half.square()
        for step in (0.0, 0.01, -0.01):
            place = surface + step * normal / normal.norm()
            assert float(body.distance(*place.unbind(0))) == pytest.approx(-step, abs=2e-3)


def test_smooth_union_rounds_only_where_both_are_alike():
    a = torch.tensor([0.0, 5.0, -8.0], dtype=torch.float64)
    b = torch.tensor([0.0, -5.0, 9.0], dtype=torch.float64)
    found = smooth_union(a, b, 4.0)
    assert found.tolist() == [1.0, 5.0, 9.0]


def test_chain_and_curve_join():
    places = curve((0.0, 0.0, 0.0), (0.0, 0.0, 10.0), (10.0, 0.0, 10.0), 4)
    assert places[0] == (0.0, 0.0, 0.0)
    assert places[-1] == pytest.approx((10.0, 0.0, 10.0))
    assert places[1][0] < places[1][2]  # leaves towards the control point
    tubes = chain(places, (1.0, 1.5, 2.0, 2.5, 3.0))
    assert all(one.end == other.start and one.end_radius == other.radius for one, other in itertools.pairwise(tubes))
