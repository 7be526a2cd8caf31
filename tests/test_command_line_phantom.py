"""``cmr-course simulate --subjects``: a tree of simulated hearts, the same bytes however it comes about."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cmr_course import __main__ as command_line
from cmr_course import workers
from cmr_course.command_line import hearts
from cmr_course.data import Case, matlab, open_tree, read_images, stream, truth_path, validate
from cmr_course.data.truth import read_truth
from cmr_course.receiver import Receiver
from cmr_course.simulation import Scan, Subject, simulate
from cmr_course.simulation.subject import CONDITIONS

SIZE = ("--matrix", "64", "64", "--frames", "4", "--slices", "2")
"""Small enough for a test."""
WANTED = (
    *("--condition", "mixed", "--seed", "5"),
    *("--masks", "Uniform8", "ktUniform4"),
    *("--undersample", "Uniform4", "ktGaussian8", "ktRadial16"),
)
CALL = ("simulate", "--subjects", "2", *SIZE, *WANTED)
SOME = (*CALL, "--views", "sax", "lvot")
VIEWS = {"cine_sax": 2, "cine_lax": 3, "cine_lvot": 1, "aorta_sag": 1, "aorta_tra": 1}
SAX = "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"


def course(*words: object) -> int:
    return command_line.main([str(word) for word in words])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def some(tree: Path) -> dict[str, bytes]:
    """What `SOME` writes, as found in a tree of all views."""
    return {name: content for name, content in files(tree).items() if "sax" in name or "lvot" in name}


def scan(**changes: object) -> Scan:
    size = {"matrix": (64, 64), "field_of_view": (360.0, 360.0), "frames": 4}
    return Scan(**{**size, "receiver": Receiver(), **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The tree of two subjects, made in one go and by one worker. Not to be changed."""
    tree = tmp_path_factory.mktemp("whole") / "tree"
    assert course(*CALL, "--out", tree, "--workers", 1) == 0
    return tree


def test_the_tree_is_one_of_2024_and_holds_all_views(whole):
    assert validate(whole, 2024) == []
    full = [case for case in open_tree(whole).cases if case.fully_sampled]
    assert {(case.subject, case.stem): case.shape for case in full} == {
        (subject, stem): (slices, 4, 10, 64, 64) for subject in ("P001", "P002") for stem, slices in VIEWS.items()
    }
    manifest = json.loads((whole / "manifest.json").read_text())
    assert (manifest["status"], manifest["command"], manifest["seed"]) == ("complete", "simulate", 5)
    assert sorted([*manifest["files"], "manifest.json"]) == sorted(files(whole))


def test_the_files_hold_what_simulate_returns(whole):
    case = Case(whole, 2024, "Cine", "TrainingSet", "P002", "cine_lax")
    person = Subject(1, case.info()["condition"])
    for number, view in enumerate(("3ch", "2ch", "4ch")):
        acquisition, truth = simulate(person, scan(view=view), generator=stream(5, 1, "cine_lax", number))
        stored, known = case.acquisition(slices=[number]), read_truth(truth_path(case), [number])
        assert torch.equal(stored.kspace, acquisition.kspace)
        for name in ("image", "labels", "sensitivities", "displacement"):
            assert torch.equal(getattr(known, name), getattr(truth, name)), name
        for name in ("volumes", "strain"):
            assert set(getattr(known, name)) == set(getattr(truth, name)) != set()
            for series, values in getattr(truth, name).items():
                assert torch.equal(getattr(known, name)[series], values), series
        assert known.label_names == truth.label_names
        assert stored.about.times == pytest.approx(acquisition.about.times)
        assert stored.about.pixel_size == acquisition.about.pixel_size
        assert stored.about.origin == acquisition.about.origin == "simulated"
        assert (stored.about.snr_db, stored.about.vendor, stored.about.field) == (30.0, "siemens", 3.0)


