"""Scores of motion: what is frozen, late, too small or wrong in scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cmr_course.metrics import dynamic_region, profile_correlation, results_of, temporal_error, xt_correlation

FRAMES = 12


def beating(amplitude: float = 1.0, delay: int = 0, seed: int = 0) -> Tensor:
    """(1, frame, 20, 24): a still, uneven picture; in its middle 8 × 8 pixels a cosine over the beat."""
    still = 2 + torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    phase = 2 * math.pi * (torch.arange(FRAMES, dtype=torch.float64) - delay) / FRAMES
    series = still.repeat(1, FRAMES, 1, 1)
    series[:, :, 6:14, 8:16] += amplitude * phase.cos()[:, None, None]
    return series


def test_what_beats_in_time_correlates_whatever_its_size():
    """Size is the other score's affair: half the motion is half the deviation."""
    reference = beating()
    assert float(xt_correlation(beating(0.5), reference)) == pytest.approx(1)
    assert float(temporal_error(beating(0.5), reference)) == pytest.approx(0.5)
    assert float(xt_correlation(3 * reference + 7, reference)) == pytest.approx(1)
    assert float(temporal_error(reference, reference)) == 0


@pytest.mark.parametrize("delay", range(7))
def test_what_beats_late_loses_the_cosine_of_its_delay(delay):
    """Correlation of two cosines; the deviation does not know the order of the frames."""
    late = beating(delay=delay)
    assert float(xt_correlation(late, beating())) == pytest.approx(math.cos(2 * math.pi * delay / FRAMES), abs=1e-9)
    assert float(temporal_error(late, beating())) == pytest.approx(0, abs=1e-12)


def test_a_frozen_heart_has_no_correlation_and_all_of_the_error():
    frozen = beating()[:, :1].repeat(1, FRAMES, 1, 1)
    assert float(xt_correlation(frozen, beating())) == 0
    assert float(temporal_error(frozen, beating())) == pytest.approx(1)
    assert float(profile_correlation(frozen, beating(), 3)) == pytest.approx(1)  # nothing moves in this column
    assert 0 < float(profile_correlation(frozen, beating(), 10)) < 1
    black = torch.zeros_like(frozen)
    assert float(xt_correlation(black, beating())) == 0


def test_a_half_frozen_heart_has_half_of_the_correlation():
    """Frozen pixels count as zero. Left out of the mean they would be forgiven."""
    half = beating()
    half[:, :, 6:10, 8:16] = half[:, :1, 6:10, 8:16]
    assert float(xt_correlation(half, beating())) == pytest.approx(0.5)


def test_pixels_that_stand_still_in_truth_are_left_out():
    reference = beating()
    everything = torch.ones(1, 20, 24, dtype=torch.bool)
    noise = 0.01 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    restless = torch.where(dynamic_region(reference)[:, None], reference, reference + noise)
    assert float(xt_correlation(restless, reference, everything)) == pytest.approx(1)
    assert float(temporal_error(restless, reference, everything)) > 0.01  # flicker where nothing moved is error here


@given(seed=st.integers(0, 999), column=st.integers(0, 6))
def test_numpy_correlates_alike(seed, column):
    generator = torch.Generator().manual_seed(seed)
    prediction, reference = torch.rand(2, 2, 5, 6, 7, generator=generator, dtype=torch.float64)
    region = torch.rand(2, 6, 7, generator=generator) > 0.5
    region[:, 0, 0] = True
    for b in range(2):
        pairs = [(p, r) for p, r in zip(prediction[b, :, region[b]].T, reference[b, :, region[b]].T, strict=True)]
        wanted = np.mean([np.corrcoef(p.numpy(), r.numpy())[0, 1] for p, r in pairs])
        assert float(xt_correlation(prediction, reference, region)[b]) == pytest.approx(wanted)
        profiles = (series[b, :, :, column].flatten().numpy() for series in (prediction, reference))
        assert float(profile_correlation(prediction, reference, column)[b]) == pytest.approx(
            np.corrcoef(*profiles)[0, 1]
        )


def test_a_number_of_a_series_becomes_a_row():
    value = xt_correlation(beating(delay=2), beating())
    (row,) = results_of({("x-t correlation", "dynamic"): value[:, None]}, {"method": "zero-filled"})
    assert (row.metric, row.region, row.frame) == ("x-t correlation", "dynamic", None)
    assert row.value == pytest.approx(0.5)


STILL = beating(0.0)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: xt_correlation(beating()[:, :1], beating()[:, :1]), "reference: got 1 frame, want two or more"),
        (lambda: xt_correlation(beating(), STILL), "reference: got 1 series in which nothing moves"),
        (lambda: temporal_error(beating(), STILL), "reference: got 1 series in which nothing moves in the region"),
        (lambda: temporal_error(beating()[:, 1:], beating()), "prediction: got shape"),
        (lambda: xt_correlation(beating() * math.nan, beating()), "prediction: got 5760 values that are NaN"),
        (lambda: xt_correlation(beating(), beating(), torch.zeros(1, 20, 24, dtype=torch.bool)), "hold no pixel"),
        (lambda: xt_correlation(beating(), beating(), torch.ones(1, 20, 24)), "region: got .* want a boolean tensor"),
        (
            lambda: xt_correlation(beating(), beating(), dynamic_region(beating()).logical_not()),
            "reference: got 1 series in which nothing moves in the region",
        ),
        (lambda: profile_correlation(beating(), beating(), 24), "column: got 24, want a whole number from 0 to 23"),
        (lambda: profile_correlation(0 * beating(), beating(), 3), "prediction: got 1 constant profiles in column 3"),
    ],
)
def test_what_has_no_motion_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
