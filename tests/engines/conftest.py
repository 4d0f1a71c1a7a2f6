import os

import pytest


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch):
    """Leave out what only a power cut would show, which is most of the time of a small store."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


SCHEMES = {"lance": "lancedb"}
"""The schemes of engines that need nothing but a folder or a file, and the library of each."""


@pytest.fixture(params=SCHEMES)
def uri(request, tmp_path):
    """The URI of an empty engine of each kind."""
    pytest.importorskip(SCHEMES[request.param])
    return f"{request.param}:{tmp_path / 'engine.db'}"
