"""Cine series: three formats read alike, selected, resampled, and turned into honest k-space."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from cmr_course.coils import combine
from cmr_course.data import ORIGIN, CineSeries, acquire, read_series, stream
from cmr_course.receiver import Receiver

SLICES, FRAMES, Y, X = 3, 4, 20, 16
TIMES = (10.0, 40.0, 70.0, 100.0)


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 900, (SLICES, FRAMES, Y, X)).astype(np.uint16)


def heart(y: int = 32, x: int = 32, slices: int = 2, frames: int = 4) -> CineSeries:
    """A disc whose radius beats, on a dim body: smooth enough for a Fourier crop."""
    rows, columns = (torch.arange(n, dtype=torch.float32) - n // 2 for n in (y, x))
    distance = torch.sqrt((rows[:, None] / y) ** 2 + (columns[None, :] / x) ** 2)
    radius = 0.15 + 0.03 * torch.cos(2 * torch.pi * torch.arange(frames) / frames)
    disc = torch.sigmoid((radius[:, None, None] - distance) * 25) * 80 + torch.sigmoid((0.4 - distance) * 25) * 20
    times = tuple(30.0 * i for i in range(frames))
    return CineSeries(disc.expand(slices, -1, -1, -1).contiguous(), (1.5, 1.5), times)


def write_npz(path: Path, **changes: object) -> Path:
    meta = {"pixel_spacing_mm": [1.4, 1.2], "trigger_times_ms": TIMES, "dataset": "Made up", "licence": "CC0-1.0"}
    content = {"images": images(), "meta": json.dumps(meta), **changes}
    np.savez_compressed(path, **{name: value for name, value in content.items() if value is not None})
    return path


def write_dicom(folder: Path, skip: int = 0, **changes: object) -> Path:
    """Files in shuffled order, with a README among them; slices run backwards in space."""
    folder.mkdir()
    series = generate_uid(entropy_srcs=["course"])
    places = [(s, t) for s in range(SLICES) for t in range(FRAMES)]
    order = np.random.default_rng(2).permutation(len(places))
    for number in order[skip:]:
        s, t = places[number]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"image{(number * 7) % 12:02d}"
        file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID, file.SeriesInstanceUID = MRImageStorage, generate_uid(), series
        file.Rows, file.Columns, file.BitsAllocated, file.BitsStored, file.HighBit = Y, X, 16, 16, 15
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.PixelSpacing, file.TriggerTime, file.InstanceNumber = [1.4, 1.2], TIMES[t], int(number)
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [0, 0, 8.0 * s]
        file.Manufacturer, file.PatientName = "Maker", "Nobody^Real"
        for name, value in changes.items():
            setattr(file, name, value)
        file.PixelData = images()[s, t].tobytes()
        pydicom.dcmwrite(path, file)
    (folder / "README.txt").write_text("not an image")
    return folder


def write_nifti(path: Path, values: np.ndarray | None = None) -> Path:
    file = nibabel.Nifti1Image(images().transpose(3, 2, 0, 1) if values is None else values, np.eye(4))
    file.header.set_zooms((1.2, 1.4, 8.0, 0.03)[: file.ndim])
    file.header.set_xyzt_units("mm", "sec")
    nibabel.save(file, path)
    return path


def test_npz(tmp_path):
    series = read_series(write_npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(series.images, images())
    assert (series.pixel_size, series.times, series.licence) == ((1.4, 1.2), TIMES, "CC0-1.0")
    plain = read_series(write_npz(tmp_path / "b.npz", meta=None))
    assert torch.equal(plain.images, series.images)
    assert (plain.pixel_size, plain.times, plain.source) == (None, (), "b.npz")
    assert plain.digest() == series.digest()


def test_dicom(tmp_path):
    series = read_series(write_dicom(tmp_path / "study"))
    np.testing.assert_array_equal(series.images, images())
    assert (series.pixel_size, series.times) == ((1.4, 1.2), TIMES)
    assert "Nobody" not in repr(vars(series))


def test_dicom_without_positions_goes_by_slice_location(tmp_path):
    folder = write_dicom(tmp_path / "study", RescaleSlope=2.0, RescaleIntercept=1.0)
    for path in folder.glob("image*"):
        file = pydicom.dcmread(path)
        file.SliceLocation = -file.ImagePositionPatient[2]
        del file.ImagePositionPatient
        file.save_as(path)
    np.testing.assert_array_equal(read_series(folder).images, images()[::-1] * 2.0 + 1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti(tmp_path, name):
    series = read_series(write_nifti(tmp_path / name))
    np.testing.assert_array_equal(series.images, images())
    assert series.pixel_size == pytest.approx((1.4, 1.2))
    assert series.times == pytest.approx((0, 30, 60, 90))


def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ValueError, match=r'NIfTI needs nibabel, .*pip install "cmr-course\[realdata\]"'):
        read_series(write_nifti(tmp_path / "a.nii"))


def test_frames_are_picked_evenly_with_their_times():
    series = heart(frames=20)
    chosen = series.select(slices=[1], frames=12)
    assert chosen.images.shape == (1, 12, 32, 32)
    assert chosen.times[:5] == (0.0, 30.0, 90.0, 150.0, 180.0)
    assert torch.equal(chosen.images[0, 2], series.images[1, 3])


@pytest.mark.parametrize("matrix", [(24, 24), (25, 25), (48, 48), (33, 33)])
def test_resampling_keeps_anatomy_intensity_and_field_of_view(matrix):
    series = heart(32, 32)
    got = series.resample(matrix)
    assert got.pixel_size[0] * matrix[0] == pytest.approx(1.5 * 32)
    assert got.matrix == matrix
    # A heart drawn on the new grid, whose centre is index n // 2 too, is the truth.
    torch.testing.assert_close(got.images, heart(*matrix).images, atol=0.8, rtol=0)
    torch.testing.assert_close(series.resample((32, 32)).images, series.images, atol=1e-4, rtol=0)


def test_another_aspect_ratio_cuts_the_field_of_view():
    got = heart(32, 32).resample((16, 24))
    assert got.matrix == (16, 24)
    assert got.pixel_size == pytest.approx((1.5 * 21 / 16, 1.5 * 32 / 24))


def test_acquired_is_called_what_it_is():
    series = heart()
    acquisition, truth = acquire(series, Receiver(n_coils=4), generator=stream(0, "P001"), subject="P001")
    about = acquisition.about
    assert about.origin == ORIGIN == "real anatomy and motion, simulated acquisition"
    assert (about.subject, about.snr_db, about.times, about.pixel_size) == ("P001", 30.0, series.times, (1.5, 1.5))
    assert acquisition.kspace.shape == (2, 4, 4, 32, 32)
    assert truth.image.shape == (2, 4, 32, 32)
    unknown = acquire(CineSeries(series.images), Receiver(n_coils=4), generator=stream(0))[0]
    assert unknown.about.pixel_size is None


def test_the_truth_is_the_noise_free_image():
    acquisition, truth = acquire(heart(), Receiver(n_coils=4, snr_db=None), generator=stream(0))
    torch.testing.assert_close(combine(acquisition.coil_images(), truth.sensitivities), truth.image)


def test_streams_follow_from_names_and_nothing_else():
    first = torch.randn(4, generator=stream(3, "P001", "cine_sax", 2))
    torch.rand(7)
    assert torch.equal(first, torch.randn(4, generator=stream(3, "P001", "cine_sax", 2)))
    for other in ((4, "P001", "cine_sax", 2), (3, "P002", "cine_sax", 2), (3, "P001", "cine_sax", 1), (3, "P001")):
        assert not torch.equal(first, torch.randn(4, generator=stream(*other)))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, "no array 'images', the file holds meta"),
        ({"images": images()[0]}, r"images: got 3 axes \(4, 20, 16\), want 4"),
        ({"images": images() * 1j}, "want real numbers"),
        ({"images": np.full((1, 2, 3, 4), np.nan)}, "images: got 24 values that are NaN"),
        ({"images": np.full((1, 2, 3, 4), -1.0)}, "images: got 24 negative values"),
        ({"images": np.zeros((1, 2, 3, 4))}, "zeros everywhere"),
        ({"images": np.full((1, 2, 3, 4), None)}, "a.npz"),
        ({"meta": "{no json"}, "a.npz"),
        ({"meta": "[1]"}, "meta: got list"),
        ({"meta": '{"pixel_spacing_mm": [1.0, -2]}'}, "pixel_size"),
        ({"meta": '{"pixel_spacing_mm": "wide"}'}, "a.npz"),
        ({"meta": '{"pixel_spacing_mm": 1.4}'}, "a.npz"),
        ({"meta": '{"trigger_times_ms": [1, 2]}'}, "times: got 2, want none or 4"),
    ],
)
def test_bad_npz_is_named(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_series(write_npz(tmp_path / "a.npz", **changes))
    assert str(caught.value).startswith(str(tmp_path / "a.npz"))
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["a.npz", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0, 50, 1000])
def test_truncated_files_are_named(tmp_path, name, kept):
    path = write_npz(tmp_path / name) if name.endswith("npz") else write_nifti(tmp_path / name)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as caught:
        read_series(path)
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_bad_dicom_and_nifti_are_named(tmp_path):
    with pytest.raises(ValueError, match="3 slice positions with 3 to 4 frames"):
        read_series(write_dicom(tmp_path / "one_missing", skip=1))
    with pytest.raises(ValueError, match="multi-frame DICOM"):
        read_series(write_dicom(tmp_path / "multi", NumberOfFrames=2))
    broken = write_dicom(tmp_path / "broken")
    file = pydicom.dcmread(broken / "image00")
    file.PixelData = file.PixelData[:100]
    file.save_as(broken / "image00")
    with pytest.raises(ValueError, match="image00: pixels cannot be read"):
        read_series(broken)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no DICOM image"):
        read_series(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"want 4 axes \(x, y, slice, time\)"):
        read_series(write_nifti(tmp_path / "a.nii", np.ones((4, 4, 4))))
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="unknown kind"):
        read_series(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        read_series(tmp_path / "nowhere.npz")


@pytest.mark.bad_input
def test_wrong_selections_are_named():
    with pytest.raises(ValueError, match="frames: got 5, want 1 to 4"):
        heart().select(frames=5)
    with pytest.raises(ValueError, match=r"slices: got \[2\], want some of 0 to 1"):
        heart().select(slices=[2])
    with pytest.raises(ValueError, match="matrix: got"):
        heart().resample((0, 4))
