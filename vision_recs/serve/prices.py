"""What shoppers pay: the price of an item, or its sale price where that is lower.

Lists are sorted, and facets count, by what is paid; pages show it. Filters are about the attributes as they are: what
is paid is at most 20 where `price <= 20 or 0 < sale_price <= 20`, and at least 5 where neither is below 5. A sale price
of 0 is none: so some shops write it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs.filters import AttributeType

if TYPE_CHECKING:
    from vision_recs.store.attributes.table import ItemTable

_LOWER = {"price": "sale_price"}


def lower_of(name: str, table: ItemTable) -> str | None:
    """Return the attribute of *table* whose number counts, where it is lower, for that of the attribute *name*."""
    lower = _LOWER.get(name, name)
    is_number = AttributeType.NUMBER in table.attribute_types.get(lower, AttributeType(0))
    return lower if lower != name and is_number else None
