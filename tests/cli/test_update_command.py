"""`visrec update` as a person runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from loaded_modules import loaded_modules

PROGRAM = Path(sys.executable).parent / "visrec"


@pytest.fixture
def store(sample_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_store, tmp_path / "store"))


def test_prices_change_items_go_and_new_ones_come(visrec, store, sample_images, tmp_path):
    new = min(sample_images.glob("mug-01-*.jpg"))
    changes = tmp_path / "changes.jsonl"
    lines = [{"id": "mug-01", "price": 1.5}, {"id": "mug-02", "deleted": True}, {"id": "new", "image": str(new)}]
    changes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = visrec("update", changes, "--store", store, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("changed 1, added 1, removed 1 in ")
    assert done.stdout.splitlines()[0].endswith("s; generation 2 has 60 items")
    found = visrec("similar", "mug-01", "--where", "price < 2", "--store", store, "--json")
    assert (found.returncode, found.stdout) == (0, "")
    found = visrec("similar", "mug-01", "--store", store, "--json", "-k", "100")
    ids = {json.loads(line)["id"] for line in found.stdout.splitlines()}
    assert "new" in ids
    assert "mug-02" not in ids
    info = json.loads(visrec("info", "--store", store, "--json").stdout)
    assert (info["generation"], info["items"], info["items_in_deltas"]) == (2, 60, 0)
    assert visrec("verify", "--store", store).returncode == 0


def test_changes_come_from_standard_input(store):
    lines = '{"id": "mug-01", "price": 7, "version": 5}\n{"id": "mug-01", "price": 8, "version": 4}\n{"id": "zz"}\n'
    done = subprocess.run(
        [PROGRAM, "update", "-", "--store", store], input=lines, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "stale: 1 of 3 changes; the store has a version as new",
        "unknown: 1 of 3 changes; the store does not have the item",
    ]


def test_standard_input_without_an_end_of_a_line_is_refused_and_leaves_nothing(store, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [PROGRAM, "update", "-", "--store", store]
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(command, stdin=endless, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "visrec: standard input: a line has more than 67,108,864 characters; break it up\n"
    assert list(tmp_path.iterdir()) == [store]


def test_a_disk_without_room_for_standard_input_is_named(store, tmp_path):
    command = ["sh", "-c", 'ulimit -f 1 && exec "$@"', "sh", PROGRAM, "update", "-", "--store", store]
    changes = '{"id": "mug-01", "price": 7}\n' * 1_000
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, input=changes, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"visrec: {tmp_path} cannot be written (File too large); ")
    assert list(tmp_path.iterdir()) == [store]


@contextmanager
def reading(store, folder):
    """Run it while it waits for changes, which it keeps in *folder*."""
    command = [PROGRAM, "update", "-", "--store", store]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        while not list(folder.glob("*/stdin.jsonl")):
            assert process.poll() is None
            time.sleep(0.01)
        yield process


def test_who_ends_it_while_changes_come_finds_nothing_left(store, tmp_path):
    with reading(store, tmp_path) as process:
        process.terminate()
        _, said = process.communicate()
    assert (process.returncode, said) == (130, "")
    assert list(tmp_path.iterdir()) == [store]


def test_what_was_kept_of_changes_is_removed_by_the_next_where_it_was_killed(store, tmp_path):
    with reading(store, tmp_path) as process:
        process.kill()
    assert len(list(tmp_path.iterdir())) == 2
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([PROGRAM, "update", "-", "--store", store], stdin=subprocess.DEVNULL, env=environment, check=False)
    assert list(tmp_path.iterdir()) == [store]


def test_a_change_of_a_price_loads_nothing_of_images_tables_filters_or_buckets(store, tmp_path):
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "mug-01", "price": 7}')
    loaded = loaded_modules("update", changes, "--store", store)
    assert loaded >= {"vision_recs.jobs.updating", "vision_recs.store.writer"}
    assert loaded & {"PIL", "faiss", "pyarrow", "obstore", "msgspec", "importlib.metadata"} == set()
    of_rooms = {
        "catalog": "amounts cell_types changes columns findings observations parted_file places readers text_files "
        "value_types",
        "encoders": "",
        "filters": "attribute_type",
        "images": "",
        "indexes": "base config",
        "jobs": "options progress publish updating",
        "remote": "addresses options",
        "store.attributes": "build dictionary format values write",
        "store.bucket": "mark",
    }
    for room, modules in of_rooms.items():
        below = f"vision_recs.{room}."
        assert {name.removeprefix(below) for name in loaded if name.startswith(below)} <= set(modules.split())


def test_json_is_the_report(visrec, store, tmp_path):
    changes = tmp_path / "changes.csv"
    changes.write_text("id,price\nmug-01,3.5\nmug-03,4\n")
    done = visrec("update", changes, "--store", store, "--json")
    report = json.loads(done.stdout)
    assert (report["changes"], report["changed"], report["generation"], report["items"]) == (2, 2, 2, 60)


def test_text_in_a_price_is_said(visrec, store, tmp_path):
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "mug-01", "price": "on request"}\n')
    odd = "text in 1 change, the first 'on request' of the item 'mug-01'"
    sentence = f"the attribute 'price' holds numbers, and {odd}; a filter finds those of one type"
    done = visrec("update", changes, "--store", store)
    assert (done.returncode, done.stderr) == (0, f"note: {sentence}\n")
    changes.write_text('{"id": "mug-02", "price": 3}\n{"id": "mug-01", "price": "on request"}\n')
    assert json.loads(visrec("update", changes, "--store", store, "--json", "--quiet").stdout)["notes"] == [sentence]
    assert visrec("similar", "mug-02", "--where", "price < 4", "--store", store, "--json").stdout == ""


def test_strict_fails_where_an_image_was_skipped_and_says_where_to_look(visrec, store, tmp_path):
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "new", "image": "nowhere.jpg"}\n')
    done = visrec("update", changes, "--store", store, "--strict")
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if not line.startswith("embedding: ")]  # where that took a while
    assert told == [
        f"skipped 1 missing; see {store}/skipped/000002.jsonl",
        "visrec: some changes could not be made as they are; see above",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"price": 3}\n', "no known key of an id among 'price'; name it with --id-column"),
        ("[1]\n", "a JSON list where an object belongs; write one object a line"),
    ],
)
def test_bad_changes_get_one_sentence_and_change_nothing(visrec, store, tmp_path, content, sentence):
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "mug-01", "price": 3}\n' + content)
    current = (store / "CURRENT").read_bytes()
    done = visrec("update", changes, "--store", store)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"visrec: {changes}:2: {sentence}\n"
    assert (store / "CURRENT").read_bytes() == current


def test_without_a_store_there_is_nothing_to_update(visrec, tmp_path):
    done = visrec("update", "-", "--store", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("visrec: there is no store in ")
    assert not (tmp_path / "nowhere").exists()
