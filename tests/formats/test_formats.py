"""Stores that were written by released versions are read, asked, checked and gone on with."""

import shutil
from pathlib import Path

import pytest
from fake_shop import BLACK, FakeEncoder, Shop, index, png, snapshot

import vision_recs
from vision_recs.errors import UnknownItem
from vision_recs.indexes import ExactIndex, open_published
from vision_recs.jobs import verify
from vision_recs.recommend import Recommender
from vision_recs.store import Store

FORMATS = sorted(path for path in Path(__file__).parent.glob("v*") if path.is_dir())


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def stored(request):
    return request.param


@pytest.fixture
def store(stored, tmp_path):
    return shutil.copytree(stored, tmp_path / "index")


def test_the_first_format_is_there():
    assert FORMATS[0].name == "v1"


def test_it_is_sound_and_reading_leaves_it_as_it_is(stored):
    before = snapshot(stored)
    assert list(verify(stored)) == []
    vision_recs.open(stored).similar("vase")
    assert snapshot(stored) == before


def test_what_it_says_of_itself_is_read(stored):
    manifest = Store.open(stored).manifest
    assert (manifest.generation, manifest.items, manifest.images, manifest.skipped) == (2, 5, 6, 1)
    assert (manifest.encoder.name, manifest.encoder.dim, manifest.encoder.preprocess.size) == ("fake", 12, (8, 8))
    assert (manifest.catalog.location, manifest.catalog.root) == ("/shop/catalog.csv", "/shop")


def test_items_images_and_attributes_are_read(stored):
    store = Store.open(stored)
    assert store.items.ids() == ["lamp", "mug-blue", "mug-red", "vase", "vase-2"]
    assert store.attributes("vase") == {"name": "Vase, grün", "price": 20, "stock": True}
    assert store.attributes("vase-2") == {"name": "Vase", "price": None, "stock": True}
    assert [(known.image, known.attributes) for known in store.images("mug-red")] == [
        ("red.png", {"view": "front"}),
        ("rose.png", {"view": "side"}),
    ]
    assert [(s.id, s.image, s.reason) for s in store.items.skipped()] == [("lamp", "black.png", "zero-vector")]
    with pytest.raises(UnknownItem, match="the nearest are mug-red"):
        store.images("mug-rad")


def test_vectors_are_read(stored):
    store = Store.open(stored)
    vectors = store.vectors(store.positions())
    colors = [(220, 20, 20), (220, 120, 120), (30, 40, 210), (20, 200, 40)]
    for vector, color in zip(vectors.tolist(), colors, strict=True):
        length = sum(4 * part**2 for part in color) ** 0.5
        assert vector == pytest.approx([part / length for part in color] * 4, abs=1e-3)


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
    assert shop.similar("lamp", k=1)[0].attributes == {"name": "Mug", "price": 9.5, "stock": True, "view": "side"}


def test_it_is_gone_on_with(store):
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
    report = index(shop, store, encoder)
    assert (report.generation, report.items, report.embedded, report.removed) == (3, 3, 1, 3)
    assert encoder.encoded == 1 + 1  # and the probe
    assert list(verify(store)) == []
    assert [match.id for match in vision_recs.open(store).similar("mug-red")] == ["vase", "new"]
