"""A shop's rules as a file: what it means, and that every mistake is one sentence that says where it is."""

import pytest

from vision_recs.errors import PolicyError
from vision_recs.feedback.exploration import Exploration
from vision_recs.filters import AttributeType, Filter
from vision_recs.recommend import Learn, Policy, Rules, read_policy
from vision_recs.recommend.rules import Boost, Bounds, Condition, Differ, Exclude, Pin, Same

TEXT, NUMBER, TRUTH = AttributeType.TEXT, AttributeType.NUMBER, AttributeType.BOOLEAN
SCHEMA = {"category": TEXT, "brand": TEXT, "price": NUMBER, "in_stock": TRUTH, "variant_group": TEXT}


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "rules.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def test_a_file_is_read_whole(write):
    file = write("""
        one_per = "brand"
        min_score = 0.3
        diversity = 0.25
        same = ["category"]
        differ = ["brand"]
        fallbacks = ["bounds.price", "same.category", "one_per", "min_score"]

        [bounds]
        price = [0.5, 2]

        [[exclude]]
        where = "not in_stock"
        [[exclude]]
        where = "price > 500"
        when = "price < 50"

        [[boost]]
        name = "our own"
        where = 'brand == "Own"'
        by = 0.05
        [[bury]]
        where = "price < 5"
        by = 1
        for = ["mug-01", "mug-02"]

        [[pin]]
        item = "mug-05"
        at = 2
        when = 'category == "mug"'
    """)
    small = Condition(when=Filter.parse("price < 50"))
    assert read_policy(file) == Policy(
        one_per="brand",
        min_score=0.3,
        diversity=0.25,
        rules=Rules(
            exclude=(Exclude(Filter.parse("not in_stock")), Exclude(Filter.parse("price > 500"), small)),
            boosts=(
                Boost(Filter.parse('brand == "Own"'), 0.05, "our own"),
                Boost(Filter.parse("price < 5"), -1.0, "price < 5", Condition(frozenset({"mug-01", "mug-02"}))),
            ),
            pins=(Pin("mug-05", 2, "pin mug-05", Condition(when=Filter.parse('category == "mug"'))),),
            attribute_rules=(Same("category"), Differ("brand"), Bounds("price", 0.5, 2.0)),
            fallbacks=("bounds.price", "same.category", "one_per", "min_score"),
            path=str(file),
        ),
    )


def test_an_empty_file_is_the_policy_without_rules(write):
    file = write("")
    assert read_policy(file) == Policy(rules=Rules(path=str(file)))


