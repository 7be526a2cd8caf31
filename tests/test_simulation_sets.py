"""Named sets of scans: HyperCMR's groups and the contrasts of CMRxRecon2025."""

from __future__ import annotations

import pytest

from cmr_course.domains import CONTRASTS_2025, GROUPS, STEMS, group_of
from cmr_course.receiver import VENDORS, Receiver
from cmr_course.simulation import CONTRASTS, VIEWS
from cmr_course.simulation.sets import field_of_view, scan_of, scans


def test_hypercmr_is_a_scan_for_each_group_of_its_size():
    found = scans("hypercmr")
    assert [one.name for one in found] == [group.name for group in GROUPS]
    for one, group in zip(found, GROUPS, strict=True):
        assert one.scan.matrix == group.matrix
        assert group_of(one.stem.name, one.scan.matrix) == group
        assert (one.scan.contrast, one.scan.view) == (one.stem.contrast, one.stem.view)


def test_the_vendor_is_the_one_whose_matrix_it_is():
    vendors = {one.name: one.scan.receiver.vendor for one in scans("hypercmr")}
    for one in scans("hypercmr"):
        lines = VENDORS[one.scan.receiver.vendor].matrix[0]
        assert lines == one.scan.matrix[0]
    assert vendors["cine_lax168"] == "philips"
    assert vendors["cine_sax246"] == "uih"
    assert vendors["cine_sax162"] == "ge"
    assert vendors["cine_sax204"] == vendors["cine_lax204"] == "siemens"
    assert scans("hypercmr", receiver=Receiver(snr_db=None))[0].scan.receiver.snr_db is None


def test_2025_has_all_nine_modalities_and_both_maps():
    found = scans("2025", receiver=Receiver(vendor="ge"))
    assert {one.stem.modality for one in found} == set(CONTRASTS_2025)
    assert {"T1map", "T2map"} < {one.scan.contrast for one in found}
    assert {one.scan.matrix for one in found} == {VENDORS["ge"].matrix}
    assert {one.scan.field_of_view for one in found} == {VENDORS["ge"].field_of_view}


def test_small_runs_override_size_frames_and_slices():
    for name in ("hypercmr", "2025"):
        for one in scans(name, matrix=(48, 64), frames=3, slices=2):
            assert one.scan.matrix == (48, 64)
            assert one.scan.field_of_view == (360.0, 360.0)
            assert one.scan.slices == (2 if one.scan.view == "sax" else 1)
            fixed = one.scan.settings.fixed_frames
            assert one.scan.n_frames == (3 if fixed is None else fixed)


def test_every_stem_is_a_scan_that_the_simulator_knows():
    for stems in STEMS.values():
        for stem in stems:
            scan = scan_of(stem, Receiver(), (64, 64))
            assert scan.contrast in CONTRASTS
            assert scan.view in VIEWS
    assert {stem.contrast for stems in STEMS.values() for stem in stems} == set(CONTRASTS)


def test_the_field_of_view_is_the_vendors_where_the_readout_is_oversampled():
    for vendor, profile in VENDORS.items():
        assert field_of_view(Receiver(vendor=vendor), profile.matrix) == profile.field_of_view
    assert field_of_view(Receiver(), (64, 64)) == (360.0, 360.0)


@pytest.mark.bad_input
def test_bad_requests():
    with pytest.raises(ValueError, match="name: got 'hyper', want one of hypercmr, 2025"):
        scans("hyper")
    with pytest.raises(ValueError, match="receiver: got 'ge', want a Receiver or None"):
        scans("2025", receiver="ge")
    with pytest.raises(ValueError, match=r"matrix: got \(64, 8\)"):
        scans("2025", matrix=(64, 8))
