"""Tables that are not in order: what cannot be read is refused, and what is left out is told, with its place."""

import json
import sqlite3
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.row_store import RowStore
from vision_recs.errors import CatalogError

SEPARATOR_HINT = "; is the separator another than the comma, the semicolon and the tab?"


def written(folder, name, content):
    path = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def refused(tmp_path):
    """Write a table, read it to its end, and return where and why it was refused."""

    def read(name, content, **options):
        path = written(tmp_path, name, content)
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


@pytest.fixture
def left_out(tmp_path):
    """Write a table, read it to its end, and return what was left out, and the ids of the items."""

    def read(name, content, **options):
        found = []
        items = [
            item.id
            for item in open_catalog(written(tmp_path, name, content), CatalogOptions(**options)).read_items(
                found.append
            )
        ]
        return [(each.reason, each.id, each.message) for each in found], items

    return read


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("", None, "the table is empty; it needs a header and rows"),
        ("\n\n", None, "the table is empty; it needs a header and rows"),
        ("id,image\n", None, "the table has no rows below its header"),
        (
            'id,image\na,a.jpg\nb,"b.jpg\nc,c.jpg\n',
            *(3, "malformed: unexpected end of data; quote cells that hold quotes, line ends or the separator"),
        ),
        ("a,b\n1,2\n", None, "no known column of ids among 'a', 'b'; name it with --id-column"),
        ("id,b\n1,2\n", None, "no known column of images among 'id', 'b'; name it with --image-column"),
        ("id!image\n1!2\n", None, f"no known column of ids among 'id!image'; name it with --id-column{SEPARATOR_HINT}"),
    ],
)
def test_a_csv_that_cannot_be_read_is_refused(refused, content, line, message):
    assert refused("t.csv", content) == (line, None, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no line of the table is a JSON object; write one object a line"),
        ('[{"id": 1}]\n', "no line of the table is a JSON object; write one object a line"),
        ('{"id": 1}', "no known column of images among 'id'; name it with --image-column"),
    ],
)
def test_a_jsonl_without_an_object_or_without_its_columns_is_refused(refused, content, message):
    assert refused("t.jsonl", content) == (None, None, message)


GOOD = {"csv": "good,1.jpg{}\n", "jsonl": '{{"id": "good", "image": "1.jpg"{}}}\n'}


@pytest.mark.parametrize(
    ("row", "reason", "item", "message"),
    [
        (",a.jpg", "no-id", "", "t.csv:3, column 'id': the id is empty; give every row one"),
        ("  ,a.jpg", "no-id", "", "t.csv:3, column 'id': the id is empty; give every row one"),
        (
            "4.00638E+12,a.jpg",
            "rounded-id",
            "",
            "t.csv:3, column 'id': a spreadsheet has rounded the id to 4.00638E+12",
        ),
        (
            '"4,00638E+12",a.jpg',
            "rounded-id",
            "",
            "t.csv:3, column 'id': a spreadsheet has rounded the id to 4,00638E+12",
        ),
        ('a,""', "no-image", "a", "t.csv:3: the item 'a' names no image; give it one"),
        ("a, | ", "no-image", "a", "t.csv:3: the item 'a' names no image; give it one"),
        ("a,[]", "no-image", "a", "t.csv:3: the item 'a' names no image; give it one"),
        ("a,[null]", "no-image", "a", "t.csv:3: the item 'a' names no image; give it one"),
        ("a,[1]", "bad-address", "a", "t.csv:3, column 'image': an image is a path or a list of paths, not [1]"),
        ("a,ftp://x/a.jpg", "bad-address", "a", "t.csv:3, column 'image': no image can be read from 'ftp://x/a.jpg'"),
        ("a,http://[x/a.jpg", "bad-address", "a", "t.csv:3, column 'image': 'http://[x/a.jpg' is no address (Invalid"),
        (
            'a,"data:image/png;base64,xx"',
            "bad-address",
            "a",
            "t.csv:3, column 'image': no image can be read from 'data:",
        ),
        (
            "a,a.jpg,1",
            "malformed",
            "",
            "t.csv:3: the row has 3 cells and the header 2; quote cells that hold the separator",
        ),
        ("a", "malformed", "", "t.csv:3: the row has 1 cells and the header 2; quote cells that hold the separator"),
        ('a,"a"b.jpg', "malformed", "", "t.csv:3: malformed: ',' expected after '\"'; quote cells that hold quotes"),
    ],
)
def test_a_row_of_csv_that_is_not_right_is_left_out_and_told(left_out, row, reason, item, message):
    told, items = left_out("t.csv", f"id,image\n{GOOD['csv'].format('')}{row}\nlast,2.jpg\n")
    assert items == ["good", "last"]
    assert [each[:2] for each in told] == [(reason, item)]
    assert told[0][2].startswith(message)


