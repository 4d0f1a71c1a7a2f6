"""What `vision_recs.open` opens is closed, by `close`, by `with`, and where opening fails."""

import gc
import os
import warnings
from pathlib import Path

import pytest
from fake_shop import index, shop_of

import vision_recs
from vision_recs.errors import StoreDamaged


@pytest.fixture
def store(tmp_path):
    index(shop_of(3), tmp_path / "store")
    return tmp_path / "store"


def open_files(store):
    return [name for name in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if name.startswith(str(store))]


def test_a_with_statement_closes_the_files(store):
    with vision_recs.open(store) as recommender:
        assert len(recommender.similar("item000", where="price >= 0")) == 2
        assert open_files(store)
    assert open_files(store) == []
    with pytest.raises(StoreDamaged, match="closed"):
        recommender.similar("item000")


def test_close_closes_them_too_and_may_be_called_twice(store):
    recommender = vision_recs.open(store)
    recommender.close()
    recommender.close()
    assert open_files(store) == []


def test_what_cannot_be_opened_is_closed_again(store):
    shard = next((store / "shards").iterdir())
    (shard / "vectors.npy").unlink()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(StoreDamaged):
            vision_recs.open(store)
        gc.collect()
    assert (open_files(store), caught) == ([], [])
