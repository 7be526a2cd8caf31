"""Regions: what moves, what does not, where the heart is; and the scores taken over them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cmr_course.acquisition import Truth
from cmr_course.image import ssim_map, uniform_window
from cmr_course.metrics import (
    METRICS,
    dynamic_region,
    evaluate,
    format_table,
    heart_box,
    heart_region,
    hfen,
    nmse,
    psnr,
    regions_of,
    results_of,
    ssim,
    ssim_gaussian,
    static_region,
    temporal_deviation,
)
from cmr_course.metrics.results import REGIONS
from cmr_course.simulation import Scan, Subject, simulate


def ring(size: int = 64, frames: int = 8) -> Tensor:
    """A bright disc around pixel (30, 36), its radius from 12 to 8 and back, on a dark ground; (1, frame, y, x)."""
    grid = torch.arange(size, dtype=torch.float64)
    distance = torch.hypot(grid[:, None] - 30, grid[None, :] - 36)
    radius = 10 + 2 * torch.cos(2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames)
    return 0.1 + torch.sigmoid(2 * (radius[:, None, None] - distance))[None]


def pair(shape: tuple[int, ...] = (2, 3, 20, 24)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(shape, generator=generator, dtype=torch.float64)
    return reference + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64), reference


def test_the_deviation_is_that_of_the_population():
    series = torch.tensor([1.0, 3.0])[None, :, None, None].expand(1, 2, 4, 4)
    torch.testing.assert_close(temporal_deviation(series), torch.ones(1, 4, 4, dtype=torch.float64))


def test_what_moves_is_the_edge_and_not_the_blood():
    moving = dynamic_region(ring())[0]
    grid = torch.arange(64, dtype=torch.float64)
    distance = torch.hypot(grid[:, None] - 30, grid[None, :] - 36)
    assert moving[(distance > 9) & (distance < 11)].all()
    assert not moving[(distance < 6) | (distance > 14)].any()
    assert torch.equal(static_region(ring())[0], ~moving)


def test_it_is_blind_to_unit_and_offset_and_one_bright_pixel_does_not_empty_it():
    wanted = dynamic_region(ring())
    assert torch.equal(dynamic_region(500 * ring() + 3), wanted)
    flashing = ring()
    flashing[0, 0, 2, 2] = 100.0
    found = dynamic_region(flashing)
    assert found[0, 2, 2]
    found[0, 2, 2] = False
    assert float((found ^ wanted).sum()) < 0.02 * float(wanted.sum())
    assert (dynamic_region(ring(), 0.6) <= wanted).all()  # a higher threshold keeps less


def test_the_heart_is_found_by_its_labels_and_without_them_by_its_motion():
    labels = torch.zeros(1, 8, 64, 64, dtype=torch.int64)
    labels[..., 20:41, 26:47] = 7
    labelled = Truth(ring().to(torch.complex128), labels, {"lv_blood": 7, "fat": 0})
    wanted = torch.zeros(1, 64, 64, dtype=torch.bool)
    wanted[:, 17:44, 23:50] = True  # 21 pixels and 0.15 of them on each side
    assert heart_box(labelled) == (17, 44, 23, 50)
    assert torch.equal(heart_region(labelled), wanted)
    assert heart_region(labelled, margin=0.0).sum() == 21**2
    for unlabelled in (Truth(ring().to(torch.complex128)), ring()):
        found = heart_region(unlabelled)
        assert float((found & wanted).sum() / (found | wanted).sum()) > 0.8


@pytest.mark.parametrize("view", ["sax", "4ch"])
def test_a_simulated_heart_lies_in_its_regions(view):
    _, truth = simulate(Subject(2), Scan(view=view, frames=6), generator=torch.Generator().manual_seed(0))
    assert truth.labels is not None
    wall = (truth.labels == truth.label_names["lv_myocardium"])[0]
    edge = wall.any(0) & ~wall.all(0)
    regions = regions_of(truth)
    assert list(regions) == list(REGIONS)
    assert regions["full"] is None
    heart, dynamic = regions["heart"], regions["dynamic"]
    assert heart is not None and dynamic is not None  # noqa: PT018
    assert heart[0][edge].all()
    # The wall's border moves, and less of all else: the chest wall a little, and its fat is bright.
    assert float(dynamic[0][edge].double().mean()) > 0.5
    assert float((dynamic & heart).sum() / dynamic.sum()) > 0.45
    assert float((dynamic & heart).sum() / dynamic.sum()) > 3 * float(heart.double().mean())
    assert 0.02 < float(dynamic.double().mean()) < 0.1
    motion = heart_region(truth.magnitude())
    assert float((motion & heart).sum() / heart.sum()) > 0.7


@pytest.mark.parametrize("metric", [nmse, psnr, ssim, ssim_gaussian, hfen])
def test_a_region_of_everything_is_the_whole_image(metric):
    prediction, reference = pair()
    everything = torch.ones(2, 20, 24, dtype=torch.bool)
    torch.testing.assert_close(metric(prediction, reference, everything), metric(prediction, reference))


@pytest.mark.parametrize("metric", [nmse, psnr, ssim, ssim_gaussian])
def test_what_lies_outside_does_not_count(metric):
    prediction, reference = pair((1, 2, 40, 40))
    region = torch.zeros(1, 40, 40, dtype=torch.bool)
    region[:, 18:22, 18:22] = True
    elsewhere = prediction.clone()
    elsewhere[..., :10, :] += 5  # eight rows away: further than any window looks
    torch.testing.assert_close(metric(elsewhere, reference, region), metric(prediction, reference, region))
    inside = prediction.clone()
    inside[..., 19, 19] += 5
    assert (metric(inside, reference, region) != metric(prediction, reference, region)).all()


def test_the_scores_of_a_region_are_those_of_its_pixels():
    """By hand, and for SSIM on the map aligned with the image: its pixel (0, 0) is the image's (3, 3)."""
    prediction, reference = pair()
    region = torch.zeros(2, 20, 24, dtype=torch.bool)
    region[:, 5:9, 4] = True
    p, r = prediction[..., 5:9, 4], reference[..., 5:9, 4]
    torch.testing.assert_close(nmse(prediction, reference, region), (p - r).square().sum(-1) / r.square().sum(-1))
    peak = reference.amax((1, 2, 3))[:, None]
    torch.testing.assert_close(
        psnr(prediction, reference, region), 20 * torch.log10(peak / (p - r).square().mean(-1).sqrt())
    )
    similarity = ssim_map(prediction, reference, peak, uniform_window(7))
    torch.testing.assert_close(ssim(prediction, reference, region), similarity[..., 2:6, 1].mean(-1))


