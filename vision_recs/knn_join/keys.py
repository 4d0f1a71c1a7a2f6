"""Scored candidates as whole numbers of 64 bits, so that plain sorting puts those of a query together, the best first.

From the highest bit on: 12 bits for the number of the query, 26 bits for how far the score is below 1 in steps of
2^-24, and 26 bits for the number of the candidate, which orders equal scores.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.errors import TooManyVectors
from vision_recs.vectors import STEP_BITS, score_of_steps, steps_below_one

Keys: TypeAlias = NDArray[np.uint64]

_NUMBER_BITS = 64 - 12 - STEP_BITS
_NUMBER = np.uint64((1 << _NUMBER_BITS) - 1)
_STEPS = np.uint64((1 << STEP_BITS) - 1)
_STEP_SHIFT = np.uint64(_NUMBER_BITS)

QUERY_SHIFT = np.uint64(_NUMBER_BITS + STEP_BITS)
"""By how many bits the number of the query is shifted."""

MOST_QUERIES = 1 << 12
"""Queries whose candidates can be sorted together."""

MOST_CANDIDATES = 1 << _NUMBER_BITS
"""Candidates that can be numbered: 67,108,864."""


def require_countable(candidates: int, queries: int = 0) -> None:
    """Raise TooManyVectors where a key has no room for the numbers of *candidates*, or of *queries* at a time."""
    if candidates > MOST_CANDIDATES or queries > MOST_QUERIES:
        raise TooManyVectors(
            f"{candidates:,} images are more than the {MOST_CANDIDATES:,} that one run can compare; "
            "split the catalog into several stores"
        )


def pack(queries: NDArray[np.int64], scores: NDArray[np.float32], numbers: NDArray[np.int64]) -> Keys:
    """Return a key for each query, score and candidate number; see `require_countable`."""
    keys: Keys = (queries.astype(np.uint64) << QUERY_SHIFT) | (steps_below_one(scores) << _STEP_SHIFT)
    keys |= numbers.astype(np.uint64)
    return keys


def unpack(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Return the queries, the scores and the candidate numbers of *keys*."""
    scores = score_of_steps((keys >> _STEP_SHIFT) & _STEPS)
    return (keys >> QUERY_SHIFT).astype(np.int64), scores, (keys & _NUMBER).astype(np.int64)


def best_of_each(keys: Keys) -> Keys:
    """Return the best key of each query and candidate number, by query, then by number."""
    by_number: Keys = keys >> QUERY_SHIFT << QUERY_SHIFT
    by_number |= ((keys & _NUMBER) << np.uint64(STEP_BITS)) | ((keys >> _STEP_SHIFT) & _STEPS)
    by_number.sort()
    pairs = by_number >> np.uint64(STEP_BITS)
    best: Keys = by_number[np.append(True, pairs[1:] != pairs[:-1])[: len(by_number)]]
    numbers, steps = (best >> np.uint64(STEP_BITS)) & _NUMBER, best & _STEPS
    found: Keys = (best >> QUERY_SHIFT << QUERY_SHIFT) | (steps << _STEP_SHIFT) | numbers
    return found
