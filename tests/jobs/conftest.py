import pickle

import pytest
from cluster_shop import LocalPool
from fake_shop import FakeEncoder

from vision_recs.jobs.cluster import driver


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def pools(monkeypatch):
    """Every run of this test works with a LocalPool; append what becomes of its first tasks."""
    opened, fates = [], []

    def open_pool(work, _options):
        opened.append(LocalPool(pickle.loads(pickle.dumps(work)), fates))
        return opened[-1]

    monkeypatch.setattr(driver, "_ray", open_pool)
    return opened, fates
