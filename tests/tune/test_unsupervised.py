"""A projection of the vectors alone: centered principal axes, published where held-out structure does not suffer."""

import numpy as np
import pytest
from fake_shop import Shop, index, png

from vision_recs.filters import Filter
from vision_recs.store import Store, load_item_vectors
from vision_recs.tune import TuneOptions, tune, unsupervised
from vision_recs.tune.learning import PrincipalAxes
from vision_recs.vectors import normalize_rows


def shop_of_kinds(count, *, images=1):
    """Items with images that are alike, as far as noise allows; and six of a brand that are alike as well."""
    random = np.random.default_rng(5)
    shop = Shop()
    for number in range(count):
        of_brand = np.random.default_rng(number // 6).integers(60, 196, (2, 2, 3))
        own = of_brand + random.integers(-30, 31, (2, 2, 3))
        names = [f"{number}-{view}.png" for view in range(images)]
        for name in names:
            cells = own + random.integers(-15, 16, (2, 2, 3))
            shop.files[name] = png(cells.repeat(4, axis=0).repeat(4, axis=1))
        shop.put(f"item{number:03}", *names, brand=f"b{number // 6}")
    return shop


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    index(shop_of_kinds(60), folder, shard_size=100)
    with Store.open(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    index(shop_of_kinds(40, images=3), folder, shard_size=200)
    with Store.open(folder) as opened:
        yield opened


def test_it_is_centered_principal_axes(store):
    tuned = tune(store, TuneOptions(unsupervised=True))
    vectors = load_item_vectors(store, store.items.ids()).vectors.astype(np.float64)
    centered = vectors - vectors.mean(axis=0)
    found = normalize_rows(tuned.projection.apply(vectors))[0]
    wanted = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    # all twelve axes are kept but those that hold a thousandth of the variance
    assert found @ found.T == pytest.approx(wanted @ wanted.T, abs=0.02)
    assert tuned.projection.dim <= 12
    spread = tuned.projection.apply(vectors).std(axis=0)
    assert list(spread) == sorted(spread, reverse=True)
    assert tuned.projection.provenance["learned_from"] == "their vectors alone"


def test_without_anything_to_measure_by_it_is_published_and_says_so(store):
    tuned = tune(store, TuneOptions(unsupervised=True))
    assert (tuned.queries, tuned.is_better, dict(tuned.differences)) == (0, True, {})


def test_the_images_of_an_item_say_whether_it_does_harm(several):
    tuned = tune(several, TuneOptions(unsupervised=True))
    assert tuned.queries == 120
    assert tuned.is_better == (tuned.differences["ndcg_at_10"].low > -0.01)


def test_what_does_harm_is_not_better(several, monkeypatch):
    monkeypatch.setattr(unsupervised, "DIM", 1)  # all that is left is a sign
    tuned = tune(several, TuneOptions(unsupervised=True, labels="brand"))
    assert tuned.after["ndcg_at_10"].value < tuned.before["ndcg_at_10"].value
    assert not tuned.is_better


def test_variants_say_it_where_there_are_some(tmp_path):
    shop = shop_of_kinds(40, images=3)
    for number, item in enumerate(shop.items.values()):
        item.attributes["variant_group"] = f"g{number // 2}"
    index(shop, tmp_path, shard_size=200)
    with Store.open(tmp_path) as opened:
        assert tune(opened, TuneOptions(unsupervised=True)).queries == 40
        some = TuneOptions(unsupervised=True, where=Filter.parse('variant_group == "g1" or id < "item012"'))
        assert tune(opened, some).queries == 12


def test_no_query_had_a_part_in_the_axes_that_it_is_measured_by(several, monkeypatch):
    learned, asked = [], []
    real, evaluate = PrincipalAxes.of, unsupervised.evaluate_rankings
    monkeypatch.setattr(PrincipalAxes, "of", lambda vectors: learned.append(vectors) or real(vectors))
    monkeypatch.setattr(
        unsupervised,
        "evaluate_rankings",
        lambda items, *given, **how: asked.append(items) or evaluate(items, *given, **how),
    )
    tune(several, TuneOptions(unsupervised=True))
    plain = asked[::2]
    assert len(plain) == 5
    for items, vectors in zip(plain, learned, strict=False):
        known = {row.tobytes() for row in vectors}
        assert not known & {row.tobytes() for row in items.vectors}
        assert len(vectors) + len(items.vectors) == 120
