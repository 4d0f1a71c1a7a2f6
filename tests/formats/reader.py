"""A reader of stores, made from docs/formats.md alone: it uses nothing of visrec.

python tests/formats/reader.py STORE    prints as JSON what the store holds
"""

import base64
import hashlib
import json
import re
import sqlite3
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


class Store:
    """The published generation of the store in a folder."""

    def __init__(self, root):
        self.root = Path(root)
        number, digest = (self.root / "CURRENT").read_text("ascii").split()
        self.generation = number
        data = self._read(f"generations/{number}.json", digest)
        self.manifest = checksummed(data)
        assert self.manifest["format"] == 1
        self.items = {}  # id -> (attributes, [(image, position, attributes)])
        self.digest_of = {}  # position -> digest of the image
        for entry in self.manifest["items_files"]:
            path = f"items/{entry['generation']:06d}.sqlite"
            self._read(path, entry["digest"])
            self._read_items(self.root / path)
        self.vector_of = {}  # position -> unit vector
        self._read_vectors()

    def _read(self, path, digest):
        data = (self.root / path).read_bytes()
        assert sha256(data) == digest, path
        return data

    def _read_items(self, path):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as items:
            for (item,) in items.execute("SELECT item_id FROM changed"):
                self.items.pop(item, None)
            for item, attributes in items.execute("SELECT item_id, attributes FROM items"):
                self.items[item] = (json.loads(attributes), [])
            query = "SELECT item_id, image, position, attributes FROM images ORDER BY item_id, ordinal"
            for item, image, position, attributes in items.execute(query):
                self.items[item][1].append((image, position, json.loads(attributes)))
            vectors = items.execute("SELECT position, digest FROM vectors")
            self.digest_of |= {position: digest.hex() for position, digest in vectors}
        self.items = dict(sorted(self.items.items()))

    def _read_vectors(self):
        for entry in self.manifest["shards"]:
            folder = self.root / "shards" / entry["name"]
            data = (folder / "shard.json").read_bytes()
            assert sha256(data)[:32] == entry["name"]
            shard = checksummed(data)
            vectors = npy(self._read(folder / "vectors.npy", shard["files"]["vectors.npy"]))
            assert vectors.shape == (entry["rows"], shard["dim"]) == (shard["rows"], self.manifest["encoder"]["dim"])
            gone = {row for first, stop in entry["deleted"] for row in range(first, stop)}
            for row in range(entry["rows"]):
                if row not in gone:
                    self.vector_of[entry["first_position"] + row] = self._as_read(unit(vectors[row]))

    def _as_read(self, vector):
        if "projection" not in self.manifest:
            return vector
        mean, matrix, _ = self.projection()
        return unit((vector.astype(np.float64) - mean) @ matrix.astype(np.float64))

    def projection(self):
        """Return mean, matrix and where they come from."""
        digest = self.manifest["projection"]["digest"]
        data = self._read(f"projections/{digest}.safetensors", digest)
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])

        def tensor(name):
            first, last = header[name]["data_offsets"]
            assert header[name]["dtype"] == "F32"
            return np.frombuffer(data[start + first : start + last], "<f4").reshape(header[name]["shape"])

        return tensor("mean"), tensor("matrix"), json.loads(header["__metadata__"]["provenance"])

    def skipped(self):
        """Return (id, image, reason, message) of each skipped image."""
        found = {}
        for entry in self.manifest["items_files"]:
            name = f"{entry['generation']:06d}"
            data = self._read(f"skipped/{name}.jsonl", entry["skipped_digest"])
            place = (self.root / f"items/{name}.sqlite").absolute()
            with closing(sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)) as items:
                for (item,) in items.execute("SELECT item_id FROM changed"):
                    found.pop(item, None)
            for line in map(json.loads, data.decode().splitlines()):
                found.setdefault(line["item_id"], []).append(
                    [line[name] for name in ("item_id", "image", "reason", "message")]
                )
        return [line for item in sorted(found) for line in found[item]]

    def embedded(self):
        """Return (id, image, digest, position or reason) of each row of the shards."""
        found = []
        for entry in self.manifest["shards"]:
            for row in pq.read_table(self.root / "shards" / entry["name"] / "images.parquet").to_pylist():
                outcome = row["reason"] if row["row"] is None else entry["first_position"] + row["row"]
                found.append([row["item_id"], row["image"], row["digest"].hex(), outcome])
        return found

    def columns(self):
        """Return the attributes of each item, and the positions of its images, as the columns have them."""
        files = [self._columns(entry) for entry in self.manifest["items_files"]]
        types, items = {}, {}
        for number, (entry, file) in enumerate(zip(self.manifest["items_files"], files, strict=True)):
            gone = {item for later in files[number + 1 :] for item in later["replaced"][entry["digest"]]}
            items |= {item: held for place, (item, *held) in enumerate(file["items"]) if place not in gone}
            for name, kinds in file["types"].items():
                types[name] = types.get(name, 0) | kinds
        return {"types": types, "items": [items[item] for item in sorted(items)]}

    def _columns(self, entry):
        data = (self.root / f"attributes/{entry['generation']:06d}.bin").read_bytes()
        length, digest, name = int.from_bytes(data[-48:-40], "little"), data[-40:-8], data[-8:]
        footer = data[-48 - length : -48]
        assert (name, hashlib.sha256(footer).digest()) == (b"visrec A", digest)
        footer = json.loads(footer)
        assert footer["format"] == 1
        assert footer["items_digest"] == entry["digest"]
        assert footer["data_digest"] == sha256(data[: -48 - length])

        def arrays(extents):
            assert all(offset % 64 == 0 for _, offset, _ in extents.values())
            return {name: np.frombuffer(data, kind, count, offset) for name, (kind, offset, count) in extents.items()}

        items = []
        for group in footer["groups"]:
            own = arrays(group["arrays"])
            counts = own.get("image_counts", np.ones(group["items"], int)).tolist()
            starts = np.cumsum([0, *counts])
            attributes = [{} for _ in range(group["items"])]
            for name, extents in group["attributes"].items():
                for number, value in values(arrays(extents), group["items"]):
                    attributes[number][name] = value
            ids = texts(own["ids"], own["id_ends"])
            items += [
                [item, own["positions"][start : start + count].tolist(), known]
                for item, start, count, known in zip(ids, starts.tolist(), counts, attributes, strict=False)
            ]
        replaced = {digest: arrays({"items": extent})["items"].tolist() for digest, extent in footer["replaced"]}
        return {"types": footer["types"], "items": items, "replaced": replaced}

    def search(self, position, k):
        """Return (id, image, score) of the *k* images nearest to the vector at *position*, of all items."""
        found = []
        for item, (_, images) in self.items.items():
            for image, other, _ in images:
                found.append((-score(self.vector_of[position], self.vector_of[other]), item, image))
        return [[item, image, -value] for value, item, image in sorted(found)[:k]]

    def space(self):
        """Return the space that the encoder and the projection define."""
        text = json.dumps(self.manifest["encoder"], sort_keys=True, separators=(",", ":"))
        space = sha256(text.encode())[:16]
        if "projection" in self.manifest:
            space = sha256(f"{space} {self.manifest['projection']['digest']}".encode())[:16]
        return space

    def canary(self):
        """Return the vector of the canary image."""
        return np.frombuffer(base64.b64decode(self.manifest["canary"]), "<f2")

    def index(self):
        """Return the manifest of the index, and the positions that it finds, ascending; with what waits for it."""
        folder = self.root / "indexes" / f"{self.manifest['index_type']}-{self.manifest['index_generation']:06d}"
        manifest = checksummed((folder / "index.json").read_bytes())
        assert {path.name for path in folder.iterdir()} == {"index.json", *manifest["files"]}
        data = {name: self._read(folder / name, entry["sha256"]) for name, entry in manifest["files"].items()}
        assert {name: len(content) for name, content in data.items()} == {
            name: entry["size"] for name, entry in manifest["files"].items()
        }
        deleted = npy(data["deleted.npy"]).tolist() if "deleted.npy" in data else []
        if manifest["type"] == "ivf-pq":
            segments = [name for name in data if name.endswith(".positions.npy")]
            positions = {position for name in segments for position in npy(data[name]).tolist()} - {*deleted}
        else:
            names = [name for name in ("positions.npy", "delta.positions.npy") if name in data]
            known = [position for name in names for position in npy(data[name]).tolist()]
            positions = [position for ordinal, position in enumerate(known) if ordinal not in deleted]
        pending = self.manifest.get("index_pending", {"added": [], "removed": []})
        added, removed = ({*each} for each in map(positions_in, (pending["added"], pending["removed"])))
        assert removed <= {*positions}
        assert not added & {*positions}
        return manifest, sorted({*positions} - removed | added)