@pytest.mark.parametrize(
    ("row", "reason", "item", "message"),
    [
        ('{"id"', "malformed", "", "t.jsonl:2: malformed JSON: Expecting ':' delimiter"),
        ("7", "malformed", "", "t.jsonl:2: a JSON int where an object belongs; write one object a line"),
        (
            '{"id": 1, "image": "a", "x": NaN}',
            "malformed",
            "",
            "t.jsonl:2: malformed JSON: NaN is no JSON value, null is",
        ),
        (
            '{"id": 1, "x": ' + "9" * 5000 + "}",
            "malformed",
            "",
            "t.jsonl:2: a number has thousands of digits; put it in",
        ),
        ("[" * 100_000, "malformed", "", "t.jsonl:2: malformed JSON: maximum recursion depth exceeded"),
        ('{"id": "\\ud800", "image": "a"}', "malformed", "", "t.jsonl:2: malformed JSON: 'utf-8' codec can't encode"),
        ('{"image": "b"}', "no-id", "", "t.jsonl:2, column 'id': the id is empty; give every row one"),
        ('{"id": null, "image": "a"}', "no-id", "", "t.jsonl:2, column 'id': the id is empty; give every row one"),
        (
            '{"id": true, "image": "a"}',
            "no-id",
            "",
            "t.jsonl:2, column 'id': an id is text or a whole number, not True",
        ),
        (
            '{"id": 12.0, "image": "a"}',
            "no-id",
            "",
            "t.jsonl:2, column 'id': an id is text or a whole number, not 12.0",
        ),
        ('{"id": "a\\u0000", "image": "a"}', "no-id", "", "t.jsonl:2, column 'id': the id 'a\\x00' holds a character"),
        (
            '{"id": 1, "image": "a\\u0000"}',
            "bad-address",
            "1",
            "t.jsonl:2, column 'image': the path 'a\\x00' holds a NUL",
        ),
        (
            '{"id": 1, "image": "[\\"\\\\ud800\\"]"}',
            "bad-address",
            "1",
            "t.jsonl:2, column 'image': the path '\\ud800' holds half a surrogate pair",
        ),
        ('{"id": 2}', "no-image", "2", "t.jsonl:2: the item '2' names no image; give it one"),
        ('{"id": 1, "image": null}', "no-image", "1", "t.jsonl:2: the item '1' names no image; give it one"),
        ('{"id": 1, "image": []}', "no-image", "1", "t.jsonl:2: the item '1' names no image; give it one"),
        (
            '{"id": 1, "image": {"path": "a"}}',
            "bad-address",
            "1",
            "t.jsonl:2, column 'image': an image is a path or a list",
        ),
    ],
)
def test_a_row_of_json_that_is_not_right_is_left_out_and_told(left_out, row, reason, item, message):
    told, items = left_out("t.jsonl", f"{GOOD['jsonl'].format('')}{row}\n" + '{"id": "last", "image": "2.jpg"}')
    assert items == ["good", "last"]
    assert [each[:2] for each in told] == [(reason, item)]
    assert told[0][2].startswith(message)


@pytest.mark.parametrize(
    ("columns", "reason", "message"),
    [
        ({"id": ["a", None], "image": ["a", "b"]}, "no-id", "t.parquet:2, column 'id': the id is empty"),
        ({"id": [1.0], "image": ["a"]}, "no-id", "t.parquet:1, column 'id': an id is text or a whole number, not 1.0"),
        (
            {"id": [Decimal("1.5")], "image": ["a"]},
            "no-id",
            "t.parquet:1, column 'id': an id is text or a whole number",
        ),
        ({"id": list(map(str, range(5000))), "image": ["a"] * 4999 + [None]}, "no-image", "t.parquet:5000: the item"),
        (
            {"id": [1], "image": [{"url": "x"}]},
            "bad-address",
            "t.parquet:1, column 'image': an image is a path or a list",
        ),
    ],
)
def test_a_row_of_parquet_that_is_not_right_is_left_out_and_told(left_out, columns, reason, message):
    told, items = left_out("t.parquet", pa.table(columns))
    assert [each[0] for each in told] == [reason]
    assert told[0][2].startswith(message)
    assert len(items) == len(columns["id"]) - 1


