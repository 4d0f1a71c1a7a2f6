"""An engine that is served: opening its published generation."""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.engines import OpenedEngine, Published, open_engine
from vision_recs.engines.published import CURRENT
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.options import RemoteOptions
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.search_files import open_item_search
from vision_recs.serve.served import Facts, Generation, ServedItems
from vision_recs.store.attributes.table import ItemTable
from vision_recs.types import ImageSource, VectorIndex

ENGINE = "engine"
"""What stands in the place of an index type where an engine answers."""

_POLL_S = 2.0
"""How often at most the engine is asked for another generation: of a bucket that is some requests."""


class EngineSource:
    """The engine of a server."""

    def __init__(self, uri: str, options: ServeOptions) -> None:
        """Serve the engine at *uri*, which is not connected to yet."""
        self._uri = uri
        self._options = options
        self.poll_interval_s = max(_POLL_S, options.poll_interval_s)

    def current(self, opened: Generation) -> object:
        """Return the document that names the generation which readers open; raises EngineError."""
        assert isinstance(opened, OpenEngine)
        return opened.engine.engine.documents.read([CURRENT]).get(CURRENT)

    def open(self, before: Generation | None = None) -> tuple[object, OpenEngine]:  # noqa: ARG002 - nothing is shared
        """Open the published generation; see `Source`. Raises EngineError."""
        engine = open_engine(self._uri)
        store = self._options.store
        if isinstance(store, str | Path):
            engine.items.learn_from(store)
        opened = OpenEngine(engine, self._options)
        return opened.engine.published.to_bytes(), opened


class OpenEngine:
    """One generation of an engine, open: a `Generation`."""

    def __init__(self, engine: OpenedEngine, options: ServeOptions) -> None:
        """Own *engine*; *options* say where the images are."""
        self.engine = engine
        self.items: ServedItems = engine.items
        self.table: ItemTable | None = None  # the attributes lie in the engine
        self.index: VectorIndex = engine.index
        self.images: ImageSource = options.images or _images(options)
        self.facts = _facts_of(engine.published)
        published = engine.published
        self.digest = hashlib.sha256(f"{published.token} {published.content}".encode()).hexdigest()[:16]

    def part_with(self, digest: str) -> tuple[ServedItems, ImageSource]:  # noqa: ARG002 - there is one part
        """Return the items, and what reads their images."""
        return self.items, self.images

    def answers_as(self, before: Generation) -> bool:  # noqa: ARG002
        """Return False: each generation has a table of its own."""
        return False

    def open_item_search(self, builder: SearchBuilder | None) -> ItemSearch:  # noqa: ARG002 - it cannot open an engine
        """Return the item search: it is built on this machine from all items, once for each generation."""
        name = hashlib.sha256(self.engine.published.content.encode()).hexdigest()[:32]
        return open_item_search(self.engine.items, name=name)

    def changed_item_search(self, search: ItemSearch, before: Generation) -> ItemSearch | None:  # noqa: ARG002
        """Return None: what differs from the generation *before* is not known."""
        return None

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def require_engine(uri: str) -> None:
    """Raise EngineError unless the engine at *uri* can be opened.

    That is tried in a process of its own: the libraries of engines have threads, and a process that has these must not
    be copied into workers.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_try_engine, uri).result()


def _try_engine(uri: str) -> None:
    open_engine(uri).close()


def _facts_of(published: Published) -> Facts:
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


def _images(options: ServeOptions) -> ImageSource:
    """Return what reads the images for clients: below the folder that *options* name, or at public addresses."""
    remote = replace(
        RemoteOptions().hurried(),
        allow_private=options.allow_private_addresses,
        max_bytes=options.limits.max_image_bytes,
    )
    below = None if options.images_below is None else str(options.images_below)
    return ImageFiles(below or "", below=below, remote=RemoteImages(remote))
