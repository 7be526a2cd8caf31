"""k-t SPARSE-SENSE: against its update equations in their plainest form, and against its minimiser found otherwise.

What it shares with L+S (batches, gain, masks, maps, progress, settings) is tested in test_classical_low_rank_sparse.
"""

from __future__ import annotations

import pytest
import torch

from cmr_course.acquisition import Acquisition
from cmr_course.classical import CGSense
from cmr_course.classical.kt_sparse_sense import KtSparseSense
from tests.test_classical_low_rank_sparse import beating, dense, fourier_matrix, soft, tiny

FRAMES, PIXELS = 4, 15


def differences(n: int) -> torch.Tensor:
    """Row t: x_{t+1} − x_t, and from the last frame to the first."""
    return (torch.eye(n).roll(1, 1) - torch.eye(n)).to(torch.complex128)


def levels(acquisition: Acquisition, method: KtSparseSense) -> tuple[float, float]:
    """λ_f and λ_v in the units of the data."""
    E, d = dense(acquisition)
    largest = float((fourier_matrix(FRAMES) @ (E.mH @ d).reshape(FRAMES, PIXELS)).abs().max())
    return method.fourier * largest, method.variation * largest


def objective(acquisition: Acquisition, method: KtSparseSense, image: torch.Tensor) -> float:
    """½‖Ax − y‖² + λ_f‖F_t x‖₁ + λ_v‖D x‖₁, written out."""
    E, d = dense(acquisition)
    x, (level_f, level_v) = image.reshape(FRAMES, PIXELS), levels(acquisition, method)
    spectrum, change = fourier_matrix(FRAMES) @ x, differences(FRAMES) @ x
    return float((E @ x.flatten() - d).norm() ** 2 / 2 + level_f * spectrum.abs().sum() + level_v * change.abs().sum())


def minimiser(acquisition: Acquisition, method: KtSparseSense) -> torch.Tensor:
    """The same problem by ADMM with dense matrices: another algorithm, run long (Boyd et al. 2011, section 6.4)."""
    E, d = dense(acquisition)
    level_f, level_v = levels(acquisition, method)
    K = torch.kron(torch.cat([fourier_matrix(FRAMES), differences(FRAMES)]), torch.eye(PIXELS).to(torch.complex128))
    weight = 0.05
    inverse = torch.linalg.inv(E.mH @ E + weight * K.mH @ K + 1e-14 * torch.eye(E.shape[1]))
    z = torch.zeros(2 * FRAMES * PIXELS, dtype=torch.complex128)
    u, half = torch.zeros_like(z), FRAMES * PIXELS
    for _ in range(800):
        x = inverse @ (E.mH @ d + weight * K.mH @ (z - u))
        v = K @ x + u
        z = torch.cat([soft(v[:half], level_f / weight), soft(v[half:], level_v / weight)])
        u = v - z
    return x.reshape(1, FRAMES, 5, 3)


def test_it_is_fista_written_out():
    """Beck & Teboulle's equations with dense matrices and no variation, after each of eight iterations."""
    acquisition = tiny()
    method = KtSparseSense(
        fourier=0.03, variation=0.0, iterations=8, tolerance=0.0, step=0.8, keep_steps=True, progress=False
    )
    E, d = dense(acquisition)
    F, (level, _) = fourier_matrix(FRAMES), levels(acquisition, method)
    x = y = (0.8 * E.mH @ d).reshape(FRAMES, PIXELS)
    t = 1.0
    result = method(acquisition)
    assert len(result.steps) == 8
    for ours in result.steps:
        gradient = (E.mH @ (E @ y.flatten() - d)).reshape(FRAMES, PIXELS)
        new = F.mH @ soft(F @ (y - 0.8 * gradient), 0.8 * level)
        t_new = (1 + (1 + 4 * t**2) ** 0.5) / 2
        y = new + (t - 1) / t_new * (new - x)
        x, t = new, t_new
        torch.testing.assert_close(ours.reshape(FRAMES, PIXELS), x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("fourier", "variation"), [(0.02, 0.0), (0.0, 0.03), (0.02, 0.03)])
