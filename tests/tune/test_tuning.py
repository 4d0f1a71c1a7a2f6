"""Learning: a map that helps is kept, any other is refused, and no item is evaluated by a map that it taught."""

import itertools
from collections import Counter

import numpy as np
import pytest
from fake_shop import Shop, index, png

from vision_recs.catalog.judgments import Pair
from vision_recs.errors import EvaluationError
from vision_recs.filters import Filter
from vision_recs.store import Store
from vision_recs.tune import TuneOptions, cross_fitting, tune
from vision_recs.tune.cross_fitting import Trainer
from vision_recs.tune.learning import Hyperparameters, Learner, TrainingSet, info_nce, loss_of_map
from vision_recs.tune.positives import LabelPositives

KINDS = ("lamp", "mug", "vase")


def shown(kind, random):
    """Return an image that betrays its kind only in a corner, in one channel; all else is noise."""
    cells = random.integers(40, 216, (2, 2, 3))
    cells[0, 0, 0] = (60, 128, 196)[kind] + random.integers(-12, 13)
    return png(cells.repeat(4, axis=0).repeat(4, axis=1))


def shop_of_kinds(count, *, images=1):
    random = np.random.default_rng(5)
    shop, luck = Shop(), random.permutation(np.arange(count) % 3)
    for number in range(count):
        names = [f"{number}-{view}.png" for view in range(images)]
        shop.files.update({name: shown(number % 3, random) for name in names})
        shop.put(
            f"item{number:03}",
            *names,
            kind=KINDS[number % 3],
            luck=int(luck[number]),
            split="test" if number % 4 == 0 else "train",
            brand=f"b{number // 6}-{number % 3}",
        )
    return shop


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    index(shop_of_kinds(90), folder, shard_size=100)
    return Store.open(folder)


@pytest.fixture(scope="module")
def tuned(store):
    return tune(store, TuneOptions(labels="kind"))


@pytest.fixture
def in_twenty_steps(monkeypatch):
    """Learn no longer than to the first validation."""
    monkeypatch.setattr(cross_fitting, "_STEPS", cross_fitting.EVERY)


