"""Checkpoints: the lists that a stopped run has finished, so that the next run continues there.

The folder of a run holds `plan.json`, which says how the lists are made, and `000000000.parquet` and so on: the lists
of some items, named by the number of items before them. The files have the columns of the neighbors file; an item with
an empty list has one row, in which all but the item is null.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_recs.errors import StoreLocked
from vision_recs.store.atomic_files import FileLock, atomic_move_file, atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

_PLAN, _LOCK, _TMP = "plan.json", "LOCK", "tmp"


class Checkpoints:
    """The finished lists of one neighbors file, in a folder."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """Use what is in *folder* where it was made by the same *plan*; otherwise empty the folder."""
        self._folder = folder
        data = (json.dumps(plan, sort_keys=True, indent=1) + "\n").encode()
        known = folder / _PLAN
        if not known.is_file() or known.read_bytes() != data:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            atomic_write(data, known, _tmp(folder))

    @property
    def done(self) -> int:
        """The number of items whose lists are finished: the first ones."""
        import pyarrow.parquet as pq

        files = self._files()
        if not files:
            return 0
        with files[-1].open("rb") as file:
            return int(files[-1].stem) + int(pq.read_metadata(file).metadata[b"visrec.items"])

    def write(self, first: int, items: int, lists: pa.Table) -> None:
        """Keep the *lists* of *items* items durably; *first* is the number of items before them."""
        import pyarrow.parquet as pq

        path = self._folder / f"{first:09d}.parquet"
        made = _tmp(self._folder) / path.name
        with made.open("wb") as file:
            pq.write_table(lists.replace_schema_metadata({"visrec.items": str(items)}), file)
        atomic_move_file(made, path)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the lists of all finished items, in order."""
        import pyarrow.parquet as pq

        for path in self._files():
            with path.open("rb") as file:
                yield pq.read_table(file)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


@contextmanager
def checkpoint_folder(out: Path) -> Iterator[Path]:
    """Yield the folder for the checkpoints of *out*, locked for this process; raises StoreLocked."""
    folder = out.with_name(out.name + ".checkpoints")
    folder.mkdir(exist_ok=True)
    try:
        lock = FileLock(folder / _LOCK)
    except BlockingIOError:
        raise StoreLocked(f"another process is writing {out}; wait until it is done") from None
    try:
        yield folder
    finally:
        lock.release()


def _tmp(folder: Path) -> Path:
    """Return the folder for files that are being written."""
    tmp = folder / _TMP
    tmp.mkdir(exist_ok=True)
    return tmp
