"""Rows of a file with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import NoReturn

from vision_recs.catalog.rows import Rows, text_lines
from vision_recs.errors import CatalogError


def jsonl_rows(path: str) -> Rows:
    """Return the objects of a JSON Lines file as rows; a key that an object lacks is None.

    Columns come in the order in which their keys first appear. Blank lines are passed over. Raises CatalogError, for
    the first object here and while iterating for the rest, where a line is not UTF-8, not JSON (NaN is not) or not
    an object.
    """
    objects = _objects(path)
    first = next(objects, None)
    if first is None:
        raise CatalogError("the table is empty; it needs a JSON object a line", path=path)
    columns = list(first[1])
    return Rows(path, columns, _body(columns, chain([first], objects)), open_ended=True)


def _body(columns: list[str], objects: Iterator[tuple[int, dict[str, object]]]) -> Iterator[tuple[int, list[object]]]:
    known = set(columns)
    for line, record in objects:
        if record.keys() - known:
            columns.extend(key for key in record if key not in known)
            known.update(record)
        yield line, [record.get(name) for name in columns]


def _objects(path: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, text in enumerate(text_lines(path), 1):
        if text.isspace():
            continue
        try:
            record = _DECODER.decode(text)
            if "\\ud" in text.lower():
                json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no character
        except (ValueError, RecursionError) as error:
            if "int_max_str_digits" in str(error):
                raise CatalogError("a number has thousands of digits; put it in quotes", path=path, line=line) from None
            raise CatalogError(f"malformed JSON: {error}; write one object a line", path=path, line=line) from error
        if not isinstance(record, dict):
            raise CatalogError(
                f"a JSON {type(record).__name__} where an object belongs; write one object a line", path=path, line=line
            )
        yield line, record


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value, null is")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
