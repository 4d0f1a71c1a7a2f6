"""Why a match is one, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vision_recs.types import Match, Move, PartScore, Why


def why_json(why: Why) -> dict[str, object]:
    """Return *why* as an object, its scores as precise as those of a match."""
    parts = [{**asdict(part), "score": round(part.score, 6)} for part in why.parts]
    return {**asdict(why), "parts": parts}


def verdicts(why: Why | None) -> list[str]:
    """Return a few words for each rule that had a say: "pinned by new mugs", "+0.050 own brand", "relaxed one_per"."""
    if why is None:
        return []
    return [*map(_verdict, why.moves), *(f"relaxed {name}" for name in why.relaxed)]


def why_lines(match: Match) -> list[str]:
    """Return the lines that say which pictures met and what is shared."""
    why = match.why
    if why is None:
        return []
    lines = [_met(part, match.picture) for part in why.parts]
    if why.shared:
        lines.append("shared: " + ", ".join(f"{name} {value}" for name, value in why.shared.items()))
    return lines


def _verdict(move: Move) -> str:
    return f"{move.by:+.3f} {move.rule}" if move.by is not None else f"pinned to {move.to} by {move.rule}"


def _met(part: PartScore, picture: str) -> str:
    weight = "" if part.weight == 1 else f", weight {part.weight:g}"
    if part.kind == "not":
        return f"{part.score:.3f}  {picture} met {part.picture} of {part.asked}, to move away from{weight}"
    whose = f"{part.picture} of {part.asked}" if part.picture is not None else f"{part.asked!r}"
    interest = ", an interest" if part.kind == "interest" else ""
    return f"{part.score:.3f}  {picture} met {whose}{interest}{weight}"
