"""Why an item is in an answer."""

from __future__ import annotations

from collections.abc import Sequence

from vision_recs.recommend.choosing import Choice
from vision_recs.recommend.questions import Question
from vision_recs.recommend.sieve import Facts
from vision_recs.types import Attribute, Vectors, Why


def explain(choice: Choice, question: Question, vector: Vectors, facts: Facts) -> Why:
    """Return why *choice*, whose picture has *vector* (1, dim), answers *question*."""
    return Why(
        parts=tuple(part.explain(vector) for part in (*question.parts, *question.unlike)),
        shared=_shared(choice.match.id, question.asked, facts),
        moves=choice.moves,
        relaxed=choice.relaxed,
    )


def _shared(item: str, asked: Sequence[str], facts: Facts) -> dict[str, Attribute]:
    """Return the attributes of *item* that one of the *asked* items has too; true is not 1, and null is nothing."""
    others = [facts(other) for other in asked]
    return {
        name: value
        for name, value in facts(item).items()
        if value is not None and any(_is_equal(value, other.get(name)) for other in others)
    }


def _is_equal(one: Attribute, other: Attribute) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
