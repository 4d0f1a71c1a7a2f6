"""Any list of items, written as a table in any of its forms, reads back equal."""

import csv
import io
import json
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from property_examples import examples_of

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.types import Item, normal_form

LETTERS = st.characters(codec="utf-8", exclude_characters="\0\r\ufffd", exclude_categories=("Cs",))
PLAIN = st.text(LETTERS, min_size=1, max_size=6).map(str.strip).filter(bool)
NAMES = PLAIN.map(normal_form)
PATHS = PLAIN.filter(lambda name: "|" not in name and "://" not in name and not name.startswith("["))
TEXTS = st.none() | st.text(LETTERS, max_size=6).filter(lambda text: bool(text.strip())).map(normal_form)
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
# The first row's text keeps the column text, and its fraction the numbers floats: a CSV has no other way to say so.
ANCHOR = {"text": "mug", "number": 0.5, "count": 1, "stock": True}


@st.composite
def items(draw):
    ids = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    made = []
    for number, name in enumerate(ids):
        images = tuple(draw(st.lists(PATHS, min_size=1, max_size=4, unique=True)))
        values = {
            "text": draw(TEXTS),
            "number": draw(FLOATS),
            "count": draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
            "stock": draw(st.none() | st.booleans()),
        }
        views = tuple({"view": view} for view in draw(st.tuples(*[TEXTS] * len(images))))
        if number == 0:
            values = ANCHOR
            views = ({"view": "front"}, *views[1:])
        made.append(Item(name, images, values, views))
    return made


def repeated_rows(shop):
    """Give a row for every image; the rows of different items are mixed, first rows in order."""
    firsts = [(item, 0) for item in shop]
    others = [(item, place) for item in shop for place in range(1, len(item.images))]
    return [
        {"id": item.id, "image": item.images[place], **item.attributes, **item.image_attributes[place]}
        for item, place in firsts + sorted(others, key=lambda pair: pair[1])
    ]


def joined_rows(shop, join):
    return [{"id": item.id, "image": join(item.images), **item.attributes} for item in shop]


def write_csv(rows, path):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode())


def write_jsonl(rows, path):
    lines = (json.dumps(row, ensure_ascii=len(row["id"]) % 2 == 0) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def write_parquet(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
JOINS = {"|": "|".join, "json": lambda images: json.dumps(list(images)), "list": list}
quickly = settings(max_examples=examples_of(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read_back(rows, kind, options=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"shop.{kind}")
        WRITERS[kind](rows, path)
        return list(open_catalog(path, options))


@pytest.mark.parametrize("kind", WRITERS)
@quickly
@given(shop=items())
def test_repeated_rows_read_back_as_the_items_that_were_written(kind, shop):
    assert read_back(repeated_rows(shop), kind, CatalogOptions(image_attributes=("view",))) == shop


@pytest.mark.parametrize(
    ("kind", "join"), [(kind, join) for kind in WRITERS for join in JOINS if (kind, join) != ("csv", "list")]
)
@quickly
@given(shop=items())
def test_lists_read_back_as_the_items_that_were_written(kind, join, shop):
    expected = [Item(item.id, item.images, item.attributes) for item in shop]
    assert read_back(joined_rows(shop, JOINS[join]), kind) == expected


def group_plainly(rows):
    """Group rows the slow and obvious way, and tell which columns are the images' or contradict."""
    by_id = {}
    for row in rows:
        by_id.setdefault(row["id"], []).append(row)
    repeated = [group for group in by_id.values() if len(group) > 1]
    differing = {
        name: sum(len({row[name] for row in group} - {None}) > 1 for group in repeated) for name in ("p", "q", "r")
    }
    of_images = {name for name, count in differing.items() if count >= 2 and count / len(repeated) > 0.5}
    contradictory = {name for name, count in differing.items() if count} - of_images
    return by_id, of_images, contradictory


@pytest.mark.parametrize("seed", range(40))
def test_grouping_agrees_with_the_slow_and_obvious_way(tmp_path, seed):
    chance = random.Random(seed)
    names = ["a", "b", "c", "d"][: chance.randint(1, 4)]
    own = {name: chance.randint(0, 9) for name in names}
    rows = [
        {
            "id": (name := chance.choice(names)),
            "image": f"{number % 7}.jpg",
            "p": chance.choice([0, 1, None]),
            "q": own[name] if chance.random() < 0.7 else None,
            "r": chance.choice([0, 0, 0, 0, 0, 1]) if seed % 3 == 0 else 4,
        }
        for number in range(chance.randint(1, 16))
    ]
    by_id, of_images, contradictory = group_plainly(rows)
    path = tmp_path / "t.jsonl"
    write_jsonl(rows, path)
    catalog = open_catalog(path)
    read = list(catalog)
    assert set(catalog.contradictory_columns) == contradictory
    assert catalog.image_attributes == tuple(sorted(of_images))
    assert [item.id for item in read] == list(by_id)
    for item, group in zip(read, by_id.values(), strict=True):
        assert item.images == tuple(dict.fromkeys(row["image"] for row in group))
        assert item.attributes == {
            name: next((row[name] for row in group if row[name] is not None), None)
            for name in ("p", "q", "r")
            if name not in of_images
        }
