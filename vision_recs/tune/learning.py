"""Learning a linear map by contrast: similar items move together, all other items of a batch move apart.

The loss is InfoNCE (van den Oord et al., 2018) with all similar items of a batch as positives (Khosla et al., 2020),
each by its weight. Learning works with coordinates along the principal axes of the vectors. A batch has some items, an
item that is similar to each of them, and hard negatives: items that are near to them by now, but not similar.

The gradient and Adam are written out for NumPy: with torch, a step for such small matrices takes 1.5 to 3 times as
long, and importing its optimizers takes another 3 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_recs.store import Projection
from vision_recs.tune.positives import Positives
from vision_recs.types import Vectors
from vision_recs.vectors import principal_axes

Matrix: TypeAlias = NDArray[np.float32]

Validate: TypeAlias = Callable[[Matrix], float]
"""A function that returns how good a map is on items that were held out; higher is better."""

_MOST_AXES = 512
_KEPT = 0.999
"""The share of the variance that the principal axes keep: the axes beyond hold noise."""

_POOL = 4_096
"""Images among which hard negatives are looked for."""

_HARDEST = 10
"""The nearest images that are not similar; one of them is drawn as a hard negative."""

_MIN_GAIN = 0.005
"""The gain for which it pays to continue: a smaller one fits the items that were held out, and no others."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
"""The constants of Adam, as its authors recommend."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How to learn; the values that are chosen on held-out items are in `cross_fitting`.

    *dim* is the dimension of the result. *whitening* is the exponent of `PrincipalAxes.initial_map`. *learning_rate* is
    relative to the largest number of that map. A batch has *batch_items* items and *hard_negatives* hard negatives.
    """

    dim: int = 128
    whitening: float = 0.0
    temperature: float = 0.2
    learning_rate: float = 0.003
    batch_items: int = 128
    hard_negatives: int = 64


@dataclass(frozen=True)
class PrincipalAxes:
    """The *mean* (dim,) of vectors, their principal *axes* (dim, r), and the *variances* (r,) of these, descending."""

    mean: Matrix
    axes: Matrix
    variances: Matrix

    @classmethod
    def of(cls, vectors: Vectors) -> PrincipalAxes:
        """Return the axes that hold nearly all of the variance of *vectors* (n, dim); n is 2 or more."""
        mean, axes, variances = principal_axes(vectors)
        kept = np.cumsum(np.maximum(variances, 0.0)) / max(float(np.maximum(variances, 0.0).sum()), 1e-300)
        count = min(_MOST_AXES, int(np.searchsorted(kept, _KEPT)) + 1, len(variances))
        return cls(mean.astype(np.float32), axes[:, :count].astype(np.float32), variances[:count].astype(np.float32))

    def coordinates(self, vectors: Vectors) -> Matrix:
        """Return the coordinates (n, r) of *vectors* (n, dim) along the axes."""
        found: Matrix = ((vectors - self.mean) @ self.axes).astype(np.float32)
        return found

    def initial_map(self, dim: int, *, whitening: float) -> Matrix:
        """Return the map (r, dim) that keeps the first *dim* axes and scales each by its variance ** (-whitening / 2).

        With a *whitening* of 0 the axes keep their variances, with 1 all variances become equal.
        """
        scales = np.power(self.variances / self.variances[0], -whitening / 2)
        initial: Matrix = np.diag(scales)[:, : min(dim, len(scales))].astype(np.float32)
        return np.ascontiguousarray(initial)

    def projection(self, learned: Matrix) -> Projection:
        """Return the projection of vectors that maps their coordinates by *learned* (r, dim)."""
        return Projection(self.mean, np.ascontiguousarray(self.axes @ learned))


@dataclass(frozen=True)
class TrainingSet:
    """The coordinates (n, r) of images, the item that *owners* (n,) gives for each, ascending, and what is similar.

    Only the items for which the mask *items* holds are learned from.
    """

    coordinates: Matrix
    owners: NDArray[np.int64]
    positives: Positives
    items: NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """A map (r, dim), the number of steps after which it was best, and its score on the held-out items."""

    map: Matrix
    steps: int
    score: float


class Learner:
    """Learns a map from one training set; equal arguments give equal maps."""

    def __init__(self, training: TrainingSet, initial: Matrix, hyperparameters: Hyperparameters) -> None:
        """Start at the map *initial* (r, dim)."""
        self._training = training
        self._hyperparameters = hyperparameters
        self._random = np.random.default_rng(0)
        self._batches = _Batches(training)
        self._map = initial.copy()
        self._adam = _Adam(initial.shape, hyperparameters.learning_rate * float(np.abs(initial).max()))

    def fit(self, steps: int, *, every: int, validate: Validate | None = None, patience: int = 5) -> Fit:
        """Take at most *steps* steps, call *validate* after each *every* of them, and return the best map.

        Learning ends early when *patience* calls in a row found no better map. Without *validate* it takes all steps.
        Where no item has a positive there is nothing to learn, and the initial map is the best one.
        """
        best = Fit(self._map.copy(), 0, validate(self._map) if validate else 0.0)
        if not self._batches.can_learn:
            return best
        worse = 0
        for step in range(1, steps + 1):
            if (step - 1) % every == 0:
                self._batches.embedded = _unit(self._training.coordinates @ self._map)[0]
            self._step()
            if validate and step % every == 0:
                score = validate(self._map)
                worse = 0 if score > best.score + _MIN_GAIN else worse + 1
                best = Fit(self._map.copy(), step, score) if not worse else best
                if worse == patience:
                    break
        return best if validate else Fit(self._map.copy(), steps, 0.0)

    def _step(self) -> None:
        rows = self._batches.draw(self._hyperparameters, self._random)
        owners = self._training.owners[rows]
        similarity = self._training.positives.weights(owners, owners)
        coordinates = self._training.coordinates[rows]
        _, gradient = loss_of_map(self._map, coordinates, similarity, self._hyperparameters.temperature)
        self._map -= self._adam.step(gradient)


