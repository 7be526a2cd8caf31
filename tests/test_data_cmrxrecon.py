"""Trees of all three years: written and read back, read lazily, every deviation named."""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cmr_course import sampling
from cmr_course.data import Case, matlab, open_tree, validate, write_case
from cmr_course.data.layouts import Place, recognise_year

SCANNER = "Center004/UIH_30T_umr780"
FRAMES, COILS, KY, KX = 4, 10, 40, 24


def stack(slices: int = 3, frames: int = FRAMES, coils: int = COILS, ky: int = KY, kx: int = KX) -> torch.Tensor:
    generator = torch.Generator().manual_seed(slices)
    return torch.randn((slices, frames, coils, ky, kx), dtype=torch.complex64, generator=generator)


def full_case(root: Path, year: int, **changes: object) -> Case:
    case = Case(root, year, "Cine", "TrainingSet", "P001", "cine_sax", scanner=SCANNER if year == 2025 else "")
    return replace(case, **changes)


def under_case(root: Path, year: int, kind: str = "Uniform", acceleration: int = 8) -> Case:
    task = "" if year == 2023 else "Task1" if kind == "Uniform" else "Task2"
    return full_case(root, year, mask_kind=kind, acceleration=acceleration, task=task)


def masks() -> dict[str, sampling.Mask]:
    generator = torch.Generator().manual_seed(1)
    return {
        "Uniform": sampling.uniform(KY, 8, acs=24),
        "ktUniform": sampling.kt_uniform(KY, FRAMES, 8, acs=16),
        "ktGaussian": sampling.kt_gaussian(KY, FRAMES, 8, acs=16, generator=generator),
        "ktRadial": sampling.kt_radial(KY, KX, FRAMES, 8, acs=16),
    }


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_full_samples_come_back_as_they_were_written(tmp_path, year):
    kspace, case = stack(), full_case(tmp_path, year)
    write_case(case, iter(kspace), 3)
    tree = open_tree(tmp_path, year)
    assert tree.cases == (case,)
    assert case.shape == (3, FRAMES, COILS, KY, KX)
    acquisition = case.acquisition()
    assert torch.equal(acquisition.kspace, kspace)
    assert acquisition.acs == (KY, KX)
    assert torch.equal(case.acquisition(slices=[2, 0], frames=slice(1, 4, 2)).kspace, kspace[[2, 0]][:, 1:4:2])
    assert torch.equal(case.acquisition(slices=[1], frames=[3, 0]).kspace, kspace[1:2, [3, 0]])
    with h5py.File(case.path) as file:
        assert next(iter(file.values())).shape == (FRAMES, 3, COILS, KY, KX)
    assert validate(tmp_path, year) == []


@pytest.mark.parametrize(
    ("year", "kind"),
    [(2023, "Uniform"), *((year, kind) for year in (2024, 2025) for kind in masks())],
)
def test_undersampled_files_come_back_with_their_masks(tmp_path, year, kind):
    kspace, mask, case = stack(), masks()[kind], under_case(tmp_path, year, kind)
    write_case(case, iter(kspace), 3, mask=mask)
    assert recognise_year(tmp_path) == year
    (found,) = open_tree(tmp_path).cases
    assert found == case
    acquisition = found.acquisition(slices=[1], frames=[2, 3])
    wanted = mask.sampled if mask.sampled.shape[1] == 1 else mask.sampled[:, 2:4]
    assert torch.equal(acquisition.mask.expand(-1, -1, -1, -1, KX), wanted.expand(-1, -1, -1, -1, KX))
    assert torch.equal(acquisition.kspace, kspace[1:2, 2:4] * wanted)
    assert acquisition.about.trajectory == mask.kind
    assert acquisition.about.nominal_acceleration == 8
    assert found.about().realised_acceleration == pytest.approx(mask.realised_acceleration)
    assert acquisition.acs[0] >= mask.acs[0]
    with h5py.File(case.mask_path) as file:
        stored = next(iter(file.values())).shape
        assert stored == ((KY, KX) if kind == "Uniform" else (FRAMES, KY, KX))
    named = validate(tmp_path)
    if (year, kind) == (2025, "Uniform"):  # read all the same
        assert len(named) == 1
        assert "got Uniform masks in Task1, want another kind" in named[0]
    else:
        assert named == []


