"""Cross-fitting: whether a learned map is better on items that it has not seen.

Items are assigned to folds. For each fold, the map is learned from three other folds; the remaining fold validates it,
that is, it decides when to stop and which hyperparameters are best. Then the items of the fold itself are the queries,
and every item is a target. So no query item had a part in learning, stopping or choosing. Small groups of similar
items, such as the variants of a product, are in one fold as a whole, because new products come in groups that are new
as well; large groups, such as categories, are spread over the folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics import ItemVectors, Judgments, RankingResult, evaluate_rankings, ndcg_at_10
from vision_recs.store import Projection
from vision_recs.store.projections import Part
from vision_recs.tune.learning import Fit, Hyperparameters, Learner, Matrix, PrincipalAxes, TrainingSet
from vision_recs.tune.positives import Positives
from vision_recs.types import Vectors
from vision_recs.vectors import normalize_rows

MEASURE = "ndcg_at_10"
"""The measure that decides, and that validates: it fits labels, small groups and graded pairs alike."""

CHOICES = (Hyperparameters(), Hyperparameters(whitening=0.5), Hyperparameters(temperature=0.07))
"""The hyperparameters that validation chooses from: at a lower temperature, only near neighbors count."""

EVERY = 20
"""Steps between two validations, and between two searches for hard negatives."""

_FOLDS = 5
_SMALL = 20
"""The largest group that stays in one fold."""

_STEPS = 300


@dataclass(frozen=True)
class TuningTask:
    """What is learned and how it is evaluated: items with their images, the positives, and the judgments.

    Some of the vectors may lack one of their *parts*.
    """

    items: ItemVectors
    positives: Positives
    judgments: Judgments
    per_image: bool
    parts: tuple[Part, ...] = ()

    @cached_property
    def inputs(self) -> Vectors:
        """The vectors as a projection takes them: the mean of the others stands for a part that is zero."""
        vectors = self.items.vectors
        if not self.parts:
            return vectors
        columns = np.cumsum([part.columns for part in self.parts])[:-1]
        blocks = np.split(vectors, columns, axis=1)
        has_all = np.all([np.any(block, axis=1) for block in blocks], axis=0)
        mean = vectors[has_all if has_all.any() else slice(None)].mean(axis=0)
        return Projection(mean, mean, parts=self.parts).completed(vectors).astype(np.float32)


@dataclass(frozen=True)
class CrossFit:
    """The rankings of all queries *before* and *after* learning, and what served most folds best."""

    before: RankingResult
    after: RankingResult
    hyperparameters: Hyperparameters
    steps: int


class Trainer:
    """Learns maps for one task, and evaluates them."""

    def __init__(self, task: TuningTask) -> None:
        """Find the principal axes of the vectors of *task*."""
        self._task = task
        self._owners = task.items.owners()
        self.axes = PrincipalAxes.of(task.inputs)
        self._coordinates = self.axes.coordinates(task.inputs)

    def learner(self, items: NDArray[np.bool_], hyperparameters: Hyperparameters) -> Learner:
        """Return a learner for the *items* of this mask."""
        training = TrainingSet(self._coordinates, self._owners, self._task.positives, items)
        initial = self.axes.initial_map(hyperparameters.dim, whitening=hyperparameters.whitening)
        return Learner(training, initial, hyperparameters)

    def evaluate(self, learned: Matrix | None, queries: NDArray[np.int64]) -> RankingResult:
        """Return the rankings for the items *queries*, with vectors mapped by *learned*, or with the plain vectors."""
        items = self._mapped(learned)
        return evaluate_rankings(items.take(queries), items, self._task.judgments, per_image=self._task.per_image)

    def ndcg(self, learned: Matrix, queries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the `MEASURE` of the rankings that `evaluate` returns, in less time."""
        items = self._mapped(learned)
        return ndcg_at_10(items.take(queries), items, self._task.judgments, per_image=self._task.per_image)

    def _mapped(self, learned: Matrix | None) -> ItemVectors:
        items = self._task.items
        return items if learned is None else items.with_vectors(normalize_rows(self._coordinates @ learned)[0])

    def best_fit(self, items: NDArray[np.bool_], validation: NDArray[np.int64]) -> tuple[Hyperparameters, Fit]:
        """Return the hyperparameters and the map, learned from *items*, that are best for the items *validation*."""

        def validate(learned: Matrix) -> float:
            found = self.ndcg(learned, validation)
            return float(found.mean()) if len(found) else 0.0

        found = [
            (choice, self.learner(items, choice).fit(_STEPS, every=EVERY, validate=validate)) for choice in CHOICES
        ]
        return max(found, key=lambda pair: pair[1].score)


def cross_fit(trainer: Trainer, folds: NDArray[np.int64]) -> CrossFit:
    """Return the rankings for the items of each fold, by maps from other folds; *folds* (n,) are those of the items."""
    before, after, choices, steps = [], [], [], []
    count = int(folds.max()) + 1
    for fold in range(count):
        validation = (fold + 1) % count
        queries = np.flatnonzero(folds == fold)
        is_training = (folds != fold) & (folds != validation)
        choice, fit = trainer.best_fit(is_training, np.flatnonzero(folds == validation))
        before.append(trainer.evaluate(None, queries))
        after.append(trainer.evaluate(fit.map, queries))
        choices.append(choice)
        steps.append(fit.steps)
    choice = max(CHOICES, key=choices.count)
    chosen = [count for count, used in zip(steps, choices, strict=True) if used == choice]
    return CrossFit(RankingResult.joined(before), RankingResult.joined(after), choice, int(np.median(chosen)))


def assign_folds(positives: Positives, items: int, *, seed: int = 0, folds: int = _FOLDS) -> NDArray[np.int64]:
    """Return the fold of each of *items*: small groups stay whole, large ones are spread evenly."""
    random = np.random.default_rng(seed)
    blocks = positives.blocks()
    sizes = np.bincount(blocks)
    is_whole = sizes[blocks] <= _SMALL
    fold = np.empty(items, np.int64)
    order = random.permutation(items)
    spread = order[np.argsort(blocks[order], kind="stable")]
    spread = spread[~is_whole[spread]]
    fold[spread] = np.arange(len(spread)) % folds
    counts = np.bincount(fold[spread], minlength=folds)
    for block in random.permutation(np.unique(blocks[is_whole])).tolist():
        smallest = int(np.argmin(counts))
        fold[blocks == block] = smallest
        counts[smallest] += sizes[block]
    return fold
