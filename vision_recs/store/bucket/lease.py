"""The one writer of a store in a bucket: a lease in LOCK, and a number that fences off whoever was thought dead.

CURRENT names the published generation, as the SHA-256 of its listing, and the *fence*: the number of the last writer
who took the lease. Whoever takes it writes the next number into CURRENT first. CURRENT is swapped, never overwritten:
a writer who has lost its lease, however long it slept, finds another CURRENT than it knows, and publishes nothing. The
clocks of two machines need not agree for that; they only decide how soon a dead writer is followed by another one.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from types import UnionType
from typing import Any, NamedTuple, Self

from vision_recs.errors import StoreDamaged, StoreLocked, UnknownFormat
from vision_recs.file_formats import dump_checksummed, is_newer, load_checksummed
from vision_recs.remote.object_store import ObjectError
from vision_recs.remote.remote_folder import RemoteFolder, Revision, Superseded

FORMAT = 1
"""The version of the format of stores in buckets."""

CURRENT, LOCK = "CURRENT", "LOCK"
LEASE_S = 90.0
"""A writer that does not renew its lease for so long is thought dead."""
_RENEWALS = 4  # in the time of a lease
_ATTEMPTS = 5

log = logging.getLogger(__name__)


class Head(NamedTuple):
    """What CURRENT says: the *fence*, and the published *generation* and its *listing*, which is empty without one."""

    fence: int = 0
    generation: int = 0
    listing: str = ""


def read_head(folder: RemoteFolder) -> tuple[Head, Revision | None]:
    """Return what CURRENT of the store in *folder* says, and its revision; raises ObjectError and StoreError."""
    found = folder.read(CURRENT)
    if found is None:
        return Head(), None
    value = _loaded(found[0], f"{folder.address}/{CURRENT}", {"fence": int, "generation": int, "listing": str})
    return Head(value["fence"], value["generation"], value["listing"]), found[1]


class Lease:
    """The right to publish to the store in *folder*, as long as it is held; use it in a `with` statement.

    *head* is what was published when it was taken.
    """

    def __init__(self, folder: RemoteFolder, *, seconds: float = LEASE_S) -> None:
        """Take the lease for *seconds*, and renew it from then on.

        Raises StoreLocked where another writer has it, and ObjectError where the bucket is away.
        """
        self._folder = folder
        self._seconds = seconds
        self._owner = f"{socket.gethostname()}, process {os.getpid()}"
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._lock: Revision | None = None
        fence = self._take()
        self.head, self._current = self._fence_off(fence)
        self._thread = threading.Thread(target=self._renew, name="visrec-lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Hold the lease."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back."""
        self._ended.set()
        self._thread.join()
        with suppress(ObjectError):
            self._lock = self._folder.swap(LOCK, self._lock_bytes(self.head.fence, until=0.0), self._lock)

    def publish(self, generation: int, listing: str) -> None:
        """Have CURRENT name the *listing* of *generation*; raises StoreLocked where another writer took over."""
        head = Head(self.head.fence, generation, listing)
        try:
            self._current = self._folder.swap(CURRENT, _head_bytes(head), self._current)
        except Superseded as error:
            raise StoreLocked(
                f"another process writes to {self._folder.address}, since this one was not heard of for "
                f"{self._seconds:,.0f} s: nothing was published; run the same command again"
            ) from error
        self.head = head

    def _take(self) -> int:
        found = self._folder.read(LOCK)
        value: dict[str, Any] = {"fence": 0, "until": 0.0, "owner": ""}
        if found is not None:
            known = {"fence": int, "until": int | float, "owner": str}
            value = _loaded(found[0], f"{self._folder.address}/{LOCK}", known)
        left = value["until"] - time.time()
        if left > 0:
            raise StoreLocked(
                f"another process ({value['owner']}) is writing to {self._folder.address}; wait until it is done, or, "
                f"if it is dead, for {left:,.0f} s"
            )
        fence: int = max(value["fence"], read_head(self._folder)[0].fence) + 1
        content = self._lock_bytes(fence, until=time.time() + self._seconds)
        try:
            self._lock = self._folder.swap(LOCK, content, found[1] if found else None)
        except Superseded as error:
            raise StoreLocked(
                f"another process has just begun to write to {self._folder.address}; wait until it is done"
            ) from error
        return fence

    def _fence_off(self, fence: int) -> tuple[Head, Revision]:
        """Write *fence* into CURRENT, so that no earlier writer can swap it."""
        for _ in range(_ATTEMPTS):
            head, revision = read_head(self._folder)
            head = head._replace(fence=fence)
            try:
                return head, self._folder.swap(CURRENT, _head_bytes(head), revision)
            except Superseded:  # an earlier writer has published at this very moment
                continue
        raise StoreLocked(f"others keep writing to {self._folder.address}; run again later")

    def _renew(self) -> None:
        while not self._ended.wait(self._seconds / _RENEWALS):
            content = self._lock_bytes(self.head.fence, until=time.time() + self._seconds)
            try:
                self._lock = self._folder.swap(LOCK, content, self._lock)
            except Superseded:
                log.warning(
                    "another process has taken over %s: what is done here is not published", self._folder.address
                )
                return
            except ObjectError:  # it may be back before the lease ends, and else CURRENT decides
                continue

    def _lock_bytes(self, fence: int, *, until: float) -> bytes:
        value = {"format": FORMAT, "fence": fence, "owner": self._owner, "token": self._token, "until": until}
        return dump_checksummed(value)


def _head_bytes(head: Head) -> bytes:
    return dump_checksummed({"format": FORMAT, **head._asdict()})


def _loaded(data: bytes, where: str, known: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """Return what *data* says, which has what is *known*, each of its type."""
    try:
        value: dict[str, Any] = load_checksummed(data)
    except StoreDamaged as error:
        raise StoreDamaged(f"{where} was altered; restore it from a backup") from error
    if is_newer(value.get("format"), FORMAT):
        raise UnknownFormat(f"{where} was written by a newer visrec; upgrade visrec")
    if not all(isinstance(value.get(name), kind) for name, kind in known.items()):
        raise StoreDamaged(f"{where} does not say what it should; restore it from a backup")
    return value
