"""What is wanted of an index, and what it turned out to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """What is wanted of an index.

    *index_type* is "auto", a name out of `INDEX_TYPES`, or a factory string of FAISS. *max_memory* is how many bytes the
    index may take in memory, None for no bound. *target_recall* is the recall@10, against exact search, to reach. The
    same *seed* and the same vectors give the same index.
    """

    index_type: str = "auto"
    max_memory: int | None = None
    target_recall: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """With what *effort* an index is searched for up to *k* matches: how many *fetch* are scored exactly."""

    k: int
    effort: int
    fetch: int


@dataclass(frozen=True, slots=True)
class Built:
    """How an index was built: *index_type* and *index_factory*, for how many vectors it was trained, in how many *seconds*."""

    index_type: str
    index_factory: str
    trained_for: int
    bytes_per_vector: float
    seconds: float


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What an index turned out to be, as measured when it was built or last changed.

    *index_factory* describes it as a factory string of FAISS does. The recalls are those of the questions of `questions.draw`.
    *queries_per_second* is for single queries of k = 10 with all cores, *bytes_per_vector* counts what has to be in
    memory. *target_recall_met* says whether the recall is at least the target.
    """

    index_factory: str
    recall_at_1: float
    recall_at_10: float
    recall_at_100: float
    queries_per_second: float
    bytes_per_vector: float
    build_seconds: float
    target_recall_met: bool


@dataclass(frozen=True, slots=True)
class Tuning:
    """How an approximate index is searched.

    *points* are by ascending k. *filtered* says for a share of the vectors that a filter leaves, ascending, with what
    effort the search then finds 99 of 100. *rows_for_a_query* is how many vectors can be scored exactly in the time of
    a query without a filter.
    """

    points: tuple[Point, ...]
    filtered: tuple[tuple[float, int], ...] = ()
    rows_for_a_query: int = 1000

    def point(self, k: int) -> Point:
        """Return how to search for *k* matches."""
        for point in self.points:
            if k <= point.k:
                return point if point.fetch >= k else replace(point, fetch=k)
        last = self.points[-1]
        times = k / last.k
        return Point(k, round(last.effort * times), round(last.fetch * times))

    def effort(self, share: float) -> int | None:
        """Return the effort for a filter that leaves *share* of the vectors; None where only a scan finds them all.

        Between two measured shares that of the smaller one counts.
        """
        efforts = [effort for measured, effort in self.filtered if measured <= share]
        return efforts[-1] if efforts else None

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Tuning:
        """Return the tuning that `dataclasses.asdict` wrote, also after a round trip through JSON."""
        return cls(
            tuple(Point(**point) for point in value["points"]),
            tuple((share, effort) for share, effort in value["filtered"]),
            value["rows_for_a_query"],
        )
