"""How long is learned, from which items, and what is chosen: the schedule, with learning replaced by a script."""

import itertools

import numpy as np
import pytest

from vision_recs.metrics import MEASURES, RankingResult
from vision_recs.metrics.ranking import BINS, NEAREST
from vision_recs.tune.cross_fitting import CHOICES, MEASURE, Trainer, cross_fit
from vision_recs.tune.learning import Fit, Hyperparameters, Learner, TrainingSet
from vision_recs.tune.positives import LabelPositives


def result(queries):
    """Return the result of *queries*, whose measures are all 0."""
    count = len(queries)
    return RankingResult(
        [str(query) for query in queries],
        np.zeros((count, len(MEASURES))),
        np.zeros((count, NEAREST), np.int64),
        np.zeros((count, NEAREST), np.float32),
        np.zeros((count, NEAREST), np.bool_),
        np.zeros(BINS, np.int64),
        np.zeros(BINS, np.int64),
        0,
    )


class Scripted:
    """A trainer that takes the hyperparameters and the steps of each fold from a script."""

    def __init__(self, script):
        self.script = list(script)
        self.fitted, self.evaluated = [], []

    def best_fit(self, items, validation):
        self.fitted.append((np.flatnonzero(items).tolist(), validation.tolist()))
        choice, steps = self.script[len(self.fitted) - 1]
        return choice, Fit(np.full((1, 1), steps, np.float32), steps, 0.5)

    def evaluate(self, learned, queries):
        self.evaluated.append((None if learned is None else int(learned[0, 0]), queries.tolist()))
        return result(queries.tolist())


def test_each_fold_is_asked_for_by_a_map_of_three_others_and_the_fourth_decides_when_to_stop():
    plain, whitened, _ = CHOICES
    trainer = Scripted([(plain, 20), (plain, 40), (whitened, 300), (plain, 60), (whitened, 80)])
    found = cross_fit(trainer, np.arange(10) % 5)
    assert trainer.fitted == [
        (
            sorted(set(range(10)) - {fold, fold + 5, (fold + 1) % 5, (fold + 1) % 5 + 5}),
            [(fold + 1) % 5, (fold + 1) % 5 + 5],
        )
        for fold in range(5)
    ]
    folds = [[fold, fold + 5] for fold in range(5)]
    steps = [20, 40, 300, 60, 80]
    assert trainer.evaluated == [
        call for fold, taken in zip(folds, steps, strict=True) for call in ((None, fold), (taken, fold))
    ]
    assert (found.hyperparameters, found.steps) == (plain, 40)  # the median of the folds for which it was best
    assert found.before.queries == found.after.queries == [str(item) for fold in folds for item in fold]


def test_the_best_of_three_settings_is_taken_after_300_steps_at_most_with_a_validation_every_20():
    trainer = object.__new__(Trainer)
    tried = []

    class Learning:
        def __init__(self, choice):
            self.choice = choice

        def fit(self, steps, *, every, validate):
            score = validate(np.full((1, 1), CHOICES.index(self.choice), np.float32))
            tried.append((self.choice, steps, every, score))
            return Fit(np.zeros((1, 1), np.float32), 7, score)

    scores = [0.2, 0.6, 0.4]
    trainer.learner = lambda _items, choice: Learning(choice)
    trainer.ndcg = lambda learned, queries: np.full(len(queries), scores[int(learned[0, 0])])
    choice, fit = trainer.best_fit(np.ones(4, np.bool_), np.arange(2))
    assert tried == [(each, 300, 20, score) for each, score in zip(CHOICES, scores, strict=True)]
    assert (choice, fit.score) == (CHOICES[1], 0.6)
    trainer.ndcg = lambda _learned, _queries: np.empty(0)
    assert trainer.best_fit(np.ones(4, np.bool_), np.arange(2))[1].score == 0.0
    assert MEASURE == "ndcg_at_10"
    assert (
        Hyperparameters(128, 0.0, 0.2, 0.003, 128, 64),
        Hyperparameters(128, 0.5, 0.2, 0.003, 128, 64),
        Hyperparameters(128, 0.0, 0.07, 0.003, 128, 64),
    ) == CHOICES


@pytest.fixture
def training():
    coordinates = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    positives = LabelPositives([number // 3 for number in range(12)])
    return TrainingSet(coordinates, np.arange(12), positives, np.ones(12, np.bool_))


def test_hard_negatives_are_looked_for_with_the_map_of_every_third_step(training, monkeypatch):
    learner = Learner(training, np.eye(3, 2, dtype=np.float32), Hyperparameters(batch_items=4, hard_negatives=2))
    batches, embedded = learner._batches, []
    draw = batches.draw

    def drawing(*args):
        embedded.append(batches.embedded.copy())
        return draw(*args)

    monkeypatch.setattr(batches, "draw", drawing)
    learner.fit(7, every=3)
    first = training.coordinates[:, :2] / np.linalg.norm(training.coordinates[:, :2], axis=1, keepdims=True)
    assert embedded[0] == pytest.approx(first, abs=1e-6)
    assert [(one == other).all() for one, other in itertools.pairwise(embedded)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("largest", [1.0, 2.0])
def test_the_first_step_is_as_long_as_the_learning_rate_times_the_largest_number(training, largest):
    initial = largest * np.eye(3, 2, dtype=np.float32)
    learned = Learner(training, initial, Hyperparameters(batch_items=4, hard_negatives=2)).fit(1, every=1).map
    assert np.abs(learned - initial).max() == pytest.approx(0.003 * largest, rel=1e-2)
