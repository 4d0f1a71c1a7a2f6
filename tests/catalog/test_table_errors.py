"""Tables that are not in order: every error says file, line and column."""

import json
import sqlite3
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.grouping import RowStore
from vision_recs.errors import CatalogError

COMMA_HINT = "; is the separator another than the comma?"


@pytest.fixture
def refused(tmp_path):
    """Write a table, read it to its end, and return where and why it was refused."""

    def read(name, content, **options):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(CatalogError) as caught:
            list(open_catalog(path, CatalogOptions(**options)))
        error = caught.value
        assert error.path == str(path)
        place = (
            str(path)
            + (f":{error.line}" if error.line else "")
            + (f", column {error.column!r}" if error.column else "")
        )
        assert str(error).startswith(place + ": ")
        return error.line, error.column, str(error).removeprefix(place + ": ")

    return read


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ("", None, None, "the table is empty; it needs a header and rows"),
        ("\n\n", None, None, "the table is empty; it needs a header and rows"),
        ("id,image\n", None, None, "the table has no rows below its header"),
        ("\nid,image,x, x\n", 2, "x", "the header names this column twice; rename one"),
        ("id,image\n,a.jpg\n", 2, "id", "the id is empty; give every row one"),
        ("id,image\n  ,a.jpg\n", 2, "id", "the id is empty; give every row one"),
        ('id,image,t\na,a.jpg,"1\n2\n3"\n\nb,,\n', 6, "image", "no image is named; give every row one"),
        ("id,image\na, | \n", 2, "image", "no image is named; give every row one"),
        ("id,image\na,[]\n", 2, "image", "no image is named; give every row one"),
        ("id,image\na,[1]\n", 2, "image", "an image is a path or a list of paths, not [1]"),
        (
            "id,image\na,a.jpg|HTTPS://x.org/a.jpg\n",
            *(2, "image", "images are read from files, not from 'HTTPS://x.org/a.jpg'; download them first"),
        ),
        (
            'id,image\n"a\nb",a.jpg\nc,c.jpg,1\n',
            *(4, None, "the row has 3 cells and the header 2; quote cells that hold the separator"),
        ),
        (
            "id,image,n\na,a.jpg\n",
            *(2, None, "the row has 2 cells and the header 3; quote cells that hold the separator"),
        ),
        (
            'id,image\na,a.jpg\nb,"b.jpg\nc,c.jpg\n',
            *(3, None, "malformed: unexpected end of data; quote cells that hold quotes, line ends or the separator"),
        ),
        (
            'id,image\na,"a"b.jpg\n',
            *(2, None, "malformed: ',' expected after '\"'; quote cells that hold quotes, line ends or the separator"),
        ),
        (b"id,image\na,caf\xe9.jpg\n", 2, None, "byte 0xe9 at offset 14 is not UTF-8; save the table as UTF-8"),
        (b"\xef\xbb\xbfid\xe9\n", 1, None, "byte 0xe9 at offset 5 is not UTF-8; save the table as UTF-8"),
        (b"\xff\xfei\0d\0", 1, None, "byte 0xff at offset 0 is not UTF-8; save the table as UTF-8"),
        (b"id,image\na,a\0.jpg\n", 2, None, "a NUL byte at offset 12; a table is text, save it again"),
        ("a,b\n1,2\n", None, None, "no known column of ids among 'a', 'b'; name it with --id-column"),
        ("id,b\n1,2\n", None, None, "no known column of images among 'id', 'b'; name it with --image-column"),
        (
            "id;image\n1;2\n",
            *(None, None, f"no known column of ids among 'id;image'; name it with --id-column{COMMA_HINT}"),
        ),
    ],
)
def test_a_csv_is_refused_where_it_is_wrong(refused, content, line, column, message):
    assert refused("t.csv", content) == (line, column, message)


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        ("", None, None, "the table is empty; it needs a JSON object a line"),
        ('{"id": 1, "image": "a"}\n\n{"id"\n', 3, None, "malformed JSON: Expecting ':' delimiter"),
        ('[{"id": 1}]\n', 1, None, "a JSON list where an object belongs; write one object a line"),
        ('{"id": 1, "image": "a"}\n7\n', 2, None, "a JSON int where an object belongs; write one object a line"),
        ('{"id": 1, "image": "a", "x": NaN}', 1, None, "malformed JSON: NaN is no JSON value, null is"),
        ('{"id": 1, "image": "a", "x": ' + "9" * 5000 + "}", 1, None, "a number has thousands of digits; put it in"),
        ("[" * 100_000, 1, None, "malformed JSON: maximum recursion depth exceeded"),
        ('{"id": "\\ud800", "image": "a"}', 1, None, "malformed JSON: 'utf-8' codec can't encode"),
        ('{"id": 1, "image": "a"}\n{"image": "b"}', 2, "id", "the id is empty; give every row one"),
        ('{"id": null, "image": "a"}', 1, "id", "the id is empty; give every row one"),
        ('{"id": true, "image": "a"}', 1, "id", "an id is text or a whole number, not True; write it as text"),
        ('{"id": 12.0, "image": "a"}', 1, "id", "an id is text or a whole number, not 12.0; write it as text"),
        ('{"id": "a\\u0000", "image": "a"}', 1, "id", "the id 'a\\x00' holds a NUL character; remove it"),
        ('{"id": 1, "image": "a\\u0000"}', 1, "image", "the path 'a\\x00' holds a NUL character; remove it"),
        ('{"id": 1, "image": "a"}\n{"id": 2}', 2, "image", "no image is named; give every row one"),
        ('{"id": 1, "image": []}', 1, "image", "no image is named; give every row one"),
        ('{"id": 1, "image": {"path": "a"}}', 1, "image", "an image is a path or a list of paths, not {'path': 'a'}"),
        ('{"id": 1, "image": "s3://b/a.jpg"}', 1, "image", "images are read from files, not from 's3://b/a.jpg'"),
        ('{"id": 1}', None, None, "no known column of images among 'id'; name it with --image-column"),
        (b'{"id": 1, "image": "a"}\n"\xff"', 2, None, "byte 0xff at offset 25 is not UTF-8; save the table as UTF-8"),
    ],
)
def test_a_jsonl_is_refused_where_it_is_wrong(refused, content, line, column, message):
    found = refused("t.jsonl", content)
    assert found[:2] == (line, column)
    assert found[2].startswith(message)


