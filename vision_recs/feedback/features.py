"""What the model knows of a pair: the score of the item shown, and how its attributes compare with the item asked for.

Texts, numbers and truth values of few kinds are compared by being equal, positive numbers by their ratio too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from vision_recs.types import Attribute

Matrix = NDArray[np.float64]
_Attributes: TypeAlias = Mapping[str, Attribute]

_MOST_ATTRIBUTES = 12
_FEWEST_KNOWN = 0.05  # of the items: what fewer have teaches little
_MOST_VALUES = 200
_ID_LIKE = 0.5  # as many values as that share of the items: a title or a code
_MOST_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Features:
    """Which features a pair has: *equal* names attributes that are compared by equality, *ratio* those by ratio."""

    equal: tuple[str, ...] = ()
    ratio: tuple[str, ...] = ()

    @classmethod
    def of(cls, attributes: Mapping[str, Mapping[str, Attribute]]) -> Features:
        """Return the features that fit items with *attributes*, by id; equal attributes give equal features."""
        values: dict[str, dict[tuple[bool, Attribute], int]] = defaultdict(lambda: defaultdict(int))
        for own in attributes.values():
            for name, value in own.items():
                if value is not None:
                    values[name][isinstance(value, bool), value] += 1
        least = max(2.0, _FEWEST_KNOWN * len(attributes))
        known = sorted((name, counts) for name, counts in values.items() if sum(counts.values()) >= least)
        equal = [name for name, counts in known if 1 < len(counts) <= min(_MOST_VALUES, _ID_LIKE * len(attributes))]
        ratio = [name for name, counts in known if len(counts) > 1 and all(map(_is_positive, counts))]
        return cls(tuple(equal[:_MOST_ATTRIBUTES]), tuple(ratio[:_MOST_ATTRIBUTES]))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of `matrix`."""
        ratios = [f"{kind} {name}" for name in self.ratio for kind in ("distance of", "lower")]
        return ("score", "below the best", *(f"same {name}" for name in self.equal), *ratios)

    def matrix(self, asked: Columns, shown: Columns, score: Matrix, best: Matrix) -> Matrix:
        """Return the features (n, number of names) of n pairs; NaN where something is not known."""
        columns = [score, best - score]
        for name in self.equal:
            one, other = asked.codes[name], shown.codes[name]
            columns.append(np.where((one < 0) | (other < 0), np.nan, (one == other).astype(np.float64)))
        for name in self.ratio:
            difference = shown.logs[name] - asked.logs[name]
            columns += [np.abs(difference), np.maximum(-difference, 0.0)]
        return np.stack(columns, axis=1)

    def pool_matrix(self, rows: Matrix, scores: Matrix) -> Matrix:
        """Return what `matrix` returns, of the *rows* (1 + n, m) of the item asked for and of a pool: see `Rows`.

        *scores* (n,) are those of the pool.
        """
        texts, asked, shown = len(self.equal), rows[0], rows[1:]
        found = np.empty((len(scores), 2 + texts + 2 * len(self.ratio)))
        found[:, 0] = scores
        found[:, 1] = scores.max() - scores
        if texts:
            same = (shown[:, :texts] == asked[:texts]).astype(np.float64)
            found[:, 2 : 2 + texts] = np.where(np.isnan(shown[:, :texts] + asked[:texts]), np.nan, same)
        if self.ratio:
            difference = shown[:, texts:] - asked[texts:]
            found[:, 2 + texts :: 2] = np.abs(difference)
            found[:, 3 + texts :: 2] = np.maximum(-difference, 0.0)
        return found


class Rows:
    """The attributes of items as numbers that *features* compare, which are made once for each item.

    A row has a code for the value of each of `Features.equal`, then the logarithm of each number of `Features.ratio`;
    NaN stands for none. Several threads may use it at once.
    """

    def __init__(self, features: Features) -> None:
        """Begin with no item."""
        self._features = features
        self._width = len(features.equal) + len(features.ratio)
        self._codes: dict[tuple[str, bool, Attribute], int] = {}
        self._next = count()
        self._known: dict[str, bytes] = {}

    def of(self, items: Sequence[str], attributes_of: Callable[[Sequence[str]], Sequence[_Attributes]]) -> Matrix:
        """Return the row of each of *items* (n, m); *attributes_of* returns the attributes of those that are new."""
        if not self._width:
            return np.empty((len(items), 0))
        rows = list(map(self._known.get, items))
        if None in rows:
            missing = [item for item, row in zip(items, rows, strict=True) if row is None]
            made = dict(zip(missing, map(self._row, attributes_of(missing)), strict=True))
            if len(self._known) + len(made) > _MOST_ROWS:
                self._known.clear()
            self._known.update(made)
            rows = [made[item] if row is None else row for item, row in zip(items, rows, strict=True)]
        joined = b"".join(cast("list[bytes]", rows))  # in a tenth of the time that an array of tuples takes
        return np.frombuffer(joined, np.float64).reshape(len(items), self._width)

    def _row(self, attributes: _Attributes) -> bytes:
        codes = [self._code(name, attributes.get(name)) for name in self._features.equal]
        logs = [_logarithm(attributes.get(name)) for name in self._features.ratio]
        return np.array([*codes, *logs], np.float64).tobytes()

    def _code(self, name: str, value: Attribute) -> float:
        if value is None:
            return np.nan
        return float(self._codes.setdefault((name, isinstance(value, bool), value), next(self._next)))


@dataclass(frozen=True)
class Columns:
    """The attributes of some items by column: a code for each value, -1 for none, and the logarithms of numbers."""

    codes: Mapping[str, NDArray[np.int64]]
    logs: Mapping[str, Matrix]

    @classmethod
    def of(cls, features: Features, attributes: Sequence[Mapping[str, Attribute]]) -> Columns:
        """Return the columns that *features* need of items with *attributes*."""
        codes, logs = {}, {}
        for name in features.equal:
            numbers: dict[tuple[bool, Attribute], int] = {}
            keys = [(isinstance(value, bool), value) for value in (own.get(name) for own in attributes)]
            codes[name] = np.array(
                [-1 if value is None else numbers.setdefault((kind, value), len(numbers)) for kind, value in keys],
                np.int64,
            )
        for name in features.ratio:
            logs[name] = np.array([_logarithm(own.get(name)) for own in attributes], np.float64)
        return cls(codes, logs)

    def take(self, rows: NDArray[np.int64]) -> Columns:
        """Return the columns of the items at *rows*; nothing is known of the row -1."""
        absent = rows < 0
        codes = {name: np.where(absent, -1, column[rows]) for name, column in self.codes.items()}
        return Columns(codes, {name: np.where(absent, np.nan, column[rows]) for name, column in self.logs.items()})


def _logarithm(value: Attribute) -> float:
    return float(np.log(np.float64(value))) if _is_positive((isinstance(value, bool), value)) else np.nan


def _is_positive(key: tuple[bool, Attribute]) -> bool:
    is_bool, value = key
    return not is_bool and isinstance(value, int | float) and 0 < value < np.inf