def test_it_ends_at_the_minimiser(fourier, variation):
    acquisition = tiny()
    method = KtSparseSense(fourier, variation, iterations=300, tolerance=0.0, keep_steps=True)
    result, expected = method(acquisition), minimiser(acquisition, method)
    least = objective(acquisition, method, expected)
    assert objective(acquisition, method, result.image) == pytest.approx(least, rel=1e-7)
    torch.testing.assert_close(result.image, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    values = [objective(acquisition, method, step) for step in result.steps[:60:6]]
    assert values[0] > values[2] > values[-1] > least - 1e-9 * least
    # FISTA's bound 2‖x₀ − x*‖²/(s(k + 1)²), s = 0.95/‖A‖² (theorem 4.4 there), with the proximal step inexact.
    E, d = dense(acquisition)
    largest = float(torch.linalg.eigvalsh(E.mH @ E)[-1])
    start = 0.95 / largest * (E.mH @ d).reshape(1, FRAMES, 5, 3)
    distance = float((start - expected).norm() ** 2)
    for k in (10, 30, 100):
        value = objective(acquisition, method, result.steps[k - 1])
        assert value - least <= 2 * distance * largest / 0.95 / (k + 1) ** 2


def test_without_weights_it_is_least_squares():
    """Both weights zero."""
    acquisition = tiny()
    E, d = dense(acquisition)
    expected = (torch.linalg.pinv(E, rtol=1e-9) @ d).reshape(1, FRAMES, 5, 3)
    result = KtSparseSense(fourier=0.0, variation=0.0, iterations=500, tolerance=0.0)(acquisition)
    torch.testing.assert_close(result.image, expected, rtol=1e-6, atol=1e-6)


def test_without_weights_it_agrees_with_cg_sense():
    acquisition, _ = beating()
    ours = KtSparseSense(fourier=0.0, variation=0.0, iterations=15, tolerance=0.0)(acquisition).image
    theirs = CGSense(regularisation=0.0, iterations=7, tolerance=0.0)(acquisition).image
    assert float((ours - theirs).norm()) < 0.15 * float(theirs.norm())


def test_much_variation_leaves_one_image_for_all_frames():
    """λ_v → ∞: what all frames together say of an object that does not move."""
    acquisition, _ = beating()
    image = KtSparseSense(fourier=0.0, variation=10.0, iterations=60, inner=20)(acquisition).image
    assert float((image - image.mean(1, keepdim=True)).norm()) < 0.02 * float(image.norm())
    assert float(image.norm()) > 0


def test_heavier_weights_give_sparser_spectra_and_smoother_series():
    acquisition, _ = beating()
    light, heavy = (KtSparseSense(fourier=f, variation=0.0)(acquisition).image for f in (1e-4, 3e-2))
    zeros = [float((torch.fft.fft(image, dim=1).abs() < 1e-5).float().mean()) for image in (light, heavy)]
    assert zeros[1] > zeros[0] + 0.3
    light, heavy = (KtSparseSense(fourier=0.0, variation=v)(acquisition).image for v in (1e-4, 1e-2))
    change = [float((image.roll(-1, 1) - image).abs().sum()) for image in (light, heavy)]
    assert change[1] < 0.7 * change[0]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fourier": -1.0}, "fourier: got -1.0"),
        ({"fourier": float("nan")}, "fourier: got nan"),
        ({"variation": float("inf")}, "variation: got inf"),
        ({"variation": "some"}, "variation: got 'some'"),
        ({"inner": 0}, "inner: got 0"),
    ],
)
def test_settings_out_of_range_say_so(options, message):
    with pytest.raises(ValueError, match=message):
        KtSparseSense(**options)
