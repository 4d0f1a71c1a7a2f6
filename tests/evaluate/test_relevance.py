"""The evaluation of a store, against what it answers to queries."""

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, index

import vision_recs
from vision_recs.catalog.judgments import Pair
from vision_recs.engines import open_engine, publish
from vision_recs.errors import EvaluationError, FilterError
from vision_recs.evaluate import EvaluationTask, compare_stores, measure_index_quality, measure_relevance
from vision_recs.filters import Filter
from vision_recs.jobs import retune
from vision_recs.store import Projection, Store


def shop_of_kinds(count=24):
    shop = Shop()
    for number in range(count):
        shown = [number, 100 + number] if number % 4 == 0 else [number]
        split = "test" if number % 3 == 0 else "train"
        shop.put(f"item{number:02}", *shown, kind="abcd"[number % 4], split=split, brand=None if number else "own")
    return shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    index(shop_of_kinds(), folder)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return Store.open(folder)


@pytest.fixture(scope="module")
def engine(folder, tmp_path_factory):
    pytest.importorskip("lancedb")
    uri = f"lance:{tmp_path_factory.mktemp('engine')}"
    publish(uri, folder)
    return uri


def is_same_kind(folder, query, k, where=None):
    """Return whether each item of the answer to *query* is of its kind."""
    shop = vision_recs.open(folder)
    own = shop.items.attributes(query)["kind"]
    return [match.attributes["kind"] == own for match in shop.similar(query, k=k, where=where)]


def test_each_item_is_a_query_against_all_others_and_finds_what_a_query_answers(folder, store):
    found = measure_relevance(store, EvaluationTask(labels="kind"))
    assert (found.queries, found.targets, found.eligible, found.skipped) == (24, 24, 24, 0)
    shown = [is_same_kind(folder, item, 10) for item in store.items.ids()]
    assert found.measures["precision_at_10"].value == pytest.approx(np.mean(shown))
    assert found.measures["precision_at_1"].value == pytest.approx(np.mean([answer[0] for answer in shown]))
    assert found.measures["recall_at_10"].value == pytest.approx(np.sum(shown) / (24 * 5))
    assert [[row[n] for n in range(10)] for row in found.result.is_relevant.tolist()] == shown


def test_queries_and_targets_are_what_the_filters_select(folder, store):
    task = EvaluationTask(
        labels="kind", query_filter=Filter.parse('split == "test"'), target_filter=Filter.parse('split == "train"')
    )
    found = measure_relevance(store, task)
    assert (found.queries, found.targets) == (8, 16)
    shown = [is_same_kind(folder, f"item{number:02}", 10, 'split == "train"') for number in range(0, 24, 3)]
    assert found.measures["precision_at_10"].value == pytest.approx(np.mean(shown))


def test_groups_are_the_queries_of_each_label(store):
    found = measure_relevance(store, EvaluationTask(labels="kind"))
    assert [(group.value, group.queries) for group in found.groups] == [("a", 6), ("b", 6), ("c", 6), ("d", 6)]
    means = [group.measures["mrr"].value for group in found.groups]
    assert np.mean(means) == pytest.approx(found.measures["mrr"].value)
    by_split = measure_relevance(store, EvaluationTask(labels="kind"), group_by="split")
    assert [(group.value, group.queries) for group in by_split.groups] == [("train", 16), ("test", 8)]


def test_pairs_are_judgments_of_their_own(folder, store):
    shop = vision_recs.open(folder)
    second = shop.similar("item03", k=3)[1].id
    found = measure_relevance(store, EvaluationTask(pairs=[Pair("item03", second, 2), Pair("gone", "item03", 1)]))
    assert (found.queries, found.measures["mrr"].value) == (1, 0.5)
    assert found.measures["ndcg_at_10"].value == pytest.approx(1 / np.log2(3))


def test_without_labels_and_pairs_each_image_looks_for_its_item(store):
    found = measure_relevance(store, EvaluationTask(per_image=True))
    assert found.queries == 2 * 6  # every fourth item has two images
    assert found.skipped == 18
    assert found.judged_by == "the item of each image"


def test_images_may_be_queries_for_a_label_and_their_own_item_counts_by_its_other_images(store):
    found = measure_relevance(store, EvaluationTask(labels="kind", per_image=True))
    assert (found.queries, found.skipped) == (30, 0)
    own = [query.endswith(("00", "04", "08", "12", "16", "20")) for query in found.result.queries]
    opened = {item: store.attributes(item)["kind"] for item in store.items.ids()}
    for row, (query, has_another) in enumerate(zip(found.result.queries, own, strict=True)):
        same = sum(kind == opened[query] for kind in opened.values()) - (not has_another)
        among = sum(opened[found.target_ids[target]] == opened[query] for target in found.result.nearest[row].tolist())
        assert found.result.of("recall_at_10")[row] == pytest.approx(among / same)


def test_a_task_needs_one_kind_of_judgments():
    for arguments in ({}, {"labels": "kind", "pairs": []}, {"pairs": [], "per_image": True}):
        with pytest.raises(ValueError, match=r"judgments|images cannot be queries"):
            EvaluationTask(**arguments)


def test_a_sample_is_drawn_from_the_queries_and_said(store):
    found = measure_relevance(store, EvaluationTask(labels="kind", sample=5))
    assert (found.queries, found.eligible, found.targets) == (5, 24, 24)
    again = measure_relevance(store, EvaluationTask(labels="kind", sample=5))
    assert list(again.result.queries) == list(found.result.queries)


