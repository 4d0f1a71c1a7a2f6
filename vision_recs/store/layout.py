"""The files of a store: where they lie, and what the manifest of a generation says.

CURRENT                        the published generation and the SHA-256 of its manifest: the only file that is replaced
generations/000007.json        the manifest of a generation: encoder, shards, deleted vectors, digests, canary
items/000007.sqlite            all items, or those that changed (a delta): attributes, images, what was skipped
attributes/000007.bin          the attributes of these items by column, for filters; derived, may be deleted at any time
shards/<name>/vectors.npy      vectors, little-endian float16, readable by `numpy.load(mmap_mode="r")`
shards/<name>/images.parquet   the images that were embedded: item_id, image, digest, row, or why there is no vector
shards/<name>/shard.json       the space, the shape and the SHA-256 of the two files above; its own SHA-256 is the name
projections/<digest>.safetensors  what `visrec tune` learned: a linear map that is applied to vectors as they are read
models/<digest>.safetensors    what `visrec learn` learned of shoppers: it changes the order of answers, and no vector
indexes/<type>-000007/         an index, derived, which later generations may use too; may be deleted at any time
skipped/000007.jsonl           the images of these items that were skipped, and why
tmp/  LOCK                     work in progress, and the lock of the one writer
SUSPECTS                       which images a writer is decoding, in case that one of them ends it
ledgers/<block>.parquet        what became of each image of a block that a worker of a cluster embedded; until published
runs/<run>/                    work in progress of the workers of a run; who finds it gone, leaves nothing

`docs/formats.md` describes every file byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from vision_recs.errors import StoreDamaged, StoreNotFound, UnknownFormat, read_error
from vision_recs.file_formats import dump_checksummed, is_newer, load_checksummed
from vision_recs.store.partitions import LIST, making, no_store
from vision_recs.types import CompositePreprocess, EncoderSpec, Preprocess, PreprocessConfig, Vectors
from vision_recs.vectors import normalize_or_raise

FORMAT = 1
"""The version of the store's format that this visrec writes, and the newest version that it reads."""

VECTORS_FILE = "vectors.npy"
IMAGES_FILE = "images.parquet"
SHARD_FILE = "shard.json"

_LONGEST_CURRENT = 200  # bytes, some more than it has
_CURRENT = re.compile(rb"([0-9]{6,18}) ([0-9a-f]{64})\n")


class Layout(NamedTuple):
    """The paths of the store in the folder *root*."""

    root: Path

    @property
    def current(self) -> Path:
        """The file that names the published generation."""
        return self.root / "CURRENT"

    @property
    def lock(self) -> Path:
        """The file that the one writer locks."""
        return self.root / "LOCK"

    @property
    def suspects(self) -> Path:
        """The file that names the images which are being decoded; it is there while images are embedded."""
        return self.root / "SUSPECTS"

    @property
    def tmp(self) -> Path:
        """The folder of work in progress, on the same file system."""
        return self.root / "tmp"

    @property
    def ledgers(self) -> Path:
        """The folder of ledgers; it is there while workers of a cluster, or a run that was stopped, have left some."""
        return self.root / "ledgers"

    @property
    def runs(self) -> Path:
        """The folder of the work in progress of workers; it is there while they work."""
        return self.root / "runs"

    @property
    def generations(self) -> Path:
        """The folder of manifests."""
        return self.root / "generations"

    @property
    def shards(self) -> Path:
        """The folder of shards."""
        return self.root / "shards"

    @property
    def indexes(self) -> Path:
        """The folder of indexes."""
        return self.root / "indexes"

    @property
    def projections(self) -> Path:
        """The folder of projections."""
        return self.root / "projections"

    @property
    def models(self) -> Path:
        """The folder of models."""
        return self.root / "models"

    def manifest(self, generation: int) -> Path:
        """Return the manifest of *generation*."""
        return self.generations / f"{generation:06d}.json"

    def items(self, generation: int) -> Path:
        """Return the items file that was written with *generation*."""
        return self.root / "items" / f"{generation:06d}.sqlite"

    def attributes(self, generation: int) -> Path:
        """Return the attribute columns of the items file that was written with *generation*."""
        return self.root / "attributes" / f"{generation:06d}.bin"

    def skipped(self, generation: int) -> Path:
        """Return the list of the skipped images of the items file that was written with *generation*."""
        return self.root / "skipped" / f"{generation:06d}.jsonl"

    def shard(self, name: str) -> Path:
        """Return the folder of the shard *name*."""
        return self.shards / name

    def ledger(self, block: str) -> Path:
        """Return the ledger of *block*."""
        return self.ledgers / f"{block}.parquet"

    def projection(self, digest: str) -> Path:
        """Return the projection whose file has the SHA-256 *digest*."""
        return self.projections / f"{digest}.safetensors"

    def model(self, digest: str) -> Path:
        """Return the model whose file has the SHA-256 *digest*."""
        return self.models / f"{digest}.safetensors"

    def index_dir(self, index_type: str, generation: int) -> Path:
        """Return the folder of the index of *index_type* that was made from *generation*."""
        return self.indexes / f"{index_type}-{generation:06d}"

    def index_of(self, manifest: Manifest) -> Path | None:
        """Return the folder of the index by which the generation of *manifest* is searched; None without an index."""
        made_from = manifest.index_generation
        return None if made_from is None else self.index_dir(manifest.index_type, made_from)

    def folders(self) -> tuple[Path, ...]:
        """Return every folder of a store; `tmp` is there only while a writer works."""
        of_generations = (self.items(0).parent, self.attributes(0).parent, self.skipped(0).parent)
        learned = (self.projections, self.models)
        return (self.generations, self.shards, self.indexes, *learned, *of_generations, self.tmp)

    def known_generations(self) -> list[int]:
        """Return the generations that have a manifest, ascending."""
        return sorted(int(path.stem) for path in self.generations.glob("*.json") if path.stem.isdecimal())


