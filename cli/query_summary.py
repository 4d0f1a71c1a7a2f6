"""What a person asked with, as the terminal and the page show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from .output import describe

if TYPE_CHECKING:
    from vision_recs.recommend import Query, Recommender


class Asked(NamedTuple):
    """An item by its id, an image by its file, or words; *note* says how it counts, where that is not as usual."""

    item: str = ""
    image: Path | None = None
    words: str = ""
    note: str = ""


def asked_with(query: Query, recommender: Recommender) -> Iterator[Asked]:
    """Yield all that *query* asks with: its items, its images by file, words, interests, and what it is not."""
    from vision_recs.recommend.query import NEGATIVE_WEIGHT, weighted

    for item, weight, _ in weighted(query.items):
        yield Asked(item=item, note=_weight(weight))
    for _, weight, file in weighted(query.images):
        yield Asked(image=Path(file), note=_weight(weight))
    for words, _, _ in weighted(query.texts):
        yield Asked(words=words)
    for interest in () if query.history is None else recommender.interests(query.history):
        more = f" with {len(interest.items) - 1} more" if len(interest.items) > 1 else ""
        yield Asked(item=interest.medoid, note=f"interest{more}, {interest.share:.0%} of the history")
    for item, weight, _ in weighted(query.negatives, NEGATIVE_WEIGHT):
        yield Asked(
            item=item, note="not like this" if weight == NEGATIVE_WEIGHT else f"not like this, weight {weight:g}"
        )


def _weight(weight: float) -> str:
    return "" if weight == 1 else f"weight {weight:g}"


def print_asked(asked: Sequence[Asked], recommender: Recommender) -> None:
    """Print a line for each thing that was *asked* with."""
    for each in asked:
        note = f"  ({each.note})" if each.note else ""
        about = describe(recommender.store.attributes(each.item)) if each.item else ""
        typer.echo(f"{each.item or each.image or each.words}{note}  {about}".rstrip())