def test_a_good_address_beside_a_bad_one_stays(left_out, tmp_path):
    told, items = left_out("t.csv", "id,image\na,a.jpg|ftp://x/b.jpg\n")
    assert ([each[0] for each in told], items) == (["bad-address"], ["a"])
    assert [item.images for item in open_catalog(tmp_path / "t.csv")] == [("a.jpg",)]


def test_a_blank_image_of_an_item_that_has_one_elsewhere_says_nothing(left_out):
    assert left_out("t.csv", 'id,image,n\na,"",\na,1.jpg,5\na,[],5\n') == ([], ["a"])


def test_all_kinds_of_faults_are_told_in_one_reading(left_out):
    told, items = left_out("t.csv", "id,image\n,1.jpg\n4.1E+12,1.jpg\na,\nb,ftp://x\nc\nd,1.jpg\n")
    assert items == ["d"]
    assert [each[0] for each in told] == ["malformed", "no-id", "rounded-id", "bad-address", "no-image"]


def test_of_two_columns_with_one_name_the_first_is_used_and_that_is_noted(tmp_path):
    twice = pa.table([pa.array([1]), pa.array(["a"]), pa.array([2])], names=["id", "image", "id"])
    for name, content in (("t.parquet", twice), ("t.csv", "id,image,id\n1,a,2\n")):
        catalog = open_catalog(written(tmp_path, name, content))
        assert [(item.id, dict(item.attributes)) for item in catalog] == [("1", {})]
        (note,) = catalog.notes
        assert "'id'" in note
        assert note.endswith("; the first one is used")


def test_what_is_no_parquet_is_refused(refused):
    assert refused("t.parquet", b"PAR1 but not really PAR1")[2].startswith("cannot be read as Parquet (")
    assert refused("t.parquet", b"")[2].startswith("cannot be read as Parquet (")


def test_a_column_that_python_cannot_hold_costs_that_column_and_a_word(tmp_path):
    late = pa.table({"id": [1], "image": ["a"], "n": [7], "t": pa.array([2**60], pa.timestamp("us"))})
    catalog = open_catalog(written(tmp_path, "t.parquet", late))
    assert [dict(item.attributes) for item in catalog] == [{"n": 7, "t": None}]
    (note,) = catalog.notes
    assert note.startswith("the column 't' is left out: its type timestamp[us] cannot be read (")


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


def test_a_contradiction_names_both_lines_and_both_values_and_the_first_is_used(left_out, tmp_path):
    content = 'id,image,text,price\na,1.jpg,"x\ny",5\nb,2.jpg,z,6\nb,3.jpg,,6.5\na,4.jpg,,5\nc,5.jpg,,5\nc,6.jpg,,5\n'
    told, items = left_out("t.csv", content)
    message = "t.csv:5, column 'price': item 'b' has 6.5 here and 6.0 in line 4, which is used; make them equal"
    assert (told, items) == ([("contradiction", "b", message)], ["a", "b", "c"])
    catalog = open_catalog(tmp_path / "t.csv")
    assert [item.attributes["price"] for item in catalog] == [5, 6, 5]
    assert catalog.contradictory_columns == ("price",)


def test_all_contradictory_columns_are_named_at_once(left_out, tmp_path):
    told, _ = left_out("t.csv", "id,image,v w,n,m\na,1,x,1,7\na,2,y,2,7\nb,1,x,5,7\nb,2,x,5,7\nc,1,x,6,7\nc,1,x,6,7\n")
    assert [each[:2] for each in told] == [("contradiction", "a")] * 2
    catalog = open_catalog(tmp_path / "t.csv")
    list(catalog)
    assert catalog.contradictory_columns == ("v w", "n")


def test_a_column_that_differs_inside_half_of_the_items_is_a_contradiction(left_out):
    rows = "a,1,x\na,2,y\nb,1,x\nb,2,y\nc,1,x\nc,2,x\nd,1,x\nd,2,x\n"
    told, _ = left_out("t.csv", "id,image,v\n" + rows)
    assert [each[:2] for each in told] == [("contradiction", "a"), ("contradiction", "b")]


def test_a_contradiction_in_parquet_counts_rows(left_out):
    told, _ = left_out("t.parquet", pa.table({"id": [1, 1], "image": ["a", "b"], "n": [5, 6]}))
    assert told[0][2].startswith("t.parquet:2, column 'n': item '1' has 6 here and 5 in row 1, ")


def test_an_error_at_the_end_is_raised_before_the_first_item(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('id,image\na,a.jpg\nb,"\n')
    with pytest.raises(CatalogError, match="unexpected end of data"):
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
