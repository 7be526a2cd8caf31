"""Truth files: everything that is known of simulated data is written slice by slice and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cmr_course.acquisition import Truth
from cmr_course.data import Case, matlab, read_images, truth_of, truth_path, write_case, writing_images
from cmr_course.data.truth import read_truth, writing_truth

NAMES = {"background": 0, "lv_blood": 5, "Herzmuskel": 127}


@pytest.fixture
def truth(generator) -> Truth:
    """A stack of three slices of two frames; a quarter of the labels is 127."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    size = (3, 2, 6, 4)
    return Truth(
        torch.complex(rand(*size), rand(*size)),
        labels=torch.tensor([0, 5, 5, 127], dtype=torch.int8).expand(size).contiguous(),
        label_names=NAMES,
        sensitivities=torch.complex(rand(3, 1, 5, 6, 4), rand(3, 1, 5, 6, 4)),
        displacement=rand(3, 2, 3, 6, 4) - 0.5,
        volumes={"lv_ml": 100 * rand(3, 2), "lv_area_mm2": 900 * rand(3, 2)},
        strain={"radial": rand(3, 2)},
        T1=1000 * rand(*size),
        T2=50 * rand(*size),
        T1rho=60 * rand(*size),
        velocity=100 * rand(*size),
    )


def write(path: Path, *parts: Truth, n_slices: int = 3) -> Path:
    with writing_truth(path, n_slices) as writer:
        for part in parts:
            writer.add(part)
    return path


def chosen(truth: Truth, items: list[int]) -> Truth:
    def of(value: object) -> object:
        if isinstance(value, Tensor):
            return value[items]
        tensors = isinstance(value, Mapping) and all(isinstance(item, Tensor) for item in value.values())
        return {name: item[items] for name, item in value.items()} if tensors else value

    return Truth(**{field.name: of(getattr(truth, field.name)) for field in fields(Truth)})


def assert_same(got: Truth, wanted: Truth) -> None:
    for field in fields(Truth):
        mine, theirs = getattr(got, field.name), getattr(wanted, field.name)
        if isinstance(theirs, Tensor):
            assert mine.dtype == theirs.dtype, field.name
            assert torch.equal(mine, theirs), field.name
        elif isinstance(theirs, Mapping):
            assert set(mine) == set(theirs), field.name
            for name, value in theirs.items():
                assert torch.equal(torch.as_tensor(mine[name]), torch.as_tensor(value)), (field.name, name)
        else:
            assert mine is theirs is None, field.name


def test_all_that_is_known_comes_back_to_the_bit(tmp_path, truth):
    assert_same(read_truth(write(tmp_path / "truth.h5", truth)), truth)


def test_the_truth_of_a_case_is_beside_it(tmp_path, truth):
    case = Case(tmp_path, 2024, "Cine", "TrainingSet", "P001", "cine_sax")
    write(truth_path(case), truth)
    assert torch.equal(truth_of(case, [1]).T1rho, truth.T1rho[1:2])


def test_scanners_of_2025_have_subjects_of_their_own(tmp_path, truth):
    scanners = ("Center003/Siemens_30T_phantom", "Center004/UIH_30T_phantom")
    one, two = (Case(tmp_path, 2025, "Cine", "TrainingSet", "P001", "cine_sax", scanner=name) for name in scanners)
    assert truth_path(two) == tmp_path / "truth" / scanners[1] / "P001" / "cine_sax_truth.h5"
    for case, known in ((one, truth), (two, chosen(truth, [2, 1, 0]))):
        with writing_truth(case, 3) as writer:
            writer.add(known)
    assert torch.equal(truth_of(one).image, truth.image)
    assert torch.equal(truth_of(two).image, truth.image.flip(0))


@pytest.mark.bad_input
@pytest.mark.parametrize("year", [2024, 2025])
def test_the_truth_of_another_split_is_neither_overwritten_nor_taken_for_ones_own(tmp_path, truth, year):
    scanner = "Center004/UIH_30T_phantom" if year == 2025 else ""
    case = Case(tmp_path, year, "Cine", "TrainingSet", "P001", "cine_sax", scanner=scanner)
    other = replace(case, split="ValidationSet")
    kspace = torch.randn(3, 2, 5, 6, 4, dtype=torch.complex64)
    write_case(case, iter(kspace), 3)
    with writing_truth(case, 3) as writer:
        writer.add(truth)
    before = truth_path(case).read_bytes()
    words = r"ValidationSet.*: got a truth .* that is of .*TrainingSet.*, want another subject"
    with pytest.raises(ValueError, match=words):
        write_case(other, iter(kspace), 3)
    with pytest.raises(ValueError, match=words), writing_truth(other, 3) as writer:
        writer.add(truth)
    with pytest.raises(ValueError, match=words):
        truth_of(other)
    assert not other.path.exists()
    assert truth_path(case).read_bytes() == before
    write_case(case, iter(kspace), 3)  # one's own is written anew
    with writing_truth(case, 3) as writer:
        writer.add(truth)
    write_case(replace(other, subject="P002"), iter(kspace), 3)


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [0, "a", [0.7]])
def test_slices_of_a_truth_are_whole_numbers(tmp_path, truth, wrong):
    case = Case(tmp_path, 2024, "Cine", "TrainingSet", "P001", "cine_sax")
    write(truth_path(case), truth)
    with pytest.raises(ValueError, match=r"slices: got .*, want a list or a slice of whole numbers from 0 to 2"):
        truth_of(case, wrong)
    with pytest.raises(ValueError, match="case: got None, want a Case"):
        truth_of(None)


