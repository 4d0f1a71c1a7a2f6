"""`Recommender`: from a query and a policy to the items that are similar."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from vision_recs.errors import StoreDamaged, StoreNotFound, VisionRecsError
from vision_recs.indexes.base import open_published
from vision_recs.recommend.ahead import search_ahead
from vision_recs.recommend.eligibility import AttributesOf
from vision_recs.recommend.query import NEGATIVE_WEIGHT, VARIANTS, Policy, Query, Weighted
from vision_recs.recommend.rerank import RankedMatch, Reranker
from vision_recs.recommend.retrieve import QueryTerm, Retriever, Search, SubQuery
from vision_recs.store import Store
from vision_recs.types import Encoder, Explanation, ImageSource, ItemSource, Match, VectorIndex

if TYPE_CHECKING:  # a query without a filter imports no filters, and most queries have neither a history nor an image
    from vision_recs.engines import OpenedEngine
    from vision_recs.feedback.features import Rows
    from vision_recs.feedback.model import Learned
    from vision_recs.filters import AttributeType, Filter
    from vision_recs.recommend.by_position import NearestPositions
    from vision_recs.recommend.history import History
    from vision_recs.recommend.interests import Interest
    from vision_recs.recommend.learned import LearnedOrder
    from vision_recs.recommend.offers import Choice, Offer
    from vision_recs.recommend.personal import Shopping
    from vision_recs.recommend.query_encoder import KnownImages, LoadImage, QueryEncoder
    from vision_recs.recommend.stores import OpenedStores
    from vision_recs.store.partitions import Stores


_COLD = 2
"""Queries that are answered before the arrays of all items are made, which takes as long as some dozens of them."""

_PLAIN = Policy()

P = ParamSpec("P")
R = TypeVar("R")


class Recommender:
    """Answers queries from the items of one generation, under a policy.

    An item that the query names is never in the answer, and every other item at most once, by its best image.
    `SubQuery` says what the score of an image is, and `Policy` which items may be in the answer and in which order.
    Several threads may use a Recommender at once. Close one that `open` returned with `close` or a `with` statement.
    """

    def __init__(
        self,
        items: ItemSource,
        index: VectorIndex,
        *,
        weights: Path | None = None,
        device: str = "auto",
        load_image: LoadImage | None = None,
    ) -> None:
        """Answer from *items*, whose vectors *index* searches.

        *weights* and *device* are for the encoder, which is loaded when a query has an image or a text; without
        *weights* they are those of `items.weights_file`. *load_image* decodes the images of queries in the place of
        `images.load`.
        """
        self.items = items
        self.index = index
        self._weights = weights
        self._device = device
        self._load_image = load_image
        self._asked = 0
        self._checked: tuple[Policy, Mapping[str, AttributeType]] | None = None
        self._opened: Store | OpenedStores | OpenedEngine | None = None

    def __enter__(self) -> Self:
        """Return the Recommender, which is closed at the end of the `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close what `open` or `open_engine` opened; it cannot be used afterwards. A second call does nothing."""
        if self._opened is not None:
            self._opened.close()
            for name in ("index", "_positions"):  # whose files are open as long as they are there
                self.__dict__.pop(name, None)

    @classmethod
    def open(
        cls,
        store: Stores = ".visrec",
        *,
        weights: Path | None = None,
        device: str = "auto",
        images: ImageSource | None = None,
    ) -> Recommender:
        """Open the published generation of the store in the folder *store*, and all of its files.

        So nobody can remove them while the Recommender is in use. *store* may also be several stores, or a list of
        them, which answer as one. See `__init__` for *weights* and *device*, and `Store.open` for *images*. Raises
        StoreError, and SpaceMismatch for stores whose vectors cannot be compared.
        """
        opened = open_stores(store, images=images)
        try:
            recommender = cls.of_stores(opened, weights=weights, device=device)
            opened.pin()
        except BaseException:
            opened.close()
            raise
        recommender._opened = opened  # noqa: SLF001 - of the same class
        return recommender

    @classmethod
    def open_engine(cls, uri: str, *, weights: Path | None = None, device: str = "auto") -> Recommender:
        """Open the generation that is published to the engine at *uri*, which needs no store on this machine.

        See `__init__` for *weights* and *device*. Raises EngineError.
        """
        from vision_recs.engines import open_engine

        opened = open_engine(uri)
        recommender = cls(opened.items, opened.index, weights=weights, device=device)
        recommender._opened = opened
        return recommender

    @classmethod
    def of_store(cls, store: Store, *, weights: Path | None = None, device: str = "auto") -> Recommender:
        """Answer from *store* by its index, or by comparing all vectors where the index is gone.

        A shard is opened when it is needed, which is best for a single query; until then `visrec gc` may remove it.
        See `__init__` for *weights* and *device*. Raises StoreError.
        """
        return cls(store, open_published(store), weights=weights, device=device)

    @classmethod
    def of_stores(
        cls, opened: Store | OpenedStores, *, weights: Path | None = None, device: str = "auto"
    ) -> Recommender:
        """Answer from what `open_stores` has opened: see `of_store`."""
        if isinstance(opened, Store):
            return cls.of_store(opened, weights=weights, device=device)
        return cls(opened.items, opened.index, weights=weights, device=device)

    def similar(
        self, *items: str, k: int = 10, where: str | Filter | None = None, policy: Policy | None = None
    ) -> list[Match]:
        """Return up to *k* items that are similar to all of *items* and match *where*, best first.

        Raises UnknownItem, FilterError and PolicyError.
        """
        return self.query(Query(items=items, k=k, where=_filter(where)), policy)

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
        return self.query(Query(images=(data,), k=k, where=where), policy)

    def query(self, query: Query, policy: Policy | None = None) -> list[Match]:
        """Return the matches of *query* under *policy*, or under `Policy()`, best first.

        Without rules, diversity and a history they come in the order of their scores, and equal scores by id. Raises
        UnknownItem, FilterError and PolicyError; for images ImageError; for images and texts EncoderError and
        SpaceMismatch.
        """
        policy = policy or _PLAIN
        self._asked += 1
        return self._answer(query, policy, self._subqueries(query, policy), self._retriever)

    def query_batch(self, queries: Sequence[tuple[Query, Policy]]) -> list[list[Match] | VisionRecsError]:
        """Return, for each query and policy, what `query` returns, or the error that it raises.

        The index is searched for all plain queries at once, and the encoder called once for all images, which takes a
        fraction of the time.
        """
        prepared, retriever = self._prepared(queries)
        return [
            _outcome(self._answer, *pair, own, retriever) if isinstance(own, list) else own
            for pair, own in zip(queries, prepared, strict=True)
        ]

    def offer_batch(self, asked: Sequence[tuple[Query, Policy, Shopping]]) -> list[Offer | VisionRecsError]:
        """Return, for each query, policy and shopper, an answer with what it was chosen from, or the error it raises.

        The answer is that of `query`, but for what it explores, and for what the shopper looks at.
        """
        choices = self.choices([(query, policy, shopping.interests) for query, policy, shopping in asked])
        return [
            choice if isinstance(choice, VisionRecsError) else _outcome(choice.offer, shopping.numbers)
            for choice, (_, _, shopping) in zip(choices, asked, strict=True)
        ]

    def choices(self, asked: Sequence[tuple[Query, Policy, Sequence[Interest]]]) -> list[Choice | VisionRecsError]:
        """Return, for each query, policy and interests of a shopper, what answers are made from, or its error."""
        prepared, retriever = self._prepared([(query, policy) for query, policy, _ in asked], offers=True)
        return [
            _outcome(self._choice, query, policy, interests, own, retriever) if isinstance(own, list) else own
            for (query, policy, interests), own in zip(asked, prepared, strict=True)
        ]

    def offer(self, query: Query, policy: Policy, subqueries: Sequence[SubQuery], search: Search) -> Offer:
        """Return an answer of what *search* finds for *subqueries*, for *k* and the filter of *query*."""
        self._check(policy)
        return self._choice(query, policy, (), list(subqueries), Retriever(self.items, search)).offer(None)

    def _prepared(
        self, queries: Sequence[tuple[Query, Policy]], *, offers: bool = False
    ) -> tuple[list[list[SubQuery] | VisionRecsError], Retriever]:
        """Return the sub-queries of each of *queries*, and what has searched for all plain ones at once."""
        self._asked += len(queries)
        with_images = [query for query, _ in queries if query.images]
        known = self._encoder.ahead(with_images) if len(with_images) > 1 else {}
        prepared = [_outcome(self._subqueries, query, policy, known) for query, policy in queries]
        valid = [(*pair, own) for pair, own in zip(queries, prepared, strict=True) if isinstance(own, list)]
        searched = _outcome(search_ahead, self._retriever, valid, offers=offers)
        return prepared, searched if isinstance(searched, Retriever) else self._retriever

    def interests(self, history: History) -> list[Interest]:
        """Return the interests in *history*, the one with the greatest share first; raises UnknownItem."""
        from vision_recs.recommend.interests import find_interests

        return find_interests(self.items, history)

    def _subqueries(self, query: Query, policy: Policy, known: KnownImages | None = None) -> list[SubQuery]:
        """Return the sub-queries of *query*: one, or one for each interest of its history, the greatest share first.

        The vectors of some of its images may be *known*.
        """
        self._check(policy)
        terms = [_item_term(self.items, item, weight) for item, weight in _summed(query.items, 1.0)]
        negatives = tuple(
            _item_term(self.items, item, weight, kind="negative")
            for item, weight in _summed(query.negatives, NEGATIVE_WEIGHT)
        )
        if query.images or query.texts:
            terms += self._encoder.terms(query, known or {})
        if query.history is None:
            if query.apart:
                from vision_recs.recommend.query_encoder import apart

                return apart(terms, negatives)
            return [SubQuery(tuple(terms), negatives)]
        return [
            SubQuery((*terms, _item_term(self.items, interest.medoid, 1.0, kind="interest")), negatives, interest.share)
            for interest in self.interests(query.history)
        ]

    def _check(self, policy: Policy) -> None:
        """Raise PolicyError where *policy* does not fit the attributes; that of the last query is known to."""
        if not policy.names_attributes:
            return
        types, last = self.items.attribute_types(), self._checked
        if last is None or last[0] is not policy or last[1] is not types:
            policy.check(types)
            self._checked = policy, types

    def _answer(self, query: Query, policy: Policy, subqueries: list[SubQuery], retriever: Retriever) -> list[Match]:
        learned = self.learned_order(policy)
        reranker = Reranker(retriever, AttributesOf(self.items), query, policy, subqueries)
        ranked = reranker.rerank(() if learned is None else (learned,))
        return self._matches(reranker if query.explain else None, policy.rules is not None, ranked)

    def _choice(
        self,
        query: Query,
        policy: Policy,
        interests: Sequence[Interest],
        subqueries: list[SubQuery],
        retriever: Retriever,
    ) -> Choice:
        from vision_recs.recommend.offers import Orders, choose
        from vision_recs.recommend.personal import personal_order

        reranker = Reranker(retriever, AttributesOf(self.items), query, policy, subqueries)
        orders = Orders(self.learned_order(policy), personal_order(interests, policy.learn, self.items))
        matches = partial(self._matches, reranker if query.explain else None, policy.rules is not None)
        return choose(reranker, subqueries, policy.learn, orders, matches)

    def _matches(self, explaining: Reranker | None, has_rules: bool, ranked: Sequence[RankedMatch]) -> list[Match]:  # noqa: FBT001
        matches = self._with_attributes([each.match for each in ranked])
        explanations: Sequence[Explanation]
        if explaining is not None:
            explanations = explaining.explain(ranked)
        elif has_rules or any(each.effects for each in ranked):
            explanations = [Explanation(effects=each.effects, relaxed=each.relaxed) for each in ranked]
        else:
            return matches
        return [match._replace(explanation=each) for match, each in zip(matches, explanations, strict=True)]

    def learned_order(self, policy: Policy) -> LearnedOrder | None:
        """Return the order that *policy* has learned, or None; raises StoreDamaged where the model was altered."""
        if policy.learn is None or self._model is None:
            return None
        from vision_recs.recommend.learned import LearnedOrder

        return LearnedOrder(self._model, self._learned_rows, policy.learn.most)

    @cached_property
    def _model(self) -> Learned | None:
        from vision_recs.recommend.learned import model_of

        return model_of(self.items)

    @cached_property
    def _learned_rows(self) -> Rows:
        from vision_recs.feedback.features import Features, Rows

        return Rows(Features() if self._model is None else self._model.features)

    def _with_attributes(self, matches: list[Match]) -> list[Match]:
        """Return each of *matches* with the attributes of its item and image, which are read where it has none."""
        missing = [number for number, match in enumerate(matches) if not match.attributes]
        if missing:
            images = [(matches[number].id, matches[number].image) for number in missing]
            for number, attributes in zip(missing, self.items.match_attributes(images), strict=True):
                match = matches[number]
                if attributes is None:
                    raise StoreDamaged(
                        f"the item {match.id!r} has no image {match.image}, by which it was found; run `visrec verify`"
                    )
                matches[number] = match._replace(attributes=attributes)
        return matches

    @property
    def _retriever(self) -> Retriever:
        return Retriever(self.items, self.index.search, lambda: self._positions, is_warm=self._asked > _COLD)

    @cached_property
    def _positions(self) -> NearestPositions | None:
        from vision_recs.recommend.by_position import NearestPositions

        return NearestPositions.of(self.items, self.index)

    def warm(self) -> None:
        """Make the arrays now that answers are read from: else the first queries make them, and wait for it.

        Raises StoreDamaged.
        """
        self._asked += _COLD
        if self._positions is not None:
            self._positions.lookup.warm(VARIANTS)

    def image_encoder(self) -> Encoder:
        """Return the encoder of the items, loaded if it is not yet; raises EncoderError and SpaceMismatch."""
        return self._encoder.loaded().image_encoder()

    def share_encoder(self, other: Recommender) -> None:
        """Use the encoder of *other*, which may be loaded already, if it is that of these items too."""
        self._encoder.share(other._encoder)

    @cached_property
    def _encoder(self) -> QueryEncoder:
        from vision_recs.recommend.query_encoder import QueryEncoder

        return QueryEncoder(self.items, weights=self._weights, device=self._device, load_image=self._load_image)


def open(  # noqa: A001 - vision_recs.open is how a store is opened for queries
    store: Stores = ".visrec",
    *,
    weights: Path | None = None,
    device: str = "auto",
    images: ImageSource | None = None,
    engine: str | None = None,
) -> Recommender:
    """Return what `Recommender.open` returns: answers from the published generation of the store in a folder.

    Several stores, or a list of them, answer as one.

    With the URI of an *engine*, return what `Recommender.open_engine` returns, for which no store is needed.
    """
    if engine is not None:
        return Recommender.open_engine(engine, weights=weights, device=device)
    return Recommender.open(store, weights=weights, device=device, images=images)


def open_stores(store: Stores, *, images: ImageSource | None = None) -> Store | OpenedStores:
    """Open the published generation of *store*: of one folder, or of several stores as one.

    See `Store.open` for *images*. Raises StoreError and SpaceMismatch.
    """
    if isinstance(store, str | Path):
        try:
            return Store.open(store, images=images)
        except StoreNotFound:
            from vision_recs.store.partitions import is_several

            if not is_several(store):
                raise
    elif len(store) == 1:
        return open_stores(store[0], images=images)
    from vision_recs.recommend.stores import OpenedStores

    return OpenedStores.open(store, images=images)


def read_image(path: str | Path) -> bytes:
    """Return the bytes of the image in the file *path*; raises ImageError: missing, unreadable or empty."""
    from vision_recs.catalog.image_files import ImageFiles, image_bytes

    return image_bytes(ImageFiles("."), str(path))


def _summed(values: Sequence[str | Weighted[str]], default: float) -> list[tuple[str, float]]:
    """Return each item once; an item that is named twice has the sum of both weights."""
    sums: dict[str, float] = {}
    for each in values:
        item, weight = each[:2] if isinstance(each, Weighted) else (each, default)
        sums[item] = sums.get(item, 0.0) + weight
    return list(sums.items())


def _item_term(items: ItemSource, item: str, weight: float, *, kind: str = "item") -> QueryTerm:
    """Return *item* as a term: the vectors of its images, by the name of the image, the same bytes once."""
    image_of: dict[str, str] = {}
    for image, digest in sorted([(each.image, each.digest) for each in items.images(item)]):
        image_of.setdefault(digest, image)
    return QueryTerm(kind, item, weight, items.vectors_of(list(image_of)), tuple(image_of.values()))


def _filter(where: str | Filter | None) -> Filter | None:
    return _parsed(where) if isinstance(where, str) else where


@lru_cache(maxsize=64)  # a shop sends the same filters again and again
def _parsed(where: str) -> Filter:
    from vision_recs.filters import Filter

    return Filter.parse(where)


def _outcome(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | VisionRecsError:
    """Return what *work* returns, or the error that it raises."""
    try:
        return work(*args, **kwargs)
    except VisionRecsError as error:
        return error
