"""Simulated measurements: physiology read off labels, physics of k-space, options, views, bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cmr_course.coils import combine, expand
from cmr_course.fourier import fft2c
from cmr_course.plane import Plane
from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.simulation import VERSION, VIEWS, Lesion, Scan, Subject, simulate

QUIET = Receiver(n_coils=2, snr_db=None)
COARSE = Scan(matrix=(64, 64), frames=8, receiver=QUIET)
FINE = Scan(matrix=(224, 224), field_of_view=(300.0, 300.0), frames=12, receiver=QUIET)
CAVITY = ("lv_blood", "papillary")
HEART = (*CAVITY, "lv_myocardium", "rv_blood", "rv_myocardium")


def run(subject, scan=COARSE, seed=0):
    return simulate(subject, scan, generator=torch.Generator().manual_seed(seed))


def chosen(truth, *names):
    return torch.stack([truth.labels == truth.label_names[name] for name in names]).any(0)


def area(truth, scan, *names):
    """Counted area of these labels, mm², (batch, frame)."""
    return chosen(truth, *names).sum((-2, -1)) * math.prod(scan.pixel_size)


def grown(mask, pixels):
    """`mask` (batch, frame, y, x) with everything within so many pixels, along rows and columns."""
    size = 2 * pixels + 1
    return torch.nn.functional.max_pool2d(mask.float(), size, stride=1, padding=pixels) > 0


SOMEBODY = Subject(3, heart_rate=72.0, ejection_fraction=0.6, end_diastolic_volume=150.0)


@pytest.fixture(scope="module")
def fine():
    return run(SOMEBODY, FINE)


@pytest.fixture(scope="module")
def long_axis():
    return run(Subject(3, longitudinal_strain=-0.16), replace(FINE, view="4ch"))


def test_version_is_the_one_that_weights_name():
    assert VERSION == "1.0"


# Physiology, read off the labels as a reader would

STACK = Scan(
    matrix=(80, 80),
    field_of_view=(200.0, 200.0),
    frames=3,  # at 65 beats a minute, the second one shows end systole
    slices=40,
    spacing=2.8,
    thickness=0.0,
    receiver=Receiver(n_coils=1, snr_db=None),
)
PEOPLE = [
    Subject(11, heart_rate=65, ejection_fraction=0.62),
    Subject(12, heart_rate=65, ejection_fraction=0.55, longitudinal_strain=-0.19),
    Subject(13, heart_rate=65, condition="dilated"),
    Subject(14, heart_rate=65, condition="hypertrophic"),
    Subject(15, heart_rate=65, condition="infarcted"),
]


def counted(subject, *names):
    """ml of these labels in each frame, from planes 1.4 mm apart: two stacks, one between the planes of the other."""
    total = 0
    for offset in (-STACK.spacing / 4, STACK.spacing / 4):
        truth = run(subject, replace(STACK, offset=offset))[1]
        total = total + area(truth, STACK, *names).sum(0) * STACK.spacing / 2000
    return total


@pytest.mark.parametrize("subject", PEOPLE, ids=lambda subject: subject.condition)
def test_ejection_fraction_and_muscle_counted_in_a_stack(subject):
    cavity, muscle, asked = counted(subject, *CAVITY), counted(subject, "lv_myocardium"), subject.physiology()
    assert float(cavity[0]) == pytest.approx(asked.end_diastolic_volume, rel=0.03)
    assert float(1 - cavity[1] / cavity[0]) == pytest.approx(asked.ejection_fraction, abs=0.01)
    assert float(muscle.max() / muscle.min()) < 1.02


@pytest.mark.parametrize("subject", PEOPLE, ids=lambda subject: subject.condition)
def test_longitudinal_strain_counted_in_a_long_axis_view(subject):
    scan = replace(STACK, view="2ch", slices=1, matrix=(200, 480), field_of_view=(200.0, 240.0))
    truth = run(subject, scan)[1]
    # In this view the axis runs along the rows, the apex to the left: from the cavity's tip to where its wall ends.
    tip = [int(frame.any(0).nonzero()[0]) for frame in chosen(truth, *CAVITY)[0]]
    base = [int(frame.any(0).nonzero()[-1]) for frame in chosen(truth, "lv_myocardium")[0]]
    length = (torch.tensor(base) - torch.tensor(tip) + 1) * scan.pixel_size[1]
    empty = int(truth.volumes["lv_ml"][0].argmin())
    strain = float(length[empty] / length[0] - 1)
    assert strain == pytest.approx(subject.physiology().longitudinal_strain, abs=0.01)
    assert float(truth.strain["longitudinal"][0, empty]) == pytest.approx(strain, abs=0.01)


def test_circumferential_strain_of_tracked_tissue(fine):
    _, truth = fine
    empty = int(truth.volumes["lv_ml"][0].argmin())
    cavity = chosen(truth, *CAVITY)[0]
    rim = (grown(cavity[None], 1)[0] & ~cavity)[empty]  # the innermost ring of muscle
    y, x = rim.nonzero().T
    centre = cavity[empty].nonzero().float().mean(0)
    pixel = FINE.pixel_size[0]
    now = torch.stack([y, x]).float() * pixel
    then = now - truth.displacement[0, empty, :2][:, y, x]
    radius = [(place - centre[:, None] * pixel).norm(dim=0).mean() for place in (then, now)]
    # Tissue is followed through the slice too, so this is its own strain and not that of the slice.
    assert float(radius[1] / radius[0] - 1) == pytest.approx(float(truth.strain["circumferential"][0, empty]), abs=0.03)


def test_counted_areas_are_the_true_ones(fine):
    _, truth = fine
    torch.testing.assert_close(area(truth, FINE, *CAVITY), truth.volumes["lv_area_mm2"], rtol=0.02, atol=0)
    wall = area(truth, FINE, "lv_myocardium")
    torch.testing.assert_close(wall, truth.volumes["lv_myocardium_area_mm2"], rtol=0.025, atol=0)
    torch.testing.assert_close(area(truth, FINE, "rv_blood"), truth.volumes["rv_area_mm2"], rtol=0.03, atol=0)


def test_long_axis_views_tell_volumes_and_no_areas(long_axis):
    _, truth = long_axis
    assert set(truth.volumes) == {"lv_ml", "lv_myocardium_ml", "rv_ml"}


# Motion


def pull_back(field, truth, scan, frame):
    """`field` (y, x) of the first frame, carried to `frame` along the displacement in the plane."""
    size = field.shape[-1]
    pixels = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).float()
    came_from = pixels - truth.displacement[0, frame, :2] / torch.tensor(scan.pixel_size)[:, None, None]
    y, x = (2 * came_from + 1) / size - 1
    grid = torch.stack([x, y], -1)[None]
    return torch.nn.functional.grid_sample(field[None, None].float(), grid, align_corners=False)[0, 0]


@pytest.mark.parametrize("names", [("lv_myocardium",), CAVITY, ("rv_blood",), ("liver",)])
def test_displacement_carries_tissue_from_end_diastole_to_end_systole(long_axis, names):
    # A long-axis view, in which hardly anything leaves the plane.
    _, truth = long_axis
    systole = int(truth.volumes["lv_ml"][0].argmin())
    inside = chosen(truth, *names)[0]
    if not bool(inside.any()):
        pytest.skip("this view of this subject does not show it")
    carried = pull_back(inside[0], truth, FINE, systole) > 0.5
    overlap = 2 * (carried & inside[systole]).sum() / (carried.sum() + inside[systole].sum())
    unmoved = 2 * (inside[0] & inside[systole]).sum() / (inside[0].sum() + inside[systole].sum())
    assert overlap > 0.93
    assert overlap > unmoved or names == ("liver",)


def test_displacement_is_zero_at_first_and_small_in_the_wall_of_the_chest(fine):
    _, truth = fine
    assert float(truth.displacement[:, 0].abs().max()) < 5e-3
    moved = truth.displacement[0].norm(dim=1).amax(0)
    assert float(moved[chosen(truth, "background")[0].all(0)].max()) < 1.2  # the beat lifts the front of the wall
    assert float(moved[chosen(truth, "lv_myocardium")[0].all(0)].min()) > 1


def test_the_base_comes_through_the_slice(fine):
    _, truth = fine
    systole = int(truth.volumes["lv_ml"][0].argmin())
    wall = chosen(truth, "lv_myocardium")[0, systole]
    through = truth.displacement[0, systole, 2][wall].mean()  # along right × down, towards the base
    strain = float(truth.strain["longitudinal"][0, systole])
    assert strain == pytest.approx(SOMEBODY.physiology().longitudinal_strain, abs=1e-3)
    # Half way down a ventricle of some 90 mm, tissue sinks by half of what its base does.
    assert -12 < float(through) < -4


def test_texture_moves_with_the_tissue(long_axis):
    _, truth = long_axis
    systole = int(truth.volumes["lv_ml"][0].argmin())
    inside = ~grown(~chosen(truth, "lv_myocardium"), 2)[0, systole]
    first, last = truth.magnitude()[0, 0], truth.magnitude()[0, systole]
    before = (last - first)[inside].square().mean()
    after = (last - pull_back(first, truth, FINE, systole))[inside].square().mean()
    assert after < 0.5 * before


def test_nothing_is_still_but_the_chest_wall(fine):
    _, truth = fine
    change = truth.magnitude()[0].std(0)
    for name in ("lung", "lv_blood", "lv_myocardium"):
        region = chosen(truth, name)[0].all(0)
        assert float((change[region] > 0).float().mean()) > 0.95, name


def test_frozen_and_reversed_hearts():
    scan = replace(COARSE, frames=6)
    usual, frozen, back = (run(Subject(2), replace(scan, motion=m))[1] for m in ("beating", "frozen", "reversed"))
    torch.testing.assert_close(frozen.labels, usual.labels[:, :1].expand_as(frozen.labels))
    # The receiver's intensity is one on average over the muscle of all frames: another factor.
    torch.testing.assert_close(frozen.image, usual.image[:, :1].expand_as(frozen.image), rtol=0.01, atol=0.01)
    torch.testing.assert_close(frozen.image[:, 1:], frozen.image[:, :1].expand_as(frozen.image[:, 1:]))
    assert torch.equal(back.labels[:, 1:], usual.labels[:, 1:].flip(1))
    assert torch.equal(back.labels[:, 0], usual.labels[:, 0])


# Views


def size(truth, name):
    return int(chosen(truth, name)[0, 0].sum())


@pytest.mark.parametrize("seed", [0, 5, 9])
def test_each_view_shows_what_it_is_named_for(seed):
    wanted = {
        "sax": ("lv_blood", "rv_blood", "lv_myocardium"),
        "2ch": ("lv_blood", "la_blood"),
        "3ch": ("lv_blood", "la_blood", "aorta"),
        "4ch": ("lv_blood", "rv_blood", "la_blood", "ra_blood"),
        "lvot": ("lv_blood", "aorta"),
        "aorta_sag": ("aorta",),
        "aorta_tra": ("aorta", "pulmonary_artery", "vena_cava"),
    }
    scan = replace(COARSE, matrix=(120, 120), frames=1)
    for view, names in wanted.items():
        truth = run(Subject(seed), replace(scan, view=view))[1]
        for name in names:
            assert size(truth, name) > 12, (view, name)
    assert set(wanted) | {"lax"} == set(VIEWS)


def test_lax_is_its_three_views():
    lax = run(Subject(4), replace(COARSE, view="lax"))[1]
    for item, view in enumerate(("3ch", "2ch", "4ch")):
        assert torch.equal(lax.labels[item], run(Subject(4), replace(COARSE, view=view))[1].labels[0])


def test_a_stack_runs_from_base_to_apex_and_is_made_of_its_slices():
    scan = replace(COARSE, slices=5, spacing=14.0)
    truth = run(Subject(4), scan)[1]
    areas = truth.volumes["lv_area_mm2"][:, 0]
    assert areas.argmax() < 3
    assert areas[4] == areas.min()
    middle = run(Subject(4), COARSE)[1]
    assert torch.equal(truth.labels[2], middle.labels[0])
    # The normal points to the base.
    towards_base = run(Subject(4), replace(COARSE, offset=14.0))[1]
    assert torch.equal(truth.labels[1], towards_base.labels[0])


def test_any_plane_can_be_imaged():
    axial = Plane((10.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    acquisition, truth = run(Subject(4), replace(COARSE, view="axial", plane=axial))
    assert acquisition.about.view == "axial"
    assert bool(chosen(truth, "lv_blood", "rv_blood").any())
    assert bool(chosen(truth, "lung").any())


def test_a_thick_slice_is_the_mean_of_thin_ones():
    scan = replace(COARSE, matrix=(96, 96), frames=1)
    thick = run(Subject(4), replace(scan, thickness=12.0))[1].magnitude()
    offsets = [12.0 * (k - 3.5) / 8 for k in range(8)]
    thin = [run(Subject(4), replace(scan, thickness=0.0, offset=d))[1].image.real for d in (0.0, *offsets)]
    mean = torch.stack(thin[1:]).mean(0).abs()
    heart = grown(chosen(run(Subject(4), scan)[1], *HEART), 2)
    error = (thick - mean)[heart].square().mean()
    assert float(error) < 0.25 * float((thin[0].abs() - mean)[heart].square().mean())


@pytest.mark.bad_input
@pytest.mark.parametrize("offset", [-500.0, 500.0])
def test_a_slice_outside_the_body_is_refused(offset):
    with pytest.raises(ValueError, match=f"moved by {offset:g} mm: outside the body"):
        run(Subject(1), replace(COARSE, view="sax" if offset < 0 else "4ch", offset=offset))


# Randomness


def test_the_same_seeds_give_the_same_bytes():
    scan = replace(COARSE, receiver=Receiver(n_coils=3))
    (one, first), (two, second) = run(Subject(5), scan, 7), run(Subject(5), scan, 7)
    assert torch.equal(one.kspace, two.kspace)
    assert torch.equal(first.labels, second.labels)
    assert torch.equal(first.displacement, second.displacement)


def test_subjects_differ():
    labels = run([Subject(1), Subject(2)])[1].labels
    assert float((labels[0] != labels[1]).float().mean()) > 0.05


def test_the_generator_changes_the_scan_and_not_the_person():
    scan = replace(COARSE, receiver=Receiver(n_coils=3))
    (one, first), (two, second) = run(Subject(5), scan, 7), run(Subject(5), scan, 8)
    assert not torch.equal(one.kspace, two.kspace)
    assert torch.equal(first.labels, second.labels)
    torch.testing.assert_close(first.magnitude(), second.magnitude(), rtol=1e-4, atol=1e-5)


def test_a_batch_holds_what_its_members_are_alone():
    together = run([Subject(4), Subject(9)])[1]
    alone = run(Subject(9))[1]
    assert torch.equal(together.labels[1:], alone.labels)
    torch.testing.assert_close(together.strain["radial"][1:], alone.strain["radial"])


def test_a_finer_matrix_shows_the_same_person():
    coarse = run(Subject(6), replace(COARSE, matrix=(48, 48)))[1]
    fine = run(Subject(6), replace(COARSE, matrix=(96, 144)))[1]
    agree = coarse.labels == fine.labels[:, :, ::2, ::3]
    assert float(agree.float().mean()) > 0.97


# Options


@pytest.mark.parametrize("rhythm", ["ectopic", "irregular"])
def test_odd_beats_smear_the_picture_and_leave_the_truth(rhythm):
    (usual, truth), (odd, same) = (run(Subject(5, rhythm=r), seed=7) for r in ("regular", rhythm))
    assert torch.equal(truth.image, same.image)
    assert torch.equal(truth.labels, same.labels)
    lines = (usual.kspace != odd.kspace).any(-1).any(2)[0, 1:]  # the first frame is end diastole in every beat
    share = float(lines.float().mean())
    assert 0.1 < share < (0.7 if rhythm == "ectopic" else 1.01)
    error = (combine(odd.coil_images(), truth.sensitivities) - truth.image).abs()
    outside = ~grown(chosen(truth, *HEART), 6)
    assert float(error[:, 2:][outside[:, 2:]].max()) > 0.02  # ghosts


def test_a_lesion_is_where_it_was_put_and_moves_with_the_muscle():
    plain = run(Subject(3), FINE)[1]
    wall = chosen(plain, "lv_myocardium")[0, 0]
    y, x = (int(v) for v in wall.nonzero()[int(wall.sum()) // 3])
    place = _place(Subject(3), FINE, y, x)
    with_lesion = run(Subject(3, lesion=Lesion(place, radius=3.0, contrast=1.0)), FINE)[1]
    assert torch.equal(plain.labels, with_lesion.labels)
    change = (with_lesion.magnitude() - plain.magnitude())[0].abs()
    peak = change[0].flatten().argmax()
    assert abs(int(peak) // 224 - y) <= 2
    assert abs(int(peak) % 224 - x) <= 2
    far = torch.ones_like(wall)
    far[max(0, y - 20) : y + 20, max(0, x - 20) : x + 20] = False
    assert float(change[:, far].max()) < 0.05


def _place(subject, scan, y, x):
    from cmr_course.simulation.render import Anatomy
    from cmr_course.simulation.views import planes

    anatomy = Anatomy.of(subject)
    (plane,) = planes(subject, scan, anatomy.heart, anatomy.vessels)
    return tuple(float(v) for v in plane.points(scan.matrix, scan.field_of_view)[:, y, x])


def test_options_change_no_other_draw():
    noisy = replace(COARSE, receiver=Receiver(n_coils=3))
    usual = run(Subject(5), noisy, 7)[0]
    lesion = Lesion((0.0, 0.0, -400.0), contrast=0.5)  # in nobody's tissue
    assert torch.equal(run(Subject(5, lesion=lesion), noisy, 7)[0].kspace, usual.kspace)
    odd = run(Subject(5, rhythm="ectopic"), noisy, 7)[0]
    same = (odd.kspace == usual.kspace).all(-1).all(2)[0]
    assert bool(same.any())
    assert not bool(same.all())


# The measurement


@pytest.mark.parametrize("view", ["sax", "4ch", "aorta_tra"])
def test_kspace_is_the_transform_of_coil_times_image(view):
    acquisition, truth = run(Subject(8), replace(COARSE, view=view, receiver=Receiver(n_coils=4, snr_db=None)))
    expected = fft2c(expand(truth.image, truth.sensitivities))
    assert float((acquisition.kspace - expected).norm() / expected.norm()) < 1e-5
    assert acquisition.noise_covariance is None


def test_snr_is_measured_in_the_myocardium():
    scan = replace(COARSE, matrix=(128, 128), frames=12, receiver=Receiver(n_coils=4, snr_db=25.0))
    acquisition, truth = run(Subject(8), scan)
    noise = combine(acquisition.coil_images(), truth.sensitivities) - truth.image
    wall = chosen(truth, "lv_myocardium")
    ratio = truth.magnitude()[wall].mean() / torch.view_as_real(noise)[wall].std()
    assert float(ratio) == pytest.approx(10 ** (25 / 20), rel=0.03)
    assert acquisition.about.snr_region == "labelled left-ventricular myocardium"


def test_without_myocardium_the_snr_is_that_of_the_signal():
    about = run(Subject(8), replace(COARSE, view="aorta_tra", receiver=Receiver(n_coils=2)))[0].about
    assert about.snr_region.startswith("above 20 %")


def test_coils_see_each_view_from_where_it_lies():
    scans = [replace(COARSE, view=view, receiver=Receiver(n_coils=4, snr_db=None)) for view in ("sax", "4ch")]
    short, long = (run(Subject(8), scan)[1].sensitivities for scan in scans)
    assert float((short.abs() - long.abs()).abs().mean()) > 0.05


@pytest.mark.parametrize("matrix", [(64, 48), (33, 40), (31, 51)])
def test_odd_and_oblong_matrices(matrix):
    acquisition, truth = run(Subject(0), replace(COARSE, matrix=matrix, frames=3))
    assert acquisition.kspace.shape == (1, 3, 2, *matrix)
    assert truth.image.shape == truth.labels.shape == (1, 3, *matrix)
    assert truth.displacement.shape == (1, 3, 3, *matrix)
    assert acquisition.about.pixel_size == pytest.approx((360 / matrix[0], 360 / matrix[1]))


def test_the_picture_lies_where_the_labels_say():
    for matrix in ((64, 64), (63, 65)):
        _, truth = run(Subject(0), replace(COARSE, matrix=matrix, frames=1))
        bright = chosen(truth, "lv_blood", "rv_blood")[0, 0].float()
        picture = truth.magnitude()[0, 0] * grown(chosen(truth, "lv_blood", "rv_blood"), 2)[0, 0]
        match = [float((torch.roll(bright, shift, (0, 1)) * picture).sum()) for shift in SHIFTS]
        assert match.index(max(match)) == 0


SHIFTS = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]


def test_blood_is_about_three_times_as_bright_as_muscle(fine):
    _, truth = fine
    inner = {name: ~grown(~chosen(truth, name), 2)[0, 0] for name in ("lv_blood", "lv_myocardium", "lung")}
    mean = {name: float(truth.magnitude()[0, 0][region].mean()) for name, region in inner.items()}
    assert 2.3 < mean["lv_blood"] / mean["lv_myocardium"] < 3.6
    assert mean["lung"] < 0.2 * mean["lv_blood"]


def test_sampling_is_applied():
    scan = replace(COARSE, sampling=Sampling("uniform", 4))
    full, truth = run(Subject(1))
    acquisition, same = run(Subject(1), scan)
    assert acquisition.realised_acceleration > 1.5
    assert acquisition.about.nominal_acceleration == 4
    assert torch.equal(acquisition.kspace, full.kspace * acquisition.mask)
    assert torch.equal(truth.image, same.image)
    assert acquisition.about.origin == "simulated"


# Bad input


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Subject(-1), "seed: got -1"),
        (lambda: Subject(1.5), "seed: got 1.5"),
        (lambda: Lesion((0, 0)), r"place: got \(0, 0\)"),
        (lambda: Lesion((0, 0, 0), radius=0), "radius: got 0, want 0.5 to 50 mm"),
        (lambda: Lesion((0, 0, 0), contrast=-2), "contrast: got -2"),
        (lambda: Scan(frames=0), "frames: got 0"),
        (lambda: Scan(view="5ch"), "view: got '5ch', want one of sax, 2ch"),
        (lambda: Scan(contrast="t1map"), "contrast: got 't1map', want one of cine"),
        (lambda: Scan(motion="still"), "motion: got 'still', want one of beating"),
        (lambda: Scan(matrix=(8, 128)), r"matrix: got \(8, 128\)"),
        (lambda: Scan(matrix=128), "matrix: got 128"),
        (lambda: Scan(matrix=(64.0, 64)), "matrix: got"),
        (lambda: Scan(field_of_view=(0.0, 340.0)), "field_of_view: got"),
        (lambda: Scan(slices=0), "slices: got 0"),
        (lambda: Scan(view="4ch", slices=3), "slices: got 3 in view 4ch, want 1"),
        (lambda: Scan(thickness=-1), "thickness: got -1"),
        (lambda: Scan(offset=float("nan")), "offset: got nan"),
        (lambda: Scan(plane="sax"), "plane: got 'sax', want a Plane or None"),
        (lambda: Plane((0, 0, 0), (2, 0, 0), (0, 1, 0)), "right: got a length of 2, want a unit vector"),
        (lambda: Plane((0, 0, 0), (1, 0, 0), (1, 0, 0)), "down: got a direction not perpendicular"),
        (lambda: Scan(receiver="coil"), "receiver: got 'coil'"),
        (lambda: Scan(sampling="uniform"), "sampling: got 'uniform'"),
        (lambda: Scan(receiver=Receiver(n_coils=0)), "n_coils: got 0"),
        (lambda: run([]), "subject: got"),
        (lambda: run("3"), "subject: got '3'"),
        (lambda: simulate(Subject(1), "sax", generator=torch.Generator()), "scan: got 'sax'"),
        (lambda: simulate(Subject(1), Scan(), generator=None), "generator: got None"),
    ],
)
def test_bad_input_is_named(build, says):
    with pytest.raises(ValueError, match=says) as error:
        build()
    assert "\n" not in str(error.value)


@pytest.mark.bad_input
def test_the_default_dtype_of_the_process_changes_no_heart():
    subject, scan = Subject(4), replace(COARSE, matrix=(32, 30), frames=2)
    usual, truth = run(subject, scan)
    torch.set_default_dtype(torch.float64)
    try:
        other, other_truth = run(subject, scan)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(usual.kspace, other.kspace)
    assert torch.equal(truth.displacement, other_truth.displacement)
