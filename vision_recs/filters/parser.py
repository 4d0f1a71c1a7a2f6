"""From an expression to its syntax tree: the tokens, and a parser by recursive descent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from vision_recs.errors import FilterError
from vision_recs.filters import ast
from vision_recs.filters.ast import Name, Node, Value, short
from vision_recs.filters.attribute_type import AttributeType
from vision_recs.types import normal_form

MAX_LENGTH = 100_000
"""The most characters of an expression: room for a list of some thousand ids."""

MAX_DEPTH = 50
"""The most parentheses and nots that may stand within one another."""

MAX_PREDICATES = 300
"""The most predicates of a filter: each of them is a pass over all items."""

_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WRITE_VALUE = "write a number, text in quotes, true, false or null"
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


def parse(expression: str) -> Node:
    """Return the tree of *expression*; raises FilterError."""
    return _Parser(expression).whole()


class _Token(NamedTuple):
    """A piece of the expression: *text* is its meaning, and *source* is what stands at the column *position*.

    A keyword or an operator is of kind "sign"; *text* is then in lower case, and the same for synonyms such as && and
    "and". The kind "end" comes last.
    """

    kind: Literal["sign", "name", "value", "end"]
    text: str
    source: str
    position: int
    value: Value | None = None


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = _tokens(expression)
        self._token = next(self._tokens)  # the one to be read next
        self._depth = 0
        self._predicates = 0

    def whole(self) -> Node:
        node = self._any()
        if self._token.kind != "end":
            raise self._unexpected("a comparison, 'and', 'or' or the end")
        return node

    def _any(self) -> Node:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else ast.Or(tuple(parts))

    def _all(self) -> Node:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else ast.And(tuple(parts))

    def _negation(self) -> Node:
        if not self._sees("not", "("):
            return self._condition()
        if self._depth == MAX_DEPTH:
            raise self._too_deep(self._token.position)
        self._depth += 1
        if self._take("not"):
            node: Node = ast.Not(self._negation())
        else:
            self._expect("(", "'('")
            node = self._any()
            self._expect(")", "a comparison, 'and', 'or' or ')'")
        self._depth -= 1
        return node

    def _condition(self) -> Node:
        position = self._token.position
        node = self._plain_condition()
        if self._depth + ast.nesting(node) > MAX_DEPTH:
            raise self._too_deep(position)
        return node

    def _plain_condition(self) -> Node:
        left = self._operand("a condition such as price < 30", "")
        if isinstance(left, Name) and self._sees("is", "in", "like", "not", "."):
            return self._condition_of(left)
        if not isinstance(left, Name) and self._sees("in", "not"):
            return self._element_of(left)
        chain: list[Node] = []
        while self._sees(*_TURNED):
            sign = self._next()
            right = self._operand(f"a value after '{sign.source}'", f"; {_WRITE_VALUE}")
            chain.append(self._comparison(left, sign.text, right))
            left = right
        if chain:
            return chain[0] if len(chain) == 1 else ast.And(tuple(chain))
        if not isinstance(left, Name):
            raise self._error(
                f"{short(left.source)} alone is not a condition; compare it with an attribute", left.position
            )
        return self._leaf(ast.IsTrue(left))

    def _element_of(self, left: _Token) -> Node:
        """Parse `"red" in tags`, whose value is *left*."""
        negated = self._take("not")
        self._expect("in", "'in' after 'not'")
        if left.value is None:
            raise self._error("null is in no list; write `tags is null`", left.position)
        if self._token.kind != "name":
            raise self._unexpected("the attribute that has the list")
        token = self._next()
        node = self._leaf(ast.Has(Name(token.text, token.position), left.value))
        return ast.Not(node) if negated else node

    def _condition_of(self, name: Name) -> Node:
        if self._take("."):
            return self._method(name)
        if self._take("is"):
            negated = self._take("not")
            self._expect("null", "null" if negated else "null or not null")
            node: Node = self._leaf(ast.IsNull(name))
        else:
            negated = self._take("not")
            if self._take("in"):
                node = self._membership(name)
            else:
                self._expect("like", "'in' or 'like' after 'not'")
                node = self._likeness(name)
        return ast.Not(node) if negated else node

    def _comparison(self, left: Name | _Token, operator: str, right: Name | _Token) -> Node:
        if not isinstance(left, Name):
            if not isinstance(right, Name):
                message = (
                    f"{short(left.source)} is compared with {short(right.source)}; name an attribute, without quotes"
                )
                raise self._error(message, left.position)
            return self._comparison(right, _TURNED[operator], left)
        if isinstance(right, Name):
            hint = "compare it with a value, and put text in quotes"
            message = f"{short(str(left))} is compared with the attribute {short(str(right))}; {hint}"
            raise self._error(message, right.position)
        value = right.value
        if operator in {"==", "!="}:
            node = self._leaf(ast.IsNull(left) if value is None else ast.Compare(left, "==", value))
            return node if operator == "==" else ast.Not(node)
        if value is None or value.type is AttributeType.BOOLEAN:
            raise self._error(f"{right.source} has no order; use == or !=", right.position)
        return self._leaf(ast.Compare(left, operator, value))

    def _membership(self, name: Name) -> Node:
        closing = ")" if self._sees("(") else "]"
        if not self._take("("):
            self._expect("[", "a list such as [1, 2] after 'in'")
        values: list[Value | None] = []
        while not self._take(closing):
            values.append(self._literal(f"a value or '{closing}'"))
            if not self._take(","):
                self._expect(closing, f"',' or '{closing}'")
                break
        node = self._leaf(ast.In(name, tuple(value for value in values if value)))
        return ast.Or((self._leaf(ast.IsNull(name)), node)) if None in values else node

    def _likeness(self, name: Name) -> Node:
        position = self._token.position
        pattern = self._text("text in quotes after 'like'")
        text = str(pattern.value)
        begins, ends = text.startswith("%"), text.endswith("%") and text != "%"
        part = text[begins : len(text) - ends]
        if any(char in part for char in "%_\\"):
            message = (
                f"like takes % only at the ends of its text, and neither _ nor \\; use {short(str(name))}.contains(...)"
            )
            raise self._error(message, position)
        value = Value(AttributeType.TEXT, part, pattern.position)
        if not begins and not ends:
            return self._leaf(ast.Compare(name, "==", value))
        method = "contains" if begins and ends else "endswith" if begins else "startswith"
        return self._leaf(ast.TextMatch(name, method, value))

    def _method(self, name: Name) -> Node:
        method = self._token.text
        if method not in {"startswith", "endswith", "contains"}:
            raise self._unexpected("startswith, endswith or contains after '.'", "; put a name with a dot in backticks")
        self._next()
        self._expect("(", f"'(' after {method}")
        value = self._text("text in quotes")
        self._expect(")", "')'")
        return self._leaf(ast.TextMatch(name, method, value))

    def _operand(self, what: str, hint: str) -> Name | _Token:
        if self._token.kind == "value" or self._sees("null"):
            return self._next()
        if self._token.kind != "name":
            raise self._unexpected(what, hint)
        token = self._next()
        return Name(token.text, token.position)

    def _literal(self, what: str) -> Value | None:
        if self._token.kind != "value" and not self._sees("null"):
            raise self._unexpected(what, f"; {_WRITE_VALUE}")
        return self._next().value

    def _text(self, what: str) -> Value:
        value = self._token.value
        if value is None or value.type is not AttributeType.TEXT:
            raise self._unexpected(what)
        self._next()
        return value

    def _leaf(self, predicate: ast.Predicate) -> ast.Predicate:
        self._predicates += 1
        if self._predicates > MAX_PREDICATES:
            message = f"the filter has more than {MAX_PREDICATES} conditions; use fewer, or one list after 'in'"
            raise self._error(message, predicate.name.position)
        return predicate

    def _sees(self, *signs: str) -> bool:
        return self._token.kind == "sign" and self._token.text in signs

    def _take(self, sign: str) -> bool:
        seen = self._sees(sign)
        if seen:
            self._next()
        return seen

    def _expect(self, sign: str, what: str) -> None:
        if not self._take(sign):
            raise self._unexpected(what)

    def _next(self) -> _Token:
        token = self._token
        self._token = next(self._tokens, token)
        return token

    def _too_deep(self, position: int) -> FilterError:
        return self._error(f"more than {MAX_DEPTH} parentheses and nots are nested; use fewer", position)

    def _unexpected(self, what: str, hint: str = "") -> FilterError:
        token = self._token
        found = f"'{token.source}'" if token.kind == "sign" else short(token.source)
        return self._error(f"expected {what}, found {found}{hint}")

    def _error(self, message: str, position: int | None = None) -> FilterError:
        return FilterError(
            message, expression=self._expression, position=self._token.position if position is None else position
        )


def _tokens(expression: str) -> Iterator[_Token]:
    """Yield the tokens of *expression*; raises FilterError for a character that begins no token."""
    _refuse_unusable(expression)
    place = _space_after(expression, 0)
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        if found is None:
            raise _unreadable(expression, place)
        yield _token(found, expression)
        place = _space_after(expression, found.end())
    yield _Token("end", "", "the end", len(expression) + 1)


def _space_after(expression: str, place: int) -> int:
    found = _SPACE.match(expression, place)
    assert found
    return found.end()


def _token(found: re.Match[str], expression: str) -> _Token:
    source, position = found[0], found.start() + 1
    match found.lastgroup:
        case "number":
            return _Token("value", source, source, position, _number(source, position, expression))
        case "text":
            text = normal_form(_unescaped(source[1:-1], position + 1, expression))
            value = Value(AttributeType.TEXT, text, position)
            return _Token("value", source, source, position, value)
        case "name":
            return _Token("name", normal_form(source[1:-1].replace("``", "`")), source, position)
        case "word" if source.lower() in ("true", "false"):
            value = Value(AttributeType.BOOLEAN, source.lower() == "true", position)
            return _Token("value", source, source, position, value)
        case "word" if source.lower() not in ast.KEYWORDS:
            return _Token("name", normal_form(source), source, position)
    meaning = source.lower()
    return _Token("sign", "null" if meaning == "none" else _SYNONYMS.get(meaning, meaning), source, position)


def _number(source: str, position: int, expression: str) -> Value:
    digits = source.lstrip("+-")
    if digits.isdecimal() and len(digits) <= len(str(2**63)) and int(source) in _INT64:
        return Value(AttributeType.NUMBER, int(source), position)
    number = float(source)
    if not math.isfinite(number):
        message = f"{short(source)} is too large; use a number below 1e308"
        raise FilterError(message, expression=expression, position=position)
    return Value(AttributeType.NUMBER, number, position)


def _unescaped(source: str, position: int, expression: str) -> str:
    def char(found: re.Match[str]) -> str:
        by_number = len(found[0]) > len("\\u")
        meaning = json.loads(f'"{found[0]}"') if by_number else _ESCAPED.get(found[0][1])
        if meaning is None or _NO_TEXT.match(meaning):
            message = (
                f"{short(found[0])} is not allowed in text; write a backslash as \\\\, other characters as they are"
            )
            raise FilterError(message, expression=expression, position=position + found.start())
        return meaning

    return _ESCAPE.sub(char, source)


def _refuse_unusable(expression: str) -> None:
    if len(expression) > MAX_LENGTH:
        message = f"the filter is {len(expression):,} characters long; use at most {MAX_LENGTH:,}"
        raise FilterError(message, expression=expression, position=MAX_LENGTH + 1)
    found = _NO_TEXT.search(expression)
    if found:
        message = f"the character {found[0]!a} is not allowed; leave it out"
        raise FilterError(message, expression=expression, position=found.start() + 1)


def _unreadable(expression: str, place: int) -> FilterError:
    char = expression[place]
    if char.isdigit():
        found = re.compile(r"[\w.]+").match(expression, place)
        message = f"{short(found[0] if found else char)} is not a number; put text in quotes and names in backticks"
    else:
        shown = json.dumps(char, ensure_ascii=not char.isprintable())
        message = _UNREADABLE.get(char, f"cannot read {shown}; put text in quotes")
    return FilterError(message, expression=expression, position=place + 1)