def positions_in(ranges):
    return [position for first, stop in ranges for position in range(first, stop)]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def checksummed(data):
    """Return a JSON object after its checksum was compared."""
    value = json.loads(data)
    line = f' "checksum": "{value.pop("checksum")}"'
    text = data.decode()
    text = text.replace(f"{line},\n", "") if f"{line},\n" in text else text.replace(f",\n{line}\n", "\n")
    assert json.loads(data)["checksum"] == sha256(text.encode())
    return value


def npy(data):
    """Return the array of a .npy file."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:start].decode("ascii")
    kind, shape = re.fullmatch(r"\{'descr': '(.*)', 'fortran_order': False, 'shape': \((.*)\), \} *\n", header).groups()
    return np.frombuffer(data[start:], kind).reshape([int(part) for part in shape.split(",") if part.strip()])


def unit(vector):
    """Return the vector of length 1, as float32."""
    wide = vector.astype(np.float64)
    return (wide / np.sqrt(np.sum(wide * wide))).astype(np.float32)


def score(one, other):
    """Return the cosine of two unit vectors."""
    cosine = float(np.sum(one.astype(np.float64) * other.astype(np.float64)))
    return max(-1.0, min(1.0, round(cosine * 2**24) / 2**24))


def values(arrays, count):
    """Yield (item, value) of an attribute of *count* items of a group, but for what is null."""
    exact = dict(zip(arrays.get("int64_places", []), arrays.get("int64_values", []), strict=True))
    for place, number in enumerate(arrays.get("items", np.arange(count)).tolist()):
        kind = int(arrays["kinds"][place])
        if kind == 1:
            code = int(arrays["codes"][place])
            start = int(arrays["dictionary_ends"][code - 2]) if code > 1 else 0
            stop = int(arrays["dictionary_ends"][code - 1])
            yield number, arrays["dictionary"][start:stop].tobytes().decode()
        elif kind == 2:
            yield number, int(exact[place]) if place in exact else float(arrays["numbers"][place])
        elif kind:
            yield number, {3: False, 4: True, 5: "something else"}[kind]


def texts(data, ends):
    """Return the texts that end at *ends* of the bytes *data*."""
    return [data[start:stop].tobytes().decode() for start, stop in pairwise([0, *ends.tolist()])]


def everything(root):
    """Return all that the reader finds in the store in *root*, as values of JSON."""
    store = Store(root)
    index, positions = store.index()
    projection = store.projection() if "projection" in store.manifest else None
    return {
        "manifest": store.manifest,
        "space": store.space(),
        "canary": store.canary().tolist(),
        "items": store.items,
        "digests": store.digest_of,
        "vectors": {position: vector.tolist() for position, vector in store.vector_of.items()},
        "skipped": store.skipped(),
        "embedded": store.embedded(),
        "columns": store.columns(),
        "provenance": projection and projection[2],
        "index": index,
        "positions": positions,
        "search": {position: store.search(position, 5) for position in store.vector_of},
    }


if __name__ == "__main__":
    found = everything(sys.argv[1])
    assert not [name for name in sys.modules if name.startswith(("vision_recs", "visrec"))]
    json.dump(found, sys.stdout)
