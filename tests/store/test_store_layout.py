import base64
import hashlib
import json
import os
import sqlite3

import numpy as np
import pyarrow.parquet as pq
import pytest
from fake_shop import BLACK, NO_IMAGE, FakeEncoder, image, index, shop_of, snapshot, wanted

from vision_recs.images import canary_image, prepare
from vision_recs.store import Store


@pytest.fixture
def shop():
    shop = shop_of(6)
    shop.put("twice", "0.png", "black.png", color="red", stock=True, price=None)
    shop.files["black.png"] = BLACK
    shop.put("broken", "broken.jpg")
    shop.files["broken.jpg"] = NO_IMAGE
    return shop


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "index")
    return tmp_path / "index"


def manifest_of(store, generation=1):
    return json.loads((store / "generations" / f"{generation:06d}.json").read_bytes())


def test_a_store_holds_the_documented_files_and_no_others(store):
    first, second = (shard["name"] for shard in manifest_of(store)["shards"])
    assert sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()) == sorted(
        [
            "CURRENT",
            "LOCK",
            "attributes/000001.bin",
            "indexes/flat-000001/index.json",
            "indexes/flat-000001/flat.faiss",
            "indexes/flat-000001/positions.npy",
            "generations/000001.json",
            "items/000001.sqlite",
            *(
                f"shards/{name}/{file}"
                for name in (first, second)
                for file in ("images.parquet", "shard.json", "vectors.npy")
            ),
            "skipped/000001.jsonl",
        ]
    )


def test_current_names_the_generation_and_the_digest_of_its_manifest(store):
    digest = hashlib.sha256((store / "generations/000001.json").read_bytes()).hexdigest()
    assert (store / "CURRENT").read_bytes() == f"000001 {digest}\n".encode()


def test_vectors_are_unit_rows_of_little_endian_float16_that_numpy_maps(store, shop):
    encoder = FakeEncoder()
    images = iter(range(6))
    for shard in manifest_of(store)["shards"]:
        vectors = np.load(store / "shards" / shard["name"] / "vectors.npy", mmap_mode="r")
        assert isinstance(vectors, np.memmap)
        assert vectors.dtype.str == "<f2"
        assert vectors.flags.c_contiguous
        assert np.linalg.norm(vectors.astype(np.float64), axis=1) == pytest.approx(np.ones(len(vectors)), abs=2e-3)
        for vector in vectors:
            shown = np.frombuffer(_pixels(shop.files[f"{next(images)}.png"]), np.uint8).reshape(1, 8, 8, 3)
            assert vector.tolist() == encoder.encode(shown)[0].astype(np.float16).tolist()
    assert next(images, None) is None


def _pixels(data):
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data)).tobytes()


def test_images_say_what_was_embedded_in_that_order_and_which_row_is_whose_vector(store, shop):
    embedded = []
    for shard in manifest_of(store)["shards"]:
        table = pq.read_table(store / "shards" / shard["name"] / "images.parquet")
        assert {field.name: str(field.type) for field in table.schema} == {
            "item_id": "string",
            "image": "string",
            "digest": "fixed_size_binary[32]",
            "row": "int32",
            "reason": "string",
            "message": "string",
        }
        rows = table.to_pylist()
        assert [row["row"] for row in rows if row["row"] is not None] == list(range(shard["rows"]))
        embedded += rows
    assert [(row["item_id"], row["image"], row["reason"]) for row in embedded] == [
        *((f"item00{number}", f"{number}.png", None) for number in range(6)),
        ("twice", "black.png", "zero-vector"),
        ("broken", "broken.jpg", "not-an-image"),
    ]
    for row in embedded:
        assert row["digest"] == hashlib.sha256(shop.files[row["image"]]).digest()
        assert (row["message"] is None) == (row["row"] is not None)


def test_the_manifest_says_all_that_the_generation_is_made_of(store, shop):
    manifest = manifest_of(store)
    assert (manifest["format"], manifest["generation"], manifest["index_type"]) == (1, 1, "flat")
    assert (manifest["items"], manifest["images"], manifest["skipped"]) == (7, 7, 2)
    relative = os.path.relpath("/shop", store)
    assert manifest["catalog"] == {"location": "/shop/catalog.csv", "root": "/shop", "relative_root": relative}
    assert manifest["index_stats"]["recall_at_10"] == 1.0
    assert Store.open(store).manifest.encoder == FakeEncoder().spec
    [base] = manifest["items_files"]
    assert (base["generation"], base["changed"]) == (1, 0)
    found = {"items/000001.sqlite": base["digest"], "skipped/000001.jsonl": base["skipped_digest"]}
    assert found == {path: digest for path, digest in snapshot(store).items() if path.startswith(("items", "skipped"))}
    assert [(shard["first_position"], shard["rows"], shard["deleted"]) for shard in manifest["shards"]] == [
        (0, 4, []),
        (4, 2, []),
    ]
    assert manifest["next_position"] == 6
    assert manifest["space"] == FakeEncoder().spec.fingerprint
    assert wanted(shop).items.keys() == set(Store.open(store).items.ids())


