"""Whatever opens a file of a store closes it again, without waiting for the garbage collector."""

import gc
import warnings
from pathlib import Path

import numpy as np
import pytest
from fake_shop import Shop, index, shop_of

from vision_recs.batch.duplicates import DuplicateOptions, find_duplicates
from vision_recs.batch.neighbors import NeighborsOptions, write_neighbors
from vision_recs.errors import EmptyCatalog, StoreDamaged
from vision_recs.filters import Filter
from vision_recs.jobs import export, retune, verify
from vision_recs.store import Projection, Store, garbage_collect

DIM = 12


def test_a_run_closes_its_connections(tmp_path, open_connections):
    shop = shop_of(6)
    index(shop, tmp_path)
    assert open_connections == []
    index(shop, tmp_path)
    assert open_connections == []
    del shop.items["item001"]
    index(shop, tmp_path)
    assert open_connections == []
    with pytest.raises(EmptyCatalog):
        index(Shop(), tmp_path)
    assert open_connections == []


def test_garbage_collection_tuning_and_verification_close_theirs(tmp_path, open_connections):
    index(shop_of(6), tmp_path)
    retune(tmp_path, Projection(np.zeros(DIM, np.float32), np.eye(DIM, dtype=np.float32)))
    garbage_collect(tmp_path)
    assert list(verify(tmp_path)) == []
    assert open_connections == []


def test_what_is_made_of_a_store_closes_it(tmp_path, open_connections):
    shop = shop_of(6)
    index(shop, tmp_path / "store")
    shop.items["item001"].attributes["price"] = 99
    index(shop, tmp_path / "store")
    write_neighbors(tmp_path / "store", tmp_path / "all.csv", NeighborsOptions(k=2))
    write_neighbors(tmp_path / "store", tmp_path / "changed.csv", NeighborsOptions(k=2, changed_since=1))
    find_duplicates(tmp_path / "store", DuplicateOptions(threshold=0.9))
    export(tmp_path / "store", tmp_path / "vectors")
    assert open_connections == []


def test_a_store_whose_items_cannot_be_read_leaves_none_open(tmp_path, open_connections):
    index(shop_of(3), tmp_path)
    (tmp_path / "items/000001.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(StoreDamaged):
        Store.open(tmp_path)
    assert open_connections == []


def files_of(folder):
    """Return which files of *folder* this process has open or mapped."""
    opened = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text("utf-8").splitlines()}
    return {Path(path).name for path in opened | mapped if path.startswith(str(folder))}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list open files")
def test_at_the_end_of_a_with_statement_no_file_is_open(tmp_path):
    index(shop_of(6), tmp_path)
    gc.disable()  # what is in a cycle would stay open
    try:
        with Store.open(tmp_path) as store:
            store.pin()
            assert store.vectors(store.positions()).shape == (6, DIM)
            assert store.count(Filter.parse("price < 3")) == 3
            assert files_of(tmp_path) == {"000001.sqlite", "000001.bin", "vectors.npy"}
        assert files_of(tmp_path) == set()
        store.close()  # a second time is no error
    finally:
        gc.enable()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list open files")
def test_a_store_that_nobody_has_any_more_is_closed_without_a_warning(tmp_path):
    index(shop_of(6), tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = Store.open(tmp_path)
        store.pin()
        assert files_of(tmp_path)
        del store
        assert (files_of(tmp_path), caught) == (set(), [])
