"""Domains and groups: names that stand for one thing, and files that find their group by stem and size."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmr_course.acquisition import About
from cmr_course.domains import CONTRASTS_2025, GROUPS, OWN_SIZE, STEMS, Domain, Group, group_of, known_stem

WORD = st.from_regex(r"\w+", fullmatch=True)
FIELD = st.floats(0.01, 20.0)


@given(WORD, FIELD, WORD, WORD)
def test_a_domain_is_found_again_from_its_name(vendor, field, contrast, trajectory):
    domain = Domain(vendor, field, contrast, trajectory)
    assert Domain.parse(str(domain)) == domain
    assert len({domain, Domain.parse(str(domain))}) == 1


def test_names_are_readable_and_a_vendor_is_the_same_however_it_is_written():
    assert str(Domain("Siemens", 3, "cine", "kt_radial")) == "siemens 3T cine kt_radial"
    assert str(Domain("uih", 0.55, "T1map", "full")) == "uih 0.55T T1map full"
    assert Domain("UIH", 5, "cine", "full") == Domain("uih", 5.0, "cine", "full")
    assert Domain("ge", 3, "T1map", "full") != Domain("ge", 3, "t1map", "full")  # contrasts differ in their capitals


def test_domains_are_sorted_by_vendor_field_contrast_trajectory():
    names = ["ge 1.5T cine full", "ge 3T T1map full", "ge 3T cine full", "ge 3T cine kt_radial", "uih 0.55T cine full"]
    domains = [Domain.parse(name) for name in names]
    assert sorted([*domains[3:], *domains[:3]]) == domains


def test_an_acquisition_says_its_domain():
    about = About(contrast="lge", view="sax", vendor="Philips", field=1.5, trajectory="kt_gaussian")
    assert Domain.of(about) == Domain("philips", 1.5, "lge", "kt_gaussian")
    assert Domain.of(About(vendor="UIH", field=3.0)) == Domain.of(About(vendor="uih", field=3.0))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("", 3, "cine", "full"), "vendor: got '', want one word"),
        (("ge", 0, "cine", "full"), "field: got 0, want 0.01 to 20 tesla"),
        (("ge", float("nan"), "cine", "full"), "field: got nan"),
        (("ge", "3", "cine", "full"), "field: got '3'"),
        (("ge", 3, "T1 map", "full"), "contrast: got 'T1 map'"),
        (("ge", 3, "cine", None), "trajectory: got None"),
    ],
)
def test_what_is_no_domain_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Domain(*wrong)


@pytest.mark.bad_input
def test_names_that_cannot_be_read_and_records_that_do_not_say_enough():
    for name in ("siemens 3 cine full", "siemens 3T cine", "siemens 3T cine kt radial", "", None):
        with pytest.raises(ValueError, match=r"domain: got .*, want a name such as 'siemens 3T cine kt_radial'"):
            Domain.parse(name)
    with pytest.raises(ValueError, match=r"about\.vendor: got none"):
        Domain.of(About(field=3.0))
    with pytest.raises(ValueError, match=r"about\.field: got None"):
        Domain.of(About(vendor="ge"))
    with pytest.raises(ValueError, match="about: got 'ge', want the About"):
        Domain.of("ge")


def test_the_groups_are_the_papers_eleven():
    # arXiv:2410.03624, section 2.2: eight stems; cine_lax of two sizes and cine_sax of three.
    assert [group.name for group in GROUPS] == [
        *("aorta_sag", "aorta_tra", "cine_lax204", "cine_lax168", "cine_sax246", "cine_sax162", "cine_sax204"),
        *("cine_lvot", "T1map", "T2map", "tagging"),
    ]
    stated = {group.name: group.matrix for group in GROUPS if group.stated}
    assert stated == {
        "cine_lax204": (204, 448),
        "cine_lax168": (168, 448),
        "cine_sax246": (246, 512),
        "cine_sax162": (162, 512),
        "cine_sax204": (204, 512),
    }
    assert {group.matrix for group in GROUPS if not group.stated} == {OWN_SIZE}


def test_a_file_belongs_to_the_group_of_its_stem_and_size():
    for group in GROUPS:
        assert group_of(group.stem, group.matrix) == group
    assert group_of("cine_sax", (204, 448)) is None  # that is a size of the long axes
    assert group_of("cine_lax", (128, 128)) is None
    assert group_of("T1map", (144, 512)).name == "T1map"  # the paper names no size: any fits
    assert group_of("flow2d", (204, 448)) is None


@given(st.sampled_from([*(group.stem for group in GROUPS), "flow2d"]), st.integers(1, 600), st.integers(1, 600))
def test_no_file_belongs_to_two_groups(stem, ky, kx):
    found = group_of(stem, (ky, kx))
    if found is not None:
        assert found in GROUPS
        assert found.stem == stem
        assert not found.stated or found.matrix == (ky, kx)


@pytest.mark.bad_input
@pytest.mark.parametrize("matrix", [(204,), (204, 0), (204.0, 448), "204x448", [204, 448]])
def test_what_is_no_matrix_is_refused(matrix):
    with pytest.raises(ValueError, match=r"matrix: got .*, want two whole numbers"):
        group_of("cine_sax", matrix)
    with pytest.raises(ValueError, match=r"matrix: got .*, want two whole numbers"):
        Group("cine_sax", matrix)


def test_the_stems_of_each_year_are_distinct_and_2025_has_its_nine_modalities():
    for year, stems in STEMS.items():
        assert max(Counter(stem.name for stem in stems).values()) == 1
        assert all(known_stem(stem.name, year) == stem for stem in stems)
    assert tuple(sorted({stem.modality for stem in STEMS[2025]})) == CONTRASTS_2025
    assert len(CONTRASTS_2025) == 9
    assert {group.stem for group in GROUPS} <= {stem.name for stem in STEMS[2024]}
    assert known_stem("tagging", 2025) is None
    assert known_stem("cine_sax", 1999) is None
