"""Paired tests, intervals and the paper's table: right on subjects, and how wrong they are on frames."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from cmr_course.metrics import (
    Result,
    bonferroni,
    bootstrap_interval,
    compare,
    paired_test,
    paper_table,
)


def signed_rank(differences: list[float]) -> float:
    """Two-sided p-value by trying all signs: how often is the sum of positive ranks as far from its middle?"""
    sizes = np.abs(differences)
    ranks = np.array([np.sum(sizes < size) + (np.sum(sizes == size) + 1) / 2 for size in sizes])
    middle = ranks.sum() / 2
    seen = abs(ranks[np.array(differences) > 0].sum() - middle)
    sums = [abs(ranks[list(signs)].sum() - middle) for signs in itertools.product([False, True], repeat=len(ranks))]
    return float(np.mean(np.array(sums) >= seen - 1e-9))


@given(differences=st.lists(st.integers(-6, 6).filter(bool), min_size=6, max_size=9))
def test_the_p_value_is_that_of_all_signs(differences):
    """With and without equal differences."""
    b = [float(place) for place in range(len(differences))]
    found = paired_test([x + d for x, d in zip(b, differences, strict=True)], b)
    assert found.p_value == pytest.approx(signed_rank([float(d) for d in differences]))
    assert found.median_difference == float(np.median(differences))
    assert (found.n, found.n_different) == (len(differences), len(differences))


@given(seed=st.integers(0, 999), n=st.integers(6, 60))
def test_scipy_agrees_where_no_ranks_are_shared(seed, n):
    differences = np.random.default_rng(seed).normal(0.3, 1, n)
    oracle = stats.wilcoxon(differences, method="exact" if n <= 50 else "approx").pvalue
    assert paired_test(differences.tolist(), [0.0] * n).p_value == pytest.approx(oracle, rel=1e-9)


def test_published_critical_values():
    """Of the classic table: n = 6 is significant at 5 % only if all signs agree; n = 10, rank sum 8, is at 5 %."""
    assert paired_test([1.0, 2, 3, 4, 5, 6], [0.0] * 6).p_value == pytest.approx(2 / 64)
    assert paired_test([-1.0, 2, 3, 4, 5, 6], [0.0] * 6).p_value == pytest.approx(4 / 64)
    differences = [1.0, 2, 3, 4, 5, 6, 7, -8, 9, 10]
    assert 0.045 < paired_test(differences, [0.0] * 10).p_value < 0.05


def test_pairs_without_a_difference_are_left_out_and_none_speaks_for_equality():
    some = paired_test([0.0, 0, 1, 2, 3, 4, 5, 6], [0.0] * 8)
    assert (some.n, some.n_different) == (8, 6)
    assert some.p_value == pytest.approx(2 / 64)
    none = paired_test([1.0] * 6, [1.0] * 6)
    assert (none.p_value, none.n_different, none.median_difference) == (1.0, 0, 0.0)
    rounding = paired_test([0.1 + 0.2] * 6, [0.3] * 6)
    assert rounding.n_different == 0
    five = paired_test([0.0, 1, 1, 1, 1, 1], [0.0] * 6)  # the normal approximation would say 0.03
    assert five.p_value == pytest.approx(1 / 16)


def test_many_pairs_and_tensors():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(80, generator=generator)
    assert paired_test(a + 1, a).p_value < 1e-10
    assert paired_test(a, torch.randn(80, generator=generator)).p_value > 0.05
    rounded = (4 * a).round() / 4  # ties
    assert 0 < paired_test(rounded, torch.zeros(80)).p_value <= 1


def test_bonferroni_by_hand():
    assert bonferroni([0.01, 0.2, 0.5]) == pytest.approx([0.03, 0.6, 1.0])
    assert bonferroni([]) == []


def hearts(generator: torch.Generator, subjects: int = 10, frames: int = 12) -> Tensor:
    """Differences of two methods that are equally good: a subject's own, much alike in all of its frames."""
    own = torch.randn(subjects, 1, generator=generator, dtype=torch.float64)
    return own + 0.3 * torch.randn(subjects, frames, generator=generator, dtype=torch.float64)


