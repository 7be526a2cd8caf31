"""Tuning: the grid is tried whole, the smallest mean wins, and the spread between cases is seen."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from cmr_course.acquisition import Acquisition, Reconstruction
from cmr_course.classical import CGSense
from cmr_course.classical.tuning import Tuned, squared_error_ratio, tune
from tests.test_classical_low_rank_sparse import beating


def case(level: float) -> tuple[Acquisition, torch.Tensor]:
    kspace = torch.zeros(1, 2, 1, 4, 4, dtype=torch.complex64)
    return Acquisition.fully_sampled(kspace), torch.full((1, 2, 4, 4), level)


@dataclass(frozen=True)
class Painter:
    """A method that paints every pixel with base + extra."""

    base: float
    extra: float = 0.0

    def __call__(self, acquisition: Acquisition, /) -> Reconstruction:
        shape = (*acquisition.kspace.shape[:2], *acquisition.kspace.shape[-2:])
        return Reconstruction(torch.full(shape, self.base + self.extra, dtype=torch.complex64))


def test_the_whole_grid_is_tried_and_the_smallest_mean_wins():
    found = tune(Painter, {"base": [1.0, 2.0, 4.0], "extra": (0.0, 0.5)}, [case(2.0), case(3.0)])
    tried = [tuple(row.settings.values()) for row in found.rows]
    assert tried == [(1.0, 0.0), (1.0, 0.5), (2.0, 0.0), (2.0, 0.5), (4.0, 0.0), (4.0, 0.5)]
    expected = [(b + e - 2) ** 2 / 4 for b, e in tried], [(b + e - 3) ** 2 / 9 for b, e in tried]
    for row, *scores in zip(found.rows, *expected, strict=True):
        assert row.scores == pytest.approx(scores)
        assert row.mean == pytest.approx(sum(scores) / 2)
    assert dict(found.best.settings) == {"base": 2.0, "extra": 0.5}
    assert [dict(one) for one in found.best_by_case] == [{"base": 2.0, "extra": 0.0}, {"base": 2.0, "extra": 0.5}]
    assert found.regret == pytest.approx((0.25 / 4, 0.0))


def test_another_score_decides_otherwise():
    """Smaller is better: the negative of a score that is better when larger."""
    brightest = tune(Painter, {"base": [1.0, 5.0]}, [case(1.0)], score=lambda ours, truth: -ours.mean())
    assert brightest.best.settings["base"] == 5.0
    assert brightest.best.mean == -5.0


def test_of_equal_settings_the_first_is_kept():
    assert tune(Painter, {"base": [1.0, 3.0]}, [case(2.0)]).best.settings["base"] == 1.0


def test_table_begins_with_the_best():
    lines = str(tune(Painter, {"base": [1.0, 2.0]}, [case(2.0)])).splitlines()
    assert lines[0].split() == ["mean", "smallest", "largest", "settings"]
    assert lines[1].endswith("base = 2.0")
    assert lines[2].endswith("base = 1.0")


def test_squared_error_ratio_of_numbers():
    truth = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2)
    assert squared_error_ratio(truth, truth) == 0
    assert squared_error_ratio(0 * truth, truth) == 1
    assert squared_error_ratio(1.2 * truth, truth) == pytest.approx(0.04)


def test_it_finds_that_noise_wants_regularisation():
    """CG-SENSE of noisy data: a little Tikhonov is better than almost none, and far better than too much."""
    acquisition, truth = beating(snr_db=10.0)
    found = tune(CGSense, {"regularisation": [1e-5, 0.1, 30.0]}, [(acquisition, truth.abs())])
    assert found.best.settings["regularisation"] == 0.1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tune(3, {"base": [1.0]}, [case(1.0)]), "make: got 3"),
        (lambda: tune(Painter, {}, [case(1.0)]), "settings: got {}, want a mapping"),
        (lambda: tune(Painter, {"base": []}, [case(1.0)]), r"settings: got \[\] for base"),
        (lambda: tune(Painter, {"base": 1.0}, [case(1.0)]), "settings: got 1.0 for base"),
        (lambda: tune(Painter, {"base": [1.0]}, []), "cases: got none"),
        (lambda: tune(Painter, {"base": [1.0]}, [case(1.0)[0]]), "cases: got Acquisition"),
        (lambda: tune(Painter, {"base": [1.0]}, [(case(1.0)[0], torch.ones(1, 2, 4, 5))]), "want real magnitudes"),
        (lambda: tune(Painter, {"base": [1.0]}, [case(float("nan"))]), "reference of case 0: got 32 values"),
        (lambda: tune(Painter, {"base": [1.0]}, [case(0.0)]), "reference: got energy 0"),
        (lambda: tune(Painter, {"base": [1.0]}, [case(1.0)], score="psnr"), "score: got 'psnr'"),
        (lambda: tune(Painter, {"base": [1.0]}, [case(1.0)], score=lambda a, b: float("nan")), "score: got nan"),
        (lambda: tune(CGSense, {"iterations": [5, 0]}, [case(1.0)]), "iterations: got 0"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rows_cannot_be_changed():
    found = tune(Painter, {"base": [1.0]}, [case(1.0)])
    assert isinstance(found, Tuned)
    with pytest.raises(TypeError):
        found.best.settings["base"] = 3.0
