"""A candidate: another store that a share of the shoppers is answered from, until a command ends it."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vision_recs.errors import EventsError, StoreError, VisionRecsError
from vision_recs.feedback.candidates import ended_candidates, name_of, note_served
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.reloader import Reloader
from vision_recs.serve.served import Served

if TYPE_CHECKING:
    from vision_recs.recommend.query_encoder import LoadImage

log = logging.getLogger(__name__)


class Candidate:
    """The candidate of *options*, whose generations are followed as those of the store."""

    def __init__(self, options: ServeOptions, folder: Path, events: Path, load_image: LoadImage | None) -> None:
        """Open the store in *folder*; where that fails, or it ended, nobody is answered from it."""
        self._name = name_of(folder)
        self._events = events
        self._is_noted = False
        self._note()
        self._ended = self._how_it_ended()
        self.reloader: Reloader | None = None
        try:
            self.reloader = Reloader(replace(options, store=folder, engine=None), load_image)
        except VisionRecsError as error:
            log.error("the candidate cannot be served: %s", error, extra={"event": "no_candidate"})  # noqa: TRY400
        if self._ended:
            self._say()

    @property
    def snapshot(self) -> Served | None:
        """The generation to answer from, or None once it ended."""
        return None if self.reloader is None or self._ended else self.reloader.snapshot

    async def start(self) -> None:
        """Load what answers need."""
        if self.reloader is not None:
            await self.reloader.start()

    async def reload(self) -> None:
        """Follow the published generation, and what was decided about it."""
        self._note()
        before, self._ended = self._ended, self._how_it_ended()
        if self._ended and self._ended != before:
            self._say()
        if self.reloader is not None and not self._ended:
            await self.reloader.reload()

    def close(self) -> None:
        """Close the store."""
        if self.reloader is not None:
            self.reloader.close()

    def _how_it_ended(self) -> str:
        try:
            return ended_candidates(self._events).get(self._name, "")
        except StoreError:  # the folder of events is lost: nothing can be compared
            return "not known"

    def _note(self) -> None:
        """Tell `visrec candidate` that this one is served."""
        if not self._is_noted:
            with suppress(StoreError, EventsError):  # the folder of events is lost: the next time
                note_served(self._events, self._name)
                self._is_noted = True

    def _say(self) -> None:
        log.warning("the candidate %s: %s", self._name, self._ended, extra={"event": "candidate_ended"})
