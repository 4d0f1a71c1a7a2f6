"""One search of an index for the plain queries of a batch, which takes a fraction of the time of one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.indexes.base import Scored
from vision_recs.recommend.query import Policy, Query
from vision_recs.recommend.retrieve import Retriever, SubQuery, first_fetch
from vision_recs.types import Match, SearchRequest, Vectors

if TYPE_CHECKING:
    from vision_recs.recommend.by_position import NearestPositions


def search_ahead(
    retriever: Retriever, queries: Sequence[tuple[Query, Policy, list[SubQuery]]], *, offers: bool
) -> Retriever:
    """Return a *retriever* that knows what the plain ones of *queries* are going to search for first.

    A plain query is one vector without filters and rules. Everything else is searched for when it is needed. With
    *offers* each needs its pool.
    """
    plain = [
        (query, policy, subqueries[0])
        for query, policy, subqueries in queries
        if query.where is None and policy.where is None and not policy.is_by_query
        if len(subqueries) == 1 and subqueries[0].is_single
    ]
    positions = retriever.by_position() if retriever.is_warm and len(plain) > 1 else None
    wanted: dict[int, list[Vectors]] = {}
    for query, policy, subquery in plain:
        count = policy.pool(query.k) if policy.diversity or offers else query.k
        is_grouped = policy.one_per is not None if positions is None else positions.is_grouped(policy.one_per)
        fetch = first_fetch(retriever.items, subquery, count, is_sifted=is_grouped)
        wanted.setdefault(fetch, []).append(subquery.vectors)
    wanted = {fetch: vectors for fetch, vectors in wanted.items() if len(vectors) > 1}
    return _by_match(retriever, wanted) if positions is None else _by_position(retriever, positions, wanted)


def _by_match(retriever: Retriever, wanted: dict[int, list[Vectors]]) -> Retriever:
    known = {
        (fetch, vector.tobytes()): answer
        for fetch, vectors in wanted.items()
        for vector, answer in zip(vectors, retriever.search(SearchRequest(np.concatenate(vectors), fetch)), strict=True)
    }

    def search(request: SearchRequest) -> list[list[Match]]:
        is_plain = request.where is None and len(request.vectors) == 1
        answer = known.get((request.k, request.vectors.tobytes())) if is_plain else None
        return retriever.search(request) if answer is None else [answer]

    return retriever._replace(search=search)


def _by_position(retriever: Retriever, positions: NearestPositions, wanted: dict[int, list[Vectors]]) -> Retriever:
    known: dict[tuple[int, bytes], Scored] = {}
    for fetch, vectors in wanted.items():
        found = positions.nearest(np.concatenate(vectors), fetch)
        known |= {(fetch, vector.tobytes()): scored for vector, scored in zip(vectors, found, strict=True)}
    ahead = positions._replace(ahead=known)
    return retriever._replace(by_position=lambda: ahead)
