"""What a shop is promised, on the sixty products of the sample catalog."""

import numpy as np
import pytest

import vision_recs
from vision_recs.filters import Filter
from vision_recs.recommend import DEFAULT_DIVERSITY, Policy, Query, Rules
from vision_recs.recommend.by_position import NearestPositions
from vision_recs.recommend.rules import Exclude


@pytest.fixture(scope="module")
def shop(sample_store):
    return vision_recs.open(sample_store)


@pytest.mark.parametrize("diversity", [0.0, DEFAULT_DIVERSITY])
def test_no_answer_has_the_query_item_one_of_its_variants_a_second_variant_or_a_sold_out_item(shop, diversity):
    in_stock = Policy(diversity=diversity, rules=Rules(exclude=(Exclude(Filter.parse("not in_stock")),)))
    sold_out = 0
    for item in shop.items.ids():
        answer = shop.similar(item, policy=in_stock)
        groups = [match.attributes["variant_group"] for match in answer]
        assert len(answer) == 10
        assert item not in {match.id for match in answer}
        assert len({*groups, shop.items.attributes(item)["variant_group"]}) == 11
        assert all(match.attributes["in_stock"] is True for match in answer)
        sold_out += sum(not match.attributes["in_stock"] for match in shop.similar(item))
    assert sold_out > 0  # so that there was something to leave out


@pytest.mark.parametrize("one_per", ["variant_group", None])
def test_diversity_lowers_the_likeness_within_answers_and_hardly_the_scores(shop, one_per):
    def measured(diversity):
        policy = Policy(one_per=one_per, diversity=diversity)
        answers = [shop.query(Query(items=(item,)), policy) for item in shop.items.ids()]
        scores = [match.score for answer in answers for match in answer]
        return np.mean(scores), np.mean([likeness(shop, answer) for answer in answers])

    (plain_score, plain_likeness), (score, like) = measured(0.0), measured(DEFAULT_DIVERSITY)
    assert 0.95 * plain_score <= score < plain_score
    assert like < 0.96 * plain_likeness


def likeness(shop, answer):
    """Return the mean cosine of two different matches of *answer*, by the images that are shown."""
    vectors = shop.items.vectors_of([match.digest for match in answer])
    products = vectors @ vectors.T
    return (products.sum() - np.trace(products)) / (len(answer) * (len(answer) - 1))


@pytest.mark.parametrize(("k", "diversity", "most"), [(10, 0.0, 400), (10, 0.3, 800), (100, 0.3, 1_300)])
def test_of_a_large_pool_rules_search_fewer_times_as_many_images_at_first(shop, monkeypatch, k, diversity, most):
    searched, nearest = [], NearestPositions.nearest

    def recorded(self, vectors, k, within=None):
        searched.append(k)
        return nearest(self, vectors, k, within)

    monkeypatch.setattr(NearestPositions, "nearest", recorded)
    rules = Rules(exclude=(Exclude(Filter.parse("not in_stock")),))
    shop.query(Query(items=("mug-01",), k=k), Policy(diversity=diversity, rules=rules))
    assert k < searched[0] <= most