def test_evaluate_scores_metrics_by_region_and_rows_carry_it():
    _, truth = simulate(Subject(2), Scan(matrix=(64, 64), frames=4), generator=torch.Generator().manual_seed(0))
    image = 1.1 * truth.image
    plain = evaluate(image, truth)
    assert list(plain) == ["nmse", "psnr", "ssim"]
    scores = evaluate(image, truth, metrics=["psnr", "hfen"], regions=REGIONS)
    assert list(scores) == [(metric, region) for region in REGIONS for metric in ("psnr", "hfen")]
    torch.testing.assert_close(scores["psnr", "full"], plain["psnr"])
    mine = evaluate(image, truth, metrics=["psnr"], regions={"heart": heart_region(truth)})
    torch.testing.assert_close(mine["psnr", "heart"], scores["psnr", "heart"])
    rows = results_of(scores, {"method": "cg-sense"}, frames=True)
    assert len(rows) == 4 * 2 * 5
    assert {(row.metric, row.region) for row in rows} == set(scores)
    assert "psnr (dynamic)" in format_table(rows)
    assert set(evaluate(image, truth, metrics=list(METRICS))) == set(METRICS)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p, r: evaluate(p, r, metrics=["psnr", "mse"]),
            r"metrics: got \['psnr', 'mse'\], want names among nmse",
        ),
        (lambda p, r: evaluate(p, r, metrics="psnr"), "metrics: got 'psnr'"),
        (lambda p, r: evaluate(p, r, regions=["liver"]), r"regions: got \['liver'\], want names among full, heart"),
        (lambda p, r: psnr(p, r, torch.ones(2, 20, 24)), "region: got Tensor of torch.float32"),
        (lambda p, r: psnr(p, r, torch.ones(2, 24, 20) > 0), r"region: got shape \(2, 24, 20\), want \(2, 20, 24\)"),
        (lambda p, r: psnr(p, r, torch.zeros(2, 20, 24) > 0), "region: got 2 that hold no pixel"),
        (lambda p, r: nmse(p, r * (r < 0), r[:, 0] > 0), "reference: got 6 frames that are zero in the region"),
        (lambda p, r: dynamic_region(r[:, :1]), "reference: got 2 series in which nothing moves"),
        (lambda p, r: dynamic_region(r, 1.0), "threshold: got 1.0, want a fraction below 1"),
        (lambda p, r: dynamic_region(r + 0j), "series: got torch.complex"),
        (lambda p, r: temporal_deviation(r / 0 * 0), "series: got 2880 values that are NaN"),
        (lambda p, r: heart_region(r, margin=-1), "margin: got -1"),
        (lambda p, r: heart_box(r[0] > 0), "truth: got no labels or no label_names"),
    ],
)
def test_bad_regions_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*pair())


@pytest.mark.bad_input
def test_a_region_at_the_border_has_no_similarity():
    prediction, reference = pair()
    border = torch.zeros(2, 20, 24, dtype=torch.bool)
    border[:, :3] = True
    assert psnr(prediction, reference, border).isfinite().all()
    with pytest.raises(ValueError, match="region: got 2 within 3 pixels of the border"):
        ssim(prediction, reference, border)
