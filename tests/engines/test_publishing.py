"""A generation goes into an engine: nothing twice, nothing lost, whatever ends the run, and readers see one of them."""

import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_meddling import alter, remove, repeat
from fake_shop import FakeEncoder, Shop, image, index, shop_of

from vision_recs.engines import PublishOptions, open_engine, publish, rollback
from vision_recs.engines.base import connect
from vision_recs.engines.published import read_known
from vision_recs.engines.publishing import Publication
from vision_recs.errors import EngineDamaged, EngineUnavailable, NothingPublished, PublishRefused, UnknownEngine
from vision_recs.filters import Filter
from vision_recs.jobs import retune
from vision_recs.recommend import Query, Recommender
from vision_recs.store import Projection, Store, garbage_collect
from vision_recs.types import SearchRequest

SMALL = PublishOptions(batch_size=3)


class Killed(BaseException):
    """Ends a run as a signal does: nobody catches it."""


@pytest.fixture
def shop():
    return shop_of(10)


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


def counts(report):
    return report.inserted, report.replaced, report.deleted, report.unchanged


def held(source):
    """Return what *source*, of items, says of all of them: attributes, images and vectors."""
    attributes = source.attributes_of(source.ids())
    images = {item: list(source.images(item)) for item in attributes}
    digests = list(dict.fromkeys(each.digest for shown in images.values() for each in shown))
    vectors = dict(zip(digests, source.vectors_of(digests).tolist(), strict=True))
    return {
        item: (dict(attributes[item]), shown, [vectors[each.digest] for each in shown])
        for item, shown in images.items()
    }


def published(uri):
    with open_engine(uri) as opened:
        return opened.published.generation, held(opened.items)


def of_store(store):
    with Store.open(store) as opened:
        return opened.generation, held(opened)


def records(uri):
    """Return key -> hash of the newest records, whoever reads them."""
    with open_engine(uri) as opened:
        found = opened.table.read(["key", "hash"]).to_pydict()
    assert len(found["key"]) == len(set(found["key"]))
    return dict(zip(found["key"], found["hash"], strict=True))


def test_all_is_there_and_a_second_run_writes_nothing(store, uri):
    assert counts(publish(uri, store)) == (10, 0, 0, 0)
    assert published(uri) == of_store(store)
    again = publish(uri, store)
    assert counts(again) == (0, 0, 0, 10)
    assert (again.generation, again.before, again.recall, again.filtered_recall) == (1, 1, 1.0, 1.0)


def test_a_delta_writes_exactly_its_difference(shop, store, uri):
    publish(uri, store)
    before = records(uri)
    shop.put("item003", 3, price=99)  # another price
    shop.put("item004", 4, 40, price=4)  # one more image
    shop.put("new", 50, price="on request", tags='["new"]')  # values of kinds that no column was for
    del shop.items["item007"], shop.items["item008"]
    index(shop, store)
    report = publish(uri, store)
    assert counts(report) == (2, 1, 2, 7)
    assert (report.generation, report.before, report.kept) == (2, 1, [1, 2])
    assert published(uri) == of_store(store)
    after = records(uri)
    assert len(before.items() & after.items()) == 7
    with open_engine(uri) as opened:
        assert list(opened.items.ids_where(Filter.parse('"new" in tags'))) == ["new"]


def test_killed_after_every_batch_it_goes_on_to_equal_content(store, new_uri):
    uri, at_once = new_uri(), new_uri()
    runs = 0
    while True:
        done = []

        def kill(stage, now, total, done=done, runs=runs):
            if stage == "publishing" and now < total:
                done.append(now)
                if len(done) > runs:
                    raise Killed

        try:
            report = publish(uri, store, options=SMALL, progress=kill)
        except Killed:
            runs += 1
            with pytest.raises(NothingPublished):
                open_engine(uri)
            continue
        break
    assert runs == 3
    assert counts(report) in {(1, 0, 0, 9), (0, 0, 0, 10)}  # the last batch may have been on its way
    assert published(uri) == of_store(store)
    publish(at_once, store)
    assert records(uri) == records(at_once)


STAGES = ["publishing", "making the index", "verifying answers"]


