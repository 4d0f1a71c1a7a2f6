"""A generation that is served, of a store or of an engine: what handlers need of it, and what clients are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vision_recs.recommend import Recommender
from vision_recs.serve.item_search import ItemSearch
from vision_recs.store import Store
from vision_recs.types import ImageSource, ItemSource

if TYPE_CHECKING:
    from vision_recs.engines import Published
    from vision_recs.filters import Filter

ENGINE = "engine"
"""What stands in the place of an index type where an engine answers."""


class Facts(NamedTuple):
    """A generation in a few words and numbers; *created* is in UTC, as ISO 8601."""

    generation: int
    created: str
    items: int
    images: int
    dim: int
    encoder: str
    space: str
    index_type: str
    recall_at_10: float


class ServedItems(ItemSource, Protocol):
    """The items of a generation that is served."""

    def ids_where(self, where: Filter) -> Iterator[str]:
        """Yield the id of each item that matches *where* once, always in the same order; raises FilterError."""
        ...

    def unknown_values(self, where: Filter) -> list[str]:
        """Return a sentence for each text that *where* looks for and no item has, with the nearest one that one has."""
        ...

    def image_with(self, digest: str) -> str | None:
        """Return the reference of an image whose bytes have *digest*, or None where no item shows one."""
        ...


class Served(Protocol):
    """A generation that is open: a `Snapshot` of a store, or an `EngineSnapshot`.

    *item_search* may be None, or that of another generation, *search_generation*, as long as its own is not ready;
    *item_search_error* says why it does not become so.
    """

    recommender: Recommender
    images: ImageSource
    item_search: ItemSearch | None
    search_generation: int
    item_search_error: Exception | None

    @property
    def items(self) -> ServedItems:
        """The items."""
        ...

    @property
    def facts(self) -> Facts:
        """What clients are told of the generation."""
        ...

    @property
    def version(self) -> str:
        """What names the answers."""
        ...

    def acquire(self) -> None:
        """Add a reference."""
        ...

    def release(self) -> None:
        """Remove a reference, from any thread; the last one closes the generation."""
        ...


def facts_of_store(store: Store) -> Facts:
    """Return what there is to say of the generation of *store*."""
    manifest = store.manifest
    return Facts(
        manifest.generation,
        manifest.created,
        manifest.items,
        manifest.images,
        store.dim,
        manifest.encoder.name,
        store.fingerprint,
        manifest.index_type,
        manifest.recall_at_10,
    )


def facts_of_engine(published: Published) -> Facts:
    """Return what there is to say of a generation in an engine."""
    return Facts(
        published.generation,
        published.created,
        published.items,
        published.images,
        published.dim,
        published.encoder.name,
        published.space,
        ENGINE,
        published.recall,
    )
