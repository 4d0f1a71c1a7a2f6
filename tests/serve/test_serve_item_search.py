"""What deltas change is laid over the words of the base: the answers are those of a search built anew."""

import random
import sqlite3

import pytest

from vision_recs.errors import StoreUnavailable
from vision_recs.serve import item_search
from vision_recs.serve.search_files import open_item_search

WORDS = ("red", "reddish", "mug", "größe", "lamp", "a", "of", "oak", "7")


class Items(dict):
    """Items in memory: id -> attributes."""

    def pages_of_ids(self):
        ids = sorted(self)
        yield from (ids[start : start + 7] for start in range(0, len(ids), 7))

    def attributes_of(self, items):
        return {item: self[item] for item in items if item in self}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))


def attributes(chance):
    every = {
        "title": " ".join(chance.choices(WORDS, k=chance.randint(1, 4))),
        "color": chance.choice(["red", "blue", "green"]),
        "sale": chance.random() < 0.5,
        "price": chance.randint(-20, 60) / 4,
        "mixed": chance.choice(["x", 5, True]),
        "tags": chance.choice(["new", '["new"]', '["new", "red"]', '["red", 1]', "[]"]),
        "rare": 1 if chance.random() < 0.1 else None,
    }
    return {name: value for name, value in every.items() if value is not None and chance.random() < 0.8}


def random_changes(chance, items):
    """Return which of *items* change, and what they become."""
    ids = chance.sample([f"item {number}" for number in range(60)], chance.randint(1, 4))
    after = Items(items)
    for item in ids:
        after.pop(item, None)
        if chance.random() < 0.8:
            after[item] = attributes(chance)
    return ids, after


@pytest.mark.parametrize("seed", range(6))
def test_a_search_that_follows_changes_equals_one_that_is_built_anew(seed):
    chance = random.Random(seed)
    items = Items({f"item {number}": attributes(chance) for number in range(40)})
    search = open_item_search(items, name="base")
    for step in range(15):
        ids, after = random_changes(chance, items)
        previous, before = search, search.search("red", 100)
        search = search.changed(ids, items.attributes_of, after.attributes_of)
        assert previous.search("red", 100) == before
        items = after
        anew = open_item_search(items, name=f"{seed}-{step}")
        for text in (*WORDS, "re mu", "item 1", "item 7 red", "Große"):
            assert sorted(search.search(text, 100)) == sorted(anew.search(text, 100)), text
        some = chance.choice(sorted(items))
        assert search.search(some, 100)[0] == some


def titled(oak, lamp):
    return {"title": " ".join(["oak"] * oak + ["lamp"] * lamp + ["word"] * (10 - oak - lamp))}


def test_an_item_whose_words_change_has_the_rank_that_its_words_have_in_the_base():
    items = Items({f"{oak}{lamp}": titled(oak, lamp) for oak in range(1, 5) for lamp in range(1, 7)})
    items |= {f"x{number}": titled(0, number % 3) for number in range(60)}  # an oak is rare, a lamp is not
    search = open_item_search(items, name="base")
    before = search.search("oak lamp", 100)
    after = Items(items | {"new": titled(2, 3), "11": titled(0, 1)})
    changed = search.changed(["new", "11"], items.attributes_of, after.attributes_of)
    expected = [item for item in before if item != "11"]
    expected.insert(expected.index("23") + 1, "new")
    assert changed.search("oak lamp", 100) == expected
    assert changed.search("oak lamp", 3) == expected[:3]


def test_the_words_of_an_item_are_written_again_a_few_times_only_however_many_changes_come(monkeypatch):
    items = Items({f"item {number}": {"title": "mug"} for number in range(300)})
    search = open_item_search(items, name="base")
    written, every = [], item_search._words_of
    monkeypatch.setattr(item_search, "_words_of", lambda texts: written.append(len(texts)) or every(texts))
    for number in range(300):
        after = Items(items | {f"item {number}": {"title": f"lamp {number}"}})
        search = search.changed([f"item {number}"], items.attributes_of, after.attributes_of)
        items = after
    assert sum(written) < 300 * 12
    assert search.search("mug", 5) == []
    assert len(search.search("lamp", 500)) == 300
    assert search.search("lamp 7", 1) == ["item 7"]


def test_the_search_of_a_cache_that_cannot_be_written_follows_changes(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "file"))
    items = Items(a={"title": "red mug", "color": "red"}, b={"title": "oak lamp", "color": "blue"})
    after = Items(items | {"c": {"title": "red lamp", "color": "red"}})
    search = open_item_search(items, name="base").changed(["c"], items.attributes_of, after.attributes_of)
    assert sorted(search.search("red", 5)) == ["a", "c"]


def test_a_database_is_closed_with_the_last_search_that_uses_it():
    items = Items(a={"title": "red"})
    search = open_item_search(items, name="base")
    connection = search._base._connection
    search = search.changed(["a"], items.attributes_of, Items().attributes_of)
    assert search.search("red", 5) == []
    del search
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_search_that_cannot_be_read_is_not_available():
    search = open_item_search(Items(a={"title": "red"}), name="base")
    search._base._connection.close()
    with pytest.raises(StoreUnavailable, match=r"the cached item search cannot be read \(.*\); try again"):
        search.search("red", 5)


def test_a_misspelt_word_is_replaced_by_the_nearest_one_also_of_an_item_that_changed():
    items = Items(a={"title": "red mug, größe 7"}, b={"title": "oak lamp"})
    search = open_item_search(items, name="base")
    assert search.corrected("oka lamb") == "oak lamp"
    assert search.corrected("red mgu") == "red mug"
    assert search.corrected("größte") == "große"  # words are kept without accents
    assert search.corrected("red oka") is None  # no item has both
    assert search.corrected("zzz") is None
    assert search.corrected(" ".join(["lamb"] * 9)) is None
    after = Items(items | {"c": {"title": "striped vase"}})
    assert search.changed(["c"], items.attributes_of, after.attributes_of).corrected("stripped") == "striped"
