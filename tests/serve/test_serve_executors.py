"""Executors are bounded, and a batch answers each query as if it were alone."""

import asyncio
import contextlib
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from vision_recs.errors import FilterError, RequestError, UnknownItem
from vision_recs.recommend import Policy
from vision_recs.serve import convert
from vision_recs.serve.executors import BatchingExecutor, BoundedExecutor
from vision_recs.serve.options import ServeOptions
from vision_recs.serve.reloader import Reloader
from vision_recs.serve.schemas import PolicyBody, QueryBody


class Resource:
    """Counts its references, and keeps the batches of queries to it."""

    def __init__(self):
        self.references = 0
        self.batches = []

    def acquire(self):
        self.references += 1

    def release(self):
        self.references -= 1


def doubled(resource, numbers):
    resource.batches.append(list(numbers))
    return [ValueError(number) if number < 0 else 2 * number for number in numbers]


@contextlib.contextmanager
def batching(answer_batch, **limits):
    """An executor for batches, the executor below it, and the event until which its thread is busy."""
    executor = BoundedExecutor("queries", **{"max_pending": 100, "timeout_s": 30, **limits})
    batches = BatchingExecutor(executor, answer_batch)
    free = threading.Event()
    executor.submit(free.wait, 30)
    yield batches, executor, free
    free.set()
    batches.close()
    executor._pool.shutdown(wait=True)


async def outcomes_of(batches, free, pairs):
    """Return the outcomes of the queries, which all wait before the first one is answered."""
    tasks = [asyncio.create_task(batches.run(resource, number)) for resource, number in pairs]
    await asyncio.sleep(0)
    free.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_queries_that_wait_are_answered_in_batches_of_sixteen():
    resource = Resource()
    with batching(doubled) as (batches, executor, free):
        outcomes = asyncio.run(outcomes_of(batches, free, [(resource, number) for number in range(20)]))
    assert outcomes == [2 * number for number in range(20)]
    assert [len(batch) for batch in resource.batches] == [16, 4]
    assert (executor.pending, resource.references) == (0, 0)


def test_a_batch_has_one_resource():
    one, other = Resource(), Resource()
    with batching(doubled) as (batches, _, free):
        pairs = [(one, 1), (one, 2), (other, 3), (one, 4)]
        assert asyncio.run(outcomes_of(batches, free, pairs)) == [2, 4, 6, 8]
    assert (one.batches, other.batches) == ([[1, 2], [4]], [[3]])


def test_an_error_is_that_of_one_query():
    resource = Resource()
    with batching(doubled) as (batches, _, free):
        outcomes = asyncio.run(outcomes_of(batches, free, [(resource, 1), (resource, -1), (resource, 3)]))
    assert (outcomes[0], repr(outcomes[1]), outcomes[2]) == (2, "ValueError(-1)", 6)
    assert resource.batches == [[1, -1, 3]]


