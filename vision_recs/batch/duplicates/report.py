"""What is found: groups of items that are the same thing, and images that say nothing of the item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vision_recs.recommend.policy import VARIANTS

Kind: TypeAlias = Literal["exact", "near"]

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many images of how many are compared, from the calling thread."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """Which items are duplicates, and which images placeholders.

    Two items are alike whose best pair of images has a score of at least *threshold*, None for what is found on the
    data (see `find_threshold`). Items that share a value of the attribute *one_per* are variants of one product: they
    count as duplicates only with the same bytes; None counts them as any others. An image that *placeholder* products
    or more show is a placeholder.
    """

    threshold: float | None = None
    one_per: str | None = VARIANTS
    placeholder: int = 10
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ValueError(f"a threshold of {self.threshold} is not above 0 and at most 1; try 0.95")
        if self.placeholder < 2:  # noqa: PLR2004 - one product is no sharing
            raise ValueError(f"a placeholder that {self.placeholder} products show is any image; ask for 2 or more")


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are duplicates of one another: *score* is the lowest of any two of them.

    In an "exact" group all show an image of the same bytes. images[0] is the image by which the first item is most
    like another one, and images[i] that of items[i] which is most like it.
    """

    kind: Kind
    score: float
    items: tuple[str, ...]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One image, by its bytes, and the *items* that show it; *image* is what the first of them calls it."""

    image: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found among *items* with *images* of *generation*; *found_on_data* says that nobody gave *threshold*.

    Groups come exact ones first, then by falling score; placeholders by how many items show them.
    """

    groups: tuple[Group, ...]
    placeholders: tuple[Placeholder, ...]
    threshold: float
    found_on_data: bool
    items: int
    images: int
    generation: int
