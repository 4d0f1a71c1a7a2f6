"""Tokens, origins, limits, and what every answer carries."""

import asyncio
import io
import json
import logging
import threading

import pytest
from PIL import Image

from vision_recs.errors import RequestError
from vision_recs.serve import Limits, convert
from vision_recs.serve.executors import Lane
from vision_recs.serve.logs import JsonFormatter

TOKEN = "correct horse battery staple"


class Nothing:
    held = 0

    def hold(self):
        self.held += 1

    def release(self):
        self.held -= 1


def test_without_the_token_only_the_page_and_whether_it_lives_are_shown(ask, sample_store):
    with ask(sample_store, token=TOKEN) as client:
        for path in ("/", "/page/app.js", "/healthz", "/readyz", "/openapi.json", "/v1/info"):
            assert client.get(path).status_code == 200, path
        for path in ("/v1/similar?id=mug-01", "/v1/items", "/v1/facets", "/metrics", "/v1/thumbnails/" + "0" * 64):
            response = client.get(path)
            assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer"), path
        for wrong in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
            assert client.get("/v1/items", headers={"authorization": wrong.encode("latin-1")}).status_code == 401
        right = client.get("/v1/similar?id=mug-01", headers={"authorization": f"bearer {TOKEN}"})
        assert right.status_code == 200
        assert right.headers["cache-control"] == "private, no-cache"


def test_a_browser_keeps_a_cookie_that_is_not_the_token(ask, sample_store):
    with ask(sample_store, token=TOKEN) as client:
        assert client.post("/v1/session", json={"token": "wrong"}).status_code == 401
        response = client.post("/v1/session", json={"token": TOKEN})
        cookie = response.headers["set-cookie"]
        assert response.status_code == 204
        assert TOKEN not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert client.get("/v1/items").status_code == 200
        client.cookies.clear()
        assert client.get("/v1/items", headers={"cookie": f"visrec={TOKEN}"}).status_code == 401


def test_the_token_is_in_no_log_and_no_repr(ask, sample_store, caplog):
    caplog.set_level(logging.DEBUG)
    with ask(sample_store, token=TOKEN, log_requests=True) as client:
        client.get("/v1/items", headers={"authorization": f"Bearer {TOKEN}"})
        client.get("/v1/items", headers={"authorization": f"Bearer {TOKEN}!"})
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name.startswith("visrec")]
    assert len(lines) == 2
    assert TOKEN not in "".join(lines)


