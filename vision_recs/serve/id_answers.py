"""Answers to queries that are one id: from the id to the bytes of the answer, without an object for each match.

Most requests of a shop are of this kind. They are answered here as far as that is simple, and what is not is left to
the general path, whose answers are the same to the byte: see `convert.query_batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vision_recs.indexes.base import Group
from vision_recs.recommend import Policy
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.serve.id_search import GROWTH, ROUNDING, IdQuery, IdSearch, Ranked, SearchedId, is_plain
from vision_recs.serve.shown_items import NO_EFFECTS, NOWHERE, Shown, ShownItems
from vision_recs.types import VectorIndex

if TYPE_CHECKING:
    from vision_recs.serve.served import ServedItems

_encode = msgspec.json.Encoder().encode

_SPARE = 2
"""Images that are read beside those that an answer needs: the item of the query, and one more."""


class _Outcome(Enum):
    """Why no answer was chosen: more images have to be searched, or scores do not say which come first."""

    INCOMPLETE = 1
    UNORDERED = 2


class IdAnswers:
    """Answers `IdQuery`s from one generation under one policy, on one thread."""

    def __init__(self, items: ServedItems, source: NearestPositions, policy: Policy) -> None:
        """Answer from *source*, which knows the positions of *items*, under *policy*, which is plain."""
        self._policy = policy
        self._shows_images_once = policy.shows_images_once(None)
        self._search = IdSearch(items, source, policy)
        self._shown = ShownItems(source, policy)
        self._begin = b'{"generation":%d,"matches":[' % items.generation
        self._explained = b"" if policy.rules is None else NO_EFFECTS

    @classmethod
    def of(cls, items: ServedItems, index: VectorIndex, policy: Policy) -> IdAnswers | None:
        """Return what answers from *items* and *index*; None if they know no positions, or *policy* is not plain."""
        source = NearestPositions.of(items, index) if is_plain(policy) and policy.learn is None else None
        return None if source is None else cls(items, source, policy)

    def batch(self, queries: Sequence[IdQuery]) -> list[bytes | None]:
        """Return, for each of *queries*, its answer as JSON, or None where that is left to the general path."""
        asked = self._search.asked(queries)
        answers: dict[IdQuery, bytes | None] = {}
        depth = 1
        while asked:
            found = list(zip(asked, self._search.ranked(asked, depth), strict=True))
            self._read(position for each, ranked in found for _, position in ranked[: each.query.k + _SPARE])
            chosen = [(each, self._chosen(each, ranked)) for each, ranked in found]
            asked = [each for each, outcome in chosen if outcome is _Outcome.INCOMPLETE]
            depth *= GROWTH
            answers |= {each.query: self._answer(each, outcome) for each, outcome in chosen}
        return [answers.get(query) for query in queries]

    def _read(self, positions: Iterable[int]) -> None:
        """Know which items show the images at *positions*."""
        self._shown.read(positions)

    def _chosen(self, asked: SearchedId, ranked: Ranked) -> list[tuple[float, Shown]] | _Outcome:
        """Return what an answer shows, with the scores."""
        never, items, groups = {asked.query.item, *self._policy.exclude}, set[str](), {asked.group} - {None}
        chosen: list[tuple[float, Shown]] = []
        last = np.inf
        for score, position in ranked:
            shown: Sequence[Shown] = self._shown.at(position)
            if len(shown) != 1 or shown[0].item in never:
                shown = [each for each in shown if each.item not in never]
                if not shown and position != NOWHERE:
                    continue
            is_tied = last - score <= ROUNDING
            if position == NOWHERE and (is_tied or len(chosen) < asked.query.k):
                return _Outcome.INCOMPLETE
            if is_tied:
                return _Outcome.UNORDERED
            if len(chosen) >= asked.query.k:
                break
            admitted = self._admitted(shown, items, groups)
            chosen += [(score, each) for each in admitted]
            last = score if admitted else last
        return chosen[: asked.query.k]

    def _admitted(self, shown: Sequence[Shown], items: set[str], groups: set[Group | None]) -> list[Shown]:
        """Return those of *shown*, which all show one image, that come into an answer with *items* and *groups*.

        They are added to these.
        """
        admitted: list[Shown] = []
        for each in shown:
            if each.item in items or each.group in groups or (admitted and self._shows_images_once):
                continue
            items.add(each.item)
            if each.group is not None:
                groups.add(each.group)
            admitted.append(each)
        return admitted

    def _answer(self, asked: SearchedId, chosen: list[tuple[float, Shown]] | _Outcome) -> bytes | None:
        if isinstance(chosen, _Outcome):
            return None
        if not chosen:
            return self._begin + b"]}"
        scores = _encode([round(score, 6) for score, _ in chosen])[1:-1].split(b",")
        parts = [self._begin]
        for rank, (score, (_, shown)) in enumerate(zip(scores, chosen, strict=True), 1):
            parts += (b'%s{"rank":%d,' % (b"," if rank > 1 else b"", rank), shown.before, score, shown.after)
            parts += (self._explained, shown.cover if asked.query.cover else b"", b"}")
        return b"".join([*parts, b"]}"])