def test_single_coil_files_have_no_coil_axis(tmp_path):
    kspace = stack(coils=1)
    full = full_case(tmp_path, 2023, single_coil=True)
    under = replace(full, mask_kind="Uniform", acceleration=4)
    write_case(full, iter(kspace), 3)
    write_case(under, iter(kspace), 3, mask=sampling.uniform(KY, 4, acs=24))
    tree = open_tree(tmp_path)
    assert tree.year == 2023
    assert set(tree.cases) == {full, under}
    assert torch.equal(full.acquisition().kspace, kspace)
    assert matlab.find(full.path, "kspace_single_full").shape == (FRAMES, 3, KY, KX)
    assert matlab.find(under.path, "kspace_single_sub04").shape == (FRAMES, 3, KY, KX)
    assert validate(tmp_path) == []


def test_black_blood_needs_no_time_axis(tmp_path):
    case = replace(full_case(tmp_path, 2024), modality="BlackBlood", stem="blackblood", split="ValidationSet")
    write_case(case, iter(stack(frames=1)), 3)
    assert matlab.find(case.path, "kspace_full").shape == (3, COILS, KY, KX)
    assert case.shape == (3, 1, COILS, KY, KX)
    assert torch.equal(case.acquisition(slices=[2]).kspace, stack(frames=1)[2:])


def test_the_scanner_of_2025_is_read_off_the_folders(tmp_path):
    case = full_case(tmp_path, 2025)
    write_case(case, iter(stack(1)), 1, info={"origin": "made up", "times_ms": "0 30 60 90", "TE": "1.5"})
    about = open_tree(tmp_path).cases[0].acquisition(frames=[1, 3]).about
    assert (about.vendor, about.field, about.origin, about.times) == ("uih", 3.0, "made up", (30.0, 90.0))
    assert replace(case, scanner="Center001/Siemens_15T_Avanto").field == 1.5
    assert replace(case, scanner="Center001/Siemens_055T_Free").field == 0.55


def test_inversion_times_of_2023_belong_to_their_slices(tmp_path):
    case = replace(full_case(tmp_path, 2023), modality="Mapping", stem="T1map")
    write_case(case, iter(stack(2, frames=9)), 2)
    rows = ["Time,Slice1,Slice2", *(f"TI{i},{100 * i},{100 * i + 5}" for i in range(9))]
    case.path.with_suffix(".csv").write_text("\n".join(rows))
    assert recognise_year(tmp_path) == 2023
    assert case.times()[1][:3] == (5.0, 105.0, 205.0)
    assert case.acquisition(slices=[1], frames=[0, 2]).about.times == (5.0, 205.0)
    assert case.acquisition().about.times == ()  # the two slices differ
    assert case.about().contrast == "T1map"
    assert validate(tmp_path) == []


def test_masks_may_lie_in_any_mask_folder(tmp_path):
    case = under_case(tmp_path, 2025, "ktRadial", 16)
    write_case(case, iter(stack()), 3, mask=masks()["ktRadial"])
    moved = case.folder("Mask_TaskAll") / case.mask_path.name
    moved.parent.mkdir(parents=True)
    case.mask_path.rename(moved)
    assert open_tree(tmp_path).cases[0].found_mask_path() == moved


@pytest.mark.parametrize("year", [2023, 2024, 2025])
def test_a_place_is_found_again_from_its_path(tmp_path, year):
    for place in (full_case(tmp_path, year), under_case(tmp_path, year)):
        assert Place.parse(tmp_path, place.path, year) == Place(**vars(place))


def test_one_slice_is_read_without_the_rest(tmp_path):
    slices = 12
    case = full_case(tmp_path, 2024)
    write_case(case, (stack(1)[0] * (i + 1) for i in range(slices)), slices)
    one = stack(1).nbytes
    tracemalloc.start()
    got = case.acquisition(slices=[7])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    torch.testing.assert_close(got.kspace, stack(1) * 8)
    assert peak < 2 * one  # the file holds twelve times that
    if Path("/proc/self/io").exists():
        before = bytes_read()
        case.acquisition(slices=[3], frames=[0])
        assert bytes_read() - before < one / FRAMES + 200_000


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_memory_of_writing_does_not_grow_with_the_number_of_slices(tmp_path):
    part = stack(1)[0]
    peaks = []
    for slices in (2, 24):
        tracemalloc.start()
        write_case(full_case(tmp_path / str(slices), 2024), (part for _ in range(slices)), slices)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + part.nbytes


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_case(under_case(tmp_path / name, 2024), iter(stack()), 3, mask=masks()["Uniform"], info={"a": "b"})
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "ab")
    assert first == second
    assert len(first) == 3


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def broken():
        yield stack()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_case(under_case(tmp_path, 2024), broken(), 3, mask=masks()["Uniform"])
    assert list(tmp_path.iterdir()) == []


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_write_that_fails_leaves_the_case_that_was_there(tmp_path):
    old, new = masks()["Uniform"], sampling.uniform(KY, 8, acs=16)
    case = under_case(tmp_path, 2024)
    write_case(case, iter(stack()), 3, mask=old, info={"origin": "old"})
    before = contents(tmp_path)
    assert len(before) == 3

    def broken():
        yield -stack()[0]
        raise KeyboardInterrupt

    bad = -stack()
    bad[2, 0, 0, 0, 0] = torch.nan
    for slices, number, error in (
        (broken(), 3, KeyboardInterrupt),
        (iter(-stack()), 2, ValueError),
        (iter(-stack()), 4, ValueError),
        (iter(bad), 3, ValueError),
        (iter(-stack(ky=KY + 1)), 3, ValueError),
    ):
        with pytest.raises(error):
            write_case(case, slices, number, mask=new, info={"origin": "new"})
        assert contents(tmp_path) == before
    write_case(case, iter(-stack()), 3, mask=new, info={"origin": "new"})
    after = contents(tmp_path)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before)