@pytest.mark.parametrize(("view", "slices"), [("sax", 4), ("lax", 1)])
def test_slices_scanned_one_by_one_lie_where_those_of_the_stack_do(view, slices):
    stack = scan(view=view, slices=slices, offset=3.0, receiver=Receiver(snr_db=None))
    generator = torch.Generator().manual_seed(1)
    _, together = simulate(Subject(3), stack, generator=generator)
    singles = [simulate(Subject(3), one, generator=generator)[1] for one in hearts.slices(stack)]
    assert len(singles) == len(together.image) > 1
    labels = torch.cat([truth.labels for truth in singles])
    assert (labels == together.labels).float().mean() > 0.999  # but for pixels on a border, by rounding
    assert (labels[0] != labels[1]).float().mean() > 0.01
    for name, values in together.volumes.items():
        torch.testing.assert_close(torch.cat([truth.volumes[name] for truth in singles]), values, rtol=1e-4, atol=1e-2)


def test_undersampled_files_are_the_full_ones_times_the_challenges_masks(whole):
    cases = [case for case in open_tree(whole).cases if not case.fully_sampled]
    assert {(case.task, case.mask_kind, case.acceleration) for case in cases} == {
        ("Task1", "Uniform", 4),
        ("Task2", "ktGaussian", 8),
        ("Task2", "ktRadial", 16),
    }
    assert len(cases) == 3 * 2 * len(VIEWS)
    for case in cases:
        mask, full = case.mask(), replace(case, mask_kind="", acceleration=1, task="")
        # A lattice line beside the block of 16 can make it look larger.
        assert mask.acs[0] >= 16
        assert 1 < mask.realised_acceleration <= case.acceleration
        assert torch.equal(case.kspace(), full.kspace() * mask.sampled)
    drawn = {case.mask().sampled.numpy().tobytes() for case in cases if case.mask_kind == "ktGaussian"}
    assert len(drawn) == 2 * len(VIEWS)  # every file has its own


def test_masks_lie_beside_files_that_are_not_undersampled(whole):
    folder = whole / "MultiCoil" / "Aorta" / "TrainingSet"
    uniform = matlab.find(folder / "Mask_Task1" / "P001" / "aorta_sag_mask_Uniform8.mat", "mask")
    moving = matlab.find(folder / "Mask_Task2" / "P001" / "aorta_sag_mask_ktUniform4.mat", "mask")
    assert uniform.shape == (64, 64)
    assert moving.shape == (4, 64, 64)
    lines = [k for k in range(64) if k % 8 == 0 or 24 <= k < 40]
    assert uniform.read()[:, 7].nonzero()[0].tolist() == lines


def test_the_info_file_says_who_it_is(whole):
    rows = {}
    for number, subject in enumerate(("P001", "P002")):
        path = whole / "MultiCoil" / "Aorta" / "TrainingSet" / "ImgSnapshot" / subject / "aorta_tra_info.csv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = dict(csv.reader(file))
        person = Subject(number, rows["condition"])
        assert (rows["subject_seed"], rows["subject_split"], rows["seed"]) == (str(number), "training", "5")
        assert float(rows["ejection_fraction"]) == person.physiology().ejection_fraction
        assert float(rows["heart_rate_bpm"]) == person.physiology().heart_rate


def test_conditions_are_mixed_by_the_seed():
    drawn = [hearts._person(seed, "mixed").condition for seed in range(40)]
    assert set(drawn) == set(CONDITIONS)
    assert drawn == [hearts._person(seed, "mixed").condition for seed in range(40)]
    assert hearts._person(7, "dilated") == Subject(7, "dilated")


def test_coils_may_be_compressed_and_the_split_named(tmp_path):
    options = ("--views", "lvot", "--coils", 12, "--virtual-coils", 4, "--masks", "none", "--split", "ValidationSet")
    assert (
        course(
            "simulate", "--subjects", 1, "--first-seed", 10000, *SIZE[:-2], *options, "--out", tmp_path, "--workers", 1
        )
        == 0
    )
    (case,) = open_tree(tmp_path).cases
    assert (case.split, case.shape) == ("ValidationSet", (1, 4, 4, 64, 64))
    assert read_truth(truth_path(case)).sensitivities.shape == (1, 1, 4, 64, 64)


