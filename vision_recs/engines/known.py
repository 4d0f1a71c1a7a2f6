"""What an engine holds, in 25 bytes a record, so that a publication finds what differs; and a digest of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.engines.records import HASH_BYTES, KEY_BYTES

_KEY, _HASH = np.dtype(f"S{KEY_BYTES}"), np.dtype(f"S{HASH_BYTES}")
_PROPER = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}} [0-9a-f]{{{2 * HASH_BYTES}}}")
_WORDS = 2


class Difference(NamedTuple):
    """Which of some records, by their row numbers, are *new* in the engine, and which have *changed*."""

    new: list[int]
    changed: list[int]


class KnownRecords:
    """The keys and hashes of the records in an engine, and which of them were met since.

    *strange* are the keys that no publication makes, and those that several records have: these are to be removed, and
    do not count as known.
    """

    def __init__(self, pages: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
        """Read *pages* of keys and hashes."""
        self.strange: list[str] = []
        keys, hashes = [np.empty(0, _KEY)], [np.empty(0, _HASH)]
        for page in pages:
            pairs = list(zip(*page, strict=True))
            proper = [pair for pair in pairs if _PROPER.fullmatch(f"{pair[0]} {pair[1]}")]
            if len(proper) < len(pairs):
                self.strange += [key for key, hash_ in pairs if not _PROPER.fullmatch(f"{key} {hash_}")]
            keys.append(_packed([key for key, _ in proper], _KEY))
            hashes.append(_packed([hash_ for _, hash_ in proper], _HASH))
        found, number, times = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
        self.strange += _unpacked(found[times > 1])
        self._keys = found[times == 1]
        self._hashes = np.concatenate(hashes)[number[times == 1]]
        self._is_met = np.zeros(len(self._keys), np.bool_)

    def difference(self, keys: Sequence[str], hashes: Sequence[str], *, rewrite: bool = False) -> Difference:
        """Return which of the records with *keys* and *hashes* differ, and count them as met.

        With *rewrite*, every known one counts as changed.
        """
        wanted = _packed(keys, _KEY)
        places = np.searchsorted(self._keys, wanted)
        is_known = places < len(self._keys)
        is_known[is_known] = self._keys[places[is_known]] == wanted[is_known]
        known = places[is_known]
        self._is_met[known] = True
        is_other = np.full(len(known), rewrite) | (self._hashes[known] != _packed(hashes, _HASH)[is_known])
        return Difference(np.flatnonzero(~is_known).tolist(), np.flatnonzero(is_known)[is_other].tolist())

    def unmet(self) -> list[str]:
        """Return the keys of the known records that were not met."""
        return _unpacked(self._keys[~self._is_met])


class Content:
    """A digest of records that does not depend on their order: the sum of digests of each key and hash."""

    def __init__(self) -> None:
        """Begin without records."""
        self._count = 0
        self._sums = np.zeros(_WORDS, np.uint64)

    def add(self, keys: Sequence[str], hashes: Sequence[str]) -> None:
        """Add the records with *keys* and *hashes*."""
        pairs = zip(keys, hashes, strict=True)
        digests = (hashlib.blake2b(f"{key} {hash_}".encode(), digest_size=8 * _WORDS).digest() for key, hash_ in pairs)
        self._sums += np.frombuffer(b"".join(digests), "<u8").reshape(-1, _WORDS).sum(axis=0, dtype=np.uint64)
        self._count += len(keys)

    def digest(self) -> str:
        """Return the number of records, and their digest."""
        return f"{self._count}-{self._sums.astype('<u8').tobytes().hex()}"


def _packed(texts: Sequence[str], dtype: np.dtype[np.bytes_]) -> NDArray[np.bytes_]:
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype)


def _unpacked(keys: NDArray[np.bytes_]) -> list[str]:
    data = keys.tobytes().hex()
    return [data[start : start + 2 * KEY_BYTES] for start in range(0, len(data), 2 * KEY_BYTES)]
