"""Learning a linear map by contrast: what belongs together moves together, all else in a batch moves apart.

The loss is InfoNCE (van den Oord et al., 2018) with all partners in the batch as positives (Khosla et al., 2020), each
by its weight. A batch is a number of items, a partner of each, and the wrong neighbors that some of them have by now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.tune.positives import Lesson

Matrix = NDArray[np.float32]
Check = Callable[[Matrix], float]

_POOL = 4_096  # images among which wrong neighbors are looked for
_WORTH_MORE = 0.005  # gain for which it pays to go on: what is learnt for less is paid for by what is not measured
_HARDEST = 10  # of which one is drawn
_FIRST_MOMENT, _SECOND_MOMENT, _EPSILON = 0.9, 0.999, 1e-8  # of Adam, as its authors advise


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to learn: the columns of the result, and the rest as in the literature; see `trial` for who chooses."""

    dim: int = 128
    whitening: float = 0.0
    temperature: float = 0.2
    rate: float = 0.003
    batch: int = 128
    hard: int = 64


@dataclass(frozen=True)
class Material:
    """Coordinates (n, r) of images, the item of each, ascending, what the items teach, and those to learn from."""

    coordinates: Matrix
    owners: NDArray[np.int64]
    lesson: Lesson
    items: NDArray[np.bool_]


@dataclass(frozen=True)
class Learnt:
    """A map (r, dim), after how many steps it was best, and how good it was then, by the check."""

    map: Matrix
    steps: int
    score: float


class Learner:
    """Learns from one material by one recipe, always in the same way."""

    def __init__(self, material: Material, start: Matrix, recipe: Recipe, *, seed: int = 0) -> None:
        """Begin at the map *start* (r, dim)."""
        self._material = material
        self._recipe = recipe
        self._random = np.random.default_rng(seed)
        self._map = start.copy()
        self._adam = _Adam(start.shape, recipe.rate * float(np.abs(start).max()))
        self._rows = _Rows(material)

    def learn(self, steps: int, *, every: int, check: Check | None = None, patience: int = 5) -> Learnt:
        """Take at most *steps* steps, have *check* judge the map *every* so many, and return the best one.

        It ends early when *patience* checks in a row were no better to speak of. Without *check* it takes all steps.
        """
        best = Learnt(self._map.copy(), 0, check(self._map) if check else 0.0)
        worse = 0
        for step in range(1, steps + 1):
            if (step - 1) % every == 0:
                self._rows.place(_unit(self._material.coordinates @ self._map)[0])
            self._step()
            if check and step % every == 0:
                score = check(self._map)
                worse = 0 if score > best.score + _WORTH_MORE else worse + 1
                best = Learnt(self._map.copy(), step, score) if not worse else best
                if worse == patience:
                    break
        return best if check else Learnt(self._map.copy(), steps, 0.0)

    def _step(self) -> None:
        rows = self._rows.batch(self._recipe, self._random)
        owners = self._material.owners[rows]
        weights = self._material.lesson.weights(owners, owners)
        coordinates = self._material.coordinates[rows]
        self._map -= self._adam.step(loss_of_map(self._map, coordinates, weights, self._recipe.temperature)[1])


def loss_of_map(learnt: Matrix, coordinates: Matrix, weights: Matrix, temperature: float) -> tuple[float, Matrix]:
    """Return the loss of *coordinates* (n, r) mapped by *learnt* (r, dim) to unit length, and its gradient by the map.

    *weights* and *temperature* are those of `contrast`.
    """
    embedded, lengths = _unit(coordinates @ learnt)
    loss, gradient = contrast(embedded, weights, temperature)
    # A step along a unit vector itself changes its length, which is divided out.
    along = np.einsum("ij,ij->i", gradient, embedded)[:, None]
    return loss, coordinates.T @ ((gradient - along * embedded) / lengths)


