"""Stores in a bucket of a real S3 server: one writer wins, readers lose nothing, and what is published is whole."""

from __future__ import annotations

import errno
import os
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fake_shop import BulkShop, FakeEncoder, Unused, content, index, png, shop_of, wanted

pytest.importorskip("obstore")

import vision_recs
from vision_recs import indexes
from vision_recs.errors import StoreDamaged, StoreError, StoreLocked, StoreNotFound, StoreUnavailable
from vision_recs.indexes.hnsw_mmap import graph_files
from vision_recs.jobs import IndexOptions, embed, update, verify
from vision_recs.remote import remote_folder
from vision_recs.remote.object_store import ObjectError
from vision_recs.remote.options import RemoteOptions
from vision_recs.remote.remote_folder import RemoteFolder, Superseded
from vision_recs.store import Layout, Store, garbage_collect, open_writer
from vision_recs.store.atomic_files import sha256_file
from vision_recs.store.bucket import copies, digests
from vision_recs.store.bucket import lease as lease_module
from vision_recs.store.bucket.copies import copy_of, pull
from vision_recs.store.bucket.lease import Lease, read_head
from vision_recs.store.bucket.mark import folder_of
from vision_recs.store.bucket.pushing import BucketWriter
from vision_recs.store.partitions import Partition

