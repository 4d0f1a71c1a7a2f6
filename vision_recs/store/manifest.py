"""The manifest: one immutable, sealed JSON file that says all that a generation is made of."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vision_recs.errors import UnknownFormat
from vision_recs.sealed import seal, unseal
from vision_recs.store.projections import fingerprint_of
from vision_recs.types import EncoderSpec, Vectors, unit_rows

FORMAT = 1
"""The version of the store's format that this visrec writes, and the newest that it reads."""


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """A shard as one generation uses it.

    The vector in row *r* of the shard has the position `first + r`, in this and every later generation. *deleted* are
    the half-open ranges of rows that no picture of this generation shows. *digests* maps file names to SHA-256.
    """

    name: str
    first: int
    rows: int
    deleted: tuple[tuple[int, int], ...]
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """Where the items came from, so that pictures can be shown and a rerun can compare."""

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

    *probe* is the vector that the encoder gave the built-in probe picture, see `probe_text`. *weights_file* is the
    checkpoint that the user named, if any. *items_digest* and *skipped_digest* are SHA-256 of the files of the same
    generation. *created* is UTC, ISO 8601. *recall_at_10* was measured when *engine* was built. *projection* is applied
    to the vectors as they are read. *index* says what was wished of the engine and what was measured of it.
    """

    generation: int
    created: str
    visrec: str
    encoder: EncoderSpec
    weights_file: str | None
    catalog: CatalogEntry
    items: int
    pictures: int
    skipped: int
    shards: tuple[ShardEntry, ...]
    items_digest: str
    skipped_digest: str
    probe: str
    engine: str
    recall_at_10: float
    projection: ProjectionEntry | None = None
    index: Mapping[str, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """The space of the vectors as they are read: that of the encoder, unless there is a projection."""
        base = self.encoder.fingerprint
        return base if self.projection is None else fingerprint_of(base, self.projection.digest)

    @property
    def dim(self) -> int:
        """The number of columns of the vectors as they are read."""
        return self.encoder.dim if self.projection is None else self.projection.dim

    def to_bytes(self) -> bytes:
        """Return the sealed JSON text."""
        value = asdict(self)
        for name in ("projection", "index"):
            if value[name] is None:
                del value[name]
        return seal({"format": FORMAT, **value})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Return what `to_bytes` wrote; raises StoreDamaged, or UnknownFormat for one of a newer visrec."""
        value = unseal(data)
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


def probe_text(vector: Vectors) -> str:
    """Return one vector (dim,) as text: Base64 of little-endian float16."""
    return base64.b64encode(vector.astype("<f2").tobytes()).decode()


def probe_vector(text: str) -> Vectors:
    """Return the unit vector (dim,) of which `probe_text` made *text*."""
    return unit_rows(np.frombuffer(base64.b64decode(text), dtype="<f2").reshape(1, -1)).ravel()


def _shard_entry(value: Mapping[str, Any]) -> ShardEntry:
    deleted = tuple((first, last) for first, last in value["deleted"])
    return ShardEntry(**{**value, "deleted": deleted})
