"""A filter's expression as a list of tokens."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from vision_recs.errors import FilterError
from vision_recs.filters.tree import WORDS, AttributeType, Value

MAX_LENGTH = 100_000
"""How many characters an expression may have: room for a list of some thousand ids."""

_QUOTED_AT_MOST = 40
_INT64 = range(-(2**63), 2**63)
_TOKEN = re.compile(
    r"""
      (?P<number> [+-]? (?> (?: [0-9]+ (?: \.[0-9]* )? | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? ) (?!\w) )
    | (?P<word>   [^\W\d]\w* )
    | (?P<name>   `(?: [^`] | `` )*+` )
    | (?P<text>   "[^"\\]*+(?: \\. [^"\\]*+ )*+" | '[^'\\]*+(?: \\. [^'\\]*+ )*+' )
    | (?P<sign>   [=!<>]= | && | \|\| | [<>!&|~()\[\],.] )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"} | {char: char for char in "\\/\"'"}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what the store's database cannot hold, or cuts off
_SYNONYMS = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "~": "not"}
_UNREADABLE = {
    '"': "the text that begins here has no closing quote; add it",
    "'": "the text that begins here has no closing quote; add it",
    "`": "the name that begins here has no closing backtick; add it",
    "=": "cannot read '='; use '==' to compare",
    "-": "cannot read '-'; put a name that holds it in backticks, and text in quotes",
}


class Token(NamedTuple):
    """A piece of the expression: *text* is what it means, *source* what is written at the column *position*.

    A sign or a word that means something by itself is of kind "sign", with its synonyms and its case undone; `end`
    comes last.
    """

    kind: Literal["sign", "name", "value", "end"]
    text: str
    source: str
    position: int
    value: Value | None = None


def tokens(expression: str) -> Iterator[Token]:
    """Yield the tokens of *expression*; raises FilterError for what is none."""
    _refuse_unusable(expression)
    place = _space_after(expression, 0)
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        if found is None:
            raise _unreadable(expression, place)
        yield _token(found, expression)
        place = _space_after(expression, found.end())
    yield Token("end", "", "the end", len(expression) + 1)


def _space_after(expression: str, place: int) -> int:
    found = _SPACE.match(expression, place)
    assert found
    return found.end()


def _token(found: re.Match[str], expression: str) -> Token:
    source, position = found[0], found.start() + 1
    match found.lastgroup:
        case "number":
            return Token("value", source, source, position, _number(source, position, expression))
        case "text":
            value = Value(AttributeType.TEXT, _unescaped(source[1:-1], position + 1, expression), position)
            return Token("value", source, source, position, value)
        case "name":
            return Token("name", source[1:-1].replace("``", "`"), source, position)
        case "word" if source.lower() in ("true", "false"):
            value = Value(AttributeType.TRUTH, source.lower() == "true", position)
            return Token("value", source, source, position, value)
        case "word" if source.lower() not in WORDS:
            return Token("name", source, source, position)
    meaning = source.lower()
    return Token("sign", "null" if meaning == "none" else _SYNONYMS.get(meaning, meaning), source, position)


def _number(source: str, position: int, expression: str) -> Value:
    digits = source.lstrip("+-")
    if digits.isdecimal() and len(digits) <= len(str(2**63)) and int(source) in _INT64:
        return Value(AttributeType.NUMBER, int(source), position)
    number = float(source)
    if not math.isfinite(number):
        message = f"{short(source)} is beyond all numbers; use one below 1e308"
        raise FilterError(message, expression=expression, position=position)
    return Value(AttributeType.NUMBER, number, position)


def _unescaped(source: str, position: int, expression: str) -> str:
    def char(found: re.Match[str]) -> str:
        by_number = len(found[0]) > len("\\u")
        meaning = json.loads(f'"{found[0]}"') if by_number else _ESCAPED.get(found[0][1])
        if meaning is None or _NO_TEXT.match(meaning):
            message = f"no text holds {short(found[0])}; write a backslash as \\\\, other characters as they are"
            raise FilterError(message, expression=expression, position=position + found.start())
        return meaning

    return _ESCAPE.sub(char, source)


def _refuse_unusable(expression: str) -> None:
    if len(expression) > MAX_LENGTH:
        message = f"the filter is {len(expression):,} characters long; at most {MAX_LENGTH:,} are read"
        raise FilterError(message, expression=expression, position=MAX_LENGTH + 1)
    found = _NO_TEXT.search(expression)
    if found:
        message = f"no text holds the character {found[0]!a}; leave it out"
        raise FilterError(message, expression=expression, position=found.start() + 1)


def _unreadable(expression: str, place: int) -> FilterError:
    char = expression[place]
    if char.isdigit():
        found = re.compile(r"[\w.]+").match(expression, place)
        message = f"{short(found[0] if found else char)} is no number; put text in quotes and names in backticks"
    else:
        shown = json.dumps(char, ensure_ascii=not char.isprintable())
        message = _UNREADABLE.get(char, f"cannot read {shown}; put text in quotes")
    return FilterError(message, expression=expression, position=place + 1)


def short(text: str) -> str:
    """Return *text* on one line, cut where it is longer than a message should quote."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= _QUOTED_AT_MOST else text[: _QUOTED_AT_MOST - 3] + "..."
