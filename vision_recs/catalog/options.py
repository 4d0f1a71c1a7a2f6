"""What a person may say about a catalog."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How to read a catalog; every field has a default that suits most.

    *id_column* and *image_column* name columns of a table; without them the usual names are looked for.
    *image_attributes* are columns whose values describe one image (a view, a background) instead of the item.
    *item_per_folder* makes every folder that holds images one item.
    """

    id_column: str | None = None
    image_column: str | None = None
    image_attributes: tuple[str, ...] = ()
    item_per_folder: bool = False
