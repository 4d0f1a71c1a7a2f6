"""Averaging: candidates are ranked by their vectors averaged with the candidates that are most like them."""

import json

import numpy as np
import pytest
from fake_shop import index, shop_of

from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.errors import PolicyError
from vision_recs.recommend import Policy, Query, Recommender
from vision_recs.vectors import normalize_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaging")
    index(shop_of(30), folder, shard_size=30)
    return folder


def by_hand(recommender, item, k, neighbors):
    """The candidates of an answer, which are all other items, by the plain definition."""
    items = recommender.items
    ids = [other for other in items.ids() if other != item]
    digests = {other: items.images(other)[0].digest for other in items.ids()}
    query = items.vectors_of([digests[item]])[0].astype(np.float64)
    vectors = items.vectors_of([digests[other] for other in ids]).astype(np.float64)
    averaged = []
    for vector in vectors:
        cosines = vectors @ vector
        nearest = np.argsort(-cosines)[: neighbors + 1]
        averaged.append(cosines[nearest] ** 3 @ vectors[nearest])
    ranks = normalize_rows(np.array(averaged))[0] @ query
    order = np.argsort(-ranks)[:k]
    return [ids[number] for number in order], ranks[order]


def test_the_order_is_that_of_averaged_vectors_and_the_score_is_the_cosine(folder):
    with Recommender.open(folder) as recommender:
        for item in ("item000", "item007"):
            wanted, ranks = by_hand(recommender, item, 6, 4)
            found = recommender.query(Query(items=(item,), k=6), Policy(averaging=4))
            plain = {match.id: match.score for match in recommender.similar(item, k=29)}
            assert [match.id for match in found] == wanted
            assert [match.score for match in found] == [plain[match.id] for match in found]
            assert wanted != list(plain)[:6]
            for match, rank in zip(found, ranks, strict=True):
                (effect,) = match.explanation.effects
                assert effect.rule == "averaging"
                assert match.score + effect.score_delta == pytest.approx(rank, abs=2e-6)


def test_the_candidates_are_so_many_that_the_whole_shop_is_averaged(tmp_path):
    index(shop_of(70), tmp_path, shard_size=70)
    with Recommender.open(tmp_path) as recommender:
        for item in ("item000", "item007", "item031"):
            found = recommender.query(Query(items=(item,), k=6), Policy(averaging=3))
            assert [match.id for match in found] == by_hand(recommender, item, 6, 3)[0]


def test_none_is_the_plain_answer(folder):
    with Recommender.open(folder) as recommender:
        query = Query(items=("item003",), k=5)
        assert recommender.query(query, Policy(averaging=0)) == recommender.query(query)


def test_more_neighbors_than_candidates_is_all_of_them(folder):
    with Recommender.open(folder) as recommender:
        found = recommender.query(Query(items=("item003",), k=9, where=None), Policy(averaging=500))
        assert len(found) == 9


def test_tables_have_the_same_order(folder, tmp_path):
    policy = Policy(averaging=4)
    write_neighbors(folder, tmp_path / "out.jsonl", NeighborsOptions(k=3, nested=True, policy=policy))
    rows = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    lists = {row["item_id"]: [other for other, _ in row["neighbors"]] for row in rows}
    with Recommender.open(folder) as recommender:
        for item in ("item000", "item011", "item029"):
            found = recommender.query(Query(items=(item,), k=3), policy)
            assert lists[item] == [match.id for match in found]


def test_diversity_chooses_from_the_averaged_order(folder):
    with Recommender.open(folder) as recommender:
        query = Query(items=("item003",), k=4)
        averaged = recommender.query(query, Policy(averaging=4))
        diverse = recommender.query(query, Policy(averaging=4, diversity=0.5))
        assert diverse[0].id == averaged[0].id
        assert [match.id for match in diverse] != [match.id for match in averaged]


def test_a_number_below_0_is_refused():
    with pytest.raises(PolicyError, match="averaging with -1 others is below 0; try 10"):
        Policy(averaging=-1)
