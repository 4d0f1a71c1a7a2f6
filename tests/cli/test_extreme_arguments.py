"""Numbers beyond all bounds and bytes that are not text are a sentence, or mean what they say."""

import os
from pathlib import Path

import pytest
from fake_shop import index, shop_of

HUGE = "9" * 20
LONG = "9" * 400  # a whole number in Python, and beyond every float
ENDLESS = "9" * 5000  # beyond what Python reads


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("extremes")
    index(shop_of(12), place / "store")
    (place / "plain.csv").write_text("id,image,price\nx,1.png,1\n")
    (place / "number.csv").write_text(f"id,image,price\nx,1.png,{ENDLESS}\n")
    (place / "number.jsonl").write_text(f'{{"id": "x", "image": "1.png", "price": {ENDLESS}}}\n')
    (place / "long.jsonl").write_text(f'{{"id": "item000", "time": {LONG}}}\n')
    (place / "heavy.jsonl").write_text(f'{{"id": "item000", "weight": {LONG}}}\n')
    (place / "long.toml").write_text(f'[[boost]]\nwhere = "price < 1"\nby = {LONG}\n')
    (place / "history.jsonl").write_text(f'{{"id": "item000", "time": {ENDLESS}}}\n')
    (place / "pairs.csv").write_text(f"query,relevant,grade\nitem000,item001,{ENDLESS}\n")
    (place / "weights.csv").write_text(f"query,relevant,weight\nitem000,item001,{ENDLESS}\n")
    (place / "boost.toml").write_text(f'[[boost]]\nwhere = "price < 1"\nby = {ENDLESS}\n')
    (place / "where.toml").write_text(f'[[exclude]]\nwhere = "price < {ENDLESS}"\n')
    return place


@pytest.fixture
def run(visrec, place):
    return lambda *arguments: visrec(*arguments, cwd=place, VISREC_STORE="store")


@pytest.mark.parametrize("number", [HUGE, LONG])
def test_more_items_than_there_are_is_all_of_them(run, number):
    done = run("similar", "item000", "-k", number, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 11


def test_more_neighbors_than_there_are_is_all_of_them(run, place):
    done = run("neighbors", "all.csv", "-k", HUGE, "--quiet")
    assert done.returncode == 0, done.stderr
    assert len((place / "all.csv").read_text().splitlines()) == 1 + 12 * 11


SENTENCES = {
    "k": ["similar", "item000", "-k", ENDLESS],
    "k of neighbors": ["neighbors", "out.csv", "-k", ENDLESS],
    "generation": ["neighbors", "out.csv", "--changed-since", HUGE],
    "generation without end": ["neighbors", "out.csv", "--changed-since", ENDLESS],
    "weight": ["similar", f"item000:{ENDLESS}"],
    "large weight": ["similar", "item000:1e999"],
    "filter": ["similar", "item000", "--where", f"price < {ENDLESS}"],
    "minimum score": ["similar", "item000", "--min-score", ENDLESS],
    "diversity": ["similar", "item000", "--diversity", ENDLESS],
    "memory": ["index", "plain.csv", "--max-memory", ENDLESS],
    "large memory": ["index", "plain.csv", "--max-memory", f"{ENDLESS}GB"],
    "recall": ["index", "plain.csv", "--target-recall", ENDLESS],
    "limit": ["embed", "plain.csv", "--limit", ENDLESS],
    "threshold": ["duplicates", "--threshold", ENDLESS],
    "sample": ["evaluate", "--labels", "price", "--sample", ENDLESS],
    "port": ["serve", "--port", ENDLESS],
    "workers": ["serve", "--workers", HUGE],
    "catalog as CSV": ["index", "number.csv"],
    "catalog as JSON": ["index", "number.jsonl"],
    "history": ["similar", "--history", "history.jsonl"],
    "long time": ["similar", "--history", "long.jsonl"],
    "long weight": ["similar", "--history", "heavy.jsonl"],
    "long rule": ["similar", "item000", "--rules", "long.toml"],
    "grade": ["evaluate", "--pairs", "pairs.csv"],
    "weight of a pair": ["tune", "--pairs", "weights.csv"],
    "rule": ["similar", "item000", "--rules", "boost.toml"],
    "rule with a filter": ["similar", "item000", "--rules", "where.toml"],
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_number_beyond_all_bounds_is_one_short_sentence(run, name):
    assert_sentence(run(*SENTENCES[name]))


BYTES = {
    "item": [b"similar", b"caf\xe9"],
    "image": [b"similar", b"--image", b"caf\xe9.jpg"],
    "words": [b"similar", b"--text", b"caf\xe9"],
    "negative": [b"similar", b"item000", b"--negative", b"caf\xe9"],
    "attribute": [b"similar", b"item000", b"--one-per", b"caf\xe9"],
    "filter": [b"similar", b"item000", b"--where", b'kind == "caf\xe9"'],
    "rules": [b"similar", b"item000", b"--rules", b"caf\xe9.toml"],
    "store": [b"similar", b"item000", b"--store", b"caf\xe9"],
    "catalog": [b"index", b"caf\xe9.csv"],
    "column": [b"index", b"plain.csv", b"--id-column", b"caf\xe9"],
    "encoder": [b"index", b"plain.csv", b"--encoder", b"caf\xe9"],
    "labels": [b"evaluate", b"--labels", b"caf\xe9"],
    "option": [b"similar", b"--caf\xe9"],
    "command": [b"caf\xe9"],
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_not_text_are_one_sentence_that_shows_them(run, name):
    assert_sentence(run(*BYTES[name]))


def assert_sentence(done):
    said = done.stderr
    assert done.returncode in {1, 2}, (done.stdout, said)
    assert "Traceback" not in said
    assert "set_int_max_str_digits" not in said
    assert len(said.replace(ENDLESS, "")) < 1000
    assert "damage" not in said
    assert "verify" not in said
    if done.returncode == 1:
        *before, sentence = said.splitlines()
        assert all(line.startswith("embedding: ") for line in before)  # where that took a while
        assert sentence.startswith("visrec: ")


def test_a_name_that_is_not_text_is_a_name(run, place):
    """A file may have any name."""
    out = os.fsencode(place) + b"/caf\xe9.csv"
    done = run(b"neighbors", out, b"--quiet")
    assert done.returncode == 0, done.stderr
    assert Path(os.fsdecode(out)).stat().st_size > 100
    page = os.fsencode(place) + b"/caf\xe9.html"
    assert run(b"similar", b"item000", b"--html", page).returncode == 0
    assert Path(os.fsdecode(page)).stat().st_size > 100


def test_a_store_in_a_folder_whose_name_is_not_text_answers(run, place):
    right = run(b"similar", b"item000", b"--json", b"--store", os.fsencode(place / "store"))
    store = (place / "store").rename(place / os.fsdecode(b"caf\xe9"))
    try:
        done = run(b"similar", b"item000", b"--json", b"--store", os.fsencode(store))
    finally:
        store.rename(place / "store")
    assert (done.returncode, done.stdout) == (0, right.stdout)
    assert done.stdout
