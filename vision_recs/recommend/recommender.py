"""What turns nearest images into similar items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vision_recs.errors import StoreDamaged, VisionRecsError
from vision_recs.indexes import open_index
from vision_recs.recommend.candidates import Facts
from vision_recs.recommend.policy import Policy
from vision_recs.recommend.query import Query
from vision_recs.recommend.query_batch import search_ahead
from vision_recs.recommend.query_encoder import QueryEncoder
from vision_recs.recommend.query_vectors import ask
from vision_recs.recommend.rerank import Choice, Chooser
from vision_recs.recommend.retrieve import Search
from vision_recs.recommend.scoring import Question
from vision_recs.store import Selection, Store
from vision_recs.types import Attribute, Explanation, Match, VectorIndex, Vectors

if TYPE_CHECKING:  # a query without a filter does without the language of filters, and most have no history
    from vision_recs.filters import Filter
    from vision_recs.recommend.history import History
    from vision_recs.recommend.interests import Interest


P = ParamSpec("P")
R = TypeVar("R")


class Recommender:
    """Answers queries from one generation of a store, under a policy.

    Whatever the policy, what a query names is never in its answer, an item appears once, by its best image, and
    byte-identical images appear once, with the item of the lowest id. `Question` says what the score of an image is,
    `Policy` what may be an answer and in which order. Safe to call from several threads.
    """

    def __init__(self, store: Store, index: VectorIndex, *, weights: Path | None = None, device: str = "auto") -> None:
        """Answer from *store* by *index*; *weights* and *device* are for the encoder that images and texts need."""
        self.store = store
        self.index = index
        self._encoder = QueryEncoder(store, weights=weights, device=device)
        self._search = Search(store, self._search_within)

    def similar(
        self, *items: str, k: int = 10, where: str | Filter | None = None, policy: Policy | None = None
    ) -> list[Match]:
        """Return up to *k* items that are similar to all of *items* and match *where*, best first.

        Raises UnknownItem, FilterError and PolicyError.
        """
        return self.answer(Query(items=items, k=k, where=_filter(where)), policy)

    def similar_to_image(
        self,
        image: str | Path | bytes,
        *,
        k: int = 10,
        where: str | Filter | None = None,
        policy: Policy | None = None,
    ) -> list[Match]:
        """Return up to *k* items that are similar to *image* and match *where*, best first.

        *image* is the path of a file, or its bytes. Raises ImageError, FilterError and PolicyError.
        """
        where = _filter(where)
        data = image if isinstance(image, bytes) else read_image(image)
        return self.answer(Query(images=(data,), k=k, where=where), policy)

    def answer(self, query: Query, policy: Policy | None = None) -> list[Match]:
        """Return the matches of *query* under *policy* (that of `Policy()` where there is none), best first.

        Without rules, diversity and history that is the order of the scores, equal ones by id. Raises UnknownItem,
        FilterError and PolicyError, for images ImageError, and for those and texts EncoderError and SpaceMismatch.
        """
        policy = policy or Policy()
        return self._answer(query, policy, self._questions(query, policy), self._search)

    def answer_all(self, asked: Sequence[tuple[Query, Policy]]) -> list[list[Match] | VisionRecsError]:
        """Return for each query and policy what `answer` returns, or the error that it raises.

        The index is searched for all of them at once, which takes a fraction of the time.
        """
        questions = [_outcome(self._questions, query, policy) for query, policy in asked]
        plain = [(*pair, own) for pair, own in zip(asked, questions, strict=True) if isinstance(own, list)]
        search = _outcome(search_ahead, self._search, plain)
        ahead = search if isinstance(search, Search) else self._search
        return [
            _outcome(self._answer, *pair, own, ahead) if isinstance(own, list) else own
            for pair, own in zip(asked, questions, strict=True)
        ]

    def _questions(self, query: Query, policy: Policy) -> list[Question]:
        if policy.names_attributes:
            policy.check(self.store.attribute_types())
        return ask(query, self.store, self._encoder)

    def _answer(self, query: Query, policy: Policy, questions: list[Question], search: Search) -> list[Match]:
        facts = cache(self.store.attributes)
        choices = Chooser(search, facts, query, policy, questions).choose()
        if query.explain:
            explanations: list[Explanation | None] = self._explanations(choices, questions, facts)
        elif policy.rules is not None:
            explanations = [Explanation(effects=choice.effects, relaxed=choice.relaxed) for choice in choices]
        else:
            explanations = [None] * len(choices)
        return [
            Match(found.id, found.score, found.image, found.digest, attributes, why)
            for (found, *_), attributes, why in zip(choices, self._attributes(choices), explanations, strict=True)
        ]

    def interests(self, history: History) -> list[Interest]:
        """Return the interests of a shopper with *history*, that of the greatest share first; raises UnknownItem."""
        from vision_recs.recommend.interests import find_interests

        return find_interests(self.store, history)

    def _search_within(self, vectors: Vectors, k: int, where: Filter | None) -> list[list[Match]]:
        within = None if where is None else Selection(self.store, where)
        return self.index.search(vectors, k, within=within)

    def _explanations(self, choices: list[Choice], questions: list[Question], facts: Facts) -> list[Explanation | None]:
        from vision_recs.recommend.explain import explain

        vectors = self._search.vectors([choice.match for choice in choices])
        return [
            explain(choice, questions[choice.question], vectors[row : row + 1], facts)
            for row, choice in enumerate(choices)
        ]

    def _attributes(self, choices: list[Choice]) -> Iterator[dict[str, Attribute]]:
        """Yield the attributes of each item and of the image by which it matched."""
        images = [(choice.match.id, choice.match.image) for choice in choices]
        for (item, image), found in zip(images, self.store.items.shown(images), strict=True):
            if found is None:
                raise StoreDamaged(
                    f"the item {item!r} has no image {image}, by which it was found; run `visrec verify`"
                )
            yield found


def open(  # noqa: A001 - vision_recs.open is how a shop is opened
    store: str | Path = ".visrec", *, weights: Path | None = None, device: str = "auto"
) -> Recommender:
    """Open the published generation of the store in the folder *store*.

    *weights* and *device* are for the encoder, which is loaded when a query brings an image. Raises StoreError.
    """
    recommender = open_recommender(store, weights=weights, device=device)
    recommender.store.pin()
    return recommender


def open_recommender(store: str | Path, *, weights: Path | None = None, device: str = "auto") -> Recommender:
    """Open *store* for a single query.

    A shard is opened when it is needed, which is quick; until then `visrec gc` may take it away.
    """
    opened = Store.open(store)
    name = opened.manifest.index_type
    directory = opened.layout.index_dir(name, opened.generation)
    index = open_index(name if directory.is_dir() else "exact", opened, directory)
    return Recommender(opened, index, weights=weights, device=device)


def read_image(path: str | Path) -> bytes:
    """Return the bytes of the image in the file *path*; raises ImageError: missing, unreadable or empty."""
    from vision_recs.catalog.files import ImageFiles

    return ImageFiles(".").read(str(path))


def _filter(where: str | Filter | None) -> Filter | None:
    return _parsed(where) if isinstance(where, str) else where


@lru_cache(maxsize=64)  # a shop asks the same again and again
def _parsed(where: str) -> Filter:
    from vision_recs.filters import Filter

    return Filter.parse(where)


def _outcome(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | VisionRecsError:
    """Return what *work* returns, or the error that it raises."""
    try:
        return work(*args, **kwargs)
    except VisionRecsError as error:
        return error
