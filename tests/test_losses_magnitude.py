"""Losses of magnitudes: what they are by formula, when edges come in, and which network's features are meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, sobel
from torch import Tensor

from cmr_course import features
from cmr_course.acquisition import Reconstruction
from cmr_course.features import COURSE_VGG, VGG, VGG16, VGG16_FILE, Layout, names
from cmr_course.losses import (
    LOSSES,
    EdgeLoss,
    Loss,
    PerceptualLoss,
    Scheduled,
    build,
    loss_at,
    magnitude_mse,
    mse,
)
from cmr_course.training import Network, Recipe, SimulatedData, Term, Undersampling, fit
from cmr_course.training.log import read_log
from cmr_course.validate import require_settings
from tests.test_losses import SHAPE, drawn, of_scale

TWO = ("relu1_2", "relu2_2")


def drawn_weights(layout: Layout, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a VGG, equal in all input channels: a file of them is small, whatever the layout."""
    generator = torch.Generator().manual_seed(seed)
    weights, before = {}, 3
    for index, width in zip(names(layout).values(), (width for stage in layout for width in stage), strict=True):
        kernels = torch.randn(width, 1, 3, 3, generator=generator) / before
        weights[f"features.{index}.weight"] = kernels.expand(width, before, 3, 3)
        weights[f"features.{index}.bias"] = 0.1 * torch.randn(width, generator=generator)
        before = width
    return weights


@pytest.fixture(scope="module")
def course_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("features") / "course_vgg.safetensors"
    save_file({name: value.contiguous() for name, value in drawn_weights(COURSE_VGG).items()}, path)
    return path


@pytest.fixture(autouse=True)
def _course_features(course_file, monkeypatch) -> None:
    """Tests are of the loss, whatever the course's network has learned; and nobody's cache is read."""
    monkeypatch.setattr(features, "COURSE_VGG_FILE", course_file)
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(course_file.parent))


def found(image: Tensor) -> Reconstruction:
    return Reconstruction(image)


def as_complex(magnitude: np.ndarray | Tensor) -> Tensor:
    real = torch.as_tensor(magnitude, dtype=torch.float64)
    return torch.complex(real, torch.zeros_like(real))


def magnitude_losses() -> dict[str, Loss]:
    return {
        "magnitude_mse": magnitude_mse,
        "edge": EdgeLoss(0.4),
        "perceptual": PerceptualLoss("course", 0.4, TWO).double(),
    }


NAMES = ("magnitude_mse", "edge", "perceptual")


@pytest.mark.parametrize("name", NAMES)
def test_phase_does_not_count(name, generator):
    image, reference = drawn(generator, 2)
    acquisition, loss = of_scale(0.5, 3.0), magnitude_losses()[name]
    phases = torch.polar(torch.ones(SHAPE, dtype=torch.float64), 6 * torch.rand(SHAPE, generator=generator).double())
    assert float(loss(found(reference * phases), reference, acquisition)) == pytest.approx(0, abs=1e-25)
    turned = loss(found(image * phases), reference * phases.conj(), acquisition)
    torch.testing.assert_close(turned, loss(found(image), reference, acquisition))


def test_the_squared_error_by_hand():
    """||3 + 4j| − |−2|| = 3, at a scale of 2; not |3 + 4j + 2|."""
    reference = torch.full(SHAPE, -2.0, dtype=torch.complex128)
    image = torch.full(SHAPE, 3 + 4j, dtype=torch.complex128)
    assert float(magnitude_mse(found(image), reference, of_scale(2.0, 2.0))) == pytest.approx((3 / 2) ** 2)
    assert float(magnitude_mse(found(image), reference, replace(of_scale(2.0, 2.0), scale=None))) == pytest.approx(9)


def test_it_is_never_above_the_squared_error_of_the_complex_image(generator):
    for _ in range(5):
        image, reference = drawn(generator, 2)
        acquisition = of_scale(0.7, 2.0)
        assert magnitude_mse(found(image), reference, acquisition) < mse(found(image), reference, acquisition)


