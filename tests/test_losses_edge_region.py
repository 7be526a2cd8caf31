"""SSIM of the reference's edges: the literal threshold is plain SSIM, and the mask keeps what it says and where."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.image import sobel
from cmr_course.losses import EdgeRegionLoss, SSIMLoss, build
from cmr_course.losses.edge_region import smoothed_edges


def bare(image: torch.Tensor) -> Acquisition:
    """An acquisition that fits `image` and has no scale."""
    batch, frames, y, x = image.shape
    mask = torch.ones(1, 1, 1, y, 1, dtype=torch.bool)
    return Acquisition(torch.zeros(batch, frames, 1, y, x, dtype=image.dtype), mask, (y, x))


def pair(generator, *shape: int, dtype=torch.complex128) -> tuple[torch.Tensor, torch.Tensor]:
    """A reference and an image that resembles it."""
    reference = torch.randn(*shape, dtype=dtype, generator=generator) + 2
    return reference + 0.3 * torch.randn(*shape, dtype=dtype, generator=generator), reference


def of(loss, image, reference) -> torch.Tensor:
    return loss(Reconstruction(image), reference, bare(image))


def step_image(column: int, y: int = 24, x: int = 32) -> torch.Tensor:
    """Dark on the left, bright from `column` on."""
    return (1.0 + (torch.arange(x) >= column)).expand(1, 1, y, x).to(torch.complex128)


SETTINGS = ({}, {"window": "gaussian"}, {"unit": "range"}, {"region": "heart", "heart": (12, 13)})


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("literal", [{"threshold": 0}, {"threshold": 0.0}, {"share": 1}])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_the_literal_threshold_is_plain_ssim_to_the_last_bit(settings, literal, dtype, generator):
    image, reference = pair(generator, 2, 2, 16, 15, dtype=dtype)
    reference[0, 0, :8] = 0
    image = image.requires_grad_()
    found, plain = (
        of(EdgeRegionLoss(**literal, **settings), image, reference),
        of(SSIMLoss(**settings), image, reference),
    )
    assert torch.equal(found, plain)
    (slope,), (plain_slope,) = torch.autograd.grad(found, image), torch.autograd.grad(plain, image)
    assert torch.equal(slope, plain_slope)


@given(
    share=st.floats(0.02, 1.0),
    y=st.integers(11, 24),
    x=st.integers(11, 24),
    unit=st.sampled_from([1.0, 1e-8, 1e5]),
    look=st.sampled_from([{}, {"unit": "range"}]),
)
def test_the_mask_keeps_the_share_of_every_frame(share, y, x, unit, look):
    """To within a pixel: those at the quantile or above it."""
    _, reference = pair(torch.Generator().manual_seed(y * x), 2, 3, y, x)
    reference = unit * reference * torch.tensor([1.0, 30.0, 0.1]).view(3, 1, 1)
    mask = EdgeRegionLoss(share, **look).mask(reference, bare(reference))
    assert mask.shape == reference.shape
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    kept = mask.sum((-2, -1))
    assert bool(((kept - share * y * x).abs() <= 1).all())


@given(column=st.integers(8, 24))
def test_the_mask_follows_an_edge(column):
    """Sobel sees a step in the two columns beside it, and the mean of 5 × 5 spreads that by two on each side."""
    reference = step_image(column)
    mask = EdgeRegionLoss(share=6 / 32).mask(reference, bare(reference))
    near = (torch.arange(32) >= column - 3) & (torch.arange(32) < column + 3)
    assert torch.equal(mask[0, 0], near.expand(24, 32).double())


def test_the_mask_is_that_of_the_equations(generator):
    """Written out once: 5 × 5 mean of the length of the Sobel gradient, and its quantile."""
    _, reference = pair(generator, 1, 1, 20, 21)
    along_y, along_x = sobel(reference.abs()[0, 0])
    edges = (along_y**2 + along_x**2).sqrt()
    rows, columns = (torch.arange(-2, n + 2).clamp(0, n - 1) for n in edges.shape)  # it repeats its last pixel
    mean = avg_pool2d(edges[rows][:, columns][None, None], 5, stride=1)
    got = smoothed_edges(reference.abs())
    assert got.shape == (1, 1, 20, 21)
    torch.testing.assert_close(got, mean)
    wanted = (got >= torch.quantile(got, 0.9)).double()
    assert torch.equal(EdgeRegionLoss(0.1).mask(reference, bare(reference)), wanted)


def test_errors_away_from_edges_do_not_count(generator):
    reference = step_image(10)
    away, at_edge = reference.clone(), reference.clone()
    noise = torch.rand(1, 1, 24, 8, dtype=torch.float64, generator=generator)
    away[..., 20:28] += noise
    at_edge[..., 6:14] += noise
    loss = EdgeRegionLoss(share=6 / 32)
    assert float(of(loss, away, reference)) == pytest.approx(0, abs=1e-12)
    assert float(of(loss, at_edge, reference)) > 0.05
    assert float(of(SSIMLoss(), away, reference)) > 0.05


def test_a_fixed_threshold_has_the_unit_of_the_image_as_it_is_seen():
    """A step of one half of the peak: 0.25 per pixel in two columns, of which the mean of 5 × 5 holds 0.1 at most."""
    reference = 7 * step_image(16)
    assert float(smoothed_edges(step_image(16).abs()).max()) == pytest.approx(2 * 0.5 / 5)
    for threshold, columns in ((0.0, 32), (0.04, 6), (0.09, 4), (0.11, 0)):
        mask = EdgeRegionLoss(threshold=threshold).mask(reference, bare(reference))
        assert float(mask[0, 0, 12].sum()) == columns


def test_a_frame_without_edges_is_kept_whole(generator):
    _, reference = pair(generator, 1, 2, 12, 12)
    reference[:, 1] = 3
    mask = EdgeRegionLoss().mask(reference, bare(reference))
    assert mask[0, 0].mean() == pytest.approx(0.25)
    assert mask[0, 1].mean() == 1


def test_the_mask_is_of_the_reference_alone_and_blind_to_phase(generator):
    image, reference = pair(generator, 1, 1, 16, 16)
    loss = EdgeRegionLoss()
    phase = torch.polar(torch.ones(16, 16, dtype=torch.float64), torch.linspace(0, 6, 16, dtype=torch.float64))
    torch.testing.assert_close(of(loss, image * phase, reference * phase), of(loss, image, reference))
    mask = loss.mask(reference, bare(reference))
    masked = of(loss, image * mask, reference)
    torch.testing.assert_close(masked, of(loss, image, reference))
    assert not loss.mask(reference.clone().requires_grad_(), bare(reference)).requires_grad


def test_the_mask_is_of_what_is_looked_at(generator):
    _, reference = pair(generator, 1, 1, 24, 24)
    heart = EdgeRegionLoss(region="heart", heart=(12, 14))
    mask = heart.mask(reference, bare(reference))
    assert mask.shape == (1, 1, 12, 14)
    assert torch.equal(mask, EdgeRegionLoss().mask(reference[..., 6:18, 5:19], bare(reference[..., 6:18, 5:19])))


def test_a_batch_is_the_mean_of_its_series(generator):
    image, reference = pair(generator, 3, 2, 12, 13)
    gains = torch.tensor([1.0, 40.0, 1e-3]).view(3, 1, 1, 1)
    image, reference = gains * image, gains * reference
    alone = [of(EdgeRegionLoss(), image[i : i + 1], reference[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(of(EdgeRegionLoss(), image, reference), sum(alone) / 3)


@pytest.mark.parametrize("settings", [{}, {"threshold": 0.2}, {"window": "gaussian", "share": 0.5}])
def test_gradients_are_right(settings, generator):
    image, reference = pair(generator, 1, 1, 11, 11 if "window" in settings else 7)
    loss = EdgeRegionLoss(**settings)
    assert torch.autograd.gradcheck(lambda one: of(loss, one, reference), (image.clone().requires_grad_(),))


def test_empty_and_perfect_images_have_a_finite_loss_and_gradient(generator):
    _, reference = pair(generator, 1, 2, 9, 9)
    empty = torch.zeros_like(reference)
    for image, wanted in ((reference, reference), (empty, reference), (reference, empty), (empty, empty)):
        image = image.clone().requires_grad_()
        loss = of(EdgeRegionLoss(), image, wanted)
        loss.backward()
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(torch.view_as_real(image.grad)).all())
    assert float(of(EdgeRegionLoss(), reference, reference)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("settings", [{}, {"threshold": 0}])
def test_nan_is_not_hidden(broken, settings, generator):
    pictures = pair(generator, 1, 1, 9, 9)
    pictures[broken][0, 0, 4, 4] = complex("nan")
    assert bool(torch.isnan(of(EdgeRegionLoss(**settings), *pictures)))


def test_settings_are_shown():
    shown = repr(build("edge_region", {"threshold": 0}))
    assert "threshold=0" in shown
    assert "window=uniform" in shown
    assert "share=0.25" in repr(EdgeRegionLoss())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 0}, "share: got 0, want a number above 0, up to 1"),
        ({"share": 1.2}, "share: got 1.2"),
        ({"share": None}, "share: got None"),
        ({"share": True}, "share: got True"),
        ({"threshold": -0.1}, "threshold: got -0.1, want a number of 0 or more, or None"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"threshold": float("inf")}, "threshold: got inf"),
        ({"threshold": "auto"}, "threshold: got 'auto'"),
        ({"window": "hann"}, "window: got 'hann', want one of uniform, gaussian"),
        ({"unit": "scale"}, "unit: got 'scale', want one of peak, range"),
        ({"tau": 0}, "loss edge_region: got tau, want settings among share, threshold, window"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        build("edge_region", settings)


@pytest.mark.bad_input
def test_what_does_not_fit_is_named(generator):
    image, reference = pair(generator, 1, 1, 9, 9)
    with pytest.raises(ValueError, match=r"reference: got shape"):
        of(EdgeRegionLoss(), image, reference[..., 1:])
    with pytest.raises(ValueError, match=r"got 6 pixels along an axis, want at least the window's 7"):
        of(EdgeRegionLoss(), image[..., :6], reference[..., :6])
    scaled = replace(bare(reference), scale=torch.ones(1, dtype=torch.float64))
    assert torch.equal(EdgeRegionLoss().mask(reference, scaled), EdgeRegionLoss().mask(reference, bare(reference)))
