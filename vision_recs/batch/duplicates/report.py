"""What `find_duplicates` is to find, and what it returns: groups of items, and placeholder images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vision_recs.recommend.query import VARIANTS

Kind: TypeAlias = Literal["exact", "near"]

Looked: TypeAlias = Callable[[int, int], None]
"""Called with the number of images that were looked at and with the number of all, on the calling thread."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called in the same way, with what is done first: "looking" or "comparing"."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """Which items are duplicates, and which images are placeholders.

    Two items are alike where their best pair of images has a score of at least *threshold*. None estimates it from the
    catalog (see `estimate_threshold`); then items are alike, too, where one shows a copy of an image of the other, in
    another size, quality or margin (see `find_copies`). Items with an equal value of the attribute *one_per* are
    variants of one product: they are duplicates only where they show the same bytes; with None, they count as any other
    items. An image that *placeholder* or more products show is a placeholder.
    """

    threshold: float | None = None
    one_per: str | None = VARIANTS
    placeholder: int = 10
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ValueError(f"a threshold of {self.threshold} is not above 0 and at most 1; try 0.95")
        if self.placeholder < 2:  # noqa: PLR2004 - an image of one product is shared by nobody
            raise ValueError(f"a placeholder that {self.placeholder} products show is any image; use 2 or more")


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are duplicates of one another; *score* is the lowest score of any two of them.

    In an "exact" group, all items show an image of the same bytes. images[0] is the image of the first item that is
    most like another item of the group; images[i] is the image of items[i] that is most like images[0].
    """

    kind: Kind
    score: float
    items: tuple[str, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One image, by its bytes, and the *items* that show it; *image* is its name in the first of them."""

    image: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found among *items* items with *images* images of *generation*.

    Exact groups come first, then groups by falling score. Placeholders are sorted by the number of items that show
    them, most first. *is_estimated* says that *threshold* was estimated from the catalog. Then *looked_at* images were
    compared by their pixels, and *unread* more could not be read on this machine, or have changed since.
    """

    groups: tuple[Group, ...]
    placeholders: tuple[Placeholder, ...]
    threshold: float
    is_estimated: bool
    looked_at: int
    unread: int
    items: int
    images: int
    generation: int
