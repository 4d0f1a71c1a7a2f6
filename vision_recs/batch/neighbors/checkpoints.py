"""What a run that was stopped has finished, so that the next one goes on where it was.

A folder of parts holds `plan.json`, which says of what table they are, and `000000000.parquet` ...: the lists of some
items, named by how many items come before them. They have the columns item, rank, similar and score; an item without
any similar one has one row, in which all but the item is null.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from vision_recs.errors import StoreLocked
from vision_recs.store.files import publish_bytes, publish_file

if TYPE_CHECKING:
    import pyarrow as pa

_PLAN, _LOCK = "plan.json", "LOCK"


class Parts:
    """The finished parts of one table, in a folder."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """Take up what is in *folder* where it was made by the same *plan*, else begin anew."""
        self._folder = folder
        data = (json.dumps(plan, sort_keys=True, indent=1) + "\n").encode()
        known = folder / _PLAN
        if not known.is_file() or known.read_bytes() != data:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            publish_bytes(data, known, _made(folder))

    @property
    def done(self) -> int:
        """The number of items whose lists are finished: the first ones."""
        import pyarrow.parquet as pq

        files = self._files()
        if not files:
            return 0
        return int(files[-1].stem) + int(pq.read_metadata(files[-1]).metadata[b"visrec.items"])

    def write(self, first: int, items: int, lists: pa.Table) -> None:
        """Keep the *lists* of so many *items*, before which there are *first*, durably."""
        import pyarrow.parquet as pq

        path = self._folder / f"{first:09d}.parquet"
        made = _made(self._folder) / path.name
        pq.write_table(lists.replace_schema_metadata({"visrec.items": str(items)}), made)
        publish_file(made, path)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the lists of all items that are finished, in order."""
        import pyarrow.parquet as pq

        for path in self._files():
            yield pq.read_table(path)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))


@contextmanager
def parts_folder(out: Path) -> Iterator[Path]:
    """Yield the folder for the parts of *out*, which is this process's alone meanwhile; raises StoreLocked."""
    folder = out.with_name(out.name + ".parts")
    folder.mkdir(exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StoreLocked(f"another process is writing {out}; wait until it is done") from None
    try:
        yield folder
    finally:
        lock.release()


def _made(folder: Path) -> Path:
    """Return the folder for files that are being written."""
    made = folder / "making"
    made.mkdir(exist_ok=True)
    return made
