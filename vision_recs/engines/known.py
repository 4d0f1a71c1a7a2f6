"""What an engine holds, in 25 bytes a record, so that a publication finds what differs; and a digest of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines import base
from vision_recs.engines.records import HASH_BYTES, KEY_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

_KEY, _HASH = np.dtype(f"S{KEY_BYTES}"), np.dtype(f"S{HASH_BYTES}")
_PROPER = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}} [0-9a-f]{{{2 * HASH_BYTES}}}")
_WORDS = KEY_BYTES // 8
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
"""Added to a hash before it is multiplied, so that a hash of zeros counts, too."""


class Pairs(NamedTuple):
    """The *keys* and *hashes* of some records, as bytes; *strange* are the keys of others that no publication makes."""

    keys: NDArray[np.bytes_]
    hashes: NDArray[np.bytes_]
    strange: list[str]

    @classmethod
    def of(cls, records: pa.Table) -> Pairs:
        """Read the columns KEY and HASH of *records*."""
        columns = [records.column(name) for name in (base.KEY, base.HASH)]
        try:
            return cls(_packed(columns[0], _KEY), _packed(columns[1], _HASH), [])
        except ValueError:  # then each record is looked at alone
            pairs = list(zip(*(column.to_pylist() for column in columns), strict=True))
            is_proper = [_PROPER.fullmatch(f"{key} {hash_}") is not None for key, hash_ in pairs]
            proper = [column.filter(is_proper) for column in columns]
            strange = [key for (key, _), known in zip(pairs, is_proper, strict=True) if not known]
            return cls(_packed(proper[0], _KEY), _packed(proper[1], _HASH), strange)


class Difference(NamedTuple):
    """Which of some records, by their row numbers, are *new* in the engine, and which have *changed*."""

    new: list[int]
    changed: list[int]


class KnownRecords:
    """The keys and hashes of the records in an engine, and which of them were met since.

    *strange* are the keys that no publication makes, and those that several records have: these are to be removed, and
    do not count as known.
    """

    def __init__(self, pages: Iterable[pa.Table]) -> None:
        """Read *pages* of keys and hashes."""
        self.strange: list[str] = []
        keys, hashes = [np.empty(0, _KEY)], [np.empty(0, _HASH)]
        for page in pages:
            pairs = Pairs.of(page)
            keys.append(pairs.keys)
            hashes.append(pairs.hashes)
            self.strange += pairs.strange
        found, number, times = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
        self.strange += _unpacked(found[times > 1])
        self._keys = found[times == 1]
        self._hashes = np.concatenate(hashes)[number[times == 1]]
        self._is_met = np.zeros(len(self._keys), np.bool_)

    def difference(self, records: Pairs, *, rewrite: bool = False) -> Difference:
        """Return which of *records* differ, and count them as met.

        With *rewrite*, every known one counts as changed.
        """
        wanted, hashes, _ = records
        places = np.searchsorted(self._keys, wanted)
        is_known = places < len(self._keys)
        is_known[is_known] = self._keys[places[is_known]] == wanted[is_known]
        known = places[is_known]
        self._is_met[known] = True
        is_other = np.full(len(known), rewrite) | (self._hashes[known] != hashes[is_known])
        return Difference(np.flatnonzero(~is_known).tolist(), np.flatnonzero(is_known)[is_other].tolist())

    def unmet(self) -> list[str]:
        """Return the keys of the known records that were not met."""
        return _unpacked(self._keys[~self._is_met])


class Content:
    """A digest of records that does not depend on their order: the sums of products of each key and hash."""

    def __init__(self) -> None:
        """Begin without records."""
        self._count = 0
        self._sums = np.zeros(_WORDS, np.uint64)

    def add(self, records: Pairs) -> None:
        """Add *records*; what no publication makes is counted only."""
        keys, hashes, strange = records
        words = keys.view("<u8").reshape(-1, _WORDS) * (hashes.view("<u8").reshape(-1, 1) + _ODD)
        self._sums += words.sum(axis=0, dtype=np.uint64)
        self._count += len(keys) + len(strange)

    def digest(self) -> str:
        """Return the number of records, and their digest."""
        return f"{self._count}-{self._sums.astype('<u8').tobytes().hex()}"


def _packed(texts: pa.ChunkedArray, dtype: np.dtype[np.bytes_]) -> NDArray[np.bytes_]:
    """Return the bytes of *texts*, as `bytes.hex` writes them; raises ValueError for other texts."""
    column = texts.combine_chunks()
    if not len(column):
        return np.empty(0, dtype)
    _, starts, data = column.buffers()
    ends = np.frombuffer(starts, np.int32)[column.offset : column.offset + len(column) + 1]
    joined = data[ends[0] : ends[-1]].to_pybytes().decode() if data else ""
    packed = bytes.fromhex(joined)
    if packed.hex() != joined or (np.diff(ends) != 2 * dtype.itemsize).any():
        raise ValueError("not what `bytes.hex` writes")
    return np.frombuffer(packed, dtype)


def _unpacked(keys: NDArray[np.bytes_]) -> list[str]:
    data = keys.tobytes().hex()
    return [data[start : start + 2 * KEY_BYTES] for start in range(0, len(data), 2 * KEY_BYTES)]