@pytest.mark.parametrize(
    ("task", "error", "sentence"),
    [
        (
            EvaluationTask(labels="color"),
            EvaluationError,
            "no query has the attribute 'color'; name one of brand, kind",
        ),
        (EvaluationTask(labels="brand"), EvaluationError, "nothing is relevant to any of the 1 queries by equal brand"),
        (
            EvaluationTask(labels="kind", query_filter=Filter.parse("shelf == 1")),
            FilterError,
            "no item has the attribute 'shelf'",
        ),
        (
            EvaluationTask(labels="kind", target_filter=Filter.parse('split == "none"')),
            EvaluationError,
            "no item is a",
        ),
        (EvaluationTask(pairs=[Pair("x", "y", 1)]), EvaluationError, "the first of them 'x'"),
    ],
)
def test_a_task_that_cannot_be_resolved_is_one_sentence(store, task, error, sentence):
    with pytest.raises(error, match=sentence):
        measure_relevance(store, task)


def test_a_store_is_no_better_than_itself(store):
    found = compare_stores(store, store, EvaluationTask(labels="kind"))
    assert {(d.value, d.low, d.high, d.p) for d in found.differences.values()} == {(0, 0, 0, 1)}


def test_two_stores_are_compared_on_what_both_hold(store, tmp_path):
    other = shop_of_kinds()
    del other.items["item05"]
    other.put("extra", 77, kind="a", split="test")
    index(other, tmp_path, FakeEncoder("turned", turn=1))
    found = compare_stores(store, Store.open(tmp_path), EvaluationTask(labels="kind"))
    assert {each.queries for each in (found.baseline, found.candidate)} == {23}
    assert {each.targets for each in (found.baseline, found.candidate)} == {23}
    for name, difference in found.differences.items():
        expected = found.candidate.measures[name].value - found.baseline.measures[name].value
        assert difference.value == pytest.approx(expected)


def test_a_store_is_measured_in_the_space_that_it_answers_in(tmp_path):
    index(shop_of_kinds(), tmp_path)
    random = np.random.default_rng(0)
    projection = Projection(np.zeros(12, np.float32), random.normal(size=(12, 3)).astype(np.float32))
    retune(tmp_path, projection)
    found = measure_relevance(Store.open(tmp_path), EvaluationTask(labels="kind"))
    shown = [is_same_kind(tmp_path, item, 10) for item in Store.open(tmp_path).items.ids()]
    assert found.measures["precision_at_10"].value == pytest.approx(np.mean(shown))
    assert found.provenance.projection is not None


def test_an_exact_index_finds_everything(store):
    own, exact = measure_index_quality(store, ["exact"])
    assert (own.index_type, exact.index_type, own.queries) == ("flat", "exact", 30)
    assert {own.recall_at_1, own.recall_at_10, own.recall_at_100, exact.recall_at_10} == {1.0}
    assert 0 < own.p50_ms <= own.p95_ms <= own.p99_ms
    assert own.build_s is None
    assert exact.build_s >= 0


def test_indexes_are_compared_by_their_factory_strings(store):
    own, lists, compressed = measure_index_quality(store, ["faiss:IVF2,Flat", "faiss:SQ8", "faiss:IVF2,Flat", "flat"])
    assert [each.index_factory for each in (own, lists, compressed)] == ["Flat", "IVF2,Flat", "SQ8"]
    assert (lists.index_type, compressed.index_type) == ("faiss", "faiss")
    assert compressed.recall_at_10 == 1.0  # of so few, all are scored exactly


def test_recall_is_the_share_that_an_index_finds_without_the_query_image(store, monkeypatch):
    from vision_recs.evaluate import index_quality
    from vision_recs.indexes.exact import ExactIndex

    class Forgetful:
        """Forgets the nearest two of each answer: the query image, which does not count, and one more."""

        def search(self, request):
            return [answer[2:] for answer in ExactIndex(store).search(request)]

    monkeypatch.setattr(index_quality, "open_published", lambda _: Forgetful())
    (found,) = measure_index_quality(store)
    assert found.recall_at_1 == 0
    assert found.recall_at_10 == pytest.approx(0.9)
    assert found.recall_at_100 == pytest.approx(28 / 29)


@pytest.mark.parametrize(
    "task",
    [
        EvaluationTask(labels="kind", target_filter=Filter.parse('split == "train"')),
        EvaluationTask(labels="kind", per_image=True),
        EvaluationTask(pairs=[Pair("item03", "item07", 2), Pair("item05", "item09", 1)]),
    ],
    ids=["labels", "per image", "pairs"],
)
def test_an_engine_is_as_relevant_as_its_store(store, engine, task):
    with open_engine(engine) as opened:
        found, expected = measure_relevance(opened, task), measure_relevance(store, task)
        both = compare_stores(store, opened, task)
    assert found.measures == expected.measures
    assert (found.queries, found.groups, found.exposure) == (expected.queries, expected.groups, expected.exposure)
    assert found.result.nearest.tolist() == expected.result.nearest.tolist()
    assert (found.provenance.store, found.provenance.index_type) == (engine, "engine")
    assert found.provenance.fingerprint == expected.provenance.fingerprint
    assert {difference.value for difference in both.differences.values()} == {0.0}