def share_of_hits(vectors, kinds):
    """Return how often the nearest other vector is of the same kind."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    return float(np.mean(kinds[cosines.argmax(axis=1)] == kinds))


def test_a_map_that_helps_unseen_items_is_reported_with_its_gain(tuned):
    difference = tuned.differences[tuned.decided_by]
    assert tuned.is_better
    assert difference.low > 0.1
    assert difference.value == pytest.approx(tuned.after[tuned.decided_by].value - tuned.before[tuned.decided_by].value)
    assert tuned.after["precision_at_1"].value > tuned.before["precision_at_1"].value + 0.2
    assert (tuned.items, tuned.queries) == (90, 90)


def test_the_projection_helps_items_that_it_was_not_learned_from(store):
    tuned = tune(store, TuneOptions(labels="kind", where=Filter.parse('split == "train"')))
    kinds = np.array([KINDS.index(store.attributes(item)["kind"]) for item in store.items.ids()])
    digests = [store.images(item)[0].digest for item in store.items.ids()]
    positions = store.positions_of(digests)
    plain = store.encoder_vectors(np.array([positions[digest] for digest in digests]))
    mapped = tuned.projection.apply(plain)
    mapped /= np.linalg.norm(mapped, axis=1, keepdims=True)
    unseen = np.arange(0, 90, 4)
    assert tuned.items == 90 - len(unseen)
    assert share_of_hits(mapped[unseen], kinds[unseen]) > share_of_hits(plain[unseen], kinds[unseen]) + 0.2


def test_labels_without_meaning_are_refused(store):
    tuned = tune(store, TuneOptions(labels="luck"))
    assert not tuned.is_better
    assert tuned.differences[tuned.decided_by].low <= 0


@pytest.mark.usefixtures("in_twenty_steps")
def test_it_is_the_same_every_time(store):
    one, other = (tune(store, TuneOptions(labels="kind")) for _ in range(2))
    assert one.projection.provenance["steps"] == "20"
    assert one.projection.matrix.tolist() == other.projection.matrix.tolist()
    assert (one.before, one.after) == (other.before, other.after)


def test_groups_teach_about_groups_that_were_not_among_them(store):
    tuned = tune(store, TuneOptions(labels="brand"))
    assert tuned.is_better  # brands are of one kind each, and no brand is both learned from and evaluated
    assert tuned.queries == 90


def test_pairs_teach(store):
    ids = store.items.ids()
    random = np.random.default_rng(1)
    drawn = [random.choice(np.arange(number % 3, 90, 3), 6) for number in range(90)]
    pairs = [Pair(ids[n], ids[o], 1 + n % 3) for n, others in enumerate(drawn) for o in others.tolist() if o != n]
    assert tune(store, TuneOptions(pairs=pairs)).is_better


def test_the_images_of_items_teach(tmp_path):
    index(shop_of_kinds(40, images=3), tmp_path, shard_size=200)
    tuned = tune(Store.open(tmp_path), TuneOptions())
    assert tuned.queries == 120
    assert tuned.after["mrr"].value >= tuned.before["mrr"].value


@pytest.mark.usefixtures("in_twenty_steps")
def test_it_learns_from_the_vectors_of_the_encoder_even_if_they_are_projected_by_now(store, tuned, tmp_path):
    from vision_recs.jobs import retune

    index(shop_of_kinds(90), tmp_path, shard_size=100)
    retune(tmp_path, tuned.projection)
    one, other = (tune(each, TuneOptions(labels="kind")) for each in (store, Store.open(tmp_path)))
    assert one.projection.provenance["steps"] == "20"
    assert one.projection.matrix.tolist() == other.projection.matrix.tolist()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (TuneOptions(labels="color"), "no item has the attribute 'color'; name one of brand, kind, luck, split"),
        (TuneOptions(labels="kind", where=Filter.parse('brand == "b0-0"')), "2 items are too few to learn from"),
        (TuneOptions(pairs=[Pair("nobody", "item001", 1)]), "none of the 1 pairs, the first of them 'nobody'"),
        (TuneOptions(), "each item has one image, so there is nothing to learn from; name --labels or --pairs"),
        (TuneOptions(pairs=[Pair("item001", "item001", 1)]), "by 1 pairs nothing is similar to anything"),
    ],
)
def test_too_little_to_learn_from_is_one_sentence(store, options, sentence):
    with pytest.raises(EvaluationError, match=sentence):
        tune(store, options)


def test_one_item_with_two_images_is_too_little_to_be_better_but_no_error(tmp_path):
    shop = shop_of_kinds(39)
    shop.put("twice", *list(shop.files)[:2])
    index(shop, tmp_path, shard_size=100)
    tuned = tune(Store.open(tmp_path), TuneOptions())
    assert (tuned.queries, tuned.is_better) == (2, False)


def test_labels_and_pairs_at_once_are_refused():
    with pytest.raises(ValueError, match="one at a time"):
        TuneOptions(labels="kind", pairs=[Pair("a", "b", 1)])


def test_the_loss_is_the_cross_entropy_of_each_row_with_its_partners():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(5, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = np.array([[1, 2, 1, 0, 0], [2, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1.0]])
    losses = []
    for row in range(3):  # the last two have no partner
        others = [other for other in range(5) if other != row]
        exponents = {other: np.exp(vectors[row] @ vectors[other] / 0.1) for other in others}
        total = sum(weights[row, other] for other in others)
        losses.append(-sum(weights[row, o] / total * np.log(exponents[o] / sum(exponents.values())) for o in others))
    assert info_nce(vectors, weights, 0.1)[0] == pytest.approx(np.mean(losses))


def slopes(loss, place):
    """Return how *loss* changes with each number of *place*."""
    found = np.empty(place.shape)
    for number in np.ndindex(place.shape):
        moved = np.zeros(place.shape)
        moved[number] = 1e-5
        found[number] = (loss(place + moved) - loss(place - moved)) / 2e-5
    return found


def test_the_gradients_are_how_the_losses_change():
    random = np.random.default_rng(0)
    vectors, weights = random.normal(size=(6, 3)), random.random((6, 6)) * (random.random((6, 6)) < 0.5)
    weights = weights + weights.T
    _, gradient = info_nce(vectors, weights, 0.5)
    assert gradient == pytest.approx(slopes(lambda place: info_nce(place, weights, 0.5)[0], vectors), abs=1e-7)
    learned = random.normal(size=(3, 2))
    _, gradient = loss_of_map(learned, vectors, weights, 0.5)
    expected = slopes(lambda place: loss_of_map(place, vectors, weights, 0.5)[0], learned)
    assert gradient == pytest.approx(expected, abs=1e-7)


@pytest.mark.usefixtures("in_twenty_steps")
def test_every_item_is_a_query_once_for_a_map_that_was_learned_without_it(store, monkeypatch):
    queried, learned_from = Counter(), []
    evaluate, best_fit = Trainer.evaluate, Trainer.best_fit

    def evaluating(self, learned, queries):
        if learned is None:
            queried.update(queries.tolist())
            assert not learned_from[-1][0][queries].any()
            assert not np.isin(queries, learned_from[-1][1]).any()
        return evaluate(self, learned, queries)

    def learning(self, items, validation):
        learned_from.append((items, validation))
        return best_fit(self, items, validation)

    monkeypatch.setattr(Trainer, "evaluate", evaluating)
    monkeypatch.setattr(Trainer, "best_fit", learning)
    tune(store, TuneOptions(labels="kind"))
    assert queried == Counter(range(90))
    assert len(learned_from) == 5


@pytest.fixture
def learner():
    random = np.random.default_rng(0)
    coordinates = random.normal(size=(12, 3)).astype(np.float32)
    positives = LabelPositives([number // 3 for number in range(12)])
    training = TrainingSet(coordinates, np.arange(12), positives, np.ones(12, np.bool_))
    return Learner(training, np.eye(3, 2, dtype=np.float32), Hyperparameters(batch_items=4, hard_negatives=2))


def test_learning_ends_when_validation_finds_nothing_better_and_the_best_map_is_kept(learner):
    scores = [0.1, 0.2, 0.204, 0.3, 0.304, 0.2, 0.1]  # gains of .004 do not count
    maps = []

    def validate(learned):
        maps.append(learned.copy())
        return scores[len(maps) - 1]

    fit = learner.fit(100, every=10, validate=validate, patience=3)
    assert (fit.steps, fit.score, len(maps)) == (30, 0.3, 7)
    assert fit.map.tolist() == maps[3].tolist()
    assert maps[0].tolist() == np.eye(3, 2).tolist()
    assert all((one != other).any() for one, other in itertools.pairwise(maps))


def test_without_validation_all_steps_are_taken(learner):
    fit = learner.fit(7, every=3)
    assert (fit.steps, fit.score) == (7, 0.0)
    assert not np.allclose(fit.map, np.eye(3, 2))
