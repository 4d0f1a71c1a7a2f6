"""Explanation a match is one, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision_recs.types import Explanation, Match, RuleEffect, TermScore


def explanation_json(explanation: Explanation) -> dict[str, object]:
    """Return *explanation* as an object, its scores as precise as those of a match."""
    terms = [{**asdict(term), "score": round(term.score, 6)} for term in explanation.terms]
    return {**asdict(explanation), "terms": terms}


def verdicts(explanation: Explanation | None) -> list[str]:
    """Return a few words for each rule that had a say: "pinned by new mugs", "+0.050 own brand", "relaxed one_per"."""
    if explanation is None:
        return []
    return [*map(_verdict, explanation.effects), *(f"relaxed {name}" for name in explanation.relaxed)]


def explanation_lines(match: Match) -> list[str]:
    """Return the lines that say which images met and what is shared."""
    explanation = match.explanation
    if explanation is None:
        return []
    lines = [_met(term, match.image) for term in explanation.terms]
    if explanation.shared:
        lines.append("shared: " + ", ".join(f"{name} {value}" for name, value in explanation.shared.items()))
    return lines


def _verdict(effect: RuleEffect) -> str:
    return (
        f"{effect.score_delta:+.3f} {effect.rule}"
        if effect.score_delta is not None
        else f"pinned to {effect.position} by {effect.rule}"
    )


def _met(term: TermScore, image: str) -> str:
    weight = "" if term.weight == 1 else f", weight {term.weight:g}"
    if term.kind == "negative":
        return f"{term.score:.3f}  {image} met {term.image} of {term.query}, to move away from{weight}"
    whose = f"{term.image} of {term.query}" if term.image is not None else f"{term.query!r}"
    interest = ", an interest" if term.kind == "interest" else ""
    return f"{term.score:.3f}  {image} met {whose}{interest}{weight}"
