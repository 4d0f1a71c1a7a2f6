"""The parts of images at which an encoder looked closer are kept beside the vectors, by every kind of run."""

import json

import numpy as np
import pytest
from fake_shop import Unused
from focused_shop import BOXES, Looking, index_shop, make_shop, photo

from vision_recs.encoders.looking import boxes_of
from vision_recs.images.crop import WHOLE
from vision_recs.jobs import IndexOptions, index, update, verify
from vision_recs.store import Store

ALL = BOXES | {"plain": None}


@pytest.fixture
def catalog(tmp_path):
    return make_shop(tmp_path / "shop")


class Unasked(Looking):
    """The encoder of the store, which must not be used."""

    encode = Unused.encode


def focus(folder):
    with Store.open(folder) as store:
        return {
            item: json.loads(store.items.images(item)[0].attributes.get("own_focus", "null"))
            for item in store.items.ids()
        }


def test_the_parts_are_shares_of_the_upright_image(catalog, tmp_path):
    index_shop(catalog, tmp_path / "store")
    assert focus(tmp_path / "store") == ALL
    assert list(verify(tmp_path / "store")) == []


def test_what_was_looked_at_is_cut_at_the_edges_of_the_image():
    regions = np.array([[0.5, 0.5, 0.25], [-0.75, 0, 0.25], [0, 0, 1], [0, 0.9, 0.1]], np.float32)
    left, high = (0.25, 0.25, 0.5, 0.5), (0.625, 0.625, 0.25, 0.25)  # of a square, shares are half of the units
    found = np.array(boxes_of(regions, (100, 100)))
    assert found[0] == pytest.approx(high)
    assert np.array(boxes_of(np.array([[0, 0, 0.5]]), (100, 100)))[0] == pytest.approx(left)
    wide = boxes_of(regions, (200, 100))  # from -0.5 to 0.5 from top to bottom
    assert wide[0] == pytest.approx((0.625, 0.75, 0.25, 0.25))
    assert wide[1] == pytest.approx((0, 0.25, 0.25, 0.5))
    assert wide[2:] == [WHOLE, WHOLE]


def test_reruns_and_updates_keep_them(catalog, tmp_path):
    store = tmp_path / "store"
    index_shop(catalog, store)
    catalog.write_text(catalog.read_text().replace("Photo tall", "Another title"))
    index_shop(catalog, store, Unasked())
    assert focus(store) == ALL
    update([{"id": "wide", "price": 5}], store, encoder=Unasked())
    photo((64, 32), (8, 8, 24, 24)).save(catalog.parent / "new.png")
    update([{"id": "new", "image": str(catalog.parent / "new.png")}], store, encoder=Looking())
    assert focus(store) == ALL | {"new": [[0.125, 0.25, 0.25, 0.5]]}


def test_a_stopped_run_and_colors_keep_them(catalog, tmp_path):
    store = tmp_path / "store"
    options = IndexOptions(workers=1, shard_size=1, batch_size=1, limit=2)
    assert not index(catalog, store, encoder=Looking(), options=options).complete
    assert index_shop(catalog, store).embedded == 2
    assert focus(store) == ALL
    index_shop(catalog, store, names_colors=True)
    assert focus(store) == ALL
    with Store.open(store) as opened:
        assert set(opened.items.images("wide")[0].attributes) == {"own_colors", "own_focus"}
    index_shop(catalog, store, Unasked(), names_colors=False)
    assert focus(store) == ALL
    with Store.open(store) as opened:
        assert set(opened.items.images("wide")[0].attributes) == {"own_focus"}
