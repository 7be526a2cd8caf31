"""Each metric sees the errors that it should and is blind to those it should be blind to, on a simulated heart."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from cmr_course.acquisition import Truth
from cmr_course.image import filter2d, gaussian_window
from cmr_course.metrics import (
    challenge_scores,
    fractional_area_change,
    haarpsi,
    heart_region,
    hfen,
    nmse,
    profile_correlation,
    psnr,
    regions_of,
    segment,
    ssim,
    ssim_gaussian,
    temporal_error,
    xt_correlation,
)
from cmr_course.simulation import Scan, Subject, simulate

FRAME = 3
"""What is looked at, where a metric scores each frame: this one, between end diastole and end systole."""
SCAN = Scan(matrix=(112, 112), field_of_view=(280.0, 280.0), frames=8)


@cache
def heart() -> tuple[Truth, Tensor, Tensor]:
    """A training subject's truth, its magnitude and the pixels of muscle inside the cavity."""
    _, truth = simulate(Subject(3), SCAN, generator=torch.Generator().manual_seed(0))
    assert truth.labels is not None
    return truth, truth.magnitude().double(), truth.labels == truth.label_names["papillary"]


def blurred(series: Tensor) -> Tensor:
    """By a Gaussian with a standard deviation of one pixel."""
    window = gaussian_window(9, 1.0)
    batch = torch.nn.functional.pad(series.flatten(0, 1)[:, None], (4,) * 4, mode="replicate")
    return filter2d(batch, window, window).view_as(series)


def noisy(series: Tensor) -> Tensor:
    noise = torch.randn(series.shape, generator=torch.Generator().manual_seed(1), dtype=series.dtype)
    return (series + 0.03 * series.amax() * noise).abs()


def without_papillary(series: Tensor) -> Tensor:
    """Muscle inside the cavity replaced by blood."""
    truth, _, papillary = heart()
    return torch.where(papillary, series[truth.labels == truth.label_names["lv_blood"]].median(), series)


def one_frozen_frame(series: Tensor) -> Tensor:
    index = torch.arange(series.shape[1])
    index[FRAME] = FRAME - 1
    return series[:, index]


CORRUPTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "shift": lambda series: series.roll(1, -1),
    "gain": lambda series: 1.2 * series,
    "offset": lambda series: series + 0.1 * series.amax(),
    "blur": blurred,
    "noise": noisy,
    "papillary": without_papillary,
    "frozen frame": one_frozen_frame,
    "frozen heart": lambda series: series[:, :1].expand_as(series).clone(),
}


@cache
def regions() -> dict[str, Tensor | None]:
    truth = heart()[0]
    return {**regions_of(truth), "elsewhere": ~heart_region(truth)}


def rmse(prediction: Tensor, reference: Tensor, where: str) -> Tensor:
    """Of the peak, from the PSNR."""
    return 10 ** (-psnr(prediction, reference, regions()[where])[0, FRAME] / 20)


def ejected(series: Tensor) -> float:
    """Fractional area change, from the centre of the true cavity."""
    truth = heart()[0]
    assert truth.labels is not None
    names = torch.tensor([truth.label_names[name] for name in ("lv_blood", "papillary")])
    y, x = torch.isin(truth.labels, names)[0].any(0).nonzero().double().mean(0).tolist()
    return float(fractional_area_change(segment(series, SCAN.pixel_size, (y, x)).areas))


@cache
def truly_ejected() -> float:
    return ejected(heart()[1])


