"""`visrec tune` as a person and as a script runs it, on the sample catalog and on real photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vision_recs.store import Store


def json_of(done):
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.fixture(scope="module")
def tuned_samples(visrec, sample_store, tmp_path_factory):
    """A copy of the sample store, tuned by the images of each item, and what was reported; not to be changed."""
    store = shutil.copytree(sample_store, tmp_path_factory.mktemp("tuned") / "index")
    return store, json_of(visrec("tune", "--json", "--store", store))


@pytest.fixture
def own_tuned_samples(tuned_samples, tmp_path):
    """A copy of the tuned samples, to be changed."""
    return Path(shutil.copytree(tuned_samples[0], tmp_path / "index"))


def quality(visrec, store):
    found = json_of(
        visrec(
            *(
                "evaluate",
                "--labels",
                "category",
                "--query-filter",
                'split == "test"',
                "--target-filter",
                'split == "train"',
            ),
            *("--json", "--store", store),
        )
    )
    return found["precision_at_1"]["value"], found["precision_at_10"]["value"]


def test_what_train_photos_teach_helps_test_photos(visrec, clothing_store, tmp_path):
    """The yardstick: the ten nearest right more often by 0.10, the nearest by 0.06."""
    store = shutil.copytree(clothing_store, tmp_path / "index")
    nearest, ten = quality(visrec, store)
    tuned = json_of(visrec("tune", "--labels", "category", "--where", 'split == "train"', "--json", "--store", store))
    assert tuned["published"] is True
    for name in ("precision_at_1", "precision_at_10"):
        assert tuned["after"][name]["value"] > tuned["before"][name]["value"]
    nearest_after, ten_after = quality(visrec, store)
    assert ten_after - ten >= 0.10
    assert nearest_after - nearest >= 0.06


@pytest.mark.parametrize(
    "where",
    [pytest.param(("--where", 'split != "train"'), id="380"), pytest.param((), id="all", marks=pytest.mark.nightly)],
)
def test_shuffled_labels_are_refused(visrec, clothing_store, tmp_path, where):
    store = shutil.copytree(clothing_store, tmp_path / "index")
    tuned = json_of(visrec("tune", "--labels", "shuffled", *where, "--json", "--store", store))
    assert tuned["published"] is False
    assert "is not significantly better" in tuned["reason"]
    assert Store.open(store).generation == 1


def test_other_images_of_products_that_were_were_held_out_are_found_better_by_a_tenth(tuned_samples):
    _, tuned = tuned_samples
    assert tuned["queries"] == 240
    assert tuned["after"]["precision_at_1"]["value"] >= 1.1 * tuned["before"]["precision_at_1"]["value"]
    assert tuned["differences"]["precision_at_1"]["low"] > 0


def test_what_cannot_be_better_is_refused(visrec, own_sample_store):
    """Every sample finds its variants by the plain vectors already."""
    tuned = json_of(visrec("tune", "--labels", "variant_group", "--json", "--store", own_sample_store))
    assert (tuned["before"]["precision_at_1"]["value"], tuned["published"]) == (1, False)


def test_it_is_published_and_undone(visrec, own_sample_store):
    before = visrec("similar", "mug-01", "--store", own_sample_store).stdout
    done = visrec("tune", "--store", own_sample_store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("learned from 60 items by the images of each item in ")
    assert "published as generation 2: ndcg at 10 +0." in done.stdout
    after = visrec("similar", "mug-01", "--store", own_sample_store)
    assert after.returncode == 0
    assert after.stdout != before
    undone = json_of(visrec("tune", "--undo", "--json", "--store", own_sample_store))
    assert (undone["undone"], undone["generation"]) == (True, 3)
    assert visrec("similar", "mug-01", "--store", own_sample_store).stdout == before


def test_the_vectors_alone_teach_and_harm_nothing(visrec, own_sample_store):
    done = visrec("tune", "--unsupervised", "--store", own_sample_store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("learned from 60 items by their vectors alone in ")
    assert "published as generation 2: ndcg at 10 " in done.stdout
    assert json_of(visrec("info", "--json", "--store", own_sample_store))["dim"] < 1280
    assert json_of(visrec("tune", "--undo", "--json", "--store", own_sample_store))["generation"] == 3


def test_a_query_by_image_is_in_the_tuned_space(visrec, tuned_samples, sample_images):
    store, tuned = tuned_samples
    assert tuned["published"] is True
    image = sample_images / "lamp-03-2.jpg"
    match = json_of(visrec("similar", "--image", image, "-k", "1", "--json", "--store", store))
    assert (match["id"], match["image"]) == ("lamp-03", "lamp-03-2.jpg")
    assert match["score"] > 0.999


def test_index_goes_on_with_it(visrec, own_tuned_samples, sample_images):
    store = own_tuned_samples
    answer = visrec("similar", "mug-01", "--store", store).stdout
    report = json_of(visrec("index", sample_images / "catalog.csv", "--json", "--store", store, "--quiet"))
    assert (report["embedded"], report["fingerprint"]) == (0, Store.open(store).fingerprint)
    assert visrec("similar", "mug-01", "--store", store).stdout == answer


def test_a_dry_run_publishes_nothing(visrec, own_sample_store):
    tuned = json_of(visrec("tune", "--labels", "category", "--dry-run", "--json", "--store", own_sample_store))
    assert (tuned["published"], tuned["generation"]) == (False, None)
    assert Store.open(own_sample_store).generation == 1


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("--undo",), 1, "has no projection; there is nothing to undo"),
        (("--undo", "--labels", "category"), 2, "--undo: cannot be combined with other options"),
        (("--labels", "category", "--pairs", "pairs.csv"), 2, "give one of --labels, --pairs and --events"),
        (("--labels", "kind"), 1, "no item has the attribute 'kind'; name one of category"),
        (("--labels", "category", "--where", "price < 9"), 1, "items are too few to learn from"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(visrec, own_sample_store, arguments, status, sentence):
    done = visrec("tune", "--store", own_sample_store, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in " ".join(done.stderr.split())
