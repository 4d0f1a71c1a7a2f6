import tempfile

import numpy as np
import pytest
from fake_shop import FakeEncoder, Shop, content, index, png, ranking
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples_of
from random_shops import shops

import vision_recs


@pytest.fixture(autouse=True, params=[1, 3], scope="module")
def _slack(request):
    """Fetch as few images at first as there may be, so that the search has to go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vision_recs.recommend.retrieve._SLACK", request.param)
        yield


@settings(deadline=None, max_examples=examples_of(25))
@given(shop=shops(14, {"in_stock": st.sampled_from([True, False, None, 1])}), data=st.data())
def test_answers_are_those_of_a_loop_over_every_image(shop, data):
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder, FakeEncoder())
        opened = vision_recs.open(folder)
        held = content(opened.items)
        for _ in range(3):
            query_items = data.draw(st.lists(st.sampled_from(sorted(shop.items)), min_size=1, max_size=3, unique=True))
            k = data.draw(st.integers(1, 20))
            found, expected = opened.similar(*query_items, k=k), ranking(held, query_items, k)
            assert [(match.id, match.image) for match in found] == [(item, name) for item, name, _ in expected]
            assert [match.score for match in found] == pytest.approx([score for _, _, score in expected], abs=1e-6)
            assert not {match.id for match in found} & set(query_items)
            assert len({match.digest for match in found}) == len(found)


@settings(deadline=None, max_examples=examples_of(30))
@given(shop=shops(14, {}), data=st.data())
def test_the_order_of_the_query_items_changes_nothing_and_fewer_are_a_beginning_of_more(shop, data):
    query_items = data.draw(st.lists(st.sampled_from(sorted(shop.items)), min_size=1, max_size=3, unique=True))
    with tempfile.TemporaryDirectory() as folder:
        index(shop, folder, FakeEncoder())
        opened = vision_recs.open(folder)
        longest = opened.similar(*query_items, k=30)
        for k in range(1, len(longest) + 1):
            assert opened.similar(*reversed(query_items), k=k) == longest[:k]


def test_a_tie_with_what_no_search_has_reached_yet_goes_to_the_lower_id(tmp_path):
    shop = Shop()
    cells_lit = {"one": [0], "other": [1], "z": [0], "zz": [1], "a": [0, 2, 3, 4], "b": [1, 2, 3, 4], "m": [0, 1, 2, 3]}
    for name, lit in cells_lit.items():
        cells = np.zeros(12)
        cells[lit] = 100 if name in ("z", "zz") else 200
        shop.files[f"{name}.png"] = png(cells.reshape(2, 2, 3).repeat(4, axis=0).repeat(4, axis=1))
        shop.put(name, f"{name}.png")
    index(shop, tmp_path)
    (match,) = vision_recs.open(tmp_path).similar("one", "other", k=1)
    assert (match.id, match.score) == ("m", 0.5)  # as has z, which one search finds first, before m is found by any
