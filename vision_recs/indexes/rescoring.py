"""Searching with candidates: an approximate index proposes, the vectors of the store decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from vision_recs.indexes.base import Scored, matches, unit_queries
from vision_recs.indexes.config import Point, Tuning
from vision_recs.indexes.index_dir import open_label
from vision_recs.indexes.rescore import refine, scan
from vision_recs.types import Match, Subset, Vectors, VectorSource

_TOGETHER = 64  # queries: more keep cores waiting for the last ones
_AT_ONCE = 1 << 20  # numbers of vectors in memory
_FAR = 32  # times k: how many candidates are scored exactly where all that a filter leaves is far away, and alike
_CERTAIN = 2  # times the effort that was measured with random filters: real ones may select what is far away

_SURE = 5  # times the effort without a filter: of what is asked under one, 99 of 100 are to be found

SCAN = 0
"""The effort that stands for comparing with the codes of all that a filter leaves."""


class Proposer(Protocol):
    """What finds candidates quickly."""

    @property
    def largest_effort(self) -> int:
        """The effort with which it does all that it can."""
        ...

    @property
    def scanned_if_far(self) -> int:
        """How many vectors at most are better scanned where a filter leaves only what is far from the query."""
        ...

    @property
    def filtered_fetch(self) -> int:
        """Times k: how many candidates are scored exactly under a filter, whose answers may be farther away."""
        ...

    def work(self, effort: int, fetch: int) -> float:
        """Return about how many bytes a query reads."""
        ...

    def scans(self, count: int, effort: int | None) -> bool:
        """Whether it knows the effort SCAN, and that takes less for *count* vectors than *effort*; None is endless."""
        ...

    def misses(self, queries: Vectors, within: Subset) -> bool:
        """Whether *within* is far from one of *queries*: around it there is less of it than chance would have."""
        ...

    def propose(self, queries: Vectors, count: int, effort: int, within: Subset | None = None) -> NDArray[np.int64]:
        """Return (n, *count*) positions for unit *queries* (n, dim), -1 where there are no more."""
        ...


class ApproximateIndex:
    """A VectorIndex that scores exactly what a Proposer proposes, and scans where a filter leaves few vectors."""

    def __init__(self, source: VectorSource, proposer: Proposer, tuning: Tuning, *, size: int) -> None:
        """Search the *size* vectors of *source* by *proposer*, as *tuning* says."""
        self.proposer = proposer
        self._size = size
        self._source = source
        self._tuning = tuning

    def tuned(self, tuning: Tuning) -> ApproximateIndex:
        """Return the same index, searched as *tuning* says."""
        return ApproximateIndex(self._source, self.proposer, tuning, size=self._size)

    @property
    def source(self) -> tuple[str, int]:
        """The space and the generation that were indexed."""
        return self._source.fingerprint, self._source.generation

    def search(self, vectors: Vectors, k: int, *, within: Subset | None = None) -> list[list[Match]]:
        """Return up to *k* images for each row of *vectors*: see `VectorIndex`."""
        queries = unit_queries(vectors, k, dim=self._source.dim)
        return matches(within or self._source, self.nearest(queries, k, within=within), k)

    def nearest(
        self, queries: Vectors, k: int, *, within: Subset | None = None, depth: int | None = None
    ) -> list[Scored]:
        """Return positions and exact scores of the *k* nearest to each unit query, and of what ties with the k-th.

        The effort is that for *depth* matches, if it is given.
        """
        point = self._tuning.point(depth or k)
        effort, fetch = min(point.effort, self.proposer.largest_effort), max(k, point.fetch)
        if within is not None:
            is_few = within.count() <= max(k, self._tuning.rows_for_a_query)
            way = None if is_few else self._filtered(queries, k, within)
            if way is None:
                return scan(self._source, within.positions(), queries, k)
            needed, candidates = way
            fetch = max(fetch, candidates)
            effort = SCAN if needed == SCAN else min(max(_SURE * effort, needed), self.proposer.largest_effort)
        return self._found(queries, k, Point(k, effort, fetch), within)

    def _found(self, queries: Vectors, k: int, point: Point, within: Subset | None) -> list[Scored]:
        """Return what `nearest` does, by a search as *point* says."""
        step = max(1, min(_TOGETHER, _AT_ONCE // (point.fetch * self._source.dim)))

        def answer(start: int) -> list[Scored]:
            some = queries[start : start + step]
            proposed = self.proposer.propose(some, point.fetch, point.effort, within)
            return refine(self._source, some, proposed, k)

        if len(queries) <= step:
            return answer(0)
        return _on_all_cores(answer, range(0, len(queries), step))

    def _filtered(self, queries: Vectors, k: int, within: Subset) -> tuple[int, int] | None:
        """Return the effort and how many to score exactly for matches *within*; None if all are to be scored."""
        count = within.count()
        needed = self._tuning.effort(count / max(1, self._size))
        fetch = self.proposer.filtered_fetch * k
        if self.proposer.scans(count, needed):
            return SCAN, fetch
        if needed is None:
            return None
        if not self.proposer.misses(queries, within):
            return _CERTAIN * needed, fetch
        if self.proposer.scans(count, None):
            return SCAN, _FAR * k
        return None if count <= self.proposer.scanned_if_far else (_CERTAIN * needed, _FAR * k)


def open_approximate(
    source: VectorSource, directory: Path, *, name: str, proposer: Callable[[Path], Proposer]
) -> ApproximateIndex:
    """Return the index of engine *name* in *directory*, whose files *proposer* opens."""
    label = open_label(directory, source, name=name)
    return ApproximateIndex(source, proposer(directory), Tuning.from_dict(label.facts["tuning"]), size=label.vectors)


def _on_all_cores(work: Callable[[int], list[Scored]], starts: Sequence[int]) -> list[Scored]:
    """Return what *work* gives for all *starts*, each done by one thread, and FAISS in it by that thread alone."""
    from concurrent.futures import ThreadPoolExecutor  # a single query does without it

    threads = min(len(starts), faiss.omp_get_max_threads())
    with ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        return [scored for part in pool.map(work, starts) for scored in part]
