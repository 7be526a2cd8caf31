"""The simulated heart: physiology asked for is met, anatomy is plausible, k-space is the transform of the image."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cmr_course.coils import combine, expand
from cmr_course.fourier import fft2c
from cmr_course.receiver import Receiver
from cmr_course.sampling import Sampling
from cmr_course.simulation import VERSION, Scan, Subject, simulate

QUIET = Receiver(n_coils=2, snr_db=None)
COARSE = Scan(matrix=(64, 64), frames=8, receiver=QUIET)
FINE = Scan(matrix=(256, 256), field_of_view=(300.0, 300.0), frames=12, receiver=QUIET)
CAVITY = ("lv_blood", "papillary")


def run(subject, scan=COARSE, seed=0):
    return simulate(subject, scan, generator=torch.Generator().manual_seed(seed))


def area(truth, scan, *names):
    """Counted area of these labels, mm², (batch, frame)."""
    return chosen(truth, *names).sum((-2, -1)) * math.prod(scan.pixel_size)


def chosen(truth, *names):
    return torch.stack([truth.labels == truth.label_names[name] for name in names]).any(0)


def grown(mask, pixels):
    """`mask` (batch, frame, y, x) with everything within so many pixels, along rows and columns."""
    size = 2 * pixels + 1
    return torch.nn.functional.max_pool2d(mask.float(), size, stride=1, padding=pixels) > 0


@pytest.fixture(scope="module")
def fine():
    subject = Subject(3, heart_rate=72.0, area_change=0.5, cavity_radius=25.0, wall_thickness=8.0)
    return run(subject, FINE)


@pytest.fixture(scope="module")
def many():
    """Fifty subjects at once, without a receiver to speak of."""
    scan = replace(COARSE, matrix=(96, 96), frames=6, receiver=Receiver(n_coils=1, snr_db=None))
    return run([Subject(seed) for seed in range(50)], scan)[1], scan


def test_version_is_the_one_that_weights_name():
    assert VERSION == "0.1"


# Physiology


def test_what_was_asked_for_is_met(fine):
    acquisition, truth = fine
    lv = truth.volumes["lv_area_mm2"][0]
    assert lv[0] == pytest.approx(math.pi * 25.0**2, rel=1e-6)
    assert truth.volumes["myocardium_area_mm2"][0, 0] == pytest.approx(math.pi * (33.0**2 - 25.0**2), rel=1e-6)
    assert float(1 - lv.min() / lv[0]) == pytest.approx(0.5, abs=1e-6)
    assert acquisition.about.times == pytest.approx([60_000 / 72 * k / 12 for k in range(12)])


def test_counted_areas_are_the_true_ones(fine):
    _, truth = fine
    counted = area(truth, FINE, *CAVITY)
    torch.testing.assert_close(counted, truth.volumes["lv_area_mm2"], rtol=0.02, atol=0)
    wall = area(truth, FINE, "lv_myocardium")
    torch.testing.assert_close(wall, truth.volumes["myocardium_area_mm2"], rtol=0.02, atol=0)
    torch.testing.assert_close(area(truth, FINE, "rv_blood"), truth.volumes["rv_area_mm2"], rtol=0.02, atol=0)
    assert float(1 - counted.min() / counted[0, 0]) == pytest.approx(0.5, abs=0.01)
    assert float(wall.max() / wall.min()) < 1.02


@pytest.mark.parametrize("frames", [6, 8, 12, 20, 25])
@pytest.mark.parametrize("rate", [45.0, 75.0, 120.0])
def test_a_frame_shows_end_systole(frames, rate):
    scan = replace(COARSE, matrix=(16, 16), frames=frames)
    lv = run(Subject(1, heart_rate=rate, area_change=0.4), scan)[1].volumes["lv_area_mm2"][0]
    assert float(1 - lv.min() / lv[0]) == pytest.approx(0.4, abs=0.01)
    assert float(lv.max()) == float(lv[0])


def test_the_beat_has_the_phases_of_a_heart():
    scan = replace(COARSE, matrix=(16, 16), frames=200)
    acquisition, truth = run(Subject(2, heart_rate=60.0), scan)
    lv = truth.volumes["lv_area_mm2"][0].double()
    times = torch.tensor(acquisition.about.times)
    volume = (lv - lv.min()) / (lv.max() - lv.min())
    empty = times[volume < 1e-6]
    assert 0.3 < float(empty[0]) / 1000 < 0.4  # systole takes about a third of the beat
    rate = volume.diff() / (1000 / 200)
    during = {name: rate[(times[1:] > low) & (times[1:] < high)] for name, low, high in PHASES}
    assert during["ejection"].max() <= 0
    assert during["early filling"].max() > 3 * during["diastasis"].abs().max()
    assert during["atrial kick"].max() > 3 * during["diastasis"].abs().max()
    assert 0.7 < float(volume[times > 760][0]) < 0.9  # before the kick


PHASES = [("ejection", 60, 330), ("early filling", 430, 600), ("diastasis", 640, 860), ("atrial kick", 900, 999)]


def test_strain_follows_from_the_radii(fine):
    _, truth = fine
    lv, wall = (truth.volumes[name].double() for name in ("lv_area_mm2", "myocardium_area_mm2"))
    endo, epi = (lv / math.pi).sqrt(), ((lv + wall) / math.pi).sqrt()
    thickness = epi - endo
    torch.testing.assert_close(truth.strain["circumferential"].double(), endo / endo[:, :1] - 1, atol=1e-5, rtol=0)
    torch.testing.assert_close(truth.strain["radial"].double(), thickness / thickness[:, :1] - 1, atol=1e-5, rtol=0)
    assert float(truth.strain["circumferential"].min()) == pytest.approx(math.sqrt(0.5) - 1, abs=1e-5)


# Motion


def pull_back(field, truth, scan, frame):
    """`field` (y, x) of the first frame, carried to `frame` along the displacement."""
    size = field.shape[-1]
    pixels = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).float()
    came_from = pixels - truth.displacement[0, frame] / torch.tensor(scan.pixel_size)[:, None, None]
    y, x = (2 * came_from + 1) / size - 1
    grid = torch.stack([x, y], -1)[None]
    return torch.nn.functional.grid_sample(field[None, None].float(), grid, align_corners=False)[0, 0]


@pytest.mark.parametrize("names", [("lv_myocardium",), CAVITY, ("rv_blood",), ("liver",)])
def test_displacement_carries_tissue_from_end_diastole_to_end_systole(fine, names):
    _, truth = fine
    systole = int(truth.volumes["lv_area_mm2"][0].argmin())
    inside = chosen(truth, *names)[0]
    carried = pull_back(inside[0], truth, FINE, systole) > 0.5
    overlap = 2 * (carried & inside[systole]).sum() / (carried.sum() + inside[systole].sum())
    unmoved = 2 * (inside[0] & inside[systole]).sum() / (inside[0].sum() + inside[systole].sum())
    assert overlap > 0.97
    assert overlap > unmoved or names == ("liver",)


def test_displacement_is_zero_at_first_smooth_and_never_folds(many):
    truth, scan = many
    assert float(truth.displacement[:, 0].abs().max()) < 1e-3
    # The inverse map x - d(x) keeps its orientation: its Jacobian stays positive.
    step_y, step_x = scan.pixel_size
    source = -truth.displacement
    by_y = source.diff(dim=-2)[..., :, :-1] / step_y
    by_x = source.diff(dim=-1)[..., :-1, :] / step_x
    jacobian = (1 + by_y[:, :, 0]) * (1 + by_x[:, :, 1]) - by_y[:, :, 1] * by_x[:, :, 0]
    assert float(jacobian.min()) > 0


def test_myocardium_keeps_its_area_point_by_point(fine):
    _, truth = fine
    systole = int(truth.volumes["lv_area_mm2"][0].argmin())
    by_y, by_x = torch.gradient(-truth.displacement[0, systole], dim=(-2, -1), spacing=FINE.pixel_size[0])
    jacobian = (1 + by_y[0]) * (1 + by_x[1]) - by_y[1] * by_x[0]
    wall = ~grown(~chosen(truth, "lv_myocardium"), 2)[0, systole]
    assert float((jacobian[wall] - 1).abs().mean()) < 0.03


def test_texture_moves_with_the_tissue(fine):
    _, truth = fine
    systole = int(truth.volumes["lv_area_mm2"][0].argmin())
    inside = ~grown(~chosen(truth, "liver"), 3)[0, systole]
    first, last = truth.magnitude()[0, 0], truth.magnitude()[0, systole]
    before = (last - first)[inside].square().mean()
    after = (last - pull_back(first, truth, FINE, systole))[inside].square().mean()
    assert after < before


def test_nothing_is_still_but_the_chest_wall(fine):
    _, truth = fine
    change = truth.magnitude()[0].std(0)
    for name in ("lung", "liver", "aorta", "lv_blood"):
        region = chosen(truth, name)[0].all(0)
        assert float((change[region] > 0).float().mean()) > 0.95, name
    moved = truth.displacement[0].norm(dim=1).amax(0)
    assert float(moved[chosen(truth, "background")[0].all(0)].max()) < 1e-3
    assert float(moved[chosen(truth, "lung")[0].all(0)].median()) > 0.1


# Anatomy


def test_no_organ_lies_outside_the_body(many):
    truth, _ = many
    near_air = grown(chosen(truth, "background"), 1)
    organs = [name for name in truth.label_names if name not in ("background", "fat", "muscle")]
    for name in organs:
        assert not bool((chosen(truth, name) & near_air).any()), name


def test_the_heart_lies_inside_the_chest(many):
    truth, _ = many
    heart = chosen(truth, "lv_blood", "lv_myocardium", "papillary", "rv_blood", "rv_myocardium")
    wall = chosen(truth, "fat", "muscle", "bone", "background")
    assert not bool((grown(heart, 1) & wall).any())
    assert bool(heart.flatten(2).any(-1).all())


def test_every_subject_has_every_organ(many):
    truth, _ = many
    for name in ("lung", "liver", "aorta", "lv_blood", "lv_myocardium", "rv_blood", "rv_myocardium", "papillary"):
        assert bool(chosen(truth, name).flatten(2).any(-1).all()), name


def test_walls_are_thick_enough_and_ventricles_apart(many):
    truth, _ = many
    lv, wall = truth.volumes["lv_area_mm2"], truth.volumes["myocardium_area_mm2"]
    thickness = ((lv + wall) / math.pi).sqrt() - (lv / math.pi).sqrt()
    assert float(thickness.min()) > 5
    # 3.5 mm pixels: the septum is at least one pixel between the cavities everywhere.
    assert not bool((grown(chosen(truth, *CAVITY), 1) & chosen(truth, "rv_blood")).any())
    change = 1 - truth.volumes["rv_area_mm2"].amin(1) / truth.volumes["rv_area_mm2"][:, 0]
    assert bool((change > 0.35).all())  # lower limit of normal, Rudski et al. 2010, doi:10.1016/j.echo.2010.05.010
    assert bool((change < 0.65).all())


def test_papillary_muscles_stay_inside_the_cavity(fine):
    _, truth = fine
    muscle = chosen(truth, "papillary")
    around = grown(muscle, 1) & ~chosen(truth, "papillary", "lv_blood", "lv_myocardium")
    assert not bool(around.any())
    counted = area(truth, FINE, "papillary")[0]
    assert float(counted.min()) > 60


def test_blood_is_about_three_times_as_bright_as_muscle(fine):
    _, truth = fine
    inner = {name: ~grown(~chosen(truth, name), 2)[0, 0] for name in ("lv_blood", "lv_myocardium", "lung")}
    mean = {name: float(truth.magnitude()[0, 0][region].mean()) for name, region in inner.items()}
    assert 2.3 < mean["lv_blood"] / mean["lv_myocardium"] < 3.5
    assert mean["lung"] < 0.2 * mean["lv_blood"]


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


def test_what_is_given_changes_nothing_else():
    drawn = Subject(5).physiology()
    given = Subject(5, heart_rate=90.0).physiology()
    assert replace(given, heart_rate=drawn.heart_rate) == drawn
    whole = run(Subject(5, cavity_radius=drawn.cavity_radius))[1]
    assert torch.equal(whole.labels, run(Subject(5))[1].labels)


def test_a_batch_holds_what_its_members_are_alone():
    together = run([Subject(4), Subject(9)])[1]
    alone = run(Subject(9))[1]
    assert torch.equal(together.labels[1:], alone.labels)
    torch.testing.assert_close(together.strain["radial"][1:], alone.strain["radial"])


def test_a_finer_matrix_shows_the_same_person():
    coarse = run(Subject(6), replace(COARSE, matrix=(48, 48)))[1]
    fine = run(Subject(6), replace(COARSE, matrix=(96, 144)))[1]
    agree = coarse.labels == fine.labels[:, :, ::2, ::3]
    assert float(agree.float().mean()) > 0.98


# The measurement


def test_kspace_is_the_transform_of_coil_times_image():
    acquisition, truth = run(Subject(8), replace(COARSE, receiver=Receiver(n_coils=4, snr_db=None)))
    expected = fft2c(expand(truth.image, truth.sensitivities))
    assert float((acquisition.kspace - expected).norm() / expected.norm()) < 1e-5
    assert acquisition.noise_covariance is None


def test_snr_is_measured_in_the_myocardium():
    scan = replace(COARSE, matrix=(96, 96), receiver=Receiver(n_coils=4, snr_db=25.0))
    acquisition, truth = run(Subject(8), scan)
    noise = combine(acquisition.coil_images(), truth.sensitivities) - truth.image
    wall = chosen(truth, "lv_myocardium")
    ratio = truth.magnitude()[wall].mean() / torch.view_as_real(noise)[wall].std()
    assert 20 * math.log10(float(ratio)) == pytest.approx(25.0, abs=0.6)
    assert acquisition.about.snr_region == "labelled left-ventricular myocardium"


@pytest.mark.parametrize("matrix", [(64, 48), (33, 40), (31, 51)])
def test_odd_and_oblong_matrices(matrix):
    acquisition, truth = run(Subject(0), replace(COARSE, matrix=matrix, frames=3))
    assert acquisition.kspace.shape == (1, 3, 2, *matrix)
    assert truth.image.shape == truth.labels.shape == (1, 3, *matrix)
    assert truth.displacement.shape == (1, 3, 2, *matrix)
    assert acquisition.about.pixel_size == pytest.approx((360 / matrix[0], 360 / matrix[1]))


def test_the_picture_lies_where_the_labels_say():
    for matrix in ((64, 64), (63, 65)):
        _, truth = run(Subject(0), replace(COARSE, matrix=matrix, frames=1))
        blood = chosen(truth, "lv_blood", "rv_blood", "lung", "lv_myocardium")[0, 0].float()
        bright = chosen(truth, "lv_blood", "rv_blood")[0, 0].float()
        picture = truth.magnitude()[0, 0] * grown(chosen(truth, "lv_blood", "rv_blood"), 2)[0, 0]
        match = [float((torch.roll(bright, shift, (0, 1)) * picture).sum()) for shift in SHIFTS]
        assert blood.sum() > bright.sum()
        assert match.index(max(match)) == 0


SHIFTS = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]


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
        (lambda: Subject(1, area_change=1.2), "area_change: got 1.2"),
        (lambda: Subject(1, heart_rate=float("nan")), "heart_rate: got nan"),
        (lambda: Subject(1, wall_thickness="thick"), "wall_thickness: got 'thick'"),
        (lambda: Subject(-1), "seed: got -1"),
        (lambda: Subject(1.5), "seed: got 1.5"),
        (lambda: Scan(frames=0), "frames: got 0"),
        (lambda: Scan(view="4ch"), "view: got '4ch', want one of sax"),
        (lambda: Scan(contrast="t1map"), "contrast: got 't1map', want one of cine"),
        (lambda: Scan(matrix=(8, 128)), r"matrix: got \(8, 128\)"),
        (lambda: Scan(matrix=128), "matrix: got 128"),
        (lambda: Scan(field_of_view=(0.0, 340.0)), "field_of_view: got"),
        (lambda: Scan(receiver="coil"), "receiver: got str"),
        (lambda: Scan(sampling="uniform"), "sampling: got str"),
        (lambda: Scan(receiver=Receiver(n_coils=0)), "n_coils: got 0"),
        (lambda: run([]), "subject: got"),
        (lambda: run("3"), "subject: got '3'"),
        (lambda: simulate(Subject(1), "sax", generator=torch.Generator()), "scan: got str"),
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
