"""What is wrong with a filter is one sentence, with the column where it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_filters import trees

from vision_recs.errors import FilterError
from vision_recs.filters import AttributeType, Filter
from vision_recs.filters.parser import MAX_DEPTH, MAX_LENGTH, MAX_PREDICATES

VALUE = "write a number, text in quotes, true, false or null"
LIKE = r"like takes % only at the ends of its text, and neither _ nor \; use"
QUOTES = "put text in quotes"

SYNTAX = [
    ("", 1, "expected a condition such as price < 30, found the end"),
    ("  \n", 4, "expected a condition such as price < 30, found the end"),
    ("price <", 8, f"expected a value after '<', found the end; {VALUE}"),
    ("price < and in_stock", 9, f"expected a value after '<', found 'and'; {VALUE}"),
    ("price <> 3", 8, f"expected a value after '<', found '>'; {VALUE}"),
    ("color == ['red']", 10, f"expected a value after '==', found '['; {VALUE}"),
    ("price = 3", 7, "cannot read '='; use '==' to compare"),
    ("price === 3", 9, "cannot read '='; use '==' to compare"),
    ("price =< 3", 7, "cannot read '='; use '==' to compare"),
    ("price == 3 4", 12, "expected a comparison, 'and', 'or' or the end, found 4"),
    ("price between 1 and 2", 7, "expected a comparison, 'and', 'or' or the end, found between"),
    ("price == 3)", 11, "expected a comparison, 'and', 'or' or the end, found ')'"),
    ("(price == 3", 12, "expected a comparison, 'and', 'or' or ')', found the end"),
    ("price == 3 and", 15, "expected a condition such as price < 30, found the end"),
    ("or price == 3", 1, "expected a condition such as price < 30, found 'or'"),
    ("not", 4, "expected a condition such as price < 30, found the end"),
    ("price is", 9, "expected null or not null, found the end"),
    ("price is 3", 10, "expected null or not null, found 3"),
    ("price is not 'x'", 14, "expected null, found 'x'"),
    ("price in 3", 10, "expected a list such as [1, 2] after 'in', found 3"),
    ("price in [", 11, f"expected a value or ']', found the end; {VALUE}"),
    ("price in (1, color)", 14, f"expected a value or ')', found color; {VALUE}"),
    ("price in [1 2]", 13, "expected ',' or ']', found 2"),
    ("price in (1]", 12, "expected ',' or ')', found ']'"),
    ("price not 3", 11, "expected 'in' or 'like' after 'not', found 3"),
    ("color like 3", 12, "expected text in quotes after 'like', found 3"),
    ("color like 'a%b'", 12, f"{LIKE} color.contains(...)"),
    ("`the color` like '_b'", 18, f"{LIKE} `the color`.contains(...)"),
    (
        "dims.width > 3",
        6,
        "expected startswith, endswith or contains after '.', found width; put a name with a dot in backticks",
    ),
    ("color.startswith", 17, "expected '(' after startswith, found the end"),
    ("color.startswith(3)", 18, "expected text in quotes, found 3"),
    ("color.endswith('a'", 19, "expected ')', found the end"),
    ('"a" == "b"', 1, '"a" is compared with "b"; name an attribute, without quotes'),
    ("1 < 2 < price", 1, "1 is compared with 2; name an attribute, without quotes"),
    ("price < 3 < 4", 9, "3 is compared with 4; name an attribute, without quotes"),
    ("3", 1, "3 alone is not a condition; compare it with an attribute"),
    ("null", 1, "null alone is not a condition; compare it with an attribute"),
    (
        "color == red",
        10,
        f"color is compared with the attribute red; compare it with a value, and {QUOTES}",
    ),
    ("price < true", 9, "true has no order; use == or !="),
    ("null < price", 1, "null has no order; use == or !="),
    ("price < 1e999", 9, "1e999 is too large; use a number below 1e308"),
    (f"price < {'9' * 400}", 9, f"{'9' * 37}... is too large; use a number below 1e308"),
    ("price < 30EUR", 9, f"30EUR is not a number; {QUOTES} and names in backticks"),
    ("price < 1.5.2", 12, "expected a comparison, 'and', 'or' or the end, found .2"),
    ("price < ٣", 9, f"٣ is not a number; {QUOTES} and names in backticks"),
    ("top-color == 'red'", 4, "cannot read '-'; put a name that holds it in backticks, and text in quotes"),
    ("price < 3; import os", 10, f'cannot read ";"; {QUOTES}'),
    ("color == “red”", 10, f'cannot read "“"; {QUOTES}'),
    ("color == 'red", 10, "the text that begins here has no closing quote; add it"),
    ('color == "red\\"', 10, "the text that begins here has no closing quote; add it"),
    ("`color == 'red'", 1, "the name that begins here has no closing backtick; add it"),
    (r"color == 'a\q'", 12, r"\q is not allowed in text; write a backslash as \\, other characters as they are"),
    (r"color == '\ud83d'", 11, r"\ud83d is not allowed in text; write a backslash as \\, other characters as they are"),
    (r"color == '\u0000'", 11, r"\u0000 is not allowed in text; write a backslash as \\, other characters as they are"),
    ("color == 'a\0'", 12, r"the character '\x00' is not allowed; leave it out"),
    ("color == '\ud800'", 11, r"the character '\ud800' is not allowed; leave it out"),
    ("price == 3 'two\nlines'", 12, "expected a comparison, 'and', 'or' or the end, found 'two lines'"),
    (f"price == 3 '{'x' * 99}'", 12, f"expected a comparison, 'and', 'or' or the end, found '{'x' * 36}..."),
]
DEEP = f"more than {MAX_DEPTH} parentheses and nots are nested; use fewer"
HUGE = [
    ("(" * 100_000, MAX_DEPTH + 1, DEEP),
    ("not " * 25_000, 4 * MAX_DEPTH + 1, DEEP),
    ("(" * (MAX_DEPTH + 1) + "a" + ")" * (MAX_DEPTH + 1), MAX_DEPTH + 1, DEEP),
    ("!(" * 40_000, MAX_DEPTH + 1, DEEP),
    ("[" * 100_000, 1, "expected a condition such as price < 30, found '['"),
    (
        "a or " * 19_999 + "a",
        5 * MAX_PREDICATES + 1,
        f"the filter has more than {MAX_PREDICATES} conditions; use fewer, or one list after 'in'",
    ),
    ("1 < " * 25_000, 1, "1 is compared with 1; name an attribute, without quotes"),
    ("a" * 100_001, MAX_LENGTH + 1, "the filter is 100,001 characters long; use at most 100,000"),
    ('"' + "\\\\" * 49_000, 1, "the text that begins here has no closing quote; add it"),
    ("`" + "``" * 49_000, 1, "the name that begins here has no closing backtick; add it"),
    ("1" * 99_999 + "x", 1, f"{'1' * 37}... is not a number; {QUOTES} and names in backticks"),
    (" " * 99_999 + ";", 100_000, f'cannot read ";"; {QUOTES}'),
]

SCHEMA = {
    "price": AttributeType.NUMBER,
    "color": AttributeType.TEXT,
    "in_stock": AttributeType.BOOLEAN,
    "size": AttributeType.TEXT | AttributeType.NUMBER,
    "note": AttributeType(0),
    "größe (cm)": AttributeType.NUMBER,
}
KNOWN = "items have color, `größe (cm)`, in_stock, note, price, size"
UNFIT = [
    ("colr == 'red'", 1, f"no item has the attribute 'colr'; the nearest is color; {KNOWN}"),
    ("price < 3 and weight < 2", 15, f"no item has the attribute 'weight'; {KNOWN}"),
    ("not missing is null", 5, f"no item has the attribute 'missing'; {KNOWN}"),
    ("Price < 3", 1, f"no item has the attribute 'Price'; the nearest is price; {KNOWN}"),
    ("`größe` < 3", 1, f"no item has the attribute 'größe'; the nearest is `größe (cm)`; {KNOWN}"),
    ("price == '3'", 10, 'price holds numbers, never "3"; compare it with a number'),
    ("'3' == price", 1, 'price holds numbers, never "3"; compare it with a number'),
    ("10 < price < 'x'", 14, 'price holds numbers, never "x"; compare it with a number'),
    ("price", 1, "price holds numbers, never true or false; compare it with a number"),
    ("price.startswith('1')", 18, 'price holds numbers, never "1"; compare it with a number'),
    ("price like '1%'", 12, 'price holds numbers, never "1"; compare it with a number'),
    ("color in ['red', 3]", 18, "color holds text, never 3; compare it with text"),
    ("color == true", 10, "color holds text, never true; compare it with text"),
    ("in_stock == 1", 13, "in_stock holds true or false, never 1; compare it with true or false"),
    ("not size", 5, "size holds text or numbers, never true or false; compare it with text or a number"),
    ("`größe (cm)` != 'L'", 17, '`größe (cm)` holds numbers, never "L"; compare it with a number'),
]


@pytest.mark.parametrize(("expression", "position", "sentence"), [*SYNTAX, *HUGE], ids=lambda value: repr(value)[:30])
def test_bad_syntax_is_a_sentence_with_its_column(expression, position, sentence):
    with pytest.raises(FilterError) as raised:
        Filter.parse(expression)
    assert str(raised.value) == f"filter, column {position}: {sentence}"
    assert (raised.value.position, raised.value.expression) == (position, expression)


@pytest.mark.parametrize(("expression", "position", "sentence"), UNFIT, ids=lambda value: repr(value)[:30])
def test_what_does_not_fit_the_items_is_a_sentence_with_its_column(expression, position, sentence):
    with pytest.raises(FilterError) as raised:
        Filter.parse(expression).check(SCHEMA)
    assert str(raised.value) == f"filter, column {position}: {sentence}"
    assert (raised.value.position, raised.value.expression) == (position, expression)


@pytest.mark.parametrize("expression", ["note == 3 and note == 'x' or note", "price is null", "size > 3 or size > 'L'"])
def test_what_fits_the_items_passes(expression):
    Filter.parse(expression).check(SCHEMA)


def test_without_any_attribute_the_catalog_is_to_be_indexed_with_some():
    with pytest.raises(FilterError) as raised:
        Filter.parse("price < 3").check({})
    assert str(raised.value) == (
        "filter, column 1: no item has the attribute 'price' or any other; index a catalog with attributes"
    )


def test_of_many_attributes_some_are_named():
    with pytest.raises(FilterError) as raised:
        Filter.parse("x == 1").check({f"name{number:02}": AttributeType.TEXT for number in range(30)})
    assert str(raised.value).endswith("; items have " + ", ".join(f"name{n:02}" for n in range(20)) + " and 10 more")


def test_a_name_that_a_message_cannot_show_is_cut_and_put_on_one_line():
    with pytest.raises(FilterError) as raised:
        Filter.parse("`a\nb` == 1").check({"first\nsecond": AttributeType.TEXT, "x" * 99: AttributeType.TEXT})
    assert "\n" not in str(raised.value)
    assert "`first second`" in str(raised.value)
    assert "x" * 41 not in str(raised.value)


def test_a_filter_made_of_a_tree_says_what_it_would_look_like():
    where = Filter(Filter.parse("price == 'x'").tree)
    with pytest.raises(FilterError) as raised:
        where.check(SCHEMA)
    assert raised.value.expression == 'price == "x"'


pieces = st.sampled_from(
    [
        *(
            "(",
            ")",
            "[",
            "]",
            ",",
            ".",
            "==",
            "!=",
            "<",
            ">=",
            "~",
            "&&",
            "|",
            "=",
            "-",
            ";",
            "'",
            "`",
            "\\",
            "\0",
            "\n",
        ),
        *("price", "`a\xa0b`", "3", "-1.5e3", "'x'", '"y"', "é", "٣"),
        *("in", "not", "and", "or", "is", "null", "true", "like", "startswith"),
    ]
)


def problem(expression):
    """Return what is wrong with *expression*, or None."""
    try:
        Filter.parse(expression)
    except FilterError as error:
        return error
    return None


@given(st.one_of(st.lists(pieces, max_size=12).map(" ".join), st.lists(pieces, max_size=8).map("".join), st.text()))
def test_whatever_is_written_is_a_filter_or_a_sentence(expression):
    error = problem(expression)
    if error is None:
        read = Filter.parse(expression)
        assert Filter.parse(str(read)) == read
    else:
        assert 1 <= error.position <= len(expression) + 1
        assert str(error).startswith(f"filter, column {error.position}: ")
        assert str(error).isprintable()


@given(trees(), st.data())
def test_a_filter_that_was_cut_off_is_a_filter_or_a_sentence(tree, data):
    written = str(Filter(tree))
    cut = written[: data.draw(st.integers(0, len(written)))]
    error = problem(cut)
    assert error is None or 1 <= error.position <= len(cut) + 1


@pytest.mark.parametrize(
    ("expression", "column"), [(r'a == "x\q"', 8), (r'ab == "x\q"', 9), (r'a == "\q"', 7), (r'a in ("b", "\q")', 13)]
)
def test_an_escape_that_is_not_allowed_is_pointed_at(expression, column):
    with pytest.raises(FilterError, match=r"\\q is not allowed in text") as caught:
        Filter.parse(expression)
    assert caught.value.position == column


@pytest.mark.parametrize(("text", "value"), [("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63))])
def test_integers_are_exact_up_to_64_bits_and_others_are_rounded(text, value):
    found = [Filter.parse(f"price < {each}").tree.value.value for each in (text, f"{text[:-1]}9")]
    assert found == [value, float(value)]
    assert list(map(type, found)) == [int, float]
