"""Answers from an engine are those of the store: policy, rules, history, negatives, images, filters, explanations."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from engine_sources import published_index
from engine_uris import KINDS, empty_engines
from fake_shop import FakeEncoder, image, index, shop_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from random_shops import shops
from vector_sources import Vectors, clustered

import vision_recs
from vision_recs.engines import open_engine, publish, searching, verifying
from vision_recs.engines.base import EXACT_UP_TO, connect
from vision_recs.engines.lance import stage
from vision_recs.engines.lance.table import LanceTable
from vision_recs.errors import EngineDamaged, EngineUnavailable, FilterError, NothingPublished, UnknownItem
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex
from vision_recs.indexes.exact import recall_at, scores_of
from vision_recs.recommend import Event, History, Policy, Query, Rules
from vision_recs.recommend.rules import Boost, Exclude, Pin, Same
from vision_recs.types import Row, SearchRequest

ATTRIBUTES = {
    "price": st.sampled_from([1, 2, 3, 1.5, None]),
    "in_stock": st.booleans(),
    "variant_group": st.sampled_from(["a", "b", 1, True, None]),
}
RULES = Rules(
    exclude=(Exclude(Filter.parse("price == 3")),),
    boosts=(Boost(Filter.parse("in_stock"), 0.2, "in stock"),),
    pins=(Pin("item01", 2, "pin"),),
    attribute_rules=(Same("in_stock"),),
    fallbacks=("same.in_stock", "one_per"),
)
FILTERS = [None, *map(Filter.parse, ("price < 2", "not in_stock", 'id != "item00"', "price is null or in_stock"))]


@pytest.fixture(autouse=True)
def _encoders_by_name(monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))


@st.composite
def asked(draw, known):
    """A query and a policy, of which many say something."""
    items = draw(st.lists(known, min_size=1, max_size=2, unique=True))
    others = [item for item in draw(st.lists(known, max_size=1)) if item not in items]
    times = st.sampled_from([1.0, 5.0])
    events = draw(st.lists(st.builds(Event, known, times), max_size=4))
    query = Query(
        items=tuple(items),
        negatives=tuple(others),
        images=tuple(map(image, draw(st.lists(st.integers(0, 2), max_size=1)))),
        history=History(tuple(events)) if events else None,
        where=draw(st.sampled_from(FILTERS)),
        k=draw(st.integers(1, 9)),
        explain=draw(st.booleans()),
    )
    policy = Policy(
        one_per=draw(st.sampled_from(["variant_group", None])),
        diversity=draw(st.sampled_from([0.0, 0.5])),
        min_score=draw(st.sampled_from([None, 0.8])),
        rules=draw(st.sampled_from([None, RULES])),
    )
    return query, policy


@settings(deadline=None, max_examples=6, phases=[Phase.generate])  # to shrink an example takes minutes
@given(shop=shops(12, ATTRIBUTES), data=st.data())
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_store(kind, shop, data):
    with tempfile.TemporaryDirectory() as folder, empty_engines(kind, Path(folder)) as new:
        index(shop, Path(folder, "store"), FakeEncoder())
        uri = new()
        publish(uri, Path(folder, "store"))
        with vision_recs.open(Path(folder, "store")) as local, vision_recs.open(engine=uri) as engine:
            queries = [data.draw(asked(st.sampled_from(sorted(shop.items)))) for _ in range(8)]
            for query, policy in queries:
                assert engine.query(query, policy) == local.query(query, policy)
            assert engine.query_batch(queries) == [local.query(*each) for each in queries]


@pytest.fixture
def shop_and_store(tmp_path):
    shop = shop_of(12)
    shop.put("mug-01", 20, 21, color="blue", tags='["new"]', image_attributes=[{"view": 1}, {"view": 2}])
    index(shop, tmp_path / "store")
    return shop, tmp_path / "store"


def test_what_is_unknown_is_told_as_a_store_tells_it(shop_and_store, uri):
    publish(uri, shop_and_store[1])
    with open_engine(uri) as opened:
        with pytest.raises(UnknownItem, match="mug-1") as raised:
            opened.items.images("mug-1")
        assert raised.value.nearest[0] == "mug-01"
        with pytest.raises(FilterError, match="colour"):
            opened.index.search(SearchRequest(np.ones((1, 12), np.float32), 3, Filter.parse("colour == 'x'")))
        assert opened.items.attributes_of(["nobody", "item001"]) == {"item001": {"price": 1}}
        assert opened.items.match_attributes([("mug-01", "21.png"), ("mug-01", "x"), ("?", "x")]) == [
            {"color": "blue", "tags": '["new"]', "view": 2},
            None,
            None,
        ]
        assert opened.items.ids(after="item009", limit=2) == ["item010", "item011"]
        unknown = Filter.parse('color == "bleu" or "old" in tags or color == "blue" or "new" in tags')
        assert opened.items.unknown_values(unknown) == [
            "no item has 'bleu' as color; the nearest is 'blue'",
            "no item has 'old' as tags",
        ]


def test_above_the_exact_scan_the_wished_recall_is_reached_and_no_answer_is_short(uri):
    vectors = clustered(14_000, 64)
    random = np.random.default_rng(1)
    names = [f"item{number:05}" for number in range(len(vectors))]
    attributes = {name: {"half": n % 2 == 0, "n": n} for n, name in enumerate(names)}
    source = Vectors(vectors, rows=[[Row(name, f"{name}.jpg", name)] for name in names], attributes=attributes)
    index = published_index(source, uri)
    queries = vectors[random.choice(len(vectors), 200, replace=False)].astype(np.float32)
    for where in (None, Filter.parse("half"), Filter.parse("n > 6000")):
        request = SearchRequest(queries, 10, where)
        assert len(names) > index._count(index.condition_of(request)) > EXACT_UP_TO or where is None
        found = index.search(request)
        assert [len(answer) for answer in found] == [10] * 200
        recall = recall_at(10, scores_of(found), scores_of(ExactIndex(source).search(request)))
        assert recall >= 0.95 - 0.03  # proved on 32 queries of its own; LanceDB's clusters are others each time


@pytest.fixture
def many(tmp_path, monkeypatch):
    """A store of which LanceDB is not asked to compare all vectors; an effort below 64 finds the wrong ones."""
    pytest.importorskip("lancedb")
    for module in (stage, searching, verifying):
        monkeypatch.setattr(module, "EXACT_UP_TO", 20)
    nearest = LanceTable.nearest

    def misses(self, query, k, columns, condition, *, effort):  # noqa: PLR0913 - as the method that it replaces
        if effort is None or effort >= 64:
            return nearest(self, query, k, columns, condition, effort=effort)
        found = nearest(self, query, 2 * k, columns, condition, effort=effort)
        return found.slice(max(0, len(found) - k))

    monkeypatch.setattr(LanceTable, "nearest", misses)
    index(shop_of(300), tmp_path / "store")
    return tmp_path / "store"


def test_a_publication_finds_the_least_effort_that_reaches_the_wished_recall(many, tmp_path):
    report = publish(f"lance:{tmp_path / 'engine'}", many)
    assert (report.effort, report.recall >= 0.95, report.filtered_recall >= 0.95) == (64, True, True)
    with open_engine(f"lance:{tmp_path / 'engine'}") as opened:
        assert opened.published.effort == 64


def test_an_engine_that_does_not_reach_the_wished_recall_is_not_switched_to(many, tmp_path, monkeypatch):
    monkeypatch.setattr(LanceTable, "efforts", (16, 32))
    with pytest.raises(EngineDamaged, match=r"finds 0\.\d+ of the nearest images.*0\.95 is wished"):
        publish(f"lance:{tmp_path / 'engine'}", many)
    with pytest.raises(NothingPublished):
        open_engine(f"lance:{tmp_path / 'engine'}")


def test_an_engine_in_a_bucket(shop_and_store, s3_port, monkeypatch):
    pytest.importorskip("lancedb")
    from s3_server import KEYS  # which needs the library of buckets

    for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}", "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    shop, store = shop_and_store
    uri = "lance+s3://ready/engines/shop"
    assert publish(uri, store).inserted == 14
    assert publish(uri, store).unchanged == 14
    shop.put("item003", 3, price=99)
    index(shop, store)
    reader = vision_recs.open(engine=uri)
    report = publish(uri, store)
    assert (report.replaced, report.unchanged) == (1, 13)
    query = Query(items=("mug-01",), k=9, where=Filter.parse("price > 3"))
    with vision_recs.open(store) as local, vision_recs.open(engine=uri) as engine:
        assert engine.query(query) == local.query(query)
        assert engine.items.attributes_of(["item003"]) == {"item003": {"price": 99}}
    assert reader.items.attributes_of(["item003"]) == {"item003": {"price": 3}}
    reader.close()


def test_what_cannot_be_reached_is_one_sentence(tmp_path):
    pytest.importorskip("lancedb")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EngineUnavailable, match=r"^lance:.*file.* cannot be used \(") as raised:
        publish(f"lance:{tmp_path / 'file' / 'x'}", store_of(tmp_path))
    assert "\n" not in str(raised.value)


def store_of(tmp_path):
    index(shop_of(2), tmp_path / "small")
    return tmp_path / "small"


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'visrec\[lance\]'"):
        connect("lance:somewhere")