def store_size(layout: Layout) -> int:
    """Return how many bytes the files of the store take, all generations together; a linked file counts once."""
    files = (path.stat() for path in layout.root.rglob("*") if path.is_file())
    return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard as one generation uses it.

    The shard has *rows* vectors. The one in row *r* has the position `first_position + r`, in this and every later
    generation. *deleted* are the half-open ranges of rows whose vectors no image of this generation has.
    """

    name: str
    first_position: int
    rows: int
    deleted: tuple[tuple[int, int], ...]

    @property
    def stop_position(self) -> int:
        """The first position after those of the shard."""
        return self.first_position + self.rows

    @property
    def in_use(self) -> int:
        """How many of the vectors the generation uses."""
        return self.rows - sum(stop - first for first, stop in self.deleted)


@dataclass(frozen=True, slots=True)
class ItemsEntry:
    """An items file as generations use it: that of the first entry is the base, the others are deltas.

    *generation* is the one with which the file was written, *digest* and *skipped_digest* are the SHA-256 of the items
    file and of the list of its skipped images, and *changed* says for how many items a delta replaces what the files
    before it say; it is 0 for the base.
    """

    generation: int
    digest: str
    skipped_digest: str
    changed: int = 0


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """Where the items came from, so that images can be shown and a rerun can compare.

    *relative_root* is the path of *root* from the folder of the store: the images are found there where they were moved
    together with the store. *remote* says how images at addresses are fetched, as `RemoteOptions.stored` gives it.
    """

    location: str
    root: str
    relative_root: str = ""
    remote: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectionEntry:
    """The projection of a generation: the SHA-256 of its file, and the number of columns of the projected vectors."""

    digest: str
    dim: int


Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Half-open ranges of positions, ascending, none of which touches another."""


