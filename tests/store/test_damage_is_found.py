"""Flipped bytes, missing files and cuts: `verify` names the file, and whoever opens or reads gets one sentence."""

import contextlib
import hashlib
import os
import random
import re
import shutil
import sqlite3

import numpy as np
import pytest
from fake_shop import NO_IMAGE, FakeEncoder, Shop, content, image, index, shop_of, snapshot, wanted

import vision_recs
from vision_recs.errors import StoreDamaged, StoreError, StoreNotFound, UnknownFormat, VisionRecsError
from vision_recs.file_formats import dump_checksummed, load_checksummed
from vision_recs.jobs import verify
from vision_recs.store import Store, garbage_collect

FILES = [
    "CURRENT",
    "indexes/flat-000002/index.json",
    "indexes/flat-000002/flat.faiss",
    "indexes/flat-000002/positions.npy",
    "generations/000001.json",
    "generations/000002.json",
    "items/000001.sqlite",
    "items/000002.sqlite",
    "shards/*/images.parquet",
    "shards/*/shard.json",
    "shards/*/vectors.npy",
    "skipped/000002.jsonl",
]
GARBAGE = [
    b"",
    b"\n",
    b"\0" * 5000,
    b"PK\x03\x04" + bytes(60),
    b"SQLite format 3\0" + bytes(100),
    b'{"a": 1}\n',
    b"[" * 9999,
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store of two generations, with skipped images and several shards."""
    store = tmp_path_factory.mktemp("sound") / "index"
    shop = shop_of(6)
    shop.put("broken", "broken.jpg")
    shop.files["broken.jpg"] = NO_IMAGE
    index(shop, store)
    shop.put("more", 6, 7, color="blue")
    del shop.items["item001"]
    index(shop, store)
    return store


@pytest.fixture
def store(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "index")


@pytest.fixture(params=FILES)
def file(request, store):
    return min(store.glob(request.param))


def read_all(store):
    """Do everything that reads a store."""
    shop = vision_recs.open(store)
    for item in shop.items.ids():
        shop.similar(item, k=20)
    shop.similar("item000", "more")
    return content(shop.items)


def test_a_sound_store_gives_nothing(store):
    assert list(verify(store)) == []


def test_a_flipped_byte_is_found_and_its_file_named(store, file):
    data = file.read_bytes()
    draw = random.Random(str(file.relative_to(store)))
    for offset in {0, len(data) - 1, *draw.choices(range(len(data)), k=25)}:
        altered = bytearray(data)
        altered[offset] ^= 1 << draw.randrange(8)
        file.write_bytes(altered)
        found = list(verify(store))
        assert any(str(file) in sentence for sentence in found), (offset, data[offset], found)
        assert all("\n" not in sentence for sentence in found)


def test_a_missing_file_is_found_and_named(store, file):
    file.unlink()
    if file.name == "000001.json":
        return  # an older generation that was reclaimed up to its items is no damage
    found = list(verify(store))
    assert any(str(file) in sentence for sentence in found), found


def test_a_cut_is_found_and_its_file_named(store, file):
    size = file.stat().st_size
    for length in sorted({0, 1, size // 2, size - 1}, reverse=True):
        os.truncate(file, length)
        found = list(verify(store))
        assert any(str(file) in sentence for sentence in found), (length, found)


def test_a_folder_in_place_of_a_file_is_found(store, file):
    file.unlink()
    file.mkdir()
    assert any(str(file) in sentence for sentence in verify(store))


def test_whoever_reads_a_damaged_store_gets_an_answer_or_one_sentence(store, file):
    data = file.read_bytes()
    draw = random.Random(str(file.relative_to(store)))
    before = read_all(store)
    outcomes = set()
    for offset in {*range(0, min(len(data), 128), 3), *draw.choices(range(len(data)), k=30)}:
        altered = bytearray(data)
        altered[offset] ^= 1 << draw.randrange(8)
        file.write_bytes(altered)
        outcomes.add(outcome(store))
    file.write_bytes(data)
    assert outcomes <= {"answered", "StoreDamaged", "UnknownItem"}
    assert read_all(store) == before


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_in_a_file_is_store_damaged(store, file, garbage):
    file.write_bytes(garbage)
    needed = "000001" not in file.name and file.suffix not in {".parquet", ".jsonl"} and file.name != "shard.json"
    assert outcome(store) == ("StoreDamaged" if needed else "answered")


def outcome(store):
    try:
        read_all(store)
    except VisionRecsError as error:
        return type(error).__name__ if "\n" not in str(error) else f"more than a line: {error}"
    return "answered"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "000002",
        "000002 \n",
        "-00002 " + "a" * 64 + "\n",
        "2 " + "a" * 64 + "\n",
        "9" * 5000 + " " + "a" * 64 + "\n",
    ],
)
def test_a_damaged_current_is_refused_with_a_sentence(store, text):
    (store / "CURRENT").write_text(text)
    helps = "restore it from a backup, or remove .*CURRENT: `visrec index CATALOG` then goes on from the newest"
    with pytest.raises(StoreDamaged, match=rf"CURRENT is damaged: it holds .*; {helps} generation that is whole"):
        Store.open(store)


def test_a_line_end_of_another_system_is_damage_too(store):
    current = store / "CURRENT"
    current.write_bytes(current.read_bytes().replace(b"\n", b"\r"))
    with pytest.raises(StoreDamaged, match="CURRENT is damaged"):
        Store.open(store)


def test_a_run_over_a_damaged_store_is_one_sentence_too(store, file):
    if "000001" in file.name or file.suffix == ".jsonl":
        return  # a run does not read it
    data = file.read_bytes()
    draw = random.Random(0)
    before = snapshot(store)
    for garbage in [*GARBAGE, *(draw.randbytes(len(data)) for _ in range(3))]:
        file.write_bytes(garbage)
        try:
            index(shop_of(9), store)
        except StoreError as error:
            sentence = str(error)
        else:
            return  # the run did not need what was damaged
        assert "\n" not in sentence
        file.write_bytes(data)
        assert snapshot(store).items() >= before.items()


def test_the_next_run_builds_an_index_again_that_is_gone_or_cannot_be_opened(store):
    shop = shop_of(4)
    index(shop, store)
    for damage in (shutil.rmtree, lambda folder: (folder / "flat.faiss").unlink(), lambda f: cut(f / "index.json")):
        damage(store / "indexes/flat-000003")
        encoder = FakeEncoder()
        assert index(shop, store, encoder).generation == 3
        assert encoder.encoded == 0
        assert list(verify(store)) == []
        assert [match.id for match in vision_recs.open(store).similar("item000")][:1]


def test_items_that_contradict_themselves_are_damage_for_whoever_reads_them(store):
    """A digest lies in the table of vectors and in its index by digest; either may be altered."""
    items, digest = store / "items/000002.sqlite", hashlib.sha256(image(0)).digest()
    data = items.read_bytes()
    places = [found.start() for found in re.finditer(re.escape(digest), data)]
    assert len(places) == 2
    sentences = []
    for place in places:
        items.write_bytes(data[:place] + bytes(32) + data[place + 32 :])
        with contextlib.suppress(StoreDamaged):  # a query takes the position from the image, if it can
            read_all(store)
        try:
            Store.open(store).vectors_of([digest.hex()])
        except StoreDamaged as error:
            sentences.append(str(error))
    assert any(sentence.startswith(f"{items} has no vector of the image ") for sentence in sentences)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE items SET attributes = '{'",
        "UPDATE items SET attributes = '[1]'",
        "UPDATE images SET attributes = '7'",
        "UPDATE images SET image = x'00ff'",
        "UPDATE images SET position = 'first'",
        "UPDATE images SET position = 99",
        "UPDATE images SET position = -1",
        "DROP TABLE vectors",
    ],
)
def test_items_that_hold_what_they_must_not_are_damage(store, change):
    with contextlib.closing(sqlite3.connect(store / "items/000002.sqlite")) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(StoreDamaged, match="run `visrec verify`"):
        read_all(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"\x94" + data[1:],
        lambda data: data.replace(b"(4, 12)", b"(3, 12)"),
        lambda data: data.replace(b"<f2", b">f2"),
        lambda data: data[:-2],
        lambda data: data + b"\0",
    ],
    ids=["magic", "shape", "order of bytes", "shorter", "longer"],
)
def test_vectors_in_another_form_are_damage(store, change):
    file = next(path for path in store.glob("shards/*/vectors.npy") if b"(4, 12)" in path.read_bytes())
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(StoreDamaged, match=rf"{file} cannot be read \(.*\); run `visrec verify`"):
        vision_recs.open(store)


def test_a_vector_without_a_direction_is_damage(store):
    for shard in (store / "shards").iterdir():
        data = (shard / "vectors.npy").read_bytes()
        (shard / "vectors.npy").write_bytes(data[:128] + bytes(len(data) - 128))
    opened = Store.open(store)
    with pytest.raises(StoreDamaged, match=r"the vector at position 0 of .* has no direction; run `visrec verify`"):
        opened.vectors(opened.positions())


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def test_a_store_whose_indexes_were_all_deleted_is_sound_and_answers(store):
    expected = vision_recs.open(store).similar("item000", k=9)
    shutil.rmtree(store / "indexes")
    assert list(verify(store)) == []
    assert vision_recs.open(store).similar("item000", k=9) == expected


def test_where_there_is_no_store_verify_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreNotFound, match=r"there is no store in .*; make one with `visrec index CATALOG`"):
            list(verify(folder))


def test_a_manifest_that_names_another_space_than_its_encoder_defines_is_found(store):
    path = store / "generations/000002.json"
    path.write_bytes(dump_checksummed(load_checksummed(path.read_bytes()) | {"space": "0123456789abcdef"}))
    (store / "CURRENT").write_text(f"000002 {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    sentence = f"{path} names another space than its encoder and projection define; index into another folder"
    assert sentence in list(verify(store))


def test_a_newer_format_is_refused_with_a_sentence_and_left_alone(store):
    path = store / "generations/000002.json"
    path.write_bytes(dump_checksummed(load_checksummed(path.read_bytes()) | {"format": 2, "visrec": "9.1"}))
    (store / "CURRENT").write_text(f"000002 {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    before = snapshot(store)
    uses = (
        Store.open,
        vision_recs.open,
        garbage_collect,
        lambda path: list(verify(path)),
        lambda path: index(Shop(), path),
    )
    for use in uses:
        with pytest.raises(UnknownFormat, match=r"written by visrec 9\.1, newer than this one; upgrade visrec"):
            use(store)
    assert snapshot(store) == before


MENDS = "`visrec index CATALOG` mends it"
RECLAIMS = "only older generations use it, which `visrec gc` removes"


@pytest.mark.parametrize(
    ("name", "helps"),
    [
        ("items/000002.sqlite", MENDS),
        ("skipped/000002.jsonl", MENDS),
        ("attributes/000002.bin", MENDS),
        ("indexes/flat-000002/positions.npy", MENDS),
        ("items/000001.sqlite", RECLAIMS),
        ("attributes/000001.bin", RECLAIMS),
        ("indexes/flat-000001/positions.npy", RECLAIMS),
        ("generations/000001.json", "`visrec gc` removes its generation"),
    ],
)
def test_what_helps_is_said_of_each_damaged_file(store, name, helps):
    path = store / name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    (sentence,) = verify(store)
    assert sentence.startswith(f"{path} was altered")
    assert sentence.endswith(f"; {helps}")


def test_of_current_no_more_is_read_than_it_has(store):
    (store / "CURRENT").unlink()
    (store / "CURRENT").symlink_to("/dev/zero")
    with pytest.raises(StoreDamaged, match="CURRENT is damaged"):
        Store.open(store)
    (store / "CURRENT").unlink()
    with (store / "CURRENT").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StoreDamaged, match="CURRENT is damaged"):
        Store.open(store)


def test_a_manifest_that_describes_another_generation_is_damaged(store):
    path = store / "generations/000001.json"
    path.write_bytes((store / "generations/000002.json").read_bytes())
    assert list(verify(store)) == [f"{path} describes generation 2; `visrec gc` removes its generation"]


@pytest.mark.parametrize("name", ["shards/*/shard.json", "indexes/flat-000002/index.json", None])
def test_another_file_with_a_checksum_is_no_manifest(store, name):
    path = store / "generations/000001.json"
    path.write_bytes(min(store.glob(name)).read_bytes() if name else dump_checksummed({"a": 1}))
    (sentence,) = verify(store)
    assert sentence == f"{path} was altered, or another file took its place; `visrec gc` removes its generation"


@pytest.mark.parametrize("name", ["skipped/000003.jsonl", "attributes/000003.bin"])
@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"?", lambda data: data[: len(data) // 2]])
def test_the_next_run_mends_with_a_word_what_is_derived_from_items(store, name, change, caplog):
    shop = shop_of(4)
    shop.put("broken", "broken.jpg")
    shop.files["broken.jpg"] = NO_IMAGE
    index(shop, store)
    before = (store / name).read_bytes()
    (store / name).write_bytes(change(before))
    assert index(shop, store).generation == 3
    assert (store / name).read_bytes() == before
    assert list(verify(store)) == []
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{store / name} ")
    assert warning.endswith("; it is written again")


def test_columns_that_are_gone_are_written_where_the_disk_cannot_even_say_so(store, monkeypatch):
    shop, path = shop_of(4), store / "attributes/000003.bin"
    index(shop, store)
    before = path.read_bytes()
    path.unlink()
    real, refused = np.memmap, []

    def refuse_once(file, *args):
        if file == path and not refused:
            refused.append(file)
            raise OSError(5, "Input/output error")
        return real(file, *args)

    monkeypatch.setattr(np, "memmap", refuse_once)
    index(shop, store)
    assert refused
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 5000), lambda path: path.unlink()])
def test_items_that_cannot_be_opened_come_from_the_catalog_again(store, damage, caplog):
    shop = shop_of(4)
    index(shop, store)
    items = store / "items/000003.sqlite"
    damage(items)
    with pytest.raises(StoreDamaged, match=f"{items} cannot be read"):
        garbage_collect(store)
    report = index(shop, store)
    assert (report.generation, report.embedded, report.items) == (4, 0, 4)
    assert content(store) == wanted(shop)
    assert re.search(rf"{items} (was altered|cannot be read).*; every image is read again", caplog.text)
    garbage_collect(store)
    assert list(verify(store)) == []
