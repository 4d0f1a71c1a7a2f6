"""Cells become attributes: prices with currencies, stock in words, sets, mixed types, and what is said of them."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import open_catalog
from vision_recs.catalog.amounts import amount_of, number_of
from vision_recs.catalog.cell_types import stock_of


@pytest.mark.parametrize(
    ("text", "number", "currency"),
    [
        ("14.99 EUR", 14.99, "EUR"),
        ("EUR 14.99", 14.99, "EUR"),
        ("14,90", 14.9, None),
        ("1.299,00 \u20ac", 1299.0, "EUR"),
        ("\u20ac1.299,00", 1299.0, "EUR"),
        ("$1,299.00", 1299.0, "USD"),
        ("$1,299", 1299.0, "USD"),
        ("US$ 5", 5.0, "USD"),
        ("1 299,50 z\u0142", 1299.5, "PLN"),
        ("1\u00a0299,50\u00a0K\u010d", 1299.5, "CZK"),
        ("1'299.00 CHF", 1299.0, "CHF"),
        ("CHF 12.-", 12.0, "CHF"),
        ("12.345.678", 12345678.0, None),
        ("-3,50 \u20ac", -3.5, "EUR"),
        ("10 kr", 10.0, "kr"),
        ("0", 0.0, None),
    ],
)
def test_an_amount_has_its_number_and_its_currency(text, number, currency):
    amount = amount_of(text)
    assert (number_of(amount.number), amount.currency) == (number, currency)


@pytest.mark.parametrize("text", ["ask us", "5 kg", "12 %", "1,2,3", "", "EUR", "1.2.3", "5 EUR 6", "$5 EUR", "12:30"])
def test_what_is_no_amount_stays_text(text):
    assert amount_of(text) is None


@pytest.mark.parametrize(
    ("cells", "values", "currency"),
    [
        (["14.99 EUR", "9 EUR"], [14.99, 9.0], "EUR"),
        (["14,90", "1.299"], [14.9, 1299.0], None),
        (["14.90", "1,299"], [14.9, 1299.0], None),
        (["\u20ac5", ""], [5.0, None], "EUR"),
        (["5", "ask"], [5, "ask"], None),
        (["5", "true"], [5, "true"], None),
        (["12,50 EUR", "ask", "1.299", "nan", "1e+999"], [12.5, "ask", 1299.0, "nan", "1e+999"], "EUR"),
        (["ask", "call"], ["ask", "call"], None),
        (["5", "7"], [5, 7], None),
    ],
)
def test_a_column_of_prices_is_numbers_and_the_currency_is_an_attribute(tmp_path, cells, values, currency):
    rows = "".join(f'{number},{number}.jpg,"{cell}"\n' for number, cell in enumerate(cells))
    (tmp_path / "t.csv").write_text(f"id,image,price\n{rows}", encoding="utf-8")
    items = list(open_catalog(tmp_path / "t.csv"))
    assert [item.attributes["price"] for item in items] == values
    assert items[0].attributes.get("currency") == currency


def test_prices_in_several_currencies_are_said(tmp_path):
    (tmp_path / "t.csv").write_text("id,image,price\na,a.jpg,5 EUR\nb,b.jpg,6 USD\n")
    catalog = open_catalog(tmp_path / "t.csv")
    assert [item.attributes["currency"] for item in catalog] == ["EUR", "USD"]
    assert catalog.notes == ("the prices in 'price' are in EUR and USD; filter by currency",)


@pytest.mark.parametrize(
    ("cell", "is_in_stock"),
    [
        *((cell, True) for cell in (1, 17, 2.5, True, "1", "yes", "TRUE", "in stock", "In_Stock", "https://schema.org/InStock")),
        *((cell, True) for cell in ("preorder", "backorder", "available", "3")),
        *((cell, False) for cell in (0, -1, False, "0", "no", "out of stock", "OutOfStock", "sold out", "-2")),
        *((cell, None) for cell in (None, "", "soon", "in 3 days")),
    ],
)  # fmt: skip
def test_stock_is_read_as_shops_write_it(cell, is_in_stock):
    assert stock_of(cell) is is_in_stock


@pytest.mark.parametrize("name", ["in_stock", "In Stock", "is_in_stock", "available", "availability"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_column_that_says_so_becomes_in_stock(tmp_path, kind, name):
    cells = ["0", "1", "out of stock"] if kind != "jsonl" else [0, 1, "out of stock"]
    rows = [{"id": str(n), "image": f"{n}.jpg", name: cell} for n, cell in enumerate(cells)]
    path = tmp_path / f"t.{kind}"
    match kind:
        case "csv":
            path.write_text(f"id,image,{name}\n" + "".join(f"{r['id']},{r['image']},{r[name]}\n" for r in rows))
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case _:
            pq.write_table(pa.Table.from_pylist(rows), path)
    assert [item.attributes["in_stock"] for item in open_catalog(path)] == [False, True, False]


def test_a_word_that_says_nothing_of_the_stock_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("id,image,in_stock\na,a.jpg,soon\nb,b.jpg,no\n")
    catalog = open_catalog(tmp_path / "t.csv")
    assert [item.attributes["in_stock"] for item in catalog] == [None, False]
    assert catalog.notes == (
        "'soon' of the item 'a' in the column 'in_stock' does not say whether an item is in stock",
    )


@pytest.mark.parametrize(("name", "values"), [("is_new", [True, False, None]), ("new", ["yes", "no", None])])
def test_yes_and_no_are_true_and_false_where_the_name_says_so(tmp_path, name, values):
    (tmp_path / "t.csv").write_text(f'id,image,{name}\na,a.jpg,yes\nb,b.jpg,no\nc,c.jpg,""\n')
    assert [item.attributes[name] for item in open_catalog(tmp_path / "t.csv")] == values


def test_mixed_types_are_said(tmp_path):
    (tmp_path / "t.jsonl").write_text(
        '{"id": "a", "image": "a", "size": 4, "n": 1}\n{"id": "b", "image": "b", "size": "XL", "n": 2.5}\n'
    )
    catalog = open_catalog(tmp_path / "t.jsonl")
    assert [item.attributes["size"] for item in catalog] == [4, "XL"]
    odd = "text in 1 row, the first 'XL' of the item 'b'"
    assert catalog.notes == (f"the column 'size' holds numbers, and {odd}; a filter finds those of one type",)


def test_one_cell_that_makes_a_column_of_numbers_text_is_said(tmp_path):
    rows = "".join(f"{number},{number}.jpg,{number},{number}\n" for number in range(30))
    (tmp_path / "t.csv").write_text(f"id,image,width,code\n{rows}x,x.jpg,broad,7\n")
    catalog = open_catalog(tmp_path / "t.csv")
    assert {type(item.attributes["width"]) for item in catalog} == {str}
    why = "1 cell, 'broad' of the item 'x'; to compare it, write numbers"
    assert catalog.notes == (f"the column 'width' is text because of {why}",)


def test_prices_that_are_no_numbers_are_said_and_the_others_are_numbers(tmp_path):
    cells = ["5", "on request", "7.50", *["8"] * 3000, "1e999", " "]
    rows = "".join(f"i{number},{number}.jpg,{cell}\n" for number, cell in enumerate(cells))
    (tmp_path / "t.csv").write_text(f"id,image,price\n{rows}")
    catalog = open_catalog(tmp_path / "t.csv")
    prices = [item.attributes["price"] for item in catalog]
    assert prices[:4] == [5, "on request", 7.5, 8]
    assert prices[-2:] == ["1e999", None]
    odd = "text in 2 rows, the first 'on request' of the item 'i1'"
    assert catalog.notes == (f"the column 'price' holds numbers, and {odd}; a filter finds those of one type",)


def test_prices_of_words_alone_are_text_which_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("id,image,price\na,a.jpg,ask\nb,b.jpg,call us\n")
    catalog = open_catalog(tmp_path / "t.csv")
    assert [item.attributes["price"] for item in catalog] == ["ask", "call us"]
    why = "2 cells, the first 'ask' of the item 'a'; to compare it, write numbers"
    assert catalog.notes == (f"the column 'price' is text because of {why}",)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_number_larger_than_any_is_null_which_is_said(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        lines = ('{"id": "a", "image": "a", "n": 1}', *(f'{{"id": "{i}", "image": "b", "n": {i}e999}}' for i in "12"))
        path.write_text("\n".join(lines))
    else:
        columns = {"id": ["a", "1", "2", "nan"], "image": ["a"] * 4, "n": [1.0, math.inf, math.inf, math.nan]}
        pq.write_table(pa.table(columns), path)
    catalog = open_catalog(path)
    assert [item.attributes["n"] for item in catalog][:3] == [1, None, None]
    assert catalog.notes == (
        "the column 'n' has 2 values, the first inf of the item '1', that cannot be kept; null takes the place",
    )


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (r'["caf\u00e9", "x"]', '["café", "x"]'),
        (r'["cafe\u0301"]', '["café"]'),
        (r'["a\/b", 1.50, null]', '["a/b", 1.5, null]'),
        (r'["\ud83d\ude00"]', '["\U0001f600"]'),
        (r'["\ud800", "\u00e9"]', None),
        (r'["a\\b", "\""]', None),
        (r'["a\/b", 1e999]', None),
        (r"[C:\u00e9]", None),
        (r"caf\u00e9", None),
        ('["a","b"]', None),
    ],
)
def test_the_characters_of_a_list_are_kept_and_not_their_escape_sequences(tmp_path, cell, kept):
    quoted = cell.replace('"', '""')
    (tmp_path / "t.csv").write_text(f'id,image,tags\na,a.jpg,"{quoted}"\nb,b.jpg,other', encoding="utf-8")
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "image": "a.jpg", "tags": cell}), encoding="utf-8")
    for name in ("t.csv", "t.jsonl"):
        assert next(iter(open_catalog(tmp_path / name))).attributes["tags"] == (kept or cell)


def test_text_is_kept_in_one_normal_form_and_paths_as_they_are(tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / "t.csv").write_text(f"id,image,t\n{decomposed},{decomposed}.jpg,{decomposed}\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": decomposed, "image": f"{decomposed}.jpg", "t": [decomposed]}))
    (first,) = open_catalog(tmp_path / "t.csv")
    (second,) = open_catalog(tmp_path / "t.jsonl")
    assert (first.id, first.images, first.attributes) == (composed, (f"{decomposed}.jpg",), {"t": composed})
    assert second.attributes == {"t": f'["{composed}"]'}
