"""Learning curves: what the log says, where it says it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from cmr_course.plotting import learning_curve

LOG = [
    {"step": 10, "loss": 1.0, "l1": 0.5},
    {"step": 20, "loss": 0.6, "l1": 0.3},
    {"step": 20, "validation": {"psnr": 30.0, "ssim": 0.9}},
    {"step": 40, "validation": {"psnr": 32.0, "ssim": 0.95}},
]


def test_curves_are_the_entries_of_the_log():
    figure = learning_curve(LOG, terms=("loss", "l1"), lines={"zero-filled": 24.0})
    left, right = figure.axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[10, 1.0], [20, 0.6]], [[10, 0.5], [20, 0.3]]]
    assert right.lines[0].get_xydata().tolist() == [[20, 30.0], [40, 32.0]]
    assert set(right.lines[1].get_ydata()) == {24.0}
    assert right.get_ylabel() == "validation PSNR (dB)"
    plt.close(figure)


def test_without_validation_there_is_one_panel():
    figure = learning_curve(LOG[:2])
    assert len(figure.axes) == 1
    plt.close(figure)


def test_other_logs_and_terms_are_named():
    with pytest.raises(ValueError, match="entries: got 1, none with a loss"):
        learning_curve(LOG[2:3])
    with pytest.raises(ValueError, match="terms: got edge, want some of step, loss, l1"):
        learning_curve(LOG, terms=("edge",))
