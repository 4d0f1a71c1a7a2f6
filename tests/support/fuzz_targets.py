"""What reads the files of a store and the images of strangers, each as a function of bytes, for a fuzzer.

A target returns, or raises VisionRecsError with one line. Where a checksum would keep bytes out, it is made again: what
lies behind is read, too.
"""

import atexit
import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from fake_shop import PREPROCESS

from vision_recs.errors import VisionRecsError
from vision_recs.feedback.current import read_current as read_events_current
from vision_recs.feedback.event_log import EventFolder, read_log
from vision_recs.feedback.model import read_model
from vision_recs.file_formats import dump_checksummed, load_checksummed
from vision_recs.filters import Filter
from vision_recs.images import decode, load, thumbnail
from vision_recs.indexes.base import read_manifest as read_index_manifest
from vision_recs.indexes.config import read_profile
from vision_recs.indexes.faiss_search import FaissCandidates
from vision_recs.indexes.flat import FlatIndexType
from vision_recs.indexes.holdout import HoldoutQueries
from vision_recs.indexes.ivf_search import IvfCandidates
from vision_recs.store.attributes.bitmaps import FilterBitmaps
from vision_recs.store.attributes.format import MAGIC, AttributeColumns
from vision_recs.store.bucket.lease import read_head
from vision_recs.store.bucket.listing import Listing
from vision_recs.store.items import Items
from vision_recs.store.layout import IMAGES_FILE, SHARD_FILE, VECTORS_FILE, Layout, read_current, read_manifest
from vision_recs.store.ledgers import Ledger
from vision_recs.store.projections import read_projection
from vision_recs.store.shards import ShardInfo, read_images, read_shard_info
from vision_recs.store.vectors import map_vectors

