"""Relaxation times whose truth is known: recoveries and decays drawn from the formula, with and without a sign."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from torch import Tensor

from cmr_course.acquisition import About, Reconstruction, Truth
from cmr_course.metrics import (
    QUANTITIES,
    evaluate,
    evaluate_quantities,
    fit_T1,
    fit_T2,
    format_table,
    myocardium_core,
    results_of,
    t1_bias,
    t1rho_bias,
    t2_bias,
)
from cmr_course.simulation import Scan, Subject, simulate

TI = (100.0, 180.0, 260.0, 1000.0, 1080.0, 1160.0, 1900.0, 1980.0, 2060.0)
TE = (0.0, 25.0, 55.0)


def between(low: float, high: float, shape: tuple[int, ...], seed: int) -> Tensor:
    """Random numbers whose logarithm is even between `low` and `high`."""
    drawn = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return low * torch.exp(drawn * math.log(high / low))


def weighting(times: tuple[float, ...]) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)[:, None, None]


def recovery(T1: Tensor, amplitude: Tensor | float = 1.0, efficiency: Tensor | float = 0.96, times=TI) -> Tensor:
    """(batch, frame, y, x): amplitude·(1 − (1 + efficiency)·exp(−TI/T1)), of maps (batch, 1, y, x)."""
    return amplitude * (1 - (1 + efficiency) * torch.exp(-weighting(times) / T1))


def decay(T2: Tensor, amplitude: Tensor | float = 1.0, times=TE) -> Tensor:
    return amplitude * torch.exp(-weighting(times) / T2)


def background(shape: tuple[int, ...], seed: int = 5) -> Tensor:
    """A phase of its own in each pixel, the same in all weightings."""
    angle = 2 * math.pi * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.polar(torch.ones_like(angle), angle)


def noise(shape: tuple[int, ...], sigma: float, seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sigma * torch.complex(*torch.randn((2, *shape), dtype=torch.float64, generator=generator))


@given(
    seed=st.integers(0, 999),
    batch=st.integers(1, 3),
    y=st.integers(1, 9),
    x=st.integers(1, 9),
    kind=st.sampled_from(["complex", "complex64", "magnitude", "float32"]),
)
def test_a_recovery_without_noise_gives_the_true_one(seed, batch, y, x, kind):
    """Whatever the amplitude, the efficiency, the phase and the number of negative weightings."""
    shape = (batch, 1, y, x)
    T1, amplitude, efficiency = between(150, 2800, shape, seed), between(0.1, 100, shape, seed + 1), 0.8
    signed = recovery(T1, amplitude, efficiency)
    image = {
        "complex": signed * background(shape, seed),
        "complex64": (signed * background(shape, seed)).to(torch.complex64),
        "magnitude": signed.abs(),
        "float32": signed.abs().float(),
    }[kind]
    fit = fit_T1(image, TI)
    torch.testing.assert_close(fit.time[:, None], T1, rtol=1e-3 if "32" in kind or "64" in kind else 1e-5, atol=0)
    torch.testing.assert_close(fit.amplitude[:, None], amplitude, rtol=1e-3, atol=0)
    torch.testing.assert_close(fit.inversion, torch.full_like(fit.time, efficiency), rtol=0, atol=2e-3)
    assert float((fit.residual[:, None] / amplitude).max()) < 1e-5


@given(seed=st.integers(0, 999), y=st.integers(1, 9), n_times=st.integers(2, 6), signed=st.booleans())
def test_a_decay_without_noise_gives_the_true_one(seed, y, n_times, signed):
    times = tuple(12.0 * k for k in range(n_times))
    shape = (2, 1, y, 3)
    T2, amplitude = between(5, 400, shape, seed), between(0.1, 100, shape, seed + 1)
    image = decay(T2, amplitude, times)
    fit = fit_T2(image * background(shape) if signed else image, times)
    torch.testing.assert_close(fit.time[:, None], T2, rtol=1e-5, atol=0)
    torch.testing.assert_close(fit.amplitude[:, None], amplitude, rtol=1e-5, atol=0)
    assert fit.inversion is None


@given(seed=st.integers(0, 999), late=st.floats(373, 900), signed=st.booleans())
def test_a_first_weighting_may_be_late(seed, late, signed):
    """At the lower limit of 1 ms exp(−t/T2) is no float64 from 746 ms on, nor its square from 373 ms."""
    times = tuple(late + time for time in (0.0, 25.0, 55.0, 100.0))
    T2 = between(30, 400, (1, 1, 3, 3), seed)
    image = decay(T2, 5.0, times)
    fit = fit_T2(image * background((1, 1, 3, 3)) if signed else image, times)
    torch.testing.assert_close(fit.time[:, None], T2, rtol=1e-5, atol=0)
    torch.testing.assert_close(fit.amplitude, torch.full_like(fit.time, 5.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("late", "close"), [(12000.0, 1e-3), (20000.0, 1e-2)])
def test_a_recovery_may_be_almost_over(late, close):
    """At 20 s its curve is 5·10⁻⁵ of A: the energy, a square, keeps six digits of it, and T1 two."""
    times = tuple(late + time for time in TI)
    T1 = torch.full((1, 1, 2, 2), 2000.0, dtype=torch.float64)
    fit = fit_T1(recovery(T1, times=times) * background((1, 1, 2, 2)), times)
    torch.testing.assert_close(fit.time[:, None], T1, rtol=close, atol=0)
    torch.testing.assert_close(fit.inversion, torch.full_like(fit.time, 0.96), rtol=0, atol=20 * close)


@pytest.mark.parametrize("times", [(800.0, 801.0, 802.0, 803.0), (20000.0, 20400.0, 21000.0, 23000.0)])
def test_what_cannot_be_told_is_a_number_between_the_limits(times):
    """Data that have long recovered, or decayed, hold no time constant; a map of them has no NaN all the same."""
    image = torch.ones(1, 4, 2, 2, dtype=torch.float64)
    image[:, 0, 0] = 2.0
    for fit in (
        fit_T1(image, times, limits=(1, 1.5)),
        fit_T1(1j * image, times),
        fit_T2(image, times, limits=(1, 1.5)),
    ):
        for part in (fit.time, fit.amplitude, fit.residual, fit.inversion):
            assert part is None or bool(torch.isfinite(part).all())
        assert 0.99 < float(fit.time.min()) <= float(fit.time.max()) < 8001
        assert float(fit.residual.max()) < 2


def test_the_sign_is_found_wherever_it_changes():
    """Between any two weightings, and right at one: next to a weighting of zero two places fit almost alike."""
    nulls = torch.tensor([90.0, 100.0, 140.0, 180.0, 181.0, 259.0, 500.0, 1000.0, 1100.0, 1500.0, 1900.0])
    T1 = (nulls / math.log(1.96)).double()[None, None, None]
    fit = fit_T1(recovery(T1).abs(), TI)
    torch.testing.assert_close(fit.time[:, None], T1, rtol=1e-3, atol=0)


def test_what_a_root_sum_of_squares_returns_is_a_magnitude():
    """Complex numbers without a phase have lost the sign; taken at their word, they would have another T1."""
    T1 = torch.full((1, 1, 4, 4), 1200.0, dtype=torch.float64)
    magnitude = recovery(T1).abs()
    flat = torch.complex(magnitude, torch.zeros_like(magnitude))
    torch.testing.assert_close(fit_T1(flat, TI).time, T1[:, 0], rtol=1e-3, atol=0)
    # The smallest phase tells that this is an image with a sign, and a recovery does not look like this.
    assert float((fit_T1(flat * background((1, 1, 1, 1)), TI).time - 1200).abs().min()) > 100


def test_noise_shifts_magnitudes_more_than_what_has_its_sign():
    """At an SNR of 20 the sign keeps T1 within 1 % on average; of magnitudes, the weightings near zero are lifted."""
    T1 = torch.full((1, 1, 96, 96), 1200.0, dtype=torch.float64)
    image = recovery(T1) * background((1, 1, 96, 96)) + noise((1, 9, 96, 96), 0.05)
    signed, unsigned = fit_T1(image, TI).time, fit_T1(image.abs(), TI).time
    assert abs(float(signed.median()) - 1200) < 0.01 * 1200
    assert abs(float(signed.median()) - 1200) < abs(float(unsigned.median()) - 1200)
    # Residual: nine complex weightings less the four real numbers of the model, of two channels each.
    residual = float(fit_T1(image, TI).residual.square().mean().sqrt())
    assert residual == pytest.approx(0.05 * math.sqrt((2 * 9 - 4) / 9), rel=0.02)


def test_complex_decays_are_not_lifted_by_noise():
    """The late weighting of a short T2 lies in the noise: magnitudes end at the noise floor and not at zero."""
    T2 = torch.full((1, 1, 96, 96), 20.0, dtype=torch.float64)
    times = (0.0, 30.0, 60.0, 90.0)
    image = decay(T2, times=times) * background((1, 1, 96, 96)) + noise((1, 4, 96, 96), 0.1)
    assert abs(float(fit_T2(image, times).time.median()) - 20) < 0.4
    assert float(fit_T2(image.abs(), times).time.median()) > 21.5


@pytest.mark.parametrize("seed", range(6))
def test_scipy_finds_the_same_least_squares(seed):
    """Of all parameters at once, phase included, from the true ones on."""
    T1, T2 = between(300, 2000, (1, 1, 1, 1), seed), between(20, 100, (1, 1, 1, 1), seed)
    for fit_of, signal, times, start in (
        (fit_T1, recovery(T1), TI, [1.0, 1.96, float(T1)]),
        (fit_T2, decay(T2), TE, [1.0, 0.0, float(T2)]),
    ):
        phase = background((1, 1, 1, 1), seed)
        image = signal * phase + noise(tuple(signal.shape), 0.02, seed)
        data, t = image.flatten().numpy(), np.asarray(times)

        def misfit(p: np.ndarray, t: np.ndarray = t, data: np.ndarray = data, recovers: bool = fit_of is fit_T1):
            model = p[0] - p[1] * np.exp(-t / p[2]) if recovers else (p[0] + 1j * p[1]) * np.exp(-t / p[2])
            beside = model * np.exp(1j * p[3]) - data
            return np.concatenate([beside.real, beside.imag])

        wanted = least_squares(misfit, [*start, float(phase.angle())], x_scale=[1, 1, start[2], 1], xtol=1e-12)
        fit = fit_of(image, times)
        assert float(fit.time) == pytest.approx(wanted.x[2], rel=1e-4)
        assert float(fit.residual) == pytest.approx(math.sqrt(2 * wanted.cost / len(times)), rel=1e-6)


def test_air_and_what_is_masked_is_zero():
    T1 = torch.full((1, 1, 4, 5), 1000.0, dtype=torch.float64)
    image = recovery(T1) * background((1, 1, 4, 5))
    image[:, :, :, 0] = 0
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[:, :2] = True
    fit = fit_T1(image, TI, mask=mask)
    inside = mask.clone()
    inside[..., 0] = False
    assert bool((fit.time[inside] > 999).all())
    for part in (fit.time, fit.amplitude, fit.residual, fit.inversion):
        assert part is not None
        assert bool((part[~inside] == 0).all())
    nothing = fit_T2(torch.zeros(1, 3, 4, 5), TE)
    assert float(nothing.time.abs().max()) == 0
    assert nothing.time.shape == (1, 4, 5)


def test_a_map_takes_less_than_two_seconds():
    shape = (1, 1, 192, 192)
    image = (recovery(between(200, 2000, shape, 3)) * background(shape)).to(torch.complex64)
    for weighted in (image, image.abs()):
        start = time.process_time()
        fit_T1(weighted, TI)
        assert time.process_time() - start < 2


SIZE = 24


def phantom(T1: float = 1300.0, T2: float = 45.0) -> Truth:
    """A ring of muscle, 5 to 11 pixels from the middle, around blood; air outside."""
    y, x = torch.meshgrid(torch.arange(SIZE) - 12, torch.arange(SIZE) - 12, indexing="ij")
    away = torch.hypot(y.double(), x.double())
    labels = torch.where(away < 5, 2, torch.where(away < 11, 1, 0))[None, None].expand(1, len(TI), -1, -1)
    muscle, blood = labels == 1, labels == 2
    maps = {"T1": (T1, 1900.0), "T2": (T2, 250.0), "T1rho": (T2, 150.0)}
    return Truth(
        torch.ones(1, len(TI), SIZE, SIZE, dtype=torch.complex64),
        labels=labels,
        label_names={"background": 0, "lv_myocardium": 1, "lv_blood": 2},
        **{name: inside * muscle + pool * blood for name, (inside, pool) in maps.items()},
    )


def test_bias_is_what_was_added():
    """Images of a T1 that is 50 ms too long are 50 ms off, whatever blood and partial volume do at the borders."""
    truth = phantom()
    T1 = torch.where(truth.T1 == 1300, 1350.0, truth.T1).clamp(min=1).double()[:, :1]
    T2 = torch.where(truth.T2 == 45, 43.0, truth.T2).clamp(min=1).double()[:, :1]
    image = recovery(T1) * background((1, 1, SIZE, SIZE))
    core = myocardium_core(truth)
    rim = (truth.labels[:, 0] == 1) & ~core
    image = torch.where(rim[:, None], 0.5 * image + 0.5, image)
    assert float(t1_bias(Reconstruction(image), truth, TI)) == pytest.approx(50, abs=0.1)
    assert float(t1_bias(image, truth, TI, percent=True)) == pytest.approx(100 * 50 / 1300, abs=0.01)
    decayed = decay(T2, times=TI[:4])  # T1ρ is the same fit against another truth
    short = Truth(
        truth.image[:, :4],
        labels=truth.labels[:, :4],
        label_names=truth.label_names,
        T2=truth.T2[:, :4],
        T1rho=truth.T1rho[:, :4],
    )
    assert float(t2_bias(decayed, short, TI[:4])) == pytest.approx(-2, abs=0.01)
    assert float(t1rho_bias(decayed, short, TI[:4], percent=True)) == pytest.approx(-200 / 45, abs=0.02)


def test_the_core_is_muscle_all_around():
    truth = phantom()
    core, muscle = myocardium_core(truth)[0], truth.labels[0, 0] == 1
    for y in range(1, SIZE - 1):
        for x in range(1, SIZE - 1):
            assert bool(core[y, x]) == bool(muscle[y - 1 : y + 2, x - 1 : x + 2].all())
    moved = Truth(
        truth.image[:, :2],
        labels=torch.stack([truth.labels[0, 0], truth.labels[0, 0].roll(2, -1)])[None],
        label_names=truth.label_names,
    )
    both = core & myocardium_core(Truth(moved.image, labels=moved.labels.roll(1, 1), label_names=truth.label_names))[0]
    assert bool((myocardium_core(moved)[0] == both).all())
    assert int(both.sum()) < int(core.sum())


def test_biases_become_rows_of_a_table_with_their_unit():
    truth = phantom()
    image = recovery((truth.T1[:, :1] * 1.1).clamp(min=1).double()) * background((1, 1, SIZE, SIZE))
    scores = evaluate_quantities(
        Reconstruction(image), truth, About(contrast="T1map", times=TI), ["T1 bias", "relative T1 bias"]
    )
    assert {name: tuple(value.shape) for name, value in scores.items()} == dict.fromkeys(scores, (1, 1))
    table = format_table(results_of(scores, {"method": "zero-filled"}))
    assert "T1 bias [ms]" in table
    assert "relative T1 bias [%]" in table
    assert "130.0" in table
    assert "10.00" in table


def test_simulated_maps_without_noise_have_their_times():
    """Within what ringing does to a wall of 1.9 mm pixels: T1 2 %, T2 3 %."""
    for contrast, name, most in (("T1map", "relative T1 bias", 2), ("T2map", "relative T2 bias", 3)):
        scan = Scan(contrast=contrast, matrix=(192, 192))
        acquisition, truth = simulate(Subject(2), scan, generator=torch.Generator().manual_seed(0))
        assert abs(float(evaluate_quantities(truth.image, truth, acquisition.about, [name])[name])) < most


IMAGE = recovery(torch.full((1, 1, 3, 3), 1000.0, dtype=torch.float64))
COMPLEX = IMAGE * background((1, 1, 3, 3))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_T1(COMPLEX, TI[:8]), "times: got 8, want 9, one for each frame"),
        (lambda: fit_T1(COMPLEX[:, :2], TI[:2]), "times: got 2, want 3 or more to fit T1 with its sign"),
        (lambda: fit_T1(IMAGE.abs()[:, :3], TI[:3]), "times: got 3, want 4 or more to fit T1 of magnitudes"),
        (lambda: fit_T2(IMAGE[:, :1], TI[:1]), "times: got 1, want 2 or more to fit T2"),
        (lambda: fit_T1(COMPLEX, TI[::-1]), "want increasing times, none twice"),
        (lambda: fit_T1(COMPLEX, (*TI[:8], TI[7])), "want increasing times, none twice"),
        (lambda: fit_T1(COMPLEX, (*TI[:8], math.nan)), "times: got .* want finite numbers in ms"),
        (lambda: fit_T1(COMPLEX, (*TI[:8], math.inf)), "times: got .* want finite numbers in ms"),
        (lambda: fit_T1(COMPLEX, "123456789"), "times: got '123456789', want numbers in ms"),
        (lambda: fit_T1(COMPLEX * math.nan, TI), "image: got 81 values that are NaN or infinite"),
        (lambda: fit_T1(IMAGE, TI), "image: got real values down to .* want magnitudes, or complex"),
        (lambda: fit_T1(COMPLEX[0], TI), "image: got 3 axes"),
        (lambda: fit_T2(COMPLEX.real.long(), TI), "image: got torch.int64, want complex images or magnitudes"),
        (lambda: fit_T1(COMPLEX, TI, mask=torch.ones(1, 3, 3)), "mask: got .* want a boolean tensor of shape"),
        (lambda: fit_T1(COMPLEX, TI, limits=(500.0, 100.0)), "limits: got .* want two times in ms"),
        (lambda: t1_bias(COMPLEX, phantom(), TI), "reconstruction: got shape .* want that of the truth"),
        (lambda: t1_bias(COMPLEX, Truth(COMPLEX), TI), "truth: got no label 'lv_myocardium'"),
        (lambda: myocardium_core(phantom(), "rv_blood"), "truth: got no label 'rv_blood'"),
        (
            lambda: t2_bias(
                torch.ones(1, 3, 24, 24),
                Truth(
                    torch.ones(1, 3, 24, 24, dtype=torch.complex64),
                    labels=phantom().labels[:, :3],
                    label_names=phantom().label_names,
                ),
                TE,
            ),
            "truth: got no T2, want the map of a simulated mapping scan",
        ),
        (lambda: evaluate_quantities(COMPLEX, phantom(), About(contrast="T1map"), ["T1 bias"]), "about: got no times"),
        (
            lambda: evaluate_quantities(COMPLEX, phantom(), About(contrast="T2map", times=TI), ["T1 bias"]),
            "about.contrast: got 'T2map', want 'T1map' for 'T1 bias'",
        ),
        (
            lambda: evaluate_quantities(COMPLEX, phantom(), About(contrast="T1map", times=TI), ["relative T2 bias"]),
            "about.contrast: got 'T1map', want 'T2map' for 'relative T2 bias'",
        ),
        (
            lambda: evaluate_quantities(COMPLEX, phantom(), About(times=TI), ["T1rho bias"]),
            "about.contrast: got 'cine', want 'T1rho' for 'T1rho bias'",
        ),
        (lambda: evaluate_quantities(COMPLEX, phantom(), About(), 5), "metrics: got 5, want names among T1 bias"),
        (lambda: evaluate_quantities(COMPLEX, phantom(), About(), None), "metrics: got None, want names among"),
        (lambda: evaluate(COMPLEX, COMPLEX, metrics=5), "metrics: got 5, want names among nmse"),
        (lambda: fit_T1(COMPLEX, 5), "times: got 5, want numbers in ms"),
        (lambda: fit_T1(COMPLEX, None), "times: got None, want numbers in ms"),
        (lambda: fit_T2(COMPLEX, torch.tensor(5.0)), "times: got tensor.5.., want numbers in ms"),
        (
            lambda: fit_T1(torch.ones(1, 9, 3, 3, dtype=torch.complex32), TI),
            "image: got torch.complex32, want complex images",
        ),
        (lambda: myocardium_core(phantom(), ["a"]), "name: got .'a'., want the name of a label"),
        (
            lambda: evaluate_quantities(COMPLEX, phantom(), About(), ["psnr"]),
            "metrics: got .* want names among T1 bias",
        ),
        (lambda: evaluate_quantities(COMPLEX, phantom(), None, [*QUANTITIES]), "about: got None"),
    ],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_what_cannot_be_fitted_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_a_wall_of_two_pixels_has_no_core():
    truth = phantom()
    thin = Truth(truth.image, labels=torch.where(truth.labels == 1, 0, truth.labels), label_names=truth.label_names)
    with pytest.raises(ValueError, match="truth: got 1 batch items without a pixel deep in 'lv_myocardium'"):
        myocardium_core(thin)
