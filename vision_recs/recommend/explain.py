"""Explanation an item is in an answer."""

from __future__ import annotations

from collections.abc import Sequence

from vision_recs.recommend.candidates import Facts
from vision_recs.recommend.rerank import Choice
from vision_recs.recommend.scoring import Question
from vision_recs.types import Attribute, Explanation, Vectors


def explain(choice: Choice, question: Question, vector: Vectors, facts: Facts) -> Explanation:
    """Return why *choice*, whose image has *vector* (1, dim), answers *question*."""
    return Explanation(
        terms=tuple(part.explain(vector) for part in (*question.parts, *question.negatives)),
        shared=_shared(choice.match.id, question.asked, facts),
        effects=choice.effects,
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