ADDRESS = "s3://shop/store"
OF_A_GENERATION = (("generations", "json"), ("items", "sqlite"), ("attributes", "bin"), ("skipped", "jsonl"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, s3):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    impatient = partial(RemoteOptions, tries=1, backoff_s=0.01)
    monkeypatch.setattr(remote_folder, "RemoteOptions", impatient)
    s3.put("else.txt", b"the bucket is there with its first object")


@pytest.fixture
def shop():
    shop = BulkShop()
    for number in range(6):
        shop.put(f"item-{number}", number, price=number)
    return shop


@pytest.fixture
def published(s3, shop):
    """The bucket, in which the first generation of the shop is published."""
    index(shop, ADDRESS)
    s3.counted()
    return s3


@pytest.fixture
def other(tmp_path):
    """A copy as another machine has it."""
    return copy_of(ADDRESS, tmp_path / "other")


def keys():
    return {file.path for file in RemoteFolder(ADDRESS).files()}


@pytest.mark.usefixtures("published")
def test_a_store_in_a_bucket_is_the_store_that_a_folder_would_be(shop, tmp_path, other):
    index(shop, tmp_path / "folder")
    assert content(folder_of(ADDRESS)) == content(tmp_path / "folder")
    report = pull(other)
    assert content(other) == content(tmp_path / "folder")
    assert report.generation == 1
    assert report.files > 5
    assert list(verify(ADDRESS)) == []
    with Store.open(ADDRESS) as opened:
        assert opened.generation == 1
    with closing(vision_recs.open(ADDRESS)) as recommender:
        assert len(recommender.similar("item-1", k=2)) == 2


def test_a_reader_fetches_only_what_is_new(published, shop, other):
    first = pull(other)
    published.counted()
    assert pull(other).files == 0
    assert published.counted() == {"GET": 2}  # CURRENT and the listing
    update([{"id": "item-1", "price": 99}], ADDRESS)
    second = pull(other)
    assert second.generation == 2
    assert 0 < second.bytes < first.bytes
    with Store.open(other) as opened:
        assert opened.attributes("item-1") == {"price": 99}
    again = index(shop, ADDRESS, Unused())  # the catalog has the old price
    assert again.embedded == 0
    assert pull(other).generation == 3


def test_a_reader_that_loses_the_bucket_goes_on_and_a_writer_says_so(published, other, caplog):
    folder = folder_of(ADDRESS)
    before = content(folder)
    published.fails = lambda *_: 503
    assert content(folder_of(ADDRESS)) == before
    assert "cannot be reached" in caplog.text
    assert "going on with what was pulled before" in caplog.text
    with pytest.raises(StoreUnavailable, match=r"^the store in s3://shop/store cannot be reached"):
        copies.refresh(other)
    with pytest.raises(StoreUnavailable, match=r"^the store in s3://shop/store cannot be reached"):
        update([{"id": "item-1", "price": 99}], ADDRESS)
    published.fails = None
    assert content(folder_of(ADDRESS)) == before


@pytest.mark.usefixtures("s3")
def test_where_there_is_no_store_that_is_said_of_the_address():
    for door in (Store.open, garbage_collect, lambda address: list(verify(address))):
        with pytest.raises(StoreNotFound, match="there is no store in s3://shop/store"):
            door(ADDRESS)
    with pytest.raises(StoreUnavailable, match="there is no bucket s3://nowhere"):
        Store.open("s3://nowhere/shop")


@pytest.mark.usefixtures("published")
def test_of_two_writers_one_publishes_and_the_other_gets_a_sentence(other):
    with (
        open_writer(ADDRESS),
        pytest.raises(StoreLocked, match=r"another process \(.*\) is writing to s3://shop/store"),
    ):
        update([{"id": "item-1", "price": 99}], other)
    assert update([{"id": "item-1", "price": 99}], other).generation == 2


@pytest.mark.usefixtures("published", "other")
def test_a_writer_that_was_thought_dead_publishes_nothing():
    """The lease of a writer that sleeps ends; another one publishes; then the first one wakes."""
    remote = RemoteFolder(ADDRESS)
    asleep = Lease(remote, seconds=1e-3)
    asleep._ended.set()  # it does not renew its lease any more
    asleep._thread.join()
    time.sleep(0.01)
    with Lease(remote) as awake:
        assert awake.head.fence == asleep.head.fence + 1
        with pytest.raises(StoreLocked, match="nothing was published; run the same command again"):
            asleep.publish(9, "f" * 64)
        assert read_head(remote)[0].generation == 1
        awake.publish(2, "e" * 64)
    assert read_head(remote)[0] == (awake.head.fence, 2, "e" * 64)


@pytest.mark.usefixtures("published")
def test_a_lease_that_is_renewed_outlasts_its_time():
    remote = RemoteFolder(ADDRESS)

    def until():
        return lease_module._loaded(remote.read(lease_module.LOCK)[0], "LOCK", {})["until"]

    with Lease(remote, seconds=0.4):
        first, end = until(), time.monotonic() + 60
        while until() < first + 1:  # far beyond its time, whenever each renewal comes
            assert time.monotonic() < end
            time.sleep(0.05)
    with Lease(remote):
        pass


@pytest.mark.usefixtures("published")
def test_what_is_published_has_the_fence_of_its_writer():
    remote = RemoteFolder(ADDRESS)
    head, _ = read_head(remote)
    assert head.fence == 1
    assert b'"fence": 1' in remote.read(f"listings/{head.listing}.json")[0]
    update([{"id": "item-1", "price": 99}], ADDRESS)
    assert read_head(remote)[0].fence == 2


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.usefixtures("published")
def test_a_kill_between_the_files_and_current_leaves_the_old_generation(shop, other, monkeypatch):
    before = content(folder_of(ADDRESS))
    shop.put("item-7", 7)

    def end(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "publish", end)
        with pytest.raises(Killed):
            index(shop, ADDRESS)
    pull(other)
    assert content(other) == before
    assert content(folder_of(ADDRESS)) == before
    report = index(shop, ADDRESS, Unused())  # the vector lies in a shard that was not published
    assert (report.generation, report.images) == (2, 7)
    pull(other)
    assert content(other) == content(folder_of(ADDRESS))


def test_at_every_request_of_a_writer_the_bucket_may_end(published, shop, other):
    """Whichever request is the last one, readers have the old generation or the new one, whole."""
    before = content(folder_of(ADDRESS))
    shop.put("item-7", 7)
    seen = set()
    for last in range(3, 40, 3):
        count = 0

        def fail(kind, _key, last=last):
            nonlocal count
            count += kind == "PUT"
            return "close" if count > last else None

        published.fails = fail
        with suppress(StoreUnavailable, StoreLocked):
            index(shop, ADDRESS)
        published.fails = None
        RemoteFolder(ADDRESS).remove(["LOCK"])  # else it is held until the lease ends
        pull(other)
        assert list(verify(other)) == []
        found = content(other)
        seen.add(found == before)
        if found != before:
            break
    assert seen == {True, False}


@pytest.mark.usefixtures("published")
def test_garbage_goes_and_what_workers_left_since_stays(shop, other):
    pull(other)
    update([{"id": "item-1", "price": 99}], ADDRESS)
    del shop.items["item-0"]
    index(shop, ADDRESS, Unused())
    remote = RemoteFolder(ADDRESS)
    remote.put("shards/unfinished/vectors.npy", b"work of a run that was stopped")
    remote.put("files/of-a-writer-that-died", b"garbage")
    before = keys()
    reclaimed = garbage_collect(ADDRESS)
    assert reclaimed.bytes > 0
    assert keys() < before
    assert "shards/unfinished/vectors.npy" in keys()
    assert "files/of-a-writer-that-died" not in keys()
    assert list(verify(ADDRESS)) == []
    assert pull(other).generation == 3
    assert content(other) == content(folder_of(ADDRESS))


@pytest.mark.usefixtures("s3")
def test_of_a_change_of_a_hundredth_a_few_hundredths_are_put_and_fetched(other):
    shop = shop_of(5, kind=BulkShop)
    for number in range(6_000):
        shop.put(f"more-{number}", number % 5, price=number, title=f"Thing number {number} of the shop")
    embed(shop, ADDRESS, encoder=FakeEncoder(), options=IndexOptions(workers=2))
    first = pull(other)
    before = keys()
    for number in range(0, 6_000, 100):
        shop.put(f"more-{number}", number % 5, price=-1, title=f"Thing number {number} of the shop")
    embed(shop, ADDRESS, encoder=Unused(), options=IndexOptions(workers=2))
    second = pull(other)
    put = sum(file.size for file in RemoteFolder(ADDRESS).files("files") if file.path not in before)
    assert second.bytes == put
    assert second.bytes < 0.06 * first.bytes
    with Store.open(other) as opened:
        assert opened.attributes("more-500")["price"] == -1
        assert opened.attributes("more-501")["price"] == 501


@pytest.mark.usefixtures("s3")
def test_of_an_index_that_was_updated_only_what_is_new_is_fetched(other):
    shop = shop_of(40, kind=BulkShop)
    index(shop, ADDRESS, index_type="hnsw")
    pull(other)
    shop.put("new", 99)
    index(shop, ADDRESS)
    shared = {"index.faiss", "positions.npy", *graph_files()}
    (before,) = (other / "indexes").iterdir()
    links = before / "graph.links.npy"
    links.write_bytes(bytes(links.stat().st_size))  # damage that the copy must not take over
    pull(other)
    (after,) = {*(other / "indexes").iterdir()} - {before}
    assert {name for name in shared if (before / name).samefile(after / name)} == shared - {links.name}
    assert indexes.verify(after) == []
    assert content(other) == wanted(shop)


def test_publishing_reads_the_bytes_of_new_files_alone(monkeypatch):
    shop = shop_of(40, kind=BulkShop)
    index(shop, ADDRESS, index_type="hnsw")
    read = []
    monkeypatch.setattr(digests, "sha256_file", lambda path: read.append(path) or sha256_file(path))
    shop.put("new", 99)
    index(shop, ADDRESS)  # the large graph of its index is that of the one before, by another name
    folder = folder_of(ADDRESS)
    (shard,) = {path.parent.name for path in read if path.name == "shard.json"}
    own = {str(path.relative_to(folder)) for path in read}
    graph = {f"delta.{part}.npy" for part in ("codes", "entry", "levels", "links", "offsets", "positions")}
    of_index = {*graph, "deleted.npy", "holdout.npz", "index.json", "profile.json"}
    assert own == {
        *(f"{name}/000002.{ending}" for name, ending in OF_A_GENERATION),
        f"shards/{shard}/shard.json",
        *(f"indexes/hnsw-000002/{name}" for name in of_index),
    }
    assert list(verify(ADDRESS)) == []


@pytest.mark.usefixtures("published")
def test_digests_that_cannot_be_kept_cost_time_and_no_generation(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(digests, "atomic_write", full)
        assert update([{"id": "item-1", "price": 99}], ADDRESS).generation == 2
    assert update([{"id": "item-1", "price": 98}], ADDRESS).generation == 3
    assert list(verify(ADDRESS)) == []


@pytest.mark.usefixtures("published")
def test_a_copy_that_cannot_note_what_it_has_costs_time_and_no_generation(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(copies, "atomic_write", full)
        assert update([{"id": "item-1", "price": 99}], ADDRESS).generation == 2
    assert update([{"id": "item-1", "price": 98}], ADDRESS).generation == 3
    assert list(verify(ADDRESS)) == []


@pytest.mark.usefixtures("published")
def test_a_file_in_the_place_of_another_of_its_size_is_read_before_it_is_published(other):
    folder = folder_of(ADDRESS)
    columns = folder / "attributes/000001.bin"
    before = columns.stat()
    made = columns.with_suffix(".made")
    made.write_bytes(bytes(before.st_size))
    made.rename(columns)
    known = digests.Digests(folder)
    assert known.content_of(columns) == (sha256_file(columns), before.st_size)
    os.utime(columns, ns=(before.st_atime_ns, before.st_mtime_ns))  # and in an older one's name, it is another inode
    assert known.content_of(columns) == (sha256_file(columns), before.st_size)
    (folder / digests.DIGESTS).write_text("[[1]]")  # which only saves time
    update([{"id": "item-1", "price": 99}], ADDRESS)
    pull(other)
    with Store.open(other) as opened:
        assert opened.attributes("item-1") == {"price": 99}


@pytest.mark.usefixtures("published")
def test_verify_reads_every_byte_of_the_bucket_and_pull_those_of_the_copy(other):
    pull(other)
    remote = RemoteFolder(ADDRESS)
    vectors = next(key for key in keys() if key.endswith("vectors.npy"))
    data = remote.read(vectors)[0]
    remote.put(vectors, data[:-1] + bytes([data[-1] ^ 1]))
    (problem,) = verify(ADDRESS)
    assert problem.startswith(f"{ADDRESS}/{vectors}, which is {vectors}, was altered")
    file = other / vectors
    file.write_bytes(b"x" * file.stat().st_size)
    assert pull(other).files == 0  # of the same size
    with pytest.raises(StoreDamaged, match="was altered"):
        pull(other, thorough=True)
    remote.put(vectors, data)
    assert pull(other, thorough=True).files == 1
    assert list(verify(other)) == []
    remote.remove([vectors])
    (problem,) = verify(ADDRESS)
    assert "is missing" in problem


@pytest.mark.usefixtures("published")
def test_what_is_damaged_in_the_copy_of_a_writer_is_fetched_again(shop, other):
    pull(other)
    vectors = next(other.glob("shards/*/vectors.npy"))
    data = vectors.read_bytes()
    vectors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    shop.put("item-9", 9)
    assert index(shop, other).embedded == 1
    assert vectors.read_bytes() == data
    assert list(verify(ADDRESS)) == list(verify(other)) == []


@pytest.mark.usefixtures("published")
def test_a_shard_that_was_altered_since_it_was_made_is_not_put(shop, other, monkeypatch):
    publish = BucketWriter.publish

    def altered(self, manifest):
        file = other / "shards" / manifest.shards[-1].name / "vectors.npy"
        file.write_bytes(b"x" * file.stat().st_size)
        publish(self, manifest)

    monkeypatch.setattr(BucketWriter, "publish", altered)
    shop.put("item-9", 9)
    before = {key for key in keys() if key.startswith("shards/")}
    with pytest.raises(StoreDamaged, match=r"vectors.npy was altered, and is not put into the bucket"):
        index(shop, other)
    assert {key for key in keys() if key.startswith("shards/")} == before


@pytest.mark.usefixtures("published")
def test_a_listing_that_leads_out_of_the_store_is_refused(other):
    remote = RemoteFolder(ADDRESS)
    from vision_recs.store.bucket.listing import Content, Listing, listing_key

    for path in ("../outside", "items/../../outside", "/etc/passwd", "items/..", ".bucket", "CURRENT"):
        data = Listing(1, 1, {path: Content("0" * 64, 1)}).to_bytes()
        digest, key = listing_key(data)
        remote.put(key, data)
        with Lease(remote) as lease:
            lease.publish(2, digest)
        with pytest.raises(StoreDamaged, match="is no file of a store"):
            pull(other)


@pytest.mark.usefixtures("published")
def test_the_copy_keeps_the_last_two_generations(other):
    for number in range(4):
        update([{"id": "item-1", "price": 100 + number}], ADDRESS)
        pull(other)
    assert Layout(other).known_generations() == [4, 5]


@pytest.mark.parametrize("options", [IndexOptions(partitions=4), IndexOptions(partition=Partition(1, 4))])
def test_a_store_in_a_bucket_is_not_split_and_its_address_is_named(shop, options):
    for store in (ADDRESS, copy_of(ADDRESS)):  # the commands name the copy
        with pytest.raises(StoreError, match=r"^s3://shop/store is in a bucket, where a catalog is one store"):
            vision_recs.index(shop, store, encoder=Unused(), options=options)


@pytest.mark.usefixtures("published")
def test_a_copy_is_of_one_address(other, tmp_path):
    with pytest.raises(Exception, match=r"is a copy of s3://shop/store, not of s3://shop/else"):
        copy_of("s3://shop/else", other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    with pytest.raises(Exception, match="is no copy of s3://shop/store; name an empty folder"):
        copy_of(ADDRESS, tmp_path / "full")


@pytest.mark.usefixtures("published")
def test_what_a_killed_process_left_in_a_copy_is_removed(other, tmp_path):
    begun = tmp_path / "begun"
    for folder in (begun, other):
        (folder / ".visrec-scratch-killed").mkdir(parents=True)
        (folder / ".visrec-scratch-killed" / "0").write_bytes(b"half")
    assert copy_of(ADDRESS, begun) == begun
    pull(other)
    for folder in (begun, other):
        assert not (folder / ".visrec-scratch-killed").exists()
        assert (folder / ".bucket").exists()


@pytest.mark.usefixtures("s3")
def test_a_small_file_is_swapped_only_by_who_knows_it():
    remote = RemoteFolder("s3://shop/small")
    assert remote.create("file", b"1")
    assert not remote.create("file", b"2")
    assert remote.read("none") is None
    data, revision = remote.read("file")
    assert data == b"1"
    now = remote.swap("file", b"3", revision)
    with pytest.raises(Superseded, match="s3://shop/small/file was written by somebody else"):
        remote.swap("file", b"4", revision)
    assert remote.swap("file", b"3", revision) == now  # a request that arrives twice
    assert remote.read("file")[0] == b"3"
    with pytest.raises(Superseded):
        remote.swap("file", b"5", None)
    remote.remove(["file", "none"])
    assert remote.read("file") is None
    assert remote.digest("file") is None


@pytest.mark.usefixtures("published")
def test_a_full_disk_is_not_taken_for_a_bucket_that_is_away(other):
    with pytest.raises(OSError, match="No such file or directory") as error:
        RemoteFolder(ADDRESS).fetch("CURRENT", Path(other) / "nowhere" / "file")
    assert not isinstance(error.value, ObjectError)


def test_attributes_of_words_that_no_item_has_are_named(shop):
    for item, pixels in zip(shop.items.values(), range(0, 240, 40), strict=True):
        shop.files[item.images[0]] = png(np.full((8, 8, 3), pixels, np.uint8))
    (note,) = index(shop, ADDRESS, "color+words:titel,price@0.5").notes
    assert "no item has the attribute 'titel'" in note