@pytest.mark.parametrize(
    ("columns", "line", "column", "message"),
    [
        ({"id": ["a", None], "image": ["a", "b"]}, 2, "id", "the id is empty; give every row one"),
        ({"id": [1.0], "image": ["a"]}, 1, "id", "an id is text or a whole number, not 1.0; write it as text"),
        ({"id": [Decimal("1.5")], "image": ["a"]}, 1, "id", "an id is text or a whole number, not Decimal('1.5')"),
        ({"id": ["a"] * 5000, "image": ["a"] * 4999 + [None]}, 5000, "image", "no image is named"),
        ({"id": [1], "image": [{"bytes": b"x"}]}, 1, "image", "an image is a path or a list of paths, not {'bytes'"),
        ({"id": pa.array([], pa.int64()), "image": pa.array([], pa.string())}, None, None, "the table has no rows"),
        ({"x": [1]}, None, None, "no known column of ids among 'x'; name it with --id-column"),
    ],
)
def test_a_parquet_is_refused_where_it_is_wrong(refused, columns, line, column, message):
    found = refused("t.parquet", pa.table(columns))
    assert found[:2] == (line, column)
    assert found[2].startswith(message)


def test_a_parquet_with_a_column_twice_is_refused(refused):
    twice = pa.table([pa.array([1]), pa.array(["a"]), pa.array([1])], names=["id", "image", "id"])
    assert refused("t.parquet", twice) == (None, "id", "two columns have this name; rename one")


def test_what_is_no_parquet_is_refused(refused):
    assert refused("t.parquet", b"PAR1 but not really PAR1")[2].startswith("cannot be read as Parquet (")
    assert refused("t.parquet", b"")[2].startswith("cannot be read as Parquet (")


def test_a_moment_beyond_the_calendar_is_refused(refused):
    late = pa.table({"id": [1], "image": ["a"], "t": pa.array([2**60], pa.timestamp("us"))})
    assert refused("t.parquet", late)[2].startswith("cannot be read as Parquet (")