def test_two_workers_write_the_same_bytes_as_one(tmp_path, whole):
    assert course(*CALL, "--out", tmp_path / "tree", "--workers", 2) == 0
    assert files(tmp_path / "tree") == files(whole)


def test_a_subject_is_the_same_whoever_else_is_simulated_and_another_seed_is_not(tmp_path, whole):
    call = ("simulate", "--subjects", 1, "--first-seed", 1, "--subject", "P002", *SIZE, *WANTED, "--workers", 1)
    assert course(*call, "--out", tmp_path / "one") == 0
    of_whole = {name: content for name, content in files(whole).items() if "P002" in name}
    one = files(tmp_path / "one")
    assert {name: content for name, content in one.items() if name != "manifest.json"} == of_whole
    assert course(*call, "--views", "lvot", "--seed", 6, "--out", tmp_path / "other") == 0
    name = "MultiCoil/Cine/TrainingSet/FullSample/P002/cine_lvot.mat"
    assert files(tmp_path / "other")[name] != one[name]


def test_a_disk_that_fills_up_leaves_whole_files_and_the_call_is_continued(tmp_path, whole, monkeypatch, capsys):
    tree, calls = tmp_path / "tree", 0

    def usage(folder: Path) -> SimpleNamespace:
        """Room for six tenths of the tree, but for the first look, before anything is written."""
        nonlocal calls
        calls += 1
        used = sum(len(content) for content in files(tree).values())
        return SimpleNamespace(free=10**12 if calls == 1 else 6 * total // 10 - used)

    total = sum(len(content) for content in some(whole).values())
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", usage)
        assert course(*SOME, "--out", tree, "--workers", 1) == 2
    said = capsys.readouterr().err
    assert said.startswith("cmr-course: error: ")
    assert "No space left on device" in said
    assert said.count("\n") == 1
    left = files(tree)
    assert json.loads(left["manifest.json"])["status"] == "unfinished"
    assert SAX in json.loads(left["manifest.json"])["files"]
    assert some(tree).items() < some(whole).items()
    before = (tree / SAX).stat().st_mtime_ns
    assert course(*SOME, "--out", tree, "--workers", 1) == 0
    assert (tree / SAX).stat().st_mtime_ns == before  # what was finished was not done again
    assert some(tree) == some(whole)
    assert not [name for name in files(tree) if "partial" in name]


def test_ctrl_c_stops_all_workers_and_the_call_is_continued(tmp_path, whole):
    if sys.platform == "win32":
        pytest.skip("sends a signal, which Windows has not")
    tree = tmp_path / "tree"
    call = [sys.executable, "-m", "cmr_course", *SOME, "--out", str(tree), "--workers", "2"]
    process = subprocess.Popen(call, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not any(tree.rglob(".*.mat.partial")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert said == "cmr-course: interrupted\n"
    assert not [name for name in files(tmp_path) if "partial" in name]
    assert course(*SOME, "--out", tree, "--workers", 1) == 0
    assert some(tree) == some(whole)
    assert not [name for name in files(tree) if "partial" in name]


def test_reconstruct_and_evaluate_take_the_tree(tmp_path, whole, capsys):
    out = tmp_path / "recon"
    only = ("--only", "*UnderSample_Task1/P001/cine_sax*", "--method", "zero-filled", "--slices", 1)
    assert course("reconstruct", whole, *only, "--out", out) == 0
    assert course("evaluate", whole, "--reconstruction", out) == 0
    assert "noise-free truth" in capsys.readouterr().out
    assert read_images(truth_path(open_tree(whole).cases[0])).shape[1:] == (4, 64, 64)


def halved(job: int, tell: workers.Tell) -> float:
    """A job for a worker: 3 is no job."""
    tell()
    if job == 3:
        raise ValueError("job: got 3, want another")
    return job / 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_jobs_error_comes_through(number):
    steps: list[int] = []
    done = workers.done(halved, [1, 2, 5, 3], number, lambda: steps.append(1))
    got: list[tuple[int, float]] = []
    with pytest.raises(ValueError, match="job: got 3, want another"):
        got.extend(done)
    assert all(result == job / 2 for job, result in got)
    assert steps == [1] * len(steps) != []


def refused(capsys, folder: Path, words: list[str], *call: object) -> None:
    """The call exits with 2, says every one of `words` in one line, and leaves nothing below `folder`."""
    capsys.readouterr()
    assert course(*call) == 2
    said = capsys.readouterr().err
    assert said.startswith("cmr-course: error: ")
    assert said.count("\n") == 1, said
    for word in words:
        assert word in said, said
    assert not list(folder.rglob("*"))


BAD = [
    (["got neither SERIES nor --subjects"], []),
    (["got both heart.npz and --subjects 1"], ["heart.npz", "--subjects", "1"]),
    (["--views: got ['sax']", "--subjects only"], ["heart.npz", "--views", "sax"]),
    (["--workers: got 2", "--subjects only"], ["heart.npz", "--workers", "2"]),
    (["--subjects", "above zero"], ["--subjects", "0"]),
    (["--views", "'5ch'"], ["--subjects", "1", "--views", "5ch"]),
    (["--views: got sax twice"], ["--subjects", "1", "--views", "sax", "sax"]),
    (["--slices: got 1 2, want one number"], ["--subjects", "1", "--slices", "1", "2"]),
    (["slices: got 0"], ["--subjects", "1", "--slices", "0"]),
    (["matrix: got (64, 8)"], ["--subjects", "1", "--matrix", "64", "8"]),
    (["field_of_view: got (9.0, 360.0)"], ["--subjects", "1", "--field-of-view", "9", "360"]),
    (["--condition: got 'broken'", "mixed"], ["--subjects", "1", "--condition", "broken"]),
    (["vendor: got 'acme'"], ["--subjects", "1", "--vendor", "acme"]),
    (["virtual_coils: got 12, want 1 to 10"], ["--subjects", "1", "--virtual-coils", "12"]),
    (["field: got 0"], ["--subjects", "1", "--field", "0"]),
    (["--masks: got 'Uniform5'", "ktRadial"], ["--subjects", "1", "--masks", "Uniform5"]),
    (["--undersample: got 'spiral4'"], ["--subjects", "1", "--undersample", "spiral4"]),
    (["split: got 'Test'", "TestSet"], ["--subjects", "1", "--split", "Test"]),
    (["seeds 9999 to 10000, training and validation"], ["--subjects", "2", "--first-seed", "9999"]),
    (["seed: got 30000"], ["--subjects", "1", "--first-seed", "30000"]),
    (["--subject: got 'Anna'"], ["--subjects", "1", "--subject", "Anna"]),
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("words", "options"), BAD, ids=[" ".join(options) or "nothing" for _, options in BAD])
def test_bad_requests(tmp_path, capsys, words, options):
    refused(capsys, tmp_path, words, "simulate", *options, "--out", tmp_path / "tree")


@pytest.mark.bad_input
def test_a_disk_that_is_too_small_is_seen_before_anything_is_written(tmp_path, capsys, monkeypatch):
    # A short-axis stack at full size: 10 slices x 12 frames x 10 coils x 204 x 448, 8 bytes each, and its truth.
    call = ("simulate", "--subjects", "1", "--views", "sax", "--masks", "none", "--out", tmp_path / "tree")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=877_000_000))
    refused(capsys, tmp_path, ["0.877 GB free below", "want 1.18 GB"], *call)


@pytest.mark.bad_input
def test_a_finished_tree_is_not_touched_and_an_unfinished_one_only_by_the_same_call(tmp_path, whole, capsys):
    assert course(*CALL, "--out", whole) == 2
    assert "complete" in capsys.readouterr().err
    tree = tmp_path / "tree"
    tree.mkdir()
    manifest = json.loads((whole / "manifest.json").read_text())
    (tree / "manifest.json").write_text(json.dumps({**manifest, "status": "unfinished", "files": []}))
    assert course(*CALL, "--frames", "3", "--out", tree) == 2
    assert "another settings" in capsys.readouterr().err