def test_frames_are_no_subjects():
    """Pseudo-replication: no method is better, and a test of frames says in most experiments that one is."""
    generator = torch.Generator().manual_seed(5)
    by_subject, by_frame = [], []
    for _ in range(200):
        differences = hearts(generator)
        nothing = torch.zeros_like(differences)
        by_subject.append(paired_test(differences.mean(1), nothing.mean(1)).p_value < 0.05)
        by_frame.append(paired_test(differences.flatten(), nothing.flatten()).p_value < 0.05)
    assert np.mean(by_subject) < 0.09  # 5 % are meant; two standard errors of 200 experiments are 3 %
    assert np.mean(by_frame) > 0.4


def test_an_interval_covers_the_mean_nearly_as_often_as_it_says():
    """Of ten subjects 95 % become 90; of the frames of ten subjects, taken for subjects, far less."""
    generator = torch.Generator().manual_seed(6)
    right, wrong = [], []
    for _ in range(400):
        differences = hearts(generator)
        for values, covered in ((differences.mean(1), right), (differences.flatten(), wrong)):
            found = bootstrap_interval(values, generator=generator, resamples=400)
            covered.append(found.low <= 0 <= found.high)
    assert 0.86 < np.mean(right) < 0.95
    assert np.mean(wrong) < 0.6


def test_an_interval_is_repeatable_and_narrows_with_its_level():
    values = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def interval(level: float = 0.95, **options: object):
        return bootstrap_interval(values, generator=torch.Generator().manual_seed(1), level=level, **options)

    assert interval() == interval()
    assert interval().low < interval(0.5).low < interval(0.5).estimate < interval(0.5).high < interval().high
    assert interval().estimate == pytest.approx(float(values.mean()))
    median = interval(statistic=lambda drawn: drawn.median(-1).values)
    assert median.estimate in values.tolist()
    assert median.low in values.tolist()
    error = float(values.std()) / math.sqrt(12)
    assert (interval().high - interval().low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.15)


def results(
    subjects: int = 8, methods: tuple[str, ...] = ("cg-sense", "low-rank-sparse", "grappa"), frames: int = 3
) -> list[Result]:
    """PSNR and SSIM of two slices of each subject at R = 4 and 8; low-rank-sparse is 2 dB better at R = 8 only."""
    rows = []
    generator = torch.Generator().manual_seed(3)
    for subject, r, z in itertools.product(range(subjects), (4.0, 8.0), (0, 1)):
        own = 30 + 3 * float(torch.randn((), generator=generator))
        for method in methods:
            noise = 0.2 * float(torch.randn((), generator=generator))
            value = own + noise + (2 if method == "low-rank-sparse" and r == 8 else 0)
            row = Result(
                method=method, subject=str(subject), slice=z, view="sax", mask="uniform", nominal_R=r,
                realised_R=0.8 * r, metric="psnr", value=value,
            )  # fmt: skip
            rows += [row, replace(row, metric="ssim", value=value / 50)]
            rows += [replace(row, frame=t, value=value + 100) for t in range(frames)]  # a series has its own row
    return rows


def test_methods_are_compared_by_subject_within_a_cell():
    found = compare(results(), "psnr", "cg-sense")
    assert [(c.method, dict(c.cell)["nominal_R"]) for c in found] == [
        ("low-rank-sparse", 4.0),
        ("grappa", 4.0),
        ("low-rank-sparse", 8.0),
        ("grappa", 8.0),
    ]
    better = found[2]
    assert (better.test.n, better.reference_method, better.metric, better.region) == (8, "cg-sense", "psnr", "full")
    assert better.test.median_difference == pytest.approx(2, abs=0.2)
    assert better.test.p_value == pytest.approx(2 / 2**8)
    assert better.p_adjusted == pytest.approx(4 * 2 / 2**8)  # four tests
    assert max(abs(c.test.median_difference) for c in found if c is not better) < 0.2
    pooled = compare(results(), "psnr", "cg-sense", by=["mask"])
    assert [(c.method, c.test.n) for c in pooled] == [("low-rank-sparse", 8), ("grappa", 8)]
    assert pooled[0].test.median_difference == pytest.approx(1, abs=0.2)


