"""`visrec similar` with all that a shop can want of an answer, as a person runs it."""

from __future__ import annotations

import json
import shutil

import pytest
from fake_shop import Shop, index

RULES = """
same = ["category"]
fallbacks = ["same.category"]

[[exclude]]
where = "not in_stock"

[[boost]]
name = "japanese"
where = 'style == "japanese"'
by = 0.2

[[pin]]
item = "bowl-02"
at = 2
when = 'category == "mug"'
"""


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    return file


@pytest.fixture
def similar(visrec, sample_store):
    def similar(*arguments):
        done = visrec("similar", *arguments, "--store", sample_store)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return similar


@pytest.fixture
def matches(similar):
    def matches(*arguments):
        return [json.loads(line) for line in similar(*arguments, "--json").splitlines()]

    return matches


def ids(found):
    return [match["id"] for match in found]


def test_an_answer_holds_one_of_each_variant_group_by_default(matches):
    found = matches("mug-01")
    assert len({match["attributes"]["variant_group"] for match in found}) == 10
    assert ids(matches("mug-01", "-k", "2", "--one-per", "item")) == ["mug-02", "mug-03"]
    categories = [match["attributes"]["category"] for match in matches("mug-01", "--one-per", "category")]
    assert len(set(categories)) == 10


def test_a_weight_stands_after_a_colon(matches):
    one, other = matches("mug-01:3", "vase-02", "--explain"), matches("mug-01:1.5", "vase-02:.5", "--explain")
    assert [match["score"] for match in one] == [match["score"] for match in other]
    assert ids(one) == ids(other) != ids(matches("mug-01", "vase-02"))
    assert [part["weight"] for part in one[0]["explanation"]["terms"]] == [3.0, 1.0]
    assert one[0]["query"] == "mug-01:3 vase-02"


def test_an_id_that_holds_a_colon_is_an_id(visrec, sample_images, tmp_path):
    for name, image in {
        "a:2": "mug-01-1.jpg",
        "a": "lamp-01-1.jpg",
        "b": "mug-02-1.jpg",
        "c": "lamp-02-1.jpg",
    }.items():
        shutil.copy(sample_images / image, tmp_path / f"{name}.jpg")
    store = tmp_path / "index"
    assert visrec("index", tmp_path, "--store", store, "--quiet").returncode == 0

    def best(*arguments):
        done = visrec("similar", *arguments, "-k", "1", "--store", store, "--json")
        return json.loads(done.stdout)["id"]

    assert best("a:2") == "b"
    assert best("a:3") == "c"
    assert best("a:2:7", "--negative", "a:2.5") == "b"


def test_an_item_that_is_not_wanted_changes_the_answer_and_is_not_in_it(matches):
    plain, away = matches("mug-01", "vase-03"), matches("mug-01", "vase-03", "--negative", "vase-02", "--explain")
    assert "vase-02" in ids(matches("mug-01", "vase-03", "-k", "30", "--one-per", "item"))
    assert "vase-02" not in ids(away)
    assert ids(away) != ids(plain)
    assert [part["kind"] for part in away[0]["explanation"]["terms"]] == ["item", "item", "negative"]
    assert away[0]["query"] == "mug-01 vase-03 not vase-02"


def test_a_query_can_have_several_images(matches, sample_images):
    mug, lamp = sample_images / "mug-01-1.jpg", sample_images / "lamp-03-1.jpg"
    found = matches("--image", mug, "--image", lamp, "--explain", "-k", "4")
    assert {match["id"].split("-")[0] for match in found} >= {"mug", "lamp"}
    parts = found[0]["explanation"]["terms"]
    assert [(part["kind"], part["query"], part["image"]) for part in parts] == [
        ("image", str(mug), None),
        ("image", str(lamp), None),
    ]
    assert found[0]["score"] == pytest.approx(sum(part["score"] for part in parts) / 2, abs=1e-6)


