"""Queries that wait for the same lane are answered together, and each as if it were alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import vision_recs
from vision_recs.errors import FilterError, UnknownItem
from vision_recs.recommend import Policy
from vision_recs.serve import asking
from vision_recs.serve.gathering import Gathered
from vision_recs.serve.messages import PolicyBody, QueryBody


@pytest.fixture(scope="module")
def recommender(sample_store):
    return vision_recs.open(sample_store)


@pytest.fixture
def gathered(recommender):
    return Gathered(recommender)


def alone(recommender, *items):
    query = asking.query_of(QueryBody(items=list(items)))
    return asking.answer_of(recommender, query, recommender.answer(query, Policy()))


def test_the_first_to_have_its_turn_answers_what_has_gathered(gathered, recommender, monkeypatch):
    groups = []
    answer_all = recommender.answer_all
    monkeypatch.setattr(recommender, "answer_all", lambda asked: groups.append(len(asked)) or answer_all(asked))
    with (
        gathered.waiting(QueryBody(items=["mug-01"])) as one,
        gathered.waiting(QueryBody(items=["vase-02"])) as two,
        gathered.waiting(QueryBody(items=["mug-01", "mug-05"])) as three,
    ):
        assert gathered.answer(two, Policy()) == alone(recommender, "vase-02")
        assert gathered.answer(one, Policy()) == alone(recommender, "mug-01")
        assert gathered.answer(three, Policy()) == alone(recommender, "mug-01", "mug-05")
    assert groups == [3]


def test_at_most_sixteen_are_answered_together(gathered, recommender, monkeypatch):
    groups = []
    monkeypatch.setattr(recommender, "answer_all", lambda asked: groups.append(len(asked)) or [[] for _ in asked])
    waiting = [gathered.waiting(QueryBody(items=["mug-01"])) for _ in range(20)]
    asked = [each.__enter__() for each in waiting]
    for each in asked:
        gathered.answer(each, Policy())
    assert groups == [16, 4]


def test_an_error_is_that_of_one_query(gathered, recommender):
    with (
        gathered.waiting(QueryBody(items=["mug-01"])) as sound,
        gathered.waiting(QueryBody(items=["nobody"])) as unknown,
        gathered.waiting(QueryBody(items=["mug-01"], policy=PolicyBody(where="price <"))) as wrong,
    ):
        assert gathered.answer(sound, Policy()) == alone(recommender, "mug-01")
        with pytest.raises(UnknownItem):
            gathered.answer(unknown, Policy())
        with pytest.raises(FilterError):
            gathered.answer(wrong, Policy())


def test_a_fault_that_nobody_foresaw_meets_one_query_alone(gathered, recommender, monkeypatch):
    answer_all = recommender.answer_all

    def faulty(asked):
        if any("vase-02" in query.items for query, _ in asked):
            raise ZeroDivisionError
        return answer_all(asked)

    monkeypatch.setattr(recommender, "answer_all", faulty)
    with gathered.waiting(QueryBody(items=["mug-01"])) as sound, gathered.waiting(QueryBody(items=["vase-02"])) as bad:
        assert gathered.answer(sound, Policy()) == alone(recommender, "mug-01")
        with pytest.raises(ZeroDivisionError):
            gathered.answer(bad, Policy())


def test_what_nobody_wants_any_more_is_not_answered(gathered, recommender, monkeypatch):
    groups = []
    monkeypatch.setattr(recommender, "answer_all", lambda asked: groups.append(len(asked)) or [[] for _ in asked])
    with gathered.waiting(QueryBody(items=["vase-02"])):
        pass
    with gathered.waiting(QueryBody(items=["mug-01"])) as asked:
        gathered.answer(asked, Policy())
    assert groups == [1]


def test_many_at_once_get_their_own_answers(client):
    items = [f"{kind}-{number:02}" for kind in ("mug", "vase") for number in range(1, 4)]
    expected = {item: client.get("/v1/similar", params={"id": item}).json() for item in items}
    start = threading.Barrier(6)

    def ask(item):
        start.wait()
        return [client.get("/v1/similar", params={"id": item}).json() for _ in range(5)]

    with ThreadPoolExecutor(6) as pool:
        for item, answers in zip(items, pool.map(ask, items), strict=True):
            assert answers == [expected[item]] * 5