@given(unit=st.floats(1e-6, 1e6), name=st.sampled_from(NAMES))
def test_the_unit_of_the_signal_does_not_matter(unit, name):
    image, reference = drawn(torch.Generator().manual_seed(0), 2)
    loss = magnitude_losses()[name]
    usual = loss(found(image), reference, of_scale(0.5, 3.0))
    scaled = loss(found(unit * image), unit * reference, of_scale(0.5 * unit, 3.0 * unit))
    torch.testing.assert_close(scaled, usual, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_the_mean_of_its_examples(name, generator):
    """Each divided by its own scale, and for the features by its own largest value."""
    image, reference = drawn(generator, 2)
    reference = reference * torch.tensor([1.0, 40.0]).view(2, 1, 1, 1)
    loss, scales = magnitude_losses()[name], (0.5, 30.0)
    alone = [
        loss(found(image[place : place + 1]), reference[place : place + 1], of_scale(scale))
        for place, scale in enumerate(scales)
    ]
    torch.testing.assert_close(loss(found(image), reference, of_scale(*scales)), sum(alone) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name, generator):
    image, reference = (one[:, :2, :, :] for one in drawn(generator, 2))
    loss, acquisition = magnitude_losses()[name], of_scale(0.7, 2.0)
    image = image.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: loss(found(one), reference, acquisition), (image,))


@pytest.mark.parametrize("name", NAMES)
def test_empty_and_perfect_images_have_a_finite_loss_and_gradient(name, generator):
    (reference,) = drawn(generator)
    empty = torch.zeros_like(reference)
    for image, wanted in ((reference, reference), (empty, reference), (reference, empty), (empty, empty)):
        image = image.clone().requires_grad_()
        loss = magnitude_losses()[name](found(image), wanted, of_scale(1.0, 1.0))
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())


# Edges


def edges(image: Tensor, reference: Tensor, scale: tuple[float, ...], gain: float) -> float:
    """Mean squared difference of both derivatives, with scipy's Sobel operator, which has the classic whole numbers."""
    terms = []
    for one, wanted, unit in zip(image.abs().numpy(), reference.abs().numpy(), scale, strict=True):
        for frame, true in zip(one / unit, wanted / unit, strict=True):
            for axis in (0, 1):
                difference = sobel(frame, axis, mode="nearest") - sobel(true, axis, mode="nearest")
                terms.append(gain / 8 * difference)
    y_and_x = np.square(terms).reshape(-1, 2, *image.shape[-2:])
    return float(y_and_x.sum(1).mean())


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("gain", [8.0, 1.0, 3.0])
def test_edges_are_those_of_the_formula(alpha, gain, generator):
    """(1 − α)·‖x − r‖² + α·‖Sobel(x) − Sobel(r)‖², scipy's Sobel operator for the second."""
    image, reference = drawn(generator, 2)
    scale = (0.5, 3.0)
    acquisition = of_scale(*scale)
    squared = float(magnitude_mse(found(image), reference, acquisition))
    wanted = (1 - alpha) * squared + alpha * edges(image, reference, scale, gain)
    assert float(EdgeLoss(alpha, gain=gain)(found(image), reference, acquisition)) == pytest.approx(wanted, rel=1e-12)


def test_both_directions_count_alike(generator):
    image, reference = drawn(generator, 2)
    loss, acquisition = EdgeLoss(1.0), of_scale(1.0, 1.0)
    turned = replace(
        of_scale(1.0, 1.0), kspace=acquisition.kspace.mT, mask=torch.ones(1, 1, 1, 4, 1).bool(), acs=(4, 5)
    )
    torch.testing.assert_close(loss(found(image.mT), reference.mT, turned), loss(found(image), reference, acquisition))


def test_a_ramp_by_hand():
    """A slope of one per pixel along y and two along x: (8² + 16²) with the classic operator, away from the border."""
    ramp = torch.arange(40.0)[:, None] + 2 * torch.arange(40.0)
    reference = torch.zeros(1, 1, 40, 40, dtype=torch.complex128)
    bare = replace(of_scale(1.0), scale=None)
    whole = float(EdgeLoss(1.0)(found(as_complex(ramp)[None, None]), reference, bare))
    assert 0.94 * (64 + 256) < whole < 64 + 256  # half the slope at the border
    assert float(EdgeLoss(1.0, gain=1.0)(found(as_complex(ramp)[None, None]), reference, bare)) * 64 == pytest.approx(
        whole
    )


def test_alpha_at_its_ends_gives_the_pure_losses(generator):
    image, reference = drawn(generator, 2)
    acquisition = of_scale(0.5, 3.0)
    squared = magnitude_mse(found(image), reference, acquisition)
    none, all_ = (EdgeLoss(alpha)(found(image), reference, acquisition) for alpha in (0.0, 1.0))
    torch.testing.assert_close(none, squared)
    torch.testing.assert_close(EdgeLoss(0.3)(found(image), reference, acquisition), 0.7 * squared + 0.3 * all_)
    brighter = found(as_complex(reference.abs() + 1))  # no edge is another one
    assert float(EdgeLoss(1.0)(brighter, reference, acquisition)) == pytest.approx(0, abs=1e-12)
    assert float(EdgeLoss(0.0)(brighter, reference, acquisition)) > 0.1


