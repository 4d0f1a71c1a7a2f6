"""`tune`: what a shop calls similar becomes a projection, if it is better on items that it has not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from vision_recs._version import __version__
from vision_recs.catalog.judgments import Pair
from vision_recs.errors import VisionRecsError
from vision_recs.metrics import (
    MEASURES,
    Difference,
    Interval,
    ItemVectors,
    LabelJudgments,
    OwnItemJudgments,
    PairJudgments,
    RankingResult,
    compare,
    intervals,
)
from vision_recs.store import Projection, Store, attributes_where, load_item_vectors
from vision_recs.tune.positives import of_images, of_labels, of_pairs
from vision_recs.tune.trial import EVERY, MEASURE, Classroom, Course, Trial, attempt, deal
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not needed
    from vision_recs.filters import Filter

_FEWEST_ITEMS = 10
_MOST_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What to learn from: *labels*, an attribute whose equal values make items similar, or *pairs* with their weights.

    Images of one item always belong together, and without labels or pairs that is all there is to learn. Where
    *per_image*, unseen images ask one by one for the items of their label and for their own item, as a shopper's
    photo would; without labels or pairs they always do. Items that do not match *where* have no part in it.
    """

    labels: str | None = None
    pairs: Sequence[Pair] | None = None
    per_image: bool = False
    where: Filter | None = None

    def __post_init__(self) -> None:
        """Refuse two teachers with a ValueError."""
        if self.labels is not None and self.pairs is not None:
            raise ValueError("labels and pairs teach different things; learn from one at a time")
        if self.per_image and self.pairs is not None:
            raise ValueError("pairs are of items, so images cannot ask; learn from labels, or let items ask")

    @property
    def lesson(self) -> str:
        """What is learnt from, in a few words."""
        if self.labels is not None:
            return f"equal {self.labels}" + (", asked by each image" if self.per_image else "")
        return "the images of each item" if self.pairs is None else f"{len(self.pairs):,} pairs"


@dataclass(frozen=True)
class Tuned:
    """What was learnt from *items* items, and how unseen ones fared with the plain vectors and with the projection.

    *queries* unseen items asked. *is_better* says whether the difference of the measure *decided_by* is above 0 beyond
    its bounds: only then is the projection worth using.
    """

    projection: Projection
    before: Mapping[str, Interval]
    after: Mapping[str, Interval]
    differences: Mapping[str, Difference]
    decided_by: str
    is_better: bool
    items: int
    queries: int
    lesson: str
    seconds: float


def tune(store: Store, options: TuneOptions) -> Tuned:
    """Return the projection of the encoder's vectors in *store* that its items teach, whatever one it has by now.

    Equal stores and options give equal projections. Raises FilterError, and VisionRecsError where there is too little
    to learn from.
    """
    # The matrices are small and the steps many: threads would wait for each other, on a busy machine ten times as long.
    with threadpool_limits(1, user_api="blas"):
        return _tune(store, options)


def _tune(store: Store, options: TuneOptions) -> Tuned:
    started = perf_counter()
    course = _course(store, options)
    room = Classroom(course)
    folds = deal(course.lesson, len(course.items.ids))
    trial = attempt(room, folds)
    if not trial.before.queries:
        raise VisionRecsError(f"by {options.lesson} nothing is similar to anything; learn from other items")
    learner = room.learner(np.ones(len(folds), np.bool_), trial.recipe)
    learnt = learner.learn(trial.steps, every=EVERY)
    clusters = np.unique(trial.before.queries, return_inverse=True)[1].astype(np.int64)
    differences = {name: compare(trial.before.of(name), trial.after.of(name), clusters) for name in MEASURES}
    projection = room.basis.projection(learnt.map)
    return Tuned(
        projection=Projection(projection.mean, projection.matrix, _provenance(store, options, trial)),
        before=_named(trial.before, clusters),
        after=_named(trial.after, clusters),
        differences=differences,
        decided_by=MEASURE,
        is_better=differences[MEASURE].low > 0,
        items=len(course.items.ids),
        queries=len(trial.before.queries),
        lesson=options.lesson,
        seconds=round(perf_counter() - started, 3),
    )


def _course(store: Store, options: TuneOptions) -> Course:
    known = attributes_where(store, options.where)
    items = load_item_vectors(store, _chosen(known, options), projected=False)
    if len(items.ids) < _FEWEST_ITEMS:
        raise VisionRecsError(
            f"{len(items.ids)} items are too few to learn from; let {_FEWEST_ITEMS} or more match --where"
        )
    if options.labels is not None:
        return _labeled(items, known, options.labels, per_image=options.per_image)
    if options.pairs is not None:
        return _paired(items, options.pairs)
    return Course(items, of_images(items.ids), OwnItemJudgments(items.ids), per_image=True)


def _chosen(known: Mapping[str, Mapping[str, Attribute]], options: TuneOptions) -> list[str]:
    """Return the items to learn from: those of which something is known first, at most _MOST_ITEMS of them."""
    if len(known) <= _MOST_ITEMS:
        return list(known)
    ids = sorted(known)
    order = [ids[ordinal] for ordinal in np.random.default_rng(0).permutation(len(ids)).tolist()]
    if options.labels is not None:
        order.sort(key=lambda item: known[item].get(options.labels or "") is None)
    elif options.pairs is not None:
        named = {item for pair in options.pairs for item in (pair.query, pair.relevant)}
        order.sort(key=lambda item: item not in named)
    return order[:_MOST_ITEMS]


def _labeled(items: ItemVectors, known: Mapping[str, Mapping[str, Attribute]], name: str, *, per_image: bool) -> Course:
    labels = {item: known[item].get(name) for item in items.ids}
    if all(label is None for label in labels.values()):
        names = sorted({attribute for attributes in known.values() for attribute in attributes})
        raise VisionRecsError(f"no item has the attribute {name!r}; name one of {', '.join(names) or 'none'}")
    truth = LabelJudgments(labels, items.ids, include_self=per_image)
    return Course(items, of_labels(items.ids, labels), truth, per_image=per_image)


def _paired(items: ItemVectors, pairs: Sequence[Pair]) -> Course:
    plain = [(pair.query, pair.relevant, pair.grade) for pair in pairs]
    ids = frozenset(items.ids)
    if not any(one in ids and other in ids for one, other, _ in plain):
        raise VisionRecsError(
            f"none of the {len(pairs)} pairs, the first of them {pairs[0].query!r} and {pairs[0].relevant!r}, joins "
            "two items that match; name the ids of the index"
        )
    return Course(items, of_pairs(items.ids, plain), PairJudgments(plain, items.ids), per_image=False)


def _named(judged: RankingResult, clusters: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, Interval]:
    return dict(zip(MEASURES, intervals(judged.values, clusters), strict=True))


def _provenance(store: Store, options: TuneOptions, trial: Trial) -> dict[str, str]:
    return {
        "visrec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "encoder": store.manifest.encoder.name,
        "fingerprint": store.manifest.encoder.fingerprint,
        "generation": str(store.generation),
        "lesson": options.lesson,
        "where": "" if options.where is None else str(options.where),
        "recipe": json.dumps(asdict(trial.recipe), sort_keys=True),
        "steps": str(trial.steps),
    }