def test_only_what_both_have_makes_a_pair():
    """One slice of subject 0 is undefined for one method: the other method's slice is left out of the pair too."""
    rows = [row for row in results(methods=("cg-sense", "grappa")) if row.frame is None and row.metric == "psnr"]
    hurt = [
        replace(row, value=None)
        if (row.method, row.subject, row.slice, row.nominal_R) == ("grappa", "0", 0, 4.0)
        else row
        for row in rows
    ]
    for far_off in (99.0, -99.0):
        changed = [
            replace(row, value=far_off) if row.value is not None and (row.subject, row.slice) == ("0", 0) else row
            for row in hurt
        ]
        one, other = (compare(these, "psnr", "cg-sense")[0].test for these in (hurt, changed))
        assert one.n == 8
        assert one == other
    gone = [row for row in rows if (row.method, row.subject) != ("grappa", "1")]
    assert compare(gone, "psnr", "cg-sense")[0].test.n == 7


def test_checkpoint_seed_and_maps_do_not_part_a_pair_and_seeds_are_averaged():
    rows = [row for row in results(methods=("cg-sense", "promptmr")) if row.metric == "psnr" and row.frame is None]
    named = [replace(row, checkpoint="a", maps="learned") if row.method == "promptmr" else row for row in rows]
    wanted = compare(named, "psnr", "cg-sense")
    seeds = [
        replace(row, seed=seed, value=row.value + shift)
        for row in named
        for seed, shift in ((1, -0.5), (2, 0.5))
        if row.value is not None
    ]
    found = compare(seeds, "psnr", "cg-sense")
    assert [c.test.p_value for c in found] == [c.test.p_value for c in wanted]
    assert found[0].test.median_difference == pytest.approx(wanted[0].test.median_difference)


def test_the_table_of_a_paper():
    rows = results()
    table = paper_table(rows, reference_method="cg-sense")
    assert table.header == ("method", "mask", "R nominal", "R realised", "n", "psnr", "ssim")
    assert len(table.rows) == 6
    for line in table.rows:
        series = [
            row for row in rows
            if row.frame is None and row.metric == "psnr" and (row.method, f"{row.nominal_R:g}") == (line[0], line[2])
        ]  # fmt: skip
        subjects = [np.mean([row.value for row in series if row.subject == str(s)]) for s in range(8)]
        wanted = f"{np.mean(subjects):.2f} ± {np.std(subjects, ddof=1):.2f}"
        assert line[3:6] == (f"{0.8 * float(line[2]):.2f}", "8", wanted)
    test = "Wilcoxon signed-rank test of paired subjects, p < 0.05 after Bonferroni over 8 tests."
    assert table.notes == ("Mean ± sample standard deviation over n subjects.", f"† differs from cg-sense: {test}")


def test_daggers_stand_where_the_adjusted_test_says_so():
    """2/2⁸ times 8 tests is 0.06 and has none; with one metric less it is 0.03 and has one."""
    rows = results()
    assert "†" not in "".join("".join(line) for line in paper_table(rows, reference_method="cg-sense").rows)
    table = paper_table(rows, reference_method="cg-sense", metrics=["psnr"])
    daggers = [(line[0], line[2]) for line in table.rows if line[-1].endswith("†")]
    assert daggers == [("low-rank-sparse", "8")]
    assert "†" not in str(paper_table(rows, metrics=["psnr"]))  # nothing is tested without a reference method


def test_a_table_is_text_markdown_and_html():
    table = paper_table(results(), methods=["grappa", "cg-sense"], metrics=["ssim"])
    assert [line[0] for line in table.rows] == ["grappa", "cg-sense", "grappa", "cg-sense"]
    lines = str(table).splitlines()
    assert lines[0].split() == ["method", "mask", "R", "nominal", "R", "realised", "n", "ssim"]
    assert repr(table) == str(table)
    assert table.markdown().splitlines()[1] == "| --- | --- | --- | --- | --- | --- |"
    assert table.markdown().count("\n") == 1 + 4 + 2
    shown = replace(table, header=("a < b",))._repr_html_()
    assert "<th>a &lt; b</th>" in shown
    assert shown.count("<tr>") == 5