@pytest.mark.parametrize("first", [0, 1, 7, 100])
def test_edges_come_in_with_that_iteration(first, generator):
    """Iterations 0 to `first` − 1 have the squared error alone; the paper's 100 is the default."""
    image, reference = drawn(generator, 2)
    acquisition = of_scale(1.0, 1.0)
    loss = EdgeLoss() if first == 100 else EdgeLoss(first=first)
    assert isinstance(loss, Scheduled)
    squared = magnitude_mse(found(image), reference, acquisition)
    with_edges = loss(found(image), reference, acquisition)
    assert with_edges > squared
    for step in {0, 1, first - 2, first - 1, first, first + 1, 10_000} - {-1, -2}:
        wanted = squared if step < first else with_edges
        assert torch.equal(loss.at(step)(found(image), reference, acquisition), wanted)
        assert torch.equal(loss_at(loss, step)(found(image), reference, acquisition), wanted)


def test_other_losses_are_the_same_at_every_step():
    assert loss_at(magnitude_mse, 0) is magnitude_mse
    assert loss_at(mse, 500) is mse
    perceptual = PerceptualLoss("course")
    assert loss_at(perceptual, 0) is perceptual


def test_the_paper_has_a_fifth_of_edges():
    assert repr(EdgeLoss()) == "EdgeLoss(alpha=0.2, first=100, gain=8)"
    assert repr(build("edge", {"alpha": 0.5, "first": 3})) == "EdgeLoss(alpha=0.5, first=3, gain=8)"


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_a_blurred_edge_costs_more_than_the_same_error_spread_out(alpha):
    """What the loss is for: the squared error cannot tell them apart."""
    truth = np.ones((32, 32))
    truth[:, 16:] = 2.0
    blurred = gaussian_filter(truth, 1.5, mode="nearest")
    power = ((blurred - truth) ** 2).mean()
    wave = np.sin(2 * np.pi * np.arange(32) / 32)[:, None] * np.ones(32)
    spread = [truth + power**0.5, truth + wave * (power / (wave**2).mean()) ** 0.5]
    reference, acquisition = as_complex(truth)[None, None], replace(of_scale(1.0), scale=None)
    loss = EdgeLoss(alpha)

    def of(one: Loss, image: np.ndarray) -> float:
        return float(one(found(as_complex(image)[None, None]), reference, acquisition))

    for other in spread:
        assert of(magnitude_mse, other) == pytest.approx(of(magnitude_mse, blurred))
        assert of(loss, blurred) > (1 + alpha) * of(loss, other)


def test_a_training_switches_to_edges_at_that_step(tmp_path):
    """Two trainings of one seed are the same up to there, and no longer."""
    masks = Undersampling(("uniform",), (4.0, 4.0))
    data = SimulatedData(matrices=((32, 32),), frames=(2,), coils=(1,), masks=masks, maps="known", pool=2)
    network = Network("3d-cnn", {"design": "naive", "filters": 2})
    logs = []
    for name, losses in (
        ("pixels", {"magnitude_mse": 1.0}),
        ("edges", {"edge": Term(1.0, {"alpha": 0.5, "first": 3})}),
    ):
        recipe = Recipe("tiny", network, data, losses, 5, log_every=1, checkpoint_every=5, device="cpu")
        fit(recipe, tmp_path / name, progress=False)
        logs.append([line["loss"] for line in read_log(tmp_path / name / "log.jsonl")])
    pixels, with_edges = logs
    assert pixels[:3] == with_edges[:3]
    assert all(one < other for one, other in zip(pixels[3:], with_edges[3:], strict=True))
    assert len(pixels) == len(with_edges) == 5


# Features


def test_features_are_compared_as_the_formula_says(generator):
    """(1 − α)·‖x − r‖² + α·mean over taps ‖F(x) − F(r)‖², F of images whose reference goes up to one."""
    image, reference = drawn(generator, 2)
    network = VGG(COURSE_VGG, {key: value.double() for key, value in drawn_weights(COURSE_VGG).items()}, TWO)
    distances = []
    for one, true in zip(image.abs(), reference.abs(), strict=True):
        peak = true.max()
        x, r = (network((part / peak).reshape(-1, 1, *SHAPE[-2:]).expand(-1, 3, -1, -1)) for part in (one, true))
        distances.append([float((x[tap] - r[tap]).square().mean()) for tap in TWO])
    scale = of_scale(0.5, 3.0)
    wanted = 0.7 * float(magnitude_mse(found(image), reference, scale)) + 0.3 * np.mean(distances)
    loss = PerceptualLoss("course", 0.3, TWO).double()
    assert float(loss(found(image), reference, scale)) == pytest.approx(wanted, rel=1e-5)


