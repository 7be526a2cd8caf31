"""Signal, beat and texture of the simulator: against the Bloch equations, against physiology, in millimetres."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.simulation.heart import Heart
from cmr_course.simulation.motion import Beat
from cmr_course.simulation.pose import Pose
from cmr_course.simulation.render import band_limited
from cmr_course.simulation.sequences import BalancedSSFP
from cmr_course.simulation.subject import NORMAL, Subject
from cmr_course.simulation.texture import WAVELENGTHS, Texture
from cmr_course.simulation.tissue import NAMES, TISSUES, Composition


def bloch(T1, T2, flip, TR, off_hz=0.0, pulses=12000):
    """Transverse magnetisation half a repetition after the pulse, by pulsing until it is steady: complex."""
    E1, E2 = math.exp(-TR / T1), math.exp(-TR / T2)
    turn = complex(math.cos(math.tau * off_hz * TR / 1000), math.sin(math.tau * off_hz * TR / 1000))
    across, along = 0j, 1.0
    for n in range(pulses):
        angle = math.radians(flip) * (-1) ** n
        cos, sin = math.cos(angle), math.sin(angle)
        across, along = complex(across.real, cos * across.imag + sin * along), cos * along - sin * across.imag
        after = across * (-1) ** n
        across, along = across * E2 * turn, along * E1 + 1 - E1
    half = math.tau * off_hz * TR / 2000
    return after * math.exp(-TR / 2 / T2) * complex(math.cos(half), math.sin(half)) / 1j


@pytest.mark.parametrize("tissue", TISSUES)
@pytest.mark.parametrize("field", [1.5, 3.0])
def test_signal_is_the_steady_state_of_the_bloch_equations(tissue, field):
    sequence = BalancedSSFP()
    expected = bloch(*TISSUES[tissue].at(field), sequence.flip, sequence.TR) * TISSUES[tissue].density
    assert abs(expected.imag) < 1e-6
    found = sequence.signal(Composition.usual(field), torch.zeros(1))[0, NAMES.index(tissue)]
    assert abs(float(found)) == pytest.approx(expected.real, rel=1e-5)


@pytest.mark.parametrize("field", [1.5])
def test_fat_has_the_opposite_sign_as_the_bloch_equations_say(field):
    sequence, (T1, T2) = BalancedSSFP(), TISSUES["fat"].at(field)
    fat = bloch(T1, T2, sequence.flip, sequence.TR, off_hz=3.35 * 42.577 * field)
    assert fat.real < 0
    (signal,) = sequence.signal(Composition.usual(field), torch.zeros(1))
    assert float(signal[NAMES.index("fat")]) < 0
    assert all(float(signal[NAMES.index(name)]) > 0 for name in TISSUES if name != "fat")


def test_relaxation_is_the_measured_one_at_the_measured_fields():
    for tissue in TISSUES.values():
        assert tissue.at(1.5) == pytest.approx((tissue.T1[0], tissue.T2[0]))
        assert tissue.at(3.0) == pytest.approx((tissue.T1[1], tissue.T2[1]))
    assert TISSUES["blood"].at(5.0)[0] > TISSUES["blood"].T1[1]


@given(rate=st.floats(30, 180), frames=st.integers(1, 40))
def test_contraction_runs_from_zero_to_one_and_back_at_every_heart_rate(rate, frames):
    physiology = Subject(0, heart_rate=rate).physiology()
    beat = Beat.of(physiology).gated(frames)
    assert 0 < beat.opening < beat.closing < beat.filling < beat.filling + beat.early <= beat.cycle - beat.atrial + 1e-9
    times = torch.linspace(0, beat.cycle, 2001, dtype=torch.float64)
    contraction, pressure = beat.contraction(times), beat.pressure(times)
    for curve in (contraction, pressure):
        assert float(curve[0]) == 0
        assert float(curve[-1]) == pytest.approx(0, abs=1e-9)
        assert float(curve.min()) > -1e-9
        assert float(curve.max()) == pytest.approx(1, abs=1e-4)
    assert float(contraction.diff().abs().max()) < 0.02  # no jump


def test_drawn_physiology_lies_in_the_published_ranges():
    drawn = [Subject(seed).physiology() for seed in range(200)]
    for name, normal in NORMAL.items():
        values = torch.tensor([getattr(one, name) for one in drawn], dtype=torch.float64)
        assert float(values.min()) >= normal.low
        assert float(values.max()) <= normal.high
        assert float(values.mean()) == pytest.approx(normal.mean, abs=0.4 * normal.deviation)
        assert float(values.std()) > 0.5 * normal.deviation


@pytest.mark.parametrize("volume", [40.0, 145.0, 450.0])
@pytest.mark.parametrize("wall", [4.0, 25.0])
@pytest.mark.parametrize("ejection", [0.05, 0.85])
def test_extreme_hearts_meet_what_is_asked(volume, wall, ejection):
    asked = {"end_diastolic_volume": volume, "wall_thickness": wall, "ejection_fraction": ejection}
    subject = Subject(11, **asked)
    heart = Heart.of(subject, Pose.of(subject))
    contraction = torch.linspace(0, 1, 5, dtype=torch.float64)
    volumes = heart.volumes(contraction)
    assert all(bool((value > 0).all()) for value in volumes.values())
    torch.testing.assert_close(volumes["lv_ml"], volume * (1 - ejection * contraction))
    assert heart.R_epi - heart.R_endo == pytest.approx(wall)
    assert bool(torch.isfinite(heart.surface()).all())


def test_texture_has_the_wavelengths_it_is_named_for():
    texture = Texture.of(Subject(3), torch.device("cpu"))
    line = torch.stack([torch.linspace(-150, 150, 2401)] * 3)
    step = 300 / 2400 * 3**0.5
    grain = texture.at(line)
    length = {name: float(vars(grain)[name].std() / (vars(grain)[name].diff() / step).std()) for name in WAVELENGTHS}
    assert length["fine"] < length["streaks"] < length["branches"] < length["blotch"]
    assert 1 < length["fine"] < 4  # a sine of wavelength w gives w / 2 pi


def test_textures_of_subjects_differ_and_fill_space_evenly():
    points = torch.rand((3, 4000), generator=torch.Generator().manual_seed(0)) * 300 - 150
    one, other = (Texture.of(Subject(seed), torch.device("cpu")).at(points) for seed in (3, 4))
    for name in WAVELENGTHS:
        first, second = vars(one)[name], vars(other)[name]
        assert abs(float(first.mean())) < 0.3
        assert float(first.std()) == pytest.approx(1, abs=0.3)
        assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.2


def test_cropped_spectrum_keeps_the_mean_and_rings_at_edges():
    signal = torch.zeros(1, 64, 64)
    signal[:, 20:44, 20:44] = 1
    image = band_limited(signal, (32, 32))
    assert float(image.real.mean()) == pytest.approx(float(signal.mean()), rel=1e-5)
    assert float(image.real.max()) > 1.05  # Gibbs
    assert float(image[0, 16, 16].real) == pytest.approx(1, abs=0.08)
