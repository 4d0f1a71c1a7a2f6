"""The measures, against trec_eval and by hand."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from vision_recs.metrics import MEASURES, ItemVectors, LabelJudgments, PairJudgments, evaluate_rankings

SCORES = st.integers(0, 6)  # few distinct ones, so that ties are common


def of_trec_eval(scores, grades):
    """Return the measures of trec_eval for one ranking; equal scores are ordered by position."""
    names = [f"d{len(scores) - place:06}" for place in range(len(scores))]  # it orders ties by name, descending
    run = {"q": {name: float(score) for name, score in zip(names, scores, strict=True)}}
    judgments = {"q": {name: grade for name, grade in zip(names, grades, strict=True) if grade}}
    relevant = sum(grade > 0 for grade in grades)
    wanted = {"P.1,10", "recall.10,100", "success.10", "recip_rank", "ndcg_cut.10", f"map_cut.{relevant}"}
    found = pytrec_eval.RelevanceEvaluator(judgments, wanted).evaluate(run)["q"]
    return {
        "precision_at_1": found["P_1"],
        "precision_at_10": found["P_10"],
        "recall_at_10": found["recall_10"],
        "recall_at_100": found["recall_100"],
        "hit_at_10": found["success_10"],
        "map_at_r": found[f"map_cut_{relevant}"],
        "mrr": found["recip_rank"],
        "ndcg_at_10": found["ndcg_cut_10"],
    }


def ours(scores, grades):
    order = np.argsort(-np.array(scores), kind="stable")
    sorted_grades = np.array(grades, np.float64)[order]
    ranks = np.flatnonzero(sorted_grades) + 1
    return {name: measure(ranks, sorted_grades[ranks - 1]) for name, measure in MEASURES.items()}


RANKINGS = st.lists(st.tuples(SCORES, st.integers(0, 3)), min_size=1, max_size=150)


@given(RANKINGS.filter(lambda ranking: any(grade for _, grade in ranking)))
def test_the_measures_of_random_rankings_with_ties_are_those_of_trec_eval(ranking):
    scores, grades = zip(*ranking, strict=True)
    assert ours(scores, grades) == pytest.approx(of_trec_eval(scores, grades), abs=1e-9)


def test_rankings_of_vectors_have_the_measures_of_trec_eval():
    random = np.random.default_rng(3)
    vectors = random.integers(-1, 2, (60, 6)).astype(np.float32)  # so few values that many cosines are equal
    vectors[:, 0] += 3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"item{number:02}" for number in range(60)]
    items = ItemVectors(ids, np.arange(60), np.arange(60), vectors)
    grades = {(one, other): int(random.integers(0, 4)) for one in ids for other in ids if one != other}
    result = evaluate_rankings(
        items, items, PairJudgments(((one, other, grade) for (one, other), grade in grades.items()), ids)
    )
    assert list(result.queries) == ids
    for row, query in enumerate(ids):
        others = [item for item in ids if item != query]
        cosines = [float(vectors[row].astype(np.float64) @ vectors[ids.index(item)]) for item in others]
        cosines = [round(cosine * 2**24) / 2**24 for cosine in cosines]  # as indexes do
        expected = of_trec_eval(cosines, [grades[query, item] for item in others])
        assert dict(zip(MEASURES, result.values[row], strict=True)) == pytest.approx(expected, abs=1e-9)


def test_an_item_is_not_relevant_to_itself_and_pairs_add_up_one_way():
    pairs = [("a", "a", 5.0), ("a", "b", 1.0), ("a", "b", 2.0), ("b", "c", 0.0), ("c", "a", -1.0), ("a", "gone", 1.0)]
    judgments = PairJudgments(pairs, ["a", "b", "c"])
    found = {query: [part.tolist() for part in judgments.relevant(query)] for query in ("a", "b", "c", "gone")}
    assert found == {"a": [[1], [3.0]], "b": [[], []], "c": [[], []], "gone": [[], []]}


def test_an_item_is_relevant_to_itself_by_its_label_only_where_its_images_have_to_find_it():
    for include_self, found in ((False, [0]), (True, [0, 2])):
        judgments = LabelJudgments({"a": 1, "b": 1, "c": 2}, ["b", "c", "a"], include_self=include_self)
        assert [part.tolist() for part in judgments.relevant("a")] == [found, [1.0] * len(found)]


def test_a_ranking_by_hand():
    measured = ours([9, 8, 7, 6, 5], [0, 1, 0, 3, 0])  # relevant at ranks 2 and 4
    assert measured["precision_at_1"] == 0
    assert measured["precision_at_10"] == pytest.approx(0.2)
    assert measured["recall_at_10"] == 1
    assert measured["map_at_r"] == pytest.approx((1 / 2) / 2)  # rank 4 lies beyond R = 2
    assert measured["mrr"] == pytest.approx(1 / 2)
    gained, best = 1 / np.log2(3) + 3 / np.log2(5), 3 + 1 / np.log2(3)
    assert measured["ndcg_at_10"] == pytest.approx(gained / best)


@pytest.mark.parametrize(("rank", "is_hit"), [(1, True), (10, True), (11, False)])
def test_rank_10_is_among_the_first_ten_and_rank_11_is_not(rank, is_hit):
    measured = ours([0] * 20, [1 if place == rank else 0 for place in range(1, 21)])
    assert measured["hit_at_10"] == is_hit
    assert measured["precision_at_10"] == pytest.approx(0.1 * is_hit)
    assert measured["recall_at_10"] == is_hit
    assert (measured["ndcg_at_10"] > 0) == is_hit
