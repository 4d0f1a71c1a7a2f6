import os

import pytest
from fake_shop import FakeEncoder


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Leave out what only a power cut would show, which is most of the time of a small run."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
