"""The vectors near to some vectors: exactly, or as an index finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vision_recs.batch.item_arrays import Inventory
from vision_recs.batch.neighbors.eligible import Answering, Askers
from vision_recs.knn_join import ROUGH, AllPairs
from vision_recs.types import Match, Subset, VectorIndex, Vectors, VectorSource

_AT_ONCE = 1_024  # vectors that an index is asked for
_MANY = 4  # times as many groups as are asked for have to be there for them to be told apart while comparing


class Lists(NamedTuple):
    """What is near to some vectors that ask: for vector i the numbers from starts[i] to starts[i + 1], with *scores*.

    Whatever its list lacks has a score of at most bounds[i], and a higher number than those that it has with that
    score; -inf says that the list lacks nothing.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]
    bounds: NDArray[np.float32]


class Near(Protocol):
    """Finds what answers are near; where two scores differ by less than *margin*, they may be in the wrong order."""

    @property
    def margin(self) -> float:
        """How wrong a difference of scores may be."""
        ...

    def lists(self, positions: NDArray[np.int64], k: int) -> Iterator[Lists]:
        """Yield, some at a time, for each of the vectors at *positions* those near to it that show about *k* groups.

        Of a group, those may be missing that are less near than another one of it, and those of the asking item.
        """
        ...

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions*, of which each asks or answers."""
        ...


class ExactNear:
    """Compares all with all."""

    def __init__(self, source: VectorSource, askers: Askers, answering: Answering, *, device: str = "auto") -> None:
        """Read the vectors of *source*; *askers* should ask all at once."""
        self._asking = askers.positions
        kinds = answering.kinds(askers)
        self._pairs = AllPairs(source, askers.positions, answering.positions, kinds=kinds, device=device)
        self._every, self._kinds = len(answering.positions), kinds.count
        self._per_group = answering.per_group
        self._rough = askers.rough
        self.margin = ROUGH.margin if askers.rough else 0.0

    def lists(self, positions: NDArray[np.int64], k: int) -> Iterator[Lists]:
        """Yield the nearest vector of each of the *k* nearest groups; or where there are few, the nearest vectors."""
        by_kind = _MANY * (k + 1) <= self._kinds < self._every
        count = k if by_kind else ceil(k * self._per_group)
        is_all = np.array_equal(positions, self._asking)
        find = self._pairs.nearest if is_all else partial(self._pairs.nearest_to, positions)
        for _, columns, scores in find(count, rough=self._rough, by_kind=by_kind):
            starts = np.arange(len(columns) + 1) * columns.shape[1]
            last = np.float32(-np.inf) if count >= self._every else scores[:, -1] + np.float32(self.margin)
            yield Lists(starts, columns.ravel(), scores.ravel(), np.broadcast_to(last, len(columns)).astype(np.float32))

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions*, which are in memory."""
        return self._pairs.vectors(positions)


class IndexNear:
    """Asks an index."""

    def __init__(
        self,
        source: VectorSource,
        index: VectorIndex,
        inventory: Inventory,
        answering: Answering,
        *,
        within: Subset | None = None,
    ) -> None:
        """Ask *index* of *source* for what *answering* has, in the rows of *inventory*; all of that is *within*."""
        self._within = within
        self._per_group = answering.per_group
        self._source = source
        self._index = index
        self.margin = 0.0
        self._inventory = inventory
        self._number_of = dict(zip(answering.positions.tolist(), range(len(answering.positions)), strict=True))

    def lists(self, positions: NDArray[np.int64], k: int) -> Iterator[Lists]:
        """Yield what the index finds among as many nearest rows as *k* groups usually have."""
        k = ceil(k * self._per_group)
        for start in range(0, len(positions), _AT_ONCE):
            vectors = self._source.vectors(positions[start : start + _AT_ONCE])
            yield self._lists(self._index.search(vectors, k, within=self._within), k)

    def vectors(self, positions: NDArray[np.int64]) -> Vectors:
        """Return the vectors at *positions*, read from the source."""
        return self._source.vectors(positions)

    def _lists(self, answers: Sequence[Sequence[Match]], k: int) -> Lists:
        found = [self._numbers(matches) for matches in answers]
        starts = np.cumsum([0, *map(len, found)])
        numbers = np.array([number for scores in found for number in scores], dtype=np.int64)
        scores = np.array([score for scores in found for score in scores.values()], dtype=np.float32)
        # Of what has the last score, any may be missing, whatever its number: so the bound is just above it.
        bounds = [_above(matches[-1].score) if len(matches) == k else -np.inf for matches in answers]
        return Lists(starts, numbers, scores, np.array(bounds, dtype=np.float32))

    def _numbers(self, matches: Sequence[Match]) -> dict[int, float]:
        """Return the score of each number that *matches* show."""
        found: dict[int, float] = {}
        for match in matches:
            number = self._number_of.get(int(self._inventory.positions[self._inventory.row(match)]))
            if number is not None:
                found[number] = match.score
        return found


def _above(score: float) -> float:
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))
