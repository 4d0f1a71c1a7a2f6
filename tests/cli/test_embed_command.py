from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.store import Store

PROGRAM = Path(sys.executable).parent / "visrec"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, sample_images) -> Path:
    """A table of 40 items, two of which cannot be used."""
    folder = tmp_path_factory.mktemp("shop")
    images = sorted(sample_images.glob("*-[12].jpg"))[:38]
    lines = [f"{image.stem},{image}" for image in images]
    (folder / "broken.jpg").write_bytes(images[0].read_bytes()[:3000])
    lines[10:10] = ["broken,broken.jpg", "gone,gone.jpg"]
    (folder / "catalog.csv").write_text("id,image\n" + "\n".join(lines) + "\n")
    return folder / "catalog.csv"


def vectors(store: Path) -> dict[str, bytes]:
    """Return the vector of every item, bit by bit."""
    opened = Store.open(store)
    rows = opened.items.rows_after(None, 10_000)
    found = opened.vectors(np.array([row.position for row in rows]))
    return {row.id: vector.tobytes() for row, vector in zip(rows, found, strict=True)}


@pytest.fixture(scope="module")
def undisturbed(catalog, visrec, tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed") / "index"
    done = visrec("embed", catalog, "--store", store, "--shard-size", "8", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["items"], report["embedded"], report["skipped"], report["complete"]) == (38, 38, 2, True)
    assert report["index_type"] == "exact"
    assert set(report["stages"]) == {"reading", "decoding", "encoding", "writing"}
    assert report["bottleneck"] == max(report["stages"], key=report["stages"].get)
    return store


def test_it_says_what_it_did_and_which_stage_was_the_bottleneck(visrec, catalog, tmp_path):
    done = visrec("embed", catalog, "--store", tmp_path / "index")
    first, second, third, fourth = done.stdout.splitlines()
    assert first == "38 items with 38 images in generation 1"
    assert second.startswith("embedded 38 (")
    assert third.startswith("reading ")
    assert third.split()[-1] in {"reading", "decoding", "encoding", "writing"}
    assert "index exact" in fourth
    assert "skipped 2 (1 missing, 1 truncated) beside 38 images" in done.stderr


def test_exact_search_answers_until_there_is_an_index(visrec, undisturbed, catalog, tmp_path):
    import shutil

    store = Path(shutil.copytree(undisturbed, tmp_path / "index"))
    before = visrec("similar", "backpack-01-1", "--store", store, "--json").stdout
    report = json.loads(visrec("index", catalog, "--store", store, "--json", "--quiet").stdout)
    assert (report["index_type"], report["embedded"], report["generation"]) == ("flat", 0, 2)
    after = visrec("similar", "backpack-01-1", "--store", store, "--json").stdout
    assert [json.loads(line)["id"] for line in before.splitlines()] == [
        json.loads(line)["id"] for line in after.splitlines()
    ]
    assert len(before.splitlines()) == 10


def test_a_limit_ends_the_run_and_the_next_goes_on(visrec, catalog, undisturbed, tmp_path):
    store = tmp_path / "index"
    counts = []
    for _ in range(3):
        done = visrec("embed", catalog, "--store", store, "--limit", "16", "--shard-size", "8", "--json", "--quiet")
        report = json.loads(done.stdout)
        counts.append((report["embedded"], report["complete"], report["generation"]))
    # the broken image is among the first that are tried, each time until a generation says so
    assert counts == [(15, False, 0), (15, False, 0), (8, True, 1)]
    assert vectors(store) == vectors(undisturbed)


def test_skipped_images_are_tried_again_with_retry_skipped(visrec, catalog, tmp_path):
    store = tmp_path / "index"
    visrec("embed", catalog, "--store", store, "--quiet")
    again = json.loads(visrec("embed", catalog, "--store", store, "--json", "--quiet").stdout)
    assert again["stages"]["decoding"] == 0
    retried = json.loads(visrec("embed", catalog, "--store", store, "--retry-skipped", "--json", "--quiet").stdout)
    assert retried["stages"]["decoding"] > 0
    assert (retried["skipped"], retried["embedded"], retried["generation"]) == (2, 0, 1)


def test_the_export_reads_as_parquet_and_holds_the_vectors(visrec, catalog, tmp_path, undisturbed):
    store, folder = tmp_path / "index", tmp_path / "export"
    done = visrec("embed", catalog, "--store", store, "--export", folder)
    assert f"wrote 38 vectors to {folder}" in done.stderr
    table = pq.read_table(folder)
    assert table.schema.names == ["item_id", "image", "vector"]
    assert table.schema.field("vector").type == pa.list_(pa.field("element", pa.float32()), 1280)
    rows = table.to_pylist()
    assert {row["item_id"]: np.array(row["vector"], np.float32).tobytes() for row in rows} == vectors(undisturbed)
    assert [row["item_id"] for row in rows] == sorted(row["item_id"] for row in rows)
    again = visrec("embed", catalog, "--store", store, "--export", folder)
    assert again.returncode == 0
    (folder / "notes.txt").write_text("mine")
    refused = visrec("embed", catalog, "--store", store, "--export", folder)
    assert refused.returncode == 1
    assert "notes.txt" in refused.stderr
    assert (folder / "part-00000.parquet").exists()


def test_ctrl_c_keeps_what_was_embedded_and_says_how_to_continue(catalog, undisturbed, tmp_path):
    store = tmp_path / "index"
    command = [PROGRAM, "embed", catalog, "--store", store, "--shard-size", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not list(store.glob("shards/*")) and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "finishing the current shard; press Ctrl-C again to stop at once" in errors
    assert "run the same command again to continue" in output
    kept = int(output.split()[1])
    done = subprocess.run([*command, "--json", "--quiet"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["embedded"] == 38 - kept
    assert vectors(store) == vectors(undisturbed)


@pytest.mark.nightly  # each night; in CI runs are killed in tests/jobs and tests/faults
def test_killed_at_twenty_random_moments_it_ends_with_the_vectors_of_an_undisturbed_run(catalog, undisturbed, tmp_path):
    store = tmp_path / "index"
    command = [PROGRAM, "embed", catalog, "--store", store, "--shard-size", "4", "--quiet"]
    started = time.perf_counter()
    subprocess.run([*command[:4], tmp_path / "timed", *command[5:]], check=True, stdout=subprocess.DEVNULL)
    duration = time.perf_counter() - started
    moments = random.Random(7)
    kills = 0
    while kills < 20:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            try:
                running.wait(moments.uniform(0.3, 1.0) * duration)
            except subprocess.TimeoutExpired:
                running.kill()
                kills += 1
            else:
                assert running.returncode == 0
                subprocess.run(["rm", "-rf", store], check=True)  # done before the signal: begin again
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["complete"]
    assert vectors(store) == vectors(undisturbed)
    subprocess.run([PROGRAM, "verify", "--store", store], check=True, stdout=subprocess.DEVNULL)
