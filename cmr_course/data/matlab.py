"""MATLAB files: v7.3 (HDF5) read lazily and written; older ones read through scipy.

Axes are as h5py shows them, that is MATLAB's order reversed: (kx, ky, coil, slice, time) in MATLAB is
(time, slice, coil, ky, kx) here. Complex numbers are a compound of ``real`` and ``imag``. A v7.3 file is read one index
range at a time; an older one has no such access, scipy loads the whole variable and the range is cut from it.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray

from cmr_course.data.files import replacing
from cmr_course.validate import require

Array = NDArray[Any]
Index = tuple[int | slice | list[int] | EllipsisType, ...]

USER_BLOCK = 512
"""Bytes that MATLAB keeps before the HDF5 content of a v7.3 file."""

_LAYOUT_ROOM = 65536
"""Bytes that HDF5 may need beside the values, generously."""

_HEADER_TEXT = "MATLAB 7.3 MAT-file, Platform: CMR-COURSE, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
_CLASSES = {
    "float32": "single",
    "float64": "double",
    "complex64": "single",
    "complex128": "double",
    "bool": "logical",
    "uint8": "uint8",
    "uint16": "uint16",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
}


@dataclass(frozen=True)
class Variable:
    """One numeric array of a MATLAB file. Nothing is read until :meth:`read` or :meth:`opened` is called.

    shape: axes as h5py shows them. dtype: of the values, None in an older file, which says so only when read.
    lazy: whether a range can be read without the rest.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    lazy: bool

    def __str__(self) -> str:
        return f"{self.path}: variable {self.name!r}"

    @contextmanager
    def opened(self) -> Iterator[Callable[[Index], Array]]:
        """Yield a function that reads an index range; the file is open, once, for as long as the block lasts."""
        if not self.lazy:
            whole = _load_older(self.path, self.name)
            yield lambda index: whole[index]
            return
        with _hdf5(self.path) as file:
            yield lambda index: self._range(file, index)

    def read(self, index: Index = ()) -> Array:
        """The values at `index` (whole array when empty), complex ones as complex64 or complex128."""
        with self.opened() as at:
            return at(index)

    def _range(self, file: h5py.File, index: Index) -> Array:
        rising, order = _rising(index)
        try:
            return _as_complex(file[self.name][rising])[order]
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{self}: cannot be read, the file is damaged ({_one_line(error)})") from error


def variables(path: Path) -> dict[str, Variable]:
    """The numeric arrays of the file at `path`, by name, none of them read.

    Raises ValueError when the file is truncated, damaged or no MATLAB file; OSError when it cannot be opened.
    """
    if _is_older(path):
        return _older_variables(path)
    with _hdf5(path) as file:
        try:
            found = {name: file[name] for name in file if not name.startswith("#")}
            return {
                name: Variable(path, name, tuple(item.shape), _value_dtype(item.dtype), lazy=True)
                for name, item in found.items()
                if isinstance(item, h5py.Dataset) and item.shape is not None and _is_numeric(item.dtype)
            }
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise _unreadable(path, error) from error


def find(path: Path, *names: str, lone: bool = False) -> Variable:
    """The first of `names` that the file holds; with `lone`, else the only array it holds."""
    held = variables(path)
    for name in names:
        if name in held:
            return held[name]
    if lone and len(held) == 1:
        return next(iter(held.values()))
    listed = ", ".join(repr(name) for name in sorted(held)) or "no numeric array"
    raise ValueError(f"{path}: got no variable {' or '.join(map(repr, names))}, the file holds {listed}")


class Writer:
    """A v7.3 file being written; arrays are added whole, or made first and filled block by block.

    HDF5 lays the file out; the values are written past it, at the place it names. So a disk that fills up is an
    ordinary error: when the library itself fails to write, it can no longer close the file, and crashes on exit.
    """

    def __init__(self, partial: Path, path: Path) -> None:
        self._partial, self._path = partial, path
        with self._laid_out("w", 0):
            pass

    def create(self, name: str, shape: Sequence[int], dtype: str) -> Callable[[tuple[int, ...], Array], None]:
        """Make variable `name` of `shape` (axes reversed, as h5py shows them); returns ``fill(index, values)``.

        `index` counts along the first axes, `values` are all that follows: ``fill((2, 0), …)`` writes array[2, 0].
        dtype: float32, float64, complex64, complex128, bool, or an integer type that MATLAB has.
        """
        require(dtype in _CLASSES, f"dtype: got {dtype!r} for variable {name!r}, want one of {', '.join(_CLASSES)}")
        require(
            min(shape, default=1) > 0, f"shape: got {tuple(shape)} for variable {name!r}, want no axis of length zero"
        )
        stored = _stored_dtype(np.dtype(dtype))
        with self._laid_out("r+", math.prod(shape) * stored.itemsize) as file:
            dataset = file[name] if name in file else _reserve(file, name, tuple(shape), stored)
            dataset.attrs["MATLAB_class"] = np.bytes_(_CLASSES[dtype])
            if dtype == "bool":
                dataset.attrs["MATLAB_int_decode"] = np.int32(1)
            begin = dataset.id.get_offset()

        def fill(index: tuple[int, ...], values: Array) -> None:
            rest = tuple(shape[len(index) :])
            require(values.shape == rest, f"values: got shape {values.shape} for variable {name!r}, want {rest}")
            block = math.prod(rest) * stored.itemsize
            place = int(np.ravel_multi_index(index, tuple(shape[: len(index)]))) if index else 0
            with _said_by(self._path), self._partial.open("r+b") as raw:
                raw.seek(begin + place * block)
                raw.write(np.ascontiguousarray(values, dtype=dtype).tobytes())

        return fill

    def save(self, name: str, values: Array) -> None:
        """Add `values` whole."""
        self.create(name, values.shape, values.dtype.name)((), values)

    def describe(self, attributes: Mapping[str, str | float | int]) -> None:
        """Attach `attributes` to the file; MATLAB does not show them, :func:`described` does."""
        with self._laid_out("r+", 0) as file:
            for name, value in attributes.items():
                file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value

    @contextmanager
    def _laid_out(self, mode: str, size: int) -> Iterator[h5py.File]:
        """The file in HDF5's hands, for a moment, after a look whether `size` more bytes have room."""
        with _said_by(self._path):
            _require_room(self._partial, size + _LAYOUT_ROOM)
            block = USER_BLOCK if mode == "w" else None
            with h5py.File(self._partial, mode, userblock_size=block, libver=("earliest", "v108")) as file:
                yield file


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], stored: np.dtype[Any]) -> h5py.Dataset:
    """A dataset in one piece, with a place in the file and nothing written there, and no time stamps."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
    kind = h5py.h5t.py_create(stored, logical=True)
    return h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, settings))


def _require_room(partial: Path, size: int) -> None:
    """OSError where the disk, or a limit on file sizes, has no room for `size` more bytes."""
    if shutil.disk_usage(partial.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with partial.open("ab") as raw:
        present = raw.tell()
        raw.truncate(present + size)
        raw.truncate(present)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a v7.3 file that takes the name `path` only when the block ends well; same content, same bytes."""
    with replacing(path) as partial, filling(partial, path) as writer:
        yield writer


