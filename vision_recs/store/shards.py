"""Shards: immutable folders of vectors, named by what they hold.

`vectors.npy` is a NumPy file (format 1.0) of little-endian float16, C order, one unit vector a row. `rows.parquet` has
one row for each image that was planned, in the order of the plan: id, image, digest (32 bytes), vector (the row of
vectors.npy, or null), reason and message (null, unless the image could not be used).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged
from vision_recs.store.files import publish_folder, sha256_file
from vision_recs.store.layout import ROWS_FILE, VECTORS_FILE, Layout
from vision_recs.store.vectors import map_vectors
from vision_recs.types import EncoderSpec


class Embedded(NamedTuple):
    """An image that was planned, and what became of it: the row of its vector, or why there is none."""

    id: str
    image: str
    digest: bytes
    vector: int | None
    reason: str | None = None
    message: str | None = None


def shard_name(fingerprint: str, planned: Iterable[tuple[bytes, str]]) -> str:
    """Return the name of the shard that holds the images *planned* (digest, id), in that order, in that space."""
    digest = hashlib.sha256(fingerprint.encode())
    for image, item in planned:
        text = item.encode("utf-8", "surrogatepass")
        digest.update(image + len(text).to_bytes(4, "little") + text)
    return digest.hexdigest()[:32]


def write_shard(layout: Layout, fingerprint: str, embedded: Sequence[Embedded], vectors: NDArray[np.floating]) -> str:
    """Write a shard durably and return its name; *vectors* are unit rows, and as many as *embedded* names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = shard_name(fingerprint, ((image.digest, image.id) for image in embedded))
    made = layout.tmp / name
    made.mkdir()
    np.save(made / VECTORS_FILE, vectors.astype("<f2"), allow_pickle=False)
    columns = {
        "id": pa.array([image.id for image in embedded], pa.string()),
        "image": pa.array([image.image for image in embedded], pa.string()),
        "digest": pa.array([image.digest for image in embedded], pa.binary(32)),
        "vector": pa.array([image.vector for image in embedded], pa.int32()),
        "reason": pa.array([image.reason for image in embedded], pa.string()),
        "message": pa.array([image.message for image in embedded], pa.string()),
    }
    table = pa.table(columns).replace_schema_metadata({"visrec.fingerprint": fingerprint})
    pq.write_table(table, made / ROWS_FILE)
    publish_folder(made, layout.shard(name))
    return name


def read_shard(folder: Path, spec: EncoderSpec) -> list[Embedded]:
    """Return the images of the shard in *folder*, none where it is of another space than that of *spec*.

    Raises StoreDamaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / ROWS_FILE
    try:
        schema = pq.read_schema(path)
        if (schema.metadata or {}).get(b"visrec.fingerprint") != spec.fingerprint.encode():
            return []
        images = [Embedded(**row) for row in pq.read_table(path).to_pylist()]
        map_vectors(folder, rows=sum(image.vector is not None for image in images), dim=spec.dim)
    except (OSError, TypeError, ValueError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise StoreDamaged(f"the shard {folder} cannot be read ({reason}); delete it and run again") from error
    return images


def shard_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the shard in *folder*."""
    return {name: sha256_file(folder / name) for name in (ROWS_FILE, VECTORS_FILE)}
