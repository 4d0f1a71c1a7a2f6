"""A filter's expression as a tree, by recursive descent."""

from __future__ import annotations

from vision_recs.errors import FilterError
from vision_recs.filters.tokens import Token, short, tokens
from vision_recs.filters.tree import (
    And,
    AttributeType,
    Compare,
    Member,
    Missing,
    Name,
    Node,
    Not,
    Or,
    Test,
    Text,
    Truth,
    Value,
)

MAX_DEPTH = 50
"""How many parentheses and nots may stand within one another."""

MAX_TESTS = 300
"""How many tests a filter may hold: each is a pass over all items."""

_TURNED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WRITE_VALUE = "write a number, text in quotes, true, false or null"


def parse(expression: str) -> Node:
    """Return the tree of *expression*; raises FilterError."""
    return _Parser(expression).whole()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = tokens(expression)
        self._token = next(self._tokens)  # the one to be read next
        self._depth = 0
        self._tests = 0

    def whole(self) -> Node:
        node = self._any()
        if self._token.kind != "end":
            raise self._unexpected("a comparison, 'and', 'or' or the end")
        return node

    def _any(self) -> Node:
        parts = [self._all()]
        while self._take("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Node:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self) -> Node:
        if not self._sees("not", "("):
            return self._test()
        if self._depth == MAX_DEPTH:
            raise self._too_deep(self._token.position)
        self._depth += 1
        if self._take("not"):
            node: Node = Not(self._negation())
        else:
            self._expect("(", "'('")
            node = self._any()
            self._expect(")", "a comparison, 'and', 'or' or ')'")
        self._depth -= 1
        return node

    def _test(self) -> Node:
        position = self._token.position
        node = self._plain_test()
        if self._depth + _levels(node) > MAX_DEPTH:
            raise self._too_deep(position)
        return node

    def _plain_test(self) -> Node:
        left = self._operand("a test such as price < 30", "")
        if isinstance(left, Name) and self._sees("is", "in", "like", "not", "."):
            return self._test_of(left)
        chain: list[Node] = []
        while self._sees(*_TURNED):
            sign = self._next()
            right = self._operand(f"a value after '{sign.source}'", f"; {_WRITE_VALUE}")
            chain.append(self._comparison(left, sign.text, right))
            left = right
        if chain:
            return chain[0] if len(chain) == 1 else And(tuple(chain))
        if not isinstance(left, Name):
            raise self._error(f"{short(left.source)} alone is no test; compare it with an attribute", left.position)
        return self._leaf(Truth(left))

    def _test_of(self, name: Name) -> Node:
        if self._take("."):
            return self._method(name)
        if self._take("is"):
            negated = self._take("not")
            self._expect("null", "null" if negated else "null or not null")
            node: Node = self._leaf(Missing(name))
        else:
            negated = self._take("not")
            if self._take("in"):
                node = self._membership(name)
            else:
                self._expect("like", "'in' or 'like' after 'not'")
                node = self._likeness(name)
        return Not(node) if negated else node

    def _comparison(self, left: Name | Token, operator: str, right: Name | Token) -> Node:
        if not isinstance(left, Name):
            if not isinstance(right, Name):
                message = (
                    f"{short(left.source)} is compared with {short(right.source)}; name an attribute, without quotes"
                )
                raise self._error(message, left.position)
            return self._comparison(right, _TURNED[operator], left)
        if isinstance(right, Name):
            hint = "compare it with a value, and put text in quotes"
            message = f"{_named(left)} is compared with the attribute {_named(right)}; {hint}"
            raise self._error(message, right.position)
        value = right.value
        if operator in {"==", "!="}:
            node = self._leaf(Missing(left) if value is None else Compare(left, "==", value))
            return node if operator == "==" else Not(node)
        if value is None or value.type is AttributeType.TRUTH:
            raise self._error(f"{right.source} is neither more nor less than others; use == or !=", right.position)
        return self._leaf(Compare(left, operator, value))

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
        node = self._leaf(Member(name, tuple(value for value in values if value)))
        return Or((self._leaf(Missing(name)), node)) if None in values else node

    def _likeness(self, name: Name) -> Node:
        position = self._token.position
        pattern = self._text("text in quotes after 'like'")
        text = str(pattern.value)
        begins, ends = text.startswith("%"), text.endswith("%") and text != "%"
        part = text[begins : len(text) - ends]
        if any(char in part for char in "%_\\"):
            message = (
                f"like takes % at the ends of its text only, and neither _ nor \\; use {_named(name)}.contains(...)"
            )
            raise self._error(message, position)
        value = Value(AttributeType.TEXT, part, pattern.position)
        if not begins and not ends:
            return self._leaf(Compare(name, "==", value))
        method = "contains" if begins and ends else "endswith" if begins else "startswith"
        return self._leaf(Text(name, method, value))

    def _method(self, name: Name) -> Node:
        method = self._token.text
        if method not in {"startswith", "endswith", "contains"}:
            raise self._unexpected("startswith, endswith or contains after '.'", "; put a name with a dot in backticks")
        self._next()
        self._expect("(", f"'(' after {method}")
        value = self._text("text in quotes")
        self._expect(")", "')'")
        return self._leaf(Text(name, method, value))

    def _operand(self, what: str, hint: str) -> Name | Token:
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

    def _leaf(self, test: Test) -> Test:
        self._tests += 1
        if self._tests > MAX_TESTS:
            message = f"the filter holds more than {MAX_TESTS} tests; use fewer, or one list after 'in'"
            raise self._error(message, test.name.position)
        return test

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

    def _next(self) -> Token:
        token = self._token
        self._token = next(self._tokens, token)
        return token

    def _too_deep(self, position: int) -> FilterError:
        return self._error(f"more than {MAX_DEPTH} parentheses and nots stand within one another; use fewer", position)

    def _unexpected(self, what: str, hint: str = "") -> FilterError:
        token = self._token
        found = f"'{token.source}'" if token.kind == "sign" else short(token.source)
        return self._error(f"expected {what}, found {found}{hint}")

    def _error(self, message: str, position: int | None = None) -> FilterError:
        return FilterError(
            message, expression=self._expression, position=self._token.position if position is None else position
        )


def _named(name: Name) -> str:
    return short(str(name))


def _levels(node: Node) -> int:
    """Return how many parentheses and nots the tree of a single test has, where the test was written without them."""
    match node:
        case Not(Compare() | Member() | Missing()):
            return 0
        case Not(part):
            return 1 + _levels(part)
        case And() | Or():
            return 1
        case _:
            return 0
