"""Ledgers: what became of each image of a block, so that nobody has to read the block again.

A *block* is some images that one worker embeds as a whole. Its name is that of what is asked: the space, whether colors
are named, and the id, the name and the signature of each image. A ledger is a Parquet file with one row for each image
of the block, in its order: item_id, image, digest (32 bytes), signature, row (of the vectors of the shard), reason,
message, asked, and added. In asked is the signature that the image had when the block was made; where the encoder reads
attributes of items, a space and a digest of what it reads follow. In added is what the store adds to the attributes of
the image: see the module `added`. An image without a digest could not be read; one with neither a row nor a reason has
bytes that the store knew before. The metadata of the file name the block, the space, the shard, which is empty where
the block has no vector, how many vectors that has, and whether colors are named.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from vision_recs.errors import StoreDamaged, read_error
from vision_recs.store.atomic_files import fsync_path

_NAME_DIGITS = 32
_KEY = b"visrec"
_to_json = json.JSONEncoder(ensure_ascii=False).encode


class LedgerRow(NamedTuple):
    """What became of an image of a block; see the module."""

    id: str
    image: str
    digest: bytes | None
    signature: str | None
    row: int | None
    reason: str | None = None
    message: str | None = None
    asked: str | None = None
    added: str | None = None


class Ledger(NamedTuple):
    """A ledger: *shard* is empty where the *block* has no vector; the shard has *vectors* of the *space*."""

    block: str
    space: str
    shard: str
    vectors: int
    rows: list[LedgerRow]
    names_colors: bool = False

    def to_bytes(self) -> bytes:
        """Return the Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {"digest": pa.binary(32), "row": pa.int32()}
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(LedgerRow._fields)
        table = pa.table(
            {
                {"id": "item_id"}.get(name, name): pa.array(column, types.get(name, pa.string()))
                for name, column in zip(LedgerRow._fields, columns, strict=True)
            }
        )
        names = ("block", "space", "shard", "vectors", "names_colors")
        named = {name: getattr(self, name) for name in names}
        file = BytesIO()
        pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(named).encode()}), file)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> Ledger:
        """Return the ledger that `to_bytes` wrote; raises StoreDamaged, which names the place *where* it lies."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(BytesIO(data))
            named = json.loads(table.schema.metadata[_KEY])
            columns = table.to_pydict().values()
            rows = [LedgerRow(*row) for row in zip(*columns, strict=True)]
            return cls(**named, rows=rows)
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
            raise StoreDamaged(f"{where} is no ledger, or was altered; its block is embedded again") from error


def block_name(space: str, images: Iterable[tuple[str, str, str | None]], *, names_colors: bool = False) -> str:
    """Return the name of the block of *images*: of each the id of its item, its name and what is asked."""
    digest = hashlib.sha256(f"{space} colors".encode() if names_colors else space.encode())
    for image in images:
        digest.update(_to_json(image).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:_NAME_DIGITS]


def read_ledger(path: Path) -> Ledger | None:
    """Return the ledger in the file *path*, None where there is none; raises StoreDamaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise read_error(path, error) from error
    return Ledger.from_bytes(data, where=str(path))


def place_ledger(made: Path, target: Path) -> bool:
    """Move the finished file *made* to *target*, durably; return False where another process has put one there."""
    fsync_path(made)
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(made, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.EMLINK} or target.exists():
            raise
        made.replace(target)  # a file system without links: of two at the same moment, the last one stays
    fsync_path(target.parent)
    return True


def ledger_names(folder: Path) -> Sequence[str]:
    """Return the blocks that have a ledger in *folder*, sorted; none where there is no such folder."""
    return sorted(path.stem for path in folder.glob("*.parquet"))
