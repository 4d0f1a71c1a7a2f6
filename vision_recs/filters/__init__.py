"""Which items an answer may hold: `category == "mug" and price < 30 and color in ["red", "blue"] and not in_stock`.

compare     `price < 30`, `10 <= price < 30`, `color == "red"`, `color != "red"`; the attribute on either side
member      `color in ["red", "blue"]`, `color not in ("red", "blue")`
text        `title.startswith("Str")`, `.endswith`, `.contains`; `title like "Str%"`, with % at the ends only
missing     `color is null`, `color is not null`; `color == null`, `color != null`
truth       `in_stock`, `not in_stock`, `in_stock == false`
together    `and or not`, `&& || !`, `& | ~`, parentheses; the words in any case
values      text in "double" or 'single' quotes with the escapes of JSON, numbers, true, false, null (or None)
attributes  names as they are; in backticks where they hold other characters: `` `größe (cm)` ``

It is the grammar that pandas' `query` and Milvus share. An expression becomes a tree and is never evaluated as code.

A test of an attribute that an item lacks, or that holds another type there, is false, and `not`, `!=` and `not in` give
exactly the items that the positive test leaves out, as in pandas: `color != "red"` holds for an item without a color.
Text is compared by code point, upper case apart from lower case; true and false are no numbers.
"""

from vision_recs.filters.filter import Filter
from vision_recs.filters.tree import AttributeType

__all__ = ["AttributeType", "Filter"]
