"""`export`: the vectors of a store as Parquet files, for everything that reads Parquet."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np

from vision_recs.errors import StoreError
from vision_recs.store import Store, StoredRow
from vision_recs.store.atomic_files import atomic_move_file, disk_errors, make_durable_folder

_ROWS_PER_FILE = 65_536


def export(store: str | Path, directory: str | Path) -> int:
    """Write the vector of every image of *store* to *directory* and return how many there are.

    The files `part-00000.parquet` ... have the columns item_id (string), image (string) and vector (a fixed-size list
    of float32, of unit length), ordered by item_id. The folder is made where it does not exist; an earlier export
    in it is replaced. Raises StoreError where the folder holds anything else or cannot be written.
    """
    folder = Path(directory)
    with Store.open(store) as opened, disk_errors(folder):
        _clear(folder)
        return _write_all(opened, folder)


def _write_all(opened: Store, folder: Path) -> int:
    written = 0
    last = None
    for number in count():
        rows = opened.items.rows_after(last, _ROWS_PER_FILE)
        if not rows:
            return written
        _write(folder / f"part-{number:05d}.parquet", opened, rows)
        written += len(rows)
        last = rows[-1]
    return written


def _clear(folder: Path) -> None:
    """Make *folder*, or empty it of an earlier export."""
    make_durable_folder(folder)
    earlier = {*folder.glob("part-*.parquet"), *folder.glob("part-*.making")}  # the latter of one that was killed
    other = sorted(path.name for path in folder.iterdir() if path not in earlier)
    if other:
        raise StoreError(
            f"{folder} holds {other[0]!r}, which is not part of an export; name another folder with --export"
        )
    for path in earlier:
        path.unlink()


def _write(path: Path, store: Store, rows: list[StoredRow]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = store.vectors(np.array([row.position for row in rows], dtype=np.int64))
    columns = {
        "item_id": pa.array([row.id for row in rows], pa.string()),
        "image": pa.array([row.image for row in rows], pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), store.dim),
    }
    made = path.with_suffix(".making")
    with made.open("wb") as file:
        pq.write_table(pa.table(columns), file)
    atomic_move_file(made, path)