FORMATS = Path(__file__).parents[1] / "formats/v1"
DIM = 12
WHOLE = 128
QUERIES = np.eye(DIM, dtype=np.float32)[:3]
FILTERS = [
    Filter.parse(text)
    for text in (
        "price < 20 or price is null",
        "name.contains('u') and not stock",
        "code > 1 or name in ['Mug', 'Vase']",
    )
]
FOLDER = Path(tempfile.mkdtemp(prefix="visrec-fuzz-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def written(data, name):
    """Write *data* to the file *name* of a folder of its own, in place of what was there, and return its path."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # the file before may still be mapped
    path.write_bytes(data)
    return path


def with_checksum(data):
    """Return JSON with the checksum that it should have; other bytes as they are."""
    try:
        value = json.loads(data)
        value.pop("checksum", None)
        return dump_checksummed(value)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return data


def image(data):
    load(data, PREPROCESS, max_pixels=1 << 20)
    thumbnail(decode(data, max_pixels=1 << 20), max_side=32)


def current(data):
    read_current(Layout(written(data, "current/CURRENT").parent))


def manifest(data):
    written(with_checksum(data), "manifest/generations/000001.json")
    read_manifest(Layout(FOLDER / "manifest"), 1)


def checksummed(data):
    load_checksummed(data)


def index_manifest(data):
    read_index_manifest(written(with_checksum(data), "index/index.json").parent)


def profile(data):
    _, found = read_profile(written(with_checksum(data), "profile/profile.json").parent)
    found.params_for(7)
    found.filtered_effort(0.3)


def items(data):
    opened = Items(written(data, "items/000001.sqlite"))
    with contextlib.closing(opened):
        for item in opened.ids()[:5]:
            opened.attributes(item)
            opened.images(item)
        rows = opened.rows(range(4), 3)
        opened.rows_where(range(4), 3, FILTERS[0])
        opened.positions(row.digest for several in rows.values() for row in several)
        opened.positions_where(FILTERS[1], below=10)
        opened.attribute_types()
        opened.skipped()
        list(opened.all_attributes())


def attributes(data):
    """The footer is what lies between `{"format"` and the last bracket; its length and digest are made again."""
    data = data[: -48 if data.endswith(MAGIC) else None]
    start = data.rfind(b'{"format"')
    body, footer = (data, b"") if start < 0 else (data[:start], data[start : data.rfind(b"}") + 1])
    trailer = len(footer).to_bytes(8, "little") + hashlib.sha256(footer).digest() + MAGIC
    columns = AttributeColumns(
        written(body + footer + trailer, "attributes/000001.bin"), items_digest=digest_of(footer)
    )
    bitmaps = FilterBitmaps(None, [columns], vectors=128)
    for where in FILTERS:
        bitmaps.select(where)


def digest_of(footer):
    try:
        return json.loads(footer)["items_digest"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


GRAPH = ("codes", "links", "offsets", "levels", "entry")
PARTS = {
    "flat": ("flat.faiss", "positions.npy"),
    "hnsw": (
        *(f"{graph}.{part}.npy" for graph in ("graph", "delta") for part in GRAPH),
        "positions.npy",
        "delta.positions.npy",
        "deleted.npy",
    ),
    "ivf-pq": ("0.codes.npy", "0.positions.npy", "0.offsets.npy", "1.offsets.npy", "deleted.npy"),
}
"""The files of an index that a fuzzer changes, one at a time. The others are compared with their digests."""


def folder_of(kind):
    """Return a copy of the index of *kind* of the fixture."""
    target = FOLDER / kind
    if not target.exists():
        (source,) = sorted((FORMATS / kind / "indexes").glob(f"{kind}-*"))[-1:]
        shutil.copytree(source, target)
    return target


@contextlib.contextmanager
def changed(kind, data):
    """Change a part of the index of *kind*, whose number is the first byte of *data*, counted from 128 or 0.

    From 128 on the other bytes take the place of the file, else those after the next two are written over it, at the
    place that the two name.
    """
    folder, parts = folder_of(kind), PARTS[kind]
    number, place, content = (*data[:1], 0)[0], int.from_bytes(data[1:3], "little"), data[3:]
    path = folder / parts[number % WHOLE % len(parts)]
    before = path.read_bytes()
    place %= len(before)
    try:
        path.unlink()
        path.write_bytes(data[1:] if number >= WHOLE else (before[:place] + content + before[place + len(content) :]))
        yield folder
    finally:
        path.unlink()
        path.write_bytes(before)


def flat(data):
    with changed("flat", data) as folder:
        index = FlatIndexType().open(SimpleNamespace(dim=DIM), folder)
        index.nearest(QUERIES, 2)
        index.nearest(QUERIES, 1, Chosen(range(0, 9, 2)))


def graph(data):
    search_candidates("hnsw", FaissCandidates, data, 20)


def lists(data):
    search_candidates("ivf-pq", IvfCandidates, data, 1)


def search_candidates(kind, candidates, data, effort):
    with changed(kind, data) as folder:
        found = candidates(folder)
        found.candidates(QUERIES, 4, effort)
        found.candidates(QUERIES, 4, effort, Chosen(range(0, 80, 3)))
        found.density(QUERIES, Chosen(range(30)))


class Chosen:
    """The part of a store that a filter leaves."""

    def __init__(self, positions):
        self._mask = np.zeros(80, np.bool_)
        self._mask[list(positions)] = True

    def mask(self):
        return self._mask

    def positions(self):
        return np.flatnonzero(self._mask)

    def count(self):
        return int(self._mask.sum())


def holdout(data):
    HoldoutQueries.load(written(data, "holdout/holdout.npz").parent)


def vectors(data):
    with contextlib.suppress(ValueError):  # of which `ShardVectors` makes StoreDamaged
        map_vectors(written(data, f"shard/{VECTORS_FILE}").parent, rows=4, dim=DIM).sum()


def shard_images(data):
    path = written(data, f"shard/{IMAGES_FILE}")
    read_images(path.parent, ShardInfo("", 4, DIM, {IMAGES_FILE: hashlib.sha256(data).hexdigest()}))


def projection(data):
    path = written(data, "projection.safetensors")
    read_projection(path, digest=hashlib.sha256(data).hexdigest(), dim=DIM).apply(QUERIES)


def model(data):
    read_model(written(data, "model.safetensors"), digest=hashlib.sha256(data).hexdigest())


def ledger(data):
    Ledger.from_bytes(data, where="ledger")


def shard_info(data):
    data = with_checksum(data)
    name = hashlib.sha256(data).hexdigest()[:32]
    read_shard_info(written(data, f"{name}/{SHARD_FILE}").parent)


def listing(data):
    Listing.from_bytes(with_checksum(data), where="listing").keys()


def head(data):
    read_head(SimpleNamespace(address="s3://shop", read=lambda _: (with_checksum(data), None)))


def event_log(data):
    list(read_log(written(data, "events/open/0.log")))


def events_current(data):
    written(b"", "events/SECRET")
    written(with_checksum(data), "events/CURRENT")
    list(read_events_current(EventFolder(FOLDER / "events")).files())


TARGETS = {
    function.__name__: (function, pattern)
    for function, pattern in (
        (image, None),
        (current, "*/CURRENT"),
        (manifest, "*/generations/*.json"),
        (checksummed, "*/*/*.json"),
        (index_manifest, "*/indexes/*/index.json"),
        (profile, "*/indexes/*/profile.json"),
        (items, "*/items/*.sqlite"),
        (attributes, "*/attributes/*.bin"),
        (flat, "flat"),
        (graph, "hnsw"),
        (lists, "ivf-pq"),
        (holdout, "*/indexes/*/holdout.npz"),
        (vectors, "*/shards/*/vectors.npy"),
        (shard_images, "*/shards/*/images.parquet"),
        (projection, "*/projections/*"),
        (model, None),
        (ledger, None),
        (shard_info, "*/shards/*/shard.json"),
        (listing, None),
        (head, None),
        (event_log, None),
        (events_current, None),
    )
}
"""The targets by name, and which files of the fixture are the seeds of each."""


def run(name, data):
    """Run the target *name*; an error that is not a sentence comes through."""
    try:
        TARGETS[name][0](data)
    except VisionRecsError as error:
        if "\n" in str(error).strip():
            raise AssertionError(f"more than a line: {error}") from error


def seeds(name):
    """Yield the seeds of the target *name*: files of the fixture, and the corpus."""
    pattern = TARGETS[name][1]
    if pattern in PARTS:
        folder = folder_of(pattern)
        for number, part in enumerate(PARTS[pattern]):
            yield bytes([number, 128, 0])
            yield bytes([WHOLE + number]) + (folder / part).read_bytes()
    elif pattern is not None:
        yield from (path.read_bytes() for path in sorted(FORMATS.glob(pattern)))
    corpus = Path(__file__).parents[1] / "fuzz/corpus" / name
    yield from (path.read_bytes() for path in sorted(corpus.glob("*")))