def contrast(embedded: Matrix, weights: Matrix, temperature: float) -> tuple[float, Matrix]:
    """Return the loss of unit vectors *embedded* (n, dim), and its gradient by them, as if their length were free.

    *weights* (n, n) says which rows belong together. For each row the loss is the cross-entropy between its partners,
    by weight, and the softmax of its cosines with all other rows; rows without a partner count only as what others are
    to keep away from.
    """
    wanted = weights.copy()
    np.fill_diagonal(wanted, 0.0)
    total = wanted.sum(axis=1, keepdims=True)
    taught = total > 0
    wanted /= np.where(taught, total, 1.0)
    logits = embedded @ embedded.T / temperature
    np.fill_diagonal(logits, -np.inf)
    logits -= logits.max(axis=1, keepdims=True)
    shares = np.exp(logits)
    sums = shares.sum(axis=1, keepdims=True)
    np.fill_diagonal(logits, 0.0)  # times a wanted share of 0
    count = max(1, int(taught.sum()))
    losses = taught * (np.log(sums) - (wanted * logits).sum(axis=1, keepdims=True))
    pull = taught * (shares / sums - wanted) / (temperature * count)
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
        self._mean += (1 - _FIRST_MOMENT) * (gradient - self._mean)
        self._square += (1 - _SECOND_MOMENT) * (gradient**2 - self._square)
        mean = self._mean / (1 - _FIRST_MOMENT**self._steps)
        square = self._square / (1 - _SECOND_MOMENT**self._steps)
        moved: Matrix = self._rate * mean / (np.sqrt(square) + _EPSILON)
        return moved


def _unit(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Return *matrix* with rows of unit length, and the lengths (n, 1) they had."""
    lengths = np.maximum(np.sqrt(np.einsum("ij,ij->i", matrix, matrix)), np.float32(1e-12))[:, None]
    return matrix / lengths, lengths


class _Rows:
    """Draws the rows of a batch from a material."""

    def __init__(self, material: Material) -> None:
        self._lesson = material.lesson
        self._owners = material.owners
        self._items = material.items
        count = len(material.items)
        self._first = np.searchsorted(material.owners, np.arange(count))
        self._images = np.searchsorted(material.owners, np.arange(count), side="right") - self._first
        able = self._items & (self._lesson.has_partner(self._items) | (self._images > 1))
        self.anchors = np.flatnonzero(able)
        self._rows = np.flatnonzero(self._items[self._owners])
        self._embedded: NDArray[np.float32] = material.coordinates

    def batch(self, recipe: Recipe, random: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows of items, of a partner of each, and of wrong neighbors; each row once."""
        count = min(recipe.batch, len(self.anchors))
        items = random.choice(self.anchors, count, replace=False)
        own = self._images_of(items, random)
        partners = self._lesson.partners(items, self._items, random)
        others = self._images_of(partners, random)
        again = others == own  # an item that is its own partner shows another image
        others[again] = self._next_image(own[again])
        hard = self._wrong_of(own[: min(recipe.hard, count)], random)
        return np.unique(np.concatenate([own, others, hard]))

    def place(self, embedded: NDArray[np.float32]) -> None:
        """Take note of where the images are by now: unit vectors, a row each."""
        self._embedded = embedded

    def _wrong_of(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return, for each of *rows*, one of its nearest neighbors that do not belong to it."""
        pool = self._rows if len(self._rows) <= _POOL else random.choice(self._rows, _POOL, replace=False)
        nearest = self._embedded[rows] @ self._embedded[pool].T
        nearest[self._lesson.weights(self._owners[rows], self._owners[pool]) > 0] = -np.inf
        count = min(_HARDEST, nearest.shape[1])
        hardest = np.argpartition(-nearest, count - 1, axis=1)[:, :count]
        chosen = hardest[np.arange(len(rows)), random.integers(0, count, len(rows))]
        found: NDArray[np.int64] = pool[chosen[nearest[np.arange(len(rows)), chosen] > -np.inf]]
        return found

    def _images_of(self, items: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        drawn: NDArray[np.int64] = self._first[items] + (random.random(len(items)) * self._images[items]).astype(int)
        return drawn

    def _next_image(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        items = self._owners[rows]
        found: NDArray[np.int64] = self._first[items] + (rows - self._first[items] + 1) % self._images[items]
        return found