def test_other_web_sites_may_ask_only_if_they_are_named(ask, sample_store, client):
    asked = {"origin": "https://shop.example"}
    assert "access-control-allow-origin" not in client.get("/v1/info", headers=asked).headers
    with ask(sample_store, origins=("https://shop.example",)) as named:
        assert named.get("/v1/info", headers=asked).headers["access-control-allow-origin"] == asked["origin"]
        other = named.get("/v1/info", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        asked |= {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
        assert named.options("/v1/similar", headers=asked).status_code == 200


def test_a_browser_asks_for_leave_without_the_token(ask, sample_store):
    asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
    asked["access-control-request-headers"] = "authorization"
    with ask(sample_store, origins=("https://shop.example",), token=TOKEN) as client:
        leave = client.options("/v1/items", headers=asked)
        assert (leave.status_code, leave.headers["access-control-allow-origin"]) == (200, asked["origin"])
        refused = client.get("/v1/items", headers={"origin": asked["origin"]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, asked["origin"])


def test_every_answer_says_what_a_browser_must_not_do(client):
    for path in ("/", "/v1/info", "/nowhere"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_request_keeps_the_id_that_a_proxy_gave_it(client):
    assert client.get("/healthz", headers={"x-request-id": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
    for strange in ("a b", "x" * 65, "", "<script>"):
        given = client.get("/healthz", headers={"x-request-id": strange}).headers["x-request-id"]
        assert given != strange
        assert len(given) == 16


def test_a_request_is_a_line_of_json(ask, sample_store, caplog):
    caplog.set_level(logging.INFO)
    with ask(sample_store, log_requests=True) as client:
        response = client.get("/v1/similar?id=mug-01")
    record = next(record for record in caplog.records if record.name == "visrec.requests")
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["route"], line["status"], line["level"]) == ("request", "similar", 200, "info")
    assert line["request_id"] == response.headers["x-request-id"]
    assert 0 < line["ms"] < 60_000
    assert "mug-01" not in line["message"]  # what was asked is nobody's business


def test_a_body_is_read_up_to_its_limit(ask, sample_store):
    with ask(sample_store, limits=Limits(json_bytes=1000, image_bytes=2000, body_s=0.1)) as client:
        json_type, image_type = {"content-type": "application/json"}, {"content-type": "image/png"}
        assert client.post("/v1/similar", content=b" " * 1001, headers=json_type).status_code == 413
        assert client.post("/v1/similar/image", content=b" " * 2001, headers=image_type).status_code == 413
        chunks = (b" " * 500 for _ in range(5))
        assert client.post("/v1/similar/image", content=chunks, headers=image_type).status_code == 413
        assert client.post("/v1/similar/image", content=b" " * 2000, headers=image_type).status_code == 422


def test_a_lane_that_is_full_turns_away_and_says_when_to_come_again():
    async def crowd():
        lane, held, stop = Lane("answers", most=3, timeout_s=60), Nothing(), threading.Event()
        tasks = [asyncio.create_task(lane.run(held, stop.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (lane.waiting, held.held) == (3, 3)
        with pytest.raises(RequestError) as full:
            await lane.run(held, stop.wait, 10)
        assert (full.value.status, full.value.retry_after_s) == (503, 1)
        stop.set()
        assert await asyncio.gather(*tasks) == [True] * 3
        assert (lane.waiting, held.held) == (0, 0)
        lane.close()

    asyncio.run(crowd())


def test_what_takes_too_long_is_given_up_but_counts_until_it_ends():
    async def slow():
        lane, held, stop = Lane("answers", most=2, timeout_s=0.01), Nothing(), threading.Event()
        with pytest.raises(RequestError, match=r"within 0\.01 s") as late:
            await lane.run(held, stop.wait, 10)
        assert late.value.status == 503
        assert (lane.waiting, held.held) == (1, 1)
        waiting = lane.run(held, stop.wait, 10)
        with pytest.raises(RequestError):
            await waiting
        assert (lane.waiting, held.held) == (1, 1)  # what had not begun never will
        stop.set()
        lane._pool.shutdown(wait=True)
        assert (lane.waiting, held.held) == (0, 0)

    asyncio.run(slow())


def test_a_server_with_too_much_to_do_says_so(ask, sample_store, monkeypatch):
    begun, stop = threading.Event(), threading.Event()

    def wait(*_):
        begun.set()
        stop.wait(30)
        raise RequestError("enough")

    monkeypatch.setattr(convert, "answer_all", wait)
    with ask(sample_store, limits=Limits(waiting=1)) as client:
        first = threading.Thread(target=client.get, args=("/v1/similar?id=mug-01",))
        first.start()
        assert begun.wait(30)
        response = client.get("/v1/similar?id=mug-02")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert client.get("/healthz").status_code == 200
        assert 'visrec_waiting{lane="answers"} 1.0' in client.get("/metrics").text
        stop.set()
        first.join()


def test_images_with_many_pixels_are_refused_before_they_are_decoded(ask, sample_store):
    file = io.BytesIO()
    Image.new("1", (4000, 4000)).save(file, "PNG")
    with ask(sample_store, limits=Limits(pixels=10_000_000)) as client:
        response = client.post("/v1/similar/image", content=file.getvalue(), headers={"content-type": "image/png"})
        assert response.status_code == 413
        assert "4000 x 4000" in response.json()["error"]["message"]
