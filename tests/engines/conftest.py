import os

import pytest
from engine_uris import KINDS, empty_engines


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Leave out what only a power cut would show, which is most of the time of a small store."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(params=KINDS)
def new_uri(request, tmp_path):
    """What returns the URI of an empty engine, of each kind."""
    with empty_engines(request.param, tmp_path) as new:
        yield new


@pytest.fixture
def uri(new_uri):
    """The URI of an empty engine, of each kind."""
    return new_uri()
