"""What is pending for an index is the difference of the positions in use, however many generations lie between."""

import dataclasses

import pytest
from fake_shop import index, shop_of
from hypothesis import given
from hypothesis import strategies as st

from vision_recs.store import IndexPending, Manifest, Store
from vision_recs.store.layout import ShardEntry
from vision_recs.store.pending import pending_after

SHARDS = [("a", 0, 5), ("b", 5, 1), ("c", 6, 9), ("d", 20, 4)]


def ranges(positions):
    """Return half-open ranges, none of which touches another."""
    found = []
    for position in sorted(positions):
        if found and found[-1][1] == position:
            found[-1][1] += 1
        else:
            found.append([position, position + 1])
    return tuple(map(tuple, found))


def shards_of(positions):
    """Return the shards of a generation that uses *positions*; a shard without one of them is not named."""
    found = []
    for name, first, rows in SHARDS:
        deleted = ranges(row for row in range(rows) if first + row not in positions)
        if deleted != ((0, rows),):
            found.append(ShardEntry(name, first, rows, deleted))
    return tuple(found)


EVERY = {first + row for _, first, rows in SHARDS for row in range(rows)}
generations = st.lists(st.sets(st.sampled_from(sorted(EVERY))), min_size=2, max_size=6)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    index(shop_of(2), store)
    return Store.open(store).manifest


@given(generations=generations)
def test_it_is_the_difference_from_the_generation_that_was_indexed(manifest, generations):
    first, *following = generations
    manifest = dataclasses.replace(manifest, shards=shards_of(first))
    for used in following:
        pending = pending_after(manifest, shards_of(used))
        assert pending == IndexPending(ranges(used - first), ranges(first - used))
        assert (pending.added_count, pending.removed_count) == (len(used - first), len(first - used))
        manifest = dataclasses.replace(manifest, shards=shards_of(used), index_pending=pending)
        assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def test_a_manifest_names_what_is_pending_only_where_something_is(manifest):
    assert b"index_pending" not in manifest.to_bytes()
    pending = IndexPending(((3, 5),), ())
    written = dataclasses.replace(manifest, index_pending=pending).to_bytes()
    assert b"index_pending" in written
    assert Manifest.from_bytes(written).index_pending == pending
