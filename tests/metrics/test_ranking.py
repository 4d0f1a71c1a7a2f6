"""The rank of each target, and the measures of the rankings."""

import numpy as np
import pytest

from vision_recs.metrics import (
    ItemVectors,
    LabelJudgments,
    OwnItemJudgments,
    PairJudgments,
    evaluate_rankings,
    expose,
    gini,
    ndcg_at_10,
)


def plane(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def items(**images):
    """Return items with images at angles; equal angles are one image."""
    angles = [angle for found in images.values() for angle in found]
    positions = [angles.index(angle) for angle in angles]
    starts = np.cumsum([0, *(len(found) for found in images.values())])[:-1]
    return ItemVectors(list(images), starts, np.array(positions), plane(*angles))


SHOP = items(a=[0], b=[10, 90], c=[20], d=[80], e=[170])


def test_an_item_is_ranked_by_its_best_image_and_never_for_itself():
    result = evaluate_rankings(SHOP, SHOP, LabelJudgments(dict.fromkeys("abcde", "x"), SHOP.ids))
    named = [[SHOP.ids[target] for target in row if target >= 0] for row in result.nearest]
    assert named == [
        ["b", "c", "d", "e"],
        ["a", "c", "d", "e"],  # by its images at 10 and 90: a and c and d are all 10 away, in the order of ids
        ["b", "a", "d", "e"],
        ["b", "c", "a", "e"],
        ["b", "d", "c", "a"],
    ]
    assert result.scores[0, :4] == pytest.approx(np.cos(np.radians([10, 20, 80, 170])), abs=1e-6)
    assert np.isnan(result.scores[:, 4:]).all()


def test_labels_say_what_is_relevant():
    labels = {"a": 1, "b": 1, "c": True, "d": None, "e": 1}
    result = evaluate_rankings(SHOP, SHOP, LabelJudgments(labels, SHOP.ids))
    assert result.queries == ["a", "b", "e"]  # c is alone with a true that is not 1, d has no label
    assert result.skipped == 2
    assert result.of("precision_at_1").tolist() == [1, 1, 1]
    assert result.of("map_at_r").tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert result.is_relevant[0].tolist() == [True, False, False, True] + [False] * 6


def test_pairs_hold_one_way_and_only_above_zero():
    result = evaluate_rankings(
        SHOP, SHOP, PairJudgments([("a", "c", 2), ("b", "a", 0), ("c", "c", 3), ("c", "nobody", 1)], SHOP.ids)
    )
    assert result.queries == ["a"]
    assert result.of("mrr").tolist() == [1 / 2]


def test_an_image_finds_its_item_by_the_others_only():
    shop = items(a=[0, 8], b=[1], c=[50, 58], d=[4])
    result = evaluate_rankings(shop, shop, OwnItemJudgments(shop.ids), per_image=True)
    assert result.queries == ["a", "a", "c", "c"]
    assert result.of("mrr").tolist() == pytest.approx([1 / 3, 1 / 3, 1, 1])
    assert result.skipped == 2


def test_queries_and_targets_may_be_different_items():
    queries, targets = SHOP.take(np.array([0, 3])), SHOP.take(np.array([1, 4]))
    result = evaluate_rankings(queries, targets, LabelJudgments(dict.fromkeys("abcde", "x"), targets.ids))
    assert result.nearest[:, :3].tolist() == [[0, 1, -1], [0, 1, -1]]
    assert result.of("precision_at_10").tolist() == pytest.approx([0.2, 0.2])


def test_every_score_is_counted_once():
    result = evaluate_rankings(SHOP, SHOP, LabelJudgments({"a": 1, "b": 1, "c": 2, "d": 2, "e": 1}, SHOP.ids))
    assert result.relevant_scores.sum() == 2 + 2 + 1 + 1 + 2
    assert (result.relevant_scores + result.other_scores).sum() == 5 * 4


def random_shop(count, *, most=4, directions=None):
    """Return *count* items with up to *most* images, of few *directions*, so that many scores are equal."""
    random = np.random.default_rng(count)
    counts = random.integers(1, most + 1, count)
    vectors = random.normal(size=(directions or counts.sum(), 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = random.permutation(counts.sum()) % len(vectors)
    return ItemVectors([f"{n:02}" for n in range(count)], np.cumsum([0, *counts])[:-1], rows, vectors[rows])


def test_blocks_of_queries_give_what_one_block_gives(monkeypatch):
    shop = random_shop(40)
    judgments = LabelJudgments({item: int(item) % 3 for item in shop.ids}, shop.ids)
    whole = evaluate_rankings(shop, shop, judgments)
    monkeypatch.setattr("vision_recs.metrics.ranking._AT_ONCE", 3 * len(shop.vectors))
    parts = evaluate_rankings(shop, shop, judgments)
    assert parts.values.tolist() == whole.values.tolist()
    assert parts.nearest.tolist() == whole.nearest.tolist()


@pytest.mark.parametrize("directions", [None, 7], ids=["no-ties", "ties"])
@pytest.mark.parametrize("most", [1, 4], ids=["one-image", "images"])
@pytest.mark.parametrize("count", [1, 2, 10, 11, 12, 50])
def test_the_ndcg_alone_is_that_of_whole_rankings(count, most, directions):
    shop = random_shop(count, most=most, directions=directions)
    queries = shop.take(np.arange(0, count, 2))
    pairs = [(one, other, 1 + int(other) % 3) for one in shop.ids for other in shop.ids if (int(one) + int(other)) % 4]
    for judgments, per_image in (
        (LabelJudgments({item: int(item) % 3 or None for item in shop.ids}, shop.ids), False),
        (LabelJudgments({item: int(item) % 3 for item in shop.ids}, shop.ids, include_self=True), True),
        (PairJudgments(pairs, shop.ids), False),
        (OwnItemJudgments(shop.ids), True),
    ):
        expected = evaluate_rankings(queries, shop, judgments, per_image=per_image).of("ndcg_at_10")
        assert ndcg_at_10(queries, shop, judgments, per_image=per_image).tolist() == expected.tolist()


def test_exposure_counts_in_how_many_answers_each_item_is():
    result = evaluate_rankings(
        SHOP, SHOP.take(np.array([0, 1, 2])), LabelJudgments(dict.fromkeys("abcde", "x"), ["a", "b", "c"])
    )
    found = expose(result, SHOP.take(np.array([0, 1, 2])))
    assert [(hub.id, hub.answers) for hub in found.hubs] == [("a", 4), ("b", 4), ("c", 4)]
    assert (found.coverage, found.gini) == (1.0, pytest.approx(0))


def test_diversity_is_one_minus_the_mean_cosine_of_the_pairs_of_an_answer():
    shop = items(a=[0], b=[60], c=[90], q=[10])
    targets = shop.take(np.array([0, 1, 2]))
    found = expose(
        evaluate_rankings(shop.take(np.array([3])), targets, LabelJudgments(dict.fromkeys("abcq", 1), targets.ids)),
        targets,
    )
    assert found.diversity == pytest.approx(1 - np.mean(np.cos(np.radians([60, 90, 30]))), abs=1e-6)


def test_gini_by_hand():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert gini(np.array([1, 2, 3])) == pytest.approx(
        sum(abs(a - b) for a in (1, 2, 3) for b in (1, 2, 3)) / (2 * 3 * 6)
    )
    assert gini(np.array([0, 0])) == 0
