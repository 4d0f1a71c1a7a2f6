"""The colors that were seen in the pixels of images: attributes that a store adds to those of the catalog.

An item gets `image_colors`, a set, and an image `own_colors`. In the JSON text of attributes they stand last, after a
space. Nothing else in these texts has a space outside of strings, so that what the catalog says can be told from what
was added. A catalog with an attribute of that name keeps its own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

OF_ITEM: Final = "image_colors"
OF_IMAGE: Final = "own_colors"

_MARK: Final = '_colors":"['
_ADDED: Final = re.compile(rf',? "(?:{OF_ITEM}|{OF_IMAGE})":"\[([^\]]*)\]"')
_WORD: Final = re.compile(r"[a-z]+")
_MOST: Final = 3
_SHARE: Final = 0.2
"""What a color is of all images of an item, at least, to be one of the item beside its first one."""


def with_colors(attributes: str, colors: str | None, name: str) -> str:
    """Return the JSON text *attributes* with *colors*, separated by commas, as the set *name*; None adds nothing."""
    if not colors or f'"{name}":' in attributes:
        return attributes
    comma = "," if len(attributes) > len("{}") else ""
    return f'{attributes[:-1]}{comma} "{name}":{json.dumps(json.dumps(colors.split(",")))}}}'


def without_colors(text: str) -> str:
    """Return *text*, one or several JSON texts of attributes, without what `with_colors` added."""
    return _ADDED.sub("", text) if _MARK in text else text


def colors_of(attributes: str) -> str | None:
    """Return the colors that `with_colors` added to *attributes*, separated by commas; None where it added none."""
    found = _ADDED.search(attributes) if _MARK in attributes else None
    return None if found is None else ",".join(_WORD.findall(found[1]))


def colors_of_item(images: Iterable[str]) -> str | None:
    """Return the colors of an item whose *images* have these attributes: those seen most; None where none has any.

    The first color of an image counts 1, the second 1/2, the third 1/3; at most three have a fifth of the whole.
    """
    counts: Counter[str] = Counter()
    for each in filter(None, map(colors_of, images)):
        for rank, color in enumerate(each.split(","), 1):
            counts[color] += 1 / rank  # type: ignore[assignment] # a Counter takes any number
    least = _SHARE * sum(counts.values())
    common = counts.most_common(_MOST)
    return ",".join(color for number, (color, count) in enumerate(common) if not number or count >= least) or None


class ColorsOfItem:
    """`colors_of_item` as an aggregate function of SQLite."""

    def __init__(self) -> None:
        """Begin with no image."""
        self._images: list[str] = []

    def step(self, attributes: str, /) -> None:
        """Add an image with *attributes*."""
        self._images.append(attributes)

    def finalize(self) -> str | None:
        """Return the colors of the item."""
        return colors_of_item(self._images)
