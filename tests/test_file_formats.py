"""Both formats of files: JSON with a checksum, and mapped arrays of NumPy: those that NumPy reads, and no others."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of

from vision_recs.errors import StoreDamaged
from vision_recs.file_formats import dump_checksummed, load_checksummed, map_npy, mmap_array

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
keys = st.text().filter(lambda key: key != "checksum")

MANIFEST = {"name": "flat", "generation": 7, "price": 0.1, "files": {"é": None, "a": [1, 2]}}


@settings(deadline=None, max_examples=examples_of(50))
@given(st.dictionaries(keys, values))
def test_what_was_dumped_comes_back(value):
    assert load_checksummed(dump_checksummed(value)) == value


def test_each_element_of_a_list_has_a_line():
    text = dump_checksummed({"b": [{"y": [[1, 2]], "x": None}, 2], "a": [], "d": {"k": [1, 2]}}).decode()
    lines = [
        ' "a": [],',
        ' "b": [',
        '  {"x": null, "y": [[1, 2]]},',
        "  2",
        " ],",
        ' "checksum": ',
        ' "d": {"k": [1, 2]}',
    ]
    found = text.splitlines()[1:-1]
    assert [line if "checksum" not in line else line[:13] for line in found] == lines


def test_the_text_is_readable_json_with_its_own_checksum():
    checksum = hashlib.sha256(b'{\n "b": 1,\n "d": 2\n}\n').hexdigest()
    assert dump_checksummed({"b": 1, "d": 2}).decode() == f'{{\n "b": 1,\n "checksum": "{checksum}",\n "d": 2\n}}\n'


def test_equal_values_give_equal_bytes_whatever_the_order_of_their_keys():
    assert dump_checksummed(MANIFEST) == dump_checksummed(dict(reversed(MANIFEST.items())))


def test_every_flipped_bit_is_noticed():
    data = dump_checksummed(MANIFEST)
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreDamaged):
            load_checksummed(bytes(altered))


def test_every_cut_is_noticed():
    data = dump_checksummed(MANIFEST)
    for length in range(len(data)):
        with pytest.raises(StoreDamaged):
            load_checksummed(data[:length])


@pytest.mark.parametrize(
    "rewrite",
    [
        json.dumps,
        lambda value: json.dumps({**value, "generation": 8}, sort_keys=True, indent=1) + "\n",
        lambda value: json.dumps({key: value[key] for key in value if key != "checksum"}, sort_keys=True, indent=1),
        lambda value: json.dumps([value]),
        lambda _: "[" * 100_000,
        lambda _: '"checksum"',
        lambda _: "7",
        lambda _: '{"checksum": "", "a": NaN}',
    ],
)
def test_text_that_was_not_dumped_is_refused(rewrite):
    with pytest.raises(StoreDamaged, match="bytes"):
        load_checksummed(rewrite(json.loads(dump_checksummed(MANIFEST))).encode())


@pytest.mark.parametrize("value", [{"checksum": "mine"}, {"a": float("nan")}, {"a": [float("inf")]}])
def test_what_could_not_come_back_is_not_dumped(value):
    with pytest.raises(ValueError, match=r"checksum|JSON"):
        dump_checksummed(value)


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
