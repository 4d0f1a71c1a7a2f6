"""Inner products of many vectors with many, fast and to within a known error.

The vectors are rounded to the format in which the device multiplies fastest. How far that moves each of them is
measured, which bounds the error of every product, whatever the data (Cauchy and Schwarz):

    | <x, y> - <x', y'> |  <=  |x - x'| |y| + |x'| |y - y'|

What reaches a threshold less that bound is then few enough to be computed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vision_recs.types import Vectors

_LONGEST = 1.01  # of a vector of a store: see `ranking.blocks`
_TRIAL, _TRIALS = 1_024, 10  # the best of so many is seldom that of a moment in which another process ran
_AT_ONCE = 8_192  # vectors that are rounded at once
_SPREAD = 16  # groups of columns for each of the k best: with so many, two of these are seldom in one group


Rows: TypeAlias = slice | NDArray[np.int64]
"""Some rows of a matrix."""


class Format(NamedTuple):
    """How numbers are kept; *unit* is the greatest relative error of rounding to it."""

    dtype: torch.dtype
    unit: float


BFLOAT16 = Format(torch.bfloat16, 2.0**-8)
FLOAT16 = Format(torch.float16, 2.0**-11)
FLOAT32 = Format(torch.float32, 2.0**-24)


class Errors(NamedTuple):
    """By how much a product of each of some rows may be wrong: *fixed*, and the rounding of its sum, *unit* of it."""

    fixed: NDArray[np.float64]
    unit: float

    def below(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return, for a value of each row, what the exact score of such a product reaches.

        Likewise it is what the product reaches whose exact score is such a value.
        """
        sizes = np.abs(values.astype(np.float64)) + self.fixed
        lowered = values - self.fixed - 1.01 * self.unit * sizes
        return np.nextafter(lowered.astype(np.float32), np.float32(-np.inf))


class Hits(NamedTuple):
    """Products that reach a threshold: the row and the column of each in its block, and its value."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]


class Rounded(NamedTuple):
    """Vectors after rounding, and how far each was *moved* by it."""

    vectors: Tensor
    moved: NDArray[np.float64]

    @property
    def most(self) -> float:
        """How far the one that was moved most is from where it was."""
        return float(self.moved.max(initial=0.0))


@dataclass(frozen=True, slots=True)
class Products:
    """Multiplies *rows* with *columns*, which both are rounded to *kept_as* and lie on *device*."""

    device: torch.device
    kept_as: Format
    rows: Rounded
    columns: Rounded

    @classmethod
    def of(cls, vectors: Vectors, *, device: str = "auto") -> Products:
        """Return the products of *vectors* (n, dim) with themselves.

        *device* is "cpu", "cuda", "cuda:N", or "auto", which is CUDA where there is one.
        """
        found = "cuda" if torch.cuda.is_available() else "cpu"
        place = torch.device(found if device == "auto" else device)
        kept_as = _fastest(vectors, place)
        rounded = _rounded(vectors, kept_as, place)
        return cls(place, kept_as, rounded, rounded)

    def with_rows(self, rows: Vectors) -> Products:
        """Return the products of *rows* (n, dim) with the same columns."""
        return replace(self, rows=_rounded(rows, self.kept_as, self.device))

    @property
    def of_columns(self) -> Products:
        """The products of the columns with themselves."""
        return replace(self, rows=self.columns)

    def errors(self, rows: Rows) -> Errors:
        """Return by how much the products of *rows* with any column may be wrong."""
        moved = _LONGEST * self.rows.moved[rows] + (_LONGEST + self.rows.most) * self.columns.most
        # The sum is made in float32, in whatever order: its error is below dim * 2^-24 (Higham, Accuracy and Stability
        # of Numerical Algorithms, 3.1), doubled here for hardware that truncates.
        summing = _LONGEST**2 * self.columns.vectors.shape[1] * 2.0**-23
        return Errors(moved + summing, self.kept_as.unit)

    def reached(self, rows: Rows, columns: NDArray[np.int64], k: int) -> NDArray[np.float32]:
        """Return, for each of *rows*, a value that at least *k* of its products with *columns* reach.

        It is at most the k-th best and close to it: the best of each of many groups of columns is looked at.
        """
        chosen = self.columns.vectors[torch.from_numpy(columns).to(self.device)]
        products = torch.mm(self._chosen(rows), chosen.T)
        size = max(1, len(columns) // (_SPREAD * k))
        grouped = products[:, : len(columns) // size * size].view(len(products), size, -1).amax(dim=1)
        lowest: NDArray[np.float32] = grouped.float().topk(k, dim=1).values[:, -1].cpu().numpy()
        return lowest

    def hits(
        self,
        rows: Rows,
        columns: slice,
        low: NDArray[np.float32],
        column_low: NDArray[np.float32] | None = None,
    ) -> Hits:
        """Return the products of *rows* with *columns* that reach *low* of their row or *column_low* of their column.

        Where that is below 0, some may be there that do not reach it.
        """
        products = torch.mm(self._chosen(rows), self.columns.vectors[columns].T)
        if self.device.type != "cpu":
            return _hits_of_device(products, low, column_low)
        values, as_values = _comparable(products)
        found = values >= as_values(low)[:, None]
        if column_low is not None:
            found |= values >= as_values(column_low)
        flat = _true(found.reshape(-1))
        row, column = np.divmod(flat, found.shape[1])
        return Hits(row, column, products.view(-1)[torch.from_numpy(flat)].float().numpy())

    def _chosen(self, rows: Rows) -> Tensor:
        if isinstance(rows, slice):
            return self.rows.vectors[rows]
        return self.rows.vectors[torch.from_numpy(rows).to(self.device)]


def rough_scores(
    rows: Vectors, row: NDArray[np.int64], columns: Vectors, column: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine of each of *rows* numbered *row*, ascending, with the one of *columns* in the same place.

    They are added up in float32, so that their last digits may be wrong.
    """
    scores = torch.empty(len(row))
    some, every = torch.from_numpy(rows), torch.from_numpy(columns)
    chosen = torch.from_numpy(column)
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(row)) + 1, [len(row)]])
    gathered = torch.empty(int(np.diff(bounds).max()), columns.shape[1])  # used again and again: it stays in the cache
    for start, stop in pairwise(bounds.tolist()):
        if start < stop:
            theirs = torch.index_select(every, 0, chosen[start:stop], out=gathered[: stop - start])
            torch.mv(theirs, some[row[start]], out=scores[start:stop])
    return scores.clamp_(-1.0, 1.0).numpy()