def test_a_missing_column_is_refused_when_the_catalog_is_opened(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,image\n")
    for options, flag in [
        (CatalogOptions(id_column="code"), "--id-column"),
        (CatalogOptions(image_column="code"), "--image-column"),
        (CatalogOptions(image_attributes=("code",)), "--image-attribute"),
    ]:
        with pytest.raises(CatalogError) as caught:
            open_catalog(path, options)
        assert str(caught.value) == f"{path}: there is no column 'code' among 'id', 'image'; correct {flag}"


def test_an_image_attribute_that_no_json_object_has_is_refused_after_the_last(refused):
    content = json.dumps({"id": 1, "image": "a"})
    found = refused("t.jsonl", content, image_attributes=("view",))
    assert found == (None, None, "there is no column 'view' among 'id', 'image'; correct --image-attribute")


@pytest.mark.parametrize("name", ["id", "image"])
def test_the_key_columns_cannot_be_image_attributes(refused, name):
    line, column, message = refused("t.csv", "id,image\na,a.jpg\n", image_attributes=(name,))
    assert (line, column) == (None, name)
    assert "cannot be an image's attribute" in message


def test_many_columns_are_not_all_named(refused):
    header = ",".join(f"c{number}" for number in range(30))
    message = refused("t.csv", f"{header}\n")[2]
    assert "'c19' and 10 more" in message
    assert "'c20'" not in message


def test_a_contradiction_names_both_lines_both_values_and_the_way_out(refused):
    content = 'id,image,text,price\na,1.jpg,"x\ny",5\nb,2.jpg,z,6\nb,3.jpg,,6.5\na,4.jpg,,5\nc,5.jpg,,5\nc,6.jpg,,5\n'
    assert refused("t.csv", content) == (
        5,
        "price",
        (
            "item 'b' has 6.5 here and 6.0 in line 4; make them equal, "
            "or add --image-attribute price if the values belong to the images"
        ),
    )


def test_a_column_that_differs_inside_one_item_only_is_a_contradiction(refused):
    line, column, message = refused("t.csv", "id,image,n\na,1.jpg,5\na,2.jpg,6\n")
    assert (line, column) == (3, "n")
    assert message.startswith("item 'a' has 6 here and 5 in line 2; ")


def test_a_column_that_differs_inside_half_of_the_items_is_a_contradiction(refused):
    rows = "a,1,x\na,2,y\nb,1,x\nb,2,y\nc,1,x\nc,2,x\nd,1,x\nd,2,x\n"
    assert refused("t.csv", "id,image,v\n" + rows)[:2] == (3, "v")


def test_the_first_contradiction_of_the_table_is_reported(refused):
    rows = "a,1,x,5\nb,1,x,5\nb,2,x,6\na,2,y,5\nc,1,x,5\nc,2,x,5\n"
    assert refused("t.csv", "id,image,v,n\n" + rows)[:2] == (4, "n")


def test_the_first_contradiction_of_a_column_may_be_in_a_later_item(refused):
    rows = "a,1,5\nb,1,5\nb,2,6\na,2,6\nc,1,5\nc,2,5\nd,1,5\nd,2,5\n"
    assert refused("t.csv", "id,image,n\n" + rows)[:2] == (4, "n")


def test_a_contradiction_in_parquet_counts_rows(refused):
    message = refused("t.parquet", pa.table({"id": [1, 1], "image": ["a", "b"], "n": [5, 6]}))
    assert message[:2] == (2, "n")
    assert "item '1' has 6 here and 5 in row 1" in message[2]


def test_an_error_at_the_end_is_raised_before_the_first_item(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,image\na,a.jpg\nb,\n")
    with pytest.raises(CatalogError, match="no image is named"):
        next(iter(open_catalog(path)))


def test_a_full_disk_is_told_with_the_way_out(tmp_path, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(RowStore, "add", fail)
    path = tmp_path / "t.csv"
    path.write_text("id,image\na,a.jpg\n")
    with pytest.raises(CatalogError, match=r"failed \(database or disk is full\); let SQLITE_TMPDIR name a folder"):
        list(open_catalog(path))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_table_that_may_not_be_read_is_refused(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("")

    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(CatalogError, match=r"cannot be read \(Permission denied\); mend its permissions"):
        open_catalog(path)
