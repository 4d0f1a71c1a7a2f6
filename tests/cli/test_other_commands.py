from __future__ import annotations

import json
import subprocess

import pytest
from fake_shop import index, shop_of
from program import PROGRAM

COMMANDS = [
    "index",
    "embed",
    "update",
    "publish",
    "pull",
    "similar",
    "neighbors",
    "duplicates",
    "evaluate",
    "tune",
    "events",
    "learn",
    "replay",
    "outcomes",
    "candidate",
    "serve",
    "info",
    "verify",
    "gc",
    "encoders",
]


def test_help_names_every_command(visrec):
    done = visrec("--help")
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert listed == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_in_a_process_of_its_own_and_has_a_page_of_help(command):
    done = subprocess.run([PROGRAM, command, "--help"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: visrec {command}")


def test_the_version_is_that_of_the_package(visrec):
    import vision_recs

    assert visrec("--version").stdout == f"visrec {vision_recs.__version__}\n"


def test_an_unknown_option_is_a_usage_error(visrec):
    assert visrec("info", "--nonsense").returncode == 2


def test_info_says_what_is_in_the_store(visrec, sample_store):
    info = json.loads(visrec("info", "--store", sample_store, "--json").stdout)
    assert (info["items"], info["images"], info["dim"], info["generation"]) == (60, 240, 1280, 1)
    assert (info["encoder"], info["index_type"], info["recall_at_10"]) == ("efficientnet-lite0", "flat", 1.0)
    assert "encoder" in visrec("info", "--store", sample_store).stdout


def test_info_says_how_many_vectors_wait_for_the_index_and_how_many_in_it_are_dead(visrec, tmp_path):
    shop = shop_of(200)
    index(shop, tmp_path, shard_size=100)
    del shop.items["item007"]
    shop.put("new", 300)
    index(shop, tmp_path, shard_size=100)
    info = json.loads(visrec("info", "--store", tmp_path, "--json").stdout)
    assert (info["generation"], info["index_generation"], info["vectors"]) == (2, 1, 200)
    assert (info["waiting_for_index"], info["dead_in_index"]) == (1, 1)
    lines = [line.rsplit(maxsplit=1) for line in visrec("info", "--store", tmp_path).stdout.splitlines() if line]
    assert ["waiting for index", "1"] in lines
    assert ["dead in index", "1"] in lines


def test_info_says_how_many_vectors_lie_beside_the_graph_and_how_many_of_it_are_dead(visrec, tmp_path):
    shop = shop_of(60)
    index(shop, tmp_path, shard_size=100, index_type="hnsw")
    del shop.items["item007"]
    shop.put("new", 300, 301)
    index(shop, tmp_path, shard_size=100)
    info = json.loads(visrec("info", "--store", tmp_path, "--json").stdout)
    counted = [info[name] for name in ("index_generation", "waiting_for_index", "in_index_delta", "dead_in_index")]
    assert counted == [2, 0, 2, 1]


def test_verify_finds_a_flipped_byte_and_says_where(visrec, own_sample_store):
    sound = visrec("verify", "--store", own_sample_store)
    assert (sound.returncode, sound.stdout) == (0, f"{own_sample_store} is sound\n")
    (vectors,) = (own_sample_store / "shards").glob("*/vectors.npy")
    data = bytearray(vectors.read_bytes())
    data[1000] ^= 1
    vectors.write_bytes(data)
    done = visrec("verify", "--store", own_sample_store)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{vectors} was altered")
    assert done.stdout.endswith("; `visrec index CATALOG` mends it\n")
    assert "1 damaged file" in done.stderr


def test_gc_frees_what_the_last_generation_does_not_use(visrec, own_sample_store, sample_images, tmp_path):
    lines = (sample_images / "catalog.csv").read_text().splitlines(keepends=True)
    (tmp_path / "catalog.csv").write_text("".join(lines[:9]))
    for image in sample_images.glob("mug-0[12]-*.jpg"):
        (tmp_path / image.name).symlink_to(image)
    report = json.loads(visrec("index", tmp_path / "catalog.csv", "--store", own_sample_store, "--json").stdout)
    assert (report["items"], report["removed"], report["embedded"]) == (2, 58, 0)
    reclaimed = json.loads(visrec("gc", "--store", own_sample_store, "--json").stdout)
    assert reclaimed["generations"] == 1
    assert reclaimed["bytes"] > 0
    assert visrec("verify", "--store", own_sample_store).returncode == 0
    found = visrec("similar", "mug-01", "--one-per", "item", "--store", own_sample_store, "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in found] == ["mug-02"]
    assert visrec("gc", "--store", own_sample_store).stdout.startswith("reclaimed 0.0 MB")


def test_encoders_says_which_weights_are_here(visrec):
    known = {line["name"]: line for line in map(json.loads, visrec("encoders", "--json").stdout.splitlines())}
    assert known["efficientnet-lite0"]["weights_here"] is True
    assert known["efficientnet-lite0"]["dim"] == 1280
    assert {"clip", "siglip2", "marqo-ecommerce-b", "resnet50"} <= set(known)
    assert visrec("encoders").stdout.splitlines()[1].startswith("efficientnet-lite0")
