"""Shards: immutable folders of vectors. The name of a shard is that of its content.

`vectors.npy` is a NumPy file (format 1.0) of little-endian float16, C order, one unit vector a row. `images.parquet`
has one row for each image that was to be embedded, in that order: item_id, image, digest (32 bytes), row (of
vectors.npy, or null), reason and message (null, unless the image could not be used), and added, a column that is
there where the store adds attributes to images: see the module `added`. `shard.json` holds the space, the
shape and the SHA-256 of both; the first 32 hexadecimal digits of its own SHA-256 are the name of the shard.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.file_formats import dump_checksummed, load_checksummed, save_npy
from vision_recs.store.added import added_text
from vision_recs.store.atomic_files import atomic_move_folder, atomic_remove, digest_problem, sha256_file
from vision_recs.store.layout import FORMAT, IMAGES_FILE, SHARD_FILE, VECTORS_FILE, Layout

_NAME_DIGITS = 32


class Embedded(NamedTuple):
    """An image that was to be embedded: the *row* of its vector, or the *reason* and *message* why it has none.

    *added* is what the store adds to the attributes of the image, or None.
    """

    id: str
    image: str
    digest: bytes
    row: int | None
    reason: str | None = None
    message: str | None = None
    added: str | None = None


class ShardInfo(NamedTuple):
    """What `shard.json` says: the space, the shape (rows, dim) of the vectors, and the SHA-256 of each file by name."""

    space: str
    rows: int
    dim: int
    files: Mapping[str, str]


def write_shard(layout: Layout, space: str, embedded: Sequence[Embedded], vectors: NDArray[np.floating]) -> str:
    """Write a shard durably and return its name; *vectors* are unit rows, one for each *row* that *embedded* names.

    A shard of that name that exists holds the same, unless it was damaged: then it is replaced.
    """
    made = layout.tmp / "shard"
    name = make_shard(made, space, embedded, vectors)
    place_shard(made, layout.shard(name))
    return name


def make_shard(folder: Path, space: str, embedded: Sequence[Embedded], vectors: NDArray[np.floating]) -> str:
    """Make *folder* a shard, see `write_shard`, and return the name that it has to get."""
    folder.mkdir()
    save_npy(folder / VECTORS_FILE, vectors.astype(np.float16))
    _write_images(folder / IMAGES_FILE, embedded)
    digests = {name: sha256_file(folder / name) for name in (IMAGES_FILE, VECTORS_FILE)}
    rows, dim = vectors.shape
    data = dump_checksummed({"format": FORMAT, "space": space, "rows": rows, "dim": dim, "files": digests})
    (folder / SHARD_FILE).write_bytes(data)
    return _name_of(data)


def place_shard(made: Path, target: Path) -> bool:
    """Move the folder *made*, a shard, to *target*; return False where another process has put the same there.

    The folder that holds *made* is one for work in progress, on the same file system.
    """
    if target.exists():
        if not any(shard_problems(target)):
            atomic_remove(made, made.parent)
            return False
        atomic_remove(target, made.parent)
    try:
        atomic_move_folder(made, target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        atomic_remove(made, made.parent)  # a twin of this process was faster, with the same bytes
        return False
    return True


def read_shard_info(folder: Path) -> ShardInfo:
    """Return what `shard.json` of the shard in *folder* says; raises StoreDamaged, also where the name is another."""
    path = folder / SHARD_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise read_error(path, error, remedy="") from error
    if _name_of(data) != folder.name:
        raise StoreDamaged(f"{path} was altered: its SHA-256 does not begin with the name of its folder")
    value = load_checksummed(data)
    found: list[Any] = [value.get(name) for name in ShardInfo._fields]
    if (
        not all(map(isinstance, found, (str, int, int, dict)))
        or not {IMAGES_FILE, VECTORS_FILE} <= value["files"].keys()
    ):
        raise StoreDamaged(f"{path} does not describe a shard")
    return ShardInfo(*found)


def shard_problems(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file of the shard in *folder* that is missing or altered; every byte is read."""
    try:
        files = read_shard_info(folder).files
    except StoreDamaged as error:
        yield str(error)
        return
    for name, digest in files.items():
        problem = digest_problem(folder / name, digest)
        if problem is not None:
            yield problem


def read_images(folder: Path, info: ShardInfo) -> list[Embedded]:
    """Return the images of the shard in *folder*, which *info* describes; raises StoreDamaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / IMAGES_FILE
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != info.files[IMAGES_FILE]:
            raise StoreDamaged(f"{path} was altered")
        columns = pq.read_table(BytesIO(data)).to_pydict()
        if "colors" in columns:  # of an early version: names separated by commas
            columns["colors"] = [each and added_text(colors=each.split(",")) for each in columns["colors"]]
        return [Embedded(*row) for row in zip(*columns.values(), strict=True)]
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        raise read_error(path, error) from error


def _write_images(path: Path, embedded: Sequence[Embedded]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "item_id": pa.array([image.id for image in embedded], pa.string()),
        "image": pa.array([image.image for image in embedded], pa.string()),
        "digest": pa.array([image.digest for image in embedded], pa.binary(32)),
        "row": pa.array([image.row for image in embedded], pa.int32()),
        "reason": pa.array([image.reason for image in embedded], pa.string()),
        "message": pa.array([image.message for image in embedded], pa.string()),
    }
    if any(image.added is not None for image in embedded):
        columns["added"] = pa.array([image.added for image in embedded], pa.string())
    with path.open("wb") as file:  # a path that is not UTF-8 is none for pyarrow, whose errors do not say why either
        pq.write_table(pa.table(columns), file)


def _name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_NAME_DIGITS]
