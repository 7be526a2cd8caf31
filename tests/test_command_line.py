"""The command line: a tree from a series, reconstructed and scored; bad input is one line, exit code 2, no file."""

from __future__ import annotations

import csv
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import cmr_course.data.series
from cmr_course import __main__ as command_line
from cmr_course import classical, sampling, weights
from cmr_course.command_line import methods
from cmr_course.command_line.signals import interruptible
from cmr_course.data import Case, matlab, open_tree, read_images, truth_path, validate, write_case
from cmr_course.metrics import COLUMNS

SIMULATE = ("--coils", "6", "--matrix", "64", "64", "--frames", "3", "--seed", "7")
RECONSTRUCT = ("--mask", "uniform", "--acceleration", "4", "--acs", "16")
STEM = "MultiCoil/Cine/TrainingSet/FullSample/P001/cine_sax.mat"


def write_series(path: Path, slices: int = 2, frames: int = 4, n: int = 80, **changes: object) -> Path:
    """A beating disc in a textured body: its edges and texture fill k-space, so that undersampling aliases."""
    rows = np.arange(n) - n // 2
    distance = np.hypot(rows[:, None], rows[None, :]) / n
    radius = 0.2 + 0.04 * np.cos(2 * np.pi * np.arange(frames) / frames)
    texture = np.random.default_rng(4).random((n, n))
    beat = 1.0 * (distance < radius[:, None, None]) + (0.2 + texture) * (distance < 0.42)
    images = np.stack([beat * (500 + 50 * s) for s in range(slices)]).astype(np.uint16)
    np.savez(path, **{"images": images, **changes})
    return path


def course(*words: object) -> int:
    return command_line.main([str(word) for word in words])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_series(tmp_path_factory.mktemp("source") / "heart.npz")


@pytest.fixture
def tree(tmp_path, source) -> Path:
    assert course("simulate", source, "--out", tmp_path / "tree", *SIMULATE) == 0
    return tmp_path / "tree"


def test_a_series_becomes_a_valid_tree_that_says_what_it_is(tree):
    (case,) = open_tree(tree).cases
    assert case.shape == (2, 3, 6, 64, 64)
    about = case.acquisition(slices=[0]).about
    assert about.origin == "real anatomy and motion, simulated acquisition"
    assert (about.snr_db, about.vendor, about.field) == (30.0, "siemens", 3.0)
    assert validate(tree) == [f"{case.path}: got 6 coils, want 10"]
    truth = read_images(truth_path(case))
    assert truth.shape == (2, 3, 64, 64)
    noisy = case.acquisition().coil_images().abs().square().sum(2).sqrt()
    assert 0.01 < (noisy - truth.abs()).norm() / truth.norm() < 0.2
    manifest = json.loads((tree / "manifest.json").read_text())
    assert (manifest["status"], manifest["command"], manifest["seed"]) == ("complete", "simulate", 7)
    assert sorted([*manifest["files"], "manifest.json"]) == sorted(files(tree))


def test_the_same_call_writes_the_same_bytes_and_another_seed_does_not(tmp_path, tree, source):
    assert course("simulate", source, "--out", tmp_path / "again", *SIMULATE) == 0
    assert files(tmp_path / "again") == files(tree)
    assert course("simulate", source, "--out", tmp_path / "other", *SIMULATE[:-1], "8") == 0
    assert files(tmp_path / "other")[STEM] != files(tree)[STEM]


def test_a_slice_is_the_same_whatever_else_is_simulated(tmp_path, tree, source):
    assert course("simulate", source, "--out", tmp_path / "one", *SIMULATE, "--slices", 1) == 0
    whole, one = (open_tree(root).cases[0] for root in (tree, tmp_path / "one"))
    assert torch.equal(one.acquisition().kspace, whole.acquisition(slices=[1]).kspace)