def test_a_folder_in_the_way_of_a_companion_is_found_before_anything_is_replaced(tmp_path):
    case = full_case(tmp_path, 2024)
    write_case(case, iter(stack()), 3)
    before = contents(tmp_path)
    case.info_paths()[0].mkdir(parents=True)
    with pytest.raises(OSError, match=r"cine_sax_info\.csv"):
        write_case(case, iter(-stack()), 3, info={"origin": "new"})
    assert contents(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file, which needs Linux")
def test_a_full_disk_is_an_error_of_one_line_and_leaves_nothing(tmp_path):
    program = (
        "import sys, torch; from pathlib import Path; from cmr_course.data import Case, write_case\n"
        "case = Case(Path(sys.argv[1]), 2024, 'Cine', 'TrainingSet', 'P001', 'cine_sax')\n"
        "try: write_case(case, (torch.ones(4, 10, 40, 24) + 0j for _ in range(9)), 9)\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )
    assert done.stdout.count("\n") == 1
    assert "cine_sax.mat: cannot be written (File too large)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def spoil(case: Case, how: str) -> None:
    kspace = stack().movedim(0, 1).numpy().copy()
    name = case.variable_names[0]
    if how == "truncated":
        case.path.write_bytes(case.path.read_bytes()[:3000])
    elif how == "text":
        case.path.write_text("this is no MATLAB file")
    elif how == "missing":
        matlab.save(case.path, {"other": kspace})
    elif how == "real":
        matlab.save(case.path, {name: kspace.real.copy()})
    elif how == "axes":
        matlab.save(case.path, {name: kspace[0]})
    elif how == "nan":
        kspace[1, 2, 3] = np.nan
        matlab.save(case.path, {name: kspace})
    elif how == "outside the mask":
        matlab.save(case.path, {name: kspace})
    elif how == "mask size":
        matlab.save(case.mask_path, {"mask": np.ones((KY, KX + 1), dtype=bool)})
    elif how == "mask values":
        matlab.save(case.mask_path, {"mask": np.full((KY, KX), 0.5)})
    elif how == "mask missing":
        case.mask_path.unlink()


SPOILT = {
    "truncated": "truncated",
    "text": "cannot be read as a MATLAB file",
    "missing": "no variable 'kus', the file holds 'other'",
    "real": r"variable 'kus': got real values \(float32\)",
    "axes": r"variable 'kus': got 4 axes .* want 5 axes \(time, slice, coil, ky, kx\)",
    "nan": "variable 'kus', slice 2: got 960 values that are NaN",
    "outside the mask": "samples outside the mask",
    "mask size": r"variable 'mask': got shape \(40, 25\), want \(40, 24\)",
    "mask values": "variable 'mask': got values other than 0 and 1",
    "mask missing": "is missing, want the mask of",
}


@pytest.mark.bad_input
@pytest.mark.parametrize("how", SPOILT)
def test_bad_files_are_named_in_one_line(tmp_path, how):
    case = under_case(tmp_path, 2024)
    write_case(case, iter(stack()), 3, mask=masks()["Uniform"])
    spoil(case, how)
    with pytest.raises(ValueError, match=SPOILT[how]) as caught:
        case.acquisition()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.bad_input
def test_validate_names_every_deviation_in_one_run(tmp_path):
    places = {}
    for number, how in enumerate(SPOILT, start=1):
        case = replace(under_case(tmp_path, 2024), subject=f"P{number:03d}")
        write_case(case, iter(stack()), 3, mask=masks()["Uniform"])
        spoil(case, how)
        places[case.subject] = how
    write_case(replace(full_case(tmp_path, 2024), subject="P100"), iter(stack(coils=4)), 3)
    few = sampling.uniform(KY, 7, acs=8)
    odd = replace(under_case(tmp_path, 2024, acceleration=7), subject="P101")
    write_case(odd, iter(stack()), 3, mask=few)
    stray = tmp_path / "MultiCoil/Cine/TrainingSet/Elsewhere/P001/cine_sax.mat"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    named = "\n".join(validate(tmp_path))
    for subject, how in places.items():
        assert f"/{subject}/" in named, how
    assert "got 4 coils, want 10" in named
    assert "got acceleration 7" in named
    assert "got 8 fully sampled centre lines, want 16" in named
    assert "'Elsewhere', want FullSample" in named


@pytest.mark.bad_input
def test_what_is_no_tree_is_named(tmp_path):
    with pytest.raises(ValueError, match="got no folder, want a CMRxRecon tree"):
        open_tree(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="got no folder MultiCoil or SingleCoil"):
        open_tree(tmp_path)
    (tmp_path / "MultiCoil").mkdir()
    with pytest.raises(ValueError, match="got no k-space file"):
        open_tree(tmp_path)
    (tmp_path / "MultiCoil/Cine/TrainingSet/AccFactor04").mkdir(parents=True)
    (tmp_path / "MultiCoil/Cine/TrainingSet/Mask_Task1").mkdir(parents=True)
    with pytest.raises(ValueError, match="marks of several years"):
        open_tree(tmp_path)


@pytest.mark.bad_input
def test_wrong_requests_are_named(tmp_path):
    case = full_case(tmp_path, 2024)
    write_case(case, iter(stack()), 3)
    with pytest.raises(ValueError, match=r"slices: got 3, want 0 to 2"):
        case.acquisition(slices=[3])
    with pytest.raises(ValueError, match=r"frames: got none"):
        case.acquisition(frames=[])
    for wrong in (0, "a", [0.7], [True], slice("a"), [None]):
        for axis in ("slices", "frames"):
            with pytest.raises(ValueError, match=rf"cine_sax.mat: {axis}: got .*, want a list or a slice of whole"):
                case.acquisition(**{axis: wrong})
    assert len(case.acquisition(slices=torch.tensor([0, 2])).kspace) == 2
    assert len(case.kspace(slices=np.array([1]))) == 1
    with pytest.raises(ValueError, match="is fully sampled"):
        case.found_mask_path()
    for wrong in ({"year": 2022}, {"modality": "LGE"}, {"subject": "001"}, {"scanner": "x"}, {"task": "Task1"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(case, **wrong)
    for wrong in ("../..", "Center001", "/etc", "Center001/..", "a/b/c", "Center001/ ", "a\\b/c", 5, ("a", "b")):
        with pytest.raises(ValueError, match=r"scanner: got .*, want two folders"):
            full_case(tmp_path, 2025, scanner=wrong)
    with pytest.raises(ValueError, match=r"task: got '\.\./x'"):
        replace(under_case(tmp_path, 2024), task="../x")
    for wrong in (None, 5):
        with pytest.raises(ValueError, match=f"root: got {wrong}, want the folder"):
            open_tree(wrong)
        with pytest.raises(ValueError, match=f"root: got {wrong}, want the folder"):
            validate(wrong)
    with pytest.raises(ValueError, match="mask: got None, want one for an undersampled"):
        write_case(under_case(tmp_path, 2024), iter(stack()), 3)
    with pytest.raises(ValueError, match=r"mask: got shape \(1, 1, 1, 30, 1\), want"):
        write_case(under_case(tmp_path, 2024), iter(stack()), 3, mask=sampling.uniform(30, 4, acs=16))
    for wrong, words in (
        ({"case": None}, "case: got None, want a Case"),
        ({"slices": None}, "slices: got None, want tensors"),
        ({"slices": 3}, "slices: got 3, want tensors"),
        ({"n_slices": "1"}, "n_slices: got '1', want a whole number"),
        ({"n_slices": True}, "n_slices: got True, want a whole number"),
        ({"n_slices": 0}, "n_slices: got 0, want a whole number"),
        ({"mask": "Uniform8"}, "mask: got 'Uniform8', want a Mask or None"),
        ({"info": ["a"]}, r"info: got \['a'\], want names and values"),
        ({"times": 5}, "times: got 5, want none but for a mapping file"),
    ):
        with pytest.raises(ValueError, match=words):
            write_case(**{"case": replace(case, subject="P003"), "slices": iter(stack()), "n_slices": 3, **wrong})
    assert not replace(case, subject="P003").path.parent.exists()
    with pytest.raises(ValueError, match="slices: got 3, want the 4"):
        write_case(replace(case, subject="P002"), iter(stack()), 4)