def test_alpha_of_the_features_at_its_ends_gives_the_pure_losses(generator):
    image, reference = drawn(generator, 2)
    acquisition = of_scale(0.5, 3.0)
    squared = magnitude_mse(found(image), reference, acquisition)
    pixels, both, all_ = (
        PerceptualLoss("course", alpha).double()(found(image), reference, acquisition) for alpha in (0.0, 0.2, 1.0)
    )
    torch.testing.assert_close(pixels, squared)
    torch.testing.assert_close(both, 0.8 * squared + 0.2 * all_)
    louder = replace(acquisition, scale=10 * acquisition.scale)  # features do not see the scale of the data
    torch.testing.assert_close(PerceptualLoss("course", 1.0).double()(found(image), reference, louder), all_)
    assert float(PerceptualLoss("course", 1.0).double()(found(reference), reference, acquisition)) == 0


def test_the_gradient_goes_into_the_output_and_no_weight_learns(generator):
    image, reference = drawn(generator, 2)
    loss = PerceptualLoss("course", 1.0).double()
    image.requires_grad_()
    reference.requires_grad_()
    loss(found(image), reference, of_scale(1.0, 1.0)).backward()
    assert bool((image.grad != 0).any())
    assert reference.grad is None or not bool(reference.grad.any())
    parameters = list(loss.parameters())
    assert parameters
    assert not any(parameter.requires_grad for parameter in parameters)
    assert all(parameter.grad is None for parameter in parameters)


def test_taps_matter_and_are_averaged(generator):
    image, reference = drawn(generator, 2)
    acquisition = of_scale(1.0, 1.0)
    first, second, both = (
        PerceptualLoss("course", 1.0, taps).double()(found(image), reference, acquisition)
        for taps in (TWO[:1], TWO[1:], TWO)
    )
    assert not torch.allclose(first, second)
    torch.testing.assert_close(both, (first + second) / 2)


def test_single_precision_will_do_whatever_the_weights_have(generator):
    """A double loss of a single image, and the other way round: the features have the precision of their weights."""
    image, reference = drawn(generator, 2)
    wanted = PerceptualLoss("course").double()(found(image), reference, of_scale(1.0, 1.0))
    single = [one.to(torch.complex64) for one in (image, reference)]
    got = PerceptualLoss("course")(found(single[0]), single[1], of_scale(1.0, 1.0, dtype=torch.complex64))
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(float(wanted), rel=1e-4)
    mixed = PerceptualLoss("course")(found(image), reference, of_scale(1.0, 1.0))
    assert float(mixed) == pytest.approx(float(wanted), rel=1e-4)


def test_nothing_random_is_drawn():
    before = torch.get_rng_state()
    PerceptualLoss("course")
    EdgeLoss()
    assert torch.equal(torch.get_rng_state(), before)


# Which features


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """A folder of fetched weights, which holds nothing."""
    monkeypatch.setenv("CMR_COURSE_WEIGHTS", str(tmp_path))
    return tmp_path


def test_no_other_network_takes_the_place_of_a_missing_one(photographs):
    with pytest.raises(FileNotFoundError, match=rf"{VGG16_FILE}: no such file.*`cmr-course fetch vgg16`") as caught:
        PerceptualLoss("vgg16")
    assert str(caught.value).startswith(str(photographs))
    with pytest.raises(FileNotFoundError, match=r"fetch vgg16"):
        build("perceptual", {"features": "vgg16"})
    assert list(photographs.iterdir()) == []


