"""What is found in a catalog while it is read: what is left out, line by line, and what is worth a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from vision_recs.errors import ROW_REASONS, CatalogError

_SHORT = 40

_Key = TypeVar("_Key")


class LeftOut(NamedTuple):
    """A row, a value or a file that a catalog leaves out: *reason* is a code of `errors.ROW_REASONS`.

    *id* and *image* are empty where they are not known. *message* begins with the place.
    """

    id: str
    image: str
    reason: str
    message: str


LeaveOut: TypeAlias = Callable[[LeftOut], None]
"""What a catalog calls for everything that it leaves out."""


def ignore(left_out: LeftOut) -> None:
    """Do nothing with *left_out*."""
    del left_out


class Findings:
    """Collects what one reading of a catalog finds; the memory does not grow with what is left out."""

    def __init__(self, path: str, leave_out: LeaveOut | None = None) -> None:
        """Call *leave_out* for whatever is left out; without it, that is a CatalogError instead."""
        self.path = path
        """The table or folder that is read."""
        self._leave_out = leave_out
        self.unit = "line"
        """What the number of a place counts: "line" or "row"."""
        self.notes: dict[str, None] = {}
        """What is worth a sentence, each once, in the order in which it was found."""

    def leave_out(
        self, reason: str, message: str, *, place: int | str, column: str | None = None, item: str = ""
    ) -> None:
        """Leave out what stands at *place* (a line, or the path of an image or folder) in *column*.

        Raises CatalogError where nothing may be left out.
        """
        assert reason in ROW_REASONS, reason
        line = place if isinstance(place, int) else None
        if self._leave_out is None:
            raise CatalogError(message, path=self.path, line=line, column=column)
        path, image = (place, place) if isinstance(place, str) else (Path(self.path).name, "")
        self._leave_out(LeftOut(item, image, reason, str(CatalogError(message, path=path, line=line, column=column))))

    def note(self, sentence: str) -> None:
        """Add *sentence* to the notes, unless it is one of them."""
        self.notes.setdefault(sentence)


@dataclass(slots=True)
class First:
    """How many cells there are of a kind, and the first of them, which is of *item*; empty where no item is known."""

    value: object
    item: str
    count: int = 1

    def __str__(self) -> str:
        """Return the first of them, and whose it is."""
        return f"{short(self.value)}{f' of the item {short(self.item)}' if self.item else ''}"


def count_first(firsts: dict[_Key, First], key: _Key, first: First) -> None:
    """Count *first* under *key* of *firsts*, which keeps the one that came before, if any."""
    if key in firsts:
        firsts[key].count += first.count
    else:
        firsts[key] = first


def short(value: object) -> str:
    """Return *value* as it is written in Python, at most 40 characters of it."""
    text = repr(value)
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."
