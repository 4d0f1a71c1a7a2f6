"""A filter gives the same answer for each item alone, by SQLite, and by columns, whatever the items have."""

import hashlib
import json
import random
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_filters import NAMES, attributes, trees

from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import elements
from vision_recs.filters.parser import MAX_DEPTH, MAX_PREDICATES
from vision_recs.store.attributes.bitmaps import FilterBitmaps
from vision_recs.store.attributes.format import AttributeColumns
from vision_recs.store.attributes.write import write_attribute_columns
from vision_recs.store.items import Items
from vision_recs.store.layers import SCHEMA


@pytest.fixture(autouse=True, scope="module")
def _small_and_unchecked():
    """A handful of items makes several groups, each of several batches; what a check refuses has an answer too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Filter, "check", lambda *_: None)
        patch.setattr("vision_recs.store.attributes.write._GROUP", 4)
        patch.setattr("vision_recs.store.attributes.write._BATCH", 3)
        yield


class Written:
    """Items in the form in which a store keeps them; item i shows the vectors *shown[i]*."""

    def __init__(self, folder, items, shown):
        self.shown = shown
        self.vectors = max((place for places in shown for place in places), default=-1) + 1
        path = Path(folder) / "items.sqlite"
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;" + SCHEMA)
            for number, (held, places) in enumerate(zip(items, shown, strict=True)):
                name = f"{number:04}"
                connection.execute("INSERT INTO items VALUES (?, ?)", (name, json.dumps(held, ensure_ascii=False)))
                connection.executemany(
                    "INSERT INTO images VALUES (?, ?, 'x.png', ?, NULL, '{}')",
                    [(name, ordinal, place) for ordinal, place in enumerate(places)],
                )
            connection.commit()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        write_attribute_columns(path, Path(folder) / "columns.bin", items_digest=digest)
        self.items = Items(path)
        self.columns = AttributeColumns(Path(folder) / "columns.bin", items_digest=digest)

    def by_items(self, where):
        return FilterBitmaps(self.items, None, vectors=self.vectors).select(where)

    def by_columns(self, where):
        return FilterBitmaps(self.items, [self.columns], vectors=self.vectors).select(where)

    def expected(self, items, where):
        mask = [False] * self.vectors
        for number, (held, places) in enumerate(zip(items, self.shown, strict=True)):
            if where.matches(held, f"{number:04}"):
                for place in places:
                    mask[place] = True
        return mask


rows = st.lists(st.integers(0, 12), min_size=1, max_size=3, unique=True)


@settings(deadline=None, max_examples=examples_of(200))
@given(
    st.lists(st.tuples(attributes, rows), max_size=11), st.lists(trees(st.sampled_from(NAMES)), min_size=1, max_size=4)
)
def test_three_ways_give_one_answer(drawn, filters):
    items, shown = [held for held, _ in drawn], [places for _, places in drawn]
    with tempfile.TemporaryDirectory() as folder:
        written = Written(folder, items, shown)
        for tree in filters:
            expected = written.expected(items, Filter(tree))
            assert written.by_columns(Filter(tree)).mask.tolist() == expected
            assert written.by_items(Filter(tree)).mask.tolist() == expected
            places = [place for place, held in enumerate(expected) if held]
            assert written.by_columns(Filter(tree)).positions.tolist() == places
        assert written.columns.attribute_types == written.items.attribute_types()
        written.items.close()


EVERYTHING = [
    *(0, 1, -1, 0.5, 1e300, 2**53, 2**53 + 1, 2**53 + 2, 2**53 + 3, 2**63 - 1, -(2**63), 2.0**53, 2.0**63, -(2.0**63)),
    *(True, False, None, "", "a", "ab", "abc", "b", "ä", "äb", "\U0001f600", "\uffff", "1", "true", "null"),
]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """An attribute that holds one thing in each item."""
    items = [{"a": value} for value in EVERYTHING]
    return Written(tmp_path_factory.mktemp("everything"), items, [[place] for place in range(len(items))]), items


@pytest.mark.parametrize("value", EVERYTHING, ids=repr)
@pytest.mark.parametrize("form", ["a == {}", "a != {}", "a < {}", "a <= {}", "a > {}", "a >= {}", "a in [{}, 7]"])
def test_each_value_stands_to_each_other_as_python_says(everything, form, value):
    written, items = everything
    if form[2] in "<>" and (value is None or isinstance(value, bool)):
        return  # the language has no such test
    where = Filter.parse(form.format(json.dumps(value)))
    expected = written.expected(items, where)
    assert written.by_columns(where).mask.tolist() == expected
    assert written.by_items(where).mask.tolist() == expected


@pytest.mark.parametrize("sought", ["café", "a/b", "A", "\\"])
def test_an_element_may_be_written_with_escape_sequences(tmp_path, sought):
    sets = [r'["caf\u00e9", "x"]', '["café"]', r'["a\/b", "\\"]', r'["\u0041", "\ud800"]', r'["\ud800", "a/b"]', "[]"]
    items = [{"a": each} for each in sets]
    written = Written(tmp_path, items, [[place] for place in range(len(items))])
    where = Filter.parse(f"{json.dumps(sought)} in a")
    expected = [sought in elements(each) for each in sets]
    assert 0 < sum(expected) < 3
    assert written.expected(items, where) == expected
    assert written.by_columns(where).mask.tolist() == expected
    assert written.by_items(where).mask.tolist() == expected


def test_a_text_that_is_not_unicode_is_no_element():
    assert elements(r'["a", "\ud800", 1, "\ud83d\ude00", "\udc00b"]') == ["a", 1, "\U0001f600"]


def test_not_a_whole_number_of_64_bits_is_taken_for_its_neighbor(tmp_path):
    """Snowflake ids, for which float64 is too coarse."""
    ids = [2**62 + near for near in range(-600, 600, 3)]
    written = Written(tmp_path, [{"id": number} for number in ids], [[place] for place in range(len(ids))])
    for wanted in (2**62, 2**62 + 3, 2**62 + 300, 2**62 - 600):
        assert written.by_columns(Filter.parse(f"id == {wanted}")).positions.tolist() == [ids.index(wanted)]
        assert np.count_nonzero(written.by_columns(Filter.parse(f"id < {wanted}")).mask) == ids.index(wanted)
        assert np.count_nonzero(written.by_columns(Filter.parse(f"id > {wanted + 1}")).mask) == 399 - ids.index(wanted)
        assert written.by_columns(Filter.parse(f"id in [{wanted + 1}, {wanted}]")).positions.tolist() == [
            ids.index(wanted)
        ]


@pytest.mark.parametrize("distinct", [3, 255, 256, 300, 65_535, 65_536])
def test_texts_are_found_among_few_and_among_many(tmp_path, monkeypatch, distinct):
    monkeypatch.setattr("vision_recs.store.attributes.write._GROUP", 1 << 17)
    monkeypatch.setattr("vision_recs.store.attributes.write._BATCH", 1000)
    draw = random.Random(distinct)
    texts = [f"{number * 7919 % distinct:x}-ö" for number in range(distinct)]
    items = [{"title": text} for text in texts + draw.choices(texts, k=20)]
    written = Written(tmp_path, items, [[place] for place in range(len(items))])
    some = texts[distinct // 2]
    for expression in (
        f'title == "{some}"',
        f'title < "{some}"',
        f'title >= "{some}"',
        f'title.startswith("{some[:2]}")',
        f'title.endswith("{some[1:]}")',
        f'title.contains("{some[1:3]}")',
        'title.contains("-ö1")',  # the end of a text and the beginning of the next one
        'title.contains("ö")',
        'title > "zzz"',
        'title < "-"',
        f'title in ["{some}", "{texts[0]}", "nothing"]',
    ):
        where = Filter.parse(expression)
        assert written.by_columns(where).mask.tolist() == written.expected(items, where), expression


def test_attributes_that_few_items_have_are_found_in_those(tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.store.attributes.write._GROUP", 60)
    monkeypatch.setattr("vision_recs.store.attributes.write._BATCH", 30)
    draw = random.Random(0)
    kinds = (1, 2.5, 2**60 + 1, "x", "y", True, False, None)
    items = [{f"n{n}": draw.choice(kinds) for n in draw.sample(range(12), draw.randrange(4))} for _ in range(200)]
    written = Written(tmp_path, items, [[place] for place in range(200)])
    for number in range(12):
        for form in (
            "n{} is null",
            "n{}",
            "n{} != 1",
            "n{} == 2.5",
            "n{} in [1, 'x', true]",
            "n{} > 1",
            "n{} like 'x%'",
        ):
            where = Filter.parse(form.format(number))
            assert written.by_columns(where).mask.tolist() == written.expected(items, where)


def test_a_store_without_items_and_items_without_attributes_are_no_special_case(tmp_path):
    for number, items in enumerate(([], [{}], [{}, {"a": None}])):
        (tmp_path / str(number)).mkdir()
        written = Written(tmp_path / str(number), items, [[place] for place in range(len(items))])
        assert written.columns.attribute_types == written.items.attribute_types()
        for expression, holds in (("a is null", True), ("a == 1", False), ("not a", True), ("a like '%'", False)):
            assert written.by_columns(Filter.parse(expression)).mask.tolist() == [holds] * len(items)
            assert written.by_items(Filter.parse(expression)).mask.tolist() == [holds] * len(items)


def test_the_longest_and_the_deepest_filter_can_be_evaluated(tmp_path):
    items = [{"a": number} for number in range(10)]
    written = Written(tmp_path, items, [[place] for place in range(10)])
    many = " or ".join(f"a == {number}" for number in range(MAX_PREDICATES))
    nested = "not (" * (MAX_DEPTH // 2) + " and ".join(["a in [1, 2]"] * MAX_PREDICATES) + ")" * (MAX_DEPTH // 2)
    listed = f"a in {list(range(5, 15_000))}"
    for expression, expected in (
        (many, 10),
        (nested, 8),
        (nested.replace("not (", "((").replace(")", "))"), 2),
        (listed, 5),
    ):
        where = Filter.parse(expression)
        assert np.count_nonzero(written.by_columns(where).mask) == expected, expression[:50]
        assert np.count_nonzero(written.by_items(where).mask) == expected, expression[:50]


def test_a_list_is_no_attribute_and_passes_no_test_but_that_it_is_there(tmp_path):
    written = Written(tmp_path, [{"a": ["x"]}, {"a": {"b": 1}}, {"a": "x"}], [[0], [1], [2]])
    for expression, expected in (("a is null", []), ("a == 'x'", [2]), ("a", []), ("a < 9", []), ("a like '%'", [2])):
        assert written.by_columns(Filter.parse(expression)).positions.tolist() == expected
        assert written.by_items(Filter.parse(expression)).positions.tolist() == expected
    assert written.columns.attribute_types == {"a": AttributeType.TEXT} == written.items.attribute_types()


def test_a_whole_number_beyond_all_floats_is_more_than_any_number(tmp_path):
    written = Written(tmp_path, [{"a": 10**400}, {"a": -(10**400)}, {"a": 3}, {}], [[0], [1], [2], [3]])
    for way in (written.by_columns, written.by_items):
        assert way(Filter.parse("a > 1e300")).positions.tolist() == [0]
        assert way(Filter.parse("a < -1e300")).positions.tolist() == [1]


def test_the_types_are_those_of_all_groups_together(tmp_path):
    items = [{"a": 1}] * 4 + [{"a": "x", "b": None}] * 4 + [{"a": None, "c": True}] * 4 + [{"c": 2.5}]
    written = Written(tmp_path, items, [[place] for place in range(len(items))])
    assert written.columns.attribute_types == {
        "a": AttributeType.NUMBER | AttributeType.TEXT,
        "b": AttributeType(0),
        "c": AttributeType.BOOLEAN | AttributeType.NUMBER,
    }


def test_items_are_found_in_the_groups_that_have_them(tmp_path):
    columns = Written(tmp_path, [{}] * 11, [[0]] * 11).columns
    assert [group.items for group in columns.groups] == [4, 4, 3]
    assert columns.item_numbers(["", "0003", "0004", "00045", "0008", "0010", "9"]).tolist() == [3, 4, 8, 10]
    assert columns.item_numbers([]).tolist() == []
