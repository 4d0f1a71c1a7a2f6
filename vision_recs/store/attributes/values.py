"""The values of one attribute of some items that follow each other, as arrays with one place for each item."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vision_recs.store.attributes.dictionary import Dictionary
from vision_recs.store.attributes.format import NULL
from vision_recs.store.attributes.predicates import Arrays, Mask


class Values(NamedTuple):
    """What n items have under an attribute, in arrays (n,): *kinds* of `format`, *codes* into *texts*, *numbers*.

    *codes* count from 1, and are 0 for what is not a text; *numbers* are NaN for what is not a number. Where
    *is_whole*, the number is the whole number in *wholes*, which float64 cannot represent.
    """

    kinds: NDArray[np.uint8]
    codes: NDArray[Any]
    numbers: NDArray[np.float64]
    is_whole: Mask
    wholes: NDArray[np.int64]
    texts: Dictionary

    def of(self, kept: Mask) -> Values:
        """Return the values of those items that are *kept* (n,)."""
        kinds, codes, numbers, is_whole, wholes, texts = self
        return Values(kinds[kept], codes[kept], numbers[kept], is_whole[kept], wholes[kept], texts)


def values_of(arrays: Arrays, first: int, stop: int) -> Values:
    """Return the values of the items from *first* to before *stop* of a group in whose file the attribute has *arrays*.

    An attribute that no item of the group has has no arrays: then every value is null.
    """
    begin, end, places = first, stop, np.arange(stop - first)
    if "items" in arrays:
        begin, end = np.searchsorted(arrays["items"], (first, stop)).tolist()
        places = arrays["items"][begin:end].astype(np.int64) - first

    def placed(name: str, empty: NDArray[Any]) -> NDArray[Any]:
        if name in arrays:
            empty[places] = arrays[name][begin:end]
        return empty

    count = stop - first
    is_whole, wholes = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    if "int64_places" in arrays:
        at = arrays["int64_places"].astype(np.int64)
        inside = (at >= begin) & (at < end)
        rows = places[at[inside] - begin]
        is_whole[rows], wholes[rows] = True, arrays["int64_values"][inside]
    nothing = np.empty(0, np.uint8)
    return Values(
        placed("kinds", np.full(count, NULL, np.uint8)),
        placed("codes", np.zeros(count, arrays["codes"].dtype if "codes" in arrays else np.uint8)),
        placed("numbers", np.full(count, np.nan)),
        is_whole,
        wholes,
        Dictionary(arrays.get("dictionary", nothing), arrays.get("dictionary_ends", nothing)),
    )
