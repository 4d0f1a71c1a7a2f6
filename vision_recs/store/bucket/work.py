"""What workers of a cluster have put into a bucket and nobody has published yet: ledgers, and their shards."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vision_recs.errors import StoreDamaged
from vision_recs.remote.object_store import ObjectError
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.store.bucket.lease import read_head
from vision_recs.store.bucket.listing import published
from vision_recs.store.layout import IMAGES_FILE, SHARD_FILE, VECTORS_FILE, Layout
from vision_recs.store.ledgers import Ledger, place_ledger
from vision_recs.store.shards import place_shard, shard_problems

LEDGERS, RUNS = "ledgers", "runs"
_THREADS = 8


def ledger_key(block: str) -> str:
    """Return where the ledger of *block* lies."""
    return f"{LEDGERS}/{block}.parquet"


def shard_keys(shard: str) -> list[str]:
    """Return where the files of *shard* lie; the shard is whole when the last one is there."""
    return [f"shards/{shard}/{name}" for name in (VECTORS_FILE, IMAGES_FILE, SHARD_FILE)]


class UnpublishedWork:
    """The ledgers in the bucket *remote*, of which *layout* is a copy. Every method raises ObjectError."""

    def __init__(self, layout: Layout, remote: RemoteFolder) -> None:
        """Look at nothing yet."""
        self._layout = layout
        self._remote = remote

    def fetch(self) -> None:
        """Bring the ledgers that the copy lacks, and their shards, to the copy; one that is damaged is removed."""
        wanted = [file.path for file in self._remote.files(LEDGERS) if not (self._layout.root / file.path).exists()]
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self._fetch, wanted):
                pass

    def forget(self, below: str) -> None:
        """Remove everything in the folder *below*."""
        self._remote.remove([file.path for file in self._remote.files(below)])

    def _drop(self, block: str, shard: str) -> None:
        """Remove the ledger of *block*, and its *shard*, which are damaged; a shard that is published stays."""
        head, _ = read_head(self._remote)
        used = published(self._remote).files if head.listing else {}
        keys = [key for key in shard_keys(shard)[::-1] if key not in used]
        self._remote.remove([ledger_key(block), *keys])

    def _fetch(self, path: str) -> None:
        found = self._remote.read(path)
        if found is None:
            return
        try:
            ledger = Ledger.from_bytes(found[0], where=f"{self._remote.address}/{path}")
        except StoreDamaged:
            self._remote.remove([path])
            return
        with tempfile.TemporaryDirectory(dir=self._layout.tmp) as folder:
            if ledger.shard and not self._fetch_shard(ledger.shard, Path(folder)):
                self._drop(ledger.block, ledger.shard)
                return
            made = Path(folder) / "ledger"
            made.write_bytes(found[0])
            place_ledger(made, self._layout.root / path)

    def _fetch_shard(self, shard: str, folder: Path) -> bool:
        """Bring *shard* to the copy by way of *folder*; return whether it is whole there."""
        target = self._layout.shard(shard)
        if not any(shard_problems(target)):
            return True
        made = folder / shard
        made.mkdir()
        try:
            for key in shard_keys(shard):
                self._remote.fetch(key, made / key.rpartition("/")[2])
        except ObjectError as error:
            if error.reason == "http-404":
                return False
            raise
        if any(shard_problems(made)):
            return False
        place_shard(made, target)  # in place of a damaged one
        return True