# How far each score is from a perfect one, and from where on it counts as moved.
METRICS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor | float], float]] = {
    "nmse": (lambda p, r: nmse(p, r)[0, FRAME], 0.001),
    "psnr": (lambda p, r: rmse(p, r, "full"), 0.003),
    "psnr dynamic": (lambda p, r: rmse(p, r, "dynamic"), 0.003),
    "psnr elsewhere": (lambda p, r: rmse(p, r, "elsewhere"), 0.003),
    "ssim": (lambda p, r: 1 - ssim(p, r)[0, FRAME], 0.001),
    "ssim_gaussian": (lambda p, r: 1 - ssim_gaussian(p, r)[0, FRAME], 0.001),
    "hfen": (lambda p, r: hfen(p, r)[0, FRAME], 0.01),
    "haarpsi": (lambda p, r: 1 - haarpsi(p, r)[0, FRAME], 0.005),
    "challenge 2023": (lambda p, r: 1 - challenge_scores(p, r, 2023)["ssim"][0, FRAME], 0.001),
    "challenge 2024": (lambda p, r: 1 - challenge_scores(p, r, 2024)["ssim"][0, FRAME], 0.001),
    "challenge 2025": (lambda p, r: 1 - challenge_scores(p, r, 2025)["ssim"][0, FRAME], 0.001),
    "x-t correlation": (lambda p, r: 1 - xt_correlation(p, r)[0], 0.01),
    "temporal error": (lambda p, r: temporal_error(p, r)[0], 0.01),
    "profile correlation": (lambda p, r: 1 - profile_correlation(p, r, 56)[0], 0.01),
    "area change": (lambda p, r: abs(ejected(p) - truly_ejected()), 0.05),
}

STAYS = {
    "shift": {"area change"},
    "gain": {
        "challenge 2023",
        "challenge 2024",
        "challenge 2025",
        "x-t correlation",
        "profile correlation",
        "area change",
    },
    "offset": {"hfen", "challenge 2024", "x-t correlation", "temporal error", "profile correlation", "area change"},
    "blur": {"area change"},
    "noise": {"area change"},
    "papillary": {"psnr elsewhere", "area change"},
    "frozen frame": {"profile correlation"},
    "frozen heart": set(),
}
"""What a corruption leaves as it is; every other metric must move."""


@cache
def corrupted(corruption: str) -> Tensor:
    return CORRUPTIONS[corruption](heart()[1])


@pytest.mark.parametrize("metric", METRICS)
def test_an_untouched_heart_is_perfect(metric: str):
    score, _ = METRICS[metric]
    assert float(score(heart()[1].clone(), heart()[1])) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_each_metric_moves_where_it_should_and_nowhere_else(corruption: str, metric: str):
    score, enough = METRICS[metric]
    moved = float(score(corrupted(corruption), heart()[1])) > enough
    assert moved == (metric not in STAYS[corruption])


@pytest.mark.parametrize("corruption", ["gain", "offset"])
def test_the_blind_are_blind_to_the_last_digit(corruption: str):
    """Not only below a limit: these normalisations remove gain and offset."""
    for metric in STAYS[corruption] - {"area change"}:
        assert float(METRICS[metric][0](corrupted(corruption), heart()[1])) == pytest.approx(0, abs=1e-7)


def test_one_frozen_frame_is_seen_in_that_frame_only():
    scores = nmse(corrupted("frozen frame"), heart()[1])[0]
    assert [frame for frame, value in enumerate(scores.tolist()) if value > 0] == [FRAME]


def test_a_frozen_heart_keeps_its_ssim_and_loses_its_motion():
    """The number that papers report stays high, for most pixels stand still; those that look at motion drop to zero."""
    reference, frozen = heart()[1], corrupted("frozen heart")
    assert float(ssim(frozen, reference).mean()) > 0.89
    assert float(ssim(frozen, reference, regions()["static"]).mean()) > float(
        ssim(frozen, reference, regions()["dynamic"]).mean()
    )
    assert float(xt_correlation(frozen, reference)) == 0
    assert float(temporal_error(frozen, reference)) == pytest.approx(1)


def test_sharpness_and_noise_are_two_things_that_hfen_adds_up():
    """Blur takes edges away and noise adds some; both are error. The sign is not in it."""
    reference = heart()[1]
    both = noisy(blurred(reference))
    assert float(hfen(both, reference)[0, FRAME]) > float(hfen(blurred(reference), reference)[0, FRAME])
