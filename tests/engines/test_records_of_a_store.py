"""The records of a store, which are made by column, equal those that are made one at a time in the obvious way."""

import hashlib
import random

import numpy as np
import pyarrow as pa
import pytest
from fake_shop import NO_IMAGE, FakeEncoder, Shop, image, index
from slow_records import records_of, table_of

from vision_recs.engines.known import Content, KnownRecords, Pairs
from vision_recs.engines.records import StoreRecords
from vision_recs.jobs import retune
from vision_recs.store import Projection, Store, writer

TEXTS = ["", "red", "Ä\U0001f600", "null", "-", "[", "[not a set", '["a", "b", "a"]', "[1, 1.0, true, null, 0.5]", "[]"]
TEXTS += [r'["\ud800", "a\u00e9"]']
NUMBERS = [0, 1, -0.0, 0.5, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64 + 1, 10**400, -(10**400), 1e300, 1e18]
VALUES = [TEXTS, NUMBERS, [True, False], [None], [["a"], {"a": 1}]]
NAMES = ["text", "number", "mixed", "rare", "id", "Größe (cm)", "null"]


def attributes(draw):
    """Return attributes of every type, under names of which some have one type only."""
    found = {name: draw.choice(draw.choice(VALUES)) for name in draw.sample(NAMES, draw.randrange(4))}
    found |= {"text": draw.choice(TEXTS), "number": draw.choice(NUMBERS[:6]), "null": None}
    return {name: value for name, value in found.items() if draw.random() < 0.8}


def put(shop, draw, item):
    """Sell *item* with one to three of 41 images, of which one cannot be read."""
    images = draw.sample([*range(40), "broken.png"], draw.choice([1, 1, 2, 3]))
    own = [{"view": number} if draw.random() < 0.5 else {} for number in range(len(images))]
    shop.put(item, *images, image_attributes=own, **attributes(draw))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of a base and two deltas, which replace, remove and add items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "_FEW_ITEMS", 0)  # so few would go into one file again
        yield written(tmp_path_factory.mktemp("records") / "store")


def written(folder):
    """Write the store to *folder*, and return it."""
    draw, shop = random.Random(11), Shop()
    shop.files["broken.png"] = NO_IMAGE
    for number in range(200):
        put(shop, draw, draw.choice([f"item{number:03}", f'["{number}", 1]', f"Ä{number}"]))
    index(shop, folder, shard_size=64)
    known = sorted(shop.items)
    del shop.items[known[7]]
    for item in [*draw.sample(known, 5), "aaa"]:
        put(shop, draw, item)
    index(shop, folder, shard_size=64)
    put(shop, draw, "aaa")  # a second delta that is not much smaller would be joined with the first
    index(shop, folder, shard_size=64)
    return folder


@pytest.fixture
def store(folder):
    with Store.open(folder) as opened:
        assert len(opened.manifest.items_files) == 3
        yield opened


def in_order(table):
    return table.sort_by([("item", "ascending"), ("ordinal", "ascending")]).to_pylist()


def require_equal(records, store, vectors):
    """Require that the tables of *records* hold what is made one at a time."""
    expected, kinds = table_of(slow := records_of(store), vectors([each.position for each in slow]), store.fingerprint)
    found = list(records.tables(64))
    assert {name: own for name, own in records.kinds.items() if own} == {k: own for k, own in kinds.items() if own}
    assert records.kinds.keys() >= kinds.keys()
    assert all(each.schema == expected.schema for each in found)
    assert max(map(len, found)) > 40
    # as text: nan is no number that equals itself, and -0.0 is 0.0
    assert list(map(str, in_order(pa.concat_tables(found)))) == list(map(str, in_order(expected)))


def test_records_equal_those_that_are_made_one_at_a_time(store):
    require_equal(StoreRecords(store), store, lambda places: store.stored_vectors(np.array(places)))


def test_records_need_no_attribute_columns(store, monkeypatch):
    monkeypatch.setattr(store, "attribute_columns", tuple)
    require_equal(StoreRecords(store), store, lambda places: store.stored_vectors(np.array(places)))


def test_projected_vectors_are_hashed_as_they_are_published(tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    shop = Shop()
    for number in range(60):
        shop.put(f"item{number}", number % 20, price=number)
    index(shop, tmp_path / "store")
    draw = np.random.default_rng(0)
    learned = [draw.normal(size=shape).astype(np.float32) for shape in (12, (12, 5))]
    retune(tmp_path / "store", Projection(*learned, {"learned_from": "a test"}))
    with Store.open(tmp_path / "store") as opened:
        require_equal(StoreRecords(opened), opened, lambda places: opened.vectors(np.array(places)))


def test_an_item_with_more_images_than_a_table_is_to_have_is_in_one(tmp_path):
    shop = Shop()
    for number, count in enumerate([1, 5, 1, 1, 2]):
        shop.put(f"item{number}", *(f"{number}-{each}.png" for each in range(count)))
    shop.files |= {name: image(number) for number, name in enumerate(sorted({i for e in shop for i in e.images}))}
    index(shop, tmp_path / "store")
    with Store.open(tmp_path / "store") as opened:
        tables = list(StoreRecords(opened).tables(2))
    owners = [table.column("item").to_pylist() for table in tables]
    assert owners == [["item0"], ["item1"] * 5, ["item2", "item3"], ["item4"] * 2]
    assert tables[1].column("ordinal").to_pylist() == [0, 1, 2, 3, 4]


def of(*pairs):
    return pa.table({"key": [key for key, _ in pairs], "hash": [hash_ for _, hash_ in pairs]})


ONE, TWO = (hashlib.md5(name, usedforsecurity=False).hexdigest() for name in (b"one", b"two"))
A, B = "0" * 16, "0123456789abcdef"


def test_the_digest_of_content_tells_records_apart_and_not_their_order():
    def digest(*tables):
        content = Content()
        for table in tables:
            content.add(Pairs.of(table))
        return content.digest()

    assert digest(of((ONE, A), (TWO, B))) == digest(of((TWO, B)), of((ONE, A)))
    others = [of(), of((ONE, A)), of((ONE, B), (TWO, A)), of((ONE, A), (TWO, A)), of((ONE, A), (TWO, B), (TWO, B))]
    others += [of((ONE, A), (TWO, B), ("mine", B)), of((ONE, A), (TWO.upper(), f" {B[1:]}")), of((ONE, B), (None, B))]
    assert len({digest(each) for each in [*others, of((ONE, A), (TWO, B))]}) == len(others) + 1


@pytest.mark.parametrize("strange", ["mine", ONE.upper(), f" {ONE[1:]}", ONE[:-1], f"{ONE}0"])
def test_keys_that_no_publication_makes_are_strange_and_others_beside_them_are_known(strange):
    known = KnownRecords([of((ONE, A), (strange, B)), of((TWO, B))])
    assert known.strange == [strange]
    assert known.difference(Pairs.of(of((ONE, A), (TWO, A)))) == ([], [1])
    assert known.unmet() == []
