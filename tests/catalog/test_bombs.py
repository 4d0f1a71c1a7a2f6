"""Tables that are small on the disk and huge in memory are refused with a sentence."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import open_catalog, parquet, places, readers, text_files
from vision_recs.errors import CatalogError

LARGE = 1_000_000


@pytest.fixture(autouse=True)
def _lower_limits(monkeypatch):
    for module in (places, parquet):
        assert module.LARGE == 1 << 30
        monkeypatch.setattr(module, "LARGE", LARGE)
    assert text_files.MOST_AT_ONCE == readers._LONGEST_FIELD == 1 << 26
    monkeypatch.setattr(text_files, "MOST_AT_ONCE", 2 * LARGE)
    monkeypatch.setattr(readers, "_LONGEST_FIELD", 2 * LARGE)


def refusal(path):
    with pytest.raises(CatalogError) as caught:
        list(open_catalog(path))
    return str(caught.value)


def items(path):
    return [item.id for item in open_catalog(path)]


def test_a_table_has_at_most_ten_thousand_columns(tmp_path):
    def csv(count):
        names = ",".join(f"c{number}" for number in range(count - 2))
        (tmp_path / "a.csv").write_text(f"id,image,{names}\na,a.jpg,{','.join('1' * (count - 2))}\n")
        return tmp_path / "a.csv"

    assert items(csv(10_000)) == ["a"]
    sentence = "the table has 10,001 columns, over the limit of 10,000; put less into it"
    assert refusal(csv(10_001)).endswith(sentence)
    wide = pa.table({"id": ["a"], "image": ["a.jpg"], **{f"c{number}": [1] for number in range(9_999)}})
    pq.write_table(wide, tmp_path / "a.parquet")
    assert refusal(tmp_path / "a.parquet").endswith(sentence)


def test_columns_that_come_with_later_rows_are_counted_too(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MOST_COLUMNS", 5)
    rows = [json.dumps({"id": f"{number}", "image": "a.jpg", f"c{number}": 1}) for number in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows[:3]))
    assert items(tmp_path / "a.jsonl") == ["0", "1", "2"]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert ":4: the table has 6 columns, over the limit of 5" in refusal(tmp_path / "a.jsonl")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_gzip_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path, name):
    text = b"x" * 10_000
    header, row = b"id,image,t\n", b"a,a.jpg," + text + b"\n"
    if "jsonl" in name:
        header, row = b"", b'{"id": "a", "image": "a.jpg", "t": "' + text + b'"}\n'
    (tmp_path / name).write_bytes(gzip.compress(header + row * 99))
    assert items(tmp_path / name) == ["a"]
    (tmp_path / name).write_bytes(gzip.compress(header + row * 300))
    assert "the file unpacks to over" in refusal(tmp_path / name)


def test_gzip_of_an_ordinary_table_is_read_however_large_it_is(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 10**9, 200_000).tolist()
    rows = "".join(f"a,a.jpg,{number}\n" for number in numbers)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"id,image,n\n" + rows.encode(), 1))
    assert len(rows) > 2 * LARGE
    lines = text_files.text_lines(str(tmp_path / "a.csv.gz"), readers.Findings(""))
    assert sum(1 for _ in lines) == 200_001


def test_a_line_or_a_cell_without_an_end_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "image": "' + "x" * (2 * LARGE))
    assert "a line has more than 2,000,000 characters; break it up" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text('id,image,t\na,a.jpg,"' + "x\n" * (LARGE + 1) + '"\nb,b.jpg,1\n')
    assert "malformed: field larger than field limit (2000000)" in refusal(tmp_path / "a.csv")


def test_parquet_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    text = ["x" * 10_000 + str(number) for number in range(300)]
    table = pa.table({"id": [str(number) for number in range(300)], "image": ["a.jpg"] * 300, "t": text})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert "the file unpacks to over" in refusal(tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 50), tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert len(items(tmp_path / "a.parquet")) == 50


def test_one_text_of_many_rows_is_refused_before_it_is_copied(tmp_path):
    def parquet_of(rows):
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 10_000]))
        table = pa.table({"id": [str(number) for number in range(rows)], "image": ["a.jpg"] * rows, "t": texts})
        pq.write_table(table, tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    assert len(items(parquet_of(100))) == 100
    assert "column 't': 101 rows hold over 1,000,000 bytes of text; shorten it" in refusal(parquet_of(101))
