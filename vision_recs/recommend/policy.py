"""What the shop wants of every answer, whoever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vision_recs.errors import PolicyError

if TYPE_CHECKING:  # a policy without rules does without what reads them
    from collections.abc import Mapping

    from vision_recs.filters import AttributeType, Filter
    from vision_recs.recommend.rules import Rules

VARIANTS = "variant_group"
"""The attribute whose items are variants of one product, where a catalog has it."""

EVERY_ITEM = "item"
"""What is written for `Policy.one_per` where all variants are to be shown."""

DEFAULT_DIVERSITY = 0.3
"""How much `--diversity` gives up for variety."""

_POOL, _POOL_FOR_EACH = 40, 2


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for every answer.

    *one_per* is an attribute of which an answer shows each value once, by the best item; items without it are not
    counted, and None shows all of them. *where* has to match, besides that of the query, and no id of *exclude* is an
    answer, nor an item whose score is below *min_score*.

    *diversity*, from 0 to below 1, is what a match loses for being like those chosen before it: the next is the one of
    the highest (1 - diversity) * rank - diversity * (its greatest cosine with one that is chosen), where rank is the
    score with what rules add to it (Carbonell and Goldstein, 1998: maximal marginal relevance). It is chosen out of the
    40 best or, where that is more, of the best twice as many as were asked for.

    Raises PolicyError for a value out of its range.
    """

    one_per: str | None = VARIANTS
    where: Filter | None = None
    exclude: frozenset[str] = frozenset()
    min_score: float | None = None
    diversity: float = 0.0
    rules: Rules | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 <= self.diversity < 1:
            raise PolicyError(f"a diversity of {self.diversity} is not from 0 to below 1; try {DEFAULT_DIVERSITY}")
        if self.min_score is not None and not -1 <= self.min_score <= 1:
            raise PolicyError(f"a minimum score of {self.min_score} is not from -1 to 1; try 0.5")

    def matching(self, where: Filter | None) -> Filter | None:
        """Return what an answer has to match where a query asks for *where*, if there is anything."""
        return self.where if where is None else where & self.where

    def pool(self, k: int) -> int:
        """Return out of how many candidates *k* are chosen, where the best ones are not simply taken."""
        return max(_POOL, _POOL_FOR_EACH * k)

    @property
    def names_attributes(self) -> bool:
        """Whether `check` has anything to compare with the attributes of a store."""
        return self.rules is not None or self.one_per not in {None, VARIANTS}

    def check(self, schema: Mapping[str, AttributeType]) -> None:
        """Raise PolicyError where a rule cannot hold for items with attributes as in *schema*."""
        from vision_recs.recommend.rules import require

        if self.one_per not in {None, VARIANTS}:
            path = None if self.rules is None else self.rules.path
            require(str(self.one_per), schema, path=path, key="one_per" if path is None else "key 'one_per'")
        if self.rules is not None:
            self.rules.check(schema)
