"""Tables that are in order: columns, types, images, grouping."""

import datetime as dt
import json
import sqlite3
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.columns import ID_NAMES, IMAGE_NAMES
from vision_recs.catalog.image_files import image_bytes
from vision_recs.types import Item


@pytest.fixture
def table(tmp_path):
    """Write a table and open it."""

    def create(name, content, **options):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_catalog(path, CatalogOptions(**options))

    return create


def jsonl(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def column(catalog, name):
    return [item.attributes[name] for item in catalog]


def test_a_row_is_an_item_and_its_other_columns_are_attributes(table, tmp_path):
    catalog = table("shop.csv", "id,image,title,price\nm1,mugs/1.jpg,Red mug,4.50\nm2,mugs/2.jpg,,5\n")
    assert list(catalog) == [
        Item("m1", ("mugs/1.jpg",), {"title": "Red mug", "price": 4.5}),
        Item("m2", ("mugs/2.jpg",), {"title": None, "price": 5.0}),
    ]
    assert catalog.location == str(tmp_path / "shop.csv")
    assert catalog.root == str(tmp_path)


def test_images_are_read_relative_to_the_table(table, tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"one")
    assert image_bytes(table("shop.csv", "id,image\na,1.jpg\n").images, "1.jpg") == b"one"


def test_tabs_separate_the_cells_of_a_tsv(table):
    assert list(table("t.TSV", "id\timage\ttitle\na\ta.jpg\tx, y\n")) == [Item("a", ("a.jpg",), {"title": "x, y"})]


def test_a_byte_order_mark_crlf_blank_lines_and_rows_of_commas_are_passed_over(table):
    catalog = table("t.csv", b"\xef\xbb\xbfid,image,n\r\n\r\na,a.jpg,1\r\n,,\r\nb,b.jpg,2")
    assert list(catalog) == [Item("a", ("a.jpg",), {"n": 1}), Item("b", ("b.jpg",), {"n": 2})]


def test_a_byte_order_mark_further_down_is_a_character(table):
    catalog = table("t.csv", "id,image,t\na,a.jpg,x\n\ufeffb,b.jpg,y\n")
    assert [item.id for item in catalog] == ["a", "\ufeffb"]


def test_a_quoted_cell_may_hold_separators_quotes_and_lines(table):
    catalog = table("t.csv", 'id,image,text\na,"x, y.jpg","two\nlines, ""quoted"""\n')
    assert list(catalog) == [Item("a", ("x, y.jpg",), {"text": 'two\nlines, "quoted"'})]


def test_a_column_without_a_name_is_left_out(table):
    assert list(table("t.csv", ",id,image,\n0,a,a.jpg,\n1,b,b.jpg,\n")) == [
        Item("a", ("a.jpg",)),
        Item("b", ("b.jpg",)),
    ]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-20", "0", ""], [1, -20, 0, None]),
        (["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["00123", "45678"], ["00123", "45678"]),
        (["1", "2.5", " 3 ", ".5"], [1.0, 2.5, 3.0, 0.5]),
        (["00.5", "1.5"], ["00.5", "1.5"]),
        (["4006381333931", "0.5"], [4006381333931.0, 0.5]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["1e-05", "2E+3"], [1e-05, 2000.0]),
        (["12E5", "13E5"], ["12E5", "13E5"]),
        (["1e+999", "1"], ["1e+999", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["+1", "1"], ["+1", "1"]),
        (["\u0661", "1"], ["\u0661", "1"]),
        (["nan", "1.5"], ["nan", "1.5"]),
        (["inf", "-Infinity"], ["inf", "-Infinity"]),
        (["true", "False", "TRUE", ""], [True, False, True, None]),
        (["true", "1"], ["true", "1"]),
        (["yes", "no"], ["yes", "no"]),
        (["1,5", "2"], ["1,5", "2"]),
        (["", "  "], [None, None]),
        (["", "  ", "x"], [None, None, "x"]),
        ([" x ", "y"], [" x ", "y"]),
    ],
)
def test_the_type_of_a_csv_column_suits_all_its_cells(table, cells, values):
    rows = "".join(f'{number},{number}.jpg,"{cell}"\n' for number, cell in enumerate(cells))
    read = column(table("t.csv", "id,image,x\n" + rows), "x")
    assert read == values
    assert list(map(type, read)) == list(map(type, values))


def test_one_cell_at_the_very_end_decides_the_type_of_a_long_column(table):
    rows = "".join(f"{number},x.jpg,{number}\n" for number in range(5000))
    assert column(table("t.csv", f"id,image,x\n{rows}"), "x") == list(range(5000))
    assert column(table("t.csv", f"id,image,x\n{rows}last,x.jpg,007\n"), "x")[:2] == ["0", "1"]


def test_json_keeps_its_own_types(table):
    catalog = table(
        "t.jsonl",
        jsonl(
            {"id": "a", "image": "a.jpg", "s": "00", "i": 7, "f": 7.0, "b": False, "n": None, "e": "", "l": [1, "é"]},
            {"id": 12, "image": "b.jpg", "s": "nan", "big": 2**63, "o": {"k": None}},
        ),
    )
    first, second = catalog
    assert first.attributes == {
        "s": "00",
        "i": 7,
        "f": 7.0,
        "b": False,
        "n": None,
        "e": "",
        "l": '[1, "é"]',
        "big": None,
        "o": None,
    }
    assert (type(first.attributes["i"]), type(first.attributes["f"])) == (int, float)
    assert (second.id, second.attributes["big"], second.attributes["o"]) == ("12", str(2**63), '{"k": null}')
    assert second.attributes["i"] is None
    assert list(second.attributes) == ["s", "i", "f", "b", "n", "e", "l", "big", "o"]


def test_blank_lines_and_a_byte_order_mark_are_passed_over_in_json(table):
    catalog = table("t.ndjson", b'\xef\xbb\xbf{"id": "a", "image": "a.jpg"}\r\n\r\n{"id": "b", "image": "b.jpg"}')
    assert [item.id for item in catalog] == ["a", "b"]


def test_parquet_keeps_its_own_types(table):
    one = pa.table(
        {
            "id": pa.array([7], pa.int64()),
            "image": ["a.jpg"],
            "price": pa.array([Decimal("1.50")], pa.decimal128(8, 2)),
            "day": [dt.date(2024, 1, 2)],
            "moment": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "zoned": pa.array([0], pa.timestamp("ms", "Europe/Berlin")),
            "noon": pa.array([43_200_000_000_001], pa.time64("ns")),
            "color": pa.array(["red"]).dictionary_encode(),
            "count": pa.array([3], pa.int8()),
            "huge": pa.array([2**64 - 1], pa.uint64()),
            "nan": [float("nan")],
            "inf": [float("inf")],
            "text": [b"caf\xc3\xa9"],
            "blob": [b"\xff\xd8"],
            "size": pa.array([{"w": 1, "d": dt.date(2024, 1, 2)}], pa.struct({"w": pa.int64(), "d": pa.date32()})),
            "tags": [["a", None]],
            "stock": [True],
            "nothing": pa.nulls(1),
        }
    )
    (item,) = table("t.parquet", one)
    assert item == Item(
        "7",
        ("a.jpg",),
        {
            "price": 1.5,
            "day": "2024-01-02",
            "moment": "2023-11-14T22:13:20",
            "zoned": "1970-01-01T00:00:00+00:00",
            "noon": "12:00:00",
            "color": "red",
            "count": 3,
            "huge": "18446744073709551615",
            "nan": None,
            "inf": None,
            "text": "café",
            "size": '{"w": 1, "d": "2024-01-02"}',
            "tags": '["a", null]',
            "stock": True,
            "nothing": None,
        },
    )


def test_ids_are_text_without_space_around_them_in_one_normal_form(table):
    catalog = table("t.csv", "id,image\n 007 ,a.jpg\n12.0,b.jpg\ncafe\u0301,c.jpg\ncaf\u00e9,d.jpg\n")
    assert [item.id for item in catalog] == ["007", "12.0", "caf\u00e9"]


def test_whole_decimals_of_parquet_are_ids(table):
    ids = pa.array([Decimal(12), Decimal(123456789012345678901)], pa.decimal128(30, 0))
    catalog = table("t.parquet", pa.table({"id": ids, "image": ["a.jpg", "b.jpg"]}))
    assert [item.id for item in catalog] == ["12", "123456789012345678901"]


@pytest.mark.parametrize("header", ["Item ID,Image Path", "item-id,IMAGE_PATH", " ITEMID , imagepath"])
def test_usual_names_are_found_whatever_their_case_and_separators(table, header):
    assert list(table("t.csv", f"{header}\na,a.jpg\n")) == [Item("a", ("a.jpg",))]


@pytest.mark.parametrize("name", ID_NAMES)
def test_every_usual_name_of_the_ids_is_found(table, name):
    assert [item.id for item in table("t.csv", f"{name},image\na,a.jpg\n")] == ["a"]


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_every_usual_name_of_the_images_is_found(table, name):
    assert [item.images for item in table("t.csv", f"id,{name}\na,a.jpg\n")] == [("a.jpg",)]


def test_of_several_usual_names_the_best_is_taken(table):
    (item,) = table("t.csv", "path,sku,photo,id,image\n1,2,3,4,5\n")
    assert item == Item("4", ("5",), {"path": 1, "sku": 2, "photo": 3})


def test_options_name_other_columns(table):
    (item,) = table("t.csv", "id,image,Code,shot\n1,2,x,y.jpg\n", id_column="code", image_column="shot")
    assert item == Item("x", ("y.jpg",), {"id": 1, "image": 2})


def test_a_column_of_exactly_the_name_given_goes_before_one_like_it(table):
    (item,) = table("t.csv", "CODE,code,image\n1,2,a.jpg\n", id_column="code")
    assert item == Item("2", ("a.jpg",), {"CODE": 1})


def test_one_column_may_be_both_id_and_image(table):
    assert list(table("t.csv", "file\na.jpg\n", id_column="file")) == [Item("a.jpg", ("a.jpg",))]


@pytest.mark.parametrize(
    ("cell", "images"),
    [
        ("a.jpg", ("a.jpg",)),
        (" a b.jpg ", ("a b.jpg",)),
        ("a.jpg|b.jpg", ("a.jpg", "b.jpg")),
        ("a.jpg | b.jpg |", ("a.jpg", "b.jpg")),
        ("a.jpg|b.jpg|a.jpg", ("a.jpg", "b.jpg")),
        ('["a.jpg", "b|c.jpg"]', ("a.jpg", "b|c.jpg")),
        ("[1].jpg", ("[1].jpg",)),
        ("/abs/a.jpg", ("/abs/a.jpg",)),
        ("../up/a.jpg", ("../up/a.jpg",)),
        (r"dir\a.jpg", (r"dir\a.jpg",)),
        ("file:///abs/a.jpg", ("file:///abs/a.jpg",)),
    ],
)
def test_a_cell_names_one_image_or_several_as_written(table, cell, images):
    quoted = cell.replace('"', '""')
    assert [item.images for item in table("t.csv", f'id,image\nx,"{quoted}"\n')] == [images]
    assert [item.images for item in table("t.jsonl", jsonl({"id": "x", "image": cell}))] == [images]
    assert [item.images for item in table("t.parquet", pa.table({"id": ["x"], "image": [cell]}))] == [images]


def test_a_list_names_several_images(table):
    images = ["a.jpg", None, "b|c.jpg", "a.jpg"]
    assert [i.images for i in table("t.jsonl", jsonl({"id": "x", "images": images}))] == [("a.jpg", "b|c.jpg")]
    in_parquet = pa.table({"id": ["x"], "images": [images]})
    assert [i.images for i in table("t.parquet", in_parquet)] == [("a.jpg", "b|c.jpg")]


def test_rows_of_one_item_need_not_be_adjacent_and_items_keep_the_order_of_their_first(table):
    catalog = table("t.csv", "id,image,n\nb,1.jpg,1\na,2.jpg,2\nb,3.jpg,1\nc,4.jpg|1.jpg,3\na,2.jpg,2\nb,0.jpg,1\n")
    assert list(catalog) == [
        Item("b", ("1.jpg", "3.jpg", "0.jpg"), {"n": 1}),
        Item("a", ("2.jpg",), {"n": 2}),
        Item("c", ("4.jpg", "1.jpg"), {"n": 3}),
    ]
    assert catalog.image_attributes == ()


def test_an_empty_cell_agrees_with_everything(table):
    catalog = table("t.csv", "id,image,title,n\na,1.jpg,,\na,2.jpg,Mug,\na,3.jpg,,7\n")
    assert list(catalog) == [Item("a", ("1.jpg", "2.jpg", "3.jpg"), {"title": "Mug", "n": 7})]


def test_values_agree_when_they_are_equal_not_when_they_are_written_alike(table):
    (item,) = table("t.csv", "id,image,price,stock\na,1.jpg,14.90,true\na,2.jpg,14.9,TRUE\n")
    assert item.attributes == {"price": 14.9, "stock": True}


VIEWS = "id,image,price,view\na,1.jpg,5,front\na,2.jpg,5,back\nb,3.jpg,6,front\nb,4.jpg,6,\nc,5.jpg,7,front\n"


def test_a_column_that_differs_inside_most_repeated_items_belongs_to_the_images(table):
    catalog = table("t.csv", VIEWS + "d,6.jpg|7.jpg,8,top\nd,8.jpg,8,side\n")
    a, b, c, d = catalog
    assert catalog.image_attributes == ("view",)
    assert a == Item("a", ("1.jpg", "2.jpg"), {"price": 5}, ({"view": "front"}, {"view": "back"}))
    assert b == Item("b", ("3.jpg", "4.jpg"), {"price": 6}, ({"view": "front"}, {"view": None}))
    assert c == Item("c", ("5.jpg",), {"price": 7}, ({"view": "front"},))
    assert d == Item("d", ("6.jpg", "7.jpg", "8.jpg"), {"price": 8}, ({"view": "top"},) * 2 + ({"view": "side"},))


def test_a_named_image_attribute_belongs_to_the_images_even_where_it_never_differs(table):
    catalog = table("t.csv", VIEWS, image_attributes=("View", "price"))
    assert [dict(item.attributes) for item in catalog] == [{}, {}, {}]
    assert next(iter(catalog)).image_attributes == ({"price": 5, "view": "front"}, {"price": 5, "view": "back"})
    assert catalog.image_attributes == ("price", "view")


def test_an_image_listed_twice_keeps_the_values_of_its_first_row(table):
    (item,) = table("t.csv", "id,image,view\na,1.jpg,x\na,2.jpg,y\na,1.jpg,z\n", image_attributes=("view",))
    assert (item.images, item.image_attributes) == (("1.jpg", "2.jpg"), ({"view": "x"}, {"view": "y"}))


def test_an_image_attribute_may_first_appear_late_in_json(table):
    content = jsonl({"id": 1, "image": "1.jpg"}, {"id": 1, "image": "2.jpg", "view": "back"})
    (item,) = table("t.jsonl", content, image_attributes=("view",))
    assert item == Item("1", ("1.jpg", "2.jpg"), {}, ({"view": None}, {"view": "back"}))


def test_iterating_twice_gives_the_same(table):
    for name, content in {
        "t.csv": VIEWS + "b,9.jpg,6,top\n",
        "t.jsonl": jsonl({"id": 1, "image": "a"}, {"id": 2, "image": "b", "x": 1}),
        "t.parquet": pa.table({"id": [1, 2], "image": ["a", "b"]}),
    }.items():
        catalog = table(name, content)
        first = iter(catalog)
        next(first)
        assert list(catalog) == list(catalog)
        assert list(first) == list(catalog)[1:]


def test_the_temporary_database_is_closed_when_an_iteration_is_given_up(table, monkeypatch):
    opened = []
    connect = sqlite3.connect

    def remember(*args, **kwargs):
        opened.append(connect(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", remember)
    items = iter(table("t.csv", VIEWS, image_attributes=("view",)))
    next(items)
    items.close()
    (database,) = opened
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")


def test_an_address_without_its_scheme_is_one_of_the_web(tmp_path):
    (tmp_path / "t.csv").write_text("id,image\na,//cdn.example/a.jpg\nb,//folder/b.jpg\n")
    assert [item.images for item in open_catalog(tmp_path / "t.csv")] == [
        ("https://cdn.example/a.jpg",),
        ("//folder/b.jpg",),
    ]
