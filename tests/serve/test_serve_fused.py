"""Queries by id that are answered without the general path have its answers, to the byte, headers included."""

import random
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fake_shop import GRID, SIDE, Shop, index, png
from property_examples import examples_of
from starlette.testclient import TestClient

from vision_recs.errors import StoreDamaged
from vision_recs.recommend import Policy
from vision_recs.serve import Limits, ServeOptions, create_app
from vision_recs.serve.id_answers import IdAnswers

TOKEN = "correct horse battery staple"
ITEMS = 60
REQUESTS = examples_of(240)


def random_shop(draw):
    """Return a shop of variants, of items with several images, of items that share images, and of equal vectors."""
    shop = Shop()
    for number in range(ITEMS):
        images = [1_000 + 3 * number + place for place in range(draw.choice([1, 1, 1, 2, 3]))]
        if number > 50:
            images += [draw.randrange(3)] * 2  # the same one twice, and that of others
        if 40 < number <= 44:
            shop.files[f"twin-{number}.png"] = twin(1_000 + 3 * (number - 40))
            images.append(f"twin-{number}.png")
        attributes = {"title": f'"Mug" \u00e9 {number}', "price": number / 7, "in_stock": draw.random() < 0.5}
        if draw.random() < 0.4:
            attributes["variant_group"] = draw.choice(["", "a", "b", 'c"', 5, True])
        views = [{"view": draw.choice(["packshot", "on model"])} for _ in images]
        shop.put(identity(number), *images, image_attributes=views, **attributes)
    return shop


