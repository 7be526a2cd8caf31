"""Simulated hearts are about as far from real ones as real ones from each other; and the measures measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import erf
from scipy.stats import wasserstein_distance

from benchmarks import realism
from benchmarks.realism import MEASURES, Film, Measure
from tests.conftest import data_folder

SERIES = sorted(data_folder().glob("*.npz")) if data_folder().is_dir() else []
needs_real = pytest.mark.skipif(
    len(SERIES) < 3, reason="fewer than three real series: npz files in CMR_COURSE_DATA, or in ../shared/data"
)
SEEDS = range(4)
BY_NAME = {measure.name: measure for measure in MEASURES}
each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


@pytest.fixture(scope="module")
def real() -> list[Film]:
    return [realism.real(path) for path in SERIES]


@pytest.fixture(scope="module")
def simulated() -> list[Film]:
    return [realism.simulated(seed) for seed in SEEDS]


@needs_real
@each_measure
def test_simulated_hearts_are_within_one_and_a_half_spreads_of_real_ones(measure: Measure, real, simulated):
    verdict = realism.judge(measure, simulated, real)
    print(f"\n{measure.name}: mean distance {verdict.distances.mean():.3f}, spread {verdict.spread:.3f} {measure.unit}")
    assert verdict.ratio <= 1.5


def still(film: Film) -> Film:
    return replace(film, images=np.repeat(film.images[:1], len(film.images), 0))


def blurred(film: Film) -> Film:
    width = 2.0 / film.pixel
    return replace(film, images=ndimage.gaussian_filter(film.images, (0, width, width)))


def flat(film: Film) -> Film:
    return replace(film, images=film.images**0.4)


def reversed_contrast(film: Film) -> Film:
    return replace(film, images=1.3 - film.images.clip(max=1.3))


@needs_real
@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (still, "temporal spectrum"),
        (blurred, "edge width, strong edges"),
        (blurred, "spatial spectrum"),
        (flat, "intensity histogram"),
        (flat, "intensity histogram, wide"),
        (reversed_contrast, "intensity histogram"),
    ],
)
def test_a_spoilt_heart_fails(spoil, name: str, real):
    """Even a real heart does not pass once it stands still, is blurred, or has the contrast of another sequence."""
    verdict = realism.judge(BY_NAME[name], [spoil(film) for film in real], real)
    print(f"\n{spoil.__name__}: {name} {verdict.ratio:.2f}")
    assert not verdict.passes


def disc(width: float, *, noise: float = 0.0, pixel: float = 1.8) -> Film:
    """Blood of radius 25 mm in muscle, edges 10 to 90 % over `width` mm."""
    rows, columns = np.indices((100, 100))
    radius = np.hypot(rows - 50, columns - 50) * pixel
    sigma = width / (2 * 1.2815515655446004)
    image = 0.3 + 0.7 * (1 - erf((radius - 25) / sigma / 2**0.5)) / 2
    random = np.random.default_rng(0)
    images = np.abs(image + noise * random.standard_normal((20, 100, 100)))
    return Film("disc", images, pixel, (50.0, 50.0))


@pytest.mark.parametrize("width", [4.0, 6.0, 8.0])
@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("edges", [realism.cavity_edges, realism.strong_edges], ids=["cavity", "strong"])
def test_edge_width_of_a_disc(edges, width: float, noise: float):
    assert np.median(edges(disc(width, noise=noise))) == pytest.approx(width, rel=0.15)


def test_wider_edges_are_further_away():
    narrow, wide, wider = (realism.quantiles(realism.cavity_edges(disc(width))) for width in (4.0, 5.0, 7.0))
    assert realism.wasserstein(narrow, wide) == pytest.approx(1.0, abs=0.2)
    assert realism.wasserstein(narrow, wider) == pytest.approx(3.0, abs=0.3)


def test_wasserstein_distance_is_that_of_scipy():
    random = np.random.default_rng(1)
    one, other = random.gamma(2.0, size=5000), random.gamma(3.0, size=7000)
    ours = realism.wasserstein(realism.quantiles(one), realism.quantiles(other))
    assert ours == pytest.approx(wasserstein_distance(one, other), rel=0.02)


@pytest.mark.parametrize("harmonic", [1, 3, 9])
def test_a_pulsation_appears_at_its_harmonic_with_its_power(harmonic: int):
    """A cosine of amplitude A has power A² / 4 at its own, positive frequency."""
    time = np.arange(20) / 20
    images = np.full((20, 100, 100), 1.0) + 0.2 * np.cos(2 * np.pi * harmonic * time)[:, None, None]
    power = realism.temporal_spectrum(Film("pulse", images, 1.8, (50.0, 50.0)))
    assert power[harmonic - 1] == pytest.approx(20 * np.log10(0.1), abs=1e-6)
    assert np.delete(power, harmonic - 1).max() < -100


def test_a_grating_appears_at_its_wavelength():
    """Wavelength 14 mm lies in the ring of 11.3 to 16 mm, the fifth from 64 mm on."""
    columns = np.broadcast_to(np.arange(100) * 1.8, (20, 100, 100))
    power = realism.spatial_spectrum(Film("grating", 1 + np.cos(2 * np.pi * columns / 14.0), 1.8, (50.0, 50.0)))
    assert power.argmax() == 4


def test_measures_do_not_depend_on_the_place_of_the_heart():
    """The same heart elsewhere in the field of view gives the same numbers."""
    film = disc(5.0, noise=0.02)
    wide = replace(film, images=np.pad(film.images, ((0, 0), (30, 10), (7, 23)), mode="edge"), centre=(80.0, 57.0))
    for measure in MEASURES:
        if "wide" not in measure.name:
            assert measure.distance(measure.of(film), measure.of(wide)) == pytest.approx(0, abs=1e-9), measure.name


def test_noise_is_recovered():
    assert realism.noise(disc(5.0, noise=0.02)) == pytest.approx(0.02, rel=0.4)


def test_verdict_of_three_numbers():
    """Spread 4 among 0, 1 and 4; a film at 10 is 10, 9 and 6 away: mean 25/3 is 2.08 spreads."""
    measure = Measure("level", "blood", lambda film: film.images.mean((1, 2)), realism.rms)

    def level(value: float) -> Film:
        return Film("level", np.full((2, 4, 4), value), 1.8, (2.0, 2.0))

    originals = [level(0.0), level(1.0), level(4.0)]
    verdict = realism.judge(measure, [level(10.0)], originals)
    assert verdict.spread == 4
    assert verdict.ratio == pytest.approx(25 / 12)
    assert verdict.bias == pytest.approx((10 - 5 / 3) / 4)
    assert not verdict.passes
    assert realism.judge(measure, [level(2.0)], originals).passes


def test_pictures_are_written(tmp_path: Path):
    films = [replace(disc(5.0, noise=0.02), name=f"heart {number}") for number in range(3)]
    for path in realism.show(films[1:], films[:1], tmp_path):
        assert path.stat().st_size > 1000


def test_without_real_series_the_script_says_so(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setenv("CMR_COURSE_DATA", str(tmp_path))
    with pytest.raises(SystemExit):
        realism.main([])
    assert "0 real series" in capsys.readouterr().err
