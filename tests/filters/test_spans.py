"""Filters that are said to be apart share no item, and those of a shop are found out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_filters import attributes, trees

from vision_recs.filters import Filter
from vision_recs.filters.spans import are_apart


@given(st.lists(trees(st.sampled_from(["a", "b"])), min_size=1, max_size=3), attributes)
def test_filters_that_an_item_matches_are_not_apart(nodes, item):
    if all(node.evaluate(item) for node in nodes):
        assert not are_apart(*nodes)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("price < 40", "50 <= price <= 200", True),
        ("price < 40", "price >= 40", False),  # which both ends could meet: that is not looked at
        ("price < 40", "price >= 50 or price == 45", True),
        ("price < 40", "price >= 50 or in_stock", False),
        ("price < 40", "size > 50", False),
        ("price < 40", "not price < 50", False),
        ("price >= 9007199254740993", "price <= 9007199254740992 and in_stock", True),
        ("price < 40 or size < 5", "price > 50 and size > 6", False),
        ('price < "40"', "price > 50", False),
    ],
)
def test_filters_on_numbers_that_no_item_has_are_apart(one, other, apart):
    assert are_apart(Filter.parse(one).tree, Filter.parse(other).tree) is apart
