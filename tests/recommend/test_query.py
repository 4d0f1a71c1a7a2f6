"""Queries of several parts: weights, items to move away from, images, words, and the score that all of them give."""

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, image, index, png, shop_of
from hypothesis import given
from hypothesis import strategies as st

import vision_recs
from vision_recs.errors import NoTextTower, UnknownItem, ZeroVector
from vision_recs.recommend import Query, Weighted
from vision_recs.recommend.retrieve import QueryTerm, SubQuery
from vision_recs.vectors import exact_cosine, normalize_or_raise

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
HALF = 1 / np.sqrt(2)


@pytest.fixture
def colors(tmp_path):
    """A shop of flat colors, between which cosines are known by heart."""
    shop = Shop()
    flat = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW, "pink": (255, 0, 255)}
    for name, color in flat.items():
        shop.files[f"{name}.png"] = png(np.full((8, 8, 3), color))
        shop.put(name, f"{name}.png")
    index(shop, tmp_path)
    return vision_recs.open(tmp_path)


def scores(matches):
    return {match.id: pytest.approx(match.score, abs=1e-3) for match in matches}


def test_the_score_is_the_mean_by_weight(colors):
    found = colors.query(Query(items=(Weighted("red", 3.0), "blue")))
    assert [match.id for match in found] == ["pink", "yellow", "green"]
    assert scores(found) == {"pink": HALF, "yellow": 0.75 * HALF, "green": 0}


def test_only_the_ratio_of_weights_matters(colors):
    one = colors.query(Query(items=(Weighted("red", 3.0), "blue"), negatives=(Weighted("green", 1.0),)))
    other = colors.query(
        Query(items=(Weighted("red", 6.0), Weighted("blue", 2.0)), negatives=(Weighted("green", 2.0),))
    )
    assert one == other


def test_what_is_like_an_item_on_the_other_side_moves_down(colors):
    assert [match.id for match in colors.query(Query(items=("red",)))] == ["pink", "yellow", "blue", "green"]
    found = colors.query(Query(items=("red",), negatives=("blue",)))
    assert [match.id for match in found] == ["yellow", "pink", "green"]
    assert scores(found) == {"yellow": HALF, "pink": HALF - 0.5 * HALF, "green": 0}
    found = colors.query(Query(items=("red",), negatives=(Weighted("blue", 2.0),)))
    assert scores(found) == {"yellow": HALF, "green": 0, "pink": HALF - 2 * HALF}


def test_an_item_named_twice_has_both_weights(colors):
    twice = colors.query(Query(items=("red", "red", "blue")))
    assert twice == colors.query(Query(items=(Weighted("red", 2.0), "blue")))


def test_an_unknown_item_on_the_other_side_is_named(colors):
    with pytest.raises(UnknownItem, match="no item has the id 'bleu'"):
        colors.query(Query(items=("red",), negatives=("bleu",)))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "the query is empty"),
        ({"negatives": ("a",)}, "the query is empty"),
        (
            {"items": (Weighted("a", 0.0),)},
            "a weight of 0.0 is not above 0; to move away from an item, name it in negatives",
        ),
        ({"items": (Weighted("a", float("nan")),)}, "a weight of nan"),
        ({"items": ("a",), "negatives": (Weighted("b", -1.0),)}, "a weight of -1.0"),
        (
            {"items": ("a", "b"), "negatives": ("b",)},
            "the item 'b' is in items and in negatives; remove it from one of them",
        ),
        ({"texts": (" ",)}, "the text is empty; write what the items look like"),
    ],
)
def test_a_query_that_means_nothing_is_refused(query, message):
    with pytest.raises(ValueError, match=message):
        Query(**query)


# The score and its bound, for vectors in all directions

planes = st.lists(st.tuples(*[st.integers(-3, 3)] * 2).filter(any), min_size=1, max_size=3)


def part(vectors, weight, kind="item"):
    return QueryTerm(kind, "x", weight, normalize_or_raise(np.array(vectors, dtype=np.float32)), (None,) * len(vectors))


@st.composite
def subqueries(draw):
    weights = st.sampled_from([0.1, 0.5, 1.0, 2.0, 7.0])
    parts = [part(vectors, draw(weights)) for vectors in draw(st.lists(planes, min_size=1, max_size=3))]
    negatives = [part(vectors, draw(weights), "negative") for vectors in draw(st.lists(planes, max_size=2))]
    return SubQuery(tuple(parts), tuple(negatives))


