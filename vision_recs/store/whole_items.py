"""What jobs over all items read: one store, or several as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from vision_recs.store.items import StoredRow
from vision_recs.types import Attribute, ItemSource, Row, VectorReader


class WholeItems(ItemSource, VectorReader, Protocol):
    """All items with their vectors, which have positions; a `Store` is one.

    Images with the same bytes have one position, whichever items show them.
    """

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        ...

    def stored_rows(self) -> Iterator[StoredRow]:
        """Yield every image, by id, then by ordinal."""
        ...

    def all_attributes(self) -> Iterator[tuple[str, Mapping[str, Attribute]]]:
        """Yield each id with its attributes, by id."""
        ...

    def rows(self, positions: Sequence[int], *, limit: int) -> dict[int, list[Row]]:
        """Return, for each position, at most *limit* images that have its vector, ordered by id, then by image."""
        ...
