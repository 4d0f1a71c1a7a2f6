"""docs/formats.md describes stores well enough to read them by that page alone, and it leaves nothing out."""

import ast
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vision_recs.indexes import ExactIndex
from vision_recs.store import Store, canary_vector
from vision_recs.types import SearchRequest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "formats.md").read_text("utf-8")
FIXTURE = HERE / "v1"
STORES = sorted(path.parent for path in FIXTURE.glob("*/CURRENT"))
READER = HERE / "reader.py"


def read_by_the_page(store):
    """Return what the reader finds in *store*, in a process that knows nothing of visrec."""
    done = subprocess.run(
        [sys.executable, "-I", READER, store], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=STORES, ids=lambda path: path.name)
def both(request):
    """A store as visrec opens it, and what the reader finds in it."""
    with Store.open(request.param) as store:
        yield store, read_by_the_page(request.param)


def test_the_reader_uses_nothing_of_visrec():
    tree = ast.parse(READER.read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    outside = {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}
    assert outside == {"numpy", "pyarrow.parquet"}


def test_items_images_and_skipped_ones_are_those_that_visrec_reads(both):
    store, found = both
    assert list(found["items"]) == store.ids()
    for item, (attributes, images) in found["items"].items():
        assert attributes == store.attributes(item)
        assert [(image, found["digests"][str(position)], own) for image, position, own in images] == [
            (each.image, each.digest, each.attributes) for each in store.images(item)
        ]
    assert [tuple(each) for each in found["skipped"]] == [each[:4] for each in store.items.skipped()]


def test_vectors_are_those_that_visrec_reads_also_through_a_projection(both):
    store, found = both
    positions = sorted(map(int, found["vectors"]))
    assert positions == store.positions().tolist()
    vectors = np.array([found["vectors"][str(position)] for position in positions])
    np.testing.assert_allclose(vectors, store.vectors(store.positions()), rtol=0, atol=1e-7)
    assert found["space"] == store.manifest.space == found["manifest"]["space"]
    canary = np.array(found["canary"])
    np.testing.assert_allclose(canary / np.linalg.norm(canary), canary_vector(store.manifest.canary), atol=1e-6)


def test_a_search_finds_what_visrec_finds(both):
    store, found = both
    positions = store.positions()
    results = ExactIndex(store).search(SearchRequest(store.vectors(positions), k=5))
    for position, matches in zip(positions.tolist(), results, strict=True):
        by_page = found["search"][str(position)]
        assert [score for *_, score in by_page] == pytest.approx([match.score for match in matches], abs=2.0**-22)
        assert [(item, image) for item, image, _ in by_page] == [(match.id, match.image) for match in matches]


def test_attribute_columns_hold_the_attributes_of_the_items(both):
    store, found = both
    for (positions, attributes), item in zip(found["columns"]["items"], store.ids(), strict=True):
        expected = {name: value for name, value in store.attributes(item).items() if value is not None}
        assert attributes == {name: "something else" if name == "tags" else value for name, value in expected.items()}
        assert positions == [position for _, position, _ in found["items"][item][1]]
    assert found["columns"]["types"] == {name: held.value for name, held in store.attribute_types().items()}


def test_shards_say_what_was_embedded_and_indexes_what_they_hold(both):
    store, found = both
    digests = {int(position): digest for position, digest in found["digests"].items()}
    for _, _, digest, outcome in found["embedded"]:
        assert digests.get(outcome, digest) == digest
    assert {digest for *_, digest, outcome in found["embedded"] if outcome in digests} == {*digests.values()}
    assert found["positions"] == store.positions().tolist()
    assert (found["index"]["space"], found["index"]["dim"]) == (store.fingerprint, store.dim)
    pending = store.manifest.index_pending
    assert found["index"]["vectors"] == len(found["positions"]) - pending.added_count + pending.removed_count


def test_the_fixture_has_what_is_hard_to_read():
    found = {store.name: read_by_the_page(store) for store in STORES}
    assert [each["index"]["type"] for each in found.values()] == ["flat", "hnsw", "ivf-pq", "flat", "flat"]
    assert [bool(each["provenance"]) for each in found.values()] == [False, False, False, False, True]
    assert found["lagging"]["manifest"]["index_pending"] == {"added": [[200, 201]], "removed": [[0, 1]]}
    assert all(found[name]["manifest"]["shards"][0]["deleted"] for name in ("hnsw", "ivf-pq"))
    assert found["flat"]["columns"]["types"] == {"name": 1, "price": 3, "stock": 4, "code": 2, "tags": 0}
    assert found["flat"]["items"]["vase"][0]["code"] == 2**60 + 1
    assert {reason for *_, reason, _ in found["flat"]["skipped"]} == {"missing", "not-an-image", "zero-vector"}
    assert sum(path.stat().st_size for path in FIXTURE.rglob("*")) < 1_100_000


def keys_of(value):
    """Return the keys of a value of JSON, but not the names of files, of attributes and of FAISS."""
    if isinstance(value, list):
        return {key for each in value for key in keys_of(each)}
    if not isinstance(value, dict):
        return set()
    return {*value} | {key for name, each in value.items() if name not in ("files", "types") for key in keys_of(each)}


def footer_keys(data):
    footer = json.loads(data[-48 - int.from_bytes(data[-48:-40], "little") : -48])
    arrays = {name for group in footer["groups"] for each in group["attributes"].values() for name in each}
    groups = [{**group, "attributes": {}} for group in footer["groups"]]
    return keys_of({**footer, "groups": groups}) | arrays


def sqlite_names(path):
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master") if "sqlite_" not in name}
        columns = {row[1] for name in names for row in connection.execute(f"PRAGMA table_info({name})")}
    return names | columns


def safetensors_keys(data):
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return keys_of(header) | keys_of(json.loads(header["__metadata__"]["provenance"]))


def parquet_names(path):
    schema = pq.read_schema(path)
    return {*schema.names} | {key.decode() for key in schema.metadata or {} if key != b"ARROW:schema"}


def npz_names(path):
    with np.load(path) as arrays:
        return {*arrays.files}


KEYS_IN = {
    ".json": lambda path: keys_of(json.loads(path.read_bytes())),
    ".jsonl": lambda path: {key for line in path.read_bytes().splitlines() for key in keys_of(json.loads(line))},
    ".csv": lambda path: {*path.read_text("utf-8").partition("\n")[0].replace('"', "").split(",")},
    ".parquet": parquet_names,
    ".sqlite": sqlite_names,
    ".npz": npz_names,
    ".bin": lambda path: footer_keys(path.read_bytes()),
    ".safetensors": lambda path: safetensors_keys(path.read_bytes()),
}


SINCE = {"shown", "shown_ends"}
"""Arrays of the columns that were added since the fixture was made: it is read without them."""


def name_on_the_page(path):
    """Return what the page calls the file *path* of the fixture."""
    first, *rest = path.relative_to(FIXTURE).parts
    if first == "neighbors":
        return "OUT.about.json" if path.name.endswith(".about.json") else path.suffix
    if first == "vectors":
        return path.name
    if rest[0] in ("indexes", "shards"):
        return re.sub(r"^\d+\.", "0.", rest[-1])
    name = re.sub(r"[0-9a-f]{64}", "<digest>", "/".join(rest))
    return re.sub(r"\d{6}", "000007", name)


def contents(folder):
    """Return, for each kind of file in the fixture *folder*, the keys in it."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.setdefault(name_on_the_page(FIXTURE / path.relative_to(folder)), set()).update(
            KEYS_IN.get(path.suffix, lambda _: set())(path)
        )
    return found


def test_the_page_names_every_file_and_every_key_of_the_fixture():
    code = re.findall(r"`([^`\n]+)`", PAGE)
    words = {word for text in code for word in re.findall(r"\w+", text)}
    found = contents(FIXTURE)
    assert len(found) == 36
    assert [name for name in found if name not in code and f"{name}" not in " ".join(code)] == []
    missing = {name: sorted(keys - words) for name, keys in found.items() if keys - words}
    assert missing == {}


def test_a_fixture_that_is_made_today_has_the_same_files_and_keys(tmp_path):
    command = [sys.executable, HERE / "make_fixture.py", tmp_path / "v1", tmp_path / "made"]
    paths = f"{HERE.parents[1]}:{HERE.parent / 'support'}"
    done = subprocess.run(
        command, env={"PYTHONPATH": paths, "PATH": ""}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert " in " in done.stdout.splitlines()[-1]
    expected = contents(FIXTURE)
    expected["attributes/000007.bin"] |= SINCE
    assert contents(tmp_path / "v1") == expected
    assert all(f"`{name}`" in PAGE for name in SINCE)


def test_the_example_of_a_checksum_is_right():
    from vision_recs.file_formats import dump_checksummed

    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert dump_checksummed({"b": 1, "d": 2}).decode() == example
