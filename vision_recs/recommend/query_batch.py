"""Several queries at once: what each asks the index first is asked together, which takes less than one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from vision_recs.recommend.policy import Policy
from vision_recs.recommend.query import Query
from vision_recs.recommend.retrieve import Search
from vision_recs.recommend.scoring import Question
from vision_recs.types import Match, Vectors

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter


def search_ahead(search: Search, asked: Iterable[tuple[Query, Policy, list[Question]]]) -> Search:
    """Return a *search* that knows the answers to what the plain ones of *asked* are going to search for first.

    Plain are those for one vector, without filters and rules. What else comes is searched for when it is needed.
    """
    wanted: dict[int, list[Vectors]] = {}
    for query, policy, questions in asked:
        is_plain = query.where is None and policy.where is None and policy.rules is None
        if is_plain and len(questions) == 1 and questions[0].is_single:
            count = policy.pool(query.k) if policy.diversity else query.k
            wanted.setdefault(search.first_fetch(questions[0], count), []).append(questions[0].vectors)
    known = {
        (fetch, vector.tobytes()): answer
        for fetch, vectors in wanted.items()
        if len(vectors) > 1
        for vector, answer in zip(vectors, search.within(np.concatenate(vectors), fetch, None), strict=True)
    }

    def within(vectors: Vectors, k: int, where: Filter | None) -> list[list[Match]]:
        answer = None if where is not None or len(vectors) > 1 else known.get((k, vectors.tobytes()))
        return search.within(vectors, k, where) if answer is None else [answer]

    return Search(search.store, within)
