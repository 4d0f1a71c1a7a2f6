"""What each form of the language means, by hand, and that a filter is written as it is read."""

import pytest
from hypothesis import example, given
from random_filters import trees

from vision_recs.errors import FilterError
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.ast import Not
from vision_recs.filters.parser import MAX_DEPTH

MUG = {
    "category": "mug",
    "price": 14.9,
    "size": 3,
    "color": "red",
    "title": 'Striped "Nordic" mug, größe 3',
    "in_stock": True,
    "sale": False,
    "brand": None,
    "ean": 2**53 + 1,
    "größe (cm)": 9,
    "and": "yes",
    "tags": '["red", "x,y", 5, 2.0, true]',
}

HOLD = [
    'category == "mug"',
    "category == 'mug'",
    '"mug" == category',
    'category != "vase"',
    "price < 30",
    "price <= 14.9",
    "price > 14",
    "price >= 14.9",
    "30 > price",
    "14.9 >= price",
    "14.9 <= price",
    "14.9 == price",
    "3 != price",
    "price==14.9",
    "price == 1.49e1",
    "price > -1",
    "price > .5 and price < 15.",
    "size == 3.0",
    "10 <= price < 30",
    "30 > price >= 10 and size == 3",
    "10 < price != 15",
    'color in ["red", "blue"]',
    "color in ('red',)",
    "size in [1, 3.0]",
    'color not in ["green"]',
    "color not in []",
    "brand in [null, 'Acme']",
    "color in ['red', None]",
    "title.startswith('Striped')",
    "title.endswith('größe 3')",
    r'title.contains("\"Nordic\"")',
    'title.contains("gr\\u00f6\\u00dfe")',
    "title.startswith('')",
    "title like 'Striped%'",
    "title like '%größe 3'",
    "title like '%mug%'",
    "title like '%'",
    "category like 'mug'",
    "color not like 'b%'",
    "brand is null",
    "brand == null",
    "brand == None",
    "nothing is null",
    "color is not null",
    "color != null",
    "in_stock",
    "not sale",
    "in_stock == true",
    "sale == false",
    "sale != TRUE",
    "in_stock and not sale",
    "sale or in_stock",
    "sale or sale or in_stock and in_stock",
    "not (sale or brand is not null)",
    "in_stock && !sale",
    "in_stock & ~sale",
    "sale || in_stock",
    "sale | in_stock",
    "In_Stock is null AND in_stock",
    "NOT sale OR sale",
    "((in_stock))",
    "`größe (cm)` == 9",
    "`and` == 'yes'",
    "ean == 9007199254740993",
    "ean > 9007199254740992",
    "ean > 9007199254740992.0",
    'color != "blue" and color < "s" and color >= "red"',
    'color < "redd"',
    'color > "Red"',
    'category == "mug" and price < 30 and color in ["red", "blue"] and in_stock',
    "category\n==\t'mug'",
    '"red" in tags',
    "'x,y' in tags and 5 in tags and 5.0 in tags and 2 in tags and true in tags",
    '"blue" not in tags',
    'not "blue" in tags',
    '"red" in color',
    "3 in size",
    '"red" in tags or "blue" in tags',
    "color == 'red' and 'gro\u0308\u00dfe' not in tags and title like '%gro\u0308\u00dfe%'",
    "`gro\u0308\u00dfe (cm)` == 9",
]
DO_NOT_HOLD = [
    'category == "Mug"',
    'category == "mug "',
    "category == 3",
    'price == "14.9"',
    "price < 14.9",
    "sale",
    "not in_stock",
    "brand",
    "brand == 'Acme'",
    "brand < 'Z'",
    "nothing == 3",
    "nothing in [1]",
    "in_stock == 1",
    "in_stock in [1]",
    "size == true",
    "size in [true]",
    "color in []",
    "color in [null]",
    "ean == 9007199254740992",
    "ean == 9007199254740992.0",
    "ean <= 9007199254740992.0",
    "title.startswith('striped')",
    "price.startswith('1')",
    "brand like '%'",
    "sale or in_stock and sale",
    "(sale or in_stock) and sale",
    "10 <= price < 12",
    "14.9 < price",
    "14.9 > price",
    '"re" in tags',
    '"5" in tags',
    "1 in tags",
    '"red" not in tags',
    '"red" in nothing',
    '"red" in brand',
    'id == "M1"',
]


@pytest.mark.parametrize("expression", HOLD)
def test_it_holds(expression):
    assert Filter.parse(expression).matches(MUG) is True


