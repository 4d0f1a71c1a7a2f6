"""Is what was learnt better on items that it has not seen? Cross-fitting: every item is once among the unseen.

Items are dealt into folds. For each fold, the map is learnt from three others and stopped by the fourth, which also
chooses the recipe; then the items of the fold itself ask, and every item may answer. So no item that asks had a part in
what it is asked of, be it learning, stopping or choosing. Groups that are small, as the variants of a product are, stay
together, because new products come in groups that nobody has seen; large ones, as categories are, are dealt out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_recs.metrics import ItemVectors, Judgments, RankingResult, evaluate_rankings
from vision_recs.tune.basis import Basis
from vision_recs.tune.learning import Learner, Learnt, Material, Recipe
from vision_recs.tune.positives import Lesson
from vision_recs.vectors import normalize_rows

MEASURE = "ndcg_at_10"
"""What decides: it fits labels, small groups and graded pairs alike."""

RECIPES = (Recipe(), Recipe(whitening=0.5), Recipe(temperature=0.07))
"""What the held-out items choose from: the lower the temperature, the more only near neighbors count."""

EVERY = 20
"""After how many steps the held-out items are asked, and wrong neighbors are looked for anew."""

_FOLDS = 5
_SMALL = 20  # items of a group that is kept together
_STEPS = 300


@dataclass(frozen=True)
class Course:
    """All that learning needs: items with their images, what they teach, and the truth by which it is judged."""

    items: ItemVectors
    lesson: Lesson
    truth: Judgments
    per_image: bool


@dataclass(frozen=True)
class Trial:
    """How the unseen items fared *before* and *after*, query by query, and what the folds were best served with."""

    before: RankingResult
    after: RankingResult
    recipe: Recipe
    steps: int


class Classroom:
    """Learns maps of one course, and judges them."""

    def __init__(self, course: Course) -> None:
        """Take *course*, and find the axes of its vectors."""
        self._course = course
        self._owners = course.items.owners()
        self.basis = Basis.of(course.items.vectors)
        self._coordinates = self.basis.coordinates(course.items.vectors)

    def learner(self, items: NDArray[np.bool_], recipe: Recipe) -> Learner:
        """Return what learns from *items* (a truth value for each item) by *recipe*."""
        material = Material(self._coordinates, self._owners, self._course.lesson, items)
        return Learner(material, self.basis.start(recipe.dim, whitening=recipe.whitening), recipe)

    def judge(self, learnt: NDArray[np.float32] | None, asking: NDArray[np.int64]) -> RankingResult:
        """Return what comes of the items *asking* when vectors are mapped by *learnt*, or left as they are."""
        items = self._course.items
        if learnt is not None:
            items = items.with_vectors(normalize_rows(self._coordinates @ learnt)[0])
        return evaluate_rankings(items.take(asking), items, self._course.truth, per_image=self._course.per_image)

    def best(self, items: NDArray[np.bool_], checked: NDArray[np.int64]) -> tuple[Recipe, Learnt]:
        """Return the recipe and the map, learnt from *items*, that are best for the items *checked*."""

        def check(learnt: NDArray[np.float32]) -> float:
            judged = self.judge(learnt, checked)
            return float(judged.of(MEASURE).mean()) if len(judged.queries) else 0.0

        found = [(recipe, self.learner(items, recipe).learn(_STEPS, every=EVERY, check=check)) for recipe in RECIPES]
        return max(found, key=lambda pair: pair[1].score)


def attempt(room: Classroom, folds: NDArray[np.int64]) -> Trial:
    """Return how the items of each of *folds* (a number for each item) fare with what the others teach."""
    before, after, recipes, steps = [], [], [], []
    count = int(folds.max()) + 1
    for fold in range(count):
        checking = (fold + 1) % count
        asking = np.flatnonzero(folds == fold)
        recipe, learnt = room.best((folds != fold) & (folds != checking), np.flatnonzero(folds == checking))
        before.append(room.judge(None, asking))
        after.append(room.judge(learnt.map, asking))
        recipes.append(recipe)
        steps.append(learnt.steps)
    recipe = max(RECIPES, key=recipes.count)
    chosen = [count for count, used in zip(steps, recipes, strict=True) if used == recipe]
    return Trial(RankingResult.joined(before), RankingResult.joined(after), recipe, int(np.median(chosen)))


def deal(lesson: Lesson, items: int, *, seed: int = 0, folds: int = _FOLDS) -> NDArray[np.int64]:
    """Return the fold of each of *items*: small groups whole, large ones spread evenly."""
    random = np.random.default_rng(seed)
    blocks = lesson.blocks()
    sizes = np.bincount(blocks)
    whole = sizes[blocks] <= _SMALL
    fold = np.empty(items, np.int64)
    order = random.permutation(items)
    spread = order[np.argsort(blocks[order], kind="stable")]
    spread = spread[~whole[spread]]
    fold[spread] = np.arange(len(spread)) % folds
    room = np.bincount(fold[spread], minlength=folds)
    for block in random.permutation(np.unique(blocks[whole])).tolist():
        smallest = int(np.argmin(room))
        fold[blocks == block] = smallest
        room[smallest] += sizes[block]
    return fold
