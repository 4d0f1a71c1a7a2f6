"""Lists of items: by words, by a filter, sorted, page by page."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from vision_recs.errors import RequestError
from vision_recs.filters import Filter
from vision_recs.serve.prices import lower_of
from vision_recs.store.attributes.table import ItemTable

_NAMED_AT_MOST = 12  # attributes in a message


class Page(NamedTuple):
    """Which items of a list are wanted: *limit* of them from *offset* on.

    The list is in the order of *sort*, which names an attribute, after a "-" for the highest value first.
    """

    offset: int
    limit: int
    sort: str | None = None


class ListedItems(NamedTuple):
    """The *ids* of a page, and the *total* of all pages."""

    ids: list[str]
    total: int


def list_items(
    table: ItemTable, where: Filter | None, page: Page, *, found: Sequence[str] | None = None
) -> ListedItems:
    """Return the items of *page* that match *where*.

    *found* are the only ids that count, best first; without them the order is that of the ids, unless the page says
    otherwise. Raises FilterError, and RequestError for an attribute to sort by that no item has.
    """
    rows = table.by_id if found is None else table.rows_of(found)
    if where is not None:
        rows = rows[table.matching(where)[rows]]
    if page.sort is not None:
        name, descending = _sorted_by(page.sort, table)
        rows = table.ordered(rows, name, descending=descending, lower=lower_of(name, table))
    return ListedItems(table.ids(rows[page.offset : page.offset + page.limit]), len(rows))


def _sorted_by(sort: str, table: ItemTable) -> tuple[str, bool]:
    """Return the attribute that *sort* names, and whether its highest value comes first."""
    known = table.attribute_types
    if sort in known:
        return sort, False
    name = sort.removeprefix("-")
    if sort.startswith("-") and name in known:
        return name, True
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"the nearest is {nearest[0]!r}" if nearest else f"items have {', '.join(sorted(known)[:_NAMED_AT_MOST])}"
    raise RequestError(f"no item has the attribute {name[:80]!r} to sort by; {hint}")
