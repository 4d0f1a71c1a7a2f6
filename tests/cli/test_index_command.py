from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import broken_decoder
import pytest
from terminal import on_a_terminal

INDEX_KEYS = {
    "items", "images", "embedded", "reused", "skipped", "removed", "generation", "encoder", "fingerprint", "index_type",
    "recall_at_10", "seconds", "images_per_second",
}  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path, sample_images: Path) -> Path:
    """A folder with four images of the samples, in two folders."""
    for name in ("mugs/one", "mugs/two", "chairs/one", "chairs/two"):
        path = tmp_path / "shop" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind, number = name.split("/")
        source = f"{kind.removesuffix('s')}-0{1 if number == 'one' else 2}-1.jpg"
        path.write_bytes((sample_images / source).read_bytes())
    return tmp_path / "shop"


def result(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_the_sample_catalog_becomes_sixty_items(indexed_samples):
    _, output = indexed_samples
    first, second, stages, third, fourth = output.splitlines()
    assert stages.startswith("reading ")
    assert first == "60 items with 240 images in generation 1"
    assert second.startswith("embedded 240 (")
    assert ", reused 0, skipped 0, removed 0 in " in second
    assert third.startswith("encoder efficientnet-lite0 [")
    assert third.endswith("], index flat, recall@10 1.000")
    assert fourth == "attributes of the image, not of the item: view, yaw_deg, elevation_deg, background"


def test_a_rerun_does_just_the_difference(visrec, shop, tmp_path):
    def index() -> dict:
        return result(visrec("index", shop, "--store", tmp_path / "index", "--json"))

    first = index()
    assert set(first) >= INDEX_KEYS
    assert (first["items"], first["embedded"], first["reused"], first["generation"]) == (4, 4, 0, 1)
    again = index()
    assert (again["items"], again["embedded"], again["reused"], again["generation"]) == (4, 0, 4, 1)
    (shop / "mugs/one.jpg").rename(shop / "mugs/three.jpg")
    (shop / "chairs/one.jpg").unlink()
    (shop / "chairs/two.jpg").touch()
    (shop / "mugs/copy.jpg").write_bytes((shop / "mugs/two.jpg").read_bytes())
    changed = index()
    assert (changed["items"], changed["embedded"], changed["reused"], changed["removed"]) == (4, 0, 4, 2)
    (shop / "mugs/two.jpg").write_bytes((shop / "chairs/two.jpg").read_bytes()[:-500])
    broken = visrec("index", shop, "--store", tmp_path / "index", "--json")
    assert result(broken)["skipped_reasons"] == {"truncated": 1}
    found = visrec("similar", "mugs/three", "--store", tmp_path / "index", "--json").stdout
    assert [json.loads(line)["id"] for line in found.splitlines()] == ["mugs/copy", "chairs/two"]
    gone = visrec("similar", "mugs/two", "--store", tmp_path / "index")
    assert "the item 'mugs/two' is not in the store: its image mugs/two.jpg was skipped" in gone.stderr


def test_a_changed_price_touches_no_vector(visrec, own_sample_store, sample_images, tmp_path):
    before = sorted(path.name for path in (own_sample_store / "shards").iterdir())
    text = (sample_images / "catalog.csv").read_text()
    assert ",14.90," in text
    table = tmp_path / "catalog.csv"
    table.write_text(text.replace(",14.90,", ",9.90,"))
    for image in sample_images.glob("*.jpg"):
        (tmp_path / image.name).symlink_to(image)
    report = result(visrec("index", table, "--store", own_sample_store, "--json"))
    assert (report["embedded"], report["reused"], report["generation"]) == (0, 240, 2)
    assert sorted(path.name for path in (own_sample_store / "shards").iterdir()) == before
    done = visrec("similar", "mug-03", "-k", "2", "--one-per", "item", "--store", own_sample_store, "--json")
    assert 9.9 in [json.loads(line)["attributes"]["price"] for line in done.stdout.splitlines()]


def test_bad_images_are_skipped_with_a_reason_and_strict_makes_them_an_error(visrec, shop, tmp_path):
    (shop / "mugs/empty.png").write_bytes(b"")
    (shop / "mugs/text.gif").write_text("no image")
    done = visrec("index", shop, "--store", tmp_path / "index", "--strict", "--json", "--quiet")
    assert done.returncode == 1
    file = tmp_path / "index" / "skipped" / "000001.jsonl"
    sentence = f"skipped 2 (1 empty, 1 not-an-image) beside 4 images; see {file}"
    assert done.stderr == f"visrec: {sentence}\n"
    assert json.loads(done.stdout)["items"] == 4
    skipped = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(entry["item_id"], entry["image"], entry["reason"]) for entry in skipped] == [
        ("mugs/empty", "mugs/empty.png", "empty"),
        ("mugs/text", "mugs/text.gif", "not-an-image"),
    ]
    lenient = visrec("index", shop, "--store", tmp_path / "index")
    assert lenient.returncode == 0
    assert sentence in lenient.stderr


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("id,image\n,a.jpg\n", "catalog.csv:2, column 'id'"),
        ("name,color\nx,red\n", "--id-column"),
    ],
)
def test_a_catalog_that_cannot_be_used_is_one_sentence_and_leaves_nothing(visrec, tmp_path, rows, sentence):
    (tmp_path / "catalog.csv").write_text(rows)
    done = visrec("index", "catalog.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / ".visrec").exists()


def test_columns_can_be_named_and_missing_weights_are_one_sentence(visrec, tmp_path, sample_images):
    (tmp_path / "shop.tsv").write_text(f"code\tshot\nm\t{sample_images / 'mug-01-1.jpg'}\n")
    done = visrec(
        "index", "shop.tsv", "--id-column", "code", "--image-column", "shot", "--encoder", "resnet18",
        "--weights", "none.pt", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "none.pt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_holds_a_table_says_so(visrec, tmp_path, sample_images):
    for name in ("mug-01-1.jpg", "catalog.csv"):
        (tmp_path / name).write_bytes((sample_images / name).read_bytes())
    done = visrec("index", tmp_path, "--store", tmp_path / ".visrec")
    assert done.stdout.splitlines()[0] == "1 items with 1 images in generation 1"
    assert (
        f"for the items and attributes of {tmp_path / 'catalog.csv'}, run visrec index {tmp_path / 'catalog.csv'}"
        in done.stdout
    )


def test_a_terminal_shows_a_bar_and_quiet_shows_nothing(forked_program, shop, tmp_path):
    def shown(*arguments: str | Path) -> bytes:
        status, written = on_a_terminal(
            lambda device: forked_program.run_with_streams(
                arguments, tmp_path, dict(os.environ), out="/dev/null", err=device
            )
        )
        assert status == 0
        return written

    loud = shown("index", shop, "--store", tmp_path / "loud")
    assert b"embedding" in loud
    assert b"images/s" in loud
    assert shown("index", shop, "--store", tmp_path / "quiet", "--quiet") == b""


def test_a_table_without_changes_reads_back_what_was_written(visrec, own_sample_store, sample_images):
    done = visrec("index", sample_images / "catalog.csv", "--store", own_sample_store, "--json")
    report = result(done)
    with (sample_images / "catalog.csv").open(newline="") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    assert report["items"] == len(ids)
    assert (report["embedded"], report["generation"]) == (0, 1)


def test_a_run_that_a_decoder_ends_is_run_again_and_names_the_image(visrec, shop, tmp_path):
    evil = shop / "mugs" / "two.jpg"
    broken = broken_decoder.environment("segfault", evil.read_bytes())
    first = visrec("index", shop, "--store", tmp_path / "store", **broken)
    assert first.returncode == -signal.SIGSEGV
    second = visrec("index", shop, "--store", tmp_path / "store", **broken)
    assert second.returncode == 0, second.stderr
    assert "3 items with 3 images in generation 1" in second.stdout
    skipped = tmp_path / "store" / "skipped" / "000001.jsonl"
    assert "skipped 1 (1 crashed)" in second.stderr
    assert f"see {skipped}" in second.stderr
    (line,) = map(json.loads, skipped.read_text("utf-8").splitlines())
    assert (line["item_id"], line["image"], line["reason"]) == ("mugs/two", "mugs/two.jpg", "crashed")
    assert line["message"] == "the decoder ended (SIGSEGV); save the image anew"
