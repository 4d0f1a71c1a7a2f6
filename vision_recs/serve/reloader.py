"""The generation that answers, and its replacement while requests go on."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from vision_recs.errors import StoreError
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.snapshots import Edition, open_edition, require_sound, warm
from vision_recs.store import Layout
from vision_recs.store.store import read_current

log = logging.getLogger("visrec.serve")

_RETRY_S = 30.0


class Shop:
    """The published generation of a store, watched: whatever is published replaces it, unless it is damaged.

    *refused* is why the newest generation is not served, or None; *encodes* whether queries brought images, so that
    the next generation needs its encoder too.
    """

    def __init__(self, options: ServeOptions) -> None:
        """Open the store; raises StoreError."""
        self._options = options
        self._layout = Layout(options.store)
        self._background = ThreadPoolExecutor(1, thread_name_prefix="visrec-reload")
        self._refused_at = 0.0
        self._refused_current: tuple[int, str] | None = None
        self.edition = open_edition(options)
        self.refused: str | None = None
        self.encodes = options.preload

    async def start(self) -> None:
        """Load the encoder, where that is wished for, and begin to prepare what the first answers do not need."""
        loop = asyncio.get_running_loop()
        if self._options.preload:
            await loop.run_in_executor(self._background, warm, self.edition.recommender)
        edition = self.edition
        edition.hold()
        preparing = self._background.submit(edition.prepare)
        preparing.add_done_callback(lambda _: edition.release())

    async def look(self) -> bool | None:
        """Take the published generation where it is another one: whether that was done, or None for nothing new."""
        loop = asyncio.get_running_loop()
        try:
            current = await loop.run_in_executor(self._background, read_current, self._layout)
        except StoreError as error:
            return self._refuse(error, None)
        if current == self.edition.current:
            self.refused = None
            return None
        if current == self._refused_current and monotonic() < self._refused_at + _RETRY_S:
            return None
        try:
            edition = await loop.run_in_executor(self._background, self._open)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new one, the old one goes on
            return self._refuse(error, current)
        retired, self.edition = self.edition, edition
        self.refused = None
        retired.release()
        log.info(
            "generation %d replaces %d",
            edition.current[0],
            retired.current[0],
            extra={"event": "reload", "generation": edition.current[0]},
        )
        return True

    def close(self) -> None:
        """Stop preparing; the files are closed as the last requests end."""
        self._background.shutdown(wait=False, cancel_futures=True)
        self.edition.release()

    def _open(self) -> Edition:
        """Return the published generation, found sound and ready to answer."""
        edition = open_edition(self._options)
        try:
            require_sound(edition, self.edition)
            for item in edition.store.items.ids(limit=1):
                edition.recommender.similar(item, k=1)
            if self.encodes:
                warm(edition.recommender)
            edition.prepare()
        except BaseException:
            edition.release()
            raise
        return edition

    def _refuse(self, error: Exception, current: tuple[int, str] | None) -> bool | None:
        said_before = self.refused == str(error)
        self.refused, self._refused_current, self._refused_at = str(error), current, monotonic()
        if said_before:
            return None
        log.error(
            "the newest generation is refused, generation %d goes on: %s",
            self.edition.current[0],
            error,
            extra={"event": "reload_refused", "generation": self.edition.current[0]},
        )
        return False
