"""A store is driven by anything that may happen to a shop, and held against a shop in memory."""

import contextlib
import dataclasses
import shutil
import tempfile
from pathlib import Path

import pytest
from crashing import Crash, crash_after
from fake_shop import (
    BLACK,
    NO_IMAGE,
    PHOTOSHOP,
    TRUNCATED,
    BulkShop,
    Content,
    FakeEncoder,
    Shop,
    content,
    image,
    index,
    ranking,
    snapshot,
    wanted,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from property_examples import examples_of

import vision_recs
from vision_recs.errors import EmptyCatalog, FilterError
from vision_recs.filters import Filter
from vision_recs.indexes import hnsw
from vision_recs.jobs import IndexOptions, comparing, update, verify
from vision_recs.store import Store, garbage_collect, writer
from vision_recs.types import Item

GOOD = {f"photo {number}": image(number) for number in range(12)}
BAD = {"black": BLACK, "psd": PHOTOSHOP, "page": NO_IMAGE, "cut": TRUNCATED, "cut jpeg": b"\xff\xd8\xff\xe0 cut"}
names = st.sampled_from([f"{letter}.png" for letter in "abcdefgh"])
ids = st.sampled_from(["lamp", "mug", "vase", "chair", "bowl", "änderung", "0", "'; --"])
attributes = st.dictionaries(
    st.sampled_from(["price", "stock", "name"]),
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["", "red", "grün\n"]),
    max_size=2,
)
images = st.lists(names, min_size=1, max_size=3)


changes = st.builds(
    lambda item, version, kind: {"id": item} | ({"version": version} if version else {}) | kind,
    ids,
    st.none() | st.integers(1, 4),
    attributes
    | st.just({"deleted": True})
    | st.builds(lambda shown, of_item: {"images": shown} | of_item, images, attributes),
)


class ExpectedUpdate:
    """What a store has to hold after changes, made one by one."""

    def __init__(self, held, hidden, spoilt, versions):
        self.items, self.skipped = dict(held.items), dict(held.skipped)
        self.hidden, self.spoilt, self.versions = dict(hidden), dict(spoilt), dict(versions)
        self.stale = self.unknown = 0
        self.rereads = False  # whether a signature alone may have changed

    @property
    def content(self):
        return Content(self.items, self.skipped)

    def make(self, change, shop, encoder):
        change = dict(change)
        item, version, images = change.pop("id"), change.pop("version", None), change.pop("images", None)
        if version is not None and version <= self.versions.get(item, 0):
            self.stale += 1
            return
        is_known = item in self.items or item in self.hidden
        if not is_known and images is None:
            self.unknown += 1
            if "deleted" not in change:
                return
        if version is not None:
            self.versions[item] = version
        if change.pop("deleted", False):
            self.forget(item)
            return
        held = {**(self.items[item][0] if item in self.items else self.hidden.get(item, {})), **change}
        if images is None:
            self.items.update({item: (held, self.items[item][1])} if item in self.items else {})
            self.hidden.update({item: held} if item in self.hidden else {})
            return
        own = {name: views for name, _, _, views in self.items[item][1]} if item in self.items else {}
        self.forget(item)
        self.rereads = True
        one = Shop({item: Item(item, tuple(images), held, tuple(own.get(name, {}) for name in images))}, shop.files)
        found = wanted(one, encoder)
        self.items |= found.items
        self.skipped |= found.skipped
        self.spoilt |= {(item, name): shop.files.get(name) for _, name in found.skipped}
        if item not in found.items:
            self.hidden[item] = held

    def forget(self, item):
        self.items.pop(item, None)
        self.hidden.pop(item, None)
        for known in (self.skipped, self.spoilt):
            for key in [key for key in known if key[0] == item]:
                del known[key]