def test_reconstruct_and_evaluate(tree, capsys):
    scores = {}
    for method in ("zero-filled", "cg-sense"):
        assert course("reconstruct", tree, "--method", method, *RECONSTRUCT) == 0
        assert "nominal R = 4, realised R = 2.29" in capsys.readouterr().out  # 16 + 16 − 4 of 64 lines
        out = tree / "reconstruction" / f"{method}_uniform4_acs16"
        assert course("evaluate", tree, "--reconstruction", out, "--csv", tree / "scores.csv") == 0
        shown = capsys.readouterr().out
        assert "noise-free truth" in shown
        assert all(word in shown for word in (method, "nmse", "psnr", "ssim", "2.29"))
        with (tree / "scores.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        assert {row["slice"] for row in rows} == {"0", "1"}
        series = [row for row in rows if row["metric"] == "psnr" and not row["frame"]]
        assert {row["maps"] for row in series} == {"espirit"}
        scores[method] = min(float(row["value"]) for row in series)
        magnitude, image = (matlab.find(out / STEM, name).read() for name in ("magnitude", "image"))
        np.testing.assert_allclose(magnitude, abs(image), rtol=1e-6)
    assert scores["cg-sense"] > scores["zero-filled"] + 2


def test_undersampled_files_bring_their_own_mask_and_are_scored_by_their_full_sample(tmp_path, tree, capsys):
    kspace = open_tree(tree).cases[0].acquisition().kspace
    full = Case(tmp_path / "real", 2023, "Cine", "TrainingSet", "P001", "cine_sax")
    under = Case(tmp_path / "real", 2023, "Cine", "TrainingSet", "P001", "cine_sax", "Uniform", 4)
    write_case(full, iter(kspace), 2)
    write_case(under, iter(kspace), 2, mask=sampling.uniform(64, 4, acs=24))
    out = tmp_path / "out"
    only = ("--only", "*AccFactor04*")
    assert course("reconstruct", tmp_path / "real", *only, "--slices", 1, "--out", out) == 0
    assert "nominal R = 4, realised R = 1.88" in capsys.readouterr().out
    assert course("evaluate", tmp_path / "real", "--reconstruction", out) == 0
    assert "root sum of squares, fully sampled" in capsys.readouterr().out


@pytest.mark.bad_input
def test_a_second_mask_on_undersampled_files_and_an_empty_one(tmp_path, tree, capsys):
    kspace = open_tree(tree).cases[0].acquisition().kspace
    under = Case(tmp_path / "real", 2023, "Cine", "TrainingSet", "P001", "cine_sax", "Uniform", 4)
    write_case(under, iter(kspace), 2, mask=sampling.uniform(64, 4, acs=24))
    call = ("reconstruct", tmp_path / "real", "--out", tmp_path / "out")
    refused(capsys, tmp_path, ["--mask: got uniform", "undersampled already"], *call, *RECONSTRUCT)
    matlab.save(under.found_mask_path(), {"mask04": np.zeros((64, 64))})
    refused(capsys, tmp_path, ["cine_sax_mask.mat", "zeros only"], *call)


@pytest.mark.bad_input
def test_reconstructions_of_another_tree_are_not_scored(tmp_path, tree, source, capsys):
    out = tmp_path / "out"
    assert course("reconstruct", tree, *RECONSTRUCT, "--method", "zero-filled", "--out", out) == 0
    assert course("simulate", source, "--out", tmp_path / "other", *SIMULATE[:-1], "8") == 0
    words = ["cine_sax.mat", "reconstruction of another file"]
    refused(capsys, tmp_path, words, "evaluate", tmp_path / "other", "--reconstruction", out)
    assert course("evaluate", tree, "--reconstruction", out) == 0


def test_random_masks_follow_from_the_seed(tmp_path, tree):
    settings = ("--mask", "kt-gaussian", "--acceleration", "3", "--acs", "16", "--method", "zero-filled")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert course("reconstruct", tree, *settings, "--seed", seed, "--out", tmp_path / name) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")[STEM] != files(tmp_path / "c")[STEM]


def test_an_interrupted_run_leaves_no_partial_file_and_is_continued(tmp_path, source, monkeypatch, capsys):
    second = write_series(tmp_path / "second.npz", slices=3)
    call = ("simulate", source, second, "--out", tmp_path / "tree", *SIMULATE)
    real, count = cmr_course.data.series.receive, 0

    def interrupted(*args, **kwargs):
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(cmr_course.data.series, "receive", interrupted)
        assert course(*call) == 130
    left = files(tmp_path / "tree")
    assert json.loads(left["manifest.json"])["status"] == "unfinished"
    assert not [name for name in left if "P002" in name or "partial" in name]
    assert STEM in left
    first = (tmp_path / "tree" / STEM).stat().st_mtime_ns
    capsys.readouterr()

    assert course(*call[:-1], "8") == 2  # another seed
    assert "another seed" in capsys.readouterr().err
    assert course(*call) == 0
    assert (tmp_path / "tree" / STEM).stat().st_mtime_ns == first  # what was finished was not done again
    assert course("simulate", source, second, "--out", tmp_path / "whole", *SIMULATE) == 0
    assert files(tmp_path / "tree") == files(tmp_path / "whole")


def test_an_interruption_before_the_first_file_leaves_nothing(tmp_path, tree, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Case, "acquisition", interrupted)
    before = files(tmp_path)
    assert course("reconstruct", tree, *RECONSTRUCT) == 130
    assert files(tmp_path) == before
    assert not (tree / "reconstruction").exists()


def test_what_a_killed_run_left_is_overwritten(tmp_path, source, tree):
    whole = files(tree)
    manifest = json.loads(whole["manifest.json"])
    (tree / STEM).rename((tree / STEM).with_name(".cine_sax.mat.partial"))
    (tree / "manifest.json").write_text(json.dumps({**manifest, "status": "unfinished", "files": []}))
    assert course("simulate", source, "--out", tree, *SIMULATE) == 0
    assert files(tree) == whole


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[512:1400] = np.random.default_rng(0).bytes(888)
    path.write_bytes(content)


def rewrite(change: Callable[[np.ndarray], np.ndarray], name: str = "kspace_full") -> Callable[[Path], None]:
    return lambda path: matlab.save(path, {name: change(matlab.find(path, "kspace_full").read())})


def with_nan(kspace: np.ndarray) -> np.ndarray:
    kspace[0, 1, 2, 3, 4] = np.nan
    return kspace


BAD_TREES = {
    "truncated": (truncate, ["cine_sax.mat", "truncated"]),
    "corrupt": (corrupt, ["cine_sax.mat", "cannot be read"]),
    "text": (lambda path: path.write_text("k-space"), ["cine_sax.mat", "cannot be read"]),
    "missing variable": (rewrite(lambda k: k, "other"), ["cine_sax.mat", "kspace_full", "other"]),
    "real": (rewrite(lambda k: k.real.copy()), ["cine_sax.mat", "kspace_full", "real values"]),
    "axes": (rewrite(lambda k: k[0].copy()), ["cine_sax.mat", "kspace_full", "4 axes", "want 5 axes"]),
    "nan": (rewrite(with_nan), ["cine_sax.mat", "kspace_full", "slice 1", "1 values that are NaN"]),
}


def refused(capsys, folder: Path, words: list[str], *call: object) -> None:
    """The call exits with 2, says every one of `words` in one line, and changes no file below `folder`."""
    before = files(folder)
    capsys.readouterr()
    assert course(*call) == 2
    said = capsys.readouterr().err
    assert said.startswith("cmr-course: error: ")
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    assert files(folder) == before


@pytest.mark.bad_input
@pytest.mark.parametrize("how", BAD_TREES)
def test_bad_k_space(tmp_path, tree, capsys, how):
    spoil, words = BAD_TREES[how]
    spoil(tree / STEM)
    refused(capsys, tmp_path, words, "reconstruct", tree, *RECONSTRUCT, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.bad_input
def test_a_mask_that_does_not_fit(tmp_path, tree, capsys):
    kspace = open_tree(tree).cases[0].acquisition().kspace
    case = Case(tmp_path / "own", 2024, "Cine", "ValidationSet", "P001", "cine_sax", "Uniform", 4, "Task1")
    write_case(case, iter(kspace), 2, mask=sampling.uniform(64, 4, acs=16))
    matlab.save(case.mask_path, {"mask": np.ones((64, 63), dtype=bool)})
    words = ["cine_sax_mask_Uniform4.mat", "got shape (64, 63), want (64, 64)"]
    refused(capsys, tmp_path, words, "reconstruct", tmp_path / "own")
    words = ["cine_sax.mat", "mask does not fit", "acs: got 80"]
    refused(capsys, tmp_path, words, "reconstruct", tree, *RECONSTRUCT, "--acs", 80)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["method: got 'magic', want one of", "cg-sense"], ["--method", "magic"]),
        (["--mask", "'spiral', want one of"], ["--mask", "spiral", "--acceleration", "4"]),
        (["--acceleration", "missing"], ["--mask", "uniform"]),
        (["--acceleration", "together with --mask"], ["--acceleration", "4"]),
        (["acceleration", "got 0"], ["--mask", "uniform", "--acceleration", "0"]),
        (["--acceleration", "'fast'"], ["--mask", "uniform", "--acceleration", "fast"]),
        (["--acs", "above zero"], [*RECONSTRUCT, "--acs", "0"]),
        (["cine_sax.mat", "slices: got 5, want 0 to 1"], ["--slices", "5"]),
        (["--only", "T1map"], ["--only", "*T1map*"]),
        (["unrecognized arguments: --fast"], ["--fast"]),
    ],
)
def test_bad_requests(tmp_path, tree, capsys, words, options):
    refused(capsys, tmp_path, words, "reconstruct", tree, *options)