def test_an_unforeseen_error_of_a_batch_meets_one_query_alone():
    resource = Resource()

    def faulty(resource, numbers):
        doubled(resource, numbers)
        return [2 // (number - 2) for number in numbers]

    with batching(faulty) as (batches, _, free):
        outcomes = asyncio.run(outcomes_of(batches, free, [(resource, 1), (resource, 2), (resource, 3)]))
    assert (outcomes[0], type(outcomes[1]), outcomes[2]) == (-2, ZeroDivisionError, 2)
    assert resource.batches == [[1, 2, 3], [1], [2], [3]]


def test_a_query_that_nobody_waits_for_any_more_is_not_answered():
    resource = Resource()
    with batching(doubled, timeout_s=0.05) as (batches, executor, free):

        async def impatient():
            with pytest.raises(RequestError, match="took longer than"):
                await batches.run(resource, 1)
            assert (executor.pending, resource.references) == (1, 1)  # until its turn has come
            free.set()
            assert await batches.run(resource, 2) == 4

        asyncio.run(impatient())
    assert resource.batches == [[2]]
    assert (executor.pending, resource.references) == (0, 0)


def test_a_full_queue_turns_queries_away_and_a_closed_one_releases_its_resources():
    resource = Resource()
    with batching(doubled, max_pending=2) as (batches, executor, _):

        async def three():
            tasks = [asyncio.create_task(batches.run(resource, number)) for number in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(RequestError, match="2 requests are already waiting"):
                await tasks[2]
            assert resource.references == 2
            batches.close()
            for task in tasks[:2]:
                task.cancel()

        asyncio.run(three())
    assert (executor.pending, resource.references) == (0, 0)


def test_a_full_executor_turns_functions_away_and_says_when_to_retry():
    async def crowd():
        executor, resource, stop = (
            BoundedExecutor("queries", max_pending=3, timeout_s=60),
            Resource(),
            threading.Event(),
        )
        tasks = [asyncio.create_task(executor.run(resource, stop.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (executor.pending, resource.references) == (3, 3)
        with pytest.raises(RequestError) as full:
            await executor.run(resource, stop.wait, 10)
        assert (full.value.status, full.value.retry_after_s) == (503, 1)
        stop.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert (executor.pending, resource.references) == (0, 0)
        executor.close()

    asyncio.run(crowd())


def test_a_function_that_takes_too_long_is_given_up_but_pending_until_it_ends():
    async def slow():
        executor, resource, stop = (
            BoundedExecutor("queries", max_pending=2, timeout_s=0.01),
            Resource(),
            threading.Event(),
        )
        with pytest.raises(RequestError, match=r"took longer than 0\.01 s") as late:
            await executor.run(resource, stop.wait, 10)
        assert late.value.status == 503
        assert (executor.pending, resource.references) == (1, 1)
        waiting = executor.run(resource, stop.wait, 10)
        with pytest.raises(RequestError):
            await waiting
        assert (executor.pending, resource.references) == (1, 1)  # a function that has not begun never will
        stop.set()
        executor._pool.shutdown(wait=True)
        assert (executor.pending, resource.references) == (0, 0)

    asyncio.run(slow())


def test_a_batch_of_bodies_is_answered_as_each_would_be_alone(sample_store):
    reloader = Reloader(ServeOptions(sample_store))
    snapshot = reloader.snapshot
    recommender = snapshot.recommender
    bodies = [
        QueryBody(items=["mug-01"]),
        QueryBody(items=["nobody"]),
        QueryBody(items=["vase-02"], k=3),
        QueryBody(items=["mug-01"], policy=PolicyBody(where="price <")),
    ]
    first, unknown, third, wrong = convert.query_batch(snapshot, [(body, ()) for body in bodies], Policy())
    assert [first, third] == [
        convert.query_batch(snapshot, [(body, ())], Policy())[0] for body in (bodies[0], bodies[2])
    ]
    assert [match.id for match in first.matches] == [match.id for match in recommender.similar("mug-01")]
    assert (type(unknown), type(wrong)) == (UnknownItem, FilterError)
    reloader.close()


def test_concurrent_requests_get_their_own_answers(client):
    items = [f"{kind}-{number:02}" for kind in ("mug", "vase") for number in range(1, 4)]
    expected = {item: client.get("/v1/similar", params={"id": item}).json() for item in items}
    start = threading.Barrier(len(items))

    def repeat(item):
        start.wait()
        return [client.get("/v1/similar", params={"id": item}).json() for _ in range(5)]

    with ThreadPoolExecutor(len(items)) as pool:
        for item, answers in zip(items, pool.map(repeat, items), strict=True):
            assert answers == [expected[item]] * 5


def stored(resource, numbers):
    """Return errors that have a traceback, and that a frame of it holds."""
    outcomes = []
    for number in numbers:
        try:
            raised(resource, number)
        except ValueError as error:
            outcomes.append(error)
    return outcomes


def raised(resource, numbers):
    raise ValueError(f"{numbers} of {len(resource.batches)}")


def late(resource, _):
    resource.free.wait(30)
    return [len(resource.batches)]


@pytest.mark.parametrize(
    ("answer_batch", "in_batches"), [(stored, True), (raised, True), (late, True), (raised, False), (late, False)]
)
def test_a_failure_keeps_no_resource_for_the_garbage_collector(answer_batch, in_batches):
    """Else a generation that was replaced stays open, with all its files, until the collector comes."""

    async def fail(resource):
        executor = BoundedExecutor("queries", max_pending=9, timeout_s=0.05 if answer_batch is late else 60)
        batches = BatchingExecutor(executor, answer_batch)
        try:
            if in_batches:
                await batches.run(resource, 1)
            else:
                await executor.run(resource, answer_batch, resource, [1])
        except (ValueError, RequestError):
            pass
        resource.free.set()
        executor._pool.shutdown(wait=True)
        await asyncio.sleep(0)  # what the thread has scheduled

    gc.collect()
    gc.disable()
    try:
        resource = Resource()
        resource.free = threading.Event()
        asyncio.run(fail(resource))
        gone = weakref.ref(resource)
        del resource
        assert gone() is None
    finally:
        gc.enable()
