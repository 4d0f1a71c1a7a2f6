"""The learned model: how many clicks an item would get at the first place, and how far that moves it in an answer.

It is an immutable file, named by its SHA-256: safetensors with the arrays of `Fitted`, the ids of the items one after
the other in UTF-8 with their lengths, and in its metadata, under `model`, a JSON object with the names of the
attributes and where it comes from. It holds nothing of any shopper.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs import _native
from vision_recs.errors import StoreDamaged, read_error
from vision_recs.feedback.features import Features, Matrix
from vision_recs.feedback.fitting import Fitted, standardized

Codes: TypeAlias = NDArray[np.int64]

OTHER_QUERY, UNKNOWN = -1, -2
"""What stands for a query that is not one item, and for an item that the model does not know."""

MOST_MOVED = 0.2
"""How far, as a score, an item is moved at most, where nothing else is said."""

_METADATA = "model"
_LENGTH_BYTES = 8  # a safetensors file begins with the length of its JSON header
_LEAST_LOG, _MOST_LOG = -20.0, 2.0
_NOTHING = 1e-12  # clicks; nothing is below
_LOG_OF_NOTHING = np.log(_NOTHING)
_SLIGHT = 0.01  # what moves an item by less is left out
_REMEDY = "run `visrec learn --undo`, or restore it from a backup"


@dataclass(frozen=True)
class Learned:
    """A model of the *items* (ids, ascending), with the numbers of *fitted*; *provenance* says where it comes from."""

    features: Features
    fitted: Fitted
    items: tuple[str, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The SHA-256 of the file, which names the model."""
        return hashlib.sha256(self._bytes).hexdigest()

    def clicks(self, asked: Codes, shown: Codes, inputs: Matrix) -> Matrix:
        """Return the expected clicks (n,) at the first place of n pairs with the features *inputs* (n, m).

        *asked* and *shown* (n,) are positions in *items*, OTHER_QUERY or UNKNOWN.
        """
        fitted = self.fitted
        logs = fitted.intercept + standardized(inputs, fitted.mean, fitted.scale) @ fitted.weights
        item = np.where(shown < 0, 1.0, fitted.item_factors[shown]) if self.items else 1.0
        return np.asarray(np.exp(np.clip(logs, _LEAST_LOG, _MOST_LOG)) * item * self._pair_factors(asked, shown))

    def deltas_of_pool(self, asked: str, codes: Codes, rows: Matrix, scores: Matrix, *, most: float) -> Matrix:
        """Return what `deltas` returns (n,) for the expected clicks of one pool with *codes*, for the item *asked*.

        It takes a fraction of the time. For a query of another kind, *asked* is empty. *rows* (1 + n, m) are those of
        it and of the pool, one item at least: see `Rows`.
        """
        code = self._code_of.get(asked, UNKNOWN) if asked else OTHER_QUERY
        if _native.kernels is None:
            return self._deltas(code, codes, rows, scores, most)
        moved = np.empty(len(codes))
        first = (code + 1) * (len(self.items) + 1)
        _native.kernels.move_pool(*self._numbers, rows, scores, codes, moved, len(self.features.equal), first, most)
        return moved

    def _deltas(self, asked: int, shown: Codes, rows: Matrix, scores: Matrix, most: float) -> Matrix:
        """Return what `deltas_of_pool` returns, in which *asked* and *shown* are codes."""
        fitted = self.fitted
        inputs = self.features.pool_matrix(rows, scores)
        logs = fitted.intercept + standardized(inputs, fitted.mean, fitted.scale) @ fitted.weights
        logs = np.minimum(np.maximum(logs, _LEAST_LOG), _MOST_LOG) + self._item_logs[shown]
        logs += np.log(self._pair_factors(np.full(len(shown), asked), shown))
        moved = np.maximum(logs, _LOG_OF_NOTHING) / fitted.slope - scores
        moved -= moved.mean()
        return np.asarray(np.minimum(np.maximum(moved, -most), most))

    def deltas(self, clicks: Matrix, scores: Matrix, *, most: float = MOST_MOVED) -> Matrix:
        """Return what is added to each of *scores* (..., n) for the ranking of a pool with expected *clicks* (..., n).

        They are the scores that would explain the clicks, compared with those of the pool on average, within *most*.
        NaN in both stands for places of a shorter pool.
        """
        logs = np.log(np.maximum(clicks, _NOTHING)) / self.fitted.slope
        mean = np.nanmean if np.isnan(scores).any() else np.mean  # the first one takes many times as long
        wanted = logs - mean(logs, axis=-1, keepdims=True)
        return np.asarray(np.clip(wanted - (scores - mean(scores, axis=-1, keepdims=True)), -most, most))

    def trying_weights(self, items: Sequence[str]) -> Matrix:
        """Return how likely each of *items* (n,) is tried where an answer explores: the less is known, the likelier."""
        return self.trying_weights_of(self.codes(items))

    def trying_weights_of(self, codes: Codes) -> Matrix:
        """Return what `trying_weights` returns of items with *codes*."""
        weights = self._weights[codes]
        return np.asarray(np.maximum(weights, 0.2 * (np.add.reduce(weights) / len(codes))) if len(codes) else weights)

    def codes(self, items: Sequence[str]) -> Codes:
        """Return the position of each of *items* (n,) in the model; UNKNOWN for one that is new."""
        return np.fromiter(map(self._code_of.get, items, repeat(UNKNOWN)), np.int64, len(items))

    def _pair_factors(self, asked: Codes, shown: Codes) -> Matrix:
        keys = self._pair_keys
        if not len(keys):
            return np.ones(len(shown))
        wanted = (asked + 1) * (len(self.items) + 1) + shown
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((keys[at] == wanted) & (shown >= 0), self.fitted.pair_factors[at], 1.0)

    @cached_property
    def _pair_keys(self) -> Codes:
        return np.asarray((self.fitted.asked + 1) * (len(self.items) + 1) + self.fitted.shown)

    @cached_property
    def _numbers(self) -> tuple[Matrix, Matrix, Matrix, Codes, Matrix]:
        """The model as `NativeKernels.move_pool` takes it."""
        fitted = self.fitted
        numbers = np.array([fitted.intercept, fitted.slope, _LEAST_LOG, _MOST_LOG, _LOG_OF_NOTHING])
        standards = np.stack([fitted.mean, fitted.scale, fitted.weights])
        return numbers, standards, self._item_logs, self._pair_keys, np.log(fitted.pair_factors)

    @cached_property
    def _item_logs(self) -> Matrix:
        """The logarithm of the factor of each item; the last ones are of those that the model does not know."""
        return np.concatenate([np.log(self.fitted.item_factors), np.zeros(-UNKNOWN)])

    @cached_property
    def _weights(self) -> Matrix:
        """How likely each item is tried; the last ones are of those that the model does not know."""
        return np.concatenate([1.0 / (1.0 + self.fitted.expected), np.ones(-UNKNOWN)])

    @cached_property
    def _code_of(self) -> Mapping[str, int]:
        return {item: code for code, item in enumerate(self.items)}

    def to_bytes(self) -> bytes:
        """Return the file of the model; equal models give equal bytes."""
        return self._bytes

    @cached_property
    def _bytes(self) -> bytes:
        from safetensors.numpy import save

        fitted = self.fitted
        told = np.abs(np.log(fitted.pair_factors)) >= _SLIGHT
        names = [item.encode() for item in self.items]
        tensors = {
            "mean": fitted.mean,
            "scale": fitted.scale,
            "weights": fitted.weights,
            "examination": fitted.examination,
            "numbers": np.array([fitted.intercept, fitted.slope]),
            "item_factors": fitted.item_factors.astype(np.float32),
            "expected": fitted.expected.astype(np.float32),
            "asked": fitted.asked[told].astype(np.int32),
            "shown": fitted.shown[told].astype(np.int32),
            "pair_factors": fitted.pair_factors[told].astype(np.float32),
            "ids": np.frombuffer(b"".join(names), np.uint8),
            "lengths": np.array([len(name) for name in names], np.int32),
        }
        metadata = {"equal": self.features.equal, "ratio": self.features.ratio, "provenance": dict(self.provenance)}
        text = json.dumps(metadata, sort_keys=True)
        return bytes(save({name: np.ascontiguousarray(each) for name, each in tensors.items()}, {_METADATA: text}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Learned:
        """Return the model in the file with the bytes *data*; raises ValueError or LookupError for another file."""
        from safetensors.numpy import load

        tensors = load(data)
        header = json.loads(data[_LENGTH_BYTES:][: int.from_bytes(data[:_LENGTH_BYTES], "little")])
        metadata = json.loads(header["__metadata__"][_METADATA])
        intercept, slope = tensors["numbers"].tolist()
        wide = {name: tensors[name].astype(np.float64) for name in _WIDE}
        fitted = Fitted(
            intercept=intercept,
            slope=slope,
            asked=tensors["asked"].astype(np.int64),
            shown=tensors["shown"].astype(np.int64),
            **wide,
        )
        ends = np.cumsum(tensors["lengths"])
        text = tensors["ids"].tobytes()
        items = tuple(
            text[start:end].decode() for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False)
        )
        features = Features(tuple(metadata["equal"]), tuple(metadata["ratio"]))
        return cls(features, fitted, items, metadata["provenance"])


_WIDE = ("mean", "scale", "weights", "examination", "item_factors", "expected", "pair_factors")


def read_model(path: Path, *, digest: str) -> Learned:
    """Return the model in the file *path*, which must have the SHA-256 *digest*.

    Raises StoreDamaged: another model would give other answers, and nobody would know why.
    """
    from safetensors import SafetensorError

    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreDamaged(f"{path} was altered; {_REMEDY}")
        return Learned.from_bytes(data)
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise read_error(path, error, _REMEDY) from error
