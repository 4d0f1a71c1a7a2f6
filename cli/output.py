"""How results look on a terminal and as JSON."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from .explanation import explanation_json, explanation_lines, verdicts

if TYPE_CHECKING:
    from vision_recs.types import Match

READ_FIRST = ("title", "name", "category", "color", "colour", "brand", "price")
"""The attributes that say most to a person, in their order."""


def print_json(value: object) -> None:
    """Print *value* as one line of JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def match_json(query: str, rank: int, match: Match) -> dict[str, object]:
    """Return what `visrec similar --json` says of a match; *rank* counts from 1."""
    value = {
        "query": query,
        "rank": rank,
        "id": match.id,
        "score": round(match.score, 6),
        "image": match.image,
        "attributes": dict(match.attributes),
    }
    return value if match.explanation is None else {**value, "explanation": explanation_json(match.explanation)}


def print_matches(matches: Sequence[Match], *, filtered: bool = False) -> None:
    """Print a table of *matches*, as wide as the terminal; or why there are none."""
    if not matches:
        typer.echo(f"nothing is similar: {'no other item matches' if filtered else 'the index holds no other item'}")
        return
    rows = [
        (str(rank), match.id, f"{match.score:.3f}", describe(match.attributes)) for rank, match in enumerate(matches, 1)
    ]
    print_table(("", "id", "score", ""), rows, notes=[_notes(match) for match in matches])


def _notes(match: Match) -> list[str]:
    rules = ", ".join(verdicts(match.explanation))
    return [*([f"rules: {rules}"] if rules else []), *explanation_lines(match)]


def describe(attributes: Mapping[str, object]) -> str:
    """Return the values of *attributes* on one line, first those that a person would read first."""
    first = [name for name in READ_FIRST if name in attributes]
    rest = [name for name in attributes if name not in first]
    return "  ".join(str(attributes[name]) for name in first + rest if attributes[name] is not None)


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[Sequence[str]] | None = None
) -> None:
    """Print *rows* in aligned columns under *header*, cut to the width of the terminal.

    *notes* are lines that stand below each row, indented and whole.
    """
    lines = [header, *rows] if any(header) else list(rows)
    widths = [max(_width(line[column]) for line in lines) for column in range(len(header))]
    columns = shutil.get_terminal_size((100, 24)).columns
    above = len(lines) - len(rows)
    for number, line in enumerate(lines):
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        typer.echo(_cut("  ".join(cells).rstrip(), columns))
        for note in notes[number - above] if notes and number >= above else ():
            typer.echo(" " * (widths[0] + 2) + note)


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
