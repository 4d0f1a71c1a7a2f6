"""`visrec index --index-type`, `--max-memory`, `--target-recall`, and what `visrec info` says of the index."""

import json

import pytest

from vision_recs.indexes.index_dir import read_label
from vision_recs.store import Store

FIELDS = {
    *("engine", "recipe", "recall_at_1", "recall_at_10", "recall_at_100", "queries_per_second", "bytes_per_vector"),
    *("build_seconds", "items", "rows", "generation"),
}


@pytest.fixture
def store(own_sample_store):
    return own_sample_store


def index(visrec, store, *options):
    catalog = Store.open(store).manifest.catalog.location
    return visrec("index", catalog, "--store", store, "--quiet", *options)


def info(visrec, store):
    return json.loads(visrec("info", "--json", "--store", store).stdout)


@pytest.mark.parametrize(
    ("engine", "name", "recipe"),
    [("hnsw", "hnsw", "HNSW16,SQ8"), ("ivf-pq", "ivf-pq", "PCAR240,IVF7,"), ("IVF4,SQ8", "faiss", "IVF4,SQ8")],
)
def test_an_engine_that_is_asked_for_is_built_and_described_and_kept(visrec, store, engine, name, recipe):
    before = visrec("similar", "mug-01", "-k", "5", "--json", "--store", store).stdout
    assert json.loads(index(visrec, store, "--index-type", engine, "--json").stdout)["engine"] == name
    told = info(visrec, store)
    assert set(told) >= FIELDS
    assert told["engine"] == name
    assert told["recipe"].startswith(recipe)
    assert told["recall_at_10"] == 1.0
    assert told["queries_per_second"] > 0
    assert told["bytes_per_vector"] > 0
    assert visrec("similar", "mug-01", "-k", "5", "--json", "--store", store).stdout == before
    again = json.loads(index(visrec, store, "--json").stdout)
    assert (again["generation"], again["engine"]) == (told["generation"], name)  # nothing to do


def test_what_was_wished_holds_for_the_next_generation(visrec, store):
    index(visrec, store, "--index-type", "ivf-pq", "--target-recall", "0.8", "--max-memory", "1GB")
    first = Store.open(store)
    assert first.manifest.index["wish"] == {"engine": "ivf-pq", "memory": 10**9, "recall": 0.8, "seed": 0}
    index(visrec, store, "--target-recall", "0.9")
    second = Store.open(store)
    assert second.manifest.index["wish"]["recall"] == 0.9
    assert second.manifest.index["wish"]["memory"] == 10**9
    label = read_label(second.layout.index_dir(second.manifest.index_type, second.generation))
    assert label.facts["wish"] == second.manifest.index["wish"]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ["--index-type", "annoy"],
            1,
            "visrec: there is no engine 'annoy'; use auto, flat, hnsw, ivf-pq, or a factory",
        ),
        (["--index-type", "IVF999,Flat"], 1, "visrec: FAISS cannot build the index 'IVF999,Flat'"),
        (["--max-memory", "much"], 2, "'much' is no size; write 500MB or 4GB"),
        (["--target-recall", "7"], 2, "7.0 is not in the range 0.5<=x<=1.0"),
    ],
)
def test_a_wish_that_cannot_be_met_loses_nothing(visrec, store, options, status, message):
    generation = Store.open(store).generation
    done = index(visrec, store, *options)
    assert done.returncode == status
    assert message in done.stderr
    assert Store.open(store).generation == generation
    assert visrec("verify", "--store", store).returncode == 0