@dataclass(frozen=True, slots=True)
class IndexPending:
    """How a generation differs from the one that its index was made from.

    *added* are the positions that came into use since, and *removed* those that went out of use.
    """

    added: Ranges = ()
    removed: Ranges = ()

    @property
    def added_count(self) -> int:
        """How many vectors the index lacks."""
        return sum(stop - first for first, stop in self.added)

    @property
    def removed_count(self) -> int:
        """How many vectors are in the index and not in use any more."""
        return sum(stop - first for first, stop in self.removed)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a generation is made of.

    *created* is UTC, ISO 8601. *store* is a random text that all generations of a store have, and no other store; it is
    empty in stores of early versions. *space* is the fingerprint of the vectors as they are read, see `space_of`.
    *weights_file* is the checkpoint that the user named, if any. *next_position* is the first position that no shard
    had, in this generation or an earlier one of the same encoder: a position is never used twice. *items_files*
    are the base and the deltas that the items are read from, oldest first. *canary* is the encoder's vector of the
    built-in canary image, see `canary_text`.
    *projection* is applied to the vectors as they are read. *model* is the SHA-256 of the model that `visrec learn`
    published, which changes the order of answers. *index_config* is what the user wants of the index, and
    *index_stats* was measured when the index was built or last updated; without an index there are no stats.
    *index_generation* is the generation from which the index was made: this one or an earlier one, which differs from
    this one by *index_pending*. It is None without an index. *partition* is which part of the catalog the store has,
    and of how many, see `partitions`; it is None for a store of the whole catalog. Where it *names_colors*, items have
    those of their images as the attribute `image_colors`. *detector* is the folder or the name of the detector that
    finds the products in the images, if one does. Of the *images*, *imageless* ones have no name: an item has them that
    has words alone.
    """

    generation: int
    created: str
    visrec: str
    space: str
    encoder: EncoderSpec
    weights_file: str | None
    catalog: CatalogEntry
    items: int
    images: int
    skipped: int
    shards: tuple[ShardEntry, ...]
    next_position: int
    items_files: tuple[ItemsEntry, ...]
    canary: str
    index_type: str
    projection: ProjectionEntry | None = None
    model: str | None = None
    index_config: Mapping[str, Any] | None = None
    index_stats: Mapping[str, Any] | None = None
    index_generation: int | None = None
    index_pending: IndexPending = IndexPending()
    store: str = ""
    partition: tuple[int, int] | None = None
    names_colors: bool = False
    imageless: int = 0
    detector: str | None = None

    @property
    def dim(self) -> int:
        """The number of columns of the vectors as they are read."""
        return self.encoder.dim if self.projection is None else self.projection.dim

    @property
    def items_digest(self) -> str:
        """What names the items, attributes and skipped images: a SHA-256 made of those of all items files."""
        return hashlib.sha256(" ".join(entry.digest for entry in self.items_files).encode()).hexdigest()

    @property
    def recall_at_10(self) -> float:
        """The recall@10 that was measured; without an index every search is exact."""
        return float((self.index_stats or {}).get("recall_at_10", 1.0))

    @property
    def shown_images(self) -> int:
        """How many images there are, without those of items that have words alone."""
        return self.images - self.imageless

    @property
    def in_index_delta(self) -> int:
        """How many vectors lie beside the others in the index, since they were added after it was built."""
        return int((self.index_stats or {}).get("in_delta", 0))

    def merged_since(self, before: Manifest | None) -> int:
        """Return how many vectors lay beside the others in the index of *before*, and lie among them now."""
        return 0 if before is None else max(0, before.in_index_delta - self.in_index_delta)

    def to_bytes(self) -> bytes:
        """Return the checksummed JSON text."""
        value = asdict(replace(self, shards=()))
        # `asdict` would copy each of their ranges by itself
        value["shards"] = [
            {"name": each.name, "first_position": each.first_position, "rows": each.rows, "deleted": each.deleted}
            for each in self.shards
        ]
        index = ("index_config", "index_stats", "index_generation", "index_pending")
        for name in ("projection", "model", "partition", "detector", *index):
            if value[name] is None or getattr(self, name) == IndexPending():
                del value[name]
        for name in ("store", "names_colors", "imageless"):
            if not value[name]:
                del value[name]
        if not self.catalog.remote:
            del value["catalog"]["remote"]
        if not self.encoder.focus:
            del value["encoder"]["focus"]
        return dump_checksummed({"format": FORMAT, **value})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return the manifest that `to_bytes` wrote; raises StoreDamaged, UnknownFormat for one of a newer visrec."""
        value = load_checksummed(data)
        if is_newer(value.pop("format", None), FORMAT):
            raise UnknownFormat(
                f"the store was written by visrec {value.get('visrec')}, newer than this one; upgrade visrec"
            )
        try:
            return cls._from_values(value)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise StoreDamaged("it does not describe a generation; restore it from a backup") from error

    @classmethod
    def _from_values(cls, value: dict[str, Any]) -> Manifest:
        projection = value.get("projection")
        value["encoder"] = encoder_spec(value["encoder"])
        value["catalog"] = CatalogEntry(**value["catalog"])
        value["shards"] = tuple(
            ShardEntry(**{**entry, "deleted": tuple(map(tuple, entry["deleted"]))}) for entry in value["shards"]
        )
        value["items_files"] = tuple(ItemsEntry(**entry) for entry in value["items_files"])
        value["projection"] = ProjectionEntry(**projection) if projection else None
        pending = value.get("index_pending", {})
        value["partition"] = tuple(value["partition"]) if value.get("partition") else None
        value["index_pending"] = IndexPending(**{name: tuple(map(tuple, ranges)) for name, ranges in pending.items()})
        return cls(**value)


