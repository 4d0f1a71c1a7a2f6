"""Rules over an index that finds what is near without comparing it: the answers are those of an exact one."""

import random

import pytest
from fake_shop import FakeEncoder, Shop, index
from random_shops import cells
from rough_index import RoughExact

import vision_recs
from vision_recs.filters import Filter
from vision_recs.recommend import Policy, Query, Recommender, Rules
from vision_recs.recommend.rules import Boost, Bounds, Exclude, Same

IN_STOCK = Exclude(Filter.parse("not in_stock"))
FITTING = {"attribute_rules": (Same("kind"), Bounds("price", 0.5, 2.0)), "fallbacks": ("bounds.price", "same.kind")}
CHEAP = Boost(Filter.parse("price < 40"), 0.1, "cheap")
POLICIES = {
    "same": Policy(rules=Rules(exclude=(IN_STOCK,), attribute_rules=(Same("kind"),))),
    "boost": Policy(rules=Rules(boosts=(CHEAP,), attribute_rules=(Same("kind"),))),
    "fallbacks": Policy(rules=Rules(exclude=(IN_STOCK,), **FITTING)),
    "scores": Policy(min_score=0.9, rules=Rules(attribute_rules=(Same("kind"),), fallbacks=("min_score",))),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop, draw = Shop(), random.Random(7)
    for number in range(80):
        shop.files[f"{number}.png"] = cells(tuple(draw.randrange(1, 256) for _ in range(4)))
        attributes = {"kind": draw.choice("abc"), "price": draw.randrange(5, 80), "in_stock": draw.random() < 0.5}
        shop.put(f"item{number:02}", f"{number}.png", **attributes)
    folder = tmp_path_factory.mktemp("shop")
    index(shop, folder, FakeEncoder())
    with vision_recs.open(folder) as recommender:
        yield recommender


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("others", [(), ("item03",)], ids=["one", "two"])
def test_an_answer_is_the_same_where_only_what_the_rules_admit_is_compared(shop, monkeypatch, policy, others):
    monkeypatch.setattr("vision_recs.recommend.neighborhood._MOST_AHEAD", 2)  # so that the search has to go on
    monkeypatch.setattr("vision_recs.recommend.neighborhood._AHEAD_OF_MANY", 1)
    rough = Recommender(shop.items, RoughExact(shop.index))
    for item in shop.items.ids():
        query = Query(items=(item, *others), k=3)
        assert rough.query(query, policy) == shop.query(query, policy)