def test_nor_of_the_courses_own(photographs, monkeypatch):
    torch.save(drawn_weights(VGG16), photographs / VGG16_FILE)
    monkeypatch.setattr(features, "COURSE_VGG_FILE", photographs / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors: no such file"):
        PerceptualLoss("course")


def test_fetched_weights_are_used_and_it_says_so(photographs, generator):
    weights = drawn_weights(VGG16, seed=4)
    torch.save({**weights, "classifier.0.weight": torch.zeros(2, 2)}, photographs / VGG16_FILE)
    loss = PerceptualLoss("vgg16", 1.0)
    assert "features of vgg16, taps=relu2_2" in repr(loss)
    assert "features of course, taps=relu2_2" in repr(PerceptualLoss("course"))
    (image, reference), acquisition = drawn(generator, 2), of_scale(1.0, 1.0)
    network = VGG(VGG16, weights, ["relu2_2"])
    peak = reference.abs().amax((1, 2, 3), keepdim=True)
    x, r = (network((one.abs() / peak).float().reshape(-1, 1, *SHAPE[-2:]))["relu2_2"] for one in (image, reference))
    got = float(loss(found(image), reference, acquisition))
    assert got == pytest.approx(float((x - r).square().mean()), rel=1e-5)
    other = float(PerceptualLoss("course", 1.0)(found(image), reference, acquisition))
    assert got != pytest.approx(other, rel=1e-2)


@pytest.mark.bad_input
def test_damaged_and_wrong_weights_are_refused(photographs, monkeypatch):
    torch.save(drawn_weights(COURSE_VGG), photographs / VGG16_FILE)
    with pytest.raises(ValueError, match=rf"{VGG16_FILE}: lacks features\."):
        PerceptualLoss("vgg16")
    damaged = photographs / "course.safetensors"
    damaged.write_bytes(b"no tensors")
    monkeypatch.setattr(features, "COURSE_VGG_FILE", damaged)
    with pytest.raises(ValueError, match=r"course\.safetensors: is damaged, or holds no weights"):
        PerceptualLoss("course")


# Bad input


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("edge", {"alpha": 1.1}, "alpha: got 1.1, want a share from 0 to 1"),
        ("edge", {"alpha": -0.1}, "alpha: got -0.1"),
        ("edge", {"alpha": float("nan")}, "alpha: got nan"),
        ("edge", {"alpha": True}, "alpha: got True"),
        ("edge", {"alpha": "0.2"}, "alpha: got '0.2'"),
        ("edge", {"first": -1}, "first: got -1"),
        ("edge", {"first": 2.5}, "first: got 2.5"),
        ("edge", {"gain": 0}, "gain: got 0, want a number above zero"),
        ("edge", {"alfa": 0.2}, "loss edge: got alfa, want settings among alpha, first, gain"),
        ("mse", {"alpha": 0.2}, "loss mse: got alpha, want settings among none"),
        ("perceptual", {}, "loss perceptual: lacks features, which has no default"),
        ("perceptual", {"alpha": 0.2}, "loss perceptual: lacks features"),
        ("perceptual", {"features": "vgg19"}, "features: got 'vgg19', want one of course, vgg16"),
        ("perceptual", {"features": None}, "features: got None, want one of course, vgg16"),
        ("perceptual", {"features": "course", "alpha": 2}, "alpha: got 2"),
        ("perceptual", {"features": "course", "taps": ["relu9_1"]}, "taps: got relu9_1, want some of conv1_1"),
        ("perceptual", {"features": "course", "taps": []}, "taps: got none"),
        ("edges", {}, "loss: got 'edges', want one of l1, mse"),
        (["edge"], {}, r"loss: got \['edge'\], want one of l1, mse"),
    ],
)
def test_bad_settings_are_named(name, given, said):
    with pytest.raises(ValueError, match=said):
        build(name, given)


@pytest.mark.bad_input
def test_settings_are_looked_at_without_making_the_loss(photographs):
    require_settings("loss perceptual", LOSSES["perceptual"], {"features": "vgg16", "alpha": 0.1, "taps": ["relu3_3"]})
    require_settings("loss mse", LOSSES["mse"], {})
    with pytest.raises(ValueError, match=r"loss perceptual: got feature, want settings among features, alpha, taps"):
        require_settings("loss perceptual", LOSSES["perceptual"], {"feature": "vgg16"})


@pytest.mark.bad_input
@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_named(name, generator):
    image, reference = drawn(generator, 2)
    with pytest.raises(ValueError, match=r"reference: got shape \(1, 3, 5, 4\), want that of the image"):
        magnitude_losses()[name](found(image), reference[:1], of_scale(1.0, 1.0))


@pytest.mark.bad_input
def test_images_too_small_for_the_features_and_steps_that_are_none_are_named(generator):
    image, reference = drawn(generator, 2)
    with pytest.raises(ValueError, match=r"images: got \(5, 4\) pixels, want at least 8 along each axis"):
        PerceptualLoss("course", taps=["relu4_1"]).double()(found(image), reference, of_scale(1.0, 1.0))
    for step in (-1, 1.5, None):
        with pytest.raises(ValueError, match=rf"step: got {step}"):
            loss_at(EdgeLoss(), step)
