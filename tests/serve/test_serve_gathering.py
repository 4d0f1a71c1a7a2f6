"""Queries that wait for the same lane are answered together, and each as if it were alone."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import vision_recs
from vision_recs.errors import FilterError, RequestError, UnknownItem
from vision_recs.recommend import Policy
from vision_recs.serve import convert
from vision_recs.serve.batching import GatheringLane
from vision_recs.serve.schemas import PolicyBody, QueryBody


class Place:
    """What is held, and what was asked of it together."""

    def __init__(self):
        self.held = 0
        self.asked = []

    def hold(self):
        self.held += 1

    def release(self):
        self.held -= 1


def doubled(place, numbers):
    place.asked.append(list(numbers))
    return [ValueError(number) if number < 0 else 2 * number for number in numbers]


@contextlib.contextmanager
def lane_of(answer_all, **limits):
    """A lane whose thread is kept busy until the event is set."""
    lane = GatheringLane("answers", answer_all, **{"most": 100, "timeout_s": 30, **limits})
    free = threading.Event()
    lane._pool.submit(free.wait, 30)
    yield lane, free
    free.set()
    lane.close()
    lane._pool.shutdown(wait=True)


async def asked_of(lane, free, pairs):
    """Return the outcomes of what is asked, once all of it waits."""
    tasks = [asyncio.create_task(lane.ask(place, number)) for place, number in pairs]
    await asyncio.sleep(0)
    free.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_waits_is_answered_together_sixteen_at_a_time():
    place = Place()
    with lane_of(doubled) as (lane, free):
        outcomes = asyncio.run(asked_of(lane, free, [(place, number) for number in range(20)]))
    assert outcomes == [2 * number for number in range(20)]
    assert [len(together) for together in place.asked] == [16, 4]
    assert (lane.waiting, place.held) == (0, 0)


def test_only_queries_to_the_same_place_are_answered_together():
    one, other = Place(), Place()
    with lane_of(doubled) as (lane, free):
        assert asyncio.run(asked_of(lane, free, [(one, 1), (one, 2), (other, 3), (one, 4)])) == [2, 4, 6, 8]
    assert (one.asked, other.asked) == ([[1, 2], [4]], [[3]])


def test_an_error_is_that_of_one_query():
    place = Place()
    with lane_of(doubled) as (lane, free):
        first, second, third = asyncio.run(asked_of(lane, free, [(place, 1), (place, -1), (place, 3)]))
    assert (first, repr(second), third) == (2, "ValueError(-1)", 6)
    assert place.asked == [[1, -1, 3]]


def test_a_fault_that_nobody_foresaw_meets_one_query_alone():
    place = Place()

    def faulty(place, numbers):
        doubled(place, numbers)
        return [2 // (number - 2) for number in numbers]

    with lane_of(faulty) as (lane, free):
        first, second, third = asyncio.run(asked_of(lane, free, [(place, 1), (place, 2), (place, 3)]))
    assert (first, type(second), third) == (-2, ZeroDivisionError, 2)
    assert place.asked == [[1, 2, 3], [1], [2], [3]]


def test_what_nobody_waits_for_any_more_is_not_answered():
    place = Place()
    with lane_of(doubled, timeout_s=0.05) as (lane, free):

        async def impatient():
            with pytest.raises(RequestError, match="no answer within"):
                await lane.ask(place, 1)
            assert (lane.waiting, place.held) == (1, 1)  # until its turn has come
            free.set()
            assert await lane.ask(place, 2) == 4

        asyncio.run(impatient())
    assert place.asked == [[2]]
    assert (lane.waiting, place.held) == (0, 0)


def test_a_full_lane_turns_away_and_a_closed_one_lets_go():
    place = Place()
    with lane_of(doubled, most=2) as (lane, _):

        async def three():
            tasks = [asyncio.create_task(lane.ask(place, number)) for number in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(RequestError, match="2 requests wait"):
                await tasks[2]
            assert place.held == 2
            lane.close()
            for task in tasks[:2]:
                task.cancel()

        asyncio.run(three())
    assert (lane.waiting, place.held) == (0, 0)


def test_bodies_are_answered_as_each_would_be_alone(sample_store):
    recommender = vision_recs.open(sample_store)
    bodies = [
        QueryBody(items=["mug-01"]),
        QueryBody(items=["nobody"]),
        QueryBody(items=["vase-02"], k=3),
        QueryBody(items=["mug-01"], policy=PolicyBody(where="price <")),
    ]
    first, unknown, third, wrong = convert.answer_all(recommender, bodies, Policy())
    assert [first, third] == [convert.answer_all(recommender, [body], Policy())[0] for body in (bodies[0], bodies[2])]
    assert [match.id for match in first.matches] == [match.id for match in recommender.similar("mug-01")]
    assert (type(unknown), type(wrong)) == (UnknownItem, FilterError)


def test_many_at_once_get_their_own_answers(client):
    items = [f"{kind}-{number:02}" for kind in ("mug", "vase") for number in range(1, 4)]
    expected = {item: client.get("/v1/similar", params={"id": item}).json() for item in items}
    start = threading.Barrier(len(items))

    def ask(item):
        start.wait()
        return [client.get("/v1/similar", params={"id": item}).json() for _ in range(5)]

    with ThreadPoolExecutor(len(items)) as pool:
        for item, answers in zip(items, pool.map(ask, items), strict=True):
            assert answers == [expected[item]] * 5
