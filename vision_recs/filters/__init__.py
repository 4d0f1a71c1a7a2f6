"""The filter language: which items an answer may have.

    category == "mug" and price < 30 and color in ["red", "blue"] and not in_stock

comparison  `price < 30`, `10 <= price < 30`, `color == "red"`, `color != "red"`; the attribute on either side
list        `color in ["red", "blue"]`, `color not in ("red", "blue")`
set         `"red" in tags`, `"red" not in tags`, where an item has several values
text        `title.startswith("Str")`, `.endswith`, `.contains`; `title like "Str%"`, with % only at the ends
null        `color is null`, `color is not null`; `color == null`, `color != null`
boolean     `in_stock`, `not in_stock`, `in_stock == false`
logic       `and or not`, `&& || !`, `& | ~`, parentheses; words in upper or lower case
values      text in "double" or 'single' quotes with the escapes of JSON, numbers, true, false, null (or None)
id          `id == "M1"`, `id.startswith("mug")`: the id of an item, unless it has an attribute of that name
attributes  plain names; in backticks where a name has other characters: `` `größe (cm)` ``

It is the grammar that pandas' `query` and Milvus have in common. An expression becomes a syntax tree; it is never
evaluated as code.

A condition on an attribute that an item does not have, or has with another type, is false. `not`, `!=` and `not in`
match exactly the items that the positive condition does not match, as in pandas: `color != "red"` matches an item
without a color. Text is compared by code point, so upper and lower case differ; true and false are not numbers.

parser          from an expression to its syntax tree
ast             the nodes of the tree, and what each of them means
attribute_type  the types of attributes
filter          `Filter`
folding         what a filter comes to for a part of the items
spans           the numbers that an attribute has where a filter holds
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:  # a change of a price knows the types of attributes, and no filters
    from vision_recs.filters.attribute_type import AttributeType
    from vision_recs.filters.filter import Filter

_HOMES = {"AttributeType": "attribute_type", "Filter": "filter"}

__all__ = ["AttributeType", "Filter"]

__getattr__ = lazy_names(__name__, _HOMES)