def encoder_spec(value: Mapping[str, Any]) -> EncoderSpec:
    """Return the spec that `dataclasses.asdict` turned into *value*, also after a round trip through JSON."""
    preprocess = value["preprocess"]
    found: Preprocess
    if "parts" in preprocess:
        found = CompositePreprocess(tuple(map(_preprocess_config, preprocess["parts"])))
    else:
        found = _preprocess_config(preprocess)
    return EncoderSpec(**{**value, "preprocess": found})


def _preprocess_config(value: Mapping[str, Any]) -> PreprocessConfig:
    named: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}
    return PreprocessConfig(**named)


def space_of(encoder: EncoderSpec, projection: ProjectionEntry | None) -> str:
    """Return the fingerprint of the space of *encoder*, or of the space into which *projection* takes its vectors."""
    base = encoder.fingerprint
    return base if projection is None else hashlib.sha256(f"{base} {projection.digest}".encode()).hexdigest()[:16]


def canary_text(vector: Vectors) -> str:
    """Return one vector (dim,) as text: Base64 of little-endian float16."""
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def canary_vector(text: str) -> Vectors:
    """Return the unit vector (dim,) from which `canary_text` made *text*."""
    return normalize_or_raise(np.frombuffer(base64.b64decode(text), dtype="<f2").reshape(1, -1)).ravel()


def read_current(layout: Layout) -> tuple[int, str]:
    """Return the published generation and the SHA-256 of its manifest; raises StoreNotFound or StoreDamaged."""
    try:
        with layout.current.open("rb") as file:
            data = file.read(_LONGEST_CURRENT)  # whatever its size
    except (FileNotFoundError, NotADirectoryError):
        if layout.known_generations():
            raise StoreDamaged(
                f"{layout.current} is missing; run `{making(layout.root)}`, which goes on from the newest generation "
                "that is whole"
            ) from None
        if layout.root.is_file() or (layout.root / LIST).is_file():
            raise StoreNotFound(f"{layout.root} is a list of several stores, not a store; name one of them") from None
        raise no_store(layout.root) from None
    except OSError as error:
        raise read_error(layout.current, error) from error
    found = _CURRENT.fullmatch(data)
    if found is None:
        raise StoreDamaged(f"{layout.current} is damaged: it holds {data[:90]!r}; {_going_back(layout)}")
    return int(found[1]), found[2].decode()


def current_bytes(generation: int, manifest: bytes) -> bytes:
    """Return what CURRENT holds when *generation*, whose manifest file holds *manifest*, is published."""
    return f"{generation:06d} {hashlib.sha256(manifest).hexdigest()}\n".encode()


def read_manifest(layout: Layout, generation: int, digest: str | None = None) -> Manifest:
    """Return the manifest of *generation*.

    Raises StoreDamaged where the file is missing, was altered or does not have the SHA-256 *digest*.
    """
    path = layout.manifest(generation)
    remedy = "`visrec gc` removes its generation" if digest is None else _going_back(layout)
    try:
        data = path.read_bytes()
    except OSError as error:
        named = "" if digest is None else f", which {layout.current} names,"
        raise read_error(f"{path}{named}", error, remedy) from error
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise StoreDamaged(f"{path} is not the file that {layout.current} names; {remedy}")
    try:
        manifest = Manifest.from_bytes(data)
    except StoreDamaged as error:
        raise StoreDamaged(f"{path} was altered, or another file took its place; {remedy}") from error
    if manifest.generation != generation:
        raise StoreDamaged(f"{path} describes generation {manifest.generation}; {remedy}")
    return manifest


def _going_back(layout: Layout) -> str:
    """Return what helps where it is not known which generation is published, or what it is made of."""
    return (
        f"restore it from a backup, or remove {layout.current}: `visrec index CATALOG` then goes on from the newest "
        "generation that is whole"
    )
