"""Reading a cine series from npz, a DICOM folder or NIfTI. The last two need the realdata extra."""

from __future__ import annotations

import importlib
import json
import zipfile
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from cmr_course.data.series import CineSeries
from cmr_course.validate import require

Array = NDArray[Any]


def read_series(path: Path | str) -> CineSeries:
    """Read the cine series at `path`: an npz file, a folder of DICOM files, or a NIfTI file (.nii, .nii.gz).

    Raises ValueError naming the file and what is wrong with it, OSError where it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        return _named(path, _read_dicom)
    if not path.exists():
        raise FileNotFoundError(2, "no such file or folder", str(path))
    if path.suffix == ".npz":
        return _named(path, _read_npz)
    if path.name.endswith((".nii", ".nii.gz")):
        return _named(path, _read_nifti)
    raise ValueError(f"{path}: got a file of unknown kind, want .npz, .nii, .nii.gz or a folder of DICOM files")


def _named(path: Path, reader: Any) -> CineSeries:
    """`reader` of `path`, with the path in front of what it says about the content."""
    try:
        return reader(path)
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ValueError(said if str(path) in said else f"{path}: {said}") from error


def _read_npz(path: Path) -> CineSeries:
    """Keys: images (slice, frame, y, x); meta, a JSON string, optional."""
    try:
        # np.load given a name leaves the file open when the archive is damaged.
        with path.open("rb") as file, _archive(file) as archive:
            require("images" in archive, f"got no array 'images', the file holds {', '.join(archive) or 'nothing'}")
            images = archive["images"]
            meta = _meta(str(archive["meta"])) if "meta" in archive else {}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise ValueError(f"cannot be read as npz, truncated or damaged ({error})") from error
    require(isinstance(meta, dict), f"meta: got {type(meta).__name__}, want a JSON object")
    pixel = _numbers(meta, "pixel_spacing_mm")
    require(len(pixel) in (0, 2), f"meta: got pixel_spacing_mm {pixel}, want (y, x)")
    return CineSeries(
        _tensor(images),
        pixel_size=(pixel[0], pixel[1]) if pixel else None,
        times=_numbers(meta, "trigger_times_ms"),
        source=" ".join(str(meta[key]) for key in ("dataset", "original_id") if key in meta) or path.name,
        licence=str(meta.get("licence", "")),
    )


def _archive(file: BinaryIO) -> Any:
    """The arrays of an npz file; ValueError for anything else that numpy reads, or does not."""
    try:
        archive = np.load(file, allow_pickle=False)
    except ValueError as error:  # numpy's own words would advise to load it unsafely
        raise ValueError("cannot be read as npz, it is no archive of arrays") from error
    require(hasattr(archive, "files"), f"got {type(archive).__name__}, want an npz archive of arrays")
    return archive


def _meta(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"meta: got no JSON ({error}), want a JSON object") from error


def _numbers(meta: dict[str, Any], name: str) -> tuple[float, ...]:
    """The list of numbers called `name`; empty where there is none."""
    try:
        return tuple(float(number) for number in meta.get(name) or ())
    except (TypeError, ValueError) as error:
        raise ValueError(f"meta: got {name} {meta[name]!r}, want a list of numbers") from error


def _read_nifti(path: Path) -> CineSeries:
    """Axes (x, y, slice, time); pixel size and the time between frames from the header."""
    nibabel = _optional("nibabel", "NIfTI")
    try:
        file = nibabel.load(path)
        values = np.asanyarray(file.dataobj)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise ValueError(f"cannot be read as NIfTI ({error})") from error
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise ValueError(f"cannot be read as NIfTI, truncated or damaged ({error})") from error
    require(values.ndim == 4, f"images: got {values.ndim} axes {values.shape}, want 4 axes (x, y, slice, time)")
    zooms = [float(zoom) for zoom in file.header.get_zooms()]
    unit = {"sec": 1000.0, "msec": 1.0, "usec": 0.001}.get(file.header.get_xyzt_units()[1])
    times = () if unit is None or zooms[3] <= 0 else tuple(zooms[3] * unit * i for i in range(values.shape[3]))
    return CineSeries(_tensor(values.transpose(2, 3, 1, 0)), (zooms[1], zooms[0]), times, source=path.name)


def _read_dicom(folder: Path) -> CineSeries:
    """One image per file: grouped by slice position, ordered by trigger time, then instance number."""
    pydicom = _optional("pydicom", "DICOM")
    images = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        try:
            image = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            continue  # a README, a DICOMDIR
        if "PixelData" in image:
            images.append((path, image))
    require(bool(images), "got no DICOM image in the folder, want one file per slice and frame")
    series = {str(image.get("SeriesInstanceUID", "")) for _, image in images}
    _require_one_geometry(images)
    stack = defaultdict(list)
    for path, image in images:
        stack[_position(path, image)].append((path, image))
    counts = sorted({len(frames) for frames in stack.values()})
    require(
        len(counts) == 1,
        f"got {len(stack)} slice positions with {' to '.join(map(str, counts))} frames from {len(series)} series, "
        "want as many frames at each",
    )
    ordered = [sorted(stack[position], key=_when) for position in sorted(stack)]
    first = ordered[0][0][1]
    values = np.stack([np.stack([_pixels(path, image) for path, image in frames]) for frames in ordered])
    times = tuple(float(image["TriggerTime"].value) for _, image in ordered[0] if image.get("TriggerTime") is not None)
    spacing = first.get("PixelSpacing")
    return CineSeries(
        _tensor(values),
        pixel_size=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        times=times if len(times) == counts[0] else (),
        source=" ".join(str(first.get(key, "")) for key in ("Manufacturer", "ManufacturerModelName")).strip(),
    )


def _require_one_geometry(images: list[tuple[Path, Any]]) -> None:
    first_path, first = images[0]
    for path, image in images:
        require(int(image.get("NumberOfFrames", 1) or 1) == 1, f"{path}: is a multi-frame DICOM, want one image a file")
        for key in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
            got, wanted = image.get(key), first.get(key)
            require(got == wanted, f"{path}: got {key} {got}, want {wanted} as in {first_path.name}")


def _position(path: Path, image: Any) -> float:
    """Place of the slice along its normal in mm, to a hundredth."""
    corner, axes = image.get("ImagePositionPatient"), image.get("ImageOrientationPatient")
    if corner is not None and axes is not None:
        normal = np.cross([float(a) for a in axes[:3]], [float(a) for a in axes[3:]])
        return round(float(np.dot(normal, [float(c) for c in corner])), 2)
    location = image.get("SliceLocation")
    require(location is not None, f"{path}: got neither ImagePositionPatient nor SliceLocation, want a slice position")
    return round(float(location), 2)


def _when(item: tuple[Path, Any]) -> tuple[float, int]:
    image = item[1]
    return float(image.get("TriggerTime") or 0), int(image.get("InstanceNumber") or 0)


def _pixels(path: Path, image: Any) -> Array:
    try:
        values = image.pixel_array.astype(np.float32)
    except Exception as error:  # pydicom raises errors of many kinds on damaged or compressed pixels
        raise ValueError(f"{path}: pixels cannot be read ({error})") from error
    require(values.ndim == 2, f"{path}: got {values.ndim} axes of pixels {values.shape}, want 2 (grey images)")
    return values * float(image.get("RescaleSlope", 1)) + float(image.get("RescaleIntercept", 0))


def _tensor(values: Array) -> torch.Tensor:
    require(values.dtype.kind in "fiub", f"images: got values of type {values.dtype}, want real numbers")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _optional(module: str, what: str) -> Any:
    """Import `module`, which only the realdata extra installs."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f'{what} needs {module}, which is missing: pip install "cmr-course[realdata]"') from error
