"""The lists of all items, compared with the answers to one query for each item."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_shop import FakeEncoder, Shop, index, shop_of
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import shops

import vision_recs
from vision_recs.batch.neighbors import NeighborsOptions, candidates, checkpoints, write_neighbors
from vision_recs.errors import TooManyVectors
from vision_recs.filters import Filter
from vision_recs.recommend import Policy, read_policy
from vision_recs.vectors import exact_cosine

VARIANTS = {"in_stock": st.booleans(), "variant_group": st.sampled_from([None, "a", "b", 1])}


@st.composite
def policies(draw):
    return Policy(
        one_per=draw(st.sampled_from([None, "variant_group"])),
        where=draw(st.sampled_from([None, Filter.parse("variant_group is null")])),
        exclude=draw(st.sampled_from([frozenset(), frozenset({"item01", "item03"})])),
        min_score=draw(st.sampled_from([None, 0.0, 0.8])),
    )


def read(path):
    """Return item -> its list, from a Parquet file."""
    table = pq.read_table(path).to_pylist()
    found = {}
    for row in table:
        found.setdefault(row["item_id"], []).append((row["rank"], row["neighbor_id"], row["score"]))
    return found


def one_by_one(store, options):
    """Return item -> its list, by one query for each item; items with an empty list are left out."""
    recommender = vision_recs.open(store)
    found = {}
    for item in recommender.items.ids():
        if options.query_filter is None or options.query_filter.matches(recommender.items.attributes(item)):
            matches = recommender.similar(item, k=options.k, where=options.where, policy=options.policy)
            if matches:
                found[item] = [(rank, match.id, match.score) for rank, match in enumerate(matches, 1)]
    return found


some_options = st.builds(
    NeighborsOptions,
    k=st.integers(1, 20),
    where=st.sampled_from([None, Filter.parse("in_stock")]),
    query_filter=st.sampled_from([None, Filter.parse("not in_stock")]),
    policy=policies(),
    method=st.sampled_from(["exact", "index"]),
)


@settings(deadline=None, max_examples=examples_of(60))
@given(
    shop=shops(16, VARIANTS), options=some_options, at_once=st.sampled_from([2, 4096]), wide=st.sampled_from([1, None])
)
def test_each_list_is_the_answer_to_a_query_for_the_item(shop, options, at_once, wide):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_ITEMS", at_once)
        if wide:
            patch.setattr("vision_recs.batch.neighbors.plan._MORE", 1 - min(options.k, len(shop.items)))
            patch.setattr("vision_recs.batch.neighbors.retrieve._MANY_GROUPS", 1)
        index(shop, Path(folder, "store"), FakeEncoder())
        report = write_neighbors(Path(folder, "store"), Path(folder, "t.parquet"), options)
        found = read(Path(folder, "t.parquet"))
        expected = one_by_one(Path(folder, "store"), options)
    assert found == expected
    assert (report.items, report.rows) == (len(expected), sum(map(len, expected.values())))


@settings(deadline=None, max_examples=examples_of(40))
@given(
    shop=shops(16, VARIANTS),
    policy=policies(),
    k=st.integers(1, 8),
    diversity=st.sampled_from([0.1, 0.5, 0.9]),
    size=st.sampled_from([2, 5, 100]),
)
def test_each_choice_of_a_diverse_list_is_the_best_that_is_left(shop, policy, k, diversity, size):
    diverse = replace(policy, diversity=diversity)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.recommend.query._POOL", size)
        patch.setattr("vision_recs.recommend.query._POOL_FOR_EACH", 1)
        patch.setattr("vision_recs.batch.neighbors.retrieve._MANY_GROUPS", 1)
        index(shop, Path(folder, "store"), FakeEncoder())
        write_neighbors(Path(folder, "store"), Path(folder, "t.parquet"), NeighborsOptions(k=k, policy=diverse))
        found = read(Path(folder, "t.parquet"))
        recommender = vision_recs.open(Path(folder, "store"))
        for item in recommender.items.ids():
            pool = recommender.similar(item, k=diverse.pool(k), policy=policy)
            chosen = found.get(item, [])
            assert len(chosen) == min(k, len(pool))
            assert marginal_order(recommender.items, pool, diversity, [similar for _, similar, _ in chosen])
            score_of = {match.id: match.score for match in pool}
            expected = [score_of[similar] for _, similar, _ in chosen]
            assert [score for _, _, score in chosen] == pytest.approx(expected, abs=1e-6)


RULES = """
fallbacks = ["same.category", "one_per"]
same = ["category"]
[[exclude]]
where = "not in_stock"
[[boost]]
where = "price > 2"
by = 0.1
[[pin]]
item = "item02"
at = 2
[bounds]
price = [0.4, 3.0]
"""


@settings(deadline=None, max_examples=examples_of(25))
@given(
    shop=shops(16, VARIANTS),
    options=some_options,
    diversity=st.sampled_from([0.0, 0.3]),
    where=st.sampled_from([None, Filter.parse("price < 3")]),
    deep=st.sampled_from([1, 12]),
)
def test_under_rules_too_each_list_is_the_answer_to_a_query(shop, options, diversity, where, deep):
    for number, item in enumerate(shop.items.values()):
        item.attributes.update(category="ab"[number % 2], price=number % 4 + 1)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.batch.neighbors.with_rules.DEPTH", deep)
        index(shop, Path(folder, "store"), FakeEncoder())
        Path(folder, "rules.toml").write_text(RULES)
        policy = replace(read_policy(Path(folder, "rules.toml")), where=where, diversity=diversity)
        options = replace(options, policy=policy)
        write_neighbors(Path(folder, "store"), Path(folder, "t.parquet"), options)
        found = read(Path(folder, "t.parquet"))
        expected = one_by_one(Path(folder, "store"), options)
    assert found == expected


@pytest.mark.parametrize("rules", ['fallbacks = ["one_per"]', 'min_score = 0.99\nfallbacks = ["min_score"]'])
def test_rules_that_only_relax_what_the_policy_says_do_so_for_each_item(tmp_path, rules):
    shop = Shop()
    for number in range(6):
        shop.put(f"item{number}", number, variant_group="ab"[number % 2])
    index(shop, tmp_path / "store")
    (tmp_path / "rules.toml").write_text(rules)
    options = NeighborsOptions(k=5, policy=replace(read_policy(tmp_path / "rules.toml"), exclude=frozenset({"item0"})))
    write_neighbors(tmp_path / "store", tmp_path / "t.parquet", options)
    assert read(tmp_path / "t.parquet") == one_by_one(tmp_path / "store", options)


def test_of_equal_scores_the_first_items_are_chosen_though_several_show_one_image(tmp_path, monkeypatch):
    shop = shop_of(2)
    shop.files["again.png"] = shop.files["1.png"] + b"\0"  # other bytes, the same vector
    for item, name in {"a": "1.png", "m": "again.png", "z": "1.png", "item001": "1.png"}.items():
        shop.put(item, name, price=1)
    del shop.items["item001"]
    index(shop, tmp_path / "store")
    monkeypatch.setattr("vision_recs.batch.neighbors.plan._MORE", 0)
    write_neighbors(tmp_path / "store", tmp_path / "t.parquet", NeighborsOptions(k=2, policy=Policy(one_per=None)))
    assert [neighbor for _, neighbor, _ in read(tmp_path / "t.parquet")["item000"]] == ["a", "m"]


def test_with_rules_the_only_eligible_one_of_very_many_items_that_show_one_image_is_found(tmp_path):
    shop, store = shop_of(400), tmp_path / "store"
    index(shop, store, shard_size=400)
    first, second = (match.id for match in vision_recs.open(store).similar("item000", k=2))
    for number in range(500):
        shop.put(f"{first}-{number:03}", *shop.items[first].images, price=1 if number == 499 else -1)
        shop.put(f"{second}-{number:03}", *shop.items[second].images, price=1)
    shop.put(first, *shop.items[first].images, price=-1)
    index(shop, store, shard_size=400)
    (tmp_path / "rules.toml").write_text('[[exclude]]\nwhere = "price < 0"\n')
    policy = replace(read_policy(tmp_path / "rules.toml"), one_per=None)
    options = NeighborsOptions(k=1, policy=policy, query_filter=Filter.parse("price == 0"))
    write_neighbors(store, tmp_path / "t.parquet", options)
    assert [neighbor for _, neighbor, _ in read(tmp_path / "t.parquet")["item000"]] == [f"{first}-499"]


def marginal_order(store, pool, diversity, chosen):
    """Whether each of *chosen* has the highest marginal relevance of the pool when its turn comes."""
    positions = store.positions_of({match.digest for match in pool})
    vectors = {match.id: store.vectors(np.array([positions[match.digest]]))[0] for match in pool}
    taken = []
    for item in chosen:
        values = {}
        for match in pool:
            if match.id not in taken:
                near = [float(exact_cosine(vectors[match.id][None], vectors[other])[0]) for other in taken]
                values[match.id] = (1 - diversity) * match.score - diversity * max(near, default=0.0)
        if values[item] < max(values.values()) - 1e-6:
            return False
        taken.append(item)
    return True


class Killed(BaseException):
    """As if the process had been killed."""


@settings(deadline=None, max_examples=examples_of(25))
@given(before=shops(16, VARIANTS), after=shops(16, VARIANTS), options=some_options, stop=st.integers(0, 8))
def test_the_delta_makes_the_old_lists_the_new_ones_even_if_stopped_between(before, after, options, stop):
    written = checkpoints.Checkpoints.write
    left = [stop]

    def write(self, *arguments):
        left[0] -= 1
        if left[0] == -1:
            raise Killed
        written(self, *arguments)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_ITEMS", 3)
        store, old, new, changes = (Path(folder, name) for name in ("store", "old.parquet", "new.parquet", "c.parquet"))
        index(before, store, FakeEncoder())
        write_neighbors(store, old, options)
        index(after, store, FakeEncoder())
        write_neighbors(store, new, options)
        with pytest.MonkeyPatch.context() as kill:
            kill.setattr(checkpoints.Checkpoints, "write", write)
            with contextlib.suppress(Killed):
                write_neighbors(store, changes, replace(options, changed_since=1))
        write_neighbors(store, changes, replace(options, changed_since=1))
        old, new, changes = read(old), read(new), read(changes)
    changed = {item: [row for row in found if row[0] is not None] for item, found in changes.items()}
    assert {item: found for item, found in (old | changed).items() if found} == new
    assert all(old.get(item) != found for item, found in changed.items())


def test_more_images_than_can_be_numbered_are_one_sentence(monkeypatch, tmp_path):
    index(shop_of(6), tmp_path / "store", FakeEncoder())
    monkeypatch.setattr("vision_recs.knn_join.keys.MOST_CANDIDATES", 5)
    for method in ("exact", "index"):
        with pytest.raises(TooManyVectors, match="6 images are more than the 5 that one run can compare"):
            write_neighbors(tmp_path / "store", tmp_path / "n.csv", NeighborsOptions(k=2, method=method))
