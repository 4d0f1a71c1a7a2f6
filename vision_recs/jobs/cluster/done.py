"""Which images have an outcome in a ledger already, and settling them: no image is read for it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Self

from vision_recs.errors import StoreDamaged
from vision_recs.jobs.outcomes import without_bytes
from vision_recs.jobs.preparing import reads_attributes, text_read
from vision_recs.jobs.progress import Progress, ProgressCallback
from vision_recs.store import Staged, Staging, Writer
from vision_recs.store.ledgers import Ledger, LedgerRow, ledger_names, read_ledger
from vision_recs.store.shards import shard_problems
from vision_recs.store.staging import Outcome
from vision_recs.types import BulkImageSource, EncoderSpec, ImageSource

_AT_ONCE = 2_000
_DIGITS = 32
_OPEN_AT_MOST = 8  # ledgers: the images of a block mostly stand together

_TABLES = """
CREATE TABLE asked (
    item_id TEXT, image TEXT, asked TEXT, ledger INTEGER, row INTEGER, PRIMARY KEY (item_id, image)
) WITHOUT ROWID;
CREATE TABLE done (number INTEGER PRIMARY KEY, ledger INTEGER, row INTEGER);
"""


class Done:
    """The outcomes of staged images that lie in ledgers of the space, in bounded memory; see `settle`."""

    def __init__(self, writer: Writer, staging: Staging, spec: EncoderSpec) -> None:
        """Look at the ledgers in the store of *writer*; one that is damaged, or whose shard is, is removed.

        Only those of the space of *spec* count, with colors if *staging* names them.
        """
        self._spec = spec
        self._writer = writer
        self._staging = staging
        self._layout = writer.layout
        self._blocks: list[str] = []
        self._offers = False
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")
        self._ledger = lru_cache(_OPEN_AT_MOST)(self._read)
        if writer.bucket is not None:
            writer.bucket.fetch_work()
        for name in ledger_names(self._layout.ledgers):
            ledger = self._sound(name)
            if ledger is None or ledger.space != spec.fingerprint:
                continue
            if ledger.names_colors == staging.names_colors:
                self._offer(ledger)

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the database."""
        self._connection.close()

    def mark(self, staged: Sequence[Staged], asked: Sequence[str | None]) -> list[bool]:
        """Return of each of *staged*, of which `asked_of` says what is *asked*, whether a ledger knows its outcome."""
        if not self._offers:
            return [False] * len(staged)
        found = []
        for image, each in zip(staged, asked, strict=True):
            query = "SELECT ledger, row FROM asked WHERE item_id = ? AND image = ? AND asked IS ?"
            place = self._connection.execute(query, (image.id, image.image, each)).fetchone()
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
        for page in pages(self._staging.images(attributes=reads_attributes(self._spec))):
            self.mark(page, asked_of(self._spec, page, signatures_of(source, page)))
        return self.settle(keep_stale=keep_stale, progress=progress)

    def settle(self, *, keep_stale: int, progress: ProgressCallback) -> int:
        """Note in the staging what became of each image that is done, in order; return how many got a new vector.

        Raises StoreDamaged where a ledger names a vector that the store does not have.
        """
        if self._writer.bucket is not None:
            self._writer.bucket.fetch_work()
        (total,) = self._connection.execute("SELECT count(*) FROM done").fetchone()
        settling = _Settling(self._writer, self._staging, keep_stale)
        settled = 0
        for page in pages(self._staging.images()):
            query = "SELECT number, ledger, row FROM done WHERE number BETWEEN ? AND ?"
            found = self._connection.execute(query, (page[0].number, page[-1].number))
            places = {number: place for number, *place in found}
            for image in page:
                if image.number in places:
                    ledger, row = places[image.number]
                    settling.settle(image, self._ledger(self._blocks[ledger]), row)
            settling.write()
            settled += len(places)
            progress(Progress("reading the ledgers", settled, total))
        return settling.embedded

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
        self._offers = True
        rows = ((each.id, each.image, each.asked, number, row) for row, each in enumerate(ledger.rows))
        self._connection.executemany("INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?, ?)", rows)


class _Settling:
    """Notes in a staging what became of images, many outcomes at a time; *embedded* of them got a new vector."""

    def __init__(self, writer: Writer, staging: Staging, keep_stale: int) -> None:
        """Note it in *staging*, of *writer*; an image that cannot be read keeps its vector for *keep_stale* runs."""
        self._writer = writer
        self._staging = staging
        self._keep_stale = keep_stale
        self._outcomes: dict[bytes, Outcome] = {}
        self.embedded = 0

    def settle(self, image: Staged, ledger: Ledger, number: int) -> None:
        """Note what the row with that *number* of *ledger* says of *image*."""
        row = ledger.rows[number]
        if row.digest is None or (row.row is None and row.reason is None):
            self.write()
            self._settle_old(image, row)
            return
        self._staging.set_digest(image, row.digest, row.signature)
        if row.digest in self._outcomes or self._staging.has_outcome(row.digest):
            return
        position = None
        if row.row is not None:
            position = self._writer.adopt_shard(ledger.shard, ledger.vectors) + row.row
            self.embedded += 1
        self._outcomes[row.digest] = Outcome(row.digest, position, row.reason, row.message, row.added)

    def write(self) -> None:
        """Write what was noted."""
        self._staging.set_outcomes(list(self._outcomes.values()))
        self._outcomes = {}

    def _settle_old(self, image: Staged, row: LedgerRow) -> None:
        """Note what became of *image*, which could not be read, or whose bytes the store knew before."""
        writer, staging = self._writer, self._staging
        if row.digest is None:
            assert row.reason is not None
            without_bytes(writer, staging, image, (row.reason, row.message or ""), keep_stale=self._keep_stale)
            return
        staging.set_digest(image, row.digest, row.signature)
        if not writer.is_known(staging, row.digest):
            raise StoreDamaged(
                f"the store holds no vector of {image.image}, though an item shows it; run `visrec verify`"
            )


def may_have_ledgers(writer: Writer) -> bool:
    """Whether workers may have left ledgers in the store of *writer*."""
    return writer.bucket is not None or writer.layout.ledgers.exists()


def signatures_of(source: ImageSource, images: Sequence[Staged]) -> list[str | None]:
    """Return the signatures of *images* as far as *source* tells them without reading an image."""
    if not isinstance(source, BulkImageSource):
        return [None] * len(images)
    return source.signatures([image.image for image in images])


def asked_of(spec: EncoderSpec, images: Sequence[Staged], signatures: Sequence[str | None]) -> list[str | None]:
    """Return what a worker is asked for each of *images*, which have *signatures*: see the module `ledgers`."""
    if not reads_attributes(spec):
        return list(signatures)
    texts = [text_read(spec, image.attributes) for image in images]
    read = [hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS] for text in texts]
    return [f"{signature or ''} {digest}" for signature, digest in zip(signatures, read, strict=True)]


def pages(images: Iterator[Staged]) -> Iterator[list[Staged]]:
    """Yield *images* some at a time."""
    while page := list(islice(images, _AT_ONCE)):
        yield page