def belongs(path, store):
    """Return whether the file at *path* belongs to the generation that is open as *store*."""
    manifest = store.manifest
    own = {f"{entry.generation:06}" for entry in manifest.items_files} | {shard.name for shard in manifest.shards}
    own |= {f"{manifest.index_type}-{manifest.index_generation:06}"} if manifest.index_generation else set()
    folder, *names = Path(path).parts
    own |= {f"{manifest.generation:06}"} if folder == "generations" else set()
    return any(Path(name).stem in own for name in names[:1])


class ShopAndStore(RuleBasedStateMachine):
    """The shop changes; each run brings the store to what the shop is, and touches nothing that was published."""

    readers = Bundle("readers")
    index_type = None

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.folder / "index"
        self.shop = Shop()
        self.turn = 0
        self.held = None  # what the published generation holds, and in which space
        self.space = self.spoilt = None
        self.lacks_index = False  # a run makes it again, in a new generation if others use it
        self.hidden = {}  # the attributes of items of which no image has a vector
        self.versions = {}
        self.generation = 0
        self.published = {}
        self.is_littered = False  # a run has died

    def teardown(self):
        shutil.rmtree(self.folder)

    @initialize(files=st.dictionaries(names, st.sampled_from(sorted(GOOD)), min_size=2))
    def open_the_shop(self, files):
        self.shop.files = {name: GOOD[photo] for name, photo in files.items()}
        for number, name in enumerate(files):
            self.shop.put(f"item{number}", name)

    @rule(item=ids, shown=images, attributes=attributes, views=st.booleans())
    def sell(self, item, shown, attributes, views):
        own = tuple({"view": number} for number in range(len(shown))) if views else ()
        self.shop.put(item, *shown, image_attributes=own, **attributes)

    @rule(data=st.data())
    def stop_selling(self, data):
        if len(self.shop.items) > 1:
            del self.shop.items[data.draw(st.sampled_from(sorted(self.shop.items)))]

    @rule(name=names, photo=st.sampled_from(sorted(GOOD)))
    def take_an_image(self, name, photo):
        self.shop.files[name] = GOOD[photo]

    @rule(name=names, damage=st.sampled_from(sorted(BAD)))
    def spoil_an_image(self, name, damage):
        self.shop.files[name] = BAD[damage]

    @rule(name=names)
    def lose_an_image(self, name):
        self.shop.files.pop(name, None)

    @rule(name=names)
    def touch_an_image(self, name):
        self.shop.touched[name] = self.shop.touched.get(name, 0) + 1

    @rule(old=names, new=names)
    def rename_an_image(self, old, new):
        if old in self.shop.files:
            self.shop.files[new] = self.shop.files.pop(old)
            for item in self.shop.items.values():
                shown = tuple(new if name == old else name for name in item.images)
                self.shop.items[item.id] = dataclasses.replace(item, images=shown)

    @rule(data=st.data(), attributes=attributes)
    def describe_anew(self, data, attributes):
        item = data.draw(st.sampled_from(sorted(self.shop.items)))
        self.shop.items[item] = dataclasses.replace(self.shop.items[item], attributes=attributes)

    @rule(data=st.data())
    def shuffle(self, data):
        order = data.draw(st.permutations(sorted(self.shop.items)))
        self.shop.items = {item: self.shop.items[item] for item in order}

    @rule(turn=st.sampled_from([0, 0, 1]))
    def choose_an_encoder(self, turn):
        self.turn = turn

    @rule(target=readers, shard_size=st.integers(1, 4))
    def run(self, shard_size):
        encoder = FakeEncoder(turn=self.turn)
        new = wanted(self.shop, encoder)
        if not new.items:
            with pytest.raises(EmptyCatalog):
                index(self.shop, self.store, encoder, shard_size=shard_size)
            return None
        report = index(self.shop, self.store, encoder, shard_size=shard_size, index_type=self.index_type)
        spoilt = {(item, name): self.shop.files.get(name) for item, name in new.skipped}
        assert report.embedded <= len(new.digests - (self.held.digests if self.space == self.turn else set()))
        assert (report.items, report.skipped) == (len(new.items), len(new.skipped))
        assert report.images == sum(len(shown) for _, shown in new.items.values())
        assert report.removed == len(self.held.items.keys() - new.items.keys() if self.held else [])
        hidden = {item.id: item.attributes for item in self.shop.items.values() if item.id not in new.items}
        unchanged = (new, self.turn, spoilt, hidden) == (self.held, self.space, self.spoilt, self.hidden)
        assert not (unchanged and encoder.encoded)
        assert report.generation - self.generation in {int(not unchanged), int(not unchanged or self.lacks_index)}
        self.held, self.space, self.spoilt, self.hidden = new, self.turn, spoilt, hidden
        self.generation, self.lacks_index = report.generation, False
        return self.open_a_reader()

    @precondition(lambda self: self.held)
    @rule(changes=st.lists(changes, min_size=1, max_size=4), steps=st.integers(0, 40))
    def die_amid_an_update(self, changes, steps):
        """The store is as it was, or as it would be; what is left lying about does not matter from now on."""
        after = ExpectedUpdate(self.held, self.hidden, self.spoilt, self.versions)
        for change in changes:
            after.make(change, self.shop, FakeEncoder(turn=self.space))
        options = IndexOptions(shard_size=2, batch_size=2, workers=1)
        is_done = False
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash, EmptyCatalog):
            crash_after(steps, patch)
            update(changes, self.store, encoder=FakeEncoder(turn=self.space), images=self.shop, options=options)
            is_done = True
        with Store.open(self.store) as store:
            is_done = is_done or store.generation != self.generation
            self.generation = store.generation
        if is_done:
            new = after.content, after.hidden, after.spoilt, after.versions
            self.held, self.hidden, self.spoilt, self.versions = new
        self.is_littered = True

    @precondition(lambda self: self.held)
    @rule(target=readers, changes=st.lists(changes, min_size=1, max_size=4))
    def update(self, changes):
        after = ExpectedUpdate(self.held, self.hidden, self.spoilt, self.versions)
        for change in changes:
            after.make(change, self.shop, FakeEncoder(turn=self.space))
        options = IndexOptions(shard_size=2, batch_size=2, workers=2)

        def run():
            encoder = FakeEncoder(turn=self.space)
            return update(changes, self.store, encoder=encoder, images=self.shop, options=options)

        if not after.items:
            with pytest.raises(EmptyCatalog):
                run()
            return None
        report = run()
        new = after.content
        assert (report.changes, report.stale, report.unknown) == (len(changes), after.stale, after.unknown)
        assert (report.items, report.skipped_in_store) == (len(new.items), len(new.skipped))
        assert report.added == len(new.items.keys() - self.held.items.keys())
        assert report.removed == len(self.held.items.keys() - new.items.keys())
        same = (new, after.hidden, after.versions) == (self.held, self.hidden, self.versions)
        assert report.generation == self.generation + (not same) or after.rereads
        self.held, self.hidden, self.spoilt, self.versions = new, after.hidden, after.spoilt, after.versions
        self.generation = report.generation
        return self.open_a_reader()

    @rule(target=readers)
    def run_in_one_shard(self):
        return self.run(99)

    def open_a_reader(self):
        reader = vision_recs.open(self.store)
        return reader, self.held, {item: reader.similar(item, k=4) for item in self.held.items}

    @precondition(lambda self: self.held)
    @rule()
    def collect_garbage(self):
        garbage_collect(self.store)
        self.published, self.is_littered = {}, False

    @precondition(lambda self: self.held)
    @rule()
    def delete_the_engines(self):
        shutil.rmtree(self.store / "indexes", ignore_errors=True)
        self.published = {path: digest for path, digest in self.published.items() if not path.startswith("indexes")}
        self.lacks_index = True

    @rule(reader=readers)
    def ask_a_reader_of_old(self, reader):
        if reader is not None:
            recommender, held, answers = reader
            assert content(recommender.items) == held
            assert {item: recommender.similar(item, k=4) for item in held.items} == answers

    @precondition(lambda self: self.held)
    @rule(data=st.data(), k=st.integers(1, 9))
    def ask(self, data, k):
        queries = data.draw(st.lists(st.sampled_from(sorted(self.held.items)), min_size=1, max_size=3, unique=True))
        found = vision_recs.open(self.store).similar(*queries, k=k)
        expected = ranking(self.held, queries, k)
        assert [(match.id, match.image) for match in found] == [(item, name) for item, name, _ in expected]
        assert [match.score for match in found] == pytest.approx([score for _, _, score in expected], abs=1e-6)
        for match in found:
            own = next(own for name, _, _, own in self.held.items[match.id][1] if name == match.image)
            assert match.attributes == {**self.held.items[match.id][0], **own}

    @precondition(lambda self: self.held)
    @rule(text=st.sampled_from(["price > 0", "stock", "name == 'red'", "not (price <= 1)", "name is null"]))
    def filter(self, text):
        where = Filter.parse(text)
        with Store.open(self.store) as store:
            try:
                selected = store.filtered(where)
            except FilterError:  # no item has the attribute, or none of the type
                return
            found = {row.id for rows in selected.rows(selected.positions(), limit=99).values() for row in rows}
            assert found == {item for item, (held, _) in self.held.items.items() if where.matches(held)}
            positions = {store.positions_of([digest])[digest] for digest in self.held.digests_of(found)}
            assert set(selected.positions().tolist()) == positions
            assert store.attribute_types().keys() >= {name for held, _ in self.held.items.values() for name in held}

    @invariant()
    def the_store_holds_what_was_published(self):
        if self.held is None:
            assert not self.store.exists()
            return
        assert content(self.store) == self.held
        assert Store.open(self.store).generation == self.generation
        assert list(verify(self.store)) == []
        now = snapshot(self.store)
        del now["CURRENT"]
        assert now.items() >= self.published.items()
        if self.is_littered:  # the next run may write over what a dead one left
            with Store.open(self.store) as store:
                now = {path: digest for path, digest in now.items() if path in self.published or belongs(path, store)}
        self.published = now


