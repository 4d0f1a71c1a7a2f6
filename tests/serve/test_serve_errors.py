"""Errors are problem details (RFC 9457), and say what to do."""

import json

import pytest

from vision_recs import errors
from vision_recs.serve import convert
from vision_recs.serve.app import ROUTES
from vision_recs.serve.errors import problem_response, status_of

TINY_GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def problem(response, status):
    """Check that *response* is a problem (RFC 9457) with *status*, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = response.json()
    assert found["status"] == status
    assert found["request_id"] == response.headers["x-request-id"]
    assert found["instance"] == f"urn:visrec:request:{found['request_id']}"
    name = found["type"].removeprefix("urn:visrec:error:")
    assert issubclass(getattr(errors, name), errors.VisionRecsError)
    assert found["title"].replace(" ", "").lower() == name.lower()
    assert not found["detail"].endswith(".")
    return found


def test_an_unknown_item_names_the_nearest(client):
    error = problem(client.get("/v1/similar", params={"id": "mug-1"}), 404)
    assert (error["type"], error["title"], error["item"]) == ("urn:visrec:error:UnknownItem", "Unknown item", "mug-1")
    assert set(error["nearest"]) <= {f"mug-0{number}" for number in range(1, 6)}
    problem(client.get("/v1/items/mug-1"), 404)


def test_a_wrong_filter_says_where(client):
    error = problem(client.get("/v1/similar", params={"id": "mug-01", "where": "price < and"}), 400)
    assert (error["type"], error["expression"]) == ("urn:visrec:error:FilterError", "price < and")
    assert error["position"] > 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "the query is empty"),
        ("id=mug-01&k=0", "$.k"),
        ("id=mug-01&k=1001", "$.k"),
        ("id=mug-01&k=ten", "$.k"),
        ("id=mug-01&k=1&k=2", "'k' is given twice"),
        ("id=mug-01&negative=mug-01", "in items and in negatives"),
        ("id=mug-01&one_per=hue", "one_per"),
        ("id=mug-01&diversity=1", "$.diversity"),
        ("id=mug-01&min_score=nan", "$.min_score"),
        ("id=mug-01&limit=3", "limit"),
        ("id=%ff", "UTF-8"),
    ],
)
def test_a_url_that_is_not_valid_gets_a_sentence(client, query, words):
    assert words in problem(client.get(f"/v1/similar?{query}"), 400)["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"items": "mug-01"}',
        b'{"items": ["mug-01"], "k": 1e400}',
        b'{"items": ["mug-01"], "weights": []}',
        b'{"items": [{"id": "mug-01", "weight": -1}]}',
        b'{"items": ["mug-01"], "policy": {"diversity": "much"}}',
        b'{"items": ["\xff"]}',
        b"[" * 100_000,
        b'{"image_urls": [{"url": "https://example.com/a.jpg"}]}',
    ],
)
def test_a_body_that_is_not_valid_gets_a_sentence(client, body):
    problem(client.post("/v1/similar", content=body, headers={"content-type": "application/json"}), 400)


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "empty"),
        (b"hello", 422, "not-an-image"),
        (TINY_GIF[:20], 422, "truncated"),
        (b"8BPS\0\1" + bytes(40), 415, "unsupported"),
        (TINY_GIF[:6] + b"\xff\xff\xff\xff" + TINY_GIF[10:], 413, "too-large"),
    ],
)
def test_an_image_that_cannot_be_used_says_why(client, data, status, reason):
    error = problem(client.post("/v1/similar/image", content=data, headers={"content-type": "image/gif"}), status)
    assert (error["type"], error["reason"]) == ("urn:visrec:error:ImageError", reason)


def test_a_form_that_is_not_valid_gets_a_sentence(client):
    def form(**parts):
        return client.post("/v1/similar/image", **parts)

    many = [("image", (f"{n}.gif", TINY_GIF, "image/gif")) for n in range(9)]
    problem(form(files=many), 400)
    problem(form(files={"file": TINY_GIF}), 400)
    problem(form(files={"image": TINY_GIF}, data={"query": "{"}), 400)
    problem(form(files={"query": TINY_GIF}), 400)
    problem(form(content=b"--x\r\n", headers={"content-type": "multipart/form-data; boundary=x"}), 400)
    problem(form(content=b"--x\r\n", headers={"content-type": "multipart/form-data"}), 400)
    problem(form(content=b"{}", headers={"content-type": "application/json"}), 415)


def test_unknown_paths_and_methods(client):
    problem(client.get("/v1/nothing"), 404)
    problem(client.get("/page/../options.py"), 404)
    problem(client.get("/page/%2e%2e%2foptions.py"), 404)
    response = client.delete("/v1/similar")
    problem(response, 405)
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    problem(client.post("/v1/similar", content=b"x=1", headers={"content-type": "text/plain"}), 415)


def test_an_unforeseen_error_is_logged_and_hidden_from_clients(client, monkeypatch, caplog):
    monkeypatch.setattr(convert, "query_batch", lambda *_: 1 / 0)
    error = problem(client.get("/v1/similar", params={"id": "mug-01", "explain": "true"}), 500)
    assert "division" not in error["detail"]
    assert error["request_id"] in error["detail"]
    assert any("ZeroDivisionError" in str(record.exc_info) for record in caplog.records)


def test_errors_have_a_status_and_their_fields():
    fields = {
        errors.CatalogError("no id", path="a.csv", line=3): (500, {}),
        errors.ImageError("too-large", "too many pixels"): (413, {"reason": "too-large"}),
        errors.WeightsNotFound("no weights"): (503, {}),
        errors.NoTextTower("no words"): (422, {}),
        errors.StoreDamaged("damaged"): (500, {}),
        errors.FilterError("wrong", expression="a <", position=4): (400, {"expression": "a <", "position": 4}),
        errors.PolicyError("wrong", path="/srv/rules.toml", key="pin"): (400, {"key": "pin"}),
        errors.UnknownItem("unknown", item="a", nearest=("b", "c")): (404, {"item": "a", "nearest": ["b", "c"]}),
        errors.RequestError("busy", status=503, retry_after_s=7): (503, {"retry_after_s": 7}),
    }
    common = {"type", "title", "status", "detail", "instance", "request_id"}
    for error, (status, own) in fields.items():
        assert status_of(error) == status
        response = problem_response(error, "7")
        problem = json.loads(response.body)
        assert problem["type"] == f"urn:visrec:error:{type(error).__name__}"
        assert {name: value for name, value in problem.items() if name not in common} == own
        assert response.headers.get("retry-after") == ("7" if "retry_after_s" in own else None)


def test_a_failure_of_the_server_is_logged_and_its_paths_are_hidden_from_clients(caplog):
    for error in (errors.StoreDamaged("/srv/store/CURRENT is damaged"), errors.WeightsNotFound("/root/x is missing")):
        caplog.clear()
        problem = json.loads(problem_response(error, "abc").body)
        assert "/" not in problem["detail"]
        assert "abc" in problem["detail"]
        assert str(error) in caplog.text


def test_every_error_status_is_in_the_document():
    from vision_recs.serve.errors import STATUSES

    assert {status for route in ROUTES for status in route.errors} <= set(STATUSES)