@pytest.mark.bad_input
def test_acquired_kspace_has_no_truth(tmp_path):
    case = Case(tmp_path, 2023, "Cine", "TrainingSet", "P001", "cine_sax")
    with pytest.raises(ValueError, match=r"cine_sax.mat: got k-space without a truth file .*, want simulated data"):
        truth_of(case)


def test_slices_may_come_one_by_one_and_the_bytes_are_the_same(tmp_path, truth):
    whole = write(tmp_path / "whole.h5", truth)
    single = write(tmp_path / "single.h5", *(chosen(truth, [k]) for k in range(3)))
    assert single.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("items", [[0], [2, 0], [1, 2]])
def test_only_the_slices_that_are_asked_for_are_read(tmp_path, truth, items):
    path = write(tmp_path / "truth.h5", truth)
    assert_same(read_truth(path, items), chosen(truth, items))
    assert torch.equal(read_images(path, items), truth.image[items])


def test_parts_that_are_not_known_are_not_there(tmp_path, truth):
    bare = Truth(truth.image)
    assert_same(read_truth(write(tmp_path / "truth.h5", bare)), bare)


def test_files_with_an_image_only_are_still_read(tmp_path, truth):
    with writing_images(tmp_path / "old.h5", 3, magnitude=False) as images:
        for image in truth.image:
            images.add(image)
    assert_same(read_truth(tmp_path / "old.h5"), Truth(truth.image))


def test_labels_are_single_bytes_that_matlab_shows_as_numbers(tmp_path, truth):
    labels = matlab.find(write(tmp_path / "truth.h5", truth), "labels")
    assert (labels.dtype, labels.shape) == (np.dtype(np.uint8), (2, 3, 6, 4))  # (time, slice, y, x)


@pytest.mark.bad_input
def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path, truth):
    one = chosen(truth, [0])
    path = tmp_path / "truth.h5"
    with pytest.raises(ValueError, match="got 1 slices, want the 3 announced"):
        write(path, one)
    with pytest.raises(ValueError, match="slices: got more than the 2"):
        write(path, truth, n_slices=2)
    with pytest.raises(ValueError, match=r"parts: got image after .*labels.* want all slices alike"):
        write(path, one, Truth(one.image))
    with pytest.raises(ValueError, match="labels: got -1 to 127, want whole numbers from 0 to 127"):
        write(path, replace(one, labels=torch.where(one.labels == 5, -1, one.labels)))
    with pytest.raises(ValueError, match="volumes: got the name 'left ventricle', want letters"):
        write(path, replace(one, volumes={"left ventricle": torch.ones(1, 2)}))
    with pytest.raises(ValueError, match=r"image: got .* NaN"):
        write(path, Truth(one.image * torch.nan))
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_files_that_hold_something_else_are_refused(tmp_path, truth):
    path = write(tmp_path / "truth.h5", truth)
    with pytest.raises(ValueError, match=r"truth\.h5: slices: got 3, want 0 to 2"):
        read_truth(path, [3])
    matlab.save(tmp_path / "other.h5", {"labels": np.ones((2, 3, 6, 4))})
    with pytest.raises(ValueError, match=r"other\.h5: got no variable 'image'"):
        read_truth(tmp_path / "other.h5")
    matlab.save(tmp_path / "fewer.h5", {"image": truth.image.movedim(0, 1).numpy(), "strain_radial": np.ones((2, 2))})
    with pytest.raises(ValueError, match=r"'strain_radial': got shape \(2, 2\), want \(time, slice = 3"):
        read_truth(tmp_path / "fewer.h5")
    matlab.save(tmp_path / "named.h5", {"image": truth.image.movedim(0, 1).numpy()}, {"label_names": "{"})
    with pytest.raises(ValueError, match=r"named\.h5: attribute 'label_names'"):
        read_truth(tmp_path / "named.h5")