def taken(vectors: Vectors, places: NDArray[np.int64]) -> Vectors:
    """Return the *vectors* at *places*, in less than half of the time that NumPy takes."""
    found: Vectors = torch.from_numpy(vectors).index_select(0, torch.from_numpy(places)).numpy()
    return found


def cosines_between(some: Vectors, others: Vectors) -> NDArray[np.float32]:
    """Return the cosines (n, m, p) of *some* vectors (n, m, dim) with *others* (n, p, dim), n by n, in float32."""
    found: NDArray[np.float32] = torch.bmm(torch.from_numpy(some), torch.from_numpy(others).transpose(1, 2)).numpy()
    return found


@contextmanager
def workers(device: torch.device | None = None) -> Iterator[Executor]:
    """Run products of *device* side by side: on a CPU, where there is none, one for each thread of torch.

    Its block of products is then in the cache of its core, where comparing it takes no longer than making it.
    """
    threads = torch.get_num_threads()
    flags = torch.backends.cuda.matmul
    half_sums = flags.allow_fp16_reduced_precision_reduction
    flags.allow_fp16_reduced_precision_reduction = False  # the bound on the error supposes sums in float32
    try:
        if device is None or device.type == "cpu":
            pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        else:
            pool = ThreadPoolExecutor(2)  # one makes products while what came of the other's is taken away
        with pool:
            yield pool
    finally:
        flags.allow_fp16_reduced_precision_reduction = half_sums
        torch.set_num_threads(threads)  # what threads that begin later than the workers go by


def _rounded(vectors: Vectors, wanted: Format, device: torch.device) -> Rounded:
    result = torch.empty(vectors.shape, dtype=wanted.dtype, device=device)
    moved = np.empty(len(vectors))
    for start in range(0, len(vectors), _AT_ONCE):
        here = slice(start, start + _AT_ONCE)
        exact = torch.from_numpy(vectors[here]).to(device)
        result[here] = exact.to(wanted.dtype)
        moved[here] = (exact - result[here].float()).double().norm(dim=1).cpu().numpy()
    return Rounded(result, moved)


def _fastest(vectors: Vectors, device: torch.device) -> Format:
    """Return the format in which *device* multiplies fastest: on a CPU that depends on its model, so it is tried."""
    if device.type != "cpu":
        return FLOAT16
    some = torch.from_numpy(vectors[:_TRIAL])
    return min((FLOAT32, BFLOAT16), key=lambda each: _seconds(some.to(each.dtype)))


def _seconds(vectors: Tensor) -> float:
    times = []
    for _ in range(_TRIALS):
        started = perf_counter()
        torch.mm(vectors, vectors.T)
        times.append(perf_counter() - started)
    return min(times)


def _comparable(products: Tensor) -> tuple[NDArray[Any], Callable[[NDArray[np.float32]], NDArray[Any]]]:
    """Return *products* as NumPy can compare them, and what makes thresholds comparable with them.

    NumPy has no bfloat16, but those from 0 on are ordered as the integers of the same bits are, and any that is below 0
    is less than those. So a threshold below 0 becomes the least integer, which all reach.
    """
    if products.dtype != torch.bfloat16:
        return products.numpy(), lambda low: low
    return products.view(torch.int16).numpy(), _bits


def _bits(low: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return the upper halves of *low*: those of the next lower bfloat16, the least integer for what is below 0."""
    upper = (low.view(np.uint32) >> np.uint32(16)).astype(np.int16)
    return np.where(np.signbit(low), np.int16(np.iinfo(np.int16).min), upper)


def _true(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where *mask* (n,) is true, which is seldom: eight are looked at at a time."""
    if len(mask) % 8:
        return np.flatnonzero(mask)
    words = np.flatnonzero(mask.view(np.uint64) != 0)
    word, byte = np.divmod(np.flatnonzero(mask.reshape(-1, 8)[words]), 8)
    return words[word] * 8 + byte


def _hits_of_device(products: Tensor, low: NDArray[np.float32], column_low: NDArray[np.float32] | None) -> Hits:
    found = products >= torch.from_numpy(low).to(products.device)[:, None]
    if column_low is not None:
        found |= products >= torch.from_numpy(column_low).to(products.device)
    row, column = found.nonzero(as_tuple=True)
    return Hits(row.cpu().numpy(), column.cpu().numpy(), products[row, column].float().cpu().numpy())
