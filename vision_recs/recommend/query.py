"""What the shop asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a query without a filter does without the language of filters
    from vision_recs.filters import Filter


@dataclass(frozen=True, slots=True)
class Query:
    """Items like all of *items* and *pictures* together, at most *k* of them.

    *items* are ids of the store, *pictures* the bytes of picture files that need not be in it. Only items that match
    *where* are answers; those that ask need not match it. Raises ValueError for a query that asks for nothing.
    """

    items: tuple[str, ...] = ()
    pictures: tuple[bytes, ...] = ()
    k: int = 10
    where: Filter | None = None

    def __post_init__(self) -> None:
        """Refuse a query without content."""
        if not self.items and not self.pictures:
            raise ValueError("the query names neither an item nor a picture; name one")
        if self.k < 1:
            raise ValueError(f"the query asks for k = {self.k} items; ask for 1 or more")
