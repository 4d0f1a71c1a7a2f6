"""Feeds in XML: RSS and Atom become records, one for each `<item>` or `<entry>`."""

from __future__ import annotations

from typing import NoReturn
from xml.parsers import expat  # it bounds what entities grow to, and loads none from outside

SEVERAL = "\n"
"""What stands between the values of an element that an item has several times."""

_ITEMS = {"item", "entry"}


class FeedReader:
    """Reads a feed piece by piece: the elements of an item with their texts, without the namespaces of their names.

    An element that has others inside of it, as shipping has, is left out.
    """

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.SkippedEntityHandler = _refuse_entity
        self._names = _Names()
        self._items: list[dict[str, object]] = []
        self._item: dict[str, object] = {}
        self._texts: list[str] = []
        self._link: str | None = None
        self._depth = 0  # 1 in an element of an item
        self._is_compound = False
        self._wait()

    def items(self, data: bytes, *, is_end: bool = False) -> list[dict[str, object]]:
        """Read on, and return the items that end in *data*; raises ExpatError."""
        self._parser.Parse(data, is_end)
        items, self._items = self._items, []
        return items

    def _wait(self) -> None:
        """Wait for the next item: nothing else is of interest."""
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._parser.CharacterDataHandler = None

    def _start(self, tag: str, _: dict[str, str]) -> None:
        if self._names[tag] in _ITEMS:
            self._item, self._depth = {}, 0
            self._parser.StartElementHandler = self._start_inside
            self._parser.EndElementHandler = self._end_inside
            self._parser.CharacterDataHandler = self._texts.append

    def _start_inside(self, _: str, attributes: dict[str, str]) -> None:
        depth = self._depth = self._depth + 1
        if depth == 1:
            self._texts.clear()
            self._link = attributes.get("href")
            self._is_compound = False

    def _end_inside(self, tag: str) -> None:
        depth = self._depth = self._depth - 1
        if depth > 0:
            self._is_compound = True
        elif depth < 0:
            self._items.append(self._item)
            self._wait()
        elif not self._is_compound and (text := ("".join(self._texts) or self._link or "").strip()):
            name = self._names[tag]
            before = self._item.setdefault(name, text)
            if before is not text:
                self._item[name] = f"{before}{SEVERAL}{text}"


class _Names(dict[str, str]):
    """The name of each tag without its namespace: a feed has few of them."""

    def __missing__(self, tag: str) -> str:
        name = self[tag] = tag.rpartition("}")[2]
        return name


def _refuse_entity(name: str, _: bool) -> NoReturn:  # noqa: FBT001 - as expat calls it
    error = expat.ExpatError(f"undefined entity &{name};")
    raise error
