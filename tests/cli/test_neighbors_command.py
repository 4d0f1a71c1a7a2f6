from __future__ import annotations

import csv
import json

import pyarrow.parquet as pq
import pytest


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_file_holds_what_similar_prints(visrec, sample_store, tmp_path):
    done = visrec("neighbors", tmp_path / "n.jsonl", "-k", "4", "--store", sample_store)
    assert done.returncode == 0, done.stderr
    wrote, how = done.stdout.splitlines()
    assert wrote == f"wrote 240 rows for 60 items to {tmp_path / 'n.jsonl'}"
    assert how.startswith("compared exactly, in ")
    table = lines((tmp_path / "n.jsonl").read_text())
    for item in ("mug-01", "vase-05"):
        similar = lines(visrec("similar", item, "-k", "4", "--store", sample_store, "--json").stdout)
        assert [row for row in table if row["item_id"] == item] == [
            {"item_id": item, "rank": match["rank"], "neighbor_id": match["id"], "score": pytest.approx(match["score"])}
            for match in similar
        ]


def test_the_policy_and_the_filters_hold_for_every_list(visrec, sample_store, tmp_path):
    out = tmp_path / "n.parquet"
    options = [
        "--where",
        'in_stock and category != "mugs"',
        "--query-filter",
        'category == "mug"',
        "--diversity",
        "0.3",
        "--exclude",
        "vase-01",
    ]
    done = visrec("neighbors", out, *options, "-k", "50", "--store", sample_store, "--json")
    assert done.returncode == 0, done.stderr
    (report,) = lines(done.stdout)
    assert (report["items"], report["k"], report["generation"], report["method"]) == (5, 50, 1, "exact")
    table = pq.read_table(out)
    about = json.loads(table.schema.metadata[b"visrec"])
    assert (about["where"], about["query_filter"]) == ('in_stock and category != "mugs"', 'category == "mug"')
    assert "note: no item has 'mugs' as category; the nearest is 'mug'" in done.stderr
    assert about["policy"]["diversity"] > 0
    assert about["policy"]["exclude"] == ["vase-01"]
    import vision_recs

    store = vision_recs.open(sample_store).items
    rows = table.to_pylist()
    assert {row["item_id"] for row in rows} == {f"mug-0{number}" for number in range(1, 6)}
    for item in {row["item_id"] for row in rows}:
        shown = [store.attributes(row["neighbor_id"]) for row in rows if row["item_id"] == item]
        groups = [attributes["variant_group"] for attributes in shown]
        assert len(groups) == len(set(groups)) > 10
        assert all(attributes["in_stock"] for attributes in shown)
    assert "vase-01" not in {row["neighbor_id"] for row in rows}


def test_all_variants_are_there_with_one_per_item(visrec, sample_store, tmp_path):
    visrec("neighbors", tmp_path / "t.csv", "-k", "2", "--one-per", "item", "--store", sample_store)
    with (tmp_path / "t.csv").open(newline="") as file:
        found = [row["neighbor_id"] for row in csv.DictReader(file) if row["item_id"] == "lamp-03"]
    assert found == ["lamp-01", "lamp-02"]


def test_a_line_an_item_for_a_key_value_store(visrec, sample_store, tmp_path):
    out = tmp_path / "values.jsonl"
    visrec("neighbors", out, "-k", "1", "--nested", "--store", sample_store)
    values = {line["item_id"]: line["neighbors"] for line in lines(out.read_text())}
    assert len(values) == 60
    assert values["mug-01"][0][0] == "mug-04"
    assert json.loads((tmp_path / "values.jsonl.about.json").read_text())["rows"] == 60


def test_only_what_changed_since_a_generation(visrec, own_sample_store, sample_images, tmp_path):
    text = (sample_images / "catalog.csv").read_text()
    kept = [line for line in text.splitlines(keepends=True) if not line.startswith("ring-05")]
    (tmp_path / "catalog.csv").write_text("".join(kept))
    for image in sample_images.glob("*.jpg"):
        (tmp_path / image.name).symlink_to(image)
    assert visrec("index", tmp_path / "catalog.csv", "--store", own_sample_store).returncode == 0
    out = tmp_path / "changes.jsonl"
    done = visrec("neighbors", out, "-k", "2", "--nested", "--changed-since", "1", "--store", own_sample_store)
    assert done.returncode == 0, done.stderr
    assert "that changed since generation 1" in done.stdout
    values = {line["item_id"]: line["neighbors"] for line in lines(out.read_text())}
    assert values["ring-05"] == []
    assert 1 < len(values) < 20
    assert visrec("gc", "--store", own_sample_store).returncode == 0
    done = visrec("neighbors", out, "--changed-since", "1", "--store", own_sample_store)
    assert done.returncode == 1
    assert done.stderr.startswith(f"visrec: generation 1 is not in {own_sample_store}, only 2: `visrec gc` removes")


def test_help_says_what_changed_since_compares(visrec):
    text = " ".join(visrec("neighbors", "--help").stdout.split())
    assert "whose neighbors (ids or scores) differ from those in this older generation" in text


def test_progress_goes_to_stderr_and_quiet_silences_it(visrec, sample_store, tmp_path):
    loud = visrec("neighbors", tmp_path / "t.csv", "--store", sample_store)
    assert "finding neighbors: 240 of 240 images" in loud.stderr
    assert visrec("neighbors", tmp_path / "t.csv", "--store", sample_store, "-q").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["t.txt"], "visrec: t.txt ends in none of .parquet, .jsonl, .csv"),
        (["t.csv", "--nested"], "visrec: t.csv cannot hold one JSON value an item"),
        (["t.csv", "--where", "prize < 3"], "visrec: filter, column 1: no item has the attribute 'prize'"),
        (["no/t.csv"], "visrec: no cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence(visrec, sample_store, tmp_path, arguments, sentence):
    done = visrec("neighbors", *arguments, "--store", sample_store, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_items_in_a_list_is_a_usage_error(visrec, sample_store, tmp_path):
    assert visrec("neighbors", tmp_path / "t.csv", "-k", "0", "--store", sample_store).returncode == 2
