"""``cmr-course simulate --contrasts``: trees of all contrasts, in the layouts of 2024 and 2025."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import torch

from cmr_course import __main__ as command_line
from cmr_course.command_line import hearts
from cmr_course.data import Case, matlab, open_tree, stream, truth_path, validate
from cmr_course.data.layouts import HELD_OUT, MASK_KINDS, MASKS, WITHOUT_TIME
from cmr_course.data.truth import read_truth
from cmr_course.domains import CONTRASTS_2025, STEMS, Domain
from cmr_course.receiver import Receiver
from cmr_course.simulation import CONTRASTS, Scan, Subject, simulate

SIZE = ("--matrix", "32", "32", "--frames", "2", "--slices", "1", "--seed", "5")
CALL = ("simulate", "--subjects", "1", "--contrasts", "all", *SIZE)
SCANNER = "Center004/UIH_15T_phantom"
IN_2025 = (*CALL, "--year", "2025", "--vendor", "uih", "--field", "1.5", "--undersample", "ktRadial16")


def course(*words: object) -> int:
    return command_line.main([str(word) for word in words])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def full(tree: Path) -> dict[str, Case]:
    return {case.stem: case for case in open_tree(tree).cases if case.fully_sampled}


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> Path:
    """A validation subject in the layout of 2024. Not to be changed."""
    tree = tmp_path_factory.mktemp("held_out") / "tree"
    assert course(*CALL, "--first-seed", 10000, "--out", tree, "--workers", 1) == 0
    return tree


@pytest.fixture(scope="module")
def later(tmp_path_factory) -> Path:
    """A training subject in the layout of 2025. Not to be changed."""
    tree = tmp_path_factory.mktemp("later") / "tree"
    assert course(*IN_2025, "--out", tree, "--workers", 1) == 0
    return tree


def expected(year: int, stem: str, contrast: str, view: str) -> tuple[int, int]:
    """(slices, frames): one slice, or the three long axes; a flow with and without encoding."""
    usual = CONTRASTS[contrast]
    slices = 3 if view == "lax" else 1
    frames = 2 if usual.fixed_frames is None else usual.fixed_frames
    return slices * usual.encodings, frames


def test_trees_hold_all_files_of_their_year_and_have_no_deviation(held_out, later):
    for year, tree in ((2024, held_out), (2025, later)):
        cases = full(tree)
        assert {stem.name for stem in STEMS[year]} == set(cases)
        for stem in STEMS[year]:
            case = cases[stem.name]
            assert case.modality == stem.modality
            assert case.shape == (*expected(year, stem.name, stem.contrast, stem.view), 10, 32, 32)
        assert validate(tree) == []
        manifest = json.loads((tree / "manifest.json").read_text())
        assert manifest["settings"]["year"] == year
        assert sorted([*manifest["files"], "manifest.json"]) == sorted(files(tree))
    assert {case.split for case in full(held_out).values()} == {"ValidationSet"}
    assert tuple(sorted({case.modality for case in full(later).values()})) == CONTRASTS_2025


def test_a_training_set_of_2024_has_neither_flow_nor_black_blood(tmp_path):
    assert course(*CALL, "--masks", "Uniform4", "--out", tmp_path, "--workers", 1) == 0
    cases = open_tree(tmp_path).cases
    assert {case.split for case in cases} == {"TrainingSet"}
    assert {case.stem for case in cases} == {stem.name for stem in STEMS[2024]} - {"flow2d", "blackblood"}
    assert {case.modality for case in cases}.isdisjoint(HELD_OUT[2024])


def test_the_masks_are_those_of_each_task(held_out, later):
    for year, tree in ((2024, held_out), (2025, later)):
        for case in full(tree).values():
            for task in ("Task1", "Task2"):
                folder = case.folder(f"Mask_{task}")
                found = {path.name.partition("_mask_")[2] for path in folder.glob(f"{case.stem}_mask_*.mat")}
                wanted = {f"{kind}{r}.mat" for kind, known in MASKS[year][task].items() for r in known}
                only_first = case.modality in HELD_OUT.get(year, ()) and task == "Task2"
                assert found == (set() if only_first else wanted), (case.stem, task)
                for name in found:
                    shape = matlab.find(folder / f"{case.stem}_mask_{name}", "mask").shape
                    still = name.startswith("Uniform") or case.shape.frames == 1
                    assert shape == ((32, 32) if still else (case.shape.frames, 32, 32))


def test_what_has_no_time_has_no_such_axis_in_its_file(later):
    for case in full(later).values():
        axes = len(matlab.find(case.path, "kspace").shape)
        assert axes == (4 if case.modality in WITHOUT_TIME else 5)


def test_the_records_say_the_same_when_read_as_when_simulated(held_out, later):
    for tree, receiver, seed in ((held_out, Receiver(), 10000), (later, Receiver(vendor="uih", field=1.5), 0)):
        for stem, case in full(tree).items():
            about = case.about()
            scan = Scan(
                *(about.view, about.contrast),
                matrix=(32, 32),
                frames=None if CONTRASTS[about.contrast].fixed_frames else 2,
                receiver=receiver,
            )
            first = hearts.slices(scan)[0]
            acquisition, truth = simulate(Subject(seed), first, generator=stream(5, seed, stem, 0))
            n_items = len(acquisition.kspace)
            assert torch.equal(case.kspace(range(n_items)), acquisition.kspace)
            for name in ("contrast", "vendor", "field", "venc", "snr_db", "origin", "pixel_size"):
                assert getattr(about, name) == getattr(acquisition.about, name), (stem, name)
            assert about.times == pytest.approx(acquisition.about.times)
            assert Domain.of(about) == Domain.of(acquisition.about)
            known = read_truth(truth_path(case), range(n_items))
            for name in ("image", "T1", "T2", "velocity"):
                mine, theirs = getattr(known, name), getattr(truth, name)
                assert (mine is None) == (theirs is None), (stem, name)
                assert mine is None or torch.equal(mine, theirs), (stem, name)


def test_what_2025_says_by_its_folders_is_that_of_the_receiver(later):
    for case in open_tree(later).cases:
        assert (case.year, case.scanner) == (2025, SCANNER)
        assert (case.about().vendor, case.about().field) == ("uih", 1.5)


def test_undersampled_files_of_2025_are_in_the_first_task_and_know_where_they_come_from(later):
    cases = [case for case in open_tree(later).cases if not case.fully_sampled]
    assert {case.task for case in cases} == {"Task1"}
    assert {case.stem for case in cases} == {stem.name for stem in STEMS[2025]}
    for case in cases:
        whole = full(later)[case.stem]
        assert torch.equal(case.kspace(), whole.kspace() * case.mask().sampled)
        assert (case.about().origin, case.about().times) == ("simulated", whole.about().times)


def test_tags_and_encoding_stand_in_the_info_file(held_out):
    cases = full(held_out)
    assert float(cases["tagging"].info()["tag_spacing_mm"]) == CONTRASTS["tagging"].spacing
    assert float(cases["flow2d"].info()["venc_cm_s"]) == CONTRASTS["flow2d"].venc == cases["flow2d"].about().venc
    assert "venc_cm_s" not in cases["cine_sax"].info()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal, which Windows has not")
def test_a_killed_call_of_some_contrasts_is_continued_and_writes_the_bytes_of_all(tmp_path, later):
    some = [word for name in IN_2025 for word in (("T1w", "lge", "T2map") if name == "all" else (name,))]
    some = [word for word in some if word not in ("--frames", "2")]  # that of all three is fixed
    tree = tmp_path / "tree"
    call = [sys.executable, "-m", "cmr_course", *some, "--out", str(tree), "--workers", "1"]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(tree.rglob("*_truth.h5")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((tree / "manifest.json").read_text())["status"] == "unfinished"
    assert course(*some, "--out", tree, "--workers", 1) == 0
    mine, of_all = files(tree), files(later)
    del mine["manifest.json"]
    wanted = {name for name in of_all if any(stem in name for stem in ("/T1w_", "/T1w.", "/lge_sax", "/T2map"))}
    assert mine == {name: of_all[name] for name in wanted}


def test_the_masks_of_the_command_are_those_of_the_layouts():
    for year, task in product(hearts.MASKS, ("Task1", "Task2")):
        named = {f"{kind}{r}" for kind, known in MASKS[year][task].items() for r in known}
        assert set(hearts.MASKS[year][task]) == named
        assert all(hearts._parsed(name)[0] in MASK_KINDS for name in named)


@pytest.mark.bad_input
def test_the_usual_number_of_slices_is_not_taken_for_another(tmp_path, capsys):
    def noted(*options: object) -> dict[str, object]:
        tree = tmp_path / "_".join(map(str, options))
        call = ("simulate", "--subjects", 1, "--matrix", 32, 32, "--masks", "none", "--workers", 1, *options)
        assert course(*call, "--out", tree) == 0
        manifest = json.loads((tree / "manifest.json").read_text())
        case = open_tree(tree).cases[0]
        (tree / "manifest.json").write_text(json.dumps({**manifest, "status": "unfinished"}))
        assert course(*call, "--slices", 10, "--out", tree) == 2
        assert "another settings" in capsys.readouterr().err
        assert manifest["settings"]["slices"][case.stem] == case.shape.slices
        return manifest["settings"]

    assert noted("--contrasts", "T2map")["slices"] == {"T2map": 3}
    assert "views" not in noted("--contrasts", "T1w", "--year", 2025)
    both = noted("--contrasts", "cine", "T2map", "--views", "lvot", "--frames", 2)
    assert (both["views"], both["slices"]) == (["lvot"], {"cine_lvot": 1, "T2map": 3})


BAD = [
    (["--contrasts: got 'T1'", "want one of cine, T1map, T2map, tagging, flow2d, blackblood in 2024"], ["T1"]),
    (["--contrasts: got 'lge'", "in 2024"], ["lge"]),
    (["--contrasts: got 'tagging'", "T1rho, T1w, T2w in 2025, or all alone"], ["tagging", "--year", "2025"]),
    (["--contrasts: got flow2d for the TrainingSet", "ValidationSet or TestSet only"], ["flow2d"]),
    (["--contrasts: got 'all', want one of"], ["all", "cine"]),
    (["--contrasts: got cine twice"], ["cine", "cine"]),
    (["--views: got sax without a cine"], ["T1map", "--views", "sax"]),
    (
        ["--views: got aorta_sag, want one of sax, lax, lvot in 2025"],
        ["cine", "--views", "aorta_sag", "--year", "2025"],
    ),
    (["--masks: got 'Uniform8'", "ktUniform8, 16, 24"], ["cine", "--year", "2025", "--masks", "Uniform8"]),
    (["field: got 11.7", "below 10 tesla"], ["cine", "--year", "2025", "--field", "11.7"]),
    (["--year", "2023"], ["cine", "--year", "2023"]),
    (["--frames: got 4", "fixed number (T1map has 9)"], ["T1map", "--frames", "4"]),
    (
        ["--frames: got 3", "(T1map has 9, T2map has 3, lge has 1)"],
        ["T1map", "T2map", "lge", "--year", "2025", "--frames", "3"],
    ),
    (
        ["--undersample: got ktRadial8 with flow2d, want one of Uniform4, Uniform8, Uniform10 for it"],
        ["cine", "flow2d", "--first-seed", "10000", "--undersample", "Uniform4", "ktRadial8"],
    ),
    (
        ["--split: got ValidationSet with seeds of the TrainingSet", "--first-seed 10000"],
        ["flow2d", "--split", "ValidationSet"],
    ),
    (["flow2d for the TrainingSet", "(--first-seed 10000 or 20000)"], ["flow2d", "--split", "TrainingSet"]),
    (
        ["--split: got TrainingSet with seeds of the TestSet"],
        ["T1map", "--first-seed", "20000", "--split", "TrainingSet"],
    ),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("words", "options"), BAD, ids=[" ".join(options) for _, options in BAD])
def test_bad_requests(tmp_path, capsys, words, options):
    assert course("simulate", "--subjects", "1", "--contrasts", *options, "--out", tmp_path / "tree") == 2
    said = capsys.readouterr().err
    assert said.startswith("cmr-course: error: ")
    assert said.count("\n") == 1, said
    for word in words:
        assert word in said, said
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_options_of_hearts_are_refused_with_a_series(tmp_path, capsys):
    assert course("simulate", "heart.npz", "--contrasts", "all", "--out", tmp_path / "tree") == 2
    assert "--contrasts: got ['all'], want it together with --subjects only" in capsys.readouterr().err