def loss_of_map(learned: Matrix, coordinates: Matrix, similarity: Matrix, temperature: float) -> tuple[float, Matrix]:
    """Return the loss of *coordinates* (n, r), mapped by *learned* (r, dim) to unit length, and its gradient.

    The gradient (r, dim) is the derivative of the loss by *learned*. *similarity* and *temperature* are those of
    `info_nce`.
    """
    embedded, lengths = _unit(coordinates @ learned)
    loss, gradient = info_nce(embedded, similarity, temperature)
    # The part of a gradient along its unit vector only changes the length, which is divided out.
    along = np.einsum("ij,ij->i", gradient, embedded)[:, None]
    return loss, coordinates.T @ ((gradient - along * embedded) / lengths)


def info_nce(embedded: Matrix, similarity: Matrix, temperature: float) -> tuple[float, Matrix]:
    """Return the InfoNCE loss of the unit vectors *embedded* (n, dim), and its derivative (n, dim) by their numbers.

    *similarity* (n, n) says how similar two rows are; its diagonal does not count. The loss of a row is the
    cross-entropy between its similarities, scaled to a sum of 1, and the softmax of its cosines with all other rows,
    divided by *temperature*. The result is the mean over the rows that have a similar row; the others are negatives
    only.
    """
    targets = similarity.copy()
    np.fill_diagonal(targets, 0.0)
    total = targets.sum(axis=1, keepdims=True)
    has_target = total > 0
    targets /= np.where(has_target, total, 1.0)
    logits = embedded @ embedded.T / temperature
    np.fill_diagonal(logits, -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    sums = shares.sum(axis=1, keepdims=True)
    np.fill_diagonal(logits, 0.0)  # multiplied by a target of 0
    count = max(1, int(has_target.sum()))
    losses = has_target * (np.log(sums) - (targets * logits).sum(axis=1, keepdims=True))
    pull = has_target * (shares / sums - targets) / (temperature * count)
    return float(losses.sum()) / count, (pull + pull.T) @ embedded


class _Adam:
    """Steps whose size adapts to each number (Kingma and Ba, 2015)."""

    def __init__(self, shape: tuple[int, ...], rate: float) -> None:
        self._rate = rate
        self._mean = np.zeros(shape, np.float32)
        self._square = np.zeros(shape, np.float32)
        self._steps = 0

    def step(self, gradient: Matrix) -> Matrix:
        self._steps += 1
        self._mean += (1 - _BETA_1) * (gradient - self._mean)
        self._square += (1 - _BETA_2) * (gradient**2 - self._square)
        mean = self._mean / (1 - _BETA_1**self._steps)
        square = self._square / (1 - _BETA_2**self._steps)
        moved: Matrix = self._rate * mean / (np.sqrt(square) + _EPSILON)
        return moved


def _unit(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Return *matrix* with rows of unit length, and the lengths (n, 1) that the rows had."""
    lengths = np.maximum(np.sqrt(np.einsum("ij,ij->i", matrix, matrix)), np.float32(1e-12))[:, None]
    return matrix / lengths, lengths


class _Batches:
    """Draws the rows of batches from a training set; *embedded* (n, dim) are the images as mapped by now."""

    def __init__(self, training: TrainingSet) -> None:
        self._positives = training.positives
        self._owners = training.owners
        self._items = training.items
        count = len(training.items)
        self._first = np.searchsorted(training.owners, np.arange(count))
        self._images = np.searchsorted(training.owners, np.arange(count), side="right") - self._first
        has_positive = self._positives.has_partner(self._items) | (self._images > 1)
        self._anchors = np.flatnonzero(self._items & has_positive)
        self._rows = np.flatnonzero(self._items[self._owners])
        self.embedded: Matrix = training.coordinates

    @property
    def can_learn(self) -> bool:
        """Whether an item has a positive."""
        return len(self._anchors) > 0

    def draw(self, hyperparameters: Hyperparameters, random: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of items, of a partner of each, and of hard negatives; each row once."""
        count = min(hyperparameters.batch_items, len(self._anchors))
        items = random.choice(self._anchors, count, replace=False)
        own = self._random_images(items, random)
        partners = self._positives.partners(items, self._items, random)
        others = self._random_images(partners, random)
        again = others == own  # an item that is its own partner shows another image
        others[again] = self._next_image(own[again])
        negatives = self._hard_negatives(own[: min(hyperparameters.hard_negatives, count)], random)
        return np.unique(np.concatenate([own, others, negatives]))

    def _hard_negatives(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return, for each of *rows*, one of the nearest rows that are not similar to it."""
        pool = self._rows if len(self._rows) <= _POOL else random.choice(self._rows, _POOL, replace=False)
        nearest = self.embedded[rows] @ self.embedded[pool].T
        nearest[self._positives.weights(self._owners[rows], self._owners[pool]) > 0] = -np.inf
        count = min(_HARDEST, nearest.shape[1])
        hardest = np.argpartition(-nearest, count - 1, axis=1)[:, :count]
        chosen = hardest[np.arange(len(rows)), random.integers(0, count, len(rows))]
        found: NDArray[np.int64] = pool[chosen[nearest[np.arange(len(rows)), chosen] > -np.inf]]
        return found

    def _random_images(self, items: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = self._first[items] + (random.random(len(items)) * self._images[items]).astype(int)
        return drawn

    def _next_image(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        items = self._owners[rows]
        found: NDArray[np.int64] = self._first[items] + (rows - self._first[items] + 1) % self._images[items]
        return found