def slow_score(subquery, vector):
    def best(part):
        return max(float(np.dot(own.astype(float), vector.astype(float))) for own in part.vectors)

    total = sum(part.weight * best(part) for part in subquery.terms)
    total -= sum(part.weight * max(0.0, best(part)) for part in subquery.negatives)
    return total / sum(part.weight for part in subquery.terms)


@given(subquery=subqueries(), others=planes)
def test_the_score_is_that_of_the_formula(subquery, others):
    vectors = normalize_or_raise(np.array(others, dtype=np.float32))
    expected = [slow_score(subquery, vector) for vector in vectors]
    np.testing.assert_allclose(subquery.scores(vectors), expected, atol=1e-6)
    if subquery.is_single:
        assert expected[0] == pytest.approx(float(subquery.vectors[0] @ vectors[0]), abs=1e-6)


@given(subquery=subqueries(), others=planes)
def test_no_image_exceeds_the_bound_of_searches_that_end_where_it_stands(subquery, others):
    vectors = normalize_or_raise(np.array(others, dtype=np.float32))
    for vector, score in zip(vectors, subquery.scores(vectors).tolist(), strict=True):
        lasts = [float(exact_cosine(vector[None], own)[0]) for own in subquery.vectors]
        assert score <= subquery.upper_bound(lasts)
        if not subquery.negatives:
            assert score == subquery.upper_bound(lasts)


# Images and words


class WordEncoder:
    """Finds the image that a text is the number of."""

    def encode_text(self, texts):
        vectors = [self._vector(text) for text in texts]
        return np.concatenate(vectors)

    def _vector(self, text):
        from vision_recs import images

        if text == "?":
            return np.zeros((1, FakeEncoder().spec.dim), np.float32)
        return FakeEncoder().encode(images.load(image(int(text)), FakeEncoder().spec.preprocess)[None])


@pytest.fixture
def numbered(tmp_path, monkeypatch):
    """A shop of twelve items whose store has an encoder that reads words; returns how often that is loaded, too."""
    loaded = []

    def load_words(name, **_):
        loaded.append(name)
        encoder = WordEncoder()
        encoder.spec = FakeEncoder().spec
        return encoder

    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_text_encoder", load_words)
    index(shop_of(12), tmp_path)
    return vision_recs.open(tmp_path), loaded


def test_words_find_what_they_describe(numbered):
    shop, loaded = numbered
    assert loaded == []
    (match,) = shop.query(Query(texts=("7",), k=1))
    assert (match.id, match.score) == ("item007", pytest.approx(1, abs=1e-3))
    shop.query(Query(texts=("7", "8"), k=1))
    assert loaded == ["fake"]


def test_items_images_and_words_count_alike(numbered):
    shop, _ = numbered
    mixed = shop.query(Query(items=("item003",), images=(image(4),), texts=("5",), k=12))
    assert {match.id for match in mixed} == {f"item{number:03}" for number in range(12) if number != 3}
    score_of = {match.id: match.score for match in mixed}
    of_items = shop.query(Query(items=("item003", "item004", "item005"), k=12))
    assert {match.id: match.score for match in of_items} == {
        match.id: pytest.approx(score_of[match.id], abs=1e-3) for match in of_items
    }


def test_words_have_weights_too(numbered):
    shop, _ = numbered
    of_words = shop.query(Query(texts=(Weighted("5", 9.0), "6"), k=9))
    of_items = shop.query(Query(items=(Weighted("item005", 9.0), "item006"), k=9))
    score_of = {match.id: match.score for match in of_words}
    assert [match.id for match in of_words][:1] == ["item005"]
    assert all(score_of[match.id] == pytest.approx(match.score, abs=1e-3) for match in of_items[:5])


def test_words_without_a_direction_are_one_sentence(numbered):
    with pytest.raises(ZeroVector, match="gives the text no direction; write it in other words"):
        numbered[0].query(Query(texts=("?",)))


def test_an_encoder_that_reads_no_words_says_so(sample_store):
    with pytest.raises(NoTextTower, match="efficientnet-lite0 has no text tower"):
        vision_recs.open(sample_store).query(Query(texts=("a mug",)))
