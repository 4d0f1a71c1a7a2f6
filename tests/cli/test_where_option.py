"""`visrec similar --where`, as a person runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

EVERY_VARIANT = ("--one-per", "item")


@pytest.fixture(scope="module")
def catalog(sample_images: Path) -> dict[str, dict[str, str]]:
    with (sample_images / "catalog.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


QUOTES = "put text in quotes"
KNOWN = "items have category, color, currency, in_stock, material, price, style, title, variant_group"


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ('category == "mug"', lambda item: item["category"] == "mug"),
        ("price < 30 and in_stock", lambda item: float(item["price"]) < 30 and item["in_stock"] == "true"),
        ("not in_stock", lambda item: item["in_stock"] == "false"),
        ("color in ['green', \"navy\"]", lambda item: item["color"] in {"green", "navy"}),
        ("100 <= price < 150", lambda item: 100 <= float(item["price"]) < 150),
        ("title.startswith('Striped')", lambda item: item["title"].startswith("Striped")),
        ("title like '%mug%' or category == 'bowl'", lambda item: "mug" in item["title"] or item["category"] == "bowl"),
        ("currency is not null", lambda _: True),
    ],
)
def test_all_items_that_match_are_found_and_no_others(visrec, sample_store, catalog, expression, holds):
    arguments = ("chair-01", "-k", "100", "--where", expression, "--store", sample_store, "--json", *EVERY_VARIANT)
    done = visrec("similar", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {match["id"] for match in found} == {item for item, row in catalog.items() if holds(row)} - {"chair-01"}
    assert [match["rank"] for match in found] == list(range(1, len(found) + 1))
    assert [match["score"] for match in found] == sorted((match["score"] for match in found), reverse=True)


def test_the_best_that_match_come_in_the_order_in_which_they_would_without_the_filter(visrec, sample_store):
    def ids(*options):
        done = visrec("similar", "mug-01", "-k", "59", "--store", sample_store, "--json", *EVERY_VARIANT, *options)
        return [(match["id"], match["score"]) for match in map(json.loads, done.stdout.splitlines())]

    assert ids("--where", "category == 'vase'") == [match for match in ids() if match[0].startswith("vase")]


def test_people_get_a_table(visrec, sample_store):
    arguments = ("-k", "2", "--where", "category != 'mug' and price < 20", "--store", sample_store, *EVERY_VARIANT)
    done = visrec("similar", "mug-01", *arguments)
    query, _, *rows = done.stdout.splitlines()
    assert query.startswith("mug-01  Striped mug")
    assert {row.split()[1] for row in rows} == {"bottle-04", "bottle-05"}


def test_a_query_by_image_can_have_a_filter(visrec, sample_store, sample_images):
    image = sample_images / "lamp-03-2.jpg"
    arguments = ("--image", image, "-k", "1", "--where", "category == 'vase'", "--store", sample_store, "--json")
    done = visrec("similar", *arguments)
    assert json.loads(done.stdout)["attributes"]["category"] == "vase"


def test_where_nothing_matches_people_get_a_sentence_and_programs_no_line(visrec, sample_store):
    arguments = ("similar", "mug-01", "--where", "price > 10000", "--store", sample_store)
    done = visrec(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing is similar: no other item matches"
    done = visrec(*arguments, "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        (
            "categry == 'mug'",
            f"filter, column 1: no item has the attribute 'categry'; the nearest is category; {KNOWN}",
        ),
        ("price < 30 and weight > 2", f"filter, column 16: no item has the attribute 'weight'; {KNOWN}"),
        ("price < 'cheap'", 'filter, column 9: price holds numbers, never "cheap"; compare it with a number'),
        ("in_stock == 1", "filter, column 13: in_stock holds true or false, never 1; compare it with true or false"),
        ("category = 'mug'", "filter, column 10: cannot read '='; use '==' to compare"),
        (
            "category == mug",
            f"filter, column 13: category is compared with the attribute mug; compare it with a value, and {QUOTES}",
        ),
        ("(price < 3", "filter, column 11: expected a comparison, 'and', 'or' or ')', found the end"),
        ("__import__('os')", "filter, column 11: expected a comparison, 'and', 'or' or the end, found '('"),
        ("", "filter, column 1: expected a condition such as price < 30, found the end"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_filter_that_cannot_be_used_is_one_sentence(visrec, sample_store, expression, sentence, options):
    done = visrec("similar", "mug-01", "--where", expression, "--store", sample_store, *options)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"visrec: {sentence}\n")


def test_a_query_without_a_filter_loads_nothing_for_filters(visrec, sample_store):
    done = visrec("similar", "mug-01", "--store", sample_store, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "vision_recs.store.items" in imported
    assert not {name for name in imported if name.startswith(("vision_recs.filters", "vision_recs.store.co"))}
    done = visrec("similar", "mug-01", "--where", "in_stock", "--store", sample_store, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "vision_recs.store.attributes.format" in imported
    assert {"torch", "pyarrow", "pandas", "PIL"}.isdisjoint(imported)


def test_the_help_says_what_a_filter_looks_like(visrec):
    text = " ".join(visrec("similar", "--help").stdout.split())
    assert (
        "--where EXPR Answer only with items that match, as in 'category == \"mug\" and price < 30 and in_stock'."
        in text
    )
