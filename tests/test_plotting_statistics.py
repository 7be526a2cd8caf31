"""The paired plot shows each subject once, the means where they are, and the interval around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex

from cmr_course import plotting
from cmr_course.metrics import Result, bootstrap_interval

mpl.use("Agg")

METHODS = ["zero-filled", "view-sharing", "low-rank-sparse"]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def rows(subjects: int = 7, **columns: object) -> list[Result]:
    """PSNR of two slices of each subject: 20 + subject, the methods 3 dB apart."""
    return [
        Result(**{"method": method, "subject": str(s), "slice": z, "nominal_R": 8.0, "metric": "psnr"} | columns,
               value=20.0 + s + 3 * place + (0.5 if z else -0.5))
        for place, method in enumerate(METHODS)
        for s in range(subjects)
        for z in (0, 1)
    ]  # fmt: skip


def paired(results: list[Result], methods: list[str] = METHODS, **options: object):
    with mpl.rc_context():
        plotting.setup()
        return plotting.paired(results, "psnr", methods, generator=torch.Generator().manual_seed(0), **options)


def test_one_line_a_subject_and_the_mean_with_its_interval():
    figure = paired(rows())
    [panel] = figure.axes
    lines = [line.get_ydata().tolist() for line in panel.lines if len(line.get_xdata()) == len(METHODS)]
    assert sorted(lines) == [[20.0 + s, 23.0 + s, 26.0 + s] for s in range(7)]
    generator = torch.Generator().manual_seed(0)
    for place, container in enumerate(panel.containers):
        wanted = bootstrap_interval([20.0 + s + 3 * place for s in range(7)], generator=generator)
        mean, _, (bar,) = container
        [(_, low), (_, high)] = bar.get_segments()[0]
        assert (mean.get_xdata()[0], mean.get_ydata()[0]) == (place, 23.0 + 3 * place)
        assert (low, high) == pytest.approx((wanted.low, wanted.high))
        style = plotting.METHOD_STYLE[METHODS[place]]
        assert to_hex(mean.get_color()) == style.colour.lower()
        assert mean.get_marker() == style.marker
    assert panel.get_ylabel() == "PSNR (dB)"
    names = [label.get_text().replace("\n", "") for label in panel.get_xticklabels()]
    assert [name.replace("-", "") for name in names] == [name.replace("-", "") for name in METHODS]
    assert figure.get_supxlabel() == "7 subjects; mean and 95 % bootstrap interval"


def test_only_subjects_that_every_method_has_and_the_order_asked_for():
    some = [row for row in rows() if (row.method, row.subject) != ("view-sharing", "3")]
    some = [replace(row, value=None) if (row.method, row.subject) == ("zero-filled", "5") else row for row in some]
    figure = paired(some, METHODS[::-1], level=0.9)
    lines = [line.get_ydata().tolist() for line in figure.axes[0].lines if len(line.get_xdata()) == len(METHODS)]
    assert sorted(lines) == [[26.0 + s, 23.0 + s, 20.0 + s] for s in (0, 1, 2, 4, 6)]
    assert figure.get_supxlabel().startswith("5 subjects; mean and 90 %")


def test_a_region_is_named_and_other_methods_do_not_disturb():
    heart = [replace(row, region="heart") for row in rows()]
    other = [replace(row, method="grappa", nominal_R=4.0) for row in rows()]
    assert paired([*rows(), *heart, *other], region="heart").axes[0].get_ylabel() == "PSNR (dB), heart"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired([*rows(), *rows(nominal_R=4.0)]), "results: got rows that differ in nominal_R, want one cell"),
        (lambda: paired(rows(), [*METHODS, "grappa"]), "methods: got grappa without rows of psnr"),
        (lambda: paired(rows(1)), "results: got 1 subjects that all methods have, want two or more"),
        (lambda: paired(rows(), []), r"methods: got \[\], want a list of names"),
        (lambda: paired(rows(), "grappa"), "methods: got 'grappa'"),
        (lambda: plotting.paired(rows(), "psnr", METHODS, generator=None), "generator: got None"),
    ],
)
def test_what_cannot_be_paired_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_views_may_be_pooled():
    both = [*rows(view="sax"), *rows(view="4ch")]
    assert len(paired(both, by=["nominal_R"]).axes[0].containers) == len(METHODS)
