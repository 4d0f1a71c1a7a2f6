"""The distinct texts of an attribute, ascending, in one array of bytes: searched by bisection, or all at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLE = 65_536  # bytes: enough to estimate which byte values are rare


class Dictionary:
    """Texts in UTF-8; their order by byte is their order by code point."""

    def __init__(self, texts: NDArray[np.uint8], ends: NDArray[Any]) -> None:
        """Use the bytes *texts*, one text after the other, and *ends*, where each text ends."""
        self._texts = texts
        self._bytes = texts.data
        self._ends = ends

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self._ends)

    @property
    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """The bytes of all texts, one after the other, and where each text ends."""
        return self._texts, self._ends

    def text(self, number: int) -> bytes:
        """Return the text *number*, counted from 0."""
        start = self._ends.item(number - 1) if number else 0
        return self._bytes[start : self._ends.item(number)].tobytes()

    def find(self, operator: str, text: str) -> range:
        """Return the numbers of the texts t for which `t operator text` holds; *operator* is == < <= > or >=."""
        sought = text.encode()
        first = bisect_left(range(len(self)), sought, key=self.text)
        after = first + (first < len(self) and self.text(first) == sought)
        match operator:
            case "==":
                return range(first, after)
            case "<" | "<=":
                return range(first if operator == "<" else after)
            case _:
                return range(after if operator == ">" else first, len(self))

    def those_of(self, ascending: Sequence[bytes]) -> list[int]:
        """Return the numbers of the texts that are among *ascending*, which are ordered by byte."""
        found: list[int] = []
        place, usual = 0, len(self) // max(1, len(ascending)) + 1  # how far apart they are, if evenly
        for sought in ascending:
            width = usual
            while place + width < len(self) and self.text(place + width) < sought:
                place, width = place + width + 1, 2 * width
            end = min(place + width, len(self))
            place = bisect_left(range(len(self)), sought, lo=place, hi=end, key=self.text)
            if place < len(self) and self.text(place) == sought:
                found.append(place)
        return found

    def beginning(self, part: str) -> range:
        """Return the numbers of the texts that begin with *part*."""
        sought = part.encode()
        first = bisect_left(range(len(self)), sought, key=self.text)
        after = bisect_right(range(len(self)), sought, lo=first, key=lambda number: self.text(number)[: len(sought)])
        return range(first, after)

    def ending(self, part: str) -> NDArray[np.bool_]:
        """Return which texts end with *part*."""
        sought = part.encode()
        ends = self._ends.astype(np.int64)
        found = np.flatnonzero(np.diff(ends, prepend=0) >= len(sought))
        for back, byte in enumerate(reversed(sought), 1):
            found = found[self._texts[ends[found] - back] == byte]
        return self._marked(found)

    def containing(self, part: str) -> NDArray[np.bool_]:
        """Return which texts contain *part*, which must not be empty."""
        sought = part.encode()
        starts = self._occurrences(sought)
        numbers = np.searchsorted(self._ends, starts, side="right")
        within = starts + len(sought) <= self._ends[numbers]  # and not across the end of a text
        return self._marked(numbers[within])

    def _occurrences(self, sought: bytes) -> NDArray[np.int64]:
        """Return where the bytes *sought* begin in the bytes of all texts; the rarest byte is looked for first."""
        common = np.bincount(self._texts[:_SAMPLE], minlength=256)
        rarest, *others = sorted(range(len(sought)), key=lambda place: common[sought[place]])
        places = len(self._texts) - len(sought) + 1
        starts = np.flatnonzero(self._texts[rarest : rarest + max(places, 0)] == sought[rarest])
        for place in others:
            starts = starts[self._texts[starts + place] == sought[place]]
        return starts

    def _marked(self, numbers: NDArray[Any]) -> NDArray[np.bool_]:
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[numbers] = True
        return mask
