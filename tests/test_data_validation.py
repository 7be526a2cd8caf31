"""The validator: a good tree passes, and each of many deviations of a damaged one is named in exactly one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_course import sampling
from cmr_course.acquisition import Truth
from cmr_course.data import Case, matlab, truth_path, validate, write_case, writing_truth
from cmr_course.data.layouts import MASKS, accelerations, scanner_folder
from cmr_course.domains import known_stem

FRAMES, COILS, KY, KX = 3, 10, 40, 24


def frames_of(stem: str) -> int:
    return {"T1map": 9, "T2map": 3, "blackblood": 1, "lge_sax": 1}.get(stem, FRAMES)


def full(root: Path, subject: str, stem: str = "cine_sax", split: str = "ValidationSet", **changes: object) -> Case:
    year = changes.pop("year", 2024)
    known = known_stem(stem, year)
    modality = changes.pop("modality", known.modality if known else "Cine")
    return Case(root, year, modality, split, subject, stem, **changes)


def masked(case: Case, kind: str = "Uniform", acceleration: int = 8, task: str = "Task1") -> Case:
    return replace(case, mask_kind=kind, acceleration=acceleration, task=task)


def mask_of(kind: str, acceleration: int, frames: int, acs: int = 16, ky: int = KY) -> sampling.Mask:
    generator = torch.Generator().manual_seed(1)
    name = {"Uniform": "uniform", "ktUniform": "kt_uniform", "ktRadial": "kt_radial"}[kind]
    return sampling.Sampling(name, acceleration, acs).mask(ky, KX, frames, generator)


def stack(frames: int, coils: int = COILS, ky: int = KY) -> torch.Tensor:
    return torch.randn((2, frames, coils, ky, KX), dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def write_full(case: Case, frames: int | None = None, coils: int = COILS, **rows: str) -> None:
    """A fully sampled case with its info and truth files, as `cmr-course simulate` writes them."""
    frames = frames_of(case.stem) if frames is None else frames
    info = {"origin": "simulated", "times_ms": " ".join(str(10.0 * i) for i in range(frames)), **rows}
    write_case(case, iter(stack(frames, coils)), 2, info=info)
    with writing_truth(truth_path(case), 2) as truth:
        truth.add(Truth(stack(frames, 1)[:, :, 0]))


def write_mask(case: Case, frames: int = FRAMES, acs: int = 16, ky: int = KY) -> None:
    sampled = mask_of(case.mask_kind, case.acceleration, frames, acs, ky).sampled[0, :, 0].expand(-1, ky, KX)
    stored = sampled[0] if len(sampled) == 1 else sampled
    matlab.save(case.mask_path, {"mask": stored.numpy().copy()})


def write_under(case: Case, ky: int = KY) -> None:
    write_case(case, iter(stack(FRAMES, ky=ky)), 2, mask=mask_of(case.mask_kind, case.acceleration, FRAMES, ky=ky))


def promise(root: Path) -> None:
    """The manifest that `cmr-course simulate` leaves: all files that are there now."""
    files = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    content = {"command": "simulate", "status": "complete", "files": files}
    (root / "manifest.json").write_text(json.dumps(content))


def subject(number: int) -> str:
    return f"P{number:03d}"


def good(root: Path, number: int) -> None:
    """A tree of `number` subjects, each with a cine, its masks, and a version undersampled by one of them."""
    for i in range(1, number + 1):
        case = full(root, subject(i))
        write_full(case)
        write_mask(masked(case, "ktUniform", 8, "Task2"))
        write_under(masked(case))
    for stem in ("T1map", "blackblood", "flow2d"):
        write_full(full(root, "P001", stem))
        write_mask(masked(full(root, "P001", stem)), frames_of(stem))
    promise(root)


def remove_truth(case: Case) -> None:
    truth_path(case).unlink()


def other_truth(case: Case) -> None:
    with writing_truth(truth_path(case), 1) as truth:
        truth.add(Truth(stack(FRAMES, 1)[:1, :, 0]))


def nan(case: Case) -> None:
    kspace = stack(FRAMES).movedim(0, 1).numpy().copy()
    kspace[1, 0, 3] = np.nan
    matlab.save(case.path, {"kspace_full": kspace})


def truncated(case: Case) -> None:
    case.path.write_bytes(case.path.read_bytes()[:2000])


def flat_mask(case: Case) -> None:
    matlab.save(masked(case, "ktUniform", 8, "Task2").mask_path, {"mask": np.ones((KY, KX), dtype=bool)})


def grey_mask(case: Case) -> None:
    matlab.save(masked(case, "ktUniform", 8, "Task2").mask_path, {"mask": np.full((FRAMES, KY, KX), 0.5)})


def unknown_file(case: Case) -> None:
    case.path.with_name("notes.txt").write_text("not of the challenge")


def partial(case: Case) -> None:
    case.path.with_name(".cine_sax.mat.partial").write_bytes(b"half")


def binary_info(case: Case) -> None:
    case.info_paths()[0].write_bytes(b"\xff\xfe\x00")


def info(**rows: str) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        lines = [f"{name},{value}" for name, value in {**case.info(), **rows}.items()]
        case.info_paths()[0].write_text("\n".join(lines))

    return change


def add_mask(kind: str, acceleration: int, task: str, **how: int) -> Callable[[Case], None]:
    return lambda case: write_mask(masked(case, kind, acceleration, task), **how)


def add_full(stem: str, how: dict[str, object] | None = None, **place: object) -> Callable[[Case], None]:
    return lambda case: write_full(full(case.root, case.subject, stem, **place), **(how or {}))


DAMAGE: list[tuple[Callable[[Case], None], str]] = [
    (add_full("T1map", {"frames": 8}), r"T1map\.mat: got 8 weightings, want 9"),
    (add_full("blackblood", {"frames": 2}), r"blackblood\.mat: got 2 frames, want no time axis in BlackBlood"),
    (lambda case: case.info_paths()[0].unlink(), r"cine_sax_info\.csv: is missing, want it in a tree of cmr-course"),
    (remove_truth, r"cine_sax_truth\.h5: is missing, want it in a tree of cmr-course simulate"),
    (lambda case: masked(case).mask_path.unlink(), r"mask_Uniform8\.mat: is missing, want the mask of"),
    (
        lambda case: masked(case, "ktUniform", 8, "Task2").mask_path.unlink(),
        r"mask_ktUniform8\.mat: is missing, want it in a tree of cmr-course simulate",
    ),
    (
        lambda case: write_mask(masked(full(case.root, case.subject, "cine_lax"))),
        r"cine_lax_mask_Uniform8\.mat: is a mask without data, want a k-space file cine_lax of P",
    ),
    (add_mask("Uniform", 12, "Task1"), r"got acceleration 12, want one of 4, 8, 10 for Uniform masks in Task1"),
    (add_mask("ktUniform", 10, "Task2"), r"got acceleration 10, want one of 4, 8, 12, 16, 20, 24 for ktUniform"),
    (add_mask("ktRadial", 8, "Task1"), r"mask_ktRadial8\.mat: got ktRadial masks in Task1, want another kind"),
    (add_full("cine_5ch"), r"cine_5ch\.mat: got the stem 'cine_5ch', want one that Cine has in 2024"),
    (add_full("T2map", modality="Tagging"), r"T2map\.mat: got the stem 'T2map', want one that Tagging has in 2024"),
    (add_full("flow2d", split="TrainingSet"), r"flow2d\.mat: got Flow2d in the training set, want it in validation"),
    (unknown_file, r"notes\.txt: got a file that the layout does not know"),
    (partial, r"\.cine_sax\.mat\.partial: was left by a process that did not finish"),
    (
        lambda case: write_under(masked(case), KY - 2),
        r"Uniform8\.mat: got .* 38 x 24, want .* 40 x 24, as fully",
    ),
    (other_truth, r"cine_sax_truth\.h5: got images of shape \(3, 1, 40, 24\), want \(3, 2, 40, 24\)"),
    (nan, r"cine_sax\.mat: variable 'kspace_full', slice 0: got 960 values that are NaN"),
    (truncated, r"cine_sax\.mat: cannot be read as a MATLAB file"),
    (add_mask("ktUniform", 4, "Task2", acs=8), r"mask_ktUniform4\.mat: got \d+ fully sampled centre lines, want 16"),
    (flat_mask, r"mask_ktUniform8\.mat: got one mask for all frames, want one for each of the 3"),
    (grey_mask, r"mask_ktUniform8\.mat: variable 'mask': got values other than 0 and 1"),
    (add_mask("ktUniform", 12, "Task2", ky=KY + 2), r"got shape \(3, 42, 24\), want \(40, 24\) or \(3, 40, 24\)"),
    (info(times_ms="soon"), r"cine_sax_info\.csv: got times_ms = 'soon', want numbers"),
    (info(times_ms="1 2 3 4"), r"cine_sax_info\.csv: got 4 times, want 3, one a frame"),
    (info(contrast="lge"), r"cine_sax_info\.csv: got the contrast 'lge', want 'cine' for cine_sax"),
    (binary_info, r"cine_sax_info\.csv: cannot be read as a table"),
    (add_full("tagging", {"coils": 4}), r"tagging\.mat: got 4 coils, want 10"),
    (lambda case: None, ""),  # an undamaged subject among them
]


def test_a_good_tree_has_no_deviation(tmp_path):
    good(tmp_path, 2)
    assert validate(tmp_path) == []


@pytest.mark.bad_input
def test_a_tree_that_is_damaged_in_many_ways_at_once_gives_one_line_for_each(tmp_path):
    good(tmp_path, len(DAMAGE))
    assert validate(tmp_path) == []
    for number, (damage, _) in enumerate(DAMAGE, start=1):
        damage(full(tmp_path, subject(number)))
    lines = validate(tmp_path)
    for number, (_, words) in enumerate(DAMAGE, start=1):
        named = [line for line in lines if f"/{subject(number)}/" in line]
        assert len(named) == bool(words), (words, named)
        if words:
            assert re.search(words, named[0]), (words, named)
    assert len(lines) == sum(bool(words) for _, words in DAMAGE) >= 12
    assert not [line for line in lines if "\n" in line]


@pytest.mark.bad_input
def test_flow_and_black_blood_have_the_first_task_only(tmp_path):
    good(tmp_path, 1)
    write_mask(masked(full(tmp_path, "P001", "flow2d"), "ktUniform", 8, "Task2"))
    (line,) = validate(tmp_path)
    assert line.endswith("flow2d_mask_ktUniform8.mat: got Flow2d in Task2, want it in Task1 only")


@pytest.mark.bad_input
def test_a_tree_of_ours_keeps_its_promises_and_others_make_none(tmp_path):
    good(tmp_path, 1)
    manifest = tmp_path / "manifest.json"
    noted = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**noted, "status": "unfinished"}))
    assert validate(tmp_path) == [f"{manifest}: got status 'unfinished', want 'complete'"]
    manifest.write_text("{")
    (line,) = validate(tmp_path)
    assert line.startswith(f"{manifest}: cannot be read")
    manifest.unlink()
    remove_truth(full(tmp_path, "P001"))
    full(tmp_path, "P001").info_paths()[0].unlink()
    assert validate(tmp_path) == []  # the challenge's own trees hold no truth


@pytest.mark.bad_input
def test_folders_of_2025_that_do_not_say_the_scanner_are_named_once(tmp_path):
    fine = scanner_folder("uih", 0.55)
    assert fine == "Center004/UIH_055T_phantom"
    bad = ["Centre4/UIH_30T_phantom", "Center001/Siemens_Vida", "Center001/30T_Vida"]
    for number, scanner in enumerate([fine, *bad], start=1):
        for stem in ("cine_sax", "lge_sax"):
            write_full(full(tmp_path, subject(number), stem, year=2025, scanner=scanner))
    lines = validate(tmp_path)
    assert len(lines) == 2 * len(bad)  # in the folders of Cine and of LGE
    for scanner in bad:
        named = [line for line in lines if f"got the scanner '{scanner}', want centre, vendor and field" in line]
        assert len(named) == 2
        assert {Path(line.split(":")[0]).relative_to(tmp_path).parts[1] for line in named} == {"Cine", "LGE"}


@pytest.mark.bad_input
def test_2025_knows_stems_by_their_first_word_and_has_moving_masks_only(tmp_path):
    scanner = scanner_folder("siemens", 3.0)
    for stem, modality in (("lge_lax", "LGE"), ("LGE", "LGE"), ("T1w", "T1w"), ("T1mappost", "Mapping")):
        case = full(tmp_path, "P001", stem, year=2025, modality=modality, scanner=scanner)
        write_full(case, frames=1)
    assert validate(tmp_path) == []
    sax = full(tmp_path, "P001", "cine_sax", year=2025, scanner=scanner)
    write_full(sax)
    write_mask(masked(sax))
    write_mask(masked(sax, "ktUniform", 4, "TaskR2"))
    write_full(full(tmp_path, "P001", "tagging", year=2025, modality="Cine", scanner=scanner))
    lines = "\n".join(validate(tmp_path))
    assert lines.count("\n") == 2
    assert "got Uniform masks in Task1, want another kind of mask" in lines
    assert "got acceleration 4, want one of 8, 16, 24 for ktUniform masks in TaskR2" in lines
    assert "got the stem 'tagging', want one that Cine has in 2025" in lines


@pytest.mark.bad_input
def test_a_mask_beside_no_data_is_named_in_2023_too(tmp_path):
    case = Case(tmp_path, 2023, "Cine", "TrainingSet", "P001", "cine_sax", "Uniform", 4)
    write_case(case, iter(stack(FRAMES)), 2, mask=mask_of("Uniform", 4, FRAMES, acs=24))
    assert validate(tmp_path) == []
    alone = replace(case, subject="P002")
    alone.mask_path.parent.mkdir(parents=True)
    alone.mask_path.write_bytes(case.mask_path.read_bytes())
    (line,) = validate(tmp_path)
    assert line.startswith(f"{alone.mask_path}: is a mask without data")


@pytest.mark.bad_input
def test_what_is_no_tree_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got no folder MultiCoil or SingleCoil"):
        validate(tmp_path, 2024)
    (tmp_path / "MultiCoil").mkdir()
    with pytest.raises(ValueError, match="year: got 2022"):
        validate(tmp_path, 2022)


def test_each_year_has_the_accelerations_of_its_tasks():
    assert accelerations(2024, "Task1", "Uniform") == (4, 8, 10)
    assert accelerations(2024, "Task1", "ktRadial") == ()
    assert accelerations(2024, "TaskAll", "ktRadial") == accelerations(2024, "Task2", "ktRadial")
    assert {accelerations(2025, task, "ktGaussian") for task in MASKS[2025]} == {(8, 16, 24)}


@pytest.mark.bad_input
def test_scanners_whose_field_has_no_name_are_refused():
    assert [scanner_folder("ge", field).split("_")[1] for field in (1.5, 3, 5.0, 0.55)] == ["15T", "30T", "50T", "055T"]
    for vendor, field, words in (("acme", 3.0, "vendor"), ("ge", 11.7, "field"), ("ge", 2.89362, "three digits")):
        with pytest.raises(ValueError, match=words):
            scanner_folder(vendor, field)
