"""MATLAB files: what goes in comes out, a range is read without the rest, damage is named, bytes repeat."""

from __future__ import annotations

import time

import h5py
import numpy as np
import pytest
import scipy.io

from cmr_course.data import matlab
from cmr_course.data.files import replacing

RANDOM = np.random.default_rng(5)


def values(dtype: str, shape: tuple[int, ...] = (3, 2, 4, 5)) -> np.ndarray:
    if dtype == "bool":
        return RANDOM.random(shape) > 0.5
    real = RANDOM.normal(size=shape) * 100
    return (real + 1j * RANDOM.normal(size=shape)).astype(dtype) if dtype.startswith("complex") else real.astype(dtype)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float32", "float64", "bool", "int16"])
def test_what_is_written_is_read(tmp_path, dtype):
    wanted = values(dtype)
    matlab.save(tmp_path / "a.mat", {"kspace": wanted})
    variable = matlab.find(tmp_path / "a.mat", "kspace")
    assert variable.shape == wanted.shape
    assert variable.lazy
    got = variable.read()
    assert got.dtype == (np.uint8 if dtype == "bool" else wanted.dtype)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(variable.read((slice(0, 3, 2), 1)), wanted[0:3:2, 1])


def test_a_file_has_the_marks_that_matlab_looks_for(tmp_path):
    path = tmp_path / "a.mat"
    matlab.save(path, {"k": values("complex64"), "m": values("bool")})
    head = path.read_bytes()[:512]
    assert head[:19] == b"MATLAB 7.3 MAT-file"
    assert head[124:128] == b"\x00\x02IM"
    assert path.read_bytes()[512:520] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path) as file:
        assert file["k"].attrs["MATLAB_class"] == b"single"
        assert file["k"].dtype.names == ("real", "imag")
        assert file["m"].attrs["MATLAB_class"] == b"logical"
        assert file["m"].attrs["MATLAB_int_decode"] == 1


def test_same_content_same_bytes_at_another_time(tmp_path):
    content = {"k": values("complex64"), "m": values("bool")}
    matlab.save(tmp_path / "a.mat", content, {"note": "one", "number": 2.5})
    time.sleep(1.1)  # HDF5 keeps times to the second
    matlab.save(tmp_path / "b.mat", content, {"note": "one", "number": 2.5})
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    assert matlab.described(tmp_path / "a.mat") == {"note": "one", "number": 2.5}


def test_a_file_that_matlab_compressed_in_chunks_is_read(tmp_path):
    wanted = values("complex64")
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        stored = wanted.view([("real", "<f4"), ("imag", "<f4")])
        file.create_dataset("k", data=stored, chunks=(2, 1, 3, 5), compression="gzip")
        file.create_group("#refs#")
    variable = matlab.find(tmp_path / "a.mat", "elsewhere", lone=True)
    np.testing.assert_array_equal(variable.read((slice(None), 1)), wanted[:, 1])


def test_an_older_file_is_read_through_scipy(tmp_path):
    wanted = values("complex128")
    scipy.io.savemat(tmp_path / "a.mat", {"k": wanted.T, "word": "no array"})
    variable = matlab.find(tmp_path / "a.mat", "k")
    assert variable.shape == wanted.shape
    assert not variable.lazy
    np.testing.assert_array_equal(variable.read((slice(None), 1)), wanted[:, 1])


@pytest.mark.bad_input
@pytest.mark.parametrize("kept", [0, 100, 600, 900, -8])
@pytest.mark.parametrize("older", [False, True])
def test_a_truncated_file_is_named(tmp_path, kept, older):
    path = tmp_path / "short.mat"
    if older:
        scipy.io.savemat(path, {"k": values("float64")})
    else:
        matlab.save(path, {"k": values("complex64")})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"short\.mat.*cannot be read") as caught:
        matlab.find(path, "k").read()
    assert "\n" not in str(caught.value)


@pytest.mark.bad_input
def test_damaged_compressed_values_are_named(tmp_path):
    path = tmp_path / "damaged.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        stored = values("complex64").view([("real", "<f4"), ("imag", "<f4")])
        data = file.create_dataset("k", data=stored, chunks=True, compression="gzip", fletcher32=True)
        begin = 512 + data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[begin + 40 : begin + 60] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.mat: variable 'k': cannot be read"):
        matlab.find(path, "k").read()


@pytest.mark.bad_input
def test_a_missing_variable_is_named_with_what_is_there(tmp_path):
    matlab.save(tmp_path / "a.mat", {"one": values("float32"), "two": values("float32")})
    with pytest.raises(ValueError, match=r"no variable 'k', the file holds 'one', 'two'"):
        matlab.find(tmp_path / "a.mat", "k", lone=True)
    with pytest.raises(FileNotFoundError):
        matlab.find(tmp_path / "b.mat", "k")
    with pytest.raises(ValueError, match="got a folder"):
        matlab.find(tmp_path, "k")


def test_a_failed_write_leaves_nothing_and_an_older_file_stays(tmp_path):
    path = tmp_path / "new" / "folder" / "a.mat"

    def interrupted() -> None:
        with matlab.writing(path) as writer:
            writer.create("k", (2, 3), "complex64")((0,), np.ones(3))
            assert [item.name for item in path.parent.iterdir()] == [".a.mat.partial"]
            raise KeyboardInterrupt

    def failing() -> None:
        with replacing(tmp_path / "kept") as partial:
            partial.write_text("new")
            raise ValueError("stop")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").write_text("old")
    with pytest.raises(ValueError, match="stop"):
        failing()
    assert (tmp_path / "kept").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
