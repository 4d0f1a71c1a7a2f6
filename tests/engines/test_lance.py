"""What only LanceDB has: versions, which are removed by their age, and tags, which keep them."""

import time
from datetime import timedelta

import pytest
from fake_shop import index, shop_of

from vision_recs.engines import PublishOptions, open_engine, publish
from vision_recs.engines.base import connect
from vision_recs.engines.lance import versions as lance_versions
from vision_recs.errors import EngineUnavailable

pytest.importorskip("lancedb")


@pytest.fixture
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_versions_that_nobody_keeps_are_removed_also_beside_an_old_one_that_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_versions, "_READ_FOR", timedelta(0))
    monkeypatch.setattr(lance_versions, "_A_MOMENT", timedelta(seconds=2))
    shop, uri, versions = shop_of(6), f"lance:{tmp_path / 'engine'}", []
    for price in range(4):
        shop.put("item003", 3, price=100 + price)
        index(shop, tmp_path / "store")
        report = publish(uri, tmp_path / "store", options=PublishOptions(keep=2))
        assert report.notes == []
        table = connect(uri)._connection.existing(connect(uri).tokens()[0].partition("@")[0])
        versions.append([each["version"] for each in table.list_versions()])
        kept = [each["version"] for each in table.tags.list().values()]
        assert set(kept) <= set(versions[-1])
        time.sleep(1.1)  # two of these, and versions are older than a moment
    assert report.kept == [3, 4]
    assert min(versions[-1]) > max(versions[0])
    with open_engine(uri) as opened:
        assert opened.published.generation == 4


def test_what_is_published_again_makes_no_version_and_old_ones_of_documents_go(tmp_path, monkeypatch):
    index(shop_of(6), tmp_path / "store")
    uri = f"lance:{tmp_path / 'engine'}"
    publish(uri, tmp_path / "store")
    engine = connect(uri)
    documents = {name: engine.documents.read([name]).get(name) for name in engine.documents.names()}
    before = engine._connection.existing("visrec_documents").list_versions()
    publish(uri, tmp_path / "store")
    assert engine._connection.existing("visrec_documents").list_versions() == before
    assert len(before) > 1
    assert {name: engine.documents.read([name]).get(name) for name in engine.documents.names()} == documents
    monkeypatch.setattr(lance_versions, "_READ_FOR", timedelta(milliseconds=1))
    monkeypatch.setattr(lance_versions, "_A_MOMENT", timedelta(0))
    publish(uri, tmp_path / "store")
    assert len(engine._connection.existing("visrec_documents").list_versions()) == 1
    assert {name: engine.documents.read([name]).get(name) for name in engine.documents.names()} == documents


def test_somebody_who_writes_at_the_same_time_is_named_without_the_inside_of_lancedb(tmp_path):
    engine = connect(f"lance:{tmp_path / 'engine'}")
    inside = "lance error: Retryable commit conflict for version 7: This CreateIndex transaction was preempted by "
    inside += "concurrent transaction Append at version 7. Please retry., /builds/lance/src/io.rs:7:9"

    def preempted():
        raise RuntimeError(inside)

    with pytest.raises(EngineUnavailable) as error:
        engine._connection.do(preempted)
    assert str(error.value) == f"somebody else publishes to {engine.uri} at the same time; run it again"


def test_a_message_has_no_place_in_the_source_of_lancedb(tmp_path):
    engine = connect(f"lance:{tmp_path / 'conflict'}")

    def refused():
        raise RuntimeError("lance error: no access, /builds/lance/src/io.rs:7:9")

    with pytest.raises(EngineUnavailable) as error:
        engine._connection.do(refused)
    sentence = f"{engine.uri} cannot be used (lance error: no access); check the address and the access"
    assert str(error.value) == sentence
