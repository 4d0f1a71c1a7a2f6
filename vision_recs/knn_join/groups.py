"""Groups of corpus vectors, such as the images of one item or of its variants: only the nearest of a group counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_KEY_BITS = 64


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of corpus vectors, and who owns the vectors of both sides.

    Corpus vector c belongs to the group `group[c]`, counted from 0, and to the owner `owner[c]`. Query vector q belongs
    to the owner `query_owner[q]`. Of a group, only the corpus vector nearest to q is a result, and a vector of the
    owner of q never is. All vectors of an owner are of the same group, except for the owner -2, who has no query
    vectors. Where `query_owner[q]` is -1, each corpus vector is a group of its own for q.
    """

    group: NDArray[np.int64]
    owner: NDArray[np.int64]
    query_owner: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many groups there are."""
        return int(self.group.max(initial=-1)) + 1

    def reordered(self, numbers: NDArray[np.int64]) -> Groups:
        """Return the groups of the corpus vectors with these *numbers*, in that order."""
        return replace(self, group=self.group[numbers], owner=self.owner[numbers])

    def for_queries(self, query_owner: NDArray[np.int64]) -> Groups:
        """Return the same groups for other query vectors."""
        return replace(self, query_owner=query_owner)

    def sample_one_each(self, random: np.random.Generator, most: int) -> NDArray[np.int64]:
        """Return one random corpus vector of each group, at most *most* of them, ascending."""
        order = random.permutation(len(self.group))
        _, firsts = np.unique(self.group[order], return_index=True)
        return np.sort(random.permutation(order[firsts])[:most])

    def may_be_results(self, queries: NDArray[np.int64], corpus: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return, for each pair of a query vector and a corpus vector, whether two owners have them."""
        may_be: NDArray[np.bool_] = self.owner[corpus] != self.query_owner[queries]
        return may_be

    def grouped(
        self, queries: NDArray[np.int64], corpus: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the order (n,) of n pairs by query and group, and which places in that order begin a group.

        *queries* and *corpus* (n,) are the vectors of the pairs; the pairs of a group keep their order.
        """
        groups = np.where(self.query_owner[queries] < 0, len(self.group) + corpus, self.group[corpus])
        order, whose = _sorted_by(queries, groups)
        return order, np.append(True, whose[1:] != whose[:-1])[: len(order)]


def _sorted_by(queries: NDArray[np.int64], groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the stable order of *queries* and *groups* (n,), and in that order one number for each query and group.

    Where query, group and place fit into one key, sorting keys is several times as fast.
    """
    group_bits = int(groups.max(initial=0)).bit_length()
    place_bits = len(groups).bit_length()
    whose = (queries.astype(np.uint64) << np.uint64(group_bits)) | groups.astype(np.uint64)
    if int(queries.max(initial=0)).bit_length() + group_bits + place_bits > _KEY_BITS:
        order = np.argsort(whose, kind="stable")
        return order, whose[order]
    keys = (whose << np.uint64(place_bits)) | np.arange(len(groups), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64((1 << place_bits) - 1)).astype(np.int64), keys >> np.uint64(place_bits)
