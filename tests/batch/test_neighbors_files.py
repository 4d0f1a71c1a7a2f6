"""The neighbors file: formats, provenance, resuming after a stop, and what changed since a generation."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_shop import FakeEncoder, image, index, shop_of

import vision_recs
from vision_recs.batch.neighbors import NeighborsOptions, candidates, checkpoints, formats, write_neighbors
from vision_recs.errors import (
    FilterError,
    OutputFormatError,
    PolicyError,
    SpaceMismatch,
    StoreDamaged,
    StoreError,
    StoreLocked,
    StoreNotFound,
)
from vision_recs.filters import Filter
from vision_recs.recommend import Policy
from vision_recs.store.atomic_files import FileLock


@pytest.fixture
def shop():
    return shop_of(12)


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def few_at_once(monkeypatch):
    """Make many checkpoints."""
    monkeypatch.setattr(candidates, "_ITEMS", 3)


def wanted(store, k=20, **options):
    """Return (item_id, rank, neighbor_id, score) of all matches, by one query for each item."""
    recommender = vision_recs.open(store)
    return [
        (item, rank, match.id, match.score)
        for item in recommender.items.ids()
        for rank, match in enumerate(recommender.similar(item, k=k, **options), 1)
    ]


def rows(path):
    return [tuple(row.values()) for row in pq.read_table(path).to_pylist()]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_parquet_holds_a_row_for_each_match_and_how_it_was_made(store, tmp_path):
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=4))
    table = pq.read_table(tmp_path / "t.parquet")
    assert [str(field.type) for field in table.schema] == ["string", "int32", "string", "float"]
    assert table.column_names == ["item_id", "rank", "neighbor_id", "score"]
    assert rows(tmp_path / "t.parquet") == wanted(store, k=4)
    about = json.loads(table.schema.metadata[b"visrec"])
    manifest = vision_recs.open(store).items.manifest
    assert about == {
        "visrec": vision_recs.__version__,
        "generation": 1,
        "created": manifest.created,
        "encoder": "fake",
        "space": manifest.space,
        "k": 4,
        "where": None,
        "query_filter": None,
        "policy": {
            "one_per": "variant_group",
            "where": None,
            "exclude": [],
            "min_score": None,
            "diversity": 0.0,
            "rules": None,
        },
        "method": "exact",
        "recall": 1.0,
        "changed_since": None,
    }
    assert (report.items, report.rows, report.k, report.generation, report.resumed) == (12, 48, 4, 1, 0)
    assert (report.encoder, report.fingerprint, report.method) == ("fake", manifest.space, "exact")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "t.parquet"]


def test_csv_and_json_lines_say_the_same_with_six_digits(store, tmp_path):
    expected = [(item, rank, similar, round(score, 6)) for item, rank, similar, score in wanted(store, k=3)]
    write_neighbors(store, tmp_path / "t.csv", NeighborsOptions(k=3))
    with (tmp_path / "t.csv").open(newline="") as file:
        header, *found = csv.reader(file)
    assert header == ["item_id", "rank", "neighbor_id", "score"]
    assert [(a, int(b), c, pytest.approx(float(d), abs=1e-6)) for a, b, c, d in found] == expected
    write_neighbors(store, tmp_path / "t.jsonl", NeighborsOptions(k=3))
    found = [tuple(line.values()) for line in lines(tmp_path / "t.jsonl")]
    assert [(a, b, c, pytest.approx(d, abs=1e-6)) for a, b, c, d in found] == expected
    for name in ("t.csv", "t.jsonl"):
        about = json.loads((tmp_path / f"{name}.about.json").read_text())
        assert (about["k"], about["generation"], about["items"], about["rows"]) == (3, 1, 12, 36)


def test_nested_lists_hold_items_with_an_empty_list_too(store, tmp_path):
    where = Filter.parse("price == 3")
    report = write_neighbors(store, tmp_path / "t.jsonl", NeighborsOptions(k=3, where=where, nested=True))
    found = {line["item_id"]: line["neighbors"] for line in lines(tmp_path / "t.jsonl")}
    assert found["item003"] == []
    assert [similar for (similar, _) in found["item004"]] == ["item003"]
    assert (len(found), report.items, report.rows) == (12, 12, 11)
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=3, where=where))
    assert (report.items, report.rows) == (11, 11)


def test_ids_with_commas_quotes_and_line_ends_come_through(tmp_path):
    shop = shop_of(2)
    shop.put('a "quoted", id\n', 7)
    index(shop, tmp_path / "store")
    for name in ("t.csv", "t.jsonl"):
        write_neighbors(tmp_path / "store", tmp_path / name)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["item_id"] == 'a "quoted", id\n'
    assert lines(tmp_path / "t.jsonl")[0]["item_id"] == 'a "quoted", id\n'


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("t.txt", {}, "ends in none of .parquet, .jsonl, .csv, which say how to write it"),
        ("t.csv", {"nested": True}, "cannot hold one JSON value an item; name a file that ends in .jsonl"),
    ],
)
def test_a_file_that_cannot_hold_the_lists_is_refused(store, tmp_path, name, options, sentence):
    with pytest.raises(OutputFormatError, match=sentence):
        write_neighbors(store, tmp_path / name, NeighborsOptions(**options))


def test_mistakes_are_found_before_anything_is_written(store, tmp_path):
    with pytest.raises(FilterError, match="no item has the attribute 'prise'"):
        write_neighbors(store, tmp_path / "t.csv", NeighborsOptions(where=Filter.parse("prise < 3")))
    with pytest.raises(PolicyError, match="no item has the attribute 'color'"):
        write_neighbors(store, tmp_path / "t.csv", NeighborsOptions(policy=Policy(one_per="color")))
    with pytest.raises(StoreNotFound):
        write_neighbors(tmp_path / "none", tmp_path / "t.csv")
    with pytest.raises(StoreError, match="cannot be written"):
        write_neighbors(store, tmp_path / "no folder" / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    with pytest.raises(ValueError, match="k is 0"):
        NeighborsOptions(k=0)


class Killed(BaseException):
    pass


def killed(*_):
    raise Killed


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("stop", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl"])
def test_a_run_that_was_stopped_anywhere_continues(store, tmp_path, stop, name, monkeypatch):
    out = tmp_path / name
    out.write_text("an older file")
    write_neighbors(store, tmp_path / f"whole-{name}", NeighborsOptions(k=5))
    made = checkpoints.Checkpoints.write
    left = [stop]

    def write(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        made(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "write", write)
        if stop < 4:
            with pytest.raises(Killed):
                write_neighbors(store, out, NeighborsOptions(k=5))
        else:
            patch.setattr("vision_recs.batch.neighbors.writing.atomic_move_file", killed)
            with pytest.raises(Killed):
                write_neighbors(store, out, NeighborsOptions(k=5))
    assert out.read_text() == "an older file"
    said = []
    report = write_neighbors(store, out, NeighborsOptions(k=5), progress=lambda done, total: said.append((done, total)))
    assert report.resumed == 3 * stop
    assert said[0] == (3 * stop, 12)
    assert said[-1] == (12, 12)
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not (tmp_path / f"{name}.checkpoints").exists()


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("damage", [flip_a_bit, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_lists_that_were_altered_since_a_run_was_stopped_are_made_again_with_a_word(
    store, tmp_path, damage, monkeypatch, caplog
):
    out = tmp_path / "t.parquet"
    with monkeypatch.context() as patch:
        patch.setattr("vision_recs.batch.neighbors.writing.atomic_move_file", killed)
        with pytest.raises(Killed):
            write_neighbors(store, out, NeighborsOptions(k=5))
    second = sorted(tmp_path.glob("t.parquet.checkpoints/*/*.parquet"))[1]
    damage(second)
    report = write_neighbors(store, out, NeighborsOptions(k=5))
    assert report.resumed == 3
    assert rows(out) == wanted(store, k=5)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "was altered, or one before it is missing; the lists from there on are made again" in warning


@pytest.mark.usefixtures("few_at_once")
def test_checkpoints_of_other_options_are_not_used(store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("vision_recs.batch.neighbors.writing.publish_file", killed)
        with pytest.raises(Killed):
            write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=5))
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=4))
    assert report.resumed == 0
    assert rows(tmp_path / "t.parquet") == wanted(store, k=4)


@pytest.mark.parametrize("step", ["atomic_remove", "atomic_move_file", "atomic_write"])
def test_a_file_is_never_described_as_another_one_is(store, tmp_path, monkeypatch, step):
    out, description = tmp_path / "t.csv", tmp_path / "t.csv.about.json"
    write_neighbors(store, out, NeighborsOptions(k=2))
    with monkeypatch.context() as patch:
        patch.setattr(f"vision_recs.batch.neighbors.writing.{step}", killed)
        with pytest.raises(Killed):
            write_neighbors(store, out, NeighborsOptions(k=3))
    longest = max(int(row["rank"]) for row in csv.DictReader(out.read_text("utf-8").splitlines()))
    assert not description.exists() or json.loads(description.read_text("utf-8"))["k"] == longest
    write_neighbors(store, out, NeighborsOptions(k=3))
    assert json.loads(description.read_text("utf-8"))["k"] == 3


def test_two_runs_do_not_write_one_file(store, tmp_path):
    (tmp_path / "t.csv.checkpoints").mkdir()
    with (
        FileLock(tmp_path / "t.csv.checkpoints" / "LOCK"),
        pytest.raises(StoreLocked, match=r"is writing .*t\.csv; wait"),
    ):
        write_neighbors(store, tmp_path / "t.csv")


def test_changed_since_gives_the_items_whose_list_has_changed(shop, store, tmp_path):
    before = lists(wanted(store, k=1))
    shop.put("item000", 100)  # another image
    shop.put("item013", 13)
    del shop.items["item005"]
    shop.put("item009", 9, price=-1)  # no list changes by that
    index(shop, store)
    now = lists(wanted(store, k=1))
    changed = {item for item in before | now if before.get(item) != now.get(item)}
    assert 0 < len(changed) < 13
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=1, changed_since=1))
    found = rows(tmp_path / "t.parquet")
    gone = [row for row in found if row[1] is None]
    assert gone == [("item005", None, None, None)]
    assert lists(row for row in found if row[1] is not None) == {item: now[item] for item in changed - {"item005"}}
    assert (report.items, report.changed_since, report.generation) == (len(changed), 1, 2)
    write_neighbors(store, tmp_path / "t.jsonl", NeighborsOptions(k=1, changed_since=1, nested=True))
    values = {line["item_id"]: line["neighbors"] for line in lines(tmp_path / "t.jsonl")}
    assert set(values) == changed
    assert values["item005"] == []


def table(found):
    rows = []
    for item, neighbors in found.items():
        rows += [(item, rank, neighbor, score) for rank, (neighbor, score) in enumerate(neighbors, 1)]
        rows += [] if neighbors else [(item, None, None, None)]
    return pa.table([list(column) for column in zip(*rows, strict=True)], names=formats.COLUMNS)


def test_the_delta_has_what_is_new_gone_or_has_other_neighbors_or_scores():
    before = {"a": [("b", 0.5)], "c": [], "d": [("a", 0.5)], "e": [("a", 0.5)], "g": [("a", 0.5), ("b", 0.5)]}
    after = {"a": [("b", 0.5)], "b": [("a", 0.5)], "d": [("a", 0.25)], "g": [("b", 0.5), ("a", 0.5)], "h": []}
    (found,) = formats.delta([table(before)], [table(after)])
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("b", 1, "a", 0.5),
        ("d", 1, "a", 0.25),
        ("e", None, None, None),
        ("g", 1, "b", 0.5),
        ("g", 2, "a", 0.5),
        ("h", None, None, None),
    ]


@pytest.mark.parametrize("method", ["exact", "index"])
@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_a_score_of_exactly_the_minimum_is_high_enough(store, tmp_path, method, diversity):
    score = wanted(store, k=3)[2][3]
    for minimum, count in ((score, 3), (np.nextafter(score, 1.0), 2)):
        policy = Policy(min_score=float(minimum), diversity=diversity)
        options = NeighborsOptions(k=11, policy=policy, method=method, query_filter=Filter.parse("price == 0"))
        write_neighbors(store, tmp_path / "t.parquet", options)
        assert {row[0] for row in rows(tmp_path / "t.parquet")} == {"item000"}
        assert len(rows(tmp_path / "t.parquet")) == count


def test_a_bound_of_exactly_the_minimum_says_that_there_may_be_more(shop, store, tmp_path, monkeypatch):
    nearest, score = wanted(store, k=1)[0][2:]
    shop.files["copy.png"] = shop.files[shop.items[nearest].images[0]] + b"\0"  # other bytes, the same vector
    shop.put("twin", "copy.png", price=99)
    index(shop, store)
    monkeypatch.setattr("vision_recs.batch.neighbors.plan._MORE", 2 - 11)  # its own image and one more at first
    options = NeighborsOptions(k=11, policy=Policy(min_score=score), query_filter=Filter.parse("price == 0"))
    write_neighbors(store, tmp_path / "t.parquet", options)
    assert [row[2:] for row in rows(tmp_path / "t.parquet")] == [(nearest, score), ("twin", score)]


def lists(found):
    by_item = {}
    for item, *row in found:
        by_item.setdefault(item, []).append(row)
    return by_item


def test_since_the_present_generation_nothing_has_changed(store, tmp_path):
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(changed_since=1))
    assert (report.items, report.rows) == (0, 0)
    assert rows(tmp_path / "t.parquet") == []


@pytest.mark.usefixtures("few_at_once")
def test_a_stopped_comparison_continues(shop, store, tmp_path, monkeypatch):
    shop.files["3.png"] = image(300)
    index(shop, store)
    write_neighbors(store, tmp_path / "whole.jsonl", NeighborsOptions(changed_since=1))
    with monkeypatch.context() as patch:
        patch.setattr("vision_recs.batch.neighbors.writing.publish_file", killed)
        with pytest.raises(Killed):
            write_neighbors(store, tmp_path / "t.jsonl", NeighborsOptions(changed_since=1))
    said = []
    write_neighbors(
        store, tmp_path / "t.jsonl", NeighborsOptions(changed_since=1), progress=lambda *both: said.append(both)
    )
    assert said[-1] == (24, 24)
    assert (tmp_path / "t.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_generation_that_is_gone_or_of_another_space_is_one_sentence(shop, store, tmp_path):
    with pytest.raises(StoreNotFound, match=r"generation 7 is not in .*, only 1: .*; write the lists of all items"):
        write_neighbors(store, tmp_path / "t.csv", NeighborsOptions(changed_since=7))
    index(shop, store, FakeEncoder(turn=1))
    with pytest.raises(SpaceMismatch, match="every list has changed; write the lists of all items"):
        write_neighbors(store, tmp_path / "t.csv", NeighborsOptions(changed_since=1))


def test_the_report_names_the_index_and_its_recall(store, tmp_path):
    report = write_neighbors(store, tmp_path / "t.parquet", NeighborsOptions(k=5, method="index"))
    manifest = vision_recs.open(store).items.manifest
    assert (report.method, report.recall) == (manifest.index_type, 1.0)
    assert rows(tmp_path / "t.parquet") == wanted(store, k=5)


def test_beyond_the_limit_the_index_is_searched(store, tmp_path, monkeypatch):
    index_type = vision_recs.open(store).items.manifest.index_type
    monkeypatch.setattr("vision_recs.batch.neighbors.plan._EXACT_UP_TO", 11)
    assert write_neighbors(store, tmp_path / "t.csv").method == index_type
    monkeypatch.setattr("vision_recs.batch.neighbors.plan._EXACT_UP_TO", 12)
    assert write_neighbors(store, tmp_path / "t.csv").method == "exact"


@pytest.mark.parametrize("method", ["exact", "index"])
def test_items_whose_images_are_gone_are_damage(store, tmp_path, method):
    newest = max((store / "items").glob("*.sqlite"))
    with contextlib.closing(sqlite3.connect(newest)) as connection:
        connection.execute("DELETE FROM images WHERE item_id = (SELECT min(item_id) FROM items)")
        connection.commit()
    options = NeighborsOptions(k=3, method=method, where=Filter.parse("price < 9999"))
    with pytest.raises(StoreDamaged, match=r"the items and the images of .* do not fit together; run `visrec verify`"):
        write_neighbors(store, tmp_path / "t.csv", options)