def test_one_per_can_be_switched_off(write):
    assert read_policy(write("one_per = false")).one_per is None


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("one_per = 3", "key 'one_per'", 'is 3, not text; write one_per = "variant_group"'),
        ("one_per = true", "key 'one_per'", 'is true, not text; write one_per = "variant_group"'),
        ("min_score = 2", "key 'min_score'", "is 2, not a number from -1 to 1; write min_score = 0.3"),
        ("min_score = nan", "key 'min_score'", "is nan, not a number from -1 to 1; write min_score = 0.3"),
        ("diversity = true", "key 'diversity'", "is true, not a number from 0 to 1; write diversity = 0.3"),
        ("diversity = 1", "key 'diversity'", "is 1; use less, such as 0.3"),
        ('same = "category"', "key 'same'", 'is \'category\', not a list of names; write same = ["a", "b"]'),
        ("same = [1]", "key 'same'", 'is [1], not a list of names; write same = ["a", "b"]'),
        ('same = ["a"]\ndiffer = ["a"]', "key 'differ'", "names 'a', as does 'same', so that nothing is left"),
        ("bounds = 3", "[bounds]", "is not a table; write [bounds] and a line for each"),
        (
            "[bounds]\nprice = [2, 0.5]",
            "[bounds], key 'price'",
            "is [2, 0.5], not two numbers, the lower one first; write price = [0.5, 2]",
        ),
        ("[bounds]\nprice = 2", "[bounds], key 'price'", "is 2, not two numbers"),
        (
            'fallbacks = ["price"]',
            "key 'fallbacks'",
            "names 'price', which cannot be relaxed; use one_per, min_score",
        ),
        ('fallbacks = ["same.a"]\nsame = ["b"]', "key 'fallbacks'", "names 'same.a', which cannot be relaxed"),
        ("excludes = []", "key 'excludes'", "means nothing here; did you mean exclude?"),
        ("[exclude]\nwhere = 'a'", "[[exclude]]", "is not a list of tables; write [[exclude]] above each"),
        ("[[exclude]]", "[[exclude]] 1, key 'where'", 'is missing; write where = "not in_stock"'),
        ("[[exclude]]\nwhere = 3", "[[exclude]] 1, key 'where'", 'is 3, not text; write where = "not in_stock"'),
        (
            "[[exclude]]\nwhere = 'a'\n[[exclude]]\nwhere = 'price <'",
            "[[exclude]] 2, key 'where'",
            "filter, column 8: expected a value after '<', found the end",
        ),
        ("[[boost]]\nwhere = 'a'", "[[boost]] 1, key 'by'", "is missing; write by = 0.05, which is added to the score"),
        (
            "[[boost]]\nwhere = 'a'\nby = -1",
            "[[boost]] 1, key 'by'",
            "is -1, not a number from 0 to 2; write by = 0.05",
        ),
        (
            "[[bury]]\nwhere = 'a'\nby = 'x'",
            "[[bury]] 1, key 'by'",
            "is 'x', not a number from 0 to 2; write by = 0.05",
        ),
        (
            "[[bury]]\nwhere = 'a'\nby = 1\nwhem = 'b'",
            "[[bury]] 1, key 'whem'",
            "means nothing here; did you mean when?",
        ),
        ("[[boost]]\nwhere='a'\nby=1\nname=''", "[[boost]] 1, key 'name'", "is '', not text; write name = "),
        ("[[pin]]\nat = 1", "[[pin]] 1, key 'item'", 'is missing; write item = "mug-05"'),
        ("[[pin]]\nitem = 'a'", "[[pin]] 1, key 'at'", "is missing; write at = 1"),
        ("[[pin]]\nitem = 'a'\nat = 0", "[[pin]] 1, key 'at'", "is 0, not a place; write at = 1 for the first"),
        ("[[pin]]\nitem = 'a'\nat = true", "[[pin]] 1, key 'at'", "is true, not a place; write at = 1 for the first"),
        ("[[pin]]\nitem='a'\nat=1\nfor='b'", "[[pin]] 1, key 'for'", "is 'b', not a list of names; write for = "),
        ("[[pin]]\nitem='a'\nat=1\nwhen='('", "[[pin]] 1, key 'when'", "filter, column 2: expected a condition"),
        ("one_per = ", None, "is not TOML ("),
        ("same = " + "[" * 100_000, None, "holds too many lists in each other; no rule needs them"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_file_the_table_and_the_key(write, text, key, message):
    file = write(text)
    with pytest.raises(PolicyError) as caught:
        read_policy(file)
    place = f"{file}, {key}: " if key else f"{file}: "
    assert str(caught.value).startswith(place + message)
    assert (caught.value.path, caught.value.key) == (str(file), key)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_one_sentence(tmp_path):
    with pytest.raises(PolicyError, match=r"none\.toml: cannot be read \(No such file or directory\); check the path"):
        read_policy(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"bytes\.toml: is not TOML \("):
        read_policy(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ('one_per = "color"', "key 'one_per'", "no item has the attribute 'color'; items have "),
        ('same = ["categorie"]', "key 'same'", "no item has the attribute 'categorie'; the nearest is category"),
        ('differ = ["brands"]', "key 'differ'", "no item has the attribute 'brands'; the nearest is brand"),
        ("[bounds]\nbrand = [1, 2]", "[bounds], key 'brand'", "brand holds no numbers; name an attribute that does"),
        ("[[exclude]]\nwhere = 'not instock'", "[[exclude]] 1, key 'where'", "filter, column 5: no item has"),
        ("[[pin]]\nitem='a'\nat=1\nwhen='price'", "[[pin]] 1, key 'when'", "filter, column 1: price holds numbers"),
        ("[[boost]]\nby=1\nwhere='in_stock == 3'", "[[boost]] 1, key 'where'", "filter, column 13: in_stock holds"),
    ],
)
def test_what_no_item_has_is_named_with_the_file_the_table_and_the_key(write, text, key, message):
    file = write(text)
    with pytest.raises(PolicyError) as caught:
        read_policy(file).check(SCHEMA)
    assert str(caught.value).startswith(f"{file}, {key}: {message}")


def test_rules_that_fit_the_items_pass(write):
    read_policy(write('same = ["category"]\n[bounds]\nprice = [0, 2]\n[[exclude]]\nwhere = "not in_stock"')).check(
        SCHEMA
    )
    read_policy(write("[bounds]\nempty = [0, 2]")).check({"empty": AttributeType(0)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"diversity": 1.0}, "a diversity of 1.0 is not from 0 to below 1; try 0.3"),
        ({"diversity": float("nan")}, "a diversity of nan is not"),
        ({"min_score": 1.5}, "a minimum score of 1.5 is not from -1 to 1; try 0.5"),
    ],
)
def test_values_out_of_range_are_refused_in_python_too(values, message):
    with pytest.raises(PolicyError, match=message):
        Policy(**values)


def test_learned_answers_explore_as_the_file_says(tmp_path):
    written = "[learn]\nmost = 0.1\ninterests = 0.3\nshare = 0.8\nexplore = 0.3\nplaces = [2, 10]\nmin_score = 0.4\n"
    (tmp_path / "rules.toml").write_text(written)
    expected = Learn(most=0.1, interests=0.3, exploration=Exploration(0.3, (2, 10), 0.4), share=0.8)
    assert read_policy(tmp_path / "rules.toml").learn == expected
    (tmp_path / "rules.toml").write_text("[learn]\n")
    assert read_policy(tmp_path / "rules.toml").learn == Learn()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("explore = 0.6", "key 'explore': is 0.6, not a number from 0 to 0.5"),
        ("explore = 0.3\nplaces = [10, 2]", "key 'places': is [10, 2], not the first and the last place"),
        ("explore = 0.3\nplaces = [1, 2.5]", "key 'places': is [1, 2.5], not"),
        ("places = [1, 2]", "key 'places': means nothing without explore"),
        ("share = 2", "key 'share': is 2, not a number from 0 to 1"),
    ],
)
def test_what_is_wrong_about_learning_is_named(tmp_path, written, message):
    (tmp_path / "rules.toml").write_text(f"[learn]\n{written}\n")
    with pytest.raises(PolicyError) as error:
        read_policy(tmp_path / "rules.toml")
    assert message in str(error.value)