class ShopAndDeltas(ShopAndStore):
    """The same where every change becomes a delta, of items and of a graph, as in a store of many items."""

    index_type = "hnsw"

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(writer, "_FEW_ITEMS", 0)
        self.patch.setattr(writer, "_MOST_CHANGED", 3)
        self.patch.setattr(comparing, "_AT_ONCE", 3)
        self.patch.setattr(comparing, "_FEWEST", 1)
        self.patch.setattr(hnsw, "_MOST_DELETED", 0.5)
        self.shop = BulkShop()

    @initialize(target=ShopAndStore.readers, photos=st.permutations(sorted(GOOD)))
    def open_the_shop(self, photos):
        """Begin with a store: an item has each image, of which no two are alike."""
        super().open_the_shop({f"{letter}.png": photo for letter, photo in zip("abcdefgh", photos, strict=False)})
        return self.run(4)

    @precondition(lambda self: self.held)
    @rule(target=ShopAndStore.readers, item=ids, number=st.integers(12, 1_000))
    def bring_out(self, item, number):
        """Let an item show an image that nobody has seen before, which goes into the index at once."""
        self.shop.files[f"{number}.png"] = image(number)
        return self.update([{"id": item, "images": [f"{number}.png"]}])

    @rule(share=st.sampled_from([0.3, 2]))
    def merge_graphs(self, share):
        """Let a graph that lies beside the large one grow to this *share* of it, before it becomes a part of it."""
        self.patch.setattr(hnsw, "_LARGEST_DELTA", share)

    def teardown(self):
        self.patch.undo()
        super().teardown()


TestShopAndStore, TestShopAndDeltas = ShopAndStore.TestCase, ShopAndDeltas.TestCase
TestShopAndStore.settings = TestShopAndDeltas.settings = settings(
    max_examples=examples_of(25),
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
