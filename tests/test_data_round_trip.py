"""What is written in the layout of any year is read back: k-space, masks, times, and what `About` says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmr_course.data import Case, matlab, open_tree, validate, write_case
from cmr_course.data.layouts import HELD_OUT, MASKS, WITHOUT_TIME
from cmr_course.domains import STEMS, Stem
from cmr_course.sampling import Mask, Sampling

SCANNER = "Center002/Philips_15T_phantom"
KINDS = {"Uniform": "uniform", "ktUniform": "kt_uniform", "ktGaussian": "kt_gaussian", "ktRadial": "kt_radial"}
WEIGHTINGS = {"T1map": 9, "T2map": 3}


@dataclass(frozen=True)
class Made:
    """A file to be written: where, what, and its mask, drawn with `seed`."""

    year: int
    stem: Stem
    sizes: tuple[int, int, int, int, int]
    single: bool
    sampled: tuple[str, str, int] | None
    seed: int

    def case(self, root: Path) -> Case:
        held_out = self.stem.modality in HELD_OUT.get(self.year, ())
        split = "ValidationSet" if held_out else "TrainingSet"
        scanner = SCANNER if self.year == 2025 else ""
        full = Case(root, self.year, self.stem.modality, split, "P007", self.stem.name, scanner=scanner)
        full = replace(full, single_coil=self.single)
        if self.sampled is None:
            return full
        task, kind, acceleration = self.sampled
        return replace(full, task=task, mask_kind=kind, acceleration=acceleration)

    def kspace(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(self.sizes, dtype=torch.complex64, generator=generator)

    def mask(self) -> Mask | None:
        if self.sampled is None:
            return None
        _, kind, acceleration = self.sampled
        (frames, _, ky, kx), generator = self.sizes[1:], torch.Generator().manual_seed(self.seed)
        lines = 24 if self.year == 2023 else 16
        return Sampling(KINDS[kind], acceleration, lines).mask(ky, kx, frames, generator)


@st.composite
def made(draw: st.DrawFn) -> Made:
    year = draw(st.sampled_from(sorted(STEMS)))
    stem = draw(st.sampled_from(STEMS[year]))
    single = draw(st.booleans())
    frames = WEIGHTINGS.get(stem.name) or draw(st.integers(2, 4))
    frames = 1 if stem.modality in WITHOUT_TIME else frames
    sizes = (draw(st.integers(1, 3)), frames, 1 if single else 10, draw(st.integers(32, 40)), draw(st.integers(24, 33)))
    held_out = stem.modality in HELD_OUT.get(year, ())
    masks = [
        (task, kind, acceleration)
        for task, kinds in MASKS[year].items()
        for kind, known in kinds.items()
        for acceleration in known
        if not held_out or task == "Task1"
    ]
    return Made(year, stem, sizes, single, draw(st.none() | st.sampled_from(masks)), draw(st.integers(0, 99)))


@given(made())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_every_file_of_every_year_comes_back(one):
    kspace, mask = one.kspace(), one.mask()
    with TemporaryDirectory() as folder:
        case = one.case(Path(folder))
        write_case(case, iter(kspace), len(kspace), mask=mask)
        (found,) = open_tree(folder, one.year).cases
        assert found == case
        assert found.shape == tuple(kspace.shape)
        acquisition = found.acquisition()
        assert torch.equal(acquisition.kspace, kspace if mask is None else kspace * mask.sampled)
        if mask is not None:
            every = torch.broadcast_shapes(mask.sampled.shape, acquisition.mask.shape)
            assert torch.equal(acquisition.mask.expand(every), mask.sampled.expand(every))
        assert acquisition.about.contrast == one.stem.contrast
        assert acquisition.about.nominal_acceleration == (1 if one.sampled is None else one.sampled[2])
        assert validate(folder, one.year) == []


@given(
    st.sampled_from([2023, 2024, 2025]),
    st.sampled_from(["T1map", "T2map"]),
    st.booleans(),
    st.integers(1, 3),
    st.lists(st.floats(0, 1e5), min_size=9, max_size=9, unique=True).map(sorted),
)
def test_times_come_back_to_the_last_digit(year, stem, single, slices, drawn):
    times = tuple(drawn[: WEIGHTINGS[stem]])
    one = Made(
        year, Stem(stem, "Mapping", stem, "sax"), (slices, len(times), 1 if single else 2, 16, 16), single, None, 1
    )
    with TemporaryDirectory() as folder:
        case = one.case(Path(folder))
        columns = [times] * (1 if stem == "T2map" else slices)
        how = {"times": columns} if year == 2023 else {"info": {"times_ms": " ".join(map(repr, times))}}
        write_case(case, iter(one.kspace()), slices, **how)
        assert case.about().times == times
        assert case.acquisition(frames=[2, 0]).about.times == (times[2], times[0])
        if year == 2023:
            assert case.times() == (times,) * slices


@pytest.mark.parametrize("year", [2023, 2025])
def test_what_is_said_of_the_full_file_holds_for_its_undersampled_versions(tmp_path, year):
    times = tuple(100.0 * (i + 1) for i in range(9))
    full = Made(year, Stem("T1map", "Mapping", "T1map", "sax"), (1, 9, 2, 32, 24), False, None, 1)
    sampled = ("", "Uniform", 4) if year == 2023 else ("Task2", "ktRadial", 8)
    under = replace(full, sampled=sampled)
    info = {"times_ms": " ".join(map(repr, times)), "origin": "simulated", "view": "sax"}
    how = {"times": [times]} if year == 2023 else {"info": info}
    write_case(full.case(tmp_path), iter(full.kspace()), 1, **how)
    write_case(under.case(tmp_path), iter(full.kspace()), 1, mask=under.mask())
    about = under.case(tmp_path).about()
    assert about.times == times
    if year == 2025:
        assert (about.origin, about.view) == ("simulated", "sax")


def test_an_info_file_says_contrast_view_and_venc(tmp_path):
    flow = Made(2024, Stem("flow2d", "Flow2d", "flow2d", "aorta_tra"), (2, 2, 3, 16, 16), False, None, 1)
    info = {"contrast": "flow2d", "view": "aorta_tra", "venc_cm_s": "150.0"}
    write_case(flow.case(tmp_path), iter(flow.kspace()), 2, info=info)
    about = flow.case(tmp_path).about()
    assert (about.contrast, about.view, about.venc) == ("flow2d", "aorta_tra", 150.0)


def test_an_aorta_is_a_cine_of_another_view(tmp_path):
    aorta = Made(2024, Stem("aorta_sag", "Aorta", "cine", "aorta_sag"), (1, 2, 3, 16, 16), False, None, 1)
    write_case(aorta.case(tmp_path), iter(aorta.kspace()), 1)
    about = aorta.case(tmp_path).about()
    assert (about.contrast, about.view) == ("cine", "aorta_sag")


def test_times_that_do_not_fit_leave_the_file_that_was_there(tmp_path):
    full = Made(2023, Stem("T1map", "Mapping", "T1map", "sax"), (1, 9, 2, 32, 24), False, ("", "Uniform", 4), 1)
    case, times = full.case(tmp_path), [tuple(range(9))]
    write_case(case, iter(full.kspace()), 1, mask=full.mask(), times=times)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert len(before) == 3
    with pytest.raises(ValueError, match="times: got 3 in a column, want 9"):
        write_case(case, iter(-full.kspace()), 1, mask=full.mask(), times=[(1.0, 2.0, 3.0)])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_a_case_that_is_written_anew_without_tables_has_none(tmp_path, year):
    full = Made(year, Stem("T1map", "Mapping", "T1map", "sax"), (1, 9, 2, 32, 24), False, None, 1)
    case, times = full.case(tmp_path), tuple(float(i) for i in range(9))
    how = {"times": [times]} if year == 2023 else {"info": {"times_ms": " ".join(map(str, times))}}
    write_case(case, iter(full.kspace()), 1, **how)
    assert case.about().times == times
    sampled = ("", "Uniform", 4) if year == 2023 else ("Task2", "ktRadial", 8)
    under = replace(full, sampled=sampled)
    write_case(under.case(tmp_path), iter(full.kspace()), 1, mask=under.mask())
    assert case.about().times == under.case(tmp_path).about().times == times  # what both share stays
    write_case(case, iter(full.kspace()), 1)
    assert case.about().times == ()
    assert not list(tmp_path.rglob("*.csv"))


WORDS = st.text(st.characters(), max_size=6)


@given(st.dictionaries(WORDS, WORDS, min_size=1, max_size=3))
def test_an_info_row_comes_back_as_it_is_or_is_refused(info):
    one = Made(2024, Stem("cine_sax", "Cine", "cine", "sax"), (1, 1, 1, 4, 4), False, None, 1)
    with TemporaryDirectory() as folder:
        case = one.case(Path(folder))
        try:
            write_case(case, iter(one.kspace()), 1, info=info)
        except ValueError:
            assert not list(Path(folder).iterdir())
        else:
            assert case.info() == info


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", ["", " a", "a\t", "a\rb", "a\nb", "\ufeffa", "\ud800", 5, None])
def test_info_rows_that_would_not_come_back_are_refused(tmp_path, wrong):
    one = Made(2024, Stem("cine_sax", "Cine", "cine", "sax"), (1, 1, 1, 4, 4), False, None, 1)
    rows = [{"fine": "yes", wrong: "value"}] + ([] if wrong == "\ufeffa" else [{"name": wrong}])  # a mark at the start
    for info in rows:
        with pytest.raises(ValueError, match=r"info: got the row .*, want text of one line without blanks"):
            write_case(one.case(tmp_path), iter(one.kspace()), 1, info=info)
    assert not list(tmp_path.iterdir())


def test_good_info_rows_come_back(tmp_path):
    one = Made(2024, Stem("cine_sax", "Cine", "cine", "sax"), (1, 1, 1, 4, 4), False, None, 1)
    info = {"a b": 'said "so", and  twice', "é, ü": "0 1.5", "c": "心"}
    write_case(one.case(tmp_path), iter(one.kspace()), 1, info=info)
    assert one.case(tmp_path).info() == info


@pytest.mark.bad_input
def test_sizes_that_are_none_are_ignored_and_named(tmp_path):
    flow = Made(2024, Stem("flow2d", "Flow2d", "flow2d", "aorta_tra"), (2, 2, 10, 16, 16), False, None, 1)
    case = flow.case(tmp_path)
    write_case(case, iter(flow.kspace()), 2)
    path = case.info_paths()[0]
    path.parent.mkdir(parents=True)
    path.write_text("pixel_size_mm,-1 2\nvenc_cm_s,0\nfield_T,-3\ncontrast,\norigin,\n")
    about = case.about()
    assert (about.pixel_size, about.venc, about.field) == (None, None, None)
    assert (about.contrast, about.origin) == ("flow2d", "acquired")
    said = validate(tmp_path, 2024)
    assert len(said) == 4
    for name, value in (("pixel_size_mm", "-1 2"), ("venc_cm_s", "0"), ("field_T", "-3")):
        assert f"{path}: got {name} = {value!r}, want numbers above zero" in said
    assert f"{path}: got an empty contrast, want its name, or no such row" in said


def test_what_has_no_time_is_stored_without_that_axis(tmp_path):
    for modality, stem in (("LGE", "lge_sax"), ("T1w", "T1w"), ("T2w", "T2w"), ("BlackBlood", "blackblood")):
        sampled = ("Task1", "ktGaussian", 8)
        one = Made(2025, Stem(stem, modality, stem, "sax"), (2, 1, 3, 32, 24), False, sampled, 1)
        case = one.case(tmp_path)
        write_case(case, iter(one.kspace()), 2, mask=one.mask())
        assert matlab.find(case.path, "kus").shape == (2, 3, 32, 24)
        assert matlab.find(case.mask_path, "mask").shape == (32, 24)
        assert torch.equal(case.acquisition(slices=[1]).kspace, one.kspace()[1:] * one.mask().sampled)


def test_cases_find_their_group_by_stem_and_size(tmp_path):
    sizes = {"P001": (162, 512), "P002": (204, 512), "P003": (40, 24)}
    for subject, (ky, kx) in sizes.items():
        stack = Made(2024, STEMS[2024][0], (1, 1, 1, ky, kx), False, None, 1)
        write_case(replace(stack.case(tmp_path), subject=subject), iter(stack.kspace()), 1)
    one = Made(2024, Stem("tagging", "Tagging", "tagging", "sax"), (1, 1, 1, 40, 24), False, None, 1)
    write_case(one.case(tmp_path), iter(one.kspace()), 1)
    groups = open_tree(tmp_path).groups()
    found = {str(group): [case.subject for case in cases] for group, cases in groups.items()}
    assert found == {"cine_sax162": ["P001"], "cine_sax204": ["P002"], "tagging": ["P007"], "None": ["P003"]}
    assert list(found) == ["cine_sax162", "cine_sax204", "tagging", "None"]  # in the paper's order


@pytest.mark.bad_input
def test_times_that_do_not_fit_are_refused_and_leave_nothing(tmp_path):
    T1map = Made(2023, Stem("T1map", "Mapping", "T1map", "sax"), (2, 9, 2, 16, 16), False, None, 1)
    times = [tuple(range(9))] * 2
    cases = [
        (T1map, times[:1], "times: got 1 columns, want 2"),
        (T1map, [times[0], times[0][:8]], "times: got 8 in a column, want 9"),
        (T1map, [times[0], (*times[0][:8], float("nan"))], "want finite numbers of ms"),
        (T1map, [times[0], times[0][::-1]], "want ms from zero up, each above the one before"),
        (T1map, [times[0], (0, *times[0][:8])], "want ms from zero up, each above the one before"),
        (T1map, [times[0], tuple(range(-1, 8))], "want ms from zero up, each above the one before"),
        (T1map, 5, "times: got 5, want a list of columns"),
        (T1map, [times[0], "123456789"], "want a list of columns"),
        (T1map, [1.0, 2.0], "want a list of columns"),
        (replace(T1map, stem=Stem("T2map", "Mapping", "T2map", "sax")), times, "times: got 2 columns, want 1"),
        (replace(T1map, year=2024), times, "want none but for a mapping file of 2023"),
        (replace(T1map, stem=STEMS[2023][0]), times, "want none but for a mapping file of 2023"),
    ]
    for one, wrong, words in cases:
        with pytest.raises(ValueError, match=words):
            write_case(one.case(tmp_path), iter(one.kspace()), 2, times=wrong)
    assert not list(tmp_path.iterdir())
