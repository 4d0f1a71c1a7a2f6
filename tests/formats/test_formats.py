"""Stores that were written by released versions are read, queried, verified and continued."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_shop import BLACK, FakeEncoder, Shop, content, index, png, snapshot, wanted

import vision_recs
from vision_recs.errors import UnknownItem
from vision_recs.filters import Filter
from vision_recs.indexes import ExactIndex, open_published
from vision_recs.jobs import retune, verify
from vision_recs.recommend import Recommender
from vision_recs.store import Store, garbage_collect
from vision_recs.types import SearchRequest

STORES = sorted(path.parent for path in Path(__file__).parent.glob("v*/*/CURRENT"))
FLAT = [store for store in STORES if store.name == "flat"]
UPDATED = [store for store in STORES if store.name in ("hnsw", "ivf-pq")]


def named(store):
    return f"{store.parent.name}-{store.name}"


every_store = pytest.mark.parametrize("stored", STORES, ids=named)
flat_store = pytest.mark.parametrize("stored", FLAT, ids=named)


def test_the_first_format_is_there_with_every_type_of_index():
    first = STORES[0].parent
    assert first.name == "v1"
    assert [
        Store.open(store).manifest.index_type for store in sorted(first.glob("*/")) if (store / "CURRENT").exists()
    ] == [
        "flat",
        "hnsw",
        "ivf-pq",
        "flat",
        "flat",
    ]


@every_store
def test_it_is_sound_and_reading_leaves_it_as_it_is(stored):
    before = snapshot(stored)
    assert list(verify(stored)) == []
    opened = vision_recs.open(stored)
    opened.similar(opened.items.ids()[0])
    assert snapshot(stored) == before


@every_store
def test_its_index_finds_what_exact_search_finds(stored):
    store = Store.open(stored)
    request = SearchRequest(store.vectors(store.positions()), k=5)
    exact = ExactIndex(store).search(request)
    assert open_published(store).search(request) == exact
    for where in ("price < 30", "not (price < 30)"):
        if "price" in store.attribute_types():
            filtered = SearchRequest(request.vectors, k=5, where=Filter.parse(where))
            assert open_published(store).search(filtered) == ExactIndex(store).search(filtered)


@flat_store
def test_what_it_says_of_itself_is_read(stored):
    manifest = Store.open(stored).manifest
    assert (manifest.generation, manifest.items, manifest.images, manifest.skipped) == (2, 5, 6, 3)
    assert (manifest.encoder.name, manifest.encoder.dim, manifest.encoder.preprocess.size) == ("fake", 12, (8, 8))
    assert (manifest.catalog.location, manifest.catalog.root) == ("/shop/catalog.csv", "/shop")
    assert manifest.space == FakeEncoder().spec.fingerprint


@flat_store
def test_items_images_and_attributes_are_read(stored):
    store = Store.open(stored)
    assert store.items.ids() == ["lamp", "mug-blue", "mug-red", "vase", "vase-2"]
    assert store.attributes("vase") == {"name": "Vase, grün", "price": 20, "stock": True, "code": 2**60 + 1}
    assert store.attributes("vase-2") == {"name": "Vase", "price": None, "stock": True}
    assert [(known.image, known.attributes) for known in store.images("mug-red")] == [
        ("red.png", {"view": "front", "angle": 15}),
        ("rose.png", {"view": "side", "angle": 90}),
    ]
    assert [(s.id, s.image, s.reason) for s in store.items.skipped()] == [
        ("broken", "text.png", "not-an-image"),
        ("lamp", "black.png", "zero-vector"),
        ("lamp", "lost.png", "missing"),
    ]
    with pytest.raises(UnknownItem, match="the nearest are mug-red"):
        store.images("mug-rad")


@flat_store
def test_vectors_are_read(stored):
    store = Store.open(stored)
    vectors = store.vectors(store.positions())
    colors = [(220, 20, 20), (220, 120, 120), (30, 40, 210), (20, 200, 40)]
    for vector, color in zip(vectors.tolist(), colors, strict=True):
        length = sum(4 * part**2 for part in color) ** 0.5
        assert vector == pytest.approx([part / length for part in color] * 4, abs=1e-3)


@flat_store
@pytest.mark.parametrize("has_columns", [True, False])
@pytest.mark.parametrize(
    ("expression", "items"),
    [
        ("price < 9", ["mug-blue"]),
        ("price == 'on request'", ["lamp"]),
        ("stock", ["mug-red", "vase", "vase-2"]),
        ("price is null", ["vase-2"]),
        (f"code == {2**60 + 1}", ["vase"]),
        (f"code == {2**60}", []),
        ("name.contains('grün')", ["vase"]),
        ("name in ['Mug', 'Lamp']", ["lamp", "mug-blue", "mug-red"]),
    ],
)
def test_filters_select(stored, tmp_path, has_columns, expression, items):
    store = shutil.copytree(stored, tmp_path / "store")
    if not has_columns:
        shutil.rmtree(store / "attributes")
    filtered = Store.open(store).filtered(Filter.parse(expression))
    rows = filtered.rows(filtered.positions().tolist(), limit=9)
    assert sorted({row.id for found in rows.values() for row in found}) == items


@flat_store
@pytest.mark.parametrize("open_index", [open_published, ExactIndex])
def test_it_answers(stored, open_index):
    store = Store.open(stored)
    shop = Recommender(store, open_index(store))
    assert [(m.id, m.image, round(m.score, 3)) for m in shop.similar("mug-red")] == [
        ("lamp", "rose.png", 1.0),
        ("mug-blue", "blue.png", 0.61),
        ("vase", "green.png", 0.583),
    ]
    assert [(m.id, m.image, round(m.score, 3)) for m in shop.similar("vase", "lamp")] == [
        ("mug-red", "rose.png", 0.791),
        ("vase-2", "green.png", 0.791),
        ("mug-blue", "blue.png", 0.497),
    ]
    side = {"view": "side", "angle": 90}
    assert shop.similar("lamp", k=1)[0].attributes == {"name": "Mug", "price": 9.5, "stock": True, **side}


@flat_store
def test_it_is_continued(stored, tmp_path):
    shop = Shop()
    shop.files = {
        "red.png": png([[(220, 20, 20)] * 8] * 8),
        "green.png": png([[(20, 200, 40)] * 8] * 8),
        "new.png": png([[(9, 99, 199)] * 8] * 8),
        "black.png": BLACK,
    }
    shop.put("mug-red", "red.png", name="Mug")
    shop.put("vase", "green.png", "black.png")
    shop.put("new", "new.png")
    encoder = FakeEncoder()
    store = shutil.copytree(stored, tmp_path / "store")
    report = index(shop, store, encoder)
    assert (report.generation, report.items, report.embedded, report.removed) == (3, 3, 1, 3)
    assert encoder.encoded == 1 + 1  # and the canary
    assert list(verify(store)) == []
    assert [match.id for match in vision_recs.open(store).similar("mug-red")] == ["vase", "new"]
    garbage_collect(store)
    assert content(store) == wanted(shop)


@pytest.mark.parametrize("stored", UPDATED, ids=named)
def test_its_index_is_updated(stored, tmp_path):
    store = shutil.copytree(stored, tmp_path / "store")
    shop = Shop()
    for number in range(6, 76):
        shop.put(f"item{number:03}", number, price=number)
    shop.put("new", 99)
    report = index(shop, store)
    assert (report.generation, report.embedded, report.index_type) == (3, 1, stored.name)
    assert list(verify(store)) == []
    assert content(store) == wanted(shop)
    opened = Store.open(store)
    vectors = opened.vectors_of([shown.digest for item in ("new", "item006") for shown in opened.images(item)])
    found = open_published(opened).search(SearchRequest(vectors, k=1))
    assert [[match.id for match in matches] for matches in found] == [["new"], ["item006"]]


@pytest.mark.parametrize("stored", [store for store in STORES if store.name == "tuned"], ids=named)
def test_its_projection_is_applied_and_taken_away(stored, tmp_path):
    store = Store.open(stored)
    projection = store.projection
    assert (projection.mean.shape, projection.matrix.shape) == ((12,), (12, 5))
    assert projection.provenance["learned_from"] == "pairs"
    plain = store.encoder_vectors(store.positions())
    expected = (plain.astype(np.float64) - projection.mean) @ projection.matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(store.vectors(store.positions()), expected, atol=1e-6)
    copy = shutil.copytree(stored, tmp_path / "store")
    retune(copy, None)
    undone = Store.open(copy)
    assert undone.vectors(undone.positions()).tolist() == plain.tolist()
    assert undone.manifest.space == FakeEncoder().spec.fingerprint != store.manifest.space
