"""Queries with images that wait together are one call of the encoder, and each is answered as if it were alone."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from fake_shop import BLACK, NO_IMAGE, FakeEncoder, Shop, image, index

import vision_recs
from vision_recs.errors import EncoderError, ImageError, RequestError, UnknownItem
from vision_recs.images.crop import Crop
from vision_recs.recommend import Policy, Query, Weighted
from vision_recs.recommend.query_encoder import QueryEncoder
from vision_recs.serve import Limits, ServeOptions
from vision_recs.serve.schemas import QueryBody
from vision_recs.serve.state import AppState

QUERIES = [
    Query(images=(image(100),), k=4),
    Query(images=(NO_IMAGE,)),
    Query(items=("item1",), k=3),
    Query(images=(image(101), Weighted(image(100), 0.5)), k=12),
    Query(images=(BLACK, image(101))),
    Query(images=(Weighted(image(100), crop=Crop.parse("0,0,0.5,1")),), items=("item2",), explain=True),
    Query(images=(image(102),), items=("nobody",)),
]


class Counted(FakeEncoder):
    """An encoder that knows how many images each of its calls had."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def image_encoder(self):
        return self

    def encode(self, pixels):
        self.calls.append(len(pixels))
        return super().encode(pixels)


@pytest.fixture
def encoder(monkeypatch):
    encoder = Counted()
    monkeypatch.setattr(QueryEncoder, "loaded", lambda _: encoder)
    return encoder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    shop = Shop()
    for number in range(12):
        shop.put(f"item{number}", number, price=number)
    folder = tmp_path_factory.mktemp("images") / "store"
    index(shop, folder)
    return folder


def alone(answer, *asked):
    """Return what *answer* returns, or the error that it raises, as text."""
    try:
        return str(answer(*asked))
    except vision_recs.VisionRecsError as error:
        return repr(error)


def test_a_batch_is_one_call_of_the_encoder_with_the_answers_of_each_alone(store, encoder):
    with vision_recs.open(store) as recommender:
        found = recommender.query_batch([(query, Policy()) for query in QUERIES])
        assert encoder.calls == [5]  # the same part of an image once, those that cannot be read never
        expected = [alone(recommender.query, query) for query in QUERIES]
    assert [repr(each) if isinstance(each, Exception) else str(each) for each in found] == expected
    errors = [type(each) for each in found if isinstance(each, Exception)]
    assert errors == [ImageError, ImageError, UnknownItem]


def test_every_query_gets_the_error_of_an_encoder_that_cannot_be_used(store, monkeypatch):
    def fail(_):
        raise EncoderError("its weights are gone")

    monkeypatch.setattr(QueryEncoder, "loaded", fail)
    with vision_recs.open(store) as recommender:
        found = recommender.query_batch([(query, Policy()) for query in QUERIES[:4]])
    assert [type(each).__name__ for each in found] == ["EncoderError", "ImageError", "list", "EncoderError"]


@asynccontextmanager
async def busy(store, **limits):
    """Yield the state of a server whose thread for images is busy until an event is set, and the event."""
    state = AppState(ServeOptions(store, poll_interval_s=3600, limits=Limits(**limits)))
    free = threading.Event()
    await state.start()
    state.images.submit(free.wait, 30)
    try:
        yield state, free
    finally:
        free.set()
        await state.stop()


def ask(state, data):
    query = QueryBody(k=3), [Weighted(data)]
    return asyncio.create_task(state.image_batches.run(state.reloader.snapshot, query))


def ids(answer):
    return [match.id for match in answer.matches]


def test_uploads_that_wait_are_one_batch_and_one_that_nobody_waits_for_is_left_out(store, encoder):
    async def run():
        async with busy(store) as (state, free):
            tasks = [ask(state, data) for data in (image(0), NO_IMAGE, image(1), image(2), image(3))]
            await asyncio.sleep(0)
            tasks[3].cancel()
            await asyncio.sleep(0)
            free.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert encoder.calls == [3]
            assert [ids(found[number])[0] for number in (0, 2, 4)] == ["item0", "item1", "item3"]
            assert [type(found[number]) for number in (1, 3)] == [ImageError, asyncio.CancelledError]
            assert ids(await ask(state, image(2)))[0] == "item2"  # alone: it waits for no others
            assert encoder.calls == [3, 1]
            assert state.images.pending == 0

    asyncio.run(run())


def test_uploads_beyond_the_limit_and_those_that_wait_too_long_get_a_503(store, encoder):
    async def run():
        async with busy(store, max_uploads=2, answer_timeout_s=0.05) as (state, free):
            tasks = [ask(state, image(number)) for number in range(3)]
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert [(type(each), each.status) for each in found] == [(RequestError, 503)] * 3
            assert [each.retry_after_s for each in found] == [5, 5, 1]
            free.set()
        assert encoder.calls == []

    asyncio.run(run())
