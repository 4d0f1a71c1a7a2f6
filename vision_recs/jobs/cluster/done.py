"""Which images have an outcome in a ledger already, and settling them: no image is read for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Self

from vision_recs.errors import StoreDamaged
from vision_recs.jobs.outcomes import without_bytes
from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.store import Staged, Staging, Writer
from vision_recs.store.ledgers import Ledger, LedgerRow, ledger_names, read_ledger
from vision_recs.store.shards import shard_problems
from vision_recs.types import BulkImageSource, ImageSource

_AT_ONCE = 2_000
_OPEN_AT_MOST = 8  # ledgers: the images of a block mostly stand together

_TABLES = """
CREATE TABLE asked (
    item_id TEXT, image TEXT, asked TEXT, ledger INTEGER, row INTEGER, PRIMARY KEY (item_id, image)
) WITHOUT ROWID;
CREATE TABLE done (number INTEGER PRIMARY KEY, ledger INTEGER, row INTEGER);
"""


class Done:
    """The outcomes of staged images that lie in ledgers of the space, in bounded memory; see `settle`."""

    def __init__(self, writer: Writer, staging: Staging, space: str) -> None:
        """Look at the ledgers in the store of *writer*; one that is damaged, or whose shard is, is removed."""
        self._writer = writer
        self._staging = staging
        self._layout = writer.layout
        self._blocks: list[str] = []
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")
        self._ledger = lru_cache(_OPEN_AT_MOST)(self._read)
        if writer.bucket is not None:
            writer.bucket.fetch_work()
        for name in ledger_names(self._layout.ledgers):
            ledger = self._sound(name)
            if ledger is not None and ledger.space == space:
                self._offer(ledger)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self._connection.close()

    def mark(self, staged: Sequence[Staged], signatures: Sequence[str | None]) -> list[bool]:
        """Return of each of *staged*, with the *signatures* that they have now, whether a ledger knows its outcome."""
        found = []
        for image, signature in zip(staged, signatures, strict=True):
            query = "SELECT ledger, row FROM asked WHERE item_id = ? AND image = ? AND asked IS ?"
            place = self._connection.execute(query, (image.id, image.image, signature)).fetchone()
            found.append(place is not None)
            if place is not None:
                self._connection.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", (image.number, *place))
        return found

    def add(self, block: str, numbers: Iterable[int]) -> None:
        """Note that the ledger of *block* has the outcome of the staged images with *numbers*, in that order."""
        ledger = len(self._blocks)
        self._blocks.append(block)
        rows = ((number, ledger, row) for row, number in enumerate(numbers))
        self._connection.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", rows)

    def settle_known(self, source: ImageSource, *, keep_stale: int, progress: ProgressCallback) -> int:
        """Settle the images that ledgers know by the signatures that *source* tells; see `settle`."""
        if not self._blocks:
            return 0
        for page in pages(self._staging.images()):
            self.mark(page, signatures_of(source, page))
        return self.settle(keep_stale=keep_stale, progress=progress)

    def settle(self, *, keep_stale: int, progress: ProgressCallback) -> int:
        """Note in the staging what became of each image that is done, in order; return how many got a new vector.

        Raises StoreDamaged where a ledger names a vector that the store does not have.
        """
        if self._writer.bucket is not None:
            self._writer.bucket.fetch_work()
        (total,) = self._connection.execute("SELECT count(*) FROM done").fetchone()
        embedded = 0
        for number, image in enumerate(self._staged(), 1):
            embedded += self._settle(*image, keep_stale)
            if number % _AT_ONCE == 0 or number == total:
                progress(Progress("reading the ledgers", number, total))
        return embedded

    def _staged(self) -> Iterator[tuple[Staged, Ledger, LedgerRow]]:
        for image in self._staging.images():
            place = self._connection.execute(
                "SELECT ledger, row FROM done WHERE number = ?", (image.number,)
            ).fetchone()
            if place is not None:
                ledger = self._ledger(self._blocks[place[0]])
                yield image, ledger, ledger.rows[place[1]]

    def _settle(self, image: Staged, ledger: Ledger, row: LedgerRow, keep_stale: int) -> bool:
        """Note what became of *image*, and return whether it got a new vector."""
        writer, staging = self._writer, self._staging
        if row.digest is None:
            assert row.reason is not None
            without_bytes(writer, staging, image, (row.reason, row.message or ""), keep_stale=keep_stale)
            return False
        staging.set_digest(image, row.digest, row.signature)
        if row.row is None and row.reason is None:
            if not writer.is_known(staging, row.digest):
                raise StoreDamaged(
                    f"the store holds no vector of {image.image}, though an item shows it; run `visrec verify`"
                )
            return False
        if staging.has_outcome(row.digest):
            return False
        first = writer.adopt_shard(ledger.shard, ledger.vectors) if row.row is not None else 0
        position = None if row.row is None else first + row.row
        staging.set_outcome(row.digest, position=position, reason=row.reason, message=row.message)
        return position is not None

    def _sound(self, block: str) -> Ledger | None:
        """Return the ledger of *block*; where it or its shard is damaged, remove it and return None.

        In a copy of a bucket both are fetched again first.
        """
        ledger = self._whole(block)
        if ledger is None:
            self._layout.ledger(block).unlink(missing_ok=True)
            if self._writer.bucket is not None:
                self._writer.bucket.fetch_work()
                ledger = self._whole(block)
        return ledger

    def _whole(self, block: str) -> Ledger | None:
        """Return the ledger of *block*, None where it or its shard is missing or damaged."""
        try:
            ledger = self._read(block)
        except StoreDamaged:
            return None
        if ledger.shard and any(shard_problems(self._layout.shard(ledger.shard))):
            return None
        return ledger

    def _read(self, block: str) -> Ledger:
        path = self._layout.ledger(block)
        found = read_ledger(path)
        if found is None:
            raise StoreDamaged(f"{path} is missing; run the same command again")
        return found

    def _offer(self, ledger: Ledger) -> None:
        number = len(self._blocks)
        self._blocks.append(ledger.block)
        rows = ((each.id, each.image, each.asked, number, row) for row, each in enumerate(ledger.rows))
        self._connection.executemany("INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?, ?)", rows)


def may_have_ledgers(writer: Writer) -> bool:
    """Whether workers may have left ledgers in the store of *writer*."""
    return writer.bucket is not None or writer.layout.ledgers.exists()


def signatures_of(source: ImageSource, images: Sequence[Staged]) -> list[str | None]:
    """Return the signatures of *images* as far as *source* tells them without reading an image."""
    if not isinstance(source, BulkImageSource):
        return [None] * len(images)
    return source.signatures([image.image for image in images])


def pages(images: Iterator[Staged]) -> Iterator[list[Staged]]:
    """Yield *images* some at a time."""
    while page := list(islice(images, _AT_ONCE)):
        yield page