def test_an_image_counts_as_much_as_its_weight_says(matches, visrec, sample_store, sample_images):
    mug, lamp = sample_images / "mug-01-1.jpg", sample_images / "lamp-03-1.jpg"
    (first, *_) = matches("--image", f"{mug}:3", "--image", lamp, "--explain", "-k", "4")
    parts = first["explanation"]["terms"]
    assert [(part["query"], part["weight"]) for part in parts] == [(str(mug), 3), (str(lamp), 1)]
    assert first["score"] == pytest.approx((3 * parts[0]["score"] + parts[1]["score"]) / 4, abs=1e-6)
    lines = visrec("similar", "--image", f"{mug}:3", "--image", lamp, "--store", sample_store).stdout.splitlines()
    assert lines[:2] == [f"{mug}  (weight 3)", str(lamp)]


def test_a_file_whose_name_ends_like_a_weight_is_that_file(matches, sample_images, tmp_path):
    file = tmp_path / "mug:2"
    file.write_bytes((sample_images / "mug-01-1.jpg").read_bytes())
    (first, *_) = matches("--image", file, "-k", "1")
    assert (first["id"], first["query"]) == ("mug-01", str(file))


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_that_means_nothing_is_one_sentence(visrec, sample_store, sample_images, weight):
    done = visrec("similar", "--image", f"{sample_images / 'mug-01-1.jpg'}:{weight}", "--store", sample_store)
    assert done.returncode == 2
    assert "is not above 0" in done.stderr


def test_words_need_an_encoder_that_reads_them(visrec, sample_store):
    done = visrec("similar", "--text", "a striped mug", "--store", sample_store)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("visrec: efficientnet-lite0 has no text tower, ")
    assert done.stderr.count("\n") == 1


def test_an_item_that_is_left_out_and_unknown_is_said(visrec, sample_store):
    done = visrec("similar", "mug-01", "--exclude", "mug-02", "--exclude", "muug-03", "--store", sample_store)
    assert (done.returncode, done.stderr) == (0, "note: the store has no item 'muug-03', which --exclude names\n")


def test_an_item_that_is_left_out_is_known_however_its_accents_are_written(visrec, tmp_path):
    shop = Shop()
    for number, item in enumerate(["mug", "caf\u00e9", "cup"]):
        shop.put(item, number)
    index(shop, tmp_path / "store")
    done = visrec("similar", "mug", "--exclude", "cafe\u0301", "--store", tmp_path / "store")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cup" in done.stdout
    assert "caf" not in done.stdout


def test_items_can_be_left_out_by_id_or_by_score(matches):
    assert "mug-02" not in ids(matches("mug-01", "--exclude", "mug-02", "--exclude", "gone"))
    scores = [match["score"] for match in matches("mug-01")]
    kept = matches("mug-01", "--min-score", str(scores[3] - 1e-6))
    assert [match["score"] for match in kept] == [score for score in scores if score >= scores[3]]


def test_each_interest_of_a_history_has_its_share(visrec, sample_store, tmp_path):
    file = tmp_path / "history.jsonl"
    events = [("mug-01", "2026-04-01"), ("chair-01", "2026-05-01"), ("chair-02", "2026-05-02"), ("gone", "2026-05-02")]
    file.write_text("".join(json.dumps({"id": item, "time": time}) + "\n" for item, time in events))
    done = visrec("similar", "--history", file, "-k", "8", "--store", sample_store)
    assert done.stderr == f"1 of the 4 items in {file} are not in the store and are left out\n"
    first, second, header, *rows = done.stdout.splitlines()
    assert "(interest with 1 more, " in first
    assert first.startswith("chair-0")
    assert second.startswith("mug-01  (interest, ")
    assert header.split() == ["id", "score"]
    shown = [row.split()[1] for row in rows]
    assert {"mug-02", "mug-04"} & set(shown)
    assert {"mug-01", "chair-01", "chair-02"}.isdisjoint(shown)