def twin(seed):
    """Return an image of other bytes than `image(seed)`, with the same vector: each half is turned around."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3))
    return png(pixels.reshape(GRID, SIDE // GRID, SIDE, 3)[:, ::-1].reshape(SIDE, SIDE, 3))


def identity(number):
    return f"item-{number}" if number % 5 else f'odd "item" {number}/\u00e9,"score":0.0,'


@pytest.fixture(scope="module", params=[None, "hnsw"])
def store(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fused") / "store"
    index(random_shop(random.Random(7)), folder, shard_size=32, index_type=request.param)
    return folder


@contextmanager
def both(store, monkeypatch, **options):
    """Yield a client of an application, one of its general path alone, and the outcomes that the former has had."""
    outcomes = []
    batch = IdAnswers.batch

    def counted(self, queries):
        found = batch(self, queries)
        outcomes.extend(found)
        return found

    with ExitStack() as stack:
        patch = stack.enter_context(monkeypatch.context())
        patch.setattr(IdAnswers, "batch", counted)
        clients = []
        for is_general in (False, True):
            if is_general:
                patch.setattr(IdAnswers, "of", classmethod(lambda *_: None))
            app = create_app(ServeOptions(Path(store), poll_interval_s=3600, **options))
            clients.append(stack.enter_context(TestClient(app, raise_server_exceptions=False)))
        yield *clients, outcomes


def compare(fused, general, path, headers=None):
    """Fail unless both clients answer alike; return the response."""
    headers = {"x-request-id": "r-1"} | (headers or {})
    mine, others = (client.get(path, headers=headers, follow_redirects=False) for client in (fused, general))
    assert (mine.status_code, mine.headers.raw, mine.content) == (
        others.status_code,
        others.headers.raw,
        others.content,
    ), path
    return mine


def random_path(draw):
    item = draw.choice([identity(draw.randrange(ITEMS)), f"item-{draw.randrange(1, ITEMS)}", "item-x", "item-1=2"])
    path = f"/v1/similar?id={quote(item)}"
    if draw.random() < 0.7:
        path += f"&k={draw.choice([1, 2, 3, 3, 4, 5, 5, 8, 10, 59, 999, 1000, 1001, 0, -1, '03', 'x'])}"
    if draw.random() < 0.3:
        path += f"&cover={draw.choice(['true', 'true', 'false', '1', 'no'])}"
    if draw.random() < 0.2:
        path += draw.choice(["&reports_shown=true", "&id=item-2", "&explain=true", "&shopper=Ada", "&one_per=item"])
    return path


OPTIONS = [
    {},
    {"token": TOKEN},
    {"policy": Policy(one_per=None, exclude=frozenset({"item-1", "item-2", "item-3"}))},
    {"policy": Policy(min_score=0.5)},
    {"allowed_hosts": ("testserver",), "cors_origins": ("https://shop.example",), "trusted_proxies": ("10.0.0.0/8",)},
    {"root_path": "/shop"},
    {"root_path": "/v1"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "plain")
def test_answers_are_those_of_the_general_path(store, monkeypatch, options):
    draw = random.Random(3)
    headers = {"authorization": f"Bearer {TOKEN}"} if "token" in options else {}
    root = options.get("root_path", "")
    with both(store, monkeypatch, **options) as (fused, general, outcomes):
        statuses = {
            compare(fused, general, draw.choice(["", root]) + random_path(draw), headers).status_code
            for _ in range(REQUESTS)
        }
    assert {200, 400, 404} <= statuses
    fused_answers = sum(found is not None for found in outcomes)
    is_left = root == "/v1" or options.get("policy", Policy()).min_score is not None
    assert fused_answers == len(outcomes) == 0 if is_left else fused_answers > REQUESTS / 15


def test_requests_with_other_headers_are_those_of_the_general_path(store, monkeypatch):
    path = "/v1/similar?id=item-1&k=3"
    options = {"token": TOKEN, "allowed_hosts": ("testserver",), "cors_origins": ("https://shop.example",)}
    monkeypatch.setattr("vision_recs.serve.auth._DELAY_S", 0)
    with both(store, monkeypatch, **options) as (fused, general, outcomes):
        bearer = {"authorization": f"Bearer {TOKEN}"}
        answered = compare(fused, general, path, bearer)
        assert answered.status_code == 200
        assert outcomes == [answered.content]
        tag = answered.headers["etag"]
        for headers, status in [
            ({}, 401),
            ({"authorization": "Bearer wrong"}, 401),
            ({"cookie": "visrec=wrong"}, 401),
            (bearer | {"host": "elsewhere.example"}, 421),
            (bearer | {"if-none-match": tag}, 304),
            (bearer | {"if-none-match": '"another"'}, 200),
            (bearer | {"origin": "https://shop.example"}, 200),
            (bearer | {"x-request-id": "not an id!"}, 200),
            (bearer | {"x-forwarded-prefix": "/shop", "x-forwarded-for": "10.0.0.1"}, 200),
        ]:
            if headers.get("x-request-id") == "not an id!":
                assert len(fused.get(path, headers=headers).headers["x-request-id"]) == 16
                continue
            assert compare(fused, general, path, headers).status_code == status
        fused.post("/v1/session", json={"token": TOKEN})
        general.post("/v1/session", json={"token": TOKEN})
        assert compare(fused, general, path).status_code == 200


def test_too_many_waiting_requests_get_a_503(store, monkeypatch):
    with both(store, monkeypatch, limits=Limits(max_pending=0)) as (fused, general, outcomes):
        refused = compare(fused, general, "/v1/similar?id=item-1")
    assert (refused.status_code, refused.headers["retry-after"], outcomes) == (503, "1", [])


def test_what_is_damaged_is_told_by_the_general_path(store, monkeypatch):
    def damaged(*_):
        raise StoreDamaged("it was altered")

    with both(store, monkeypatch) as (fused, general, _):
        monkeypatch.setattr(IdAnswers, "_read", damaged)
        assert compare(fused, general, "/v1/similar?id=item-1").status_code == 200


def test_a_fault_of_the_server_is_a_problem_that_is_logged_and_counted(store, monkeypatch, caplog):
    def faulty(*_):
        raise ValueError("/a/path of this machine")

    with both(store, monkeypatch) as (fused, _, _):
        monkeypatch.setattr(IdAnswers, "_read", faulty)
        found = fused.get("/v1/similar?id=item-1", headers={"x-request-id": "r-1"})
        counted = 'requests_total{route="similar",status="500"} 1.0' in fused.get("/metrics").text
    assert (found.status_code, found.json()["request_id"], found.headers["x-request-id"]) == (500, "r-1", "r-1")
    assert "a path" not in found.text
    assert "/a/path of this machine" in caplog.text
    assert counted


def test_each_request_is_counted_and_logged_under_its_route(store, monkeypatch, caplog):
    caplog.set_level("INFO")
    with both(store, monkeypatch, log_requests=True) as (fused, general, outcomes):
        for client in (fused, general):
            client.get("/v1/similar?id=item-1")
        counted = [
            client.get("/metrics").text.split('requests_total{route="similar",status="200"}')[1].split()[0]
            for client in (fused, general)
        ]
    lines = [record for record in caplog.records if getattr(record, "route", "") == "similar"]
    assert (len(outcomes), counted) == (1, ["1.0", "1.0"])
    assert [(line.getMessage().partition(":")[0], line.status) for line in lines] == [("GET /v1/similar", 200)] * 2


def test_answers_that_are_kept_are_made_one_by_one(store, monkeypatch, tmp_path):
    with both(store, monkeypatch, events=tmp_path / "events") as (fused, _, outcomes):
        assert "answer" in fused.get("/v1/similar?id=item-1").json()
    assert outcomes == []
