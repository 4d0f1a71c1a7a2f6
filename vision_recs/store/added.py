"""What was found in the pixels of images: attributes that a store adds to those of the catalog.

An image gets `own_colors`, a set, and `own_focus`, the parts of it that the encoder looked at; an item gets
`image_colors`. In the JSON text of attributes they stand last, each after a space. Nothing else in these texts has a
space outside of strings, so that what the catalog says can be told from what was added. A catalog with an attribute of
that name keeps its own.

What is added to an image is kept with its vector, as the text of a JSON object from names to texts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

OF_ITEM: Final = "image_colors"
OF_IMAGE: Final = "own_colors"
FOCUS: Final = "own_focus"

_MARKS: Final = (' "own_', f' "{OF_ITEM}"')
_ADDED: Final = re.compile(rf',? "({OF_ITEM}|{OF_IMAGE}|{FOCUS})":("(?:[^"\\]|\\.)*")')
_MOST: Final = 3
_SHARE: Final = 0.2
"""What a color is of all images of an item, at least, to be one of the item beside its first one."""

Box = tuple[float, float, float, float]
"""A part of an image: x, y, width and height, as shares of the width and height of the image."""


def added_text(*, colors: Iterable[str] = (), focus: Iterable[Box] = ()) -> str:
    """Return what is added to an image that shows *colors*, and of which the encoder looked at the parts *focus*."""
    values = {OF_IMAGE: list(colors), FOCUS: [[round(number, 4) for number in box] for box in focus]}
    return _compact({name: json.dumps(value) for name, value in values.items() if value})


def with_added(attributes: str, added: str | None) -> str:
    """Return the JSON text *attributes* with what is *added*; None adds nothing."""
    for name, value in json.loads(added).items() if added else ():
        if f'"{name}":' not in attributes:
            comma = "," if len(attributes) > len("{}") else ""
            attributes = f'{attributes[:-1]}{comma} "{name}":{json.dumps(value)}}}'
    return attributes


def without_added(text: str) -> str:
    """Return *text*, one or several JSON texts of attributes, without what `with_added` added."""
    return _ADDED.sub("", text) if any(mark in text for mark in _MARKS) else text


def added_to(attributes: str) -> str | None:
    """Return what `with_added` added to *attributes*; None where it added nothing."""
    found = _ADDED.findall(attributes) if any(mark in attributes for mark in _MARKS) else ()
    return _compact({name: json.loads(value) for name, value in found}) if found else None


def names_colors(added: str | None) -> bool:
    """Return whether colors are among what is *added* to an image."""
    return added is not None and OF_IMAGE in json.loads(added)


def without_colors(added: str | None) -> str | None:
    """Return what is *added* to an image but for its colors."""
    if not names_colors(added):
        return added
    return _compact({name: value for name, value in json.loads(added or "").items() if name != OF_IMAGE})


def colors_of_item(images: Iterable[str]) -> str | None:
    """Return what is added to an item whose *images* have these attributes: the colors seen most; None without any.

    The first color of an image counts 1, the second 1/2, the third 1/3; at most three have a fifth of the whole.
    """
    counts: Counter[str] = Counter()
    for each in filter(None, map(added_to, images)):
        for rank, color in enumerate(json.loads(json.loads(each).get(OF_IMAGE, "[]")), 1):
            counts[color] += 1 / rank  # type: ignore[assignment] # a Counter takes any number
    least = _SHARE * sum(counts.values())
    common = counts.most_common(_MOST)
    colors = [color for number, (color, count) in enumerate(common) if not number or count >= least]
    return _compact({OF_ITEM: json.dumps(colors)}) if colors else None


class ColorsOfItem:
    """`colors_of_item` as an aggregate function of SQLite."""

    def __init__(self) -> None:
        """Begin with no image."""
        self._images: list[str] = []

    def step(self, attributes: str, /) -> None:
        """Add an image with *attributes*."""
        self._images.append(attributes)

    def finalize(self) -> str | None:
        """Return what is added to the item."""
        return colors_of_item(self._images)


def _compact(value: Mapping[str, str]) -> str:
    return json.dumps(value, separators=(",", ":"))
