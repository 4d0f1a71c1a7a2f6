"""Which images were being decoded when a run ended without a word: the next run decodes these apart.

A decoder that crashes takes the run with it. So each thread writes down which image it decodes, by its digest, in the
file SUSPECTS of the store. A run that ends as it should removes the file.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Final

from vision_recs.store import Staged

_DIGEST_BYTES: Final = 32
_SLOW_S: Final = 60.0
_POLL_S: Final = 1.0

log = logging.getLogger(__name__)


class Suspects:
    """The images, by digest, of which one may have ended the last run; and those that are being decoded now.

    Where the file cannot be read or written, the run goes on without it. Several threads may use it.
    """

    def __init__(self, path: Path, known: Iterable[bytes]) -> None:
        """Go on from the file *path*, if a run has left it; *known* are images that crashed a decoder before."""
        self._path = path
        data = b""
        with suppress(OSError):
            data = path.read_bytes()
        self._kept = len(data) // _DIGEST_BYTES
        self._digests = {data[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES] for at in range(self._kept)} | {*known}
        self._file: int | None = None
        self._lock = threading.Lock()
        self._own = threading.local()
        self._places = count(self._kept)
        self._decoding: dict[int, tuple[float, Staged]] = {}
        self._ended = threading.Event()

    def __contains__(self, digest: object) -> bool:
        """Whether the image with *digest* is to be decoded apart."""
        return digest in self._digests

    @contextmanager
    def decoding(self, image: Staged, digest: bytes) -> Iterator[None]:
        """Write down that this thread decodes *image* from now on, and warn if that takes long."""
        self._write_down(digest)
        thread = threading.get_ident()
        self._decoding[thread] = monotonic(), image
        try:
            yield
        finally:
            del self._decoding[thread]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Warn of images whose decoding takes long, until the end of the block; then forget what was written down.

        What a run before has left stays until `settle`: these images have no outcome in the store yet.
        """
        threading.Thread(target=self._watch, name="visrec-slow-images", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()
            with suppress(OSError):
                self._forget()
            if not self._kept:
                self.settle()

    def settle(self) -> None:
        """Remove the file: the store knows what became of each image."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
            os.truncate(self._path, self._kept * _DIGEST_BYTES)

    def _write_down(self, digest: bytes) -> None:
        with suppress(OSError):
            if not hasattr(self._own, "at"):
                self._own.at = next(self._places) * _DIGEST_BYTES
            with self._lock:
                if self._file is None:
                    self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            os.pwrite(self._file, digest, self._own.at)

    def _watch(self) -> None:
        warned: set[int] = set()
        while not self._ended.wait(_POLL_S):
            for started, image in list(self._decoding.values()):
                if monotonic() - started > _SLOW_S and image.number not in warned:
                    warned.add(image.number)
                    log.warning(
                        "%s has been decoded for more than %.0f s; if that does not end, end this run: the next one "
                        "decodes the image apart, and skips it if it takes too long",
                        image.image,
                        _SLOW_S,
                    )