def test_the_manifest_holds_the_vector_of_the_canary_image(store):
    vector = np.frombuffer(base64.b64decode(manifest_of(store)["canary"]), "<f2")
    encoder = FakeEncoder()
    expected = encoder.encode(prepare(canary_image(), encoder.spec.preprocess)[None])[0]
    assert vector.tolist() == expected.astype(np.float16).tolist()


def test_the_name_of_a_shard_is_the_digest_of_a_file_that_holds_the_digests_of_the_others(store):
    digests = snapshot(store)
    for entry in manifest_of(store)["shards"]:
        folder = f"shards/{entry['name']}"
        assert digests[f"{folder}/shard.json"].startswith(entry["name"])
        shard = json.loads((store / folder / "shard.json").read_bytes())
        assert (shard["format"], shard["space"]) == (1, FakeEncoder().spec.fingerprint)
        assert (shard["rows"], shard["dim"]) == (entry["rows"], 12)
        assert shard["files"] == {name: digests[f"{folder}/{name}"] for name in ("images.parquet", "vectors.npy")}


def test_items_are_tables_that_sqlite_reads(store):
    with sqlite3.connect(store / "items/000001.sqlite") as connection:
        items = dict(connection.execute("SELECT item_id, attributes FROM items"))
        rows = connection.execute("SELECT item_id, ordinal, image, position FROM images ORDER BY 1, 2").fetchall()
        vectors = dict(connection.execute("SELECT position, lower(hex(digest)) FROM vectors"))
        skipped = connection.execute("SELECT item_id, ordinal, image, reason FROM skipped ORDER BY 1, 2").fetchall()
    connection.close()
    assert json.loads(items["twice"]) == {"color": "red", "stock": True, "price": None}
    assert rows == [*((f"item00{n}", 0, f"{n}.png", n) for n in range(6)), ("twice", 0, "0.png", 0)]
    assert vectors == {n: hashlib.sha256(image(n)).hexdigest() for n in range(6)}
    assert skipped == [("broken", 0, "broken.jpg", "not-an-image"), ("twice", 1, "black.png", "zero-vector")]


def test_skipped_images_are_lines_of_json_with_reason_and_message(store):
    lines = [json.loads(line) for line in (store / "skipped/000001.jsonl").read_text("utf-8").splitlines()]
    assert [(line["item_id"], line["image"], line["reason"]) for line in lines] == [
        ("broken", "broken.jpg", "not-an-image"),
        ("twice", "black.png", "zero-vector"),
    ]
    assert all(line.keys() == {"item_id", "image", "reason", "message"} for line in lines)
    assert lines[0]["message"].startswith("the file is none of JPEG, PNG")


def test_later_generations_change_no_file_but_current(store, shop):
    before = snapshot(store)
    shop.put("new", 50)
    del shop.items["item003"]
    index(shop, store)
    shop.items["item001"].attributes["price"] = 99
    index(shop, store)
    index(shop, store, FakeEncoder(turn=1))
    after = snapshot(store)
    assert {path for path, digest in before.items() if after.get(path) != digest} == {"CURRENT"}
    assert (store / "CURRENT").read_text().startswith("000004 ")


def test_positions_of_deleted_vectors_are_ranges_of_their_shard(store, shop):
    del shop.items["item001"]
    del shop.items["item002"]
    index(shop, store)
    assert [shard["deleted"] for shard in manifest_of(store, 2)["shards"]] == [[[1, 3]], []]
    assert Store.open(store).positions().tolist() == [0, 3, 4, 5]


def test_a_shard_of_which_nothing_is_left_is_in_the_manifest_no_more(store, shop):
    for number in (4, 5):
        del shop.items[f"item00{number}"]
    index(shop, store)
    assert [shard["first_position"] for shard in manifest_of(store, 2)["shards"]] == [0]
