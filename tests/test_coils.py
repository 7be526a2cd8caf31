"""Coils: expansion and combination, noise, compression, Biot-Savart fields, ESPIRiT against sigpy and known maps."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmr_course import coils
from cmr_course.acquisition import Acquisition
from cmr_course.fourier import fft2c
from cmr_course.plane import Plane, cross, unit
from cmr_course.receiver import VENDORS

sizes = st.tuples(*[st.integers(1, 7)] * 5)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def chest(y: int, x: int, n_coils: int = 6, noise: float = 1e-3) -> tuple[torch.Tensor, ...]:
    """K-space of a textured ellipse in known maps; (k-space, maps, where the ellipse is)."""
    maps = coils.normalise(coils.biot_savart(n_coils, (y, x), (330.0, 350.0), dtype=torch.complex128))
    rows = (torch.arange(y, dtype=torch.float64) - y // 2)[:, None] / y
    columns = (torch.arange(x, dtype=torch.float64) - x // 2)[None, :] / x
    inside = (columns / 0.42) ** 2 + (rows / 0.33) ** 2 < 1
    image = (inside * (1 + 0.4 * torch.sin(16 * columns) * torch.cos(11 * rows))).to(torch.complex128)
    kspace = fft2c(coils.expand(image[None, None], maps))
    return kspace + noise * draw(*kspace.shape, seed=5), maps, inside


# ---------------------------------------------------------------------------------------------- expand and combine


@given(shape=sizes, moving=st.booleans(), seed=st.integers(0, 999))
def test_combine_is_the_adjoint_of_expand(shape, moving, seed):
    batch, frames, n_coils, y, x = shape
    maps = draw(batch, frames if moving else 1, n_coils, y, x, seed=seed)
    image, coil_images = draw(batch, frames, y, x, seed=seed + 1), draw(*shape, seed=seed + 2)
    left = torch.vdot(coils.expand(image, maps).flatten(), coil_images.flatten())
    right = torch.vdot(image.flatten(), coils.combine(coil_images, maps).flatten())
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@given(shape=sizes, seed=st.integers(0, 999))
def test_normalised_maps_undo_the_expansion_and_keep_the_root_sum_of_squares(shape, seed):
    batch, frames, n_coils, y, x = shape
    maps = coils.normalise(draw(batch, 1, n_coils, y, x, seed=seed))
    image = draw(batch, frames, y, x, seed=seed + 1)
    coil_images = coils.expand(image, maps)
    torch.testing.assert_close(coils.combine(coil_images, maps), image, rtol=0, atol=1e-12)
    torch.testing.assert_close(coils.rss(coil_images), image.abs(), rtol=0, atol=1e-12)


def test_normalised_maps_are_zero_off_their_support():
    maps = draw(2, 1, 3, 4, 5)
    maps[0, :, :, 0, 0] = 0
    support = torch.ones(2, 4, 5, dtype=torch.bool)
    support[1, 2, 3] = False
    power = coils.normalise(maps, support).abs().square().sum(2)[:, 0]
    expected = support.double()
    expected[0, 0, 0] = 0
    torch.testing.assert_close(power, expected)


# ---------------------------------------------------------------------------------------------------------- noise


def covariance(n: int, seed: int = 3) -> torch.Tensor:
    mixing = draw(n, n, seed=seed)
    return mixing @ mixing.mH + 0.5 * torch.eye(n)


def test_noise_covariance_is_counted_per_channel():
    sigma = torch.tensor([0.5, 2.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    real, imaginary = (torch.randn(2, 200_000, dtype=torch.float64, generator=generator) for _ in range(2))
    estimate = coils.noise_covariance(torch.complex(real, imaginary) * sigma[:, None])
    torch.testing.assert_close(estimate.diagonal().real, sigma**2, rtol=0.02, atol=0)
    assert estimate[0, 1].abs() < 0.02


@given(n=st.integers(1, 8), seed=st.integers(0, 999))
def test_whitened_noise_has_the_identity_as_covariance(n, seed):
    # Noise whose sample covariance is exactly Ψ, so that the answer is exact too.
    samples = torch.linalg.qr(draw(40, n, seed=seed)).Q.mH * math.sqrt(2 * 40)
    psi = covariance(n, seed)
    noise = torch.linalg.cholesky(psi) @ samples
    torch.testing.assert_close(coils.noise_covariance(noise), psi, rtol=1e-10, atol=1e-10)
    white = coils.whiten(noise.reshape(1, 1, n, 8, 5), psi)[0, 0].flatten(1)
    identity = torch.eye(n, dtype=torch.complex128)
    torch.testing.assert_close(coils.noise_covariance(white), identity, rtol=0, atol=1e-8)
    torch.testing.assert_close(coils.compress_covariance(psi, coils.whitening(psi)), identity, rtol=0, atol=1e-8)


@given(rank=st.integers(1, 4), extra=st.integers(0, 4), seed=st.integers(0, 999))
def test_compression_to_the_rank_keeps_all_energy_and_orders_it(rank, extra, seed):
    n_coils = rank + extra
    sources = draw(2, 3, rank, 5, 6, seed=seed)
    kspace = torch.einsum("cr,bfryx->bfcyx", draw(n_coils, rank, seed=seed + 1), sources)
    virtual, matrix = coils.compress(kspace, rank)
    assert virtual.shape == (2, 3, rank, 5, 6)
    torch.testing.assert_close(virtual.norm(), kspace.norm(), rtol=1e-10, atol=0)
    torch.testing.assert_close(coils.rss(virtual), coils.rss(kspace), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(virtual, coils.apply_matrix(matrix, kspace))
    energy = virtual.abs().square().sum((0, 1, 3, 4))
    assert bool((energy[:-1] >= energy[1:] * (1 - 1e-12)).all())
    torch.testing.assert_close(matrix @ matrix.mH, torch.eye(rank, dtype=torch.complex128), rtol=0, atol=1e-10)


def test_compression_after_whitening_has_white_noise_and_ignores_a_coil_that_is_only_loud():
    kspace, psi = draw(1, 1, 3, 16, 16), torch.eye(3, dtype=torch.complex128)
    kspace[:, :, 2] *= 10  # loud, but all of it noise
    kspace[:, :, 0] *= 3
    psi[2, 2] = 100
    _, plain = coils.compress(kspace, 1)
    _, white = coils.compress(kspace, 1, psi)
    assert int(plain.abs().argmax()) == 2
    assert int(white.abs().argmax()) == 0
    _, matrix = coils.compress(kspace, 2, covariance(3))
    after = coils.compress_covariance(covariance(3), matrix)
    torch.testing.assert_close(after, torch.eye(2, dtype=torch.complex128), rtol=0, atol=1e-10)


# ---------------------------------------------------------------------------------------------------- Biot-Savart


@given(radius=st.floats(20, 80), height=st.floats(-150, 150), seed=st.integers(0, 999))
def test_loop_field_on_the_axis_is_the_textbook_one(radius, height, seed):
    # B = μ0 I R² / (2 (R² + z²)^(3/2)), along the axis.
    normal = draw(3, seed=seed).real
    normal = normal / normal.norm()
    centre = 100 * draw(3, seed=seed + 1).real
    field = coils.loop_field(centre, normal, radius, (centre + height * normal)[None])[0]
    expected = 4 * math.pi * 100 * radius**2 / (2 * (radius**2 + height**2) ** 1.5)
    torch.testing.assert_close(field, expected * normal, rtol=1e-10, atol=1e-10)


def test_loop_field_far_away_is_a_dipole_and_has_no_sources():
    centre, normal = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    point = torch.tensor([[900.0, 300.0, -700.0]], dtype=torch.float64)
    moment = math.pi * 10.0**2 * normal
    distance, unit = point.norm(), point[0] / point.norm()
    dipole = 100 * (3 * unit * (moment @ unit) - moment) / distance**3
    assert (coils.loop_field(centre, normal, 10.0, point)[0] - dipole).norm() < 1e-3 * dipole.norm()

    near = torch.tensor([[31.0, 12.0, 17.0]], dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda p: coils.loop_field(centre, normal, 50.0, p)[0], near)[:, 0]
    curl = jacobian - jacobian.T
    scale = jacobian.abs().max()
    assert abs(jacobian.trace()) < 1e-9 * scale  # div B = 0
    assert curl.abs().max() < 1e-9 * scale  # no current here: curl B = 0


def test_maps_follow_the_stated_convention_and_geometry():
    layout = coils.ChestArray()
    maps = coils.biot_savart(2, (33, 31), (330.0, 310.0), layout=layout, dtype=torch.complex128)
    assert maps.shape == (1, 1, 2, 33, 31)
    centres, normals = layout.loops(2)
    field = coils.loop_field(centres[0], normals[0], 50.0, torch.zeros(1, 3, dtype=torch.float64), conductor_mm=20.0)
    torch.testing.assert_close(maps[0, 0, 0, 16, 15], torch.complex(field[0, 0], -field[0, 1]) / 2)
    rows = maps[0, 0, :, :, 15].abs()
    assert rows[0, 8] > rows[0, 16] > rows[0, 24]  # the anterior loop sees the front, the top of the image, best
    assert rows[1, 8] < rows[1, 16] < rows[1, 24]


@given(n_coils=st.integers(1, 24))
def test_loops_lie_outside_the_chest_and_look_in(n_coils):
    layout = coils.ChestArray()
    centres, normals = layout.loops(n_coils)
    assert centres.shape == normals.shape == (n_coils, 3)
    half_y, half_x = (length / 2 for length in layout.body_mm)
    assert bool(((centres[:, 0] / half_x) ** 2 + (centres[:, 1] / half_y) ** 2 > 1).all())
    assert bool(((centres * normals)[:, :2].sum(1) < 0).all())
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(n_coils, dtype=torch.float64))
    spacing = torch.cdist(centres, centres) + 1e9 * torch.eye(n_coils)
    assert spacing.min() > 10


@given(n_coils=st.integers(1, 32))
def test_loops_around_a_body_lie_in_their_rows_outside_it(n_coils):
    layout = coils.ChestArray().in_body(55.0, 0.0, -55.0)
    assert layout.body_mm == (250.0, 360.0)
    centres, _ = layout.loops(n_coils)
    assert set(centres[:, 2].tolist()) <= {55.0, 0.0, -55.0}
    if n_coils >= 6:
        assert len(set(centres[:, 2].tolist())) == 3
        assert centres[:, 1].min() < -125
        assert centres[:, 1].max() > 125
    spacing = torch.cdist(centres, centres) + 1e9 * torch.eye(n_coils)
    assert spacing.min() > 20


OBLIQUE = Plane((-35.0, -20.0, 10.0), unit((1.0, 0.6, -0.5)), unit(cross((0.2, 0.5, 1.0), (1.0, 0.6, -0.5))))


def test_maps_of_a_plane_are_the_sensitivities_at_its_place():
    layout = coils.ChestArray().in_body(50.0, -50.0)
    shape, size = (30, 21), (330.0, 252.0)
    maps = coils.biot_savart(5, shape, size, layout=layout, plane=OBLIQUE, dtype=torch.complex128)[0, 0]
    centre, right, down = (torch.tensor(v, dtype=torch.float64) for v in (OBLIQUE.centre, OBLIQUE.right, OBLIQUE.down))
    place = centre + (7 - 15) * 11.0 * down + (16 - 10) * 12.0 * right
    for coil, (middle, normal) in enumerate(zip(*layout.loops(5), strict=True)):
        field = coils.loop_field(middle, normal, 50.0, place[None], conductor_mm=20.0)[0]
        torch.testing.assert_close(maps[coil, 7, 16], torch.complex(field[0], -field[1]) / 2)

    axial = Plane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    given, usual = (coils.biot_savart(3, shape, size, plane=plane) for plane in (axial, None))
    assert torch.equal(given, usual)


def test_several_planes_come_along_the_batch_axis():
    planes = [OBLIQUE, OBLIQUE.moved(30.0)]
    both = coils.biot_savart(4, (20, 24), (300.0, 320.0), plane=planes, spacing_mm=9.0)
    assert both.shape == (2, 1, 4, 20, 24)
    for plane, maps in zip(planes, both, strict=True):
        alone = coils.biot_savart(4, (20, 24), (300.0, 320.0), plane=plane, spacing_mm=9.0)[0]
        assert (maps - alone).norm() < 1e-4 * alone.norm()
    assert (both[0] - both[1]).norm() > 0.05 * both[0].norm()


@pytest.mark.parametrize("vendor", sorted(VENDORS))
@pytest.mark.parametrize(
    ("plane", "shape"),
    [
        (Plane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), (100, 128)),
        (OBLIQUE, (101, 64)),
        (Plane((-40.0, -20.0, 10.0), unit((1.0, 1.0, 0.0)), (0.0, 0.0, 1.0)), (60, 224)),
    ],
)
def test_interpolated_maps_equal_the_exact_ones_in_the_body(vendor, plane, shape):
    layout, n_coils = VENDORS[vendor].body_array, VENDORS[vendor].n_coils
    settings = {"layout": layout, "plane": plane}
    exact = coils.biot_savart(n_coils, shape, (300.0, 384.0), dtype=torch.complex128, **settings)[0, 0]
    quick = coils.biot_savart(n_coils, shape, (300.0, 384.0), spacing_mm=9.0, **settings)[0, 0]
    x, y, z = plane.points(shape, (300.0, 384.0))
    body = ((x / 180) ** 2 + (y / 125) ** 2 < 1) & (z.abs() < 150)
    assert body.float().mean() > 0.3
    error = (quick - exact).abs().square().sum(0).sqrt() / exact.abs().square().sum(0).sqrt()
    assert error[body].max() < 1e-3
    heart = ((x + 40) ** 2 + (y + 20) ** 2 + z**2).sqrt() < 60
    assert error[heart].max() < 2e-4


def test_body_points_fill_the_body():
    layout = coils.ChestArray().in_body(0.0)
    points = coils.body_points(layout, spacing_mm=10.0, length_mm=200.0)
    assert bool(((points[:, 0] / 180) ** 2 + (points[:, 1] / 125) ** 2 < 1).all())
    volume = math.pi * 180 * 125 * 200
    assert len(points) * 10.0**3 == pytest.approx(volume, rel=0.1)
    torch.testing.assert_close(points.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n_coils", [4, 10, 24])
def test_maps_are_smooth_inside_the_body(n_coils):
    size, field_of_view = 120, 360.0
    maps = coils.normalise(coils.biot_savart(n_coils, (size, size), (field_of_view, field_of_view)))[0, 0]
    place = (torch.arange(size) - size // 2) * field_of_view / size
    half_y, half_x = (length / 2 for length in coils.ChestArray().body_mm)
    body = (place[:, None] / half_y) ** 2 + (place[None, :] / half_x) ** 2 < 1
    for axis in (-2, -1):
        step = maps.diff(dim=axis).abs().square().sum(0).sqrt()
        both = body.narrow(axis, 1, size - 1) & body.narrow(axis, 0, size - 1)
        assert step[both].max() < 0.2  # of a vector of length one, from one pixel of 3 mm to the next


# --------------------------------------------------------------------------------------------------------- ESPIRiT


@pytest.mark.parametrize("shape", [(44, 48), (45, 43)])
def test_espirit_equals_sigpy_up_to_phase(shape):
    app = pytest.importorskip("sigpy.mri.app")
    kspace, _, _ = chest(*shape)
    settings = {"calib_width": 24, "thresh": 0.02, "kernel_width": 6, "crop": 0.9, "max_iter": 300}
    theirs = torch.from_numpy(app.EspiritCalib(kspace[0, 0].numpy(), show_pbar=False, **settings).run())
    ours = coils.espirit(kspace, (24, 24), kernel=6, threshold=0.02, crop=0.9)[0, 0]
    support, other = ours.abs().sum(0) > 0, theirs.abs().sum(0) > 0
    assert 0.3 < support.double().mean() < 0.9
    assert (support != other).double().mean() < 0.005
    overlap = (theirs.conj() * ours).sum(0).abs()[support & other]
    assert overlap.min() > 1 - 1e-3


def test_espirit_finds_known_maps_where_there_is_signal():
    kspace, maps, inside = chest(64, 60, n_coils=8)
    found = coils.espirit(kspace, (24, 24))
    assert found.shape == (1, 1, 8, 64, 60)
    power = found.abs().square().sum(2)[0, 0]
    assert bool(((power - 1).abs() < 1e-6)[inside].all())
    assert bool((((power - 1).abs() < 1e-6) | (power == 0)).all())
    overlap = (found.conj() * maps).sum(2).abs()[0, 0][inside]
    assert overlap.min() > 0.99
    assert overlap.mean() > 0.9995


def test_espirit_reads_the_centre_only_and_averages_frames_where_they_were_sampled():
    kspace, _, _ = chest(40, 44)
    frames = kspace.repeat(1, 4, 1, 1, 1)
    alone = coils.espirit(kspace, (16, 20))
    outside = frames.clone()
    outside[:, :, :, :12] = 0  # lines that are not ACS play no part
    outside[:, 1:3, :, 14:20] = 0  # and an ACS line needs to be measured in one frame only
    torch.testing.assert_close(coils.espirit(outside, (16, 20)), alone, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        coils.calibration_region(outside, (16, 20)), kspace[:, 0, :, 12:28, 12:32], rtol=1e-12, atol=1e-12
    )


def test_espirit_phase_is_that_of_the_strongest_combination():
    kspace, _, inside = chest(48, 48)
    found = coils.espirit(kspace, (24, 24))
    _, matrix = coils.compress(coils.calibration_region(kspace, (24, 24))[:, None], 1)
    reference = coils.apply_matrix(matrix, found)[0, 0, 0]
    assert reference.real.min() > -1e-9
    assert reference.imag.abs()[inside].max() < 1e-9


def test_espirit_takes_each_batch_item_alone_and_follows_the_dtype():
    first, second = chest(40, 40)[0], chest(40, 40, noise=0.05)[0].flip(-1)
    both = coils.espirit(torch.cat([first, second]), (20, 20))
    torch.testing.assert_close(both[1:], coils.espirit(second, (20, 20)))
    single = coils.espirit(first.to(torch.complex64), (20, 20))
    assert single.dtype == torch.complex64
    agree = (single.to(torch.complex128).conj() * both[:1]).sum(2).abs()
    assert agree[(both[:1].abs().sum(2) > 0) & (single.abs().sum(2) > 0)].min() > 1 - 1e-3


def test_espirit_is_quick():
    kspace = chest(128, 128, n_coils=10)[0].to(torch.complex64)
    begin = time.perf_counter()
    coils.espirit(kspace, (24, 24))
    assert time.perf_counter() - begin < 6  # the budget is 2 s


def test_with_maps_fills_maps_and_scale():
    acquisition = Acquisition.fully_sampled(chest(40, 44)[0])
    filled = coils.with_maps(acquisition, kernel=5)
    assert filled.sensitivities is not None
    torch.testing.assert_close(filled.sensitivities, coils.espirit(acquisition.kspace, acquisition.acs, kernel=5))
    image = coils.combine(filled.coil_images(), filled.sensitivities).abs().numpy()
    np.testing.assert_allclose(filled.scale, [np.percentile(image, 99)], rtol=1e-9)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: coils.noise_covariance(draw(4, 3)), "noise: got 3 samples of 4 coils"),
        (lambda: coils.noise_covariance(draw(2, 9).real), "noise: got real values"),
        (lambda: coils.whitening(draw(2, 3)), "covariance: got 2 x 3"),
        (lambda: coils.whitening(draw(3, 3)), "covariance: got a matrix that is not Hermitian"),
        (lambda: coils.whitening(-covariance(3)), "covariance: got a matrix that is not positive definite"),
        (lambda: coils.whiten(draw(1, 1, 4, 8, 8), covariance(3)), r"covariance: got \(3, 3\), want \(4, 4\)"),
        (lambda: coils.compress(draw(1, 1, 4, 8, 8), 5), "n_coils: got 5, want 1 to 4"),
        (lambda: coils.biot_savart(0, (8, 8), (300.0, 300.0)), "n_coils: got 0"),
        (lambda: coils.biot_savart(4, (8, 8), (300.0, -1.0)), "field_of_view_mm: got -1.0"),
        (lambda: coils.biot_savart(4, (8, 8), (300.0, 300.0), spacing_mm=0.0), "spacing_mm: got 0.0"),
        (lambda: coils.biot_savart(4, (8, 8), (300.0, 300.0), plane=[]), "plane: got .*, want a Plane"),
        (lambda: coils.biot_savart(4, (8, 8), (300.0, 300.0), plane="sax"), "plane: got 'sax', want a Plane"),
        (lambda: coils.ChestArray(radius_mm=0.0), "radius_mm: got 0.0"),
        (lambda: coils.ChestArray(rows_mm=()), r"rows_mm: got \(\)"),
        (lambda: coils.ChestArray(rows_mm=(math.inf,)), r"rows_mm: got \(inf,\)"),
        (lambda: coils.body_points(coils.ChestArray(), length_mm=-1.0), "length_mm: got -1.0"),
        (lambda: coils.normalise(draw(1, 1, 4, 8, 8).real), "maps: got real values"),
        (lambda: coils.espirit(draw(1, 4, 8, 8), (8, 8)), "kspace: got 4 axes"),
        (lambda: coils.espirit(draw(1, 1, 4, 24, 24), (0, 24)), r"acs: got \(0, 24\), want a fully sampled centre"),
        (lambda: coils.espirit(draw(1, 1, 4, 24, 24), (5, 24)), "acs: got 5 lines x 24 points .* the kernel, 6"),
        (lambda: coils.espirit(draw(1, 1, 4, 24, 24), (8, 24), threshold=1.0), "threshold: got 1.0"),
        (lambda: coils.espirit(torch.zeros(1, 1, 4, 24, 24) * 1j, (8, 24)), "kspace: got 8 empty lines in the centre"),
        (lambda: coils.espirit(draw(1, 1, 2, 8, 8), (8, 8)), r"kspace: got a matrix of \(8, 8\), want at least 11"),
        (lambda: coils.espirit(draw(1, 1, 4, 24, 24) * torch.nan, (8, 24)), "kspace: got .* NaN or infinite"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_an_acs_too_small_for_maps_is_refused_and_no_blank_map_returned():
    kspace, _, _ = chest(48, 40)
    assert (coils.espirit(kspace, (16, 40)) != 0).any()
    with pytest.raises(ValueError, match=r"acs: got 6 lines x 6 points, from which maps cover \d+ % of the signal"):
        coils.espirit(kspace, (6, 6))


@pytest.mark.bad_input
def test_maps_that_fit_no_coil_image_are_refused_instead_of_broadcast():
    kspace, maps, _ = chest(24, 20, n_coils=3)
    for bad in (kspace[:, :, :1], kspace[..., :1, :], kspace[..., :1]):
        with pytest.raises(ValueError, match="sensitivities: got shape"):
            coils.combine(bad, maps)
    with pytest.raises(ValueError, match="coil_images: got 4 axes"):
        coils.rss(kspace[0])


@pytest.mark.bad_input
def test_nothing_but_zeros_in_all_coils_has_the_gradient_zero():
    images = torch.zeros(1, 1, 2, 2, 2, dtype=torch.complex128)
    images[..., 0, 0] = 3 + 4j
    images.requires_grad_()
    coils.rss(images).sum().backward()
    assert torch.isfinite(torch.view_as_real(images.grad)).all()
    assert images.grad[..., 0, 0].abs().sum() > 0
    assert (images.grad[..., 1, :] == 0).all()


@pytest.mark.bad_input
def test_a_lazily_conjugated_tensor_is_a_tensor():
    noise = draw(3, 50)
    torch.testing.assert_close(coils.noise_covariance(noise.conj()), coils.noise_covariance(noise).conj())
