"""A generation that is served, of a store, of several or of an engine: what handlers need, and what clients see."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vision_recs.errors import EngineError, StoreError, StoreUnavailable
from vision_recs.recommend import Recommender
from vision_recs.recommend.offers import Choice
from vision_recs.serve.choices import Choices
from vision_recs.serve.facets import ItemFacets
from vision_recs.serve.id_answers import IdAnswers
from vision_recs.serve.item_search import ItemSearch
from vision_recs.serve.kept_answers import MOST_KEPT, KeptAnswers, KeptChoice
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.references import References
from vision_recs.serve.search_builder import SearchBuilder
from vision_recs.serve.search_files import open_item_table
from vision_recs.serve.weak_matches import weak_below
from vision_recs.types import ImageSource, ItemSource, LearnedSource, VectorIndex

if TYPE_CHECKING:
    from vision_recs.filters import Filter
    from vision_recs.recommend.query_encoder import LoadImage
    from vision_recs.store.attributes.table import ItemTable

log = logging.getLogger(__name__)


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


class Generation(Protocol):
    """A generation of a store, of several stores or of an engine, whose files or connections are open."""

    @property
    def items(self) -> ServedItems:
        """The items."""
        ...

    @property
    def table(self) -> ItemTable | None:
        """The items as the rows of a table, where their attributes lie in columns."""
        ...

    @property
    def index(self) -> VectorIndex:
        """The index of their vectors."""
        ...

    @property
    def images(self) -> ImageSource:
        """What reads the images that changes bring."""
        ...

    @property
    def facts(self) -> Facts:
        """What clients are told of the generation."""
        ...

    @property
    def digest(self) -> str:
        """What names its contents."""
        ...

    def part_with(self, digest: str) -> tuple[ServedItems, ImageSource]:
        """Return the items among which is one with the image with *digest*, if any has it, and what reads it."""
        ...

    def answers_as(self, before: Generation) -> bool:
        """Return whether everything that answers a query is shared with *before*, which has answered some."""
        ...

    def open_item_search(self, builder: SearchBuilder | None) -> ItemSearch:
        """Return the item search, which *builder* builds where there are many items."""
        ...

    def changed_item_search(self, search: ItemSearch, before: Generation) -> ItemSearch | None:
        """Return the item search that *search*, that of *before*, becomes; None where it has to be opened."""
        ...

    def close(self) -> None:
        """Close the files or connections."""
        ...


class Served:
    """A generation that is open to answer requests: its *recommender* answers queries.

    *current* is what said that it is published. *model* is the digest of the learned model, or empty, and *choices*
    keeps what answers were chosen from, *kept_choices* those of queries by id. *ids* answers queries by id, or *kept*
    where answers are kept; they are None where that takes more than ids, groups and scores. *item_search* may be None,
    or that of another generation, *search_generation*, as long as its own is not ready; *item_search_error* says why it
    does not become so. *facets* may be None as long.
    Matches with a score below *weak_below* are weak, if that is known.

    It counts references, beginning with that of its owner, and closes with the last one.
    """

    def __init__(
        self, opened: Generation, current: object, options: ServeOptions, load_image: LoadImage | None
    ) -> None:
        """Own *opened*; *options* name the encoder, and *load_image* decodes the images of queries."""
        self.opened = opened
        self.current = current
        self.items, self.facts = opened.items, opened.facts
        self.recommender = Recommender(
            opened.items, opened.index, weights=options.weights, device=options.device, load_image=load_image
        )
        self.choices: Choices[Choice] = Choices()
        self.kept_choices: Choices[KeptChoice] = Choices(most=MOST_KEPT)
        keeps_answers = options.events is not None  # each is one of its own
        self.ids = None if keeps_answers else IdAnswers.of(opened.items, opened.index, options.policy)
        self.kept = KeptAnswers.of(self.recommender, opened.items, options.policy) if keeps_answers else None
        file = opened.items.model_file if isinstance(opened.items, LearnedSource) else None
        self.model = "" if file is None else file[1]
        self.facets = None if opened.table is None else ItemFacets(opened.table)
        self.weak_below: float | None = None
        self.item_search: ItemSearch | None = None
        self.search_generation = 0
        self.item_search_error: Exception | None = None
        self.search_failed_at = 0.0
        references = References(opened.close)
        self.acquire, self.release = references.acquire, references.release

    @property
    def version(self) -> str:
        """What names the answers: the generation, and as long as its own item search is not ready, that of another."""
        generation = self.facts.generation
        search = "" if self.search_generation in {0, generation} else f"-{self.search_generation}"
        return f"{generation}-{self.opened.digest}{search}"

    def inherit(self, before: Served) -> bool:
        """Keep of *before* what holds of this generation too; return False if the item search has to be loaded yet.

        Until then that of *before* answers.
        """
        self.recommender.share_encoder(before.recommender)
        self.item_search, self.search_generation = before.item_search, before.search_generation
        if before.item_search is None or before.search_generation != before.facts.generation:
            return False
        changed = self.opened.changed_item_search(before.item_search, before.opened)
        if changed is None:
            return False
        self.item_search, self.search_generation = changed, self.facts.generation
        self.weak_below = before.weak_below  # of as good as the same vectors
        return self.facets is not None

    def warm(self) -> None:
        """Make the arrays that answers and lists are read from, before a request waits for them.

        Raises StoreDamaged.
        """
        self.recommender.warm()
        if self.opened.table is not None:
            _ = self.opened.table.by_id

    def load_item_search(self, builder: SearchBuilder | None = None) -> None:
        """Open the item search, which takes seconds the first time, and a minute for a million items.

        *builder* builds it where there are many items.
        """
        try:
            if self.facets is None:
                name = f"{self.facts.generation}-{self.opened.digest}"
                self.facets = ItemFacets(open_item_table(self.items, name=name))
            self.item_search = self.opened.open_item_search(builder)
            self.search_generation, self.item_search_error = self.facts.generation, None
            self.weak_below = weak_below(self.recommender, self.items, self.facets.table)
        except Exception as error:  # raised again where a request needs it
            if builder is not None and builder.is_closed:
                return
            self.search_failed_at = monotonic()
            is_foreseen = isinstance(error, StoreError | EngineError | sqlite3.Error | OSError)
            sentence = f"the item search is not available ({error})"
            self.item_search_error = StoreUnavailable(sentence) if is_foreseen else error
            log.log(logging.ERROR, sentence, exc_info=None if is_foreseen else error, extra={"event": "no_item_search"})
