"""The copy of a store in a bucket on this machine: pulled, verified, and used as it is while the bucket is away."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vision_recs.cache_dir import cache_dir
from vision_recs.errors import StoreDamaged, StoreError, StoreNotFound, StoreUnavailable
from vision_recs.remote.object_store import ObjectError
from vision_recs.remote.remote_folder import RemoteFolder
from vision_recs.scratch import other_files, scratch_folder
from vision_recs.store.atomic_files import (
    FileLock,
    atomic_move_file,
    atomic_move_files,
    atomic_write,
    disk_errors,
    make_durable_folder,
    sha256_file,
)
from vision_recs.store.bucket.lease import read_head
from vision_recs.store.bucket.listing import Content, Listing, key_of
from vision_recs.store.bucket.mark import MARK, address_of
from vision_recs.store.layout import Layout, current_bytes

_PULLED = ".pulled"
_LOCK = ".pulling"
_THREADS = 8
_ATTEMPTS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PullReport:
    """What `pull` did: the *generation* that the copy has now, and how many *files* and *bytes* were fetched for it."""

    generation: int
    files: int
    bytes: int


def copy_of(address: str, folder: Path | None = None) -> Path:
    """Return *folder*, made a copy of the store at *address*; without one, that in the cache of visrec.

    Nothing is fetched. Raises StoreError where *folder* is something else.
    """
    with remote_errors(address):
        remote = RemoteFolder(address)
    if folder is None:
        folder = cache_dir() / "stores" / hashlib.sha256(remote.address.encode()).hexdigest()[:32]
    with disk_errors(folder):
        others = other_files(folder)  # looked at before another process makes it a copy
    known = address_of(folder)
    if known is None:
        if others:
            raise StoreError(f"{folder} is no copy of {remote.address}; name an empty folder")
        with disk_errors(folder):
            make_durable_folder(folder)
            text = json.dumps({"address": remote.address})
            with scratch_folder(folder) as tmp:
                atomic_write(text.encode(), folder / MARK, tmp)
    elif known != remote.address:
        raise StoreError(f"{folder} is a copy of {known}, not of {remote.address}; name another folder")
    return folder


def refresh(folder: Path) -> None:
    """Pull the copy in *folder*; where the bucket is away, log a warning, and leave what there is.

    Raises StoreUnavailable where there is nothing, StoreNotFound where the bucket has no store.
    """
    try:
        if pull(folder, hurried=True) is None:
            raise StoreNotFound(f"there is no store in {address_of(folder)}; make one with `visrec index CATALOG`")
    except StoreUnavailable as error:
        if not Layout(folder).current.exists():
            raise
        log.warning("%s: going on with what was pulled before", error)


def pull(folder: Path, *, thorough: bool = False, hurried: bool = False) -> PullReport | None:
    """Bring the copy in *folder* to the generation that its bucket has published; None where the bucket has none.

    Only what is new is fetched, and compared with its digest; readers see the new generation when all of it is there.
    A *thorough* pull compares all that was there before, too. For who is *hurried*, a bucket that does not answer at
    once is away. Raises StoreUnavailable where the bucket is away, and StoreDamaged for a file that is missing there or
    was altered.
    """
    address = address_of(folder)
    if address is None:
        raise StoreError(f"{folder} is no copy of a bucket; name the address: visrec pull s3://bucket/shop")
    with disk_errors(folder), FileLock(folder / _LOCK, waits=True), remote_errors(address):
        remote, asked = RemoteFolder(address), RemoteFolder(address, hurried=hurried)
        for attempt in range(_ATTEMPTS):
            head, _ = read_head(asked)
            try:
                return _Pull(Layout(folder), remote, thorough=thorough).run(head.listing) if head.listing else None
            except StoreDamaged:
                if attempt + 1 == _ATTEMPTS or read_head(remote)[0].listing == head.listing:
                    raise  # else another generation was published, and this one removed, in the meantime
    raise AssertionError


class _Pull:
    def __init__(self, layout: Layout, remote: RemoteFolder, *, thorough: bool) -> None:
        self._layout = layout
        self._remote = remote
        self._known = {} if thorough else read_pulled(layout)
        self._thorough = thorough

    def run(self, digest: str) -> PullReport:
        key = f"listings/{digest}.json"
        found = self._remote.read(key)
        if found is None or hashlib.sha256(found[0]).hexdigest() != digest:
            raise StoreDamaged(f"{self._remote.address}/{key} is missing or was altered; restore it from a backup")
        listing = Listing.from_bytes(found[0], where=f"{self._remote.address}/{key}")
        missing = {path: content for path, content in listing.files.items() if not self._has(path, content)}
        with scratch_folder(self._layout.root) as tmp:
            missing = {path: content for path, content in missing.items() if not self._linked(path, content, tmp)}
            self._fetch(missing, tmp)
            manifest = self._layout.manifest(listing.generation).read_bytes()
            current = current_bytes(listing.generation, manifest)
            if not self._layout.current.exists() or self._layout.current.read_bytes() != current:
                atomic_write(current, self._layout.current, tmp)
        forget_older(self._layout, listing)
        return PullReport(listing.generation, len(missing), sum(content.size for content in missing.values()))

    def _has(self, path: str, content: Content) -> bool:
        file = self._layout.root / path
        try:
            if file.stat().st_size != content.size:
                return False
        except FileNotFoundError:
            return False
        if not self._thorough and (path.startswith("shards/") or self._known.get(path) == content):
            return True
        return sha256_file(file) == content.digest

    def _linked(self, path: str, content: Content, tmp: Path) -> bool:
        """Return whether the copy has a file of another index with *content*, which now is *path*, too."""
        if not path.startswith("indexes/"):
            return False
        others = (each for each, known in self._known.items() if known == content and each.startswith("indexes/"))
        for other in others:
            made, target = tmp / content.digest, self._layout.root / path
            try:
                os.link(self._layout.root / other, made)
            except OSError:
                continue
            if sha256_file(made) == content.digest:
                target.parent.mkdir(parents=True, exist_ok=True)
                atomic_move_file(made, target)
                return True
            made.unlink()
        return False

    def _fetch(self, missing: Mapping[str, Content], tmp: Path) -> None:
        made = {tmp / str(number): path for number, path in enumerate(missing)}
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda each: self._remote.fetch(key_of(each[1], missing[each[1]]), each[0]), made.items())
            for path, digest in zip(made.values(), found, strict=True):
                if digest != missing[path].digest:
                    where = f"{self._remote.address}/{key_of(path, missing[path])}"
                    raise StoreDamaged(
                        f"{where} was altered: its SHA-256 is not that of {path}; restore it from a backup"
                    )
        targets = {file: self._layout.root / path for file, path in made.items()}
        for folder in {target.parent for target in targets.values()}:
            folder.mkdir(parents=True, exist_ok=True)
        # what names others comes last: a shard is whole when its shard.json is there
        names = sorted(targets, key=lambda file: (targets[file].name == "shard.json", str(targets[file])))
        atomic_move_files({file: targets[file] for file in names})


def read_pulled(layout: Layout) -> dict[str, Content]:
    """Return the files of the generation that was pulled, or pushed, last."""
    try:
        value = json.loads((layout.root / _PULLED).read_text("utf-8"))
        return {path: Content(*content) for path, content in value["files"].items()}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def forget_older(layout: Layout, listing: Listing) -> None:
    """Note that the copy has *listing* now, and remove what only a generation before the last one needs.

    A reader that opened the last one goes on; what a writer has not pushed yet is left alone. A disk that refuses costs
    the next pull time: what was published, or pulled, stays so.
    """
    with suppress(OSError):
        _forget_older(layout, listing)


def _forget_older(layout: Layout, listing: Listing) -> None:
    file = layout.root / _PULLED
    try:
        before = json.loads(file.read_text("utf-8"))
        last, older = before["files"], before["older"]
    except (OSError, ValueError, LookupError, TypeError):
        last, older = {}, []
    if {path: tuple(content) for path, content in last.items()} == dict(listing.files):
        return
    for path in set(older) - set(last) - set(listing.files):
        (layout.root / path).unlink(missing_ok=True)
    value = {"files": dict(listing.files), "older": sorted(set(last) - set(listing.files))}
    with scratch_folder(layout.root) as tmp:
        atomic_write(json.dumps(value).encode(), file, tmp)


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
    """Raise StoreUnavailable in place of ObjectError; *address* is that of the store."""
    try:
        yield
    except ObjectError as error:
        raise StoreUnavailable(f"the store in {address} cannot be reached ({error}); {error.remedy}") from error