@contextmanager
def filling(partial: Path, path: Path) -> Iterator[Writer]:
    """Write a v7.3 file under the temporary name `partial`, whole when the block ends well; errors name `path`."""
    partial.unlink(missing_ok=True)
    yield Writer(partial, path)
    with _said_by(path), partial.open("r+b") as raw:
        raw.write(_header())


@contextmanager
def _said_by(path: Path) -> Iterator[None]:
    """What goes wrong with the disk, which h5py partly reports as RuntimeError, becomes an OSError naming `path`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        code = int(number[1]) if number else getattr(error, "errno", None)
        raise OSError(f"{path}: cannot be written ({os.strerror(code) if code else _one_line(error)})") from error


def save(path: Path, arrays: Mapping[str, Array], attributes: Mapping[str, str | float | int] | None = None) -> None:
    """Write `arrays` (axes as h5py shows them) to a v7.3 file, whole or not at all."""
    with writing(path) as writer:
        for name, values in arrays.items():
            writer.save(name, values)
        writer.describe(attributes or {})


def described(path: Path) -> dict[str, Any]:
    """The attributes that :meth:`Writer.describe` attached to the file at `path`."""
    with _hdf5(path) as file:
        return {
            name: value.decode() if isinstance(value, bytes) else value.item() for name, value in file.attrs.items()
        }


def _header() -> bytes:
    text = _HEADER_TEXT.encode().ljust(116)
    return (text + bytes(8) + b"\x00\x02IM").ljust(USER_BLOCK, b"\x00")


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    require(not path.is_dir(), f"{path}: got a folder, want a MATLAB file")
    try:
        file = h5py.File(path, "r")
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _is_older(path: Path) -> bool:
    require(not path.is_dir(), f"{path}: got a folder, want a MATLAB file")
    with path.open("rb") as raw:
        return raw.read(10) == b"MATLAB 5.0"


def _older_variables(path: Path) -> dict[str, Variable]:
    try:
        held = scipy.io.whosmat(str(path))
    except Exception as error:  # scipy lets errors of every kind through when a file is damaged
        raise _unreadable(path, error) from error
    numeric = ("double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    return {
        name: Variable(path, name, tuple(reversed(shape)), None, lazy=False)
        for name, shape, kind in held
        if kind in numeric
    }


def _load_older(path: Path, name: str) -> Array:
    try:
        return np.asarray(scipy.io.loadmat(str(path), variable_names=[name])[name]).T
    except (OSError, ValueError, TypeError, KeyError, IndexError, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: variable {name!r}: cannot be read ({_one_line(error)})") from error


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fiucb" or dtype.names == ("real", "imag")


def _value_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.names is None else np.result_type(dtype["real"], np.complex64)


def _stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if dtype.kind != "c":
        return dtype
    part = np.dtype(f"<f{dtype.itemsize // 2}")
    return np.dtype([("real", part), ("imag", part)])


def _rising(index: Index) -> tuple[Index, Index]:
    """`index` with its lists sorted and without repeats, as HDF5 wants them, and the index that undoes that."""
    rising: list[int | slice | list[int] | EllipsisType] = []
    order: list[slice | list[int]] = []
    for part in index:
        if isinstance(part, list):
            held = sorted(set(part))
            rising.append(held)
            order.append([held.index(number) for number in part])
        else:
            rising.append(part)
            if isinstance(part, slice):
                order.append(slice(None))
    return tuple(rising), tuple(order) if rising != list(index) else (...,)


def _as_complex(values: Array) -> Array:
    if values.dtype.names is None:
        return values
    wanted = _value_dtype(values.dtype)
    if values.dtype == _stored_dtype(wanted) and values.flags.c_contiguous:
        return values.view(wanted)  # the same memory
    return values["real"] + wanted.type(1j) * values["imag"]


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: cannot be read as a MATLAB file, truncated, damaged or another format ({_one_line(error)})"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