@pytest.mark.bad_input
def test_an_output_folder_with_something_else_in_it(tmp_path, tree, source, capsys):
    said = "neither empty nor an unfinished tree of the same command and seed"
    call = ("simulate", source, *SIMULATE, "--out")
    refused(capsys, tmp_path, [str(tree), said, "complete"], *call, tree)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    refused(capsys, tmp_path, [said, "no manifest.json"], *call, tmp_path / "full")
    refused(capsys, tmp_path, [said, "it is a file"], *call, tmp_path / "full" / "thesis.tex")
    refused(capsys, tmp_path, ["thesis.tex"], *call, tmp_path / "full" / "thesis.tex" / "below")
    manifest = json.loads((tree / "manifest.json").read_text())
    for changes, reason in (
        ({"seed": 8}, "another seed"),
        ({"command": "reconstruct"}, "another command"),
        ({"settings": {}}, "another settings"),
    ):
        (tree / "manifest.json").write_text(json.dumps({**manifest, "status": "unfinished", **changes}))
        refused(capsys, tmp_path, [said, reason], *call, tree)
    (tree / "manifest.json").write_text("{")
    refused(capsys, tmp_path, [said, "cannot be read"], *call, tree)
    (tmp_path / "empty").mkdir()
    assert course(*call, tmp_path / "empty") == 0


