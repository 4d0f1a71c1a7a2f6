"""`visrec index --index-type`, `--max-memory`, `--target-recall`, and what `visrec info` says of the index."""

import json

import pytest

from vision_recs.store import Store

FIELDS = {
    *(
        "index_type",
        "index_factory",
        "recall_at_1",
        "recall_at_10",
        "recall_at_100",
        "queries_per_second",
        "bytes_per_vector",
    ),
    *("build_seconds", "items", "images", "generation"),
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
    ("index_type", "name", "factory"),
    [("hnsw", "hnsw", "HNSW16,SQ8"), ("ivf-pq", "ivf-pq", "PCAR240,IVF7,"), ("faiss:IVF4,SQ8", "faiss", "IVF4,SQ8")],
)
def test_an_index_of_a_named_type_is_built_and_described_and_kept(visrec, store, index_type, name, factory):
    before = visrec("similar", "mug-01", "-k", "5", "--json", "--store", store).stdout
    assert json.loads(index(visrec, store, "--index-type", index_type, "--json").stdout)["index_type"] == name
    described = info(visrec, store)
    assert set(described) >= FIELDS
    assert described["index_type"] == name
    assert described["index_factory"].startswith(factory)
    assert described["recall_at_10"] == 1.0
    assert described["queries_per_second"] > 0
    assert described["bytes_per_vector"] > 0
    assert visrec("similar", "mug-01", "-k", "5", "--json", "--store", store).stdout == before
    again = json.loads(index(visrec, store, "--json").stdout)
    assert (again["generation"], again["index_type"]) == (described["generation"], name)  # nothing to do


def test_the_options_hold_for_the_next_generation(visrec, store):
    index(visrec, store, "--index-type", "ivf-pq", "--target-recall", "0.8", "--max-memory", "1GB")
    config = Store.open(store).manifest.index_config
    assert config["index_type"] == "ivf-pq"
    assert (config["max_memory"], config["target_recall"]) == (10**9, 0.8)
    index(visrec, store, "--target-recall", "0.9")
    assert Store.open(store).manifest.index_config == {**config, "target_recall": 0.9}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (
            ["--index-type", "annoy"],
            1,
            "visrec: there is no index type 'annoy'; use auto, flat, hnsw, ivf-pq, or faiss: and a factory",
        ),
        (["--index-type", "faiss:IVF999,Flat"], 1, "visrec: FAISS cannot build the index 'IVF999,Flat'"),
        (["--max-memory", "much"], 2, "'much' is not a size; write 500MB or 4GB"),
        (["--target-recall", "7"], 2, "7.0 is not in the range 0.5<=x<=1.0"),
    ],
)
def test_an_option_that_cannot_be_met_loses_nothing(visrec, store, options, status, message):
    generation = Store.open(store).generation
    done = index(visrec, store, *options)
    assert done.returncode == status
    assert message in done.stderr
    assert Store.open(store).generation == generation
    assert visrec("verify", "--store", store).returncode == 0