def test_a_table_says_what_it_cannot_say():
    rows = [row for row in results(subjects=5) if row.metric == "psnr" and row.nominal_R == 8]
    table = paper_table(rows, reference_method="cg-sense")
    assert "†" not in str(table)
    assert table.notes[-1].startswith("Not tested: fewer than 6 pairs")
    undefined = [replace(row, value=None) if row.method == "grappa" else row for row in rows]
    assert [line[-1] for line in paper_table(undefined).rows if line[0] == "grappa"] == ["undefined"]
    perfect = [replace(row, value=math.inf) if row.method == "grappa" else row for row in rows]
    assert [line[-1] for line in paper_table(perfect).rows if line[0] == "grappa"] == ["inf"]
    heart = [replace(row, region="heart") for row in rows if row.subject != "0"]
    both = paper_table(rows + heart, regions=("full", "heart"))
    assert both.header[-2:] == ("psnr", "psnr (heart)")
    assert all(line[-1].endswith("(n = 4)") and line[-3] == "5" for line in both.rows)
    views = [replace(row, view="4ch") for row in rows]
    assert paper_table(rows + views).header[:2] == ("method", "view")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_test([1.0] * 5, [2.0] * 5), "a: got 5 pairs, want 6 or more"),
        (lambda: paired_test([1.0] * 6, [2.0] * 7), "b: got 7 values, want 6, one for each of a"),
        (lambda: paired_test([math.inf] * 6, [2.0] * 6), "a: got .*want a sequence of numbers without NaN"),
        (lambda: paired_test([math.nan] * 6, [2.0] * 6), "a: got .*, want a sequence of numbers without NaN"),
        (lambda: paired_test(torch.ones(6, 2), torch.ones(6, 2)), "a: got 2 axes"),
        (lambda: paired_test("123456", [1.0] * 6), "a: got '123456'"),
        (lambda: bonferroni([0.1, 1.1]), "p_values: got 1.1, want numbers from 0 to 1"),
        (lambda: bootstrap_interval([1.0], generator=torch.Generator()), "values: got 1, want two or more"),
        (lambda: bootstrap_interval([1.0, 2], generator=0), "generator: got 0, want a torch.Generator"),
        (lambda: bootstrap_interval([1.0, 2], generator=torch.Generator(), level=95), "level: got 95"),
        (lambda: bootstrap_interval([1.0, 2], generator=torch.Generator(), resamples=5), "resamples: got 5"),
        (lambda: bootstrap_interval([1.0, 2], torch.mean, generator=torch.Generator()), "statistic: got"),
        (lambda: compare(results(), "psnr", "espirit"), "reference_method: got 'espirit', want one of cg-sense"),
        (lambda: compare(results(), "dists", "cg-sense"), "results: got no rows of dists in region full"),
        (lambda: compare(results(5), "psnr", "cg-sense"), "a: got 5 pairs, want 6 or more"),
        (lambda: compare(results(), "psnr", "cg-sense", by=["method"]), r"by: got \['method'\], want columns among"),
        (lambda: compare([], "psnr", "cg-sense"), "results: got no rows of psnr"),
        (lambda: paper_table(results(), reference_method="x"), "reference_method: got 'x', want one of cg-sense"),
        (lambda: paper_table(results(), metrics=["x"]), r"metrics: got \['x'\], want some of psnr"),
        (lambda: paper_table(results(), metrics="psnr"), "metrics: got 'psnr', want a list of different names"),
        (lambda: paper_table(results(), metrics=["psnr", "psnr"]), "metrics: got .*want a list of different names"),
        (lambda: paper_table(results(), methods=["cg-sense", "zz"]), r"methods: got \['zz'\]"),
        (lambda: bonferroni(0.5), "p_values: got 0.5, want a sequence"),
        (lambda: paper_table(results(), level=5), "level: got 5"),
        (
            lambda: compare([*results(), *(replace(row, maps="wrong") for row in results())], "psnr", "cg-sense"),
            "results: got cg-sense with maps '', 'wrong', want one",
        ),
    ],
)
def test_what_has_no_statistics_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