@pytest.mark.parametrize("stage", STAGES)
def test_readers_see_one_generation_only_wherever_a_run_ends(stage, shop, store, uri):
    publish(uri, store)
    first = published(uri)
    shop.put("item003", 3, price=99)
    shop.put("item011", 11, price=1)
    index(shop, store)
    reader = open_engine(uri)

    def kill(now, *_):
        assert published(uri) == first
        if now == stage:
            raise Killed

    with pytest.raises(Killed):
        publish(uri, store, progress=kill)
    assert (1, held(reader.items)) == first == published(uri)
    publish(uri, store)
    assert published(uri) == of_store(store) != first
    assert (1, held(reader.items)) == first  # whoever opened it before goes on with it
    reader.close()


def test_a_process_that_is_killed_leaves_what_the_next_one_goes_on_with(store, uri):
    program = f"""
        import os
        from vision_recs.engines import PublishOptions, publish
        publish({uri!r}, {str(store)!r}, options=PublishOptions(batch_size=4),
                progress=lambda stage, done, total: os._exit(9) if done == 4 else None)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == 9
    report = publish(uri, store)
    assert (report.inserted + report.unchanged, report.deleted) == (10, 0)
    assert report.unchanged == 4
    assert published(uri) == of_store(store)


def test_drift_is_repaired(store, uri):
    publish(uri, store)
    before = records(uri)
    remove(uri, ["item001", "item002"])
    alter(uri, "item003", {"hash": "0" * 16})
    alter(uri, "item004", {"key": "mine"})
    repeat(uri, "item005")
    report = publish(uri, store)
    assert counts(report) == (4, 1, 2, 5)  # item004 and item005 are removed and written again
    assert records(uri) == before
    assert published(uri) == of_store(store)


def test_values_that_were_altered_are_not_served_and_a_rewrite_repairs_them(store, uri):
    publish(uri, store)
    alter(uri, "item003", {"attributes": '{"price": 0}'})
    with pytest.raises(EngineDamaged, match="--rewrite"):
        publish(uri, store)
    if uri.startswith("lance"):  # which keeps the version as it was published
        assert published(uri) == of_store(store)
    assert counts(publish(uri, store, options=PublishOptions(rewrite=True))) == (0, 10, 0, 0)
    assert published(uri) == of_store(store)


def test_records_of_somebody_else_are_found_before_the_switch(shop, store, uri):
    publish(uri, store)
    first = published(uri)
    shop.put("item003", 3, price=99)
    index(shop, store)

    def meanwhile(stage, *_):
        if stage == "making the index":
            repeat(uri, "item005")

    with pytest.raises(EngineDamaged, match="somebody else"):
        publish(uri, store, progress=meanwhile)
    assert published(uri) == first
    publish(uri, store)
    assert published(uri) == of_store(store)


def test_an_engine_that_loses_matches_is_not_switched_to(shop, store, uri, monkeypatch):
    publish(uri, store)
    first = published(uri)
    shop.put("item003", 3, price=99)
    index(shop, store)
    with monkeypatch.context() as patch:
        patch.setattr(
            "vision_recs.engines.searching._ReadRecords.nearest", lambda self, *_, **__: self._found.slice(0, 5)
        )
        with pytest.raises(EngineDamaged, match="nothing was switched"):
            publish(uri, store)
    assert published(uri) == first


def test_a_dry_run_tells_what_would_be_written_and_writes_nothing(shop, store, uri):
    dry = PublishOptions(dry_run=True)
    report = publish(uri, store, options=dry)
    assert (*counts(report), report.recall, report.kept) == (10, 0, 0, 0, None, [])
    with pytest.raises(NothingPublished):
        open_engine(uri)
    assert connect(uri).tokens() == []
    publish(uri, store)
    shop.put("item003", 3, price=99)
    index(shop, store)
    first = records(uri)
    assert counts(publish(uri, store, options=dry)) == (0, 1, 0, 9)
    assert records(uri) == first
    assert counts(publish(uri, store)) == (0, 1, 0, 9)


def generations(shop, store, uri, count, **options):
    """Publish *count* generations that differ in a price, and return what each of them holds."""
    found = []
    for number in range(count):
        shop.put("item003", 3, price=100 + number)
        index(shop, store)
        publish(uri, store, options=PublishOptions(**options))
        found.append(published(uri))
    return found


def test_a_rollback_goes_to_the_generation_before_and_publishing_comes_back(shop, store, uri):
    first, second, third = generations(shop, store, uri, 3, keep=3)
    assert rollback(uri) == (4, 3)
    assert published(uri) == second
    assert rollback(uri) == (3, 2)
    assert published(uri) == first
    with pytest.raises(NothingPublished, match="keeps no generation before"):
        rollback(uri)
    report = publish(uri, store)
    assert counts(report) == (0, 0, 0, 10)
    assert (report.before, report.generation) == (2, 4)
    assert published(uri) == third


def test_as_many_generations_are_kept_as_is_said(shop, store, uri):
    *_, third, fourth = generations(shop, store, uri, 4, keep=2)
    engine = connect(uri)
    assert len(engine.tokens()) == 2
    assert sorted(name.split("-")[0] for name in engine.documents.names()) == [
        *["current", "generation", "generation", "sample", "sample"]
    ]
    assert rollback(uri) == (5, 4)
    assert published(uri) == third
    publish(uri, store, options=PublishOptions(keep=1))
    assert published(uri) == fourth
    with pytest.raises(NothingPublished):
        rollback(uri)


def test_an_older_generation_never_replaces_a_newer_one(shop, store, uri, tmp_path):
    publish(uri, store)
    shutil.copytree(store, tmp_path / "older")
    shop.put("item003", 3, price=99)
    index(shop, store)
    publish(uri, store)
    second = published(uri)
    with pytest.raises(PublishRefused, match="generation 2, newer than generation 1"):
        publish(uri, tmp_path / "older")
    rollback(uri)
    with pytest.raises(PublishRefused, match="generation 2, newer than generation 1"):
        publish(uri, tmp_path / "older")
    assert publish(uri, store).generation == 2
    assert published(uri) == second


def test_a_generation_of_another_store_is_refused(store, uri, tmp_path):
    publish(uri, store)
    first = published(uri)
    index(shop_of(3), tmp_path / "other")
    with pytest.raises(PublishRefused, match="another store"):
        publish(uri, tmp_path / "other")
    assert published(uri) == first


def test_another_encoder_gets_a_table_of_its_own_and_the_way_back_is_open(shop, store, uri):
    publish(uri, store)
    first = published(uri)
    index(shop, store, FakeEncoder("another", turn=3))
    assert counts(publish(uri, store)) == (10, 0, 0, 0)
    assert published(uri) == of_store(store)
    assert rollback(uri) == (2, 1)
    assert published(uri) == first


def test_projected_vectors_are_those_of_the_store_to_the_last_bit(store, uri, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    random = np.random.default_rng(0)
    learned = [random.normal(size=shape).astype(np.float32) for shape in (12, (12, 5))]
    retune(store, Projection(*learned, {"learned_from": "a test"}))
    publish(uri, store)
    assert published(uri) == of_store(store)
    query = Query(images=(image(77),), k=10)
    with open_engine(uri) as opened, Store.open(store) as local:
        assert Recommender(opened.items, opened.index).query(query) == Recommender.of_store(local).query(query)


def test_an_item_that_shows_an_image_twice_and_one_image_of_two_items_are_kept_apart(tmp_path, uri):
    shop = Shop()
    shop.put("one", 1, 2, price=1, image_attributes=[{"view": "front"}, {"view": "back"}])
    shop.put("two", 2, 2, 3)
    index(shop, tmp_path / "store")
    publish(uri, tmp_path / "store")
    assert published(uri) == of_store(tmp_path / "store")
    query = np.ones((1, 12), np.float32)
    with open_engine(uri) as opened, Store.open(tmp_path / "store") as local:
        expected = Recommender.of_store(local).index.search(SearchRequest(query, 9))
        assert opened.index.search(SearchRequest(query, 9)) == expected


@pytest.mark.parametrize("uri", ["", "lance", "lance:", "pinecone:x", "/tmp/x", "lance+s3:", "lance://x"])
def test_what_is_no_uri_is_told_so(uri):
    with pytest.raises(UnknownEngine, match=r"lance:"):
        connect(uri)


def no_network(*_):
    raise EngineUnavailable("the network is gone")


def test_what_cannot_be_removed_is_told_and_the_generation_is_published(shop, store, uri, monkeypatch):
    generations(shop, store, uri, 2, keep=1)
    shop.put("item003", 3, price=7)
    index(shop, store)
    with monkeypatch.context() as patch:
        patch.setattr(type(connect(uri)), "drop", no_network)
        report = publish(uri, store, options=PublishOptions(keep=1))
    assert report.notes == [
        "older generations could not be removed, and are tried again next time: the network is gone"
    ]
    assert published(uri) == of_store(store)
    assert publish(uri, store).notes == []
    assert len(connect(uri).tokens()) == 1


@pytest.fixture
def second(shop, store, uri, tmp_path):
    """A copy of *store* as it is at its second generation; the first is published, and *store* is at its third."""
    publish(uri, store)
    shop.put("item003", 3, price=99)
    index(shop, store)
    shutil.copytree(store, tmp_path / "second")
    shop.put("item004", 4, price=98)
    index(shop, store)
    return tmp_path / "second"


def test_two_publishers_at_once_leave_a_generation_that_opens(store, second, uri, monkeypatch):
    switch = Publication._switch

    def meanwhile(self, made):
        monkeypatch.setattr(Publication, "_switch", switch)
        publish(uri, second)
        switch(self, made)

    monkeypatch.setattr(Publication, "_switch", meanwhile)
    with pytest.raises(PublishRefused, match=r"somebody else publishes to .* at the same time; run it again"):
        publish(uri, store)
    assert published(uri) == of_store(second)
    assert publish(uri, store).before == 2
    assert published(uri) == of_store(store)


def test_what_another_publisher_has_sealed_meanwhile_is_not_dropped(shop, store, uri, monkeypatch):
    publish(uri, store)
    shop.put("item003", 3, price=99)
    index(shop, store)
    switch = Publication._switch

    def meanwhile(self, made):
        switch(self, made)
        self._engine.documents.write("sample-000009-other", b"another publisher is here")

    monkeypatch.setattr(Publication, "_switch", meanwhile)
    publish(uri, store)
    assert "sample-000009-other" in connect(uri).documents.names()
    monkeypatch.setattr(Publication, "_switch", switch)
    publish(uri, store)  # which finds it at its beginning: nobody works on it
    assert "sample-000009-other" not in connect(uri).documents.names()


def test_a_store_that_was_made_anew_is_refused_whatever_the_number_of_its_generation(store, uri, tmp_path):
    publish(uri, store)
    first, other = published(uri), shop_of(3)
    for price in range(3):
        other.put("item001", 1, price=price)
        index(other, tmp_path / "other")
    garbage_collect(tmp_path / "other")
    with pytest.raises(PublishRefused, match="generation 1 of another store"):
        publish(uri, tmp_path / "other")
    assert published(uri) == first


def test_a_store_whose_old_manifests_are_gone_is_the_same_store(shop, store, uri):
    publish(uri, store)
    for price in range(3):
        shop.put("item003", 3, price=price)
        index(shop, store)
    index(shop, store, FakeEncoder("another", turn=3))
    garbage_collect(store)
    assert publish(uri, store).generation == 5
    assert published(uri) == of_store(store)


@pytest.mark.parametrize("name", ["current", "generation-000002", "generation-000003"])
def test_a_damaged_document_is_told_and_repaired(name, shop, store, uri):
    generations(shop, store, uri, 2)
    connect(uri).documents.write(name, b"{")
    report = publish(uri, store)
    assert report.notes == [f"the document {name!r} was damaged and is left out"]
    assert published(uri) == of_store(store)
    assert publish(uri, store).notes == []


def test_a_rollback_passes_over_what_is_damaged(shop, store, uri):
    first, _, third = generations(shop, store, uri, 3, keep=3)
    engine = connect(uri)
    engine.documents.write("current", b"{")
    engine.documents.write("generation-000003", b"{")
    assert rollback(uri) == (4, 2)
    assert published(uri) == first
    publish(uri, store)
    assert published(uri) == third


def test_a_rollback_never_goes_to_a_generation_that_was_gone_back_from(shop, store, uri):
    first, _ = generations(shop, store, uri, 2)
    assert rollback(uri) == (3, 2)
    shop.put("item003", 3, price=7)
    index(shop, store)
    assert publish(uri, store).kept == [2, 4]
    assert rollback(uri) == (4, 2)
    assert published(uri) == first


def test_a_rollback_goes_to_what_opens(shop, store, uri):
    first, _, _ = generations(shop, store, uri, 3, keep=3)
    engine = connect(uri)
    gone = next(each for each in read_known(engine).kept if each.generation == 3)
    engine.drop([gone.token])
    assert rollback(uri) == (4, 2)
    assert published(uri) == first


def in_the_way(monkeypatch, uri, work):
    """Let *work* come between the check of the next switch and its write."""
    kind = type(connect(uri).documents)
    swap = kind.swap

    def late(self, *arguments):
        monkeypatch.setattr(kind, "swap", swap)
        work()
        return swap(self, *arguments)

    monkeypatch.setattr(kind, "swap", late)


def test_a_switch_never_replaces_what_was_published_after_its_check(store, second, uri, monkeypatch):
    in_the_way(monkeypatch, uri, lambda: publish(uri, second))
    with pytest.raises(PublishRefused, match=r"somebody else publishes to .* at the same time; run it again"):
        publish(uri, store)
    assert published(uri) == of_store(second)
    assert read_known(connect(uri)).newest.generation == 2
    assert publish(uri, store).before == 2
    assert rollback(uri) == (3, 2)


def test_a_way_back_never_replaces_what_was_published_after_its_check(shop, store, uri, monkeypatch):
    generations(shop, store, uri, 2)
    shop.put("item003", 3, price=7)
    index(shop, store)
    in_the_way(monkeypatch, uri, lambda: publish(uri, store))
    with pytest.raises(PublishRefused, match="at the same time; run it again"):
        rollback(uri)
    assert published(uri) == of_store(store)
    assert rollback(uri) == (4, 3)  # nobody went back from generation 3


def test_a_generation_whose_own_document_was_not_written_any_more_can_be_gone_back_to(shop, store, uri):
    first = generations(shop, store, uri, 1)[0]
    connect(uri).documents.delete(["generation-000002"])
    shop.put("item003", 3, price=7)
    index(shop, store)
    publish(uri, store)
    assert rollback(uri) == (3, 2)
    assert published(uri) == first


def test_a_way_back_that_was_stopped_after_its_switch_counts_as_one(shop, store, uri, monkeypatch):
    first, *_ = generations(shop, store, uri, 2)
    with monkeypatch.context() as patch:
        patch.setattr(type(connect(uri).documents), "write", no_network)
        with pytest.raises(EngineUnavailable):
            rollback(uri)
    assert published(uri) == first
    shop.put("item003", 3, price=7)
    index(shop, store)
    publish(uri, store)
    assert rollback(uri) == (4, 2)


def test_of_several_who_swap_a_document_one_at_most_does_it(uri):
    engines = [connect(uri) for _ in range(4)]
    engines[0].documents.write("other", b"")
    before = None
    with ThreadPoolExecutor(len(engines)) as pool:
        for number in range(3):
            texts = [f"{number} {writer}".encode() for writer in range(len(engines))]

            def swap(engine, text, before=before):
                try:
                    return engine.documents.swap("current", text, before)
                except EngineUnavailable:  # who lost too often
                    return False

            done = list(pool.map(swap, engines, texts))
            now = connect(uri).documents.read(["current"]).get("current")
            assert [text for text, is_done in zip(texts, done, strict=True) if is_done] == [now] * (now != before)
            assert not engines[0].documents.swap("current", b"late", b"what nobody wrote")
            before = f"alone {number}".encode()
            assert engines[0].documents.swap("current", before, now)
            assert connect(uri).documents.read(prefixes=["cur", "oth"]) == {"current": before, "other": b""}


def test_a_way_back_to_what_is_lost_is_a_sentence_and_readers_stay(shop, store, uri):
    _, second = generations(shop, store, uri, 2)
    engine = connect(uri)
    engine.drop([read_known(engine).before(3)[0].token])
    with pytest.raises(NothingPublished, match=r"generation 2 is lost: .*; readers keep what they have"):
        rollback(uri)
    assert published(uri) == second
