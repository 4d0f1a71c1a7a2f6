"""Arrays mapped from files of NumPy's format: those that NumPy reads, and no others."""

import numpy as np
import pytest

from vision_recs.errors import StoreDamaged
from vision_recs.npy import map_npy, mmap_array


@pytest.mark.parametrize(
    "array", [np.arange(5), np.zeros(0, np.int64), np.arange(6, dtype=np.uint8), np.ones((2, 3), np.float16)]
)
def test_an_array_is_mapped_as_numpy_saved_it(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    found = map_npy(tmp_path / "a.npy", array.dtype.type, array.ndim)
    assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())
    assert type(found) is np.ndarray


@pytest.mark.parametrize(
    "array", [np.arange(5.0), np.arange(5, dtype=np.int32), np.ones((2, 3), np.int64), np.arange(5, dtype=">i8")]
)
def test_another_array_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(StoreDamaged, match=r"a\.npy cannot be read .*; rebuild it with `visrec index`"):
        mmap_array(tmp_path / "a.npy", np.int64)


def test_a_matrix_has_to_be_in_c_order(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.ones((2, 3), np.uint8)))
    with pytest.raises(StoreDamaged):
        mmap_array(tmp_path / "a.npy", np.uint8, columns=True)


@pytest.mark.parametrize("length", [0, 5, 60, 128, 167, 169])
def test_a_file_that_is_too_short_or_too_long_is_refused(tmp_path, length):
    np.save(tmp_path / "a.npy", np.arange(5))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes((data + b"x")[:length])
    with pytest.raises(StoreDamaged, match=r"a\.npy cannot be read"):
        mmap_array(tmp_path / "a.npy", np.int64)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(StoreDamaged, match=r"none\.npy cannot be read"):
        mmap_array(tmp_path / "none.npy", np.int64)
