"""Parquet files of some kilobytes that are gigabytes in memory: refused with a sentence.

Equal values take next to nothing in such a file, however many there are, and however long each is.
"""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import open_catalog, parquet
from vision_recs.catalog.members import Members
from vision_recs.catalog.places import version_of

MEMORY = 3 << 30
MB = 1 << 20
READ = f"""
import resource, sys
from vision_recs.catalog import open_catalog
from vision_recs.errors import CatalogError
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
for path in sys.argv[1:]:
    try:
        print(sum(1 for _ in open_catalog(path)), "items")
    except CatalogError as error:
        print(error)
"""
ROWS = 100
UNPACKS, HOLDS = (
    "over 1 GiB and 200 times its size; split it into several files if that is right",
    "rows hold over 1,073,741,824 bytes of text; shorten it",
)


def equal(count, value):
    """Return *count* times *value*."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([value]))


def lists(values, rows=ROWS):
    offsets = np.linspace(0, len(values), rows + 1).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


BOMBS = {
    "numbers": (lambda: lists(equal(18 * MB, 7)), UNPACKS),
    "numbers of one row": (lambda: lists(equal(18 * MB, 7), 1), UNPACKS),
    "lists of lists": (lambda: lists(lists(equal(18 * MB, 7), 10 * ROWS)), UNPACKS),
    "flags in maps": (
        lambda: pa.MapArray.from_arrays(
            pa.array([0, 9 * MB], pa.int32()), equal(9 * MB, "a").cast(pa.string()), equal(9 * MB, 1)
        ),
        UNPACKS,
    ),
    "texts in lists": (lambda: lists(equal(100 * ROWS, "x" * MB)), HOLDS),
    "texts in lists of one row": (lambda: lists(equal(5_000, "x" * MB), 1), HOLDS),
    "texts in structs": (lambda: pa.StructArray.from_arrays([equal(4_000, "x" * MB)], ["a"]), HOLDS),
    "texts in lists of structs": (
        lambda: lists(pa.StructArray.from_arrays([equal(100 * ROWS, "x" * MB)], ["a"])),
        HOLDS,
    ),
    "bytes": (lambda: equal(4_000, b"x" * MB), HOLDS),
    "bytes in lists": (lambda: lists(equal(100 * ROWS, b"x" * MB)), HOLDS),
}


def write(path, column, *, rows=None, **columns):
    names = [f"i{number}" for number in range(len(column))]
    table = pa.table({"id": names, "image": ["a.png"] * len(names), "x": column, **columns})
    pq.write_table(table, path, row_group_size=rows, store_schema=False)  # so that no reader knows of dictionaries
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process so")
def test_a_small_file_does_not_take_gigabytes(tmp_path):
    paths = [write(tmp_path / f"{kind}.parquet", column()) for kind, (column, _) in BOMBS.items()]
    assert max(path.stat().st_size for path in paths) < 200_000
    done = subprocess.run(
        [sys.executable, "-c", READ, *paths], capture_output=True, text=True, timeout=300, check=False
    )
    found = dict(zip(BOMBS, done.stdout.splitlines(), strict=True))
    assert {kind: line for kind, line in found.items() if BOMBS[kind][1] not in line} == {}


def test_lists_of_an_ordinary_size_are_read_right_however_long_the_rows(tmp_path, monkeypatch):
    """Rows of 100,000 values are read few at a time."""
    values = pa.array(np.arange(20 * 100_000) % 1000)
    path = write(tmp_path / "a.parquet", lists(values, 20), tags=[["a", f"b{row}"] for row in range(20)])
    monkeypatch.setattr(parquet, "_BYTES_OF_BATCH", 20_000_000)
    assert parquet._layout(path).batch == 3
    items = list(open_catalog(path))
    assert [item.id for item in items] == [f"i{row}" for row in range(20)]
    assert [item.attributes["tags"] for item in items] == [f'["a", "b{row}"]' for row in range(20)]


def test_texts_in_lists_of_several_groups_of_rows_are_read_as_others(tmp_path):
    texts = [[f"a{row}", "b"] for row in range(10)]
    items = open_catalog(write(tmp_path / "a.parquet", pa.array(texts), rows=3, t=[{"u": f"c{n}"} for n in range(10)]))
    found = [(item.attributes["x"], item.attributes["t"]) for item in items]
    assert found == [(f'["a{row}", "b"]', f'{{"u": "c{row}"}}') for row in range(10)]


def test_an_image_that_many_rows_share_takes_memory_once(tmp_path):
    image = b"\x89PNG" + b"x" * (20 * MB)
    count = 4_000
    table = pa.table({"id": [f"i{n}" for n in range(count)], "image": equal(count, image)})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, store_schema=False)
    before = pa.total_allocated_bytes()
    members = Members()
    for row in (1, 2, count // 2, count):
        assert members.read(path, version_of(path), f"image/{row}") == image
        assert pa.total_allocated_bytes() - before < 300 * MB
