"""Checkpoints: the lists that a stopped run has finished, so that the next run continues there.

The folder of a run holds `plan.json`, which says how the lists are made, and `000000000-<digest>.parquet` and so on:
the lists of some items, named by the number of items before them and by the first digits of their SHA-256. The files
have the columns of the neighbors file; an item with an empty list has one row, in which all but the item is null.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_recs.errors import StoreLocked
from vision_recs.store.atomic_files import FileLock, atomic_move_file, atomic_write, sha256_file

if TYPE_CHECKING:
    import pyarrow as pa

_PLAN, _LOCK, _TMP = "plan.json", "LOCK", "tmp"
_DIGITS = 32

log = logging.getLogger(__name__)


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
        self._discard_damaged()

    @property
    def done(self) -> int:
        """The number of items whose lists are finished: the first ones."""
        files = self._files()
        return _end_of(files[-1]) if files else 0

    def _discard_damaged(self) -> None:
        """Remove files from the first one on that is missing or is not what was written: their lists are made again."""
        files, end = self._files(), 0
        for number, path in enumerate(files):
            first, _, digits = path.stem.partition("-")
            if first != f"{end:09d}" or sha256_file(path)[:_DIGITS] != digits:
                log.warning("%s was altered, or one before it is missing; the lists from there on are made again", path)
                for other in files[number:]:
                    other.unlink()
                return
            end = _end_of(path)

    def write(self, first: int, items: int, lists: pa.Table) -> None:
        """Keep the *lists* of *items* items durably; *first* is the number of items before them."""
        import pyarrow.parquet as pq

        made = _tmp(self._folder) / "lists.parquet"
        with made.open("wb") as file:
            pq.write_table(lists.replace_schema_metadata({"visrec.items": str(items)}), file)
        atomic_move_file(made, self._folder / f"{first:09d}-{sha256_file(made)[:_DIGITS]}.parquet")

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


def _end_of(path: Path) -> int:
    """Return the number of items before the end of the file *path*."""
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return int(path.stem[: path.stem.index("-")]) + int(pq.read_metadata(file).metadata[b"visrec.items"])


def _tmp(folder: Path) -> Path:
    """Return the folder for files that are being written."""
    tmp = folder / _TMP
    tmp.mkdir(exist_ok=True)
    return tmp
