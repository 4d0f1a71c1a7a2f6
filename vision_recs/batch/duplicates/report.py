"""What `find_duplicates` is to find, and what it returns: groups of items, and placeholder images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vision_recs.recommend.query import VARIANTS

Kind: TypeAlias = Literal["exact", "near"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of images that are compared and with the number of all, on the calling thread."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """Which items are duplicates, and which images are placeholders.

    Two items are alike where their best pair of images has a score of at least *threshold*; None estimates it from the
    catalog (see `estimate_threshold`). Items with an equal value of the attribute *one_per* are variants of one
    product: they are duplicates only where they show the same bytes; with None, they count as any other items. An image
    that *placeholder* or more products show is a placeholder.
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
    them, most first. *is_estimated* says that *threshold* was estimated from the catalog.
    """

    groups: tuple[Group, ...]
    placeholders: tuple[Placeholder, ...]
    threshold: float
    is_estimated: bool
    items: int
    images: int
    generation: int
