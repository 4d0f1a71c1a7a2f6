"""The functions in C (`_kernels.c`) that read and compare vectors, walk graphs and move pools, if a compiler was there.

Where `kernels` is None, NumPy does the same several times slower, and the last bits of its results differ; FAISS walks.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NamedTuple, NewType, Protocol, cast

import numpy as np
from numpy.typing import NDArray

MOST_LINKS, MOST_NUMBERS = 256, 33_025
"""The links of a vector on a level, and the numbers of its code, that `walk_graph` takes at most."""


HeldGraph = NewType("HeldGraph", object)
"""What `hold_graph` or `hold_codes` returned."""


class Shards(NamedTuple):
    """Where the vectors of a store lie in memory, as the functions in C take it; see `gather_half`."""

    firsts: NDArray[np.int64]
    ends: NDArray[np.int64]
    addresses: NDArray[np.int64]


class Visits(NamedTuple):
    """How many vectors a walk visits under a filter, at most *most*, which is found on the way.

    After *first* visits, the *around* nearest vectors that were met are looked at. If a random filter leaves *expected*
    of them, and this one that or more, *needed* vectors are visited; where it leaves less, as many times as many; and
    below *sparse* times of that, the walk ends without an answer.
    """

    needed: float
    most: int
    first: int
    around: int
    expected: float
    sparse: float


class NativeKernels(Protocol):
    """What `_kernels.c` offers. All arrays are in C order; raises ValueError where their sizes do not fit together."""

    def scale_half(
        self, half: NDArray[np.float16], units: NDArray[np.float32], alive: NDArray[np.bool_], dim: int, /
    ) -> None:
        """Write the rows of *half* (n, dim), scaled to length 1, to *units* (n, dim).

        *alive* (n,) becomes False for each row without a direction, which becomes zeros.
        """
        ...

    def gather_half(  # noqa: PLR0913, PLR0917 - it is called for every query, and an object for them takes its time
        self,
        positions: NDArray[np.int64],
        firsts: NDArray[np.int64],
        ends: NDArray[np.int64],
        addresses: NDArray[np.int64],
        units: NDArray[np.float32],
        alive: NDArray[np.bool_],
        dim: int,
        /,
    ) -> int:
        """Write the vectors at *positions* (n,) to *units* and *alive*, as `scale_half` does.

        Shards hold the positions from *firsts* up to *ends*, both ascending; their float16 vectors lie in memory at
        *addresses*, and 0 stands for a shard that is not in memory. Returns the index in *positions* of the first one
        that is in no such shard, where it stopped, or -1. The shards must stay in memory meanwhile.
        """
        ...

    def cosines(
        self, vectors: NDArray[np.float32], queries: NDArray[np.float32], scores: NDArray[np.float32], dim: int, /
    ) -> None:
        """Write the cosine of each of *vectors* (n, dim) with its query to *scores* (n,).

        The first n / m vectors belong to the first of the m *queries* (m, dim), the next n / m to the second, and so
        on.
        """
        ...

    def cosines_at(  # noqa: PLR0913, PLR0917 - it is called for every query, and an object for them takes its time
        self,
        positions: NDArray[np.int64],
        firsts: NDArray[np.int64],
        ends: NDArray[np.int64],
        addresses: NDArray[np.int64],
        queries: NDArray[np.float32],
        scores: NDArray[np.float32],
        dim: int,
        /,
    ) -> int:
        """Write what `cosines` gives for the vectors that `gather_half` gives to *scores* (n,), without keeping these.

        A position below 0 has the score -2. Returns the index in *positions* of the first one that is in no shard in
        memory, or whose vector has no direction, where it stopped, or -1.
        """
        ...

    def cosines_of_pairs(  # noqa: PLR0913, PLR0917 - an object for them would be made for every call
        self,
        some: NDArray[np.float32],
        others: NDArray[np.float32],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        scores: NDArray[np.float32],
        dim: int,
        /,
    ) -> None:
        """Write the cosine of `some[rows[i]]`, rows of *dim* numbers, with `others[columns[i]]` to `scores[i]`.

        Raises ValueError for a row that is not there, too.
        """
        ...

    def diversify(  # noqa: PLR0913, PLR0917 - as above
        self,
        vectors: NDArray[np.float32],
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        starts: NDArray[np.int64],
        chosen: NDArray[np.int64],
        k: int,
        diversity: float,
        dim: int,
        /,
    ) -> None:
        """Write which candidates `batch.neighbors.diversity.diversify` chooses to *chosen*.

        Raises ValueError for a row that is not there, too, and where so many are not chosen.
        """
        ...

    def hold_graph(  # noqa: PLR0913, PLR0917 - it is called once for a graph
        self,
        codes: NDArray[np.uint8],
        links: NDArray[np.int32],
        offsets: NDArray[np.int64],
        firsts: NDArray[np.int32],
        entry: NDArray[np.int64],
        positions: NDArray[np.int64],
        matrix: NDArray[np.float32],
        shift: NDArray[np.float32],
        /,
    ) -> HeldGraph:
        """Return a graph to be walked, which keeps the arrays.

        The numbers of *codes* (n, size) are 128 more than what they stand for. *links*, *offsets*, *firsts* (the first
        link of each level) and *entry* (a vector and its highest level) are those of a graph of FAISS. *positions* (n,)
        say where its vectors are in the store. `matrix @ query + shift`, rounded to whole numbers from -127 to 127, is
        compared with the codes; *matrix* is (size, dim). Raises ValueError for more than `MOST_LINKS` links of a vector
        on a level, or more than `MOST_NUMBERS` numbers of one.
        """
        ...

    def hold_codes(self, graph: HeldGraph, codes: NDArray[np.uint8], positions: NDArray[np.int64], /) -> HeldGraph:
        """Return vectors of *graph* with their *codes* (n, size) and *positions* (n,), to be scanned, not walked."""
        ...

    def walk_graph(  # noqa: PLR0913, PLR0917 - it is called for every query, and an object for them takes its time
        self,
        graph: HeldGraph,
        queries: NDArray[np.float32],
        marks: NDArray[np.uint8] | bytes,
        distances: NDArray[np.float32],
        positions: NDArray[np.int64],
        count: int,
        effort: int,
        /,
    ) -> None:
        """Write the *count* vectors of *graph* that are nearest to each of *queries* (n, dim), the nearest first.

        Their positions come to *positions* (n, count), -1 where there are no more, and their squared distances to
        *distances* (n, count). With *marks*, a bit for each vector, only marked ones are found; the walk goes over all
        of them. It ends where the *effort* nearest vectors that it met have been visited. An *effort* of 0 stands for a
        scan in its place, which compares with all marked vectors.
        """
        ...

    def search_graph(  # noqa: PLR0913, PLR0917 - as above
        self,
        graph: HeldGraph,
        queries: NDArray[np.float32],
        marks: NDArray[np.uint8] | bytes,
        firsts: NDArray[np.int64],
        ends: NDArray[np.int64],
        addresses: NDArray[np.int64],
        positions: NDArray[np.int64],
        scores: NDArray[np.float32],
        sizes: NDArray[np.int64],
        k: int,
        effort: int | Visits,
        /,
    ) -> bool | None:
        """Do what `walk_graph` and `cosines_at` do, one query after the other.

        What `walk_graph` finds comes to *positions* (n, count) with its *scores* (n, count), for each query the best
        first, and *sizes* (n, 2) says how many of them are the *k* best or equal the last of these; what is behind them
        has no meaning. Beside that it says among how many of the nearest a scan had found these; of a walk, how many it
        found. Returns None where a walk ends without an answer, and False where `cosines_at` would have stopped, or
        without memory; then nothing has a meaning. `Visits` are for marked vectors only.
        """
        ...

    def move_pool(  # noqa: PLR0913, PLR0917 - as above
        self,
        numbers: NDArray[np.float64],
        standards: NDArray[np.float64],
        items: NDArray[np.float64],
        pairs: NDArray[np.int64],
        of_pairs: NDArray[np.float64],
        rows: NDArray[np.float64],
        scores: NDArray[np.float64],
        codes: NDArray[np.int64],
        moved: NDArray[np.float64],
        equal: int,
        first: int,
        most: float,
        /,
    ) -> None:
        """Write what `Learned.deltas_of_pool` returns to *moved* (n,).

        *numbers* are the intercept, the slope, and what the logarithm of clicks by features is at least and at most,
        and all in all at least. *standards* (3, m) are the means, scales and weights of the features, *items* the
        logarithms of the factors of items, where the last two stand for the codes below 0, and *of_pairs* those of
        *pairs*, ascending; of those with the item asked for, the item with the code 0 has the number *first*. *rows*
        are those of that item and of the pool, whose first *equal* columns are compared by equality. Raises ValueError
        for a code that is none, too.
        """
        ...


def _load() -> NativeKernels | None:
    if sys.byteorder != "little":  # the vectors are stored so
        return None
    try:
        return cast("NativeKernels", import_module("vision_recs._kernels"))
    except ImportError:
        return None


kernels = _load()
