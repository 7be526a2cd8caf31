"""Every contrast against what it is for: times that a fit finds again, tags that measure strain, flow that adds up."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from scipy import ndimage
from scipy.integrate import solve_ivp

from cmr_course.metrics import fit_T1, fit_T2, flow_curve, net_volume, tag_spacing, tag_strain, velocity_map
from cmr_course.metrics.mapping import myocardium_core
from cmr_course.receiver import Receiver
from cmr_course.simulation import CONTRASTS, VIEWS, Anatomy, Scan, Subject, scans, simulate
from cmr_course.simulation.brightness import Brightness, brightness
from cmr_course.simulation.measurement import _currents, _moments
from cmr_course.simulation.motion import Beat
from cmr_course.simulation.perfusion import FirstPass
from cmr_course.simulation.render import render
from cmr_course.simulation.sequences import (
    BalancedSSFP,
    InversionRecovery,
    LateEnhancement,
    PhaseContrast,
    SaturationRecovery,
    SpinEcho,
    SpinLock,
    T2Preparation,
    Tagging,
)
from cmr_course.simulation.tissue import NAMES, Composition
from cmr_course.simulation.views import planes

FIVE = (100, 101, 102, 103, 104)
SILENT = Receiver(snr_db=None)
MUSCLE, BLOOD, SCAR = (NAMES.index(name) for name in ("myocardium", "blood", "scar"))


@functools.cache
def imaged(seed, contrast, view="sax", condition="normal", **settings):
    """Acquisition and truth of one slice without noise, in pixels of 1.4 mm."""
    scan = Scan(view, contrast, matrix=(256, 256), receiver=SILENT, **settings)
    return simulate(Subject(seed, condition), scan, generator=torch.Generator().manual_seed(seed))


def label(truth, name):
    return truth.labels == truth.label_names[name]


# Maps


@pytest.mark.parametrize("seed", FIVE)
@pytest.mark.parametrize(
    ("contrast", "name", "fit", "percent"), [("T1map", "T1", fit_T1, 2), ("T2map", "T2", fit_T2, 3)]
)
def test_a_fit_finds_the_times_of_the_myocardium(seed, contrast, name, fit, percent):
    acquisition, truth = imaged(seed, contrast)
    fitted = fit(truth.image, acquisition.about.times).time
    core, true = myocardium_core(truth), getattr(truth, name)[:, 0]
    assert int(core.sum()) > 200
    ratio = float(fitted[core].mean() / true[core].mean())
    assert abs(ratio - 1) < percent / 100
    assert float((fitted[core] / true[core] - 1).abs().median()) < percent / 100


def test_spin_locks_measure_their_own_time():
    acquisition, truth = imaged(100, "T1rho")
    core = myocardium_core(truth)
    fitted = fit_T2(truth.image, acquisition.about.times).time
    assert float(fitted[core].mean() / truth.T1rho[:, 0][core].mean()) == pytest.approx(1, abs=0.03)


def test_maps_are_those_of_the_subject_and_zero_in_air_and_bone():
    _, truth = imaged(101, "T1map", condition="infarcted")
    tissues = Composition.of(Subject(101, "infarcted"), SILENT.field)
    for name in ("T1", "T2", "T1rho"):
        found = getattr(truth, name)
        assert bool((found[label(truth, "background")] == 0).all())
        assert 0.1 < (found[label(truth, "bone")] == 0).double().mean() < 0.9  # marrow has the label of its bone
        muscle = set(found[label(truth, "lv_myocardium")].unique().tolist())
        own = getattr(tissues, name)
        assert muscle == {float(own[MUSCLE].float()), float(own[SCAR].float())}
    assert torch.equal(truth.T1[:, :1].expand_as(truth.T1), truth.T1)  # one moment in all weightings
    assert torch.equal(truth.labels[:, :1].expand_as(truth.labels), truth.labels)


def test_people_differ_in_their_times():
    found = torch.stack([Composition.of(Subject(seed), 3.0).T1[[MUSCLE, BLOOD]] for seed in range(200)])
    usual = Composition.usual(3.0).T1[[MUSCLE, BLOOD]]
    assert (found.mean(0) / usual - 1).abs().max() < 0.01
    assert (found.std(0) / usual - 0.04).abs().max() < 0.01
    assert abs(float(torch.corrcoef(found.T)[0, 1])) < 0.2


# Late enhancement, black blood, perfusion


@pytest.mark.parametrize("seed", [2, 3, 7])
def test_late_enhancement_nulls_muscle_and_shows_the_infarct(seed):
    acquisition, truth = imaged(seed, "lge", condition="infarcted")
    _, mapped = imaged(seed, "T1map", condition="infarcted")
    tissues = Composition.of(Subject(seed, "infarcted"), SILENT.field)
    core = myocardium_core(truth) & myocardium_core(mapped)
    scar = mapped.T1[:, 0] == tissues.T1[SCAR].float()
    within = torch.from_numpy(ndimage.binary_erosion(scar[0].numpy()))[None] & core
    image = truth.image[:, 0].abs()
    muscle, blood = image[core & ~scar].median(), image[label(truth, "lv_blood")[:, 0]].median()
    assert int(within.sum()) > 10
    assert muscle < 0.12 * blood
    assert image[within].median() > 5 * muscle
    after = tissues.enhanced(LateEnhancement().concentration * tissues.space)
    (asked,) = acquisition.about.times
    assert asked == pytest.approx(float(after.T1[MUSCLE]) * math.log(2))


def test_nulling_time_can_be_asked_for():
    tissues = Composition.usual(1.5)
    (late,) = LateEnhancement(inversion_time=400.0).signal(tissues, torch.zeros(1))
    (null,) = LateEnhancement().signal(tissues, torch.zeros(1))
    assert abs(float(null[MUSCLE])) < 1e-9 < float(late[MUSCLE])
    assert float(null[SCAR]) > 0.1


@pytest.mark.parametrize("contrast", ["blackblood", "T1w", "T2w"])
def test_blood_is_black_and_muscle_is_not(contrast):
    acquisition, truth = imaged(100, contrast)
    image = truth.image.abs()
    assert acquisition.n_frames == 1
    cavity = torch.from_numpy(ndimage.binary_erosion(label(truth, "lv_blood")[0, 0].numpy(), iterations=4))[None, None]
    assert image[cavity].median() < 0.3 * image[:, :1][myocardium_core(truth)[:, None]].median()


def test_weights_of_a_spin_echo():
    tissues, at = Composition.usual(3.0), torch.zeros(1)
    (T1w,), (T2w,) = (CONTRASTS[name].signal(tissues, at) for name in ("T1w", "T2w"))
    fat, fluid = NAMES.index("fat"), NAMES.index("fluid")
    assert T1w[fat] > T1w[MUSCLE] > T1w[fluid]  # short T1 is bright
    assert T2w[fluid] > T2w[fat] > T2w[MUSCLE]  # long T2 is bright


def test_a_bolus_passes_right_heart_left_heart_and_muscle():
    acquisition, truth = imaged(3, "perfusion", condition="infarcted")
    tissues = Composition.of(Subject(3, "infarcted"), SILENT.field)
    _, mapped = imaged(3, "T1map", condition="infarcted")
    scar = (mapped.T1[:, 0] == tissues.T1[SCAR].float())[0]
    core = myocardium_core(truth)[0]
    regions = {"rv": label(truth, "rv_blood")[0, 0], "lv": label(truth, "lv_blood")[0, 0], "muscle": core & ~scar}
    curve = {name: truth.image[0].abs()[:, where].mean(1) for name, where in regions.items()}
    peak = {name: int(values.argmax()) for name, values in curve.items()}
    assert peak["rv"] < peak["lv"] < peak["muscle"]
    rise = {name: float(values.max() / values[0]) for name, values in curve.items()}
    assert rise["lv"] > 3 > rise["muscle"] > 1.5
    supplied = truth.image[0].abs()[:, core & scar].mean(1)
    assert float(supplied.max() / supplied[0]) < 0.8 * rise["muscle"]
    assert len(acquisition.about.times) == truth.image.shape[1] == 30


def test_the_agent_in_tissue_follows_its_differential_equation():
    bolus, tissues = FirstPass(), Composition.usual(3.0)
    seconds = torch.linspace(0, 40, 81, dtype=torch.float64)
    found = bolus.concentration(tissues.space, seconds)
    space = float(tissues.space[MUSCLE])

    def change(t, c):
        arterial = float(bolus.concentration(tissues.space, torch.tensor([t], dtype=torch.float64))[0, BLOOD])
        return 1 / 60 * (arterial - 0.58 * c / space)

    solved = solve_ivp(change, (0, 40), [0.0], t_eval=seconds.numpy(), max_step=0.5)
    assert torch.from_numpy(solved.y[0]).sub(found[:, MUSCLE]).abs().max() < 0.02 * found[:, MUSCLE].max()


# Tags


@pytest.mark.parametrize("seed", FIVE)
def test_strain_from_tags_is_that_of_the_muscle(seed):
    spacing = 7.0
    acquisition, truth = imaged(seed, "tagging", sequence=Tagging(spacing=spacing), frames=6)
    pixel = acquisition.about.pixel_size
    walls = label(truth, "lv_myocardium")[0].numpy()
    inside = torch.stack([torch.from_numpy(ndimage.binary_erosion(wall)) for wall in walls])[None]
    centre = torch.nonzero(label(truth, "lv_blood")[0, 0]).double().mean(0)
    found = tag_strain(truth.image, spacing, pixel, inside, tuple(centre.tolist()))
    true = circle_strain(truth.displacement, inside, centre, pixel)
    assert float(true.min()) < -0.15
    assert float((found - true).abs().max()) < 0.02
    endo = truth.strain["circumferential"]
    assert bool((endo[:, 1:] < true[:, 1:] + 1e-3).all())  # the inner layers shorten more


def circle_strain(displacement, inside, centre, pixel):
    """Change of the length of all circles in `inside`, from the displacement field itself."""
    moved = displacement[:, :, :2] / torch.tensor(pixel)[:, None, None]
    y, x = (torch.arange(n) - float(middle) for n, middle in zip(moved.shape[-2:], centre, strict=True))
    away = (y[:, None] ** 2 + x**2).sqrt().clamp(min=1e-6)
    e = torch.stack([(x / away), -(y[:, None] / away)]).float()
    gradient = torch.stack(torch.gradient(moved, dim=(-2, -1)), 3)  # (batch, frame, component, along, y, x)
    before = (e - torch.einsum("btijyx,jyx->btiyx", gradient, e)).square().sum(2).sqrt()
    return inside.sum((-2, -1)) / (before * inside).sum((-2, -1)) - 1


@pytest.mark.parametrize("seed", FIVE)
def test_tags_are_as_far_apart_as_asked_for(seed):
    for spacing in (6.0, 8.0):
        acquisition, truth = imaged(seed, "tagging", sequence=Tagging(spacing=spacing), frames=1)
        for angle in (45.0, -45.0):
            found = tag_spacing(truth.image[:, :1], angle, acquisition.about.pixel_size)
            assert float(found) == pytest.approx(spacing, rel=0.02)


def test_tags_fade_the_sooner_the_shorter_the_recovery_and_blood_loses_them_first():
    tagging, tissues = Tagging(), Composition.usual(3.0)
    times = torch.tensor([0.0, 100.0, 300.0, 600.0], dtype=torch.float64)
    left = tagging.tagged(tissues, times) * tagging.held(times)
    assert bool((left.diff(dim=0)[:, tissues.density > 0] < 0).all())
    fat = NAMES.index("fat")
    share = left / left[0].clamp(min=1e-9)
    assert bool((share[1:, fat] < share[1:, MUSCLE]).all())  # shorter T1
    assert float(share[2, BLOOD]) < 0.01 < 0.3 < float(share[2, MUSCLE]) < 0.7


def test_tagged_magnetisation_is_that_of_a_train_of_pulses():
    """Pulse by pulse: the flip leaves the cosine, T1 brings back what it can."""
    tagging, tissues = Tagging(), Composition.usual(3.0)
    T1, pulses = float(tissues.T1[MUSCLE]), 80
    for start in (0.0, 0.25, 1.0):
        along = start
        for _ in range(pulses):
            along = along * math.cos(math.radians(tagging.flip))
            along = 1 + (along - 1) * math.exp(-tagging.TR / T1)
        at = torch.tensor([pulses * tagging.TR], dtype=torch.float64)
        density = float(tissues.density[MUSCLE])
        found = (tagging.signal(tissues, at) + start * tagging.tagged(tissues, at))[0, MUSCLE] / density
        assert float(found) == pytest.approx(along, abs=2e-3)


def test_the_grid_is_laid_in_the_tissue():
    tagging = Tagging(spacing=10.0, angles=(0.0, 90.0))
    y, x = torch.meshgrid(torch.arange(-20.0, 20.0), torch.arange(-20.0, 20.0), indexing="ij")
    pattern = tagging.pattern(y, x)
    assert float(pattern[20, 20]) == float(pattern[30, 20]) == float(pattern[20, 10]) == 0  # lines cross
    assert float(pattern[25, 25]) == pytest.approx(1)
    assert float(pattern[:, :].mean()) == pytest.approx(0.25, abs=0.01)


# Flow


@pytest.mark.parametrize("seed", FIVE)
def test_the_aorta_carries_what_the_ventricle_ejects(seed):
    acquisition, truth = imaged(seed, "flow2d", "aorta_tra", frames=16)
    reference, encoded = truth.image[:1], truth.image[1:]
    speed = velocity_map(reference, encoded, acquisition.about.venc)
    ascending = vessel_in(truth, first=True)
    flow = flow_curve(speed, ascending, acquisition.about.pixel_size)
    subject = Subject(seed).physiology()
    stroke = subject.end_diastolic_volume * subject.ejection_fraction
    volume = float(net_volume(flow, acquisition.about.times, subject.cycle))
    assert volume == pytest.approx(stroke, rel=0.02)
    assert float((flow[0] - truth.volumes["aortic_flow_ml_s"][0]).abs().max()) < 0.03 * float(flow.max())
    falling = flow_curve(speed, vessel_in(truth, first=False), acquisition.about.pixel_size)
    share = float(net_volume(falling, acquisition.about.times, subject.cycle)) / stroke
    assert share == pytest.approx(-0.7, abs=0.06)


def vessel_in(truth, *, first):
    """(1, frame, y, x): ascending or descending aorta with a rim, followed through the frames."""
    aorta = label(truth, "aorta")[0].numpy()
    parts, n = ndimage.label(aorta[0])
    sizes = ndimage.sum(aorta[0], parts, range(1, n + 1))
    large = [number for number in range(1, n + 1) if sizes[number - 1] > 0.3 * max(sizes)]
    rows = {number: ndimage.center_of_mass(parts == number)[0] for number in large}
    chosen = min(rows, key=rows.get) if first else max(rows, key=rows.get)
    around = ndimage.binary_dilation(parts == chosen, iterations=5)
    return torch.stack([torch.from_numpy(ndimage.binary_dilation(frame & around)) for frame in aorta])[None]


def test_an_odd_beat_ejects_into_the_aorta_what_it_ejects():
    subject, scan = Subject(5, rhythm="ectopic"), Scan("aorta_tra", "flow2d", frames=60)
    physiology = subject.physiology()
    bright = brightness(scan.settings, Composition.usual(3.0), (0.0,))
    for length, strength in ((1.0, 1.0), (0.75, 0.44), (0.66, 0.61), (1.3, 1.08)):
        moments = _moments(subject, scan, torch.device("cpu"), length, strength)
        currents = _currents(subject, scan, moments, bright, length, strength)
        # Frames are as far apart as in the usual beat, and go on into the next one where this one is short.
        within = torch.arange(60) * physiology.cycle / 60 < physiology.cycle * length
        flow = currents.ascending.flatten()[within]
        ejected = strength * physiology.end_diastolic_volume * physiology.ejection_fraction
        assert float(flow.sum()) * physiology.cycle / 60 / 1000 == pytest.approx(ejected, rel=0.02)


def test_chambers_and_tissue_have_no_velocity():
    _, truth = imaged(2, "flow2d", "4ch")
    vessels = [truth.label_names[name] for name in ("aorta", "pulmonary_artery", "vena_cava", "pulmonary_vein")]
    outside = ~torch.isin(truth.labels, torch.tensor(vessels))
    assert float(truth.velocity[outside].abs().max()) == 0
    assert float(truth.velocity.abs().max()) > 5


def test_in_the_end_all_blood_has_the_same_agent():
    last = FirstPass().concentration(Composition.usual(3.0).space, torch.tensor([600.0], dtype=torch.float64))[0]
    assert float(last[BLOOD]) == pytest.approx(float(last[NAMES.index("venous_blood")]), rel=1e-3)
    assert float(last[BLOOD]) == pytest.approx(0.15 * FirstPass().peak, rel=1e-3)


def test_the_profile_is_blunt_and_pulsatile():
    _, truth = imaged(100, "flow2d", "aorta_tra", frames=16)
    speed, inside = truth.velocity[0], vessel_in(truth, first=True)[0]
    peak = speed.flatten(1).amax(1)
    beat = Beat.of(Subject(100).physiology()).gated(16)
    times = torch.tensor(beat.frames(16))
    ejecting = (times > beat.opening + 20) & (times < beat.closing - 20)
    assert bool((peak[ejecting] > 20).all())
    systole = int(peak.argmax())
    assert 60 < float(peak[systole]) < 180  # cm/s
    mean = float(speed[systole][inside[systole] & (speed[systole] > 5)].mean())
    assert 1.05 < float(peak[systole]) / mean < 1.7
    assert float(speed[0].abs().max()) < 25  # only veins flow before the valve opens


def test_a_speed_beyond_the_venc_comes_back_from_the_other_side():
    usual, truth = imaged(100, "flow2d", "aorta_tra", frames=16)
    low, aliased = imaged(100, "flow2d", "aorta_tra", frames=16, sequence=PhaseContrast(venc=40.0))
    assert (usual.about.venc, low.about.venc) == (150.0, 40.0)
    speed = velocity_map(aliased.image[:1], aliased.image[1:], 40.0)[0]
    systole = int(truth.velocity[0].flatten(1).amax(1).argmax())
    core = torch.from_numpy(ndimage.binary_erosion(vessel_in(truth, first=True)[0, systole].numpy(), iterations=4))
    true = truth.velocity[0, systole][core]
    assert float(true.min()) > 40
    wrapped = torch.remainder(true + 40, 80) - 40
    assert float((speed[systole][core] - wrapped).abs().median()) < 2
    assert float((speed[systole][core] - true).abs().min()) > 40


def test_both_encodings_share_background_and_magnitude():
    _, truth = imaged(101, "flow2d", "aorta_tra")
    still = (truth.velocity[:1] == 0) & (truth.image[:1].abs() > 0.05 * truth.image.abs().max())
    still = torch.from_numpy(ndimage.binary_erosion(still.numpy(), torch.ones(1, 1, 3, 3), iterations=2))
    turned = (truth.image[1:] * truth.image[:1].conj()).angle()[still].abs()
    assert float(turned.quantile(0.99)) < 0.02  # what is left is ringing beside vessels
    assert float(turned.mean()) < 1e-3
    assert torch.equal(truth.velocity[0], truth.velocity[1])
    torch.testing.assert_close(truth.sensitivities[0], truth.sensitivities[1])


# Pictures and settings


def test_a_picture_is_linear_in_the_signals_of_its_tissues():
    """What lets tags fade frame by frame: tissues painted one by one and summed up are the picture painted at once."""
    subject, scan = Subject(3, "infarcted"), Scan(matrix=(48, 48), frames=2)
    anatomy = Anatomy.of(subject)
    (plane,) = planes(subject, scan, anatomy.heart, anatomy.vessels)
    moments = _moments(subject, scan, torch.device("cpu"))
    weights = torch.randn(2, len(NAMES), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Summed(Brightness):
        def frames(self, signal, part, lain, speed):
            return torch.einsum("ct,tfyx->cfyx", weights.to(signal), signal)

    each = Summed(painted=torch.eye(len(NAMES), dtype=torch.float64))
    summed = render(subject, anatomy, plane, scan, moments, each).image
    at_once = render(subject, anatomy, plane, scan, moments, Brightness(painted=weights)).image
    torch.testing.assert_close(summed, at_once, atol=2e-5, rtol=0)


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("field", [1.5, 3.0])
def test_every_contrast_in_some_view_is_finite_and_the_same_twice(contrast, field):
    view = VIEWS[list(CONTRASTS).index(contrast) % len(VIEWS)]
    scan = Scan(view, contrast, matrix=(48, 48), receiver=Receiver(field=field, n_coils=4))
    once, again = (simulate(Subject(7), scan, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    acquisition, truth = once
    assert bool(torch.isfinite(acquisition.kspace.real).all())
    assert torch.equal(acquisition.kspace, again[0].kspace)
    slices = (3 if view == "lax" else 1) * scan.settings.encodings
    assert acquisition.kspace.shape == (slices, scan.n_frames, 4, 48, 48)
    assert truth.labels.shape == truth.image.shape
    assert acquisition.about.contrast == contrast
    assert len(acquisition.about.times) == scan.n_frames
    assert (truth.T1 is None) == scan.settings.beating
    assert (truth.velocity is None) == (contrast != "flow2d")


def test_the_brightest_tissue_is_one():
    tissues = Composition.usual(3.0)
    for name, sequence in CONTRASTS.items():
        bright = brightness(sequence, tissues, sequence.looks(sequence.fixed_frames or sequence.frames, BEAT, tissues))
        assert float(bright.painted.abs().max()) == pytest.approx(1), name
        assert float(bright.painted[:, NAMES.index("air")].abs().max()) == (0 if name != "tagging" else 1)


BEAT = Beat.of(Subject(0).physiology())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Scan(contrast="T3map"), r"contrast: got 'T3map', want one of cine, T1map, .*T2w"),
        (lambda: Scan(contrast=["cine"]), "contrast: got"),
        (lambda: PhaseContrast(venc=0), r"venc: got 0, want 1 to 10000 cm/s"),
        (lambda: PhaseContrast(venc=-100.0), "venc: got -100.0"),
        (lambda: PhaseContrast(venc=float("nan")), "venc: got nan"),
        (lambda: InversionRecovery(times=()), r"times: got 0 of them, want 3 or more: a map is fitted to them"),
        (lambda: InversionRecovery(times=(100.0, 200.0)), "times: got 2 of them, want 3"),
        (lambda: T2Preparation(times=(0.0,)), "times: got 1 of them, want 2"),
        (lambda: T2Preparation(times=(0.0, 25.0, 25.0)), "times: .* want each once, in rising order"),
        (lambda: SpinLock(times=[1.0, 10.0]), "times: got .* want a tuple of ms"),
        (lambda: InversionRecovery(times=(-5.0, 10.0, 20.0)), "times: got"),
        (lambda: InversionRecovery(times=(100.0, 1000.0, 180.0)), "times: .* in rising order"),
        (lambda: BalancedSSFP(TR=0), "TR: got 0, want 0.5 to"),
        (lambda: BalancedSSFP(flip="45"), "flip: got '45'"),
        (lambda: BalancedSSFP(TE=float("nan")), "TE: got nan, want 0 to 500 ms"),
        (lambda: Tagging(flip=120.0), "flip: got 120.0, want 0.1 to 89 degrees"),
        (lambda: Tagging(angles=(math.inf, 0.0)), "angles: got"),
        (lambda: FirstPass(arrival=math.inf), "arrival: got inf, want 0 to 600"),
        (lambda: Composition.usual(0.0), "field: got 0.0"),
        (lambda: scans("2025", matrix=5), "matrix: got 5"),
        (lambda: Scan(contrast="T1map", motion="frozen"), "motion: got frozen, want beating: T1map shows one moment"),
        (lambda: InversionRecovery(efficiency=0.0), "efficiency: got 0.0"),
        (lambda: Tagging(spacing=0.0), "spacing: got 0.0"),
        (lambda: Tagging(angles=(30.0, 210.0)), "angles: .* want two directions that differ"),
        (lambda: SpinEcho(TE=-1.0), "TE: got -1.0"),
        (lambda: SpinEcho(blood=2.0), "blood: got 2.0, want 0 to 1"),
        (lambda: LateEnhancement(concentration=0.0), "concentration: got 0.0"),
        (lambda: LateEnhancement(inversion_time=0.0), "inversion_time: got 0.0"),
        (lambda: SaturationRecovery(delay=0.0), "delay: got 0.0"),
        (lambda: SaturationRecovery(bolus=3), "bolus: got 3, want a FirstPass"),
        (lambda: FirstPass(peak=-1.0), "peak: got -1.0"),
        (lambda: Scan(contrast="T1map", frames=12), "frames: got 12, want 9, as many as T1map has weightings, or None"),
        (lambda: Scan(contrast="lge", frames=2), "frames: got 2, want 1"),
        (lambda: Scan(contrast="T1map", sequence=BalancedSSFP()), "sequence: got .* want a InversionRecovery"),
        (lambda: Scan(contrast="T1map", sequence="molli"), "sequence: got 'molli'"),
    ],
)
def test_bad_settings_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
