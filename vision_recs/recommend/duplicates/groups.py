"""What is found: groups of items that are the same thing, and pictures that say nothing of the item."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vision_recs.recommend.policy import VARIANTS

Kind: TypeAlias = Literal["exact", "near"]

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many pictures of how many are compared, from the calling thread."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """Which items are duplicates, and which pictures placeholders.

    Two items are alike whose best pair of pictures has a score of at least *threshold*, None for what is found on the
    data (see `find_threshold`). Items that share a value of the attribute *one_per* are variants of one product: they
    count as duplicates only with the same bytes; None counts them as any others. A picture that *placeholder* products
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
            raise ValueError(f"a placeholder that {self.placeholder} products show is any picture; ask for 2 or more")


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are duplicates of one another: *score* is the lowest of any two of them.

    In an "exact" group all show a picture of the same bytes. pictures[0] is the picture by which the first item is most
    like another one, and pictures[i] that of items[i] which is most like it.
    """

    kind: Kind
    score: float
    items: tuple[str, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One picture, by its bytes, and the *items* that show it; *picture* is what the first of them calls it."""

    picture: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What was found among *items* with *pictures* of *generation*; *found_on_data* says that nobody gave *threshold*.

    Groups come exact ones first, then by falling score; placeholders by how many items show them.
    """

    groups: tuple[Group, ...]
    placeholders: tuple[Placeholder, ...]
    threshold: float
    found_on_data: bool
    items: int
    pictures: int
    generation: int
