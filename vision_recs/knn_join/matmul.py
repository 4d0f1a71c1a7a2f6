"""Matrix products of many vectors with many, fast and with a known bound on their error.

The vectors are quantized: rounded to the number format in which the device multiplies fastest. How far each vector x is
moved to x' is measured, which bounds the error of every product, whatever the data (Cauchy and Schwarz):

    | <x, y> - <x', y'> |  <=  |x - x'| |y| + |x'| |y - y'|

The products that reach a threshold less that bound are few enough to be computed exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs._torch import Tensor, torch
from vision_recs.types import Vectors

_LONGEST = 1.01  # the length of a vector of a store at most: see `indexes.base.blocks`
_TRIAL, _TRIALS = 1_024, 10  # vectors and trials: the best of ten is seldom one in which another process ran
_BLOCK = 8_192  # vectors that are quantized at once
_SPREAD = 16  # parts of the columns for each of the k best: of so many, two of the best are seldom in the same part


Rows: TypeAlias = slice | NDArray[np.int64]
"""Some rows of a matrix."""


class NumberFormat(NamedTuple):
    """A number format; *unit* is the greatest relative error of rounding to it."""

    dtype: torch.dtype
    unit: float


BFLOAT16 = NumberFormat(torch.bfloat16, 2.0**-8)
FLOAT16 = NumberFormat(torch.float16, 2.0**-11)
FLOAT32 = NumberFormat(torch.float32, 2.0**-24)


class ErrorBound(NamedTuple):
    """How far the products of some rows may be from the exact scores.

    `fixed[r]` bounds the error of row r, and *unit* the relative error of rounding the sum.
    """

    fixed: NDArray[np.float64]
    unit: float

    def lower(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return, for one of *values* in each row, a number that the exact score of a product of that value reaches.

        Likewise, a product whose exact score is that value reaches the number.
        """
        sizes = np.abs(values.astype(np.float64)) + self.fixed
        lowered = values - self.fixed - 1.01 * self.unit * sizes
        return np.nextafter(lowered.astype(np.float32), np.float32(-np.inf))


class ThresholdHits(NamedTuple):
    """Products that reach a threshold: the row and the column of each in its block, and its value."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]


class Quantized(NamedTuple):
    """Vectors (n, dim) after rounding, and how far each was *moved* by it (n,)."""

    vectors: Tensor
    moved: NDArray[np.float64]

    @property
    def most_moved(self) -> float:
        """The greatest distance by which a vector was moved."""
        return float(self.moved.max(initial=0.0))


@dataclass(frozen=True, slots=True)
class Matmul:
    """The matrix of products of *rows* with *columns*, both quantized to *number_format* and on *device*.

    It is computed block by block.
    """

    device: torch.device
    number_format: NumberFormat
    rows: Quantized
    columns: Quantized

    @classmethod
    def of(cls, vectors: Vectors, *, device: str = "auto") -> Matmul:
        """Return the products of *vectors* (n, dim) with themselves.

        *device* is "cpu", "cuda", "cuda:N", or "auto", which is CUDA where there is one.
        """
        found = "cuda" if torch.cuda.is_available() else "cpu"
        place = torch.device(found if device == "auto" else device)
        number_format = _fastest_format(vectors, place)
        quantized = _quantize(vectors, number_format, place)
        return cls(place, number_format, quantized, quantized)

    def with_rows(self, rows: Vectors) -> Matmul:
        """Return the products of *rows* (n, dim) with the same columns."""
        return replace(self, rows=_quantize(rows, self.number_format, self.device))

    @property
    def of_columns(self) -> Matmul:
        """The products of the columns with themselves."""
        return replace(self, rows=self.columns)

    def error_bound(self, rows: Rows) -> ErrorBound:
        """Return how far the products of *rows* with any column may be from the exact scores."""
        moved = _LONGEST * self.rows.moved[rows] + (_LONGEST + self.rows.most_moved) * self.columns.most_moved
        # The sum is made in float32, in whatever order: its error is below dim * 2^-24 (Higham, Accuracy and Stability
        # of Numerical Algorithms, 3.1), doubled here for hardware that truncates.
        summing = _LONGEST**2 * self.columns.vectors.shape[1] * 2.0**-23
        return ErrorBound(moved + summing, self.number_format.unit)

    def kth_best(self, rows: Rows, columns: NDArray[np.int64], k: int) -> NDArray[np.float32]:
        """Return, for each of *rows*, a value that at least *k* of its products with *columns* reach.

        It is at most the k-th best product, and close to it: only the best of each of many parts is looked at.
        """
        chosen = self.columns.vectors[torch.from_numpy(columns).to(self.device)]
        products = torch.mm(self._chosen(rows), chosen.T)
        size = max(1, len(columns) // (_SPREAD * k))
        parts = products[:, : len(columns) // size * size].view(len(products), size, -1).amax(dim=1)
        lowest: NDArray[np.float32] = parts.float().topk(k, dim=1).values[:, -1].cpu().numpy()
        return lowest

    def hits(
        self,
        rows: Rows,
        columns: slice,
        low: NDArray[np.float32],
        column_low: NDArray[np.float32] | None = None,
    ) -> ThresholdHits:
        """Return the products of *rows* with *columns* that reach *low* of their row or *column_low* of their column.

        Where such a threshold is below 0, products that do not reach it may be among them.
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
        return ThresholdHits(row, column, products.view(-1)[torch.from_numpy(flat)].float().numpy())

    def _chosen(self, rows: Rows) -> Tensor:
        if isinstance(rows, slice):
            return self.rows.vectors[rows]
        return self.rows.vectors[torch.from_numpy(rows).to(self.device)]


