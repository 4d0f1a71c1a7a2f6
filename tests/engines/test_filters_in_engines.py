"""Every engine tests a filter as it is tested on this machine, whatever the items have."""

import json
import random

import numpy as np
import pytest
from engine_sources import published_index
from engine_uris import KINDS, empty_engines
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_filters import NAMES, NUMBERS, TEXTS, trees
from vector_sources import Vectors

from vision_recs.engines import base
from vision_recs.engines.base import ColumnTest
from vision_recs.engines.columns import column_name
from vision_recs.engines.conditions import condition_of
from vision_recs.engines.sql import SqlDialect
from vision_recs.filters import Filter
from vision_recs.types import Row, SearchRequest

SETS = ['["a", "ab"]', '["Ä", 1, true]', "[0.5, -0.0, null]", '[["a"], "b"]', "[9007199254740993]", '["[a", ""]']
STRANGE = [10**400, -(10**400), 2**63, ["a"], {"a": 1}]
"""What no catalog holds, and what no column of an engine does."""


def held(draw):
    """Return the attributes of an item: nulls, lists, and values of every type under every name."""
    kinds = (NUMBERS, TEXTS, SETS, (True, False), (None,), STRANGE)
    names = draw.sample(NAMES, draw.randrange(len(NAMES)))
    return {name: draw.choice(draw.choices(kinds, (6, 6, 4, 4, 3, 1))[0]) for name in names}


def items_of(count):
    draw = random.Random(7)
    return {f"item{number:03}": held(draw) for number in range(count)} | {"mug-1": {}, "Ä": {}, "it's": {"id": None}}


class PublishedItems:
    """A table of items in an engine, and which of them a filter leaves there."""

    def __init__(self, items, uri, dialect=None):
        self.items = items
        vectors = np.random.default_rng(0).standard_normal((len(items), 2))
        rows = [[Row(item, f"{item}.jpg", item)] for item in items]
        self.source = Vectors(vectors, rows=rows, attributes=items)
        self.index = published_index(self.source, uri)
        self.dialect = dialect or self.index._dialect

    def condition(self, where):
        return condition_of(where, self.index._published.kinds, self.dialect)

    def left(self, where):
        condition = self.condition(where)
        if condition.is_never:
            return []
        found = self.index._table.read([base.ITEM, base.ATTRIBUTES], condition.expression).to_pylist()
        assert all(json.loads(row["attributes"]) == self.items[row["item"]] for row in found)
        rest = condition.rest
        return sorted(r["item"] for r in found if rest is None or rest.matches(self.items[r["item"]], r["item"]))

    def expected(self, where):
        return sorted(item for item, attributes in self.items.items() if where.matches(attributes, item))


@pytest.fixture(scope="module", params=KINDS)
def tested(request, tmp_path_factory):
    with empty_engines(request.param, tmp_path_factory.mktemp("engine")) as new:
        yield PublishedItems(items_of(250), new())


@settings(deadline=None, max_examples=examples_of(150))
@given(trees(st.sampled_from(NAMES)))
def test_an_engine_leaves_the_items_that_a_filter_leaves_here(tested, tree):
    assert tested.left(Filter(tree)) == tested.expected(Filter(tree))


class LacksMost:
    """An engine that can say little: no comparison of texts, no sets, no `endswith`, and no list of values."""

    def __init__(self, dialect):
        self.dialect = dialect
        self.all_of, self.any_of, self.negated = dialect.all_of, dialect.any_of, dialect.negated

    def test(self, test):
        sayable = test.operator == "is null" or (test.operator in {"==", "<"} and not isinstance(test.value, str))
        return self.dialect.test(test) if sayable else None


@settings(deadline=None, max_examples=examples_of(60))
@given(trees(st.sampled_from(NAMES)))
def test_what_an_engine_cannot_say_is_tested_here_and_never_dropped(tested, tree):
    limited = PublishedItems.__new__(PublishedItems)
    limited.items, limited.index, limited.dialect = tested.items, tested.index, LacksMost(tested.dialect)
    assert limited.left(Filter(tree)) == tested.expected(Filter(tree))


def test_a_search_tests_the_rest_of_a_filter_and_fetches_until_it_has_enough(tested):
    tested.index._dialect, own = LacksMost(tested.dialect), tested.index._dialect
    try:
        where = Filter.parse('id.startswith("item1")')
        assert tested.condition(where).rest is None
        (found,) = tested.index.search(SearchRequest(np.array([[1, 0]], np.float32), 9, where))
    finally:
        tested.index._dialect = own
    assert found == tested.index.search(SearchRequest(np.array([[1, 0]], np.float32), 9, where))[0]
    assert len(found) == 9
    assert {match.id[:5] for match in found} == {"item1"}


@pytest.mark.parametrize(
    ("expression", "left"),
    [
        ('color != "red"', ["blue", "none"]),
        ('not (color == "red")', ["blue", "none"]),
        ("color is null", ["none"]),
        ("not in_stock", ["none", "red"]),
        ("price < 20.5", ["red"]),
        ("not (price < 20.5)", ["blue", "none"]),
        ('"new" in tags and "sale" not in tags', ["red"]),
        ('id == "red"', ["red"]),
        ('id in ["red", "none"] and color is not null', ["red"]),
    ],
)
def test_a_test_of_what_an_item_does_not_have_is_false_and_not_turns_it_around(expression, left, uri):
    items = {
        "blue": {"color": "blue", "price": 21, "in_stock": True, "tags": '["new", "sale"]'},
        "none": {},
        "red": {"color": "red", "price": 20.25, "in_stock": False, "tags": "new"},
    }
    assert PublishedItems(items, uri).left(Filter.parse(expression)) == left


def test_a_long_id_is_not_taken_for_its_neighbor(uri):
    tested = PublishedItems({f"{n}": {"sku": 2**62 + n} for n in range(5)}, uri)
    for n in range(5):
        assert tested.left(Filter.parse(f"sku == {2**62 + n}")) == [f"{n}"]
        assert tested.left(Filter.parse(f"sku < {2**62 + n}")) == [f"{n}" for n in range(n)]
    assert tested.left(Filter.parse(f"sku > {2**62 + 3}.5")) == ["1", "2", "3", "4"]  # 2^62 + 3.5 is 2^62 in float64


def test_columns_have_names_that_every_engine_takes_and_no_two_have_one():
    names = [column_name(name, "text") for name in [*NAMES, "Price", "PRICE", "x" * 50, "price_", "_price", "1"]]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.isidentifier() and name == name.lower() for name in names)
    assert column_name("price", "number") == "price__number"
    assert column_name("größe (cm)", "number").startswith("gr_e_cm_")


def test_quotes_in_a_text_end_no_literal():
    assert SqlDialect().test(ColumnTest("a__text", "==", "it's")) == "coalesce(a__text = 'it''s', false)"
