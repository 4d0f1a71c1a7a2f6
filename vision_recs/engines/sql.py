"""How engines that speak SQL write a condition: DataFusion, which LanceDB uses, and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from vision_recs.engines.base import ColumnTest


class SqlDialect:
    """SQL has three values, and a filter has two: each test is put into `coalesce(..., false)`."""

    def test(self, test: ColumnTest) -> str:
        """Return the expression of *test*."""
        if test.operator == "is null":
            return f"({test.column} is null)"
        return f"coalesce({self._comparison(test)}, false)"

    def _comparison(self, test: ColumnTest) -> str:
        match test.operator, test.value:
            case "in", tuple() as values:
                return f"{test.column} in ({', '.join(map(_literal, values))})"
            case "has", str() as value:
                return f"array_has({test.column}, {_literal(value)})"
            case "startswith", str() as value:
                return f"starts_with({test.column}, {_literal(value)})"
            case "endswith", str() as value:
                return f"ends_with({test.column}, {_literal(value)})"
            case "contains", str() as value:
                return f"strpos({test.column}, {_literal(value)}) > 0"
            case operator, str() | int() | float() as value:
                return f"{test.column} {'=' if operator == '==' else operator} {_literal(value)}"
        raise AssertionError(test)

    def all_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where all of *parts* are true."""
        return f"({' and '.join(parts)})"

    def any_of(self, parts: Sequence[str]) -> str:
        """Return the expression that is true where one of *parts* is true."""
        return f"({' or '.join(parts)})"

    def negated(self, part: str) -> str:
        """Return the expression that is true where *part* is false."""
        return f"(not {part})"


def _literal(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