def cosines_between(vectors: Vectors) -> NDArray[np.float32]:
    """Return the cosines (n, p, p) of *vectors* (n, p, dim) with each other, for each of n apart, in float32."""
    some = torch.from_numpy(vectors)
    found: NDArray[np.float32] = torch.bmm(some, some.transpose(1, 2)).numpy()
    return found


@contextmanager
def workers(device: torch.device | None = None) -> Iterator[Executor]:
    """Run tasks with products on *device* side by side: on a CPU, one for each thread of torch.

    Without a *device*, that is a CPU. The block of products of a task then stays in the cache of its core, where
    comparing takes no longer than multiplying.
    """
    threads = torch.get_num_threads()
    flags = torch.backends.cuda.matmul
    half_sums = flags.allow_fp16_reduced_precision_reduction
    flags.allow_fp16_reduced_precision_reduction = False  # the bound on the error supposes sums in float32
    try:
        if device is None or device.type == "cpu":
            pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        else:
            pool = ThreadPoolExecutor(2)  # one multiplies while the results of the other are taken away
        with pool:
            yield pool
    finally:
        flags.allow_fp16_reduced_precision_reduction = half_sums
        torch.set_num_threads(threads)  # threads that begin later than the workers use this number


def _quantize(vectors: Vectors, number_format: NumberFormat, device: torch.device) -> Quantized:
    result = torch.empty(vectors.shape, dtype=number_format.dtype, device=device)
    moved = np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        here = slice(start, start + _BLOCK)
        exact = torch.from_numpy(vectors[here]).to(device)
        result[here] = exact.to(number_format.dtype)
        moved[here] = (exact - result[here].float()).double().norm(dim=1).cpu().numpy()
    return Quantized(result, moved)


def _fastest_format(vectors: Vectors, device: torch.device) -> NumberFormat:
    """Return the format in which *device* multiplies fastest; on a CPU it depends on the model, and is measured."""
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
    """Return *products* as an array that NumPy can compare, and a function that makes thresholds comparable with it.

    NumPy has no bfloat16. But bfloat16 numbers from 0 on are ordered as the integers of the same bits are, and those
    below 0 are negative integers. So a threshold below 0 becomes the least integer, which all products reach.
    """
    if products.dtype != torch.bfloat16:
        return products.numpy(), lambda low: low
    return products.view(torch.int16).numpy(), _bits


def _bits(low: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return the bits of the bfloat16 numbers at or just below *low*; the least integer for numbers below 0."""
    upper = (low.view(np.uint32) >> np.uint32(16)).astype(np.int16)
    return np.where(np.signbit(low), np.int16(np.iinfo(np.int16).min), upper)


def _true(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where *mask* (n,) is true; since that is seldom, eight places are looked at at a time."""
    if len(mask) % 8:
        return np.flatnonzero(mask)
    words = np.flatnonzero(mask.view(np.uint64) != 0)
    word, byte = np.divmod(np.flatnonzero(mask.reshape(-1, 8)[words]), 8)
    return words[word] * 8 + byte


def _hits_of_device(
    products: Tensor, low: NDArray[np.float32], column_low: NDArray[np.float32] | None
) -> ThresholdHits:
    found = products >= torch.from_numpy(low).to(products.device)[:, None]
    if column_low is not None:
        found |= products >= torch.from_numpy(column_low).to(products.device)
    row, column = found.nonzero(as_tuple=True)
    return ThresholdHits(row.cpu().numpy(), column.cpu().numpy(), products[row, column].float().cpu().numpy())