BAD_SERIES = {
    "truncated": (lambda path: truncate(write_series(path)), ["heart.npz", "truncated"]),
    "missing": (lambda path: np.savez(path, frames=np.ones(3)), ["heart.npz", "no array 'images'", "frames"]),
    "complex": (lambda path: write_series(path, images=np.ones((1, 2, 9, 9)) * 1j), ["heart.npz", "real numbers"]),
    "axes": (lambda path: write_series(path, images=np.ones((2, 9, 9))), ["heart.npz", "images: got 3 axes", "want 4"]),
    "nan": (lambda path: write_series(path, images=np.full((1, 3, 9, 9), np.nan)), ["heart.npz", "NaN"]),
    "short": (lambda path: write_series(path, frames=2), ["heart.npz", "frames: got 3, want 1 to 2"]),
    "absent": (lambda path: None, ["heart.npz", "no such file"]),
    "text": (lambda path: path.write_text("not a heart"), ["heart.npz", "cannot be read as npz"]),
    "meta": (lambda path: write_series(path, meta=np.array("{")), ["heart.npz", "meta: got no JSON"]),
    "times": (
        lambda path: write_series(path, meta=np.array('{"trigger_times_ms": [0, NaN, 2, 3]}')),
        ["heart.npz", "times: got", "finite"],
    ),
}


@pytest.mark.bad_input
def test_an_npy_file_called_npz(tmp_path, capsys):
    np.save(tmp_path / "heart.npy", np.ones((1, 3, 9, 9)))
    (tmp_path / "heart.npy").rename(tmp_path / "heart.npz")
    words = ["heart.npz", "want an npz archive"]
    refused(capsys, tmp_path, words, "simulate", tmp_path / "heart.npz", "--out", tmp_path / "tree", *SIMULATE)