def test_rules_say_what_they_did(similar, matches, rules):
    shown = similar("mug-01", "-k", "6", "--rules", rules)
    assert "   rules: pinned to 2 by pin bowl-02\n" in shown
    assert "relaxed same.category" in shown
    found = matches("mug-01", "-k", "6", "--rules", rules)
    assert found[1]["id"] == "bowl-02"
    assert found[1]["explanation"]["effects"] == [{"rule": "pin bowl-02", "score_delta": None, "position": 2}]
    assert [match["attributes"]["category"] == "mug" for match in found[:1]] == [True]
    assert all(match["attributes"]["in_stock"] for match in found)
    assert {tuple(match["explanation"]["relaxed"]) for match in found} == {(), ("same.category",)}
    assert found[0]["explanation"]["terms"] == []


def test_a_pinned_item_that_is_sold_out_is_not_shown(matches, rules):
    rules.write_text(RULES.replace("bowl-02", "mug-03"))
    assert "mug-03" not in ids(matches("mug-01", "--rules", rules))
    rules.write_text(RULES.replace("bowl-02", "mug-03").replace('"not in_stock"', '"price > 1e6"'))
    assert "mug-03" not in ids(matches("mug-01", "-k", "3", "--rules", rules))


def test_the_command_line_overrules_the_file(matches, rules):
    rules.write_text("min_score = 0.9\none_per = false\n")
    assert ids(matches("mug-01", "--rules", rules)) == ["mug-02"]
    low = matches("mug-01", "--rules", rules, "--min-score", "0.2", "--one-per", "category")
    assert len({match["attributes"]["category"] for match in low}) == len(low) > 5


def test_nothing_left_is_said(similar):
    assert similar("mug-01", "--min-score", "1").splitlines()[1:] == ["nothing is similar: no other item matches"]


def test_explain_names_the_two_images_of_a_score(similar):
    query, _, row, term, shared = similar("mug-01", "-k", "1", "--explain").splitlines()
    score = row.split()[2]
    assert query.startswith("mug-01  Striped mug")
    assert term.strip() == f"{score}  mug-04-1.jpg is nearest to mug-01-1.jpg of mug-01"
    assert shared.strip() == "shared: category mug, currency EUR, in_stock True"


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["mug-01:0"], 2, "a weight of 0.0 is not above 0"),
        (["mug-01:x"], 1, "no item has the id 'mug-01:x'; the nearest are mug-01"),
        (["mug-01", "--negative", "mug-01"], 2, "the item 'mug-01' is in items and in negatives"),
        (["--text", " "], 2, "the text is empty"),
        (["--negative", "mug-01"], 2, "name an item id, or an image with --image"),
        (["mug-01", "--min-score", "7"], 1, "a minimum score of 7.0 is not from -1 to 1; try 0.5"),
        (["mug-01", "--one-per", "colour"], 1, "one_per: no item has the attribute 'colour'; the nearest is color"),
        (
            ["mug-01", "--rules", "none.toml"],
            1,
            "none.toml: cannot be read (No such file or directory); check the path",
        ),
        (["--history", "none.jsonl"], 1, "none.jsonl: cannot be read (No such file or directory); check the path"),
    ],
)
def test_a_mistake_is_one_sentence(visrec, sample_store, arguments, status, sentence):
    done = visrec("similar", *arguments, "--store", sample_store)
    assert done.returncode == status, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_mistake_in_a_rules_file_is_one_sentence(visrec, sample_store, rules):
    rules.write_text("[[boost]]\nwhere = 'colour == \"red\"'\nby = 0.1\n")
    done = visrec("similar", "mug-01", "--rules", rules, "--store", sample_store)
    assert done.returncode == 1
    assert done.stderr.startswith(f"visrec: {rules}, [[boost]] 1, key 'where': filter, column 1: no item has the attr")
    assert done.stderr.count("\n") == 1


def test_the_page_shows_rules_and_explanations(similar, rules, tmp_path):
    page = tmp_path / "page.html"
    similar("mug-01:2", "--negative", "lamp-01", "--rules", rules, "--explain", "-k", "4", "--html", page)
    text = page.read_text("utf-8")
    for note in ("weight 2", "negative", "pinned to 2 by pin bowl-02", "relaxed same.category"):
        assert f"<span>{note}</span>" in text
    assert "is nearest to mug-01-1.jpg of mug-01 (weight 2)</p>" in text
    assert "<p>shared: category mug, " in text
