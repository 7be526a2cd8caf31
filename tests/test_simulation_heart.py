"""The ventricles as shapes: what is asked for is met, muscle keeps its volume at every point, nothing folds."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.plane import dot
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.motion import Beat, shots
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.subject import CONDITIONS, Subject

END = torch.tensor([0.0, 0.35, 1.0], dtype=torch.float64)


def heart_of(seed, **asked):
    subject = Subject(seed, **asked)
    return Heart.of(subject, Pose.of(subject))


def size(heart):
    """No point of the ventricles is farther than this from the left one's axis, mm."""
    return max(0.75 * heart.length, heart.right_centre + heart.right_radius + heart.right_wall + sum(heart.fat[:3]))


def places(heart, n=16000, reach=1.0, seed=0):
    """Random places in a box around the ventricles, (uvw, n), mm."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand((3, n), dtype=torch.float64, generator=generator)
    wide = (size(heart) + 8) * reach
    low = torch.tensor([-wide, -wide, -20.0 * reach], dtype=torch.float64)
    high = torch.tensor([wide, wide, heart.end + 10 * reach], dtype=torch.float64)
    return low[:, None] + (high - low)[:, None] * unit


def material(heart, points, contraction):
    """End-diastolic place of the tissue at `points` (uvw, n) at one contraction, and all that is known of it."""
    c = torch.tensor(contraction, dtype=points.dtype).reshape(1, 1, 1)
    found = heart.material(points[:, None, None], c, torch.ones((1, 1), dtype=points.dtype))
    return found.place[:, 0, 0], found


def jacobian(heart, points, contraction):
    """Determinant of d(end-diastolic place)/d(place now) at each of `points`."""
    step = 1e-4 * torch.eye(3, dtype=points.dtype)[:, :, None]
    moved = [(material(heart, points + h, contraction)[0] - material(heart, points - h, contraction)[0]) for h in step]
    derivative = torch.stack(moved).permute(2, 1, 0) / 2e-4
    return torch.linalg.det(derivative), material(heart, points, contraction)[1]


def summed(heart, name, contraction, step=0.5):
    """ml between planes `step` mm apart, of the areas that fixed planes cut."""
    depths = torch.arange(-5, heart.end + 5, step, dtype=torch.float64)
    areas = [heart.areas(float(depth), contraction)[name] for depth in depths]
    return torch.stack(areas).sum(0) * step / 1000


# What is asked for


@given(
    seed=st.integers(0, 9999),
    ejection=st.floats(0.2, 0.72),
    strain=st.floats(-0.2, -0.05),
    volume=st.floats(80, 260),
)
def test_ejection_fraction_and_strain_are_met(seed, ejection, strain, volume):
    heart = heart_of(seed, ejection_fraction=ejection, longitudinal_strain=strain, end_diastolic_volume=volume)
    volumes, strains = heart.volumes(END), heart.strain(END)
    assert float(volumes["lv_ml"][0]) == pytest.approx(volume)
    assert float(1 - volumes["lv_ml"][2] / volumes["lv_ml"][0]) == pytest.approx(ejection, abs=1e-9)
    assert float(strains["longitudinal"][2]) == pytest.approx(strain, abs=1e-9)
    kept = (1 + strain) * (1 + float(strains["circumferential"][2])) ** 2
    assert 1 - kept == pytest.approx(ejection, abs=1e-9)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("seed", range(5))
def test_planes_add_up_to_the_volumes(seed, condition):
    heart = heart_of(seed, condition=condition)
    volumes = heart.volumes(END)
    left, muscle = summed(heart, "lv_area_mm2", END), summed(heart, "lv_myocardium_area_mm2", END)
    torch.testing.assert_close(left, volumes["lv_ml"], rtol=0.006, atol=0)
    torch.testing.assert_close(muscle, volumes["lv_myocardium_ml"], rtol=0.01, atol=0)
    asked = heart.physiology.ejection_fraction
    assert float(1 - left[2] / left[0]) == pytest.approx(asked, abs=0.01)
    assert float(muscle.max() / muscle.min()) < 1.02
    torch.testing.assert_close(summed(heart, "rv_area_mm2", END), volumes["rv_ml"], rtol=0.02, atol=0)


def test_two_of_ejection_fraction_and_strains_give_the_third():
    both = Subject(0, longitudinal_strain=-0.15, circumferential_strain=-0.3).physiology()
    assert both.ejection_fraction == pytest.approx(1 - 0.85 * 0.7**2)
    other = Subject(0, ejection_fraction=0.6, circumferential_strain=-0.3).physiology()
    assert (1 + other.longitudinal_strain) * 0.7**2 == pytest.approx(0.4)
    agreeing = Subject(0, ejection_fraction=0.5835, longitudinal_strain=-0.15, circumferential_strain=-0.3)
    assert agreeing.physiology().ejection_fraction == 0.5835


def test_what_is_given_changes_nothing_else():
    drawn = Subject(5).physiology()
    given_rate = Subject(5, heart_rate=90.0).physiology()
    assert replace(given_rate, heart_rate=drawn.heart_rate) == drawn
    assert heart_of(5, heart_rate=90.0).papillaries == heart_of(5).papillaries


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions_are_what_their_names_say(condition):
    hearts = [heart_of(seed, condition=condition) for seed in range(30)]
    volume = torch.tensor([heart.physiology.end_diastolic_volume for heart in hearts])
    ejection = torch.tensor([heart.physiology.ejection_fraction for heart in hearts])
    wall = torch.tensor([heart.R_epi - heart.R_endo for heart in hearts])
    mass = torch.stack([heart.volumes(END)["lv_myocardium_ml"][0] for heart in hearts]) * 1.05
    # Normal ranges, both sexes: Petersen et al. 2017, doi:10.1186/s12968-017-0327-9.
    if condition == "normal":
        assert volume.min() >= 90
        assert volume.max() <= 232
        assert ejection.min() >= 0.5
        assert ejection.max() <= 0.72
        assert mass.min() >= 46
        assert mass.max() <= 150
        lengths = torch.tensor([heart.length for heart in hearts])
        assert lengths.min() > 70
        assert lengths.max() < 110
    assert (condition == "dilated") == bool(volume.min() > 219)
    assert (condition == "hypertrophic") == bool(wall.min() >= 13)
    assert bool(ejection.max() < 0.5) == (condition in ("dilated", "infarcted"))


# Motion


@pytest.mark.parametrize("condition", ["normal", "hypertrophic", "infarcted"])
def test_muscle_keeps_its_volume_at_every_point(condition):
    heart = heart_of(3, condition=condition)
    for contraction in (0.3, 1.0):
        determinant, found = jacobian(heart, places(heart), contraction)
        square, at = found.r.square(), found.at
        wall = (square > 1.05 * at.endo) & (square < 0.95 * at.epi) & (found.place[2] > 1)
        change = (determinant - 1)[wall[0, 0]].abs()
        assert len(change) > 200
        # Exact but for the twist of an outline that is not quite round.
        assert float(change.mean()) < 0.02
        assert float(change.max()) < 0.12


def test_without_twist_it_keeps_it_exactly():
    heart = replace(heart_of(3, condition="infarcted"), twist=(0.0, 0.0), travel=(0.0, 0.0, 0.0))
    determinant, found = jacobian(heart, places(heart), 1.0)
    square, at = found.r.square(), found.at
    wall = (square > at.endo) & (square < at.epi) & (found.place[2] > 0) & (found.place[2] < heart.length)
    torch.testing.assert_close(determinant[wall[0, 0]], torch.ones_like(determinant[wall[0, 0]]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("condition", CONDITIONS)
def test_nothing_folds(seed, condition):
    heart = heart_of(seed, condition=condition)
    for contraction in (0.5, 1.0):
        assert float(jacobian(heart, places(heart, 3000, 1.6), contraction)[0].min()) > 0


@pytest.mark.parametrize("condition", CONDITIONS)
def test_at_end_diastole_nothing_has_moved(condition):
    heart = heart_of(2, condition=condition)
    points = places(heart, reach=1.5)
    torch.testing.assert_close(material(heart, points, 0.0)[0], points, rtol=0, atol=2e-3)


def test_motion_dies_out_and_stops_where_nothing_gives_way():
    heart = heart_of(1)
    points = places(heart, 2000, 4.0)
    far = points.norm(dim=0) > size(heart) + 150
    still = material(heart, points[:, far], 1.0)[0]
    torch.testing.assert_close(still, points[:, far], rtol=0, atol=2e-3)
    near = places(heart, 500)
    c = torch.ones((1, 1, 1), dtype=torch.float64)
    found = heart.material(near[:, None, None], c, torch.zeros((1, 1), dtype=torch.float64))
    outside = found.r[0, 0] > found.at.hull[0, 0]
    # Only the twist's last few degrees, which fade within 16 mm of the muscle, are left beside the heart.
    moved = (found.place[2, 0, 0] - near[2]).abs()[outside]
    assert float(moved.max()) < 1e-6


def test_the_apex_turns_against_the_base():
    heart = heart_of(4)
    radius = 0.5 * (heart.R_endo + heart.R_epi) * 0.8
    turned = []
    for depth in (0.1, 0.5, 0.85):
        points = torch.tensor([[radius], [0.0], [depth * heart.length]], dtype=torch.float64)
        place = material(heart, points, 1.0)[0]
        turned.append(-math.degrees(math.atan2(float(place[1, 0]), float(place[0, 0]))))
    assert turned[0] < turned[1] < turned[2]
    assert turned[2] - turned[0] > 4
    assert turned[0] < 0 < turned[2]


def test_an_infarct_moves_less_and_the_rest_makes_up_for_it():
    heart = heart_of(7, condition="infarcted")
    infarct = heart.infarct
    spot = [torch.tensor(value, dtype=torch.float64) for value in (infarct.angle, infarct.depth)]
    across = spot[0] + math.pi
    thickening = []
    for angle in (spot[0], across):
        cos, sin = angle.cos()[None], angle.sin()[None]
        motion = infarct.motion(cos, sin, spot[1])
        at = heart.contours(heart.outline(cos, sin), spot[1], torch.ones(1, dtype=torch.float64), motion)
        before = at.epi0.sqrt() - at.endo0.sqrt()
        thickening.append(float((at.epi.sqrt() - at.endo.sqrt()) / before - 1))
    assert thickening[0] < 0.08
    assert thickening[1] > 0.12


# The beat


@pytest.mark.parametrize("rate", [30.0, 45.0, 75.0, 120.0, 180.0])
@pytest.mark.parametrize("frames", [6, 8, 12, 20, 25])
def test_a_frame_shows_end_systole(frames, rate):
    physiology = Subject(1, heart_rate=rate).physiology()
    beat = Beat.of(physiology).gated(frames)
    moments = beat.moments(beat.frames(frames), torch.device("cpu"))
    assert float(moments.contraction.max()) == pytest.approx(1, abs=0.01)
    assert float(moments.contraction[0]) == 0
    assert float(moments.contraction.min()) >= 0


def test_the_beat_has_the_phases_of_a_heart():
    beat = Beat.of(Subject(2, heart_rate=60.0).physiology())
    times = torch.arange(0, 1000, 5, dtype=torch.float64)
    volume = 1 - beat.moments(times.tolist(), torch.device("cpu")).contraction
    empty = times[volume < 1e-6]
    assert 300 < float(empty[0]) < 400  # systole takes about a third of the beat
    rate = volume.diff()
    during = {name: rate[(times[1:] > low) & (times[1:] < high)] for name, low, high in PHASES}
    assert during["ejection"].max() <= 0
    assert during["early filling"].max() > 3 * during["diastasis"].abs().max()
    assert during["atrial kick"].max() > 3 * during["diastasis"].abs().max()
    assert 0.7 < float(volume[times > 760][0]) < 0.9  # before the kick


PHASES = [("ejection", 60, 330), ("early filling", 430, 600), ("diastasis", 640, 860), ("atrial kick", 900, 999)]


@pytest.mark.parametrize("rhythm", ["ectopic", "irregular"])
def test_every_line_is_measured_in_one_beat(rhythm):
    found = shots(Subject(3, rhythm=rhythm), 128)
    counted = torch.zeros(128, dtype=torch.long)
    for shot in found:
        counted += torch.arange(128) % shot.every == shot.first
        assert 0.5 < shot.length < 1.5
        assert 0.3 < shot.strength < 1.1
    assert bool((counted == 1).all())
    unusual = [shot for shot in found if (shot.length, shot.strength) != (1.0, 1.0)]
    assert unusual
    assert rhythm == "irregular" or len(unusual) <= len(found) // 2 + 1


# Anatomy


@pytest.mark.parametrize("seed", range(40))
def test_the_axis_points_to_the_left_to_the_front_and_down(seed):
    pose = Pose.of(Subject(seed))
    assert pose.axis[0] > 0.3
    assert pose.axis[1] < -0.2
    assert pose.axis[2] < -0.3
    assert pose.septum[0] < 0  # the right ventricle lies on the right
    for one, other in ((pose.axis, pose.septum), (pose.axis, pose.side), (pose.septum, pose.side)):
        assert dot(one, other) == pytest.approx(0, abs=1e-9)
    points = torch.randn((3, 5), dtype=torch.float32, generator=torch.Generator().manual_seed(seed)) * 50
    torch.testing.assert_close(pose.patient(pose.local(points)), points, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_right_ventricles_eject_as_much_as_is_normal(condition):
    hearts = [heart_of(seed, condition=condition) for seed in range(30)]
    right = torch.stack([heart.volumes(END)["rv_ml"] for heart in hearts])
    # Without its outflow tract. 2.5th to 97.5th percentile of both sexes, whole ventricle: 85 to 265 ml (Petersen).
    assert float(right[:, 0].min()) > 65
    assert float(right[:, 0].max()) < (265 if condition != "dilated" else 290)
    ejection = 1 - right[:, 2] / right[:, 0]
    assert float(ejection.min()) > 0.4
    assert float(ejection.max()) < 0.72


BAD = [
    ({"ejection_fraction": 1.2}, "ejection_fraction: got 1.2, want a number from 0.05 to 0.85"),
    ({"ejection_fraction": float("nan")}, "ejection_fraction: got nan"),
    ({"longitudinal_strain": 0.15}, "longitudinal_strain: got 0.15, want a number from -0.3 to 0"),
    ({"heart_rate": "60"}, "heart_rate: got '60'"),
    ({"condition": "broken"}, "condition: got 'broken', want one of normal, dilated"),
    ({"rhythm": "swing"}, "rhythm: got 'swing', want one of regular"),
    ({"lesion": (0, 0, 0)}, "lesion: got (0, 0, 0), want a Lesion or None"),
    (
        {"ejection_fraction": 0.6, "longitudinal_strain": -0.15, "circumferential_strain": -0.1},
        "ejection_fraction: got 0.6, but the strains make it 0.311; leave one out",
    ),
    ({"ejection_fraction": 0.8, "circumferential_strain": -0.1}, "make it -0.753, want -0.3 to 0"),
]


@pytest.mark.bad_input
def test_an_infarcted_ventricle_cannot_eject_more_than_what_moves():
    moving = {seed: heart_of(seed, condition="infarcted").moving for seed in range(30)}
    least, most = min(moving, key=moving.get), max(moving, key=moving.get)
    volumes = heart_of(most, condition="infarcted", ejection_fraction=0.8).volumes(END)["lv_ml"]
    assert float(1 - volumes[2] / volumes[0]) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="of this infarcted ventricle moves"):
        heart_of(least, condition="infarcted", ejection_fraction=0.85)


@pytest.mark.bad_input
@pytest.mark.parametrize(("asked", "words"), BAD)
def test_impossible_subjects_are_refused(asked, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Subject(1, **asked)
