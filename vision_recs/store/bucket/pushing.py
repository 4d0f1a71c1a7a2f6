"""What a writer of a store in a bucket puts there, and what nobody uses there any more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from vision_recs.errors import StoreDamaged
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.store.atomic_files import disk_errors, sha256_file
from vision_recs.store.bucket.copies import forget_older, pull, remote_errors
from vision_recs.store.bucket.digests import Digests
from vision_recs.store.bucket.lease import CURRENT, LOCK, Lease
from vision_recs.store.bucket.listing import Listing, files_of, listing_key, published
from vision_recs.store.bucket.mark import address_of
from vision_recs.store.bucket.work import LEDGERS, RUNS, UnpublishedWork
from vision_recs.store.layout import SHARD_FILE, Layout, Manifest

_THREADS = 8
_OF_WORKERS = ("shards/", "ledgers/", "runs/")

log = logging.getLogger(__name__)


class BucketWriter:
    """The writer of the store of which *layout* is a copy; made by `bucket_writer`, which holds the lease."""

    def __init__(self, layout: Layout, remote: RemoteFolder, lease: Lease) -> None:
        """Write to *remote* under *lease*."""
        self._layout = layout
        self.remote = remote
        self._lease = lease
        self._work = UnpublishedWork(layout, remote)

    def publish(self, manifest: Manifest) -> None:
        """Put the files of the generation of *manifest* into the bucket, those that are not there, then swap CURRENT.

        Raises StoreUnavailable where the bucket is away, StoreLocked where another writer took over.
        """
        digests = Digests(self._layout.root)
        files = files_of(self._layout, manifest, digests.content_of)
        listing = Listing(self._lease.head.fence, manifest.generation, files)
        data = listing.to_bytes()
        digest, key = listing_key(data)
        with remote_errors(self.remote.address):
            self._put(listing)
            self.remote.put(key, data)
            self._lease.publish(manifest.generation, digest)
        digests.keep(self._layout.tmp)
        forget_older(self._layout, listing)

    def _put(self, listing: Listing) -> None:
        there = {file.path: file.size for below in ("shards", "files") for file in self.remote.files(below)}
        wanted: dict[str, Path] = {}
        for path, key in listing.keys().items():
            content, file = listing.files[path], self._layout.root / path
            if there.get(key) == content.size:
                continue
            if path.startswith("shards/") and sha256_file(file) != content.digest:  # which shard.json says
                raise StoreDamaged(f"{file} was altered, and is not put into the bucket; run the same command again")
            wanted[key] = file
        last = [key for key in wanted if key.endswith(f"/{SHARD_FILE}")]  # a shard is whole when that is there
        with ThreadPoolExecutor(_THREADS) as pool:
            for keys in ([key for key in wanted if key not in set(last)], last):
                for _ in pool.map(lambda key: self.remote.put(key, wanted[key]), keys):
                    pass

    def fetch_work(self) -> None:
        """Bring what workers have embedded, and nobody has published, to the copy; what is damaged there is removed.

        A shard of it that is damaged in the copy alone is replaced.
        """
        with disk_errors(self._layout.root), remote_errors(self.remote.address):  # the inner one knows more
            self._work.fetch()

    def mend_copy(self) -> None:
        """Compare the copy with the published generation, byte by byte, and fetch again what was altered in it.

        What was altered in the bucket, too, stays as it is, with a warning.
        """
        try:
            pull(self._layout.root, thorough=True)
        except StoreDamaged as error:
            log.warning("%s", error)

    def end_runs(self) -> None:
        """Remove the marks of all runs: workers that were forgotten write no ledger from now on."""
        with remote_errors(self.remote.address):
            self._work.forget(RUNS)

    def forget_ledgers(self) -> None:
        """Remove the ledgers, whose outcomes are published."""
        with remote_errors(self.remote.address):
            self._work.forget(LEDGERS)

    def garbage_collect(self) -> int:
        """Remove what the published generation does not use, and return how many bytes that was.

        What workers have put since it was published is the work of a run that was stopped, and stays.
        """
        with remote_errors(self.remote.address):
            listing_file = f"listings/{self._lease.head.listing}.json"
            used = {CURRENT, LOCK, listing_file, *published(self.remote).keys().values()}
            files = list(self.remote.files())
            since = next((file.written for file in files if file.path == listing_file), None)
            unused = [
                file
                for file in files
                if file.path not in used and not (since and file.path.startswith(_OF_WORKERS) and file.written >= since)
            ]
            self.remote.remove([file.path for file in unused])
        return sum(file.size for file in unused)


def bucket_problems(root: Path) -> Iterator[str]:
    """Yield a sentence for each file that is missing or altered in the bucket of which *root* is a copy.

    Every byte in the bucket is read. Nothing is yielded for a store that is in no bucket.
    """
    address = address_of(root)
    if address is None:
        return
    with remote_errors(address):
        remote = RemoteFolder(address)
        try:
            listing = published(remote)
        except StoreDamaged as error:
            yield str(error)
            return
        keys = listing.keys()
        with ThreadPoolExecutor(_THREADS) as pool:
            for path, digest in zip(keys, pool.map(lambda path: remote.digest(keys[path]), keys), strict=True):
                if digest != listing.files[path].digest:
                    what = "is missing" if digest is None else "was altered"
                    yield f"{address}/{keys[path]}, which is {path}, {what}; restore it from a backup"


@contextmanager
def bucket_writer(layout: Layout, address: str) -> Iterator[BucketWriter]:
    """Hold the lease of the bucket at *address*, of which *layout* is a copy; the copy is pulled first.

    Raises StoreLocked where another writer has the lease, StoreUnavailable where the bucket is away.
    """
    with remote_errors(address):
        remote = RemoteFolder(address)
        lease = Lease(remote)
    with lease:
        if pull(layout.root) is None:
            layout.current.unlink(missing_ok=True)  # the bucket is the truth
        yield BucketWriter(layout, remote, lease)
