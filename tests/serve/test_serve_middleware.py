"""Tokens, origins, limits, and what every response has."""

import asyncio
import io
import json
import logging
import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from vision_recs.errors import RequestError
from vision_recs.serve import Limits, auth, convert
from vision_recs.serve.auth import TokenAuth
from vision_recs.serve.logs import JsonFormatter

TOKEN = "correct horse battery staple"


def test_without_the_token_only_the_page_and_health_are_shown(connect, sample_store, monkeypatch):
    monkeypatch.setattr(auth, "_DELAY_S", 0)
    with connect(sample_store, token=TOKEN) as client:
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


def test_a_browser_keeps_a_cookie_that_is_not_the_token(connect, sample_store):
    with connect(sample_store, token=TOKEN) as client:
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


def test_the_token_is_in_no_log_and_no_repr(connect, sample_store, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(auth, "_DELAY_S", 0)
    with connect(sample_store, token=TOKEN, log_requests=True) as client:
        client.get("/v1/items", headers={"authorization": f"Bearer {TOKEN}"})
        client.get("/v1/items", headers={"authorization": f"Bearer {TOKEN}!"})
    lines = [JsonFormatter().format(record) for record in caplog.records if record.name.startswith("vision_recs")]
    assert len(lines) == 3
    assert TOKEN not in "".join(lines)


def test_wrong_tokens_are_logged_and_delayed_and_missing_ones_are_not(connect, sample_store, monkeypatch, caplog):
    delays = []

    async def sleep(seconds):
        delays.append(seconds)

    monkeypatch.setattr(auth, "asyncio", SimpleNamespace(sleep=sleep))
    with connect(sample_store, token=TOKEN) as client:
        assert client.get("/v1/items").status_code == 401
        assert delays == []
        assert client.get("/v1/items", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert delays == []
        assert client.get("/v1/items", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/items", headers={"cookie": "visrec=wrong"}).status_code == 401
        assert client.post("/v1/session", json={"token": "wrong"}).status_code == 401
    assert delays == [0.5] * 3
    records = [record for record in caplog.records if record.name == "vision_recs.serve.auth"]
    assert [(record.event, record.client) for record in records] == [("wrong_token", "testclient")] * 3


def test_delayed_requests_are_bounded():
    async def guess():
        check, scope = TokenAuth(TOKEN), {"client": ("192.0.2.1", 1)}
        tasks = [asyncio.create_task(check.reject(scope)) for _ in range(64)]
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as too_many:
            await check.reject(scope)
        assert (too_many.value.status, too_many.value.retry_after_s) == (429, 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(guess())


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 200),
        ("SHOP.example:8000", 200),
        ("a.b.shops.example", 200),
        ("[::1]:80", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("shop.example.evil.example", 421),
        ("evilshops.example", 421),
        ("shops.example", 421),
        ("[::2]", 421),
        ("", 421),
    ],
)
def test_a_host_has_to_be_allowed(connect, sample_store, host, status):
    allowed = ("shop.example", "*.shops.example", "::1")
    with connect(sample_store, allowed_hosts=allowed) as client:
        response = client.get("/v1/info", headers={"host": host})
        assert response.status_code == status
        assert client.get("/healthz", headers={"host": host}).status_code == 200
        assert client.get("/readyz", headers={"host": host}).status_code == 200
        if status != 200:
            assert "--allowed-hosts" in response.json()["detail"]


def test_every_host_is_allowed_unless_some_are_named(connect, client, sample_store):
    assert client.get("/v1/info", headers={"host": "evil.example"}).status_code == 200
    with connect(sample_store, allowed_hosts=("*",)) as any_host:
        assert any_host.get("/v1/info", headers={"host": "evil.example"}).status_code == 200


def test_without_the_token_a_server_says_little_about_itself(connect, sample_store, client):
    assert client.get("/v1/info").json()["items"] == 60
    with connect(sample_store, token=TOKEN) as guarded:
        assert guarded.get("/v1/info").json() == {"auth_required": True}
        assert guarded.get("/readyz").json() == {"status": "ready"}
        headers = {"authorization": f"Bearer {TOKEN}"}
        info = guarded.get("/v1/info", headers=headers).json()
        expected = {**client.get("/v1/info").json(), "auth_required": True}
        assert {**info, "weak_below": None} == {**expected, "weak_below": None}  # which is found out after the start
        assert guarded.get("/readyz", headers=headers).json() == {"status": "ready", "generation": 1}


def test_other_web_sites_may_call_the_api_only_if_they_are_named(connect, sample_store, client):
    headers = {"origin": "https://shop.example"}
    assert "access-control-allow-origin" not in client.get("/v1/info", headers=headers).headers
    with connect(sample_store, cors_origins=("https://shop.example",)) as named:
        assert named.get("/v1/info", headers=headers).headers["access-control-allow-origin"] == headers["origin"]
        other = named.get("/v1/info", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        headers |= {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
        assert named.options("/v1/similar", headers=headers).status_code == 200


def test_a_preflight_request_needs_no_token(connect, sample_store):
    headers = {"origin": "https://shop.example", "access-control-request-method": "GET"}
    headers["access-control-request-headers"] = "authorization"
    with connect(sample_store, cors_origins=("https://shop.example",), token=TOKEN) as client:
        preflight = client.options("/v1/items", headers=headers)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, headers["origin"])
        refused = client.get("/v1/items", headers={"origin": headers["origin"]})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, headers["origin"])


def test_every_response_restricts_what_a_browser_may_do(client):
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


def test_a_request_is_a_line_of_json(connect, sample_store, caplog):
    caplog.set_level(logging.INFO)
    with connect(sample_store, log_requests=True) as client:
        response = client.get("/v1/similar?id=mug-01")
    record = next(record for record in caplog.records if record.name == "vision_recs.serve.middleware")
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["route"], line["status"], line["level"]) == ("request", "similar", 200, "info")
    assert line["request_id"] == response.headers["x-request-id"]
    assert 0 < line["ms"] < 60_000
    assert "mug-01" not in line["message"]  # queries stay out of the log


def test_a_body_is_read_up_to_its_limit(connect, sample_store):
    with connect(sample_store, limits=Limits(max_json_bytes=1000, max_image_bytes=2000, body_timeout_s=0.1)) as client:
        json_type, image_type = {"content-type": "application/json"}, {"content-type": "image/png"}
        assert client.post("/v1/similar", content=b" " * 1001, headers=json_type).status_code == 413
        assert client.post("/v1/similar/image", content=b" " * 2001, headers=image_type).status_code == 413
        chunks = (b" " * 500 for _ in range(5))
        assert client.post("/v1/similar/image", content=chunks, headers=image_type).status_code == 413
        assert client.post("/v1/similar/image", content=b" " * 2000, headers=image_type).status_code == 422


def test_a_server_with_too_much_to_do_says_so(connect, sample_store, monkeypatch):
    begun, stop = threading.Event(), threading.Event()

    def wait(*_):
        begun.set()
        stop.wait(120)
        raise RequestError("enough")

    monkeypatch.setattr(convert, "query_batch", wait)
    with connect(sample_store, limits=Limits(max_pending=1)) as client:
        first = threading.Thread(target=client.get, args=("/v1/similar?id=mug-01&explain=true",))
        first.start()
        assert begun.wait(120)
        response = client.get("/v1/similar?id=mug-02")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert client.get("/healthz").status_code == 200
        assert 'visrec_queue_depth{queue="queries"} 1.0' in client.get("/metrics").text
        stop.set()
        first.join()


def test_images_with_many_pixels_are_refused_before_they_are_decoded(connect, sample_store):
    file = io.BytesIO()
    Image.new("1", (4000, 4000)).save(file, "PNG")
    with connect(sample_store, limits=Limits(max_pixels=10_000_000)) as client:
        response = client.post("/v1/similar/image", content=file.getvalue(), headers={"content-type": "image/png"})
        assert response.status_code == 413
        assert "4000 x 4000" in response.json()["detail"]


def test_a_line_of_the_log_cannot_control_a_terminal():
    record = logging.makeLogRecord({"msg": "a\x1b[2Jb\x9bc\nd\u202e", "title": "\x07\u2028"})
    line = JsonFormatter().format(record)
    assert line.isprintable()
    assert json.loads(line)["message"] == record.msg
    assert json.loads(line)["title"] == record.title
