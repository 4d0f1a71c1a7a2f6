"""An image that cannot be read now keeps its vector for some runs, whatever else changes; what is gone loses it."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from fake_shop import BLACK, BulkShop, FakeEncoder, Unused, image, shop_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vision_recs.errors import GONE, REASONS, EmptyCatalog, ImageError
from vision_recs.jobs import IndexOptions, comparing, update, verify
from vision_recs.jobs import index as run_index
from vision_recs.store import Store, writer

KEPT = 2  # runs


class Flaky(BulkShop):
    """A shop that cannot read some files: *away* says which, and why."""

    def __init__(self, *known):
        super().__init__(*known)
        self.away = {}

    def read(self, reference, *, known=None):
        if reference in self.away:
            raise ImageError(self.away[reference], f"{reference} is not to be had")
        return super().read(reference, known=known)

    def signature(self, reference):
        return None if reference in self.away else super().signature(reference)


def options(**others):
    return IndexOptions(**{"shard_size": 4, "batch_size": 4, "workers": 2, "keep_stale": KEPT, **others})


def index(shop, store, encoder=None, **others):
    return run_index(shop, store, encoder=encoder or FakeEncoder(), options=options(**others))


@pytest.fixture
def shop(tmp_path):
    found = shop_of(4, kind=Flaky)
    index(found, tmp_path)
    return found


def stale(store):
    with Store.open(store) as opened:
        return {(each.id, each.image): (each.stale, each.reason) for each in opened.items.skipped() if each.stale}


LASTING = sorted(reason for reason in REASONS if reason in GONE)
PASSING = sorted(
    {"timeout", "refused", "broken-off", "http-429", "http-5xx", "http-4xx", "http-403", "http-401", "robots"}
    | {"wrong-type", "redirect", "private-address", "too-large", "empty", "unreadable", "remote"}
)


def test_what_is_gone_is_not_there_at_all():
    assert LASTING == ["http-404", "http-410", "missing", "outside"]
    assert not GONE & set(PASSING)


@pytest.mark.parametrize("reason", PASSING)
def test_an_image_that_cannot_be_read_now_keeps_its_vector_and_says_why(shop, tmp_path, reason):
    shop.away["2.png"] = reason
    report = index(shop, tmp_path, Unused())
    assert (report.items, report.images, report.skipped, report.removed) == (4, 4, 0, 0)
    assert report.stale_images == {reason: 1}
    assert stale(tmp_path) == {("item002", "2.png"): (1, reason)}
    (line,) = map(json.loads, (tmp_path / "skipped" / f"{report.generation:06d}.jsonl").read_text("utf-8").splitlines())
    assert line == {
        "item_id": "item002",
        "image": "2.png",
        "reason": reason,
        "message": "2.png is not to be had; its vector of an earlier run stays",
        "stale_runs": 1,
    }


@pytest.mark.parametrize("reason", LASTING)
def test_an_image_that_is_gone_loses_its_vector_at_once(shop, tmp_path, reason):
    shop.away["2.png"] = reason
    report = index(shop, tmp_path, Unused())
    assert (report.items, report.removed, report.skipped_reasons) == (3, 1, {reason: 1})
    assert (report.stale_images, stale(tmp_path)) == ({}, {})


def test_it_keeps_its_vector_for_as_many_runs_as_the_option_says_and_comes_back_by_itself(shop, tmp_path):
    shop.away["2.png"] = "timeout"
    runs = [index(shop, tmp_path, Unused()) for _ in range(3)]
    assert [(run.items, run.stale_images, run.skipped_reasons) for run in runs] == [
        (4, {"timeout": 1}, {}),
        (4, {"timeout": 1}, {}),
        (3, {}, {"timeout": 1}),
    ]
    shop.away.clear()
    assert index(shop, tmp_path).items == 4
    assert stale(tmp_path) == {}


def test_an_image_that_was_read_again_begins_anew(shop, tmp_path):
    for _ in range(2):
        shop.away["2.png"] = "timeout"
        index(shop, tmp_path, Unused())
        index(shop, tmp_path, Unused())
        shop.away.clear()
        assert index(shop, tmp_path, Unused()).stale_images == {}
    assert stale(tmp_path) == {}


def test_none_is_kept_where_nobody_wants_that(shop, tmp_path):
    shop.away["2.png"] = "timeout"
    report = index(shop, tmp_path, Unused(), keep_stale=0)
    assert (report.items, report.stale_images, report.skipped_reasons) == (3, {}, {"timeout": 1})
    with pytest.raises(ValueError, match="keep_stale is -1; it must be 0 or more"):
        options(keep_stale=-1)


def test_an_image_that_never_had_a_vector_has_none_to_keep(tmp_path):
    shop = shop_of(1, kind=Flaky)
    shop.put("black", "black.png")
    shop.files["black.png"] = BLACK
    shop.put("new", "new.png")
    shop.away["new.png"] = "http-5xx"
    assert index(shop, tmp_path).skipped_reasons == {"http-5xx": 1, "zero-vector": 1}
    shop.away["black.png"] = "http-5xx"
    report = index(shop, tmp_path, Unused())
    assert (report.stale_images, report.skipped_reasons) == ({}, {"http-5xx": 2})


def test_an_update_tells_what_it_could_not_read_and_does_not_count_as_a_run(shop, tmp_path):
    shop.away["2.png"] = "timeout"
    change = [{"id": "item002", "images": ["2.png", "1.png"]}]
    for _ in range(4):
        report = update(change, tmp_path, encoder=Unused(), images=shop, options=options())
        assert report.stale_images == {"timeout": 1}
        assert stale(tmp_path) == {("item002", "2.png"): (1, "timeout")}
    update([{"id": "item002", "price": 7}, {"id": "item001", "price": 8}], tmp_path, encoder=Unused(), images=shop)
    assert stale(tmp_path) == {("item002", "2.png"): (1, "timeout")}
    update([{"id": "item002", "images": ["1.png"]}], tmp_path, encoder=Unused(), images=shop)
    assert stale(tmp_path) == {}


# Anything that may happen, in any order

names = st.sampled_from([f"{letter}.png" for letter in "abcde"])
shown_images = st.lists(names, min_size=1, max_size=3, unique=True)
reasons = st.sampled_from(["timeout", "http-5xx", "http-404"])


class ShopAndOutages(RuleBasedStateMachine):
    """*held* is what the store has: item -> image -> the digest of its vector, the runs that it is stale, and why."""

    def __init__(self):
        super().__init__()
        self.store = Path(tempfile.mkdtemp()) / "index"
        self.shop = Flaky()
        self.held = {}
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(writer, "_FEW_ITEMS", 0)  # every change becomes a delta
        self.patch.setattr(writer, "_MOST_CHANGED", 3)
        self.patch.setattr(comparing, "_FEWEST", 1)

    def teardown(self):
        self.patch.undo()
        shutil.rmtree(self.store.parent)

    @initialize()
    def open_the_shop(self):
        for number, letter in enumerate("abcde"):
            self.shop.files[f"{letter}.png"] = image(number)
            self.shop.put(f"item{number}", f"{letter}.png")
        self.run()

    @rule(item=st.integers(0, 4), shown=shown_images)
    def show_others(self, item, shown):
        self.shop.put(f"item{item}", *shown)

    @rule(name=names, number=st.integers(0, 9))
    def take_an_image(self, name, number):
        self.shop.files[name] = image(number)

    @rule(name=names, reason=reasons)
    def lose_sight_of_an_image(self, name, reason):
        self.shop.away[name] = reason

    @rule(reason=reasons)
    def lose_sight_of_all(self, reason):
        self.shop.away = dict.fromkeys(self.shop.files, reason)

    @precondition(lambda self: self.shop.away)
    @rule(data=st.data())
    def see_an_image_again(self, data):
        del self.shop.away[data.draw(st.sampled_from(sorted(self.shop.away)))]

    def outcome(self, item, name, *, counts):
        """Return what becomes of an image that is read: digest, runs and reason; None where it has no vector."""
        reason = self.shop.away.get(name)
        if reason is None:
            return hashlib.sha256(self.shop.files[name]).hexdigest(), 0, None
        digest, runs, _ = self.held.get(item, {}).get(name, (None, 0, None))
        runs = max(1, runs + counts)
        return None if digest is None or reason in GONE or runs > KEPT else (digest, runs, reason)

    def expected(self, shown, *, counts):
        found = {}
        for item, images in shown.items():
            outcomes = {name: self.outcome(item, name, counts=counts) for name in images}
            known = {name: outcome for name, outcome in outcomes.items() if outcome}
            found |= {item: known} if known else {}
        return found

    @rule()
    def run(self):
        new = self.expected({item.id: item.images for item in self.shop.items.values()}, counts=1)
        if not new:
            with pytest.raises(EmptyCatalog):
                index(self.shop, self.store)
            return
        report = index(self.shop, self.store)
        self.held = new
        known = [outcome for images in new.values() for outcome in images.values()]
        assert (report.items, report.images) == (len(new), len(known))
        assert sum(report.stale_images.values()) == sum(runs > 0 for _, runs, _ in known)

    @rule(item=st.integers(0, 4), shown=st.none() | shown_images)
    def update(self, item, shown):
        name = f"item{item}"
        if shown is None:
            change = {"id": name, "price": item}
            after = self.held
        else:
            change = {"id": name, "images": shown}
            self.shop.put(name, *shown)
            after = {each: images for each, images in self.held.items() if each != name}
            after |= self.expected({name: shown}, counts=0)
        if not after:
            with pytest.raises(EmptyCatalog):
                update([change], self.store, encoder=FakeEncoder(), images=self.shop, options=options())
            return
        update([change], self.store, encoder=FakeEncoder(), images=self.shop, options=options())
        self.held = after

    @invariant()
    def the_store_holds_what_is_expected(self):
        if not self.held:
            return
        with Store.open(self.store) as store:
            digests = {item: {known.image: known.digest for known in store.images(item)} for item in store.ids()}
            told = {(each.id, each.image): (each.stale, each.reason) for each in store.items.skipped() if each.stale}
        assert digests == {
            item: {name: digest for name, (digest, _, _) in images.items()} for item, images in self.held.items()
        }
        assert told == {
            (item, name): (runs, reason)
            for item, images in self.held.items()
            for name, (_, runs, reason) in images.items()
            if runs
        }
        assert list(verify(self.store)) == []


class OneByOne(Flaky):
    """A shop that tells a signature only with the image, as a web server does."""

    def signatures(self, references):
        return [None] * len(references)


class ShopOnTheWeb(ShopAndOutages):
    """The same for a source that is asked image by image."""

    def __init__(self):
        super().__init__()
        self.shop = OneByOne()


TestShopAndOutages = ShopAndOutages.TestCase
TestShopOnTheWeb = ShopOnTheWeb.TestCase
TestShopAndOutages.settings = TestShopOnTheWeb.settings = settings(
    max_examples=6, stateful_step_count=14, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
