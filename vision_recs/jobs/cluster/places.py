"""Where the workers of a run put shards and ledgers: the folder of a store that all of them see, or a bucket."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vision_recs.errors import StoreError
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.store import Layout, Writer
from vision_recs.store.atomic_files import atomic_remove, disk_errors, sha256_file
from vision_recs.store.bucket.copies import remote_errors
from vision_recs.store.bucket.work import RUNS, ledger_key, shard_keys
from vision_recs.store.ledgers import Ledger, place_ledger, read_ledger
from vision_recs.store.shards import place_shard


class BlockPlace(Protocol):
    """What `embed_block` writes to. It is sent to the workers, so it can be pickled."""

    @property
    def run(self) -> str:
        """The name of the run."""
        ...

    def require(self) -> None:
        """Raise StoreError where this machine does not see the place, or where the run is over."""
        ...

    def ledger(self, block: str) -> Ledger | None:
        """Return the ledger of *block*, None where it has none; raises StoreDamaged."""
        ...

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Yield an empty folder on this machine, which is gone at the end."""
        ...

    def put(self, ledger: Ledger, shard: Path | None) -> Ledger:
        """Put the folder *shard*, then *ledger*, and return the ledger that the block has now.

        Where a twin of this worker was faster, that is the one of the twin, and nothing of *shard* stays.
        """
        ...


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """The store in the folder *root*, which every worker sees under the same path, while *run* goes on.

    A worker works in a folder of its own in that of the run. A driver that ends the run removes that folder first: a
    worker that was forgotten then fails, and leaves nothing.
    """

    root: Path
    run: str

    @classmethod
    def begin(cls, layout: Layout) -> FolderPlace:
        """Begin a run in the store of *layout*."""
        place = cls(layout.root.absolute(), secrets.token_hex(8))
        with disk_errors(layout.root):
            place._folder.mkdir(parents=True)
        return place

    @property
    def _folder(self) -> Path:
        return Layout(self.root).runs / self.run

    def require(self) -> None:
        """Raise StoreError where this machine does not see the folder, or where the run is over."""
        if not self._folder.is_dir():
            raise StoreError(
                f"{socket.gethostname()} does not see the run {self.run} in {self.root}: every worker needs the folder "
                "of the store under the same path, or a store in a bucket; or the run is over"
            )

    def ledger(self, block: str) -> Ledger | None:
        """Return the ledger of *block*, None where it has none; raises StoreDamaged."""
        return read_ledger(Layout(self.root).ledger(block))

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Yield an empty folder, which is gone at the end."""
        self.require()
        folder = self._folder / f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        with disk_errors(self.root):
            folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, ledger: Ledger, shard: Path | None) -> Ledger:
        """Put the folder *shard*, then *ledger*, and return the ledger that the block has now."""
        layout = Layout(self.root)
        with disk_errors(self.root), self.work() as tmp:
            is_new = shard is not None and place_shard(shard, layout.shard(ledger.shard))
            made = tmp / "ledger"
            made.write_bytes(ledger.to_bytes())
            if place_ledger(made, layout.ledger(ledger.block)):
                return ledger
            other = read_ledger(layout.ledger(ledger.block))
            if is_new and other is not None and other.shard != ledger.shard:
                atomic_remove(layout.shard(ledger.shard), tmp)  # a twin on another processor was faster
            return other or ledger


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """The store at *address* in a bucket, while *run* goes on: as long as its mark is there."""

    address: str
    run: str

    @classmethod
    def begin(cls, address: str) -> BucketPlace:
        """Begin a run in the store at *address*."""
        place = cls(address, secrets.token_hex(8))
        with remote_errors(address):
            RemoteFolder(address).put(place._mark, b"")
        return place

    @property
    def _mark(self) -> str:
        return f"{RUNS}/{self.run}"

    def require(self) -> None:
        """Raise StoreError where this machine does not reach the bucket, or where the run is over."""
        with remote_errors(self.address):
            if RemoteFolder(self.address).read(self._mark) is None:
                raise StoreError(f"the run {self.run} in {self.address} is over")

    def ledger(self, block: str) -> Ledger | None:
        """Return the ledger of *block*, None where it has none; raises StoreDamaged."""
        with remote_errors(self.address):
            found = RemoteFolder(self.address).read(ledger_key(block))
        return None if found is None else Ledger.from_bytes(found[0], where=f"{self.address}/{ledger_key(block)}")

    @contextmanager
    def work(self) -> Iterator[Path]:
        """Yield an empty folder, which is gone at the end."""
        with tempfile.TemporaryDirectory(prefix="visrec-block-") as folder:
            yield Path(folder)

    def put(self, ledger: Ledger, shard: Path | None) -> Ledger:
        """Put the folder *shard*, then *ledger*, and return the ledger that the block has now."""
        self.require()  # a worker that was forgotten is too late
        made = {} if shard is None else {key: shard / key.rpartition("/")[2] for key in shard_keys(ledger.shard)}
        keys = list(made)
        with remote_errors(self.address):
            remote = RemoteFolder(self.address)
            is_new = bool(keys) and remote.read(keys[-1]) is None
            for key, file in made.items():
                if is_new or remote.digest(key) != sha256_file(file):  # what is there may be damaged
                    remote.put(key, file)
            if remote.create(ledger_key(ledger.block), ledger.to_bytes()):
                return ledger
            other = self.ledger(ledger.block)
            if is_new and other is not None and other.shard != ledger.shard:
                remote.remove(keys[::-1])  # a twin on another processor was faster
            return other or ledger


def begin_run(writer: Writer) -> BlockPlace:
    """Begin a run of workers in the store of *writer*, and return where they put what they make."""
    if writer.bucket is not None:
        return BucketPlace.begin(writer.bucket.remote.address)
    return FolderPlace.begin(writer.layout)


def end_runs(writer: Writer) -> None:
    """Remove the work of all runs, so that no worker that was forgotten writes from now on."""
    _remove(writer.layout, writer.layout.runs)
    if writer.bucket is not None:
        writer.bucket.end_runs()


def forget_ledgers(writer: Writer) -> None:
    """Remove the ledgers, whose outcomes are published, and whatever workers have left."""
    end_runs(writer)
    _remove(writer.layout, writer.layout.ledgers)
    if writer.bucket is not None:
        writer.bucket.forget_ledgers()


def _remove(layout: Layout, folder: Path) -> None:
    if folder.exists():
        with disk_errors(layout.root):
            atomic_remove(folder, layout.tmp)
