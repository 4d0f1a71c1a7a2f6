"""What a neighbors file is to hold, and what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vision_recs.errors import OutputFormatError
from vision_recs.recommend.query import Policy

if TYPE_CHECKING:  # most neighbors files have no filter
    from vision_recs.filters import Filter

SUFFIXES = (".parquet", ".jsonl", ".csv")

Method: TypeAlias = Literal["auto", "exact", "index"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of images that are done and with the number of all, on the calling thread; must be quick."""


@dataclass(frozen=True, slots=True)
class NeighborsOptions:
    """The *k* items that are similar to each item, under *policy*.

    Only items that match *where* are neighbors, and only items that match *query_filter* get a list. *method* is
    "exact" (all images are compared with all), "index" (the index of the store is searched), or "auto": exact up to
    300,000 images compared with as many. *changed_since* is an older generation: only the items whose list has changed
    since then are written. *nested* writes one JSON value for each item.
    """

    k: int = 20
    where: Filter | None = None
    query_filter: Filter | None = None
    policy: Policy = field(default_factory=Policy)
    method: Method = "auto"
    changed_since: int | None = None
    nested: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse a k below 1."""
        if self.k < 1:
            raise ValueError(f"k is {self.k}; use 1 or more")

    def check(self, out: Path) -> None:
        """Raise OutputFormatError where *out* has a suffix that does not fit these options."""
        if out.suffix not in SUFFIXES:
            raise OutputFormatError(
                f"{out} ends in none of {', '.join(SUFFIXES)}, which say how to write it; name it so"
            )
        if self.nested and out.suffix != ".jsonl":
            raise OutputFormatError(f"{out} cannot hold one JSON value an item; name a file that ends in .jsonl")

    def describe(self) -> dict[str, Any]:
        """Return the options that decide the lists, as values of JSON."""
        policy = self.policy
        return {
            "k": self.k,
            "where": _text(self.where),
            "query_filter": _text(self.query_filter),
            "policy": {
                "one_per": policy.one_per,
                "where": _text(policy.where),
                "exclude": sorted(policy.exclude),
                "min_score": policy.min_score,
                "diversity": policy.diversity,
                "rules": _digest(repr((policy.rules, policy.learn, policy.averaging))) if policy.is_by_query else None,
            },
        }


@dataclass(frozen=True, slots=True)
class NeighborsReport:
    """What was written: *rows* of *items*; the lists of *resumed* items were made by an earlier run.

    *method* is "exact", or the type of the index that was searched. *recall* is recall@k of that index against exact
    search, measured on some vectors; it is 1 for "exact".
    """

    out: str
    items: int
    rows: int
    resumed: int
    k: int
    generation: int
    changed_since: int | None
    encoder: str
    fingerprint: str
    method: str
    recall: float
    seconds: float


def _text(where: Filter | None) -> str | None:
    return None if where is None else str(where)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
