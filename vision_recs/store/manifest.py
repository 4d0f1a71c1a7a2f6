"""The manifest: one immutable, checksummed JSON file that says all that a generation is made of."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vision_recs.checksummed_json import dump_checksummed, load_checksummed
from vision_recs.errors import UnknownFormat
from vision_recs.store.projections import fingerprint_of
from vision_recs.types import EncoderSpec, Vectors
from vision_recs.vectors import normalize_or_raise

FORMAT = 1
"""The version of the store's format that this visrec writes, and the newest that it reads."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard as one generation uses it.

    The vector in row *r* of the shard has the position `first + r`, in this and every later generation. *deleted* are
    the half-open ranges of rows that no image of this generation shows. *digests* maps file names to SHA-256.
    """

    name: str
    first: int
    rows: int
    deleted: tuple[tuple[int, int], ...]
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """Where the items came from, so that images can be shown and a rerun can compare."""

    location: str
    root: str


@dataclass(frozen=True, slots=True)
class ProjectionEntry:
    """The projection that a generation applies to its vectors: the SHA-256 of its file, and the columns it gives."""

    digest: str
    dim: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a generation is made of.

    *canary* is the vector that the encoder gave the built-in canary image, see `canary_text`. *weights_file* is the
    checkpoint that the user named, if any. *items_digest* and *skipped_digest* are SHA-256 of the files of the same
    generation. *created* is UTC, ISO 8601. *projection* is applied to the
    vectors as they are read. *index_config* is what the user wants of the index, and *index_stats* is what was measured
    when it was built or last updated; without an index there are no stats.
    """

    generation: int
    created: str
    visrec: str
    encoder: EncoderSpec
    weights_file: str | None
    catalog: CatalogEntry
    items: int
    images: int
    skipped: int
    shards: tuple[ShardEntry, ...]
    items_digest: str
    skipped_digest: str
    canary: str
    index_type: str
    projection: ProjectionEntry | None = None
    index_config: Mapping[str, Any] | None = None
    index_stats: Mapping[str, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """The space of the vectors as they are read: that of the encoder, unless there is a projection."""
        base = self.encoder.fingerprint
        return base if self.projection is None else fingerprint_of(base, self.projection.digest)

    @property
    def dim(self) -> int:
        """The number of columns of the vectors as they are read."""
        return self.encoder.dim if self.projection is None else self.projection.dim

    @property
    def recall_at_10(self) -> float:
        """The recall@10 that was measured; without an index every search is exact."""
        return float((self.index_stats or {}).get("recall_at_10", 1.0))

    def to_bytes(self) -> bytes:
        """Return the checksummed JSON text."""
        value = asdict(self)
        for name in ("projection", "index_config", "index_stats"):
            if value[name] is None:
                del value[name]
        return dump_checksummed({"format": FORMAT, **value})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return what `to_bytes` wrote; raises StoreDamaged, or UnknownFormat for one of a newer visrec."""
        value = load_checksummed(data)
        if value.pop("format", None) != FORMAT:
            raise UnknownFormat(
                f"the index was written by visrec {value.get('visrec')}, newer than this one; upgrade visrec"
            )
        shards = tuple(_shard_entry(entry) for entry in value["shards"])
        projection = value.get("projection")
        return cls(
            **{
                **value,
                "encoder": EncoderSpec.from_dict(value["encoder"]),
                "catalog": CatalogEntry(**value["catalog"]),
                "shards": shards,
                "projection": ProjectionEntry(**projection) if projection else None,
            }
        )


def canary_text(vector: Vectors) -> str:
    """Return one vector (dim,) as text: Base64 of little-endian float16."""
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def canary_vector(text: str) -> Vectors:
    """Return the unit vector (dim,) of which `canary_text` made *text*."""
    return normalize_or_raise(np.frombuffer(base64.b64decode(text), dtype="<f2").reshape(1, -1)).ravel()


def _shard_entry(value: Mapping[str, Any]) -> ShardEntry:
    deleted = tuple((first, last) for first, last in value["deleted"])
    return ShardEntry(**{**value, "deleted": deleted})
