"""The simulator at the ends of its ranges: an error that names the argument, or a sound result, and the same twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmr_course.plane import Plane
from cmr_course.receiver import VENDORS, Receiver
from cmr_course.simulation import CONDITIONS, MOTIONS, RHYTHMS, VIEWS, Anatomy, Lesion, Scan, Subject, simulate
from cmr_course.simulation.canvas import LABELS
from cmr_course.simulation.heart import Heart
from cmr_course.simulation.motion import STRONGEST
from cmr_course.simulation.pose import Pose

pytestmark = pytest.mark.bad_input

TINY = Scan(matrix=(17, 20), frames=1, receiver=Receiver(n_coils=2))
SLICES = {"lax": 3}
NAN = float("nan")


def run(subject, scan):
    return simulate(subject, scan, generator=torch.Generator().manual_seed(3))


def assert_sound(subjects, scan):
    """Shapes right, values finite, labels known, and the same bytes a second time."""
    acquisition, truth = run(subjects, scan)
    again, _ = run(subjects, scan)
    batch = len(subjects) * SLICES.get(scan.view, scan.slices)
    coils = scan.receiver.virtual_coils or scan.receiver.profile().n_coils
    assert acquisition.kspace.shape == (batch, scan.n_frames, coils, *scan.matrix)
    assert truth.labels.shape == truth.image.shape == (batch, scan.n_frames, *scan.matrix)
    assert truth.displacement.shape == (batch, scan.n_frames, 3, *scan.matrix)
    assert bool(torch.isfinite(torch.view_as_real(acquisition.kspace)).all())
    assert bool(torch.isfinite(truth.displacement).all())
    assert float(truth.displacement.abs().max()) < 60
    assert float(truth.image.abs().max()) > 0
    assert int(truth.labels.min()) >= 0
    assert int(truth.labels.max()) < len(LABELS)
    for values in (truth.volumes, truth.strain):
        for name, value in values.items():
            assert value.shape == (batch, scan.n_frames), name
            assert bool(torch.isfinite(value).all()), name
    assert all(float(value.min()) > -1e-6 for value in truth.volumes.values())
    assert torch.equal(acquisition.kspace, again.kspace)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_condition_in_every_view_on_an_odd_matrix(condition, view):
    assert_sound([Subject(11, condition=condition)], replace(TINY, view=view))


@pytest.mark.parametrize(
    "asked",
    [
        {"heart_rate": 30.0},
        {"heart_rate": 180.0},
        {"ejection_fraction": 0.05},
        {"ejection_fraction": 0.85},
        {"longitudinal_strain": -0.30},
        {"longitudinal_strain": 0.0},
        {"end_diastolic_volume": 40.0, "wall_thickness": 25.0},
        {"end_diastolic_volume": 450.0, "wall_thickness": 4.0},
        {"end_diastolic_volume": 450.0, "wall_thickness": 25.0},
    ],
    ids=str,
)
def test_ends_of_the_ranges_of_a_subject(asked):
    assert_sound([Subject(2, **asked)], replace(TINY, frames=3))


@pytest.mark.parametrize(
    "changed",
    [
        {"thickness": 0},
        {"thickness": 50},
        {"field_of_view": (200, 1000.0)},
        {"matrix": (16, 16), "field_of_view": (1000.0, 1000.0)},
        {"frames": 60},
        {"slices": 12, "spacing": 0.5},
        {"offset": 90.0},
        {"matrix": (np.int64(21), np.int16(18)), "field_of_view": (np.float32(300), np.float64(250))},
        {"plane": Plane((0.0, 0.0, 120.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))},
    ],
    ids=str,
)
def test_ends_of_the_ranges_of_a_scan(changed):
    assert_sound([Subject(np.int64(4))], replace(TINY, **changed))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("field", [0.55, 7.0])
def test_every_vendor_far_from_its_usual_field(vendor, field):
    receiver = Receiver(n_coils=3, vendor=vendor, field=field, dead_coils=(2,), virtual_coils=2, snr_db=-10.0)
    assert_sound([Subject(6)], replace(TINY, receiver=receiver))


@pytest.mark.parametrize("rhythm", RHYTHMS)
@pytest.mark.parametrize("motion", MOTIONS)
def test_every_rhythm_with_every_motion_in_a_mixed_batch(rhythm, motion):
    people = [Subject(seed, condition=name, rhythm=rhythm) for seed, name in enumerate(CONDITIONS)]
    assert_sound(people, replace(TINY, frames=2, motion=motion))


@pytest.mark.parametrize("radius", [0.5, 50.0])
@pytest.mark.parametrize("contrast", [-1.0, 10.0])
def test_a_lesion_anywhere(radius, contrast):
    for place in ((26.0, 11.0, 17.0), (-140.0, 0.0, -100.0), (400.0, 0.0, 0.0)):
        assert_sound([Subject(1, lesion=Lesion(place, radius, contrast))], TINY)


NOBODY = [None, [], (), 7, "7", [7], [Subject(1), None], np.array(5), torch.tensor(5), np.array([5]), torch.ones(2)]


@pytest.mark.parametrize("subject", NOBODY, ids=str)
def test_what_is_no_subject_is_named(subject):
    with pytest.raises(ValueError, match=r"^subject: got"):
        run(subject, TINY)


@pytest.mark.parametrize("subject", ["x", 3, [Subject(1)]], ids=str)
def test_an_anatomy_is_that_of_a_subject(subject):
    with pytest.raises(ValueError, match=r"^subject: got .*, want a Subject"):
        Anatomy.of(subject)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"matrix": (16, 4097)}, r"matrix: got \(16, 4097\), want two whole numbers \(ky, kx\) from 16 to 4096"),
        ({"matrix": (10**9, 16)}, "matrix: got"),
        ({"frames": 1001}, "frames: got 1001, want a whole number from 1 to 1000"),
    ],
)
def test_sizes_beyond_all_reason_are_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        replace(TINY, **changed)


def test_a_picture_with_the_body_at_its_rim_says_which():
    """Axial, its centre behind the back: there is no signal where the noise is measured against it."""
    plane = Plane((0.0, 260.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.0)
    with pytest.raises(ValueError, match="view: got behind, moved by 5 mm: only a rim of the body, want one with"):
        run(Subject(4), replace(TINY, view="behind", plane=plane, offset=5.0))


@pytest.mark.parametrize("rhythm", ["ectopic", "irregular"])
def test_an_infarct_leaves_room_for_stronger_beats(rhythm):
    """Where the regular heart empties all that moves, an odd beat would empty more than there is."""
    usual = Subject(5, condition="infarcted")
    limit = 0.97 * Heart.of(usual, Pose.of(usual)).moving
    at_most = replace(usual, ejection_fraction=limit - 1e-3)
    assert Heart.of(at_most, Pose.of(usual)).infarct is not None
    odd = replace(at_most, rhythm=rhythm)
    with pytest.raises(ValueError, match=f"ejection_fraction: got .* of its {rhythm} beats are stronger: want less"):
        Heart.of(odd, Pose.of(odd))
    allowed = replace(odd, ejection_fraction=limit / STRONGEST - 1e-3)
    heart = Heart.of(allowed, Pose.of(allowed))
    angle = torch.linspace(-3.14, 3.14, 60)[:, None]
    w = torch.linspace(0, heart.length, 50)
    motion = heart.infarct.motion(angle.cos(), angle.sin(), w)
    beat = torch.tensor(STRONGEST)
    at = heart.contours(heart.outline(angle.cos(), angle.sin()), w, beat, motion)
    assert float(at.endo.min()) >= 0
    assert_sound([allowed], TINY)


@pytest.mark.parametrize("value", [NAN, float("inf"), "60", True, [60], 1e9, torch.tensor(0.5)], ids=str)
@pytest.mark.parametrize(
    "name", ["heart_rate", "ejection_fraction", "longitudinal_strain", "end_diastolic_volume", "wall_thickness"]
)
def test_what_is_no_number_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: got"):
        Subject(1, **{name: value})
