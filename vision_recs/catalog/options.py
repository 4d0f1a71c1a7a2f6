"""What a person may say about a catalogue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How to read a catalogue; every field has a default that suits most.

    *id_column* and *image_column* name columns of a table; without them the usual names are looked for.
    *picture_columns* are columns whose values describe one picture (a view, a background) instead of the item.
    *item_per_folder* makes every folder that holds pictures one item.
    """

    id_column: str | None = None
    image_column: str | None = None
    picture_columns: tuple[str, ...] = ()
    item_per_folder: bool = False
