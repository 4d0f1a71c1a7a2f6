"""What a query and its matches look like on a terminal and as JSON; tables that fit the terminal."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from vision_recs.errors import StoreDamaged

from .terminal import json_line, one_line

if TYPE_CHECKING:
    from vision_recs.recommend import Query, Recommender
    from vision_recs.types import Attribute, Explanation, Match, RuleEffect, TermScore

READ_FIRST = ("title", "name", "category", "color", "colour", "brand", "price")
"""The attributes that say most to a person, in their order."""


class QueryPart(NamedTuple):
    """One part of a query: an item by its id, an image by its file, or a text. *note* says how the part counts."""

    item: str = ""
    image: Path | None = None
    text: str = ""
    note: str = ""


def print_json(value: object) -> None:
    """Print *value* as one line of JSON."""
    typer.echo(json_line(json.dumps(value, ensure_ascii=False)))


def print_verification(place: str | Path, problems: Sequence[str], damage: str, *, json: bool) -> None:
    """Print that *place* is sound, or its *problems*; with these, raise StoreDamaged: it has so many of *damage*."""
    if json:
        print_json({"sound": not problems, "problems": problems})
    else:
        for problem in problems:
            typer.echo(one_line(problem))
    if problems:
        raise StoreDamaged(f"{place} has {len(problems)} {damage}")
    if not json:
        typer.echo(one_line(f"{place} is sound"))


def query_parts(query: Query, recommender: Recommender) -> Iterator[QueryPart]:
    """Yield the parts of *query*: items, images by file, texts, interests of the history, and negatives."""
    from vision_recs.recommend.query import NEGATIVE_WEIGHT, weighted

    for item, weight, *_ in weighted(query.items):
        yield QueryPart(item=item, note=_weight(weight))
    for image in weighted(query.images):
        crop = "" if image.crop is None else f"crop {','.join(f'{each:g}' for each in image.crop)}"
        notes = filter(None, (_weight(image.weight), crop))
        yield QueryPart(image=Path(image.name), note=", ".join(notes))
    for text, *_ in weighted(query.texts):
        yield QueryPart(text=text)
    for interest in () if query.history is None else recommender.interests(query.history):
        more = f" with {len(interest.items) - 1} more" if len(interest.items) > 1 else ""
        yield QueryPart(item=interest.medoid, note=f"interest{more}, {interest.share:.0%} of the history")
    for item, weight, *_ in weighted(query.negatives, NEGATIVE_WEIGHT):
        yield QueryPart(item=item, note="negative" if weight == NEGATIVE_WEIGHT else f"negative, weight {weight:g}")


def print_query(parts: Sequence[QueryPart], recommender: Recommender) -> None:
    """Print one line for each part of the query."""
    for part in parts:
        note = f"  ({part.note})" if part.note else ""
        about = describe(recommender.items.attributes_of([part.item])[part.item]) if part.item else ""
        typer.echo(one_line(f"{part.item or part.image or part.text}{note}  {about}".rstrip()))


def match_json(query: str, rank: int, match: Match) -> dict[str, object]:
    """Return the object that `visrec similar --json` prints for a match; *rank* counts from 1."""
    value = {
        "query": query,
        "rank": rank,
        "id": match.id,
        "score": round(match.score, 6),
        "image": match.image,
        "attributes": dict(match.attributes),
    }
    return value if match.explanation is None else {**value, "explanation": _explanation_json(match.explanation)}


def print_matches(matches: Sequence[Match], *, filtered: bool = False) -> None:
    """Print a table of *matches*, as wide as the terminal; or why there are none."""
    if not matches:
        typer.echo(f"nothing is similar: {'no other item matches' if filtered else 'the store holds no other item'}")
        return
    rows = [
        (str(rank), match.id, f"{match.score:.3f}", describe(match.attributes)) for rank, match in enumerate(matches, 1)
    ]
    print_table(("", "id", "score", ""), rows, notes=[_notes(match) for match in matches])


def describe(attributes: Mapping[str, Attribute]) -> str:
    """Return the values of *attributes* on one line; the values of READ_FIRST come first.

    The colors of the image are not repeated beside those of its item.
    """
    first = [name for name in READ_FIRST if name in attributes]
    rest = [name for name in attributes if name not in first]
    if "image_colors" in rest and "own_colors" in rest:
        rest.remove("own_colors")
    return "  ".join(_text(attributes[name]) for name in first + rest if attributes[name] is not None)


def _text(value: Attribute) -> str:
    """Return *value* as it is read: a set as its elements."""
    if not (isinstance(value, str) and value.startswith("[")):
        return str(value)
    from vision_recs.filters.ast import elements

    return ", ".join(map(str, elements(value)))


def effect_texts(explanation: Explanation | None) -> list[str]:
    """Return a few words for each rule that changed the answer: "+0.050 own brand", "relaxed one_per" ..."""
    if explanation is None:
        return []
    return [*map(_effect, explanation.effects), *(f"relaxed {name}" for name in explanation.relaxed)]


def explanation_lines(match: Match) -> list[str]:
    """Return one line for each term of the query, with its score, and one line with the shared attributes."""
    explanation = match.explanation
    if explanation is None:
        return []
    lines = [_term(term, match.image) for term in explanation.terms]
    if explanation.shared:
        lines.append("shared: " + ", ".join(f"{name} {_text(value)}" for name, value in explanation.shared.items()))
    return lines


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[Sequence[str]] | None = None
) -> None:
    """Print *rows* in aligned columns under *header*, cut to the width of the terminal.

    *notes* has, for each row, the lines that stand below the row; these lines are indented and are not cut.
    """
    lines = [[one_line(cell) for cell in line] for line in ([header, *rows] if any(header) else rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    columns = shutil.get_terminal_size((100, 24)).columns
    above = len(lines) - len(rows)
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        typer.echo(_cut("  ".join(cells).rstrip(), columns))
        for note in notes[number - above] if notes and number >= above else ():
            typer.echo(" " * (widths[0] + 2) + one_line(note))


def _weight(weight: float) -> str:
    return "" if weight == 1 else f"weight {weight:g}"


def _explanation_json(explanation: Explanation) -> dict[str, object]:
    terms = [{**asdict(term), "score": round(term.score, 6)} for term in explanation.terms]
    return {**asdict(explanation), "terms": terms}


def _notes(match: Match) -> list[str]:
    rules = ", ".join(effect_texts(match.explanation))
    return [*([f"rules: {rules}"] if rules else []), *explanation_lines(match)]


def _effect(effect: RuleEffect) -> str:
    if effect.score_delta is None:
        return f"pinned to {effect.position} by {effect.rule}"
    return f"{effect.score_delta:+.3f} {effect.rule}"


def _term(term: TermScore, image: str) -> str:
    weight = "" if term.weight == 1 else f" (weight {term.weight:g})"
    image = image or "its text"  # of an item without an image
    if term.image is None:
        return f"{term.score:.3f}  {image} is compared with the {term.kind} {term.query!r}{weight}"
    whose = term.query if term.kind == "item" else f"the {term.kind} {term.query}"
    return f"{term.score:.3f}  {image} is nearest to {term.image or 'the text'} of {whose}{weight}"


def _width(text: str) -> int:
    """Return how many columns *text* takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _cut(text: str, columns: int) -> str:
    if _width(text) <= columns:
        return text
    text = text[: columns - 1]  # a character takes a column or two, or none where it combines with another
    while _width(text) > columns - 1:
        text = text[:-1]
    return text.rstrip() + "…"
