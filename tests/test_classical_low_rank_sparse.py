"""L+S: against its update equations in their plainest form, and what it makes of a beating disc."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import classical_speed
from cmr_course.acquisition import About, Acquisition
from cmr_course.classical import CGSense, ZeroFilled
from cmr_course.classical.kt_sparse_sense import KtSparseSense
from cmr_course.classical.low_rank_sparse import LowRankSparse
from cmr_course.coils import normalise
from cmr_course.encoding import Encoding
from cmr_course.receiver import Receiver, receive
from cmr_course.sampling import Mask, kt_radial, kt_uniform

METHODS = (LowRankSparse, KtSparseSense)
both = pytest.mark.parametrize("method", METHODS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


def tiny(
    batch: int = 1, frames: int = 4, ky: int = 5, kx: int = 3, *, moving_maps: bool = False, seed: int = 0
) -> Acquisition:
    """Random k-space of three coils with random maps, half the samples of every frame measured, in complex128."""
    maps = normalise(draw(batch, frames if moving_maps else 1, 3, ky, kx, seed=seed))
    full = Acquisition.fully_sampled(draw(batch, frames, 3, ky, kx, seed=seed + 1), sensitivities=maps)
    sampled = torch.rand(1, frames, 1, ky, kx, generator=torch.Generator().manual_seed(seed)) < 0.5
    sampled[..., ky // 2, kx // 2] = True
    return full.undersample(Mask(sampled, (1, 1)))


def dense(acquisition: Acquisition) -> tuple[torch.Tensor, torch.Tensor]:
    """(E, d) of the first batch item: k-space = E @ image, all frames in one vector."""
    encoding = Encoding.of(acquisition)
    frames, (ky, kx) = acquisition.n_frames, acquisition.matrix
    basis = torch.eye(frames * ky * kx, dtype=torch.complex128).reshape(-1, 1, frames, ky, kx)
    columns = [encoding.forward(image).flatten() for image in basis]
    return torch.stack(columns, 1), acquisition.kspace.flatten()


def fourier_matrix(n: int) -> torch.Tensor:
    """The centred unitary DFT over n frames, entry by entry."""
    index = torch.arange(n, dtype=torch.float64) - n // 2
    phase = -2 * torch.pi * index[:, None] * index[None, :] / n
    return torch.polar(torch.full_like(phase, n**-0.5), phase)


def soft(values: torch.Tensor, level: float) -> torch.Tensor:
    magnitude = values.abs()
    return torch.where(magnitude > level, values * (1 - level / magnitude.clamp(min=1e-300)), 0)


def beating(snr_db: float | None = 30.0, acs: int = 8) -> tuple[Acquisition, torch.Tensor]:
    """A textured disc around a beating core as 8 coils measure it, every sixth line, shifted in time; and its truth."""
    ky, kx, frames = 48, 45, 8
    rows = (torch.arange(ky) - ky // 2)[:, None] / ky
    columns = (torch.arange(kx) - kx // 2)[None, :] / kx
    radius = (rows**2 + columns**2).sqrt()
    core = 0.12 + 0.04 * torch.cos(2 * torch.pi * torch.arange(frames) / frames)[:, None, None]
    image = (radius < 0.42) * (1 + 0.3 * torch.sin(40 * rows) * torch.cos(30 * columns)) - 0.6 * (radius < core)
    acquisition, truth = receive(
        image[None].to(torch.complex64),
        Receiver(n_coils=8, snr_db=snr_db),
        generator=torch.Generator().manual_seed(2),
        about=About(),
        pixel_size_mm=(340 / ky, 340 / kx),
    )
    mask = kt_uniform(ky, frames, 6, acs=acs)
    return acquisition.with_sensitivities(truth.sensitivities).undersample(mask), truth.image


def error(image: torch.Tensor, truth: torch.Tensor) -> float:
    return float((image.abs() - truth.abs()).norm() / truth.norm())


# ---------------------------------------------------------------------------------------------- update equations


def test_it_is_the_iteration_of_otazo_candes_and_sodickson():
    """Their algorithm 1 with dense matrices and a full SVD, t = 1, after each of seven iterations."""
    acquisition = tiny()
    E, d = dense(acquisition)
    frames, pixels = 4, 15
    T = fourier_matrix(frames)
    M = (E.mH @ d).reshape(frames, pixels).T  # Casorati: a row for each pixel, a column for each frame
    level_l = 0.1 * torch.linalg.svdvals(M)[0]
    level_s = 0.05 * (M @ T.T).abs().max()
    L, S, steps = M, torch.zeros_like(M), []
    for _ in range(7):
        U, sigma, Vh = torch.linalg.svd(M - S, full_matrices=False)
        L, S = U @ torch.diag((sigma - level_l).clamp(min=0) + 0j) @ Vh, soft((M - L) @ T.T, level_s) @ T.conj()
        steps.append(L + S)
        M = L + S - (E.mH @ (E @ (L + S).T.flatten() - d)).reshape(frames, pixels).T
    method = LowRankSparse(
        low_rank=0.1, sparse=0.05, transform="fourier", iterations=7, tolerance=0.0, step=1.0, keep_steps=True
    )
    result = method(acquisition)
    assert len(result.steps) == 7
    for ours, theirs in zip(result.steps, steps, strict=True):
        torch.testing.assert_close(ours.reshape(frames, pixels).T, theirs, rtol=1e-10, atol=1e-10)
    low, sparse = method.split(acquisition)
    torch.testing.assert_close(low.reshape(frames, pixels).T, L, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(sparse.reshape(frames, pixels).T, S, rtol=1e-10, atol=1e-10)
    assert torch.equal(result.image, low + sparse)
    assert float(S.norm()) > 0.01 * float(L.norm())  # neither part is idle


@pytest.mark.parametrize("transform", ["fourier", "difference"])
def test_it_ends_at_a_minimiser(transform):
    """Where it ends, no small change of L or S lowers the objective, written out here."""
    acquisition = tiny()
    E, d = dense(acquisition)
    T, pixels = fourier_matrix(4), 15
    start = (E.mH @ d).reshape(4, pixels)
    level_l, level_s = 0.05 * torch.linalg.svdvals(start)[0], 0.03 * (T @ start).abs().max()

    def objective(low: torch.Tensor, sparse: torch.Tensor) -> float:
        change = T @ sparse if transform == "fourier" else sparse.roll(-1, 0) - sparse
        misfit = (E @ (low + sparse).flatten() - d).norm() ** 2 / 2
        return float(misfit + level_l * torch.linalg.svdvals(low).sum() + level_s * change.abs().sum())

    method = LowRankSparse(low_rank=0.05, sparse=0.03, iterations=300, tolerance=0.0, transform=transform, step=0.9)
    low, sparse = (part.reshape(4, pixels) for part in method.split(acquisition))
    least = objective(low, sparse)
    for seed in range(40):
        size = 10.0 ** -(1 + seed % 4)
        moved = draw(2, 4, pixels, seed=seed) * size * (low + sparse).norm() / (8 * pixels) ** 0.5
        assert objective(low + moved[0], sparse + moved[1]) > least - 1e-6 * least
        assert objective(low + moved[0], sparse - moved[0]) > least - 1e-6 * least
    assert least < objective(start, torch.zeros_like(start))


def test_without_thresholds_or_noise_it_solves_the_equations():
    acquisition = tiny(frames=3)
    sampled = Acquisition.fully_sampled(acquisition.kspace, sensitivities=acquisition.sensitivities)
    result = LowRankSparse(low_rank=0.0, sparse=0.0, tolerance=0.0, step=0.5)(sampled)
    torch.testing.assert_close(result.image, ZeroFilled()(sampled).image, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------ properties of both methods


@both
@settings(max_examples=6)
@given(
    frames=st.integers(1, 4), ky=st.integers(2, 6), kx=st.integers(1, 5), moving=st.booleans(), seed=st.integers(0, 99)
)
def test_a_batch_is_reconstructed_as_its_items_are(method, frames, ky, kx, moving, seed):
    """Also where one item is far louder, or empty, or arrives earlier; odd sizes, one frame, maps of each frame."""
    acquisition = tiny(3, frames, ky, kx, moving_maps=moving, seed=seed)
    loudness = torch.tensor([1.0, 1e3, 0.0]).view(3, 1, 1, 1, 1)
    many = Acquisition(loudness * acquisition.kspace, acquisition.mask, (1, 1), acquisition.sensitivities)
    run = method(iterations=8, tolerance=1e-2)
    together = run(many).image
    assert bool(torch.isfinite(together.abs()).all())
    assert not bool(together[2].any())
    for item in range(3):
        part = slice(item, item + 1)
        alone = run(Acquisition(many.kspace[part], many.mask, (1, 1), many.sensitivities[part])).image
        torch.testing.assert_close(together[part], alone, rtol=1e-8, atol=1e-8)


@both
@settings(max_examples=6)
@given(gain=st.floats(1e-4, 1e4), turn=st.floats(0, 6.3))
def test_gain_and_phase_of_the_data_are_those_of_the_image(method, gain, turn):
    acquisition = tiny()
    factor = gain * torch.polar(torch.tensor(1.0).double(), torch.tensor(turn).double())
    turned = Acquisition(factor * acquisition.kspace, acquisition.mask, (1, 1), acquisition.sensitivities)
    run = method(iterations=10)
    torch.testing.assert_close(run(turned).image / factor, run(acquisition).image, rtol=1e-8, atol=1e-8)


@both
def test_the_first_frame_is_no_special_one(method):
    """Both priors are circular in time: a heart beat that starts one frame later gives the same images."""
    acquisition = tiny(frames=5, moving_maps=True)
    later = Acquisition(
        acquisition.kspace.roll(1, 1), acquisition.mask.roll(1, 1), (1, 1), acquisition.sensitivities.roll(1, 1)
    )
    # The power iteration's start is no series of this heart's, so the step is given.
    run = method(iterations=15, tolerance=0.0, step=1.0)
    torch.testing.assert_close(run(later).image, run(acquisition).image.roll(1, 1), rtol=1e-8, atol=1e-8)


@both
def test_it_undoes_what_frame_by_frame_methods_cannot(method):
    acquisition, truth = beating()
    zero_filled, cg = error(ZeroFilled()(acquisition).image, truth), error(CGSense()(acquisition).image, truth)
    found = error(method()(acquisition).image, truth)
    assert found < 0.6 * cg < 0.6 * zero_filled


@both
def test_coil_maps_are_estimated_where_there_are_none(method):
    acquisition, _ = beating(acs=14)
    bare = Acquisition(acquisition.kspace, acquisition.mask, acquisition.acs)
    result = method(iterations=2)(bare)
    assert result.sensitivities.shape == (1, 1, 8, 48, 45)
    assert result.image.dtype == torch.complex64


@both
def test_radial_masks_and_maps_of_each_frame(method):
    acquisition, truth = beating(snr_db=None)
    maps = acquisition.sensitivities.expand(-1, 8, -1, -1, -1).contiguous()
    full = Acquisition.fully_sampled(
        Encoding(maps, torch.ones(1, 1, 1, 48, 1, dtype=torch.bool)).forward(truth), sensitivities=maps
    )
    radial = full.undersample(kt_radial(48, 45, 8, 16))
    result = method()(radial)
    assert error(result.image, truth) < 0.5 * error(ZeroFilled()(radial).image, truth)


def test_thresholds_that_take_all_at_first_do_not_end_it():
    """Then L = S = 0 and M₁ = M₀: nothing has changed, and nothing has been found."""
    result = LowRankSparse(low_rank=10.0, iterations=6, keep_steps=True)(beating()[0])
    assert len(result.steps) == 6
    assert float(result.image.abs().max()) > 0


@both
def test_it_stops_when_nothing_moves_and_steps_are_kept_on_request(method):
    acquisition, _ = beating()
    assert method(iterations=2)(acquisition).steps is None
    early = method(iterations=40, tolerance=0.02, keep_steps=True)(acquisition)
    late = method(iterations=40, tolerance=0.0, keep_steps=True)(acquisition)
    assert 2 <= len(early.steps) < 25
    assert len(late.steps) == 40
    assert torch.equal(late.steps[-1], late.image)
    for mine, other in zip(early.steps, late.steps, strict=False):
        torch.testing.assert_close(mine, other)


@both
def test_step_follows_maps_that_are_not_normalised(method):
    """Maps twice as large and an image half as large are the same k-space: the thresholds follow, and it converges."""
    acquisition, _ = beating()
    plain = method(iterations=8)(acquisition).image
    louder = method(iterations=8)(acquisition.with_sensitivities(2 * acquisition.sensitivities)).image
    torch.testing.assert_close(2 * louder, plain, rtol=1e-3, atol=1e-4)


@both
def test_one_frame_is_an_image_of_shrunk_magnitudes(method):
    """The spectrum is the image: fully sampled, what comes back is darker than least squares and never brighter."""
    acquisition = tiny(frames=1)
    full = Acquisition.fully_sampled(acquisition.kspace, sensitivities=acquisition.sensitivities)
    shrinking = (
        {"low_rank": 0.1, "sparse": 1.0, "transform": "fourier"} if method is LowRankSparse else {"fourier": 0.1}
    )
    image = method(iterations=100, **shrinking)(full).image
    least_squares = ZeroFilled()(full).image
    assert float(image.norm()) < 0.95 * float(least_squares.norm())
    assert bool((image.abs() <= least_squares.abs() + 1e-6).all())


# ----------------------------------------------------------------------------------------------------- what L and S are


@pytest.mark.parametrize("transform", ["fourier", "difference"])
def test_what_stands_still_is_low_rank_and_what_beats_is_sparse(transform):
    acquisition, truth = beating()
    low, sparse = LowRankSparse(low_rank=0.05, sparse=0.005, transform=transform).split(acquisition)
    motion = truth.abs().std(1)
    beats = motion > 0.2 * motion.max()
    power = (sparse - sparse.mean(1, keepdim=True)).abs().square().mean(1)
    assert float(power[beats].mean()) > 20 * float(power[~beats].mean())
    rank = int(torch.linalg.matrix_rank(low.flatten(2).to(torch.complex128), rtol=1e-3))
    assert rank <= 3
    assert int(torch.linalg.matrix_rank((low + sparse).flatten(2).to(torch.complex128), rtol=1e-3)) > rank


def test_a_still_series_is_of_rank_one():
    acquisition, truth = beating(snr_db=None)
    still = truth[:, :1].expand_as(truth)
    kspace = Encoding.of(acquisition).forward(still.contiguous())
    measured = Acquisition(kspace, acquisition.mask, acquisition.acs, acquisition.sensitivities)
    low, sparse = LowRankSparse(low_rank=0.01, sparse=0.1, transform="fourier", iterations=150).split(measured)
    assert float((low - low.mean(1, keepdim=True)).norm()) < 0.02 * float(low.norm())
    assert float(sparse.norm()) < 0.05 * float(low.norm())


# ----------------------------------------------------------------------------------------------------------- progress


class Terminal:
    """A stderr that says it is a terminal, and remembers."""

    encoding = "utf-8"

    def __init__(self, terminal: bool) -> None:
        self.terminal, self.text = terminal, ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@both
@pytest.mark.parametrize(
    ("terminal", "patience", "asked", "seen"),
    [(True, 0.0, True, True), (True, 60.0, True, False), (False, 0.0, True, False), (True, 0.0, False, False)],
)
def test_progress_only_on_a_terminal_and_only_when_it_takes_long(
    method, terminal, patience, asked, seen, monkeypatch, capsys
):
    stderr = Terminal(terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr("cmr_course.classical.iteration.PATIENCE", patience)
    method(iterations=3, progress=asked)(tiny())
    assert ("/3" in stderr.text) == seen
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------------ time and memory


@pytest.mark.slow
def test_fifty_iterations_take_ten_seconds_and_less_than_the_memory_of_a_laptop():
    """12 frames x 10 coils x 128 x 128 on two cores, in a process of its own."""
    median, _, peak = classical_speed.alone(classical_speed.LIMITED, threads=2)
    assert median <= classical_speed.SECONDS
    assert peak <= classical_speed.MEGABYTES


# ---------------------------------------------------------------------------------------------------------- bad input


def spoilt(value: float, part: str) -> Acquisition:
    """A tiny acquisition with one bad value in its k-space or maps."""
    acquisition = tiny()
    tensor = getattr(acquisition, part).clone()
    tensor[0, 0, 0, 2, 1] = value
    parts = {"kspace": acquisition.kspace, "sensitivities": acquisition.sensitivities} | {part: tensor}
    return Acquisition(parts["kspace"], acquisition.mask, (1, 1), parts["sensitivities"])


@pytest.mark.bad_input
@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations: got 0"),
        ({"iterations": 2.0}, "iterations: got 2.0"),
        ({"tolerance": 1.0}, "tolerance: got 1.0"),
        ({"step": 0.0}, "step: got 0.0"),
        ({"step": "long"}, "step: got 'long'"),
        ({"keep_steps": 1}, "keep_steps: got 1"),
        ({"progress": None}, "progress: got None"),
    ],
)
def test_shared_settings_out_of_range_say_so(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)


@pytest.mark.bad_input
@both
def test_bad_acquisitions_say_so(method):
    for acquisition, message in (
        (tiny().kspace, "acquisition: got Tensor"),
        (spoilt(float("nan"), "kspace"), "kspace: got 1 values that are NaN"),
        (spoilt(float("inf"), "sensitivities"), "sensitivities: got 1 values that are NaN or infinite"),
        (Acquisition(tiny().kspace, tiny().mask, (1, 1)), "acs: got"),
    ):
        with pytest.raises(ValueError, match=message):
            method()(acquisition)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_rank": -0.1}, "low_rank: got -0.1"),
        ({"low_rank": float("nan")}, "low_rank: got nan"),
        ({"sparse": float("inf")}, "sparse: got inf"),
        ({"sparse": "a little"}, "sparse: got 'a little'"),
        ({"transform": "wavelet"}, "transform: got 'wavelet', want 'fourier' or 'difference'"),
    ],
)
def test_settings_out_of_range_say_so(options, message):
    with pytest.raises(ValueError, match=message):
        LowRankSparse(**options)


@both
@pytest.mark.parametrize("factor", [1e18, 1e-18])
def test_single_precision_holds_for_large_and_small_data(method, factor):
    """Squares of such values do not fit into float32, and the stopping rule needs them."""
    acquisition = beating()[0]
    scaled = Acquisition(
        acquisition.kspace * factor, acquisition.mask, acquisition.acs, sensitivities=acquisition.sensitivities
    )
    usual, other = (method(iterations=12)(one).image for one in (acquisition, scaled))
    assert float((other / factor - usual).abs().max()) < 1e-2 * float(usual.abs().max())
