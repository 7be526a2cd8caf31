"""Zero-filled and CG-SENSE: against a dense solve, against sigpy, and better than nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import classical
from cmr_course.acquisition import About, Acquisition, Reconstruction, Reconstructor
from cmr_course.classical import CGSense, ZeroFilled, conjugate_gradient
from cmr_course.coils import combine, normalise, rss, with_maps
from cmr_course.encoding import Encoding
from cmr_course.receiver import Receiver, receive
from cmr_course.sampling import Mask

seeds = st.integers(0, 99)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def lines(ky: int, acceleration: int, acs: int, kx: int) -> Mask:
    sampled = torch.zeros(ky, dtype=torch.bool)
    sampled[::acceleration] = True
    sampled[ky // 2 - acs // 2 : ky // 2 - acs // 2 + acs] = True
    return Mask(sampled[None, None, None, :, None], (acs, kx), "uniform", acceleration)


def measured(ky: int = 64, kx: int = 60, acceleration: int = 3, acs: int = 12, **settings) -> tuple:
    """An undersampled beating disc with texture, as a receiver of 8 coils would measure it, and its truth."""
    rows = (torch.arange(ky) - ky // 2)[:, None] / ky
    columns = (torch.arange(kx) - kx // 2)[None, :] / kx
    radius = (rows**2 + columns**2).sqrt()
    core = 0.12 + 0.04 * torch.cos(torch.arange(4) * torch.pi / 2)[:, None, None]
    image = (radius < 0.42) * (1 + 0.3 * torch.sin(40 * rows) * torch.cos(30 * columns)) - 0.6 * (radius < core)
    acquisition, truth = receive(
        image[None].to(torch.complex64),
        Receiver(n_coils=8, **settings),
        generator=torch.Generator().manual_seed(2),
        about=About(),
        pixel_size_mm=(340 / ky, 340 / kx),
    )
    return acquisition.undersample(lines(ky, acceleration, acs, kx)), truth


def error(result: Reconstruction, truth) -> float:
    return float((result.magnitude() - truth.magnitude()).norm() / truth.magnitude().norm())


# -------------------------------------------------------------------------------------------- conjugate gradients


@given(
    batch=st.integers(1, 2), frames=st.integers(1, 3), y=st.integers(1, 4), x=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_cg_solves_every_frame_exactly_in_as_many_steps_as_unknowns(batch, frames, y, x, seed):
    size = y * x
    mixing = draw(batch, frames, size, size, seed=seed)
    matrices = mixing @ mixing.mH + size * torch.eye(size)
    right = draw(batch, frames, y, x, seed=seed + 1)

    def normal(image: torch.Tensor) -> torch.Tensor:
        return (matrices @ image.flatten(2)[..., None])[..., 0].reshape(image.shape)

    found = conjugate_gradient(normal, right, iterations=2 * size, tolerance=0.0)
    expected = torch.linalg.solve(matrices, right.flatten(2)[..., None])[..., 0].reshape(right.shape)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_cg_stops_at_the_tolerance_and_lets_each_frame_rest():
    weights = torch.linspace(1, 50, 30, dtype=torch.float64).reshape(5, 6)
    right = draw(1, 3, 5, 6)
    right[0, 1] = 0
    right[0, 2] = 0
    right[0, 2, 2, 3] = 1  # an eigenvector: one step
    calls: list[torch.Tensor] = []
    found = conjugate_gradient(lambda x: weights * x, right, iterations=100, tolerance=1e-3, on_step=calls.append)
    residual = (right - weights * found).flatten(2).norm(dim=2) / right.flatten(2).norm(dim=2).clamp(min=1e-30)
    assert bool((residual <= 1e-3 * (1 + 1e-9)).all())
    assert 5 < len(calls) < 30
    assert torch.equal(found[0, 1], torch.zeros_like(found[0, 1]))
    assert torch.equal(calls[0][0, 2], calls[-1][0, 2])
    alone = conjugate_gradient(lambda x: weights * x, right[:, :1], iterations=100, tolerance=1e-3)
    torch.testing.assert_close(found[:, :1], alone, rtol=1e-12, atol=1e-12)


# -------------------------------------------------------------------------------------------------------- CG-SENSE


def test_cg_sense_is_the_regularised_least_squares_solution():
    ky, kx, lam = 6, 5, 0.03
    maps = normalise(draw(1, 1, 3, ky, kx))
    acquisition = Acquisition.fully_sampled(draw(1, 2, 3, ky, kx, seed=1), sensitivities=maps)
    acquisition = acquisition.undersample(lines(ky, 2, 2, kx))
    encoding = Encoding.of(acquisition)
    basis = torch.eye(ky * kx, dtype=torch.complex128).reshape(ky * kx, 1, ky, kx)
    wide = Encoding(maps.expand(ky * kx, -1, -1, -1, -1), acquisition.mask)
    matrix = wide.forward(basis).reshape(ky * kx, -1).T  # (samples, pixels), built column by column
    system = matrix.mH @ matrix + lam * torch.eye(ky * kx)
    data = acquisition.kspace.reshape(2, -1)
    expected = torch.linalg.solve(system, matrix.mH @ data.T).T.reshape(1, 2, ky, kx)
    result = CGSense(regularisation=lam, iterations=200, tolerance=1e-12)(acquisition)
    torch.testing.assert_close(result.image, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(matrix.mH @ data.T, encoding.adjoint(acquisition.kspace).reshape(2, -1).T)


def test_cg_sense_equals_sigpy():
    app = pytest.importorskip("sigpy.mri.app")
    acquisition, truth = measured()
    known = acquisition.with_sensitivities(truth.sensitivities)
    ours = CGSense(regularisation=0.02, iterations=100, tolerance=1e-7)(known).image[0]
    weights = acquisition.mask[0, 0, 0].expand(64, 60).numpy().astype("float32")
    for frame in (0, 2):
        theirs = app.SenseRecon(
            acquisition.kspace[0, frame].numpy(),
            truth.sensitivities[0, 0].numpy(),
            lamda=0.02,
            weights=weights,
            max_iter=100,
            tol=1e-9,
            show_pbar=False,
        ).run()
        difference = (ours[frame] - torch.from_numpy(theirs)).abs().max()
        assert difference < 1e-4 * ours.abs().max()


def test_cg_sense_undoes_what_zero_filling_cannot():
    acquisition, truth = measured()
    known = acquisition.with_sensitivities(truth.sensitivities)
    zero_filled, rss_filled = error(ZeroFilled()(acquisition), truth), error(ZeroFilled("rss")(acquisition), truth)
    with_espirit, with_known = error(CGSense()(acquisition), truth), error(CGSense()(known), truth)
    assert with_espirit < 0.5 * min(zero_filled, rss_filled)
    assert with_known < 0.5 * min(zero_filled, rss_filled)


def test_without_undersampling_noise_or_regularisation_the_truth_comes_back():
    acquisition, truth = measured(acceleration=1, snr_db=None)
    known = acquisition.with_sensitivities(truth.sensitivities)
    for method in (ZeroFilled(), CGSense(regularisation=0.0)):
        torch.testing.assert_close(method(known).image, truth.image, rtol=1e-4, atol=1e-5)


@given(gain=st.floats(1e-6, 1e6))
def test_regularisation_is_relative_so_intensity_does_not_matter(gain):
    maps = normalise(draw(1, 1, 3, 8, 7))
    acquisition = Acquisition.fully_sampled(draw(1, 1, 3, 8, 7, seed=1), sensitivities=maps)
    louder = Acquisition.fully_sampled(gain * acquisition.kspace, sensitivities=maps)
    mask, method = lines(8, 2, 2, 7), CGSense()
    image, loud = (method(item.undersample(mask)).image for item in (acquisition, louder))
    torch.testing.assert_close(loud / gain, image, rtol=1e-8, atol=1e-8)


def test_a_batch_is_reconstructed_as_its_items_are():
    acquisition, _ = measured()
    twice = Acquisition(
        torch.cat([acquisition.kspace, 0.1 * acquisition.kspace.flip(1)]), acquisition.mask, acquisition.acs
    )
    both = CGSense()(twice).image
    torch.testing.assert_close(both[:1], CGSense()(acquisition).image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1:].flip(1), 0.1 * both[:1], rtol=1e-3, atol=1e-4)


def test_steps_are_kept_on_request_and_approach_the_end():
    acquisition, _ = measured()
    assert CGSense()(acquisition).steps is None
    result = CGSense(iterations=8, tolerance=0.0, keep_steps=True)(acquisition)
    assert len(result.steps) == 8
    assert torch.equal(result.steps[-1], result.image)
    distance = [float((step - result.image).norm()) for step in result.steps]
    assert distance[0] > distance[3] > distance[6]


# ----------------------------------------------------------------------------------------------------- zero-filled


def test_zero_filled_is_the_inverse_transform_of_what_was_measured():
    acquisition, _ = measured()
    filled = with_maps(acquisition)
    sense = ZeroFilled()(acquisition)
    torch.testing.assert_close(sense.image, combine(acquisition.coil_images(), filled.sensitivities))
    torch.testing.assert_close(ZeroFilled()(filled).image, sense.image)
    plain = ZeroFilled("rss")(acquisition)
    assert plain.image.is_complex()
    assert bool((plain.image.imag == 0).all())
    torch.testing.assert_close(plain.magnitude(), rss(acquisition.coil_images()))
    assert plain.sensitivities is None


# -------------------------------------------------------------------------------------------------------- registry


@pytest.mark.parametrize("name", sorted(classical.METHODS))
def test_every_method_is_called_the_same_way(name):
    acquisition, _ = measured(ky=40, kx=41)
    before = acquisition.kspace.clone()
    method = classical.method(name)
    assert isinstance(method, Reconstructor)
    result = method(acquisition)
    assert isinstance(result, Reconstruction)
    assert result.image.shape == (1, 4, 40, 41)
    assert result.image.dtype == torch.complex64
    assert bool(torch.isfinite(result.magnitude()).all())
    assert torch.equal(acquisition.kspace, before)


def test_method_takes_settings():
    assert classical.method("cg-sense", iterations=7) == CGSense(iterations=7)
    assert classical.method("zero-filled-rss") == ZeroFilled("rss")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classical.method("magic"),
            "'magic', want one of zero-filled, zero-filled-rss, view-sharing",
        ),
        (lambda: ZeroFilled("sum"), "combination: got 'sum'"),
        (lambda: CGSense(regularisation=-1.0), "regularisation: got -1.0"),
        (lambda: CGSense(iterations=0), "iterations: got 0"),
        (lambda: CGSense(tolerance=1.0), "tolerance: got 1.0"),
        (lambda: conjugate_gradient(lambda x: x, draw(3, 4), iterations=1, tolerance=0.0), "right_side: got 2 axes"),
        (lambda: CGSense()(measured(acs=4)[0]), "acs: got 4 lines"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