@pytest.mark.bad_input
@pytest.mark.parametrize("how", BAD_SERIES)
def test_bad_series(tmp_path, source, capsys, how):
    make, words = BAD_SERIES[how]
    make(tmp_path / "heart.npz")
    # The good series in front of it must leave no half tree behind either.
    refused(capsys, tmp_path, words, "simulate", source, tmp_path / "heart.npz", "--out", tmp_path / "tree", *SIMULATE)
    assert not (tmp_path / "tree").exists()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--subject", "'Anna'"], ["--subject", "Anna"]),
        (["vendor", "'acme'", "siemens"], ["--vendor", "acme"]),
        (["--coils"], ["--coils", "0"]),
        (["--snr"], ["--snr", "loud"]),
        (["snr_db", "nan"], ["--snr", "nan"]),
        (["heart.npz", "slices: got [4]"], ["--slices", "4"]),
        (["--slices", "1 twice"], ["--slices", "1", "1"]),
    ],
)
def test_bad_simulate_requests(tmp_path, source, capsys, words, options):
    refused(capsys, tmp_path, words, "simulate", source, "--out", tmp_path / "tree", *options)


@pytest.mark.bad_input
def test_bad_evaluate_requests(tmp_path, tree, capsys):
    out = tmp_path / "out"
    refused(capsys, tmp_path, ["out", "no such folder"], "evaluate", tree, "--reconstruction", out)
    out.mkdir()
    refused(capsys, tmp_path, ["no reconstruction of a file"], "evaluate", tree, "--reconstruction", out)
    assert course("reconstruct", tree, *RECONSTRUCT, "--out", tmp_path / "good", "--method", "zero-filled") == 0
    call = ("evaluate", tree, "--reconstruction", tmp_path / "good")
    refused(capsys, tmp_path, ["--csv"], *call, "--csv", tmp_path / "nowhere" / "scores.csv")
    refused(capsys, tmp_path, ["--csv"], *call, "--csv", tmp_path)
    refused(capsys, tmp_path, ["nowhere"], "evaluate", tmp_path / "nowhere", "--reconstruction", tmp_path / "good")
    truth = truth_path(open_tree(tree).cases[0])
    content = truth.read_bytes()
    truncate(truth)
    refused(capsys, tmp_path, ["cine_sax_truth.h5", "truncated"], *call, "--csv", tmp_path / "scores.csv")
    truth.write_bytes(content)
    matlab.save(tmp_path / "good" / STEM, {"image": np.ones((3, 2, 32, 32), dtype=np.complex64)})
    refused(capsys, tmp_path, ["cine_sax.mat", "does not say what it is"], *call)


def run(*words: object, **settings: object) -> subprocess.Popen:
    call = [sys.executable, "-m", "cmr_course", *map(str, words)]
    return subprocess.Popen(call, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file, which needs Linux")
def test_a_full_disk(tmp_path, source):
    tree = tmp_path / "tree"
    process = run(
        *("simulate", source, "--out", tree, *SIMULATE),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    )
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert said.startswith("cmr-course: error: ")
    assert said.count("\n") == 1
    assert "File too large" in said
    assert not tree.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal, which Windows has not")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cleans_up(tmp_path, number):
    series = write_series(tmp_path / "long.npz", slices=400)
    tree = tmp_path / "tree"
    process = run("simulate", series, "--out", tree, *SIMULATE)
    while process.poll() is None and not any(tree.rglob(".cine_sax.mat.partial")):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert said == "cmr-course: interrupted\n"
    assert not tree.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal, which Windows has not")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_lands_in_a_destructor_is_not_lost(number):
    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(number)
            self.alive = False

    hook = sys.unraisablehook

    def interrupted() -> None:
        with interruptible():
            Dying()
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sys.unraisablehook is hook


def test_help_is_fast_because_it_loads_neither_torch_nor_h5py():
    program = (
        "import sys; from cmr_course.__main__ import main; code = main(['simulate', '--help']);"
        "sys.exit(code or [name for name in ('torch', 'numpy', 'h5py', 'scipy') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--seed" in done.stdout


def test_help_names_every_method():
    told = methods.HELP.replace(";", ",").replace(":", ",").split(", ")
    assert told[: len(classical.METHODS)] == list(classical.METHODS)
    assert set(weights.names()) <= set(told)


@pytest.mark.parametrize("command", ["", "simulate", "reconstruct", "evaluate", "train", "benchmark"])
def test_every_command_has_help(capsys, command):
    assert course(*[command] * bool(command), "--help") == 0
    assert "usage: cmr-course" in capsys.readouterr().out
