"""`tune`: a projection learned from what is similar in a catalog, and whether it is better on items it has not seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vision_recs._version import __version__
from vision_recs.catalog.judgments import Pair
from vision_recs.encoders.words import words_of
from vision_recs.errors import EvaluationError
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
from vision_recs.recommend.query import VARIANTS
from vision_recs.store import Projection, Store, attributes_where, load_encoder_vectors
from vision_recs.tune.cross_fitting import EVERY, MEASURE, CrossFit, Trainer, TuningTask, assign_folds, cross_fit
from vision_recs.tune.positives import LabelPositives, PairPositives
from vision_recs.tune.unsupervised import MAY_LOSE, held_out, principal_projection
from vision_recs.tune.words import projection_to, weigh_words
from vision_recs.types import Attribute

if TYPE_CHECKING:  # without a filter, its language is not needed
    from vision_recs.filters import Filter

_FEWEST_ITEMS = 10
_MOST_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """What to learn from: *labels*, an attribute whose equal values make items similar, or *pairs* with their weights.

    The images of one item are always similar; without labels or pairs, nothing else is learned. With *per_image*, each
    image of an unseen item is a query of its own, as a shopper's photo would be, and its own item is relevant, too;
    without labels or pairs this is always so. Items that do not match *where* have no part in it.

    *unsupervised* learns from nothing but the vectors. Labels or pairs, or else variants or the images of each item,
    then say whether it does harm. *words* learns one number from labels or pairs: how much the words of items count.
    """

    labels: str | None = None
    pairs: Sequence[Pair] | None = None
    per_image: bool = False
    where: Filter | None = None
    unsupervised: bool = False
    words: bool = False

    def __post_init__(self) -> None:
        """Refuse both labels and pairs, single images with pairs, and two ways to learn, with a ValueError."""
        if self.words and (self.unsupervised or self.per_image):
            raise ValueError("how much words count is learned from items that are similar, by labels or pairs alone")
        if self.labels is not None and self.pairs is not None:
            raise ValueError("labels and pairs are two kinds of positives; learn from one at a time")
        if self.per_image and self.pairs is not None:
            raise ValueError("pairs are of items, so images cannot be queries; learn from labels, or evaluate by items")

    @property
    def learned_from(self) -> str:
        """What is learned from, in a few words."""
        if self.unsupervised:
            return "their vectors alone"
        if self.labels is not None:
            return f"equal {self.labels}" + (", per image" if self.per_image else "")
        return "the images of each item" if self.pairs is None else f"{len(self.pairs):,} pairs"

    @property
    def is_by_item(self) -> bool:
        """Whether items are similar to other items, so that an image need not find its own item."""
        return not self.per_image and (self.labels is not None or self.pairs is not None)


@dataclass(frozen=True)
class Tuned:
    """A projection learned from *items* items, and the measures of *queries* unseen queries without and with it.

    *before* is measured with the plain vectors, *after* with projections that were learned without the queries.
    *is_better* says whether the projection is worth using: whether the difference of the measure *decided_by* is above
    -*may_lose* beyond its bounds, which is 0 but for a projection that was learned from the vectors alone. For such a
    one there may be nothing to measure by: then there are no *queries* and no measures, and it counts as better.
    """

    projection: Projection
    before: Mapping[str, Interval]
    after: Mapping[str, Interval]
    differences: Mapping[str, Difference]
    decided_by: str
    is_better: bool
    items: int
    queries: int
    learned_from: str
    seconds: float
    may_lose: float = 0.0


def tune(store: Store, options: TuneOptions) -> Tuned:
    """Return the projection that *options* teach, of the encoder's vectors in *store*.

    A projection that the store has already plays no part. Equal stores and options give equal projections. Raises
    FilterError, and EvaluationError where there is too little to learn from.
    """
    # The matrices are small and the steps many: threads would wait for each other, on a busy machine ten times as long.
    with threadpool_limits(1, user_api="blas"):
        return _tune(store, options)


def _tune(store: Store, options: TuneOptions) -> Tuned:
    started = perf_counter()
    if options.words:
        return _words(store, options)
    if options.unsupervised:
        return _unsupervised(store, options)
    task = _task(store, options)
    trainer = Trainer(task)
    folds = assign_folds(task.positives, len(task.items.ids))
    trial = cross_fit(trainer, folds)
    if not trial.before.queries:
        raise EvaluationError(_nothing_similar(options))
    learner = trainer.learner(np.ones(len(folds), np.bool_), trial.hyperparameters)
    projection = trainer.axes.projection(learner.fit(trial.steps, every=EVERY).map)
    learned = replace(projection, provenance=_provenance(store, options, _settings(trial)), parts=task.parts)
    return _tuned(learned, (trial.before, trial.after), task, options, started)


def _words(store: Store, options: TuneOptions) -> Tuned:
    started = perf_counter()
    words = words_of(store.manifest.encoder.name)
    if words is None:
        raise EvaluationError(
            f"{store.manifest.encoder.name} reads no words of items; index with an encoder that has such a part, as "
            "efficientnet-lite0+words:title@0.4"
        )
    task = _task(store, options)
    found = weigh_words(task, words, assign_folds(task.positives, len(task.items.ids)))
    if not found.before.queries:
        raise EvaluationError(_nothing_similar(options))
    scales = projection_to(words, store.manifest.encoder.dim, found.share)
    learned = replace(scales, provenance=_provenance(store, options, {"words": f"{found.share:g}"}))
    return _tuned(learned, (found.before, found.after), task, options, started)


def _tuned(
    projection: Projection,
    measured: tuple[RankingResult, RankingResult],
    task: TuningTask,
    options: TuneOptions,
    started: float,
) -> Tuned:
    """Return what was learned, and whether the second of the rankings *measured* is better than the first."""
    before, after = measured
    clusters = np.unique(before.queries, return_inverse=True)[1].astype(np.int64)
    is_measured = len(before.queries) > 0
    differences = {name: compare(before.of(name), after.of(name), clusters) for name in MEASURES if is_measured}
    may_lose = MAY_LOSE if options.unsupervised else 0.0
    return Tuned(
        projection=projection,
        before=_by_name(before, clusters) if is_measured else {},
        after=_by_name(after, clusters) if is_measured else {},
        differences=differences,
        decided_by=MEASURE,
        is_better=not is_measured or differences[MEASURE].low > -may_lose,
        items=len(task.items.ids),
        queries=len(before.queries),
        learned_from=options.learned_from,
        seconds=round(perf_counter() - started, 3),
        may_lose=may_lose,
    )


def _unsupervised(store: Store, options: TuneOptions) -> Tuned:
    started = perf_counter()
    task = _judged_by(store, options)
    folds = assign_folds(task.positives, len(task.items.ids))
    measured = held_out(task, folds)
    projection = principal_projection(task.inputs)
    provenance = _provenance(store, options, {"dim": str(projection.dim)})
    return _tuned(replace(projection, provenance=provenance, parts=task.parts), measured, task, options, started)


def _judged_by(store: Store, options: TuneOptions) -> TuningTask:
    """Return the task by which a projection without labels is judged: by variants, where no other one is named."""
    if options.labels is None and options.pairs is None:
        groups = [own.get(VARIANTS) for own in attributes_where(store, options.where).values()]
        known = [group for group in groups if group is not None]
        if len(set(known)) < len(known):
            return _task(store, replace(options, labels=VARIANTS))
    return _task(store, options)


def _task(store: Store, options: TuneOptions) -> TuningTask:
    words = words_of(store.manifest.encoder.name)
    task = _task_of(store, options)
    return task if words is None else replace(task, parts=words.parts(store.manifest.encoder.dim))


def _task_of(store: Store, options: TuneOptions) -> TuningTask:
    if not options.is_by_item and words_of(store.manifest.encoder.name) is not None:
        raise EvaluationError(
            "the vectors of all images of an item have its words, so that they find each other by these alone; name "
            "--labels or --pairs, and leave out --per-image"
        )
    attributes = attributes_where(store, options.where)
    items = load_encoder_vectors(store, _chosen(attributes, options))
    if len(items.ids) < _FEWEST_ITEMS:
        raise EvaluationError(
            f"{len(items.ids)} items are too few to learn from; let {_FEWEST_ITEMS} or more match --where"
        )
    if options.labels is not None:
        return _labeled(items, attributes, options.labels, per_image=options.per_image)
    if options.pairs is not None:
        return _paired(items, options.pairs)
    return TuningTask(items, LabelPositives([None] * len(items.ids)), OwnItemJudgments(items.ids), per_image=True)


def _nothing_similar(options: TuneOptions) -> str:
    if options.labels is None and options.pairs is None:
        return "each item has one image, so there is nothing to learn from; name --labels or --pairs"
    return f"by {options.learned_from} nothing is similar to anything; learn from other items"


def _chosen(known: Mapping[str, Mapping[str, Attribute]], options: TuneOptions) -> list[str]:
    """Return the ids of the items to learn from, at most _MOST_ITEMS; those with a label or in a pair come first."""
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


def _labeled(
    items: ItemVectors, known: Mapping[str, Mapping[str, Attribute]], name: str, *, per_image: bool
) -> TuningTask:
    labels = {item: known[item].get(name) for item in items.ids}
    if all(label is None for label in labels.values()):
        names = sorted({attribute for attributes in known.values() for attribute in attributes})
        raise EvaluationError(f"no item has the attribute {name!r}; name one of {', '.join(names) or 'none'}")
    judgments = LabelJudgments(labels, items.ids, include_self=per_image)
    return TuningTask(items, LabelPositives(list(labels.values())), judgments, per_image=per_image)


def _paired(items: ItemVectors, pairs: Sequence[Pair]) -> TuningTask:
    plain = [(pair.query, pair.relevant, pair.grade) for pair in pairs]
    ids = frozenset(items.ids)
    if not any(one in ids and other in ids for one, other, _ in plain):
        raise EvaluationError(
            f"none of the {len(pairs)} pairs, the first of them {pairs[0].query!r} and {pairs[0].relevant!r}, joins "
            "two items that match; name the ids of the store"
        )
    positives = PairPositives.of_ids(plain, items.ids)
    return TuningTask(items, positives, PairJudgments(plain, items.ids), per_image=False)


def _by_name(result: RankingResult, clusters: NDArray[np.int64]) -> dict[str, Interval]:
    return dict(zip(MEASURES, intervals(result.values, clusters), strict=True))


def _settings(trial: CrossFit) -> dict[str, str]:
    return {"hyperparameters": json.dumps(asdict(trial.hyperparameters), sort_keys=True), "steps": str(trial.steps)}


def _provenance(store: Store, options: TuneOptions, settings: Mapping[str, str]) -> dict[str, str]:
    return {
        "visrec": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "encoder": store.manifest.encoder.name,
        "space": store.manifest.encoder.fingerprint,
        "generation": str(store.generation),
        "learned_from": options.learned_from,
        "where": "" if options.where is None else str(options.where),
        **settings,
    }