@pytest.mark.parametrize(
    "expression", ['id == "M1"', 'id in ["M1", "x"]', 'id.startswith("M")', 'id != "M2"', '"M1" in id']
)
def test_the_id_of_an_item_can_be_tested(expression):
    where = Filter.parse(expression)
    where.check({"price": AttributeType.NUMBER})
    assert where.matches(MUG, "M1") is True
    assert where.matches({"id": None}, "M1") is True


def test_an_attribute_that_is_called_id_goes_before_the_id_of_the_item():
    where = Filter.parse('id == "M1"')
    assert where.matches({"id": "M2"}, "M1") is False
    assert where.matches({"id": "M1"}, "M2") is True


@pytest.mark.parametrize("expression", DO_NOT_HOLD)
def test_it_does_not_hold(expression):
    assert Filter.parse(expression).matches(MUG) is False


@pytest.mark.parametrize(
    ("test", "opposite"),
    [
        ('color == "red"', 'color != "red"'),
        ("price in [1, 14.9]", "price not in [1, 14.9]"),
        ("brand is null", "brand is not null"),
        ("title like 'S%'", "title not like 'S%'"),
        ("price < 3", "not price < 3"),
        ("sale", "not sale"),
    ],
)
@pytest.mark.parametrize(
    "attributes", [MUG, {}, dict.fromkeys(MUG), {"color": 3, "price": "3", "sale": 1, "title": True}]
)
def test_the_opposite_gives_exactly_what_a_test_leaves_out(test, opposite, attributes):
    assert Filter.parse(test).matches(attributes) is not Filter.parse(opposite).matches(attributes)


@given(trees())
def test_a_filter_is_written_as_it_is_read(tree):
    written = str(Filter(tree))
    read = Filter.parse(written)
    assert read == Filter(tree)
    assert str(read) == written
    assert hash(read) == hash(Filter(tree))


@pytest.mark.parametrize("expression", [*HOLD, *DO_NOT_HOLD])
def test_what_a_person_writes_is_written_in_another_way_with_the_same_meaning(expression):
    read = Filter.parse(expression)
    assert Filter.parse(str(read)) == read


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("30>price", "price < 30"),
        ("1 < a <= 2", "a > 1 and a <= 2"),
        ("!(a == 'b' || c)", 'not (a == "b" or c)'),
        ("a IN ('x', None)", 'a is null or a in ["x"]'),
        ("a not like '%ö%'", 'not a.contains("ö")'),
        ("`b` == NULL", "b is null"),
        ("`in` != 3", "`in` != 3"),
        ("not not a", "not not a"),
        ("(a and b) and c or d", "((a and b) and c) or d"),
        ("``````", "``````"),
        ("not 'a' in `b c`", '"a" not in `b c`'),
    ],
)
def test_how_a_filter_is_written(expression, written):
    assert str(Filter.parse(expression)) == written


@pytest.mark.parametrize("innermost", ["a", "1 < a < 2", "a not in [1, null]", "a not like 'x%'", "a != 1"])
def test_what_is_as_deep_as_can_be_is_read_again_when_it_was_written(innermost):
    for depth in range(MAX_DEPTH - 3, MAX_DEPTH + 1):
        for expression in ("not " * depth + innermost, "not (" * (depth // 2) + innermost + ")" * (depth // 2)):
            try:
                read = Filter.parse(expression)
            except FilterError:
                continue
            assert Filter.parse(str(read)) == read


@example(Not(Not(Filter.parse("a").tree)))
@given(trees())
def test_not_turns_every_answer_round(tree):
    for attributes in (MUG, {}):
        assert Not(tree).evaluate(attributes) is not tree.evaluate(attributes)


def test_the_attributes_of_a_filter_are_those_that_it_tests():
    assert Filter.parse('a < 3 and not (b or 1 < a < 2) or `c d` == "e"').attributes == {"a", "b", "c d"}


@pytest.mark.parametrize(
    ("expression", "schema"),
    [
        ("a == 1", AttributeType.NUMBER),
        ("a == 1", AttributeType.NUMBER | AttributeType.TEXT),
        ("a == 'x' or a", AttributeType.TEXT | AttributeType.BOOLEAN),
        ("a is null", AttributeType.TEXT),
        ("a in [1, 'x', true, null]", AttributeType(0)),
        ("a in []", AttributeType.BOOLEAN),
    ],
)
def test_a_test_that_can_hold_for_some_item_passes_the_check(expression, schema):
    Filter.parse(expression).check({"a": schema, "b": AttributeType.TEXT})
