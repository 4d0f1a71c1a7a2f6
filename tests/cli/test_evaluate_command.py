"""`visrec evaluate` as a person and as a script runs it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from vision_recs.store import Store

MEASURES = ["precision_at_1", "precision_at_10", "recall_at_10", "recall_at_100", "hit_at_10", "map_at_r", "mrr"]


def evaluate(visrec, store, *arguments):
    done = visrec("evaluate", "--store", store, "--json", "--quiet", *arguments)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def by_hand(store, name, k):
    """Return the precision at 1 and at *k* of leave-one-out, by sorting every item for every item."""
    opened = Store.open(store)
    ids = opened.items.ids()
    label = {item: opened.attributes(item)[name] for item in ids}
    vectors = {item: opened.vectors_of([image.digest for image in opened.images(item)]) for item in ids}
    right = []
    for item in ids:
        scores = {other: float((vectors[item] @ vectors[other].T).max()) for other in ids if other != item}
        nearest = sorted(scores, key=lambda other: (-scores[other], other))[:k]
        right.append([label[other] == label[item] for other in nearest])
    return np.mean([row[0] for row in right]), np.mean(right)


def test_labels_are_judgements_and_the_report_is_one_object(visrec, sample_store):
    found = evaluate(visrec, sample_store, "--labels", "category")
    assert (found["queries"], found["targets"]) == (60, 60)
    for name in [*MEASURES, "ndcg_at_10"]:
        assert list(found[name]) == ["value", "low", "high"]
        assert 0 <= found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1
    first, ten = by_hand(sample_store, "category", 10)
    assert found["precision_at_1"]["value"] == pytest.approx(first)
    assert found["precision_at_10"]["value"] == pytest.approx(ten)
    assert len(found["groups"]) == 12
    assert found["provenance"]["encoder"] == "efficientnet-lite0"
    assert 0 < found["exposure"]["coverage"] <= 1


def test_a_value_that_no_item_has_is_told(visrec, sample_store):
    done = visrec("evaluate", "--store", sample_store, "--labels", "category", "--target-filter", 'color != "navi"')
    assert "note: no item has 'navi' as color; the nearest is 'navy'" in done.stderr


def test_some_items_are_queries_and_others_are_targets(visrec, sample_store):
    found = evaluate(
        visrec, sample_store, "--labels", "category", "--query-filter", "price < 20", "--target-filter", "price >= 20"
    )
    assert found["queries"] + found["queries_without_relevant"] + found["targets"] == 60
    assert found["targets"] > 20


def test_graded_pairs_are_judgements(visrec, sample_store, sample_images):
    found = evaluate(visrec, sample_store, "--pairs", sample_images / "pairs.csv", "--group-by", "category")
    assert found["queries"] == 60
    assert found["judged_by"] == "240 pairs"
    assert len(found["groups"]) == 12


def test_images_look_for_their_own_item(visrec, sample_store):
    found = evaluate(visrec, sample_store, "--per-image")
    assert (found["queries"], found["targets"]) == (240, 60)
    assert found["precision_at_1"]["value"] == found["map_at_r"]["value"]


def test_without_judgements_the_index_is_measured(visrec, sample_store):
    found = evaluate(visrec, sample_store, "--index-type", "exact")
    assert [index["index_type"] for index in found["indexes"]] == ["flat", "exact"]
    assert [index["recall_at_10"] for index in found["indexes"]] == [1, 1]
    done = visrec("evaluate", "--store", sample_store)
    assert done.stdout.splitlines()[0].split()[:4] == ["index", "factory", "recall@1", "recall@10"]
    assert done.stdout.splitlines()[1].split()[:5] == ["flat", "Flat", "1.0000", "1.0000", "1.0000"]


def test_people_get_tables(visrec, sample_store):
    done = visrec("evaluate", "--labels", "category", "--store", sample_store)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("60 queries against 60 items, similar by equal category\n")
    assert "precision at 10  0." in done.stdout
    assert "\ncatalog coverage@10 100.0%, Gini 0." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 140


def test_an_index_is_compared_with_another(visrec, sample_store, own_sample_store):
    found = evaluate(visrec, sample_store, "--labels", "category", "--baseline", own_sample_store)
    assert found["differences"]["mrr"] == {"value": 0, "low": 0, "high": 0, "p": 1, "is_significant": False}
    assert found["baseline"]["queries"] == 60


def test_an_encoder_is_compared_with_the_index(visrec, sample_store):
    found = evaluate(visrec, sample_store, "--labels", "category", "--encoder", "efficientnet-lite0")
    assert found["baseline"]["provenance"]["fingerprint"] == found["provenance"]["fingerprint"]


def test_the_page_has_plots_and_images(visrec, sample_store, tmp_path):
    page = tmp_path / "report.html"
    found = evaluate(visrec, sample_store, "--labels", "category", "--index-type", "exact", "--html", page)
    text = page.read_text("utf-8")
    assert text.count("<svg") == 3
    assert text.count("data:image/jpeg;base64,") == 12 * (1 + 5)
    assert f"{found['precision_at_10']['value']:.3f}" in text
    assert "http" not in text
    assert ">exact</text>" in text


def test_the_page_escapes_the_text_of_a_catalog(visrec, tmp_path, sample_images):
    with (sample_images / "catalog.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:40]
    for row in rows:
        row["category"] = "<b>&" + row["category"]
        (tmp_path / row["image"]).symlink_to(sample_images / row["image"])
    with (tmp_path / "catalog.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert visrec("index", tmp_path / "catalog.csv", "--store", tmp_path / "index").returncode == 0
    page = tmp_path / "report.html"
    evaluate(visrec, tmp_path / "index", "--labels", "category", "--html", page)
    assert "<b>&" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (
            ("--labels", "category", "--pairs", "pairs.csv"),
            2,
            "--pairs: cannot be combined with --labels or --per-image",
        ),
        (("--query-filter", "price < 20"), 2, "--query-filter: needs --labels, --pairs or --per-image"),
        (("--labels", "kind"), 1, "no query has the attribute 'kind'; name one of category, color"),
        (("--pairs", "nowhere.csv"), 1, "nowhere.csv: the file does not exist; name the table of pairs"),
        (("--index-type", "fast"), 1, "there is no index type 'fast'"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(visrec, sample_store, arguments, status, sentence):
    done = visrec("evaluate", "--store", sample_store, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in " ".join(done.stderr.split())
