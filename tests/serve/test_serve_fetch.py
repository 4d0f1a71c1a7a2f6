"""Images by URL, and no way into a private network."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vision_recs.errors import RequestError
from vision_recs.remote import connection, guard
from vision_recs.serve.fetch import fetch_image

NUMERIC_HOSTS = {
    "127.0.0.1": "127.0.0.1",
    "::1": "::1",
    "169.254.169.254": "169.254.169.254",
    "2130706433": "127.0.0.1",
    "0x7f.1": "127.0.0.1",
    "localhost": "127.0.0.1",
}
"""What resolvers say of hosts that need no question to a server."""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "is no address of the web"),
        ("ftp://public.example/a.jpg", "is no address of the web"),
        ("//public.example/a.jpg", "is no address of the web"),
        ("http://", "is no address of the web"),
        ("nonsense", "is no address of the web"),
        ("http://pub\nlic.example/", "is no address of the web"),
        ("http://user:secret@public.example/a.jpg", "user name or password"),
        ("http://user@public.example/a.jpg", "user name or password"),
        ("http://:secret@public.example/a.jpg", "user name or password"),
        ("http://public.example:22/a.jpg", "port 22; only 80 and 443"),
        ("http://public.example:444/a.jpg", "port 444; only 80 and 443"),
        ("https://public.example:8443/a.jpg", "port 8443; only 80 and 443"),
        ("http://localhost:443/a.jpg", "not a public address"),  # the port is not why
        ("http://public.example:99999/a.jpg", "out of range"),
        ("http://127.0.0.1/a.jpg", "not a public address"),
        ("http://[::1]/a.jpg", "not a public address"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("http://2130706433/", "not a public address"),
        ("http://0x7f.1/", "not a public address"),
        ("http://localhost/a.jpg", "not a public address"),
    ],
)
def test_other_urls_are_not_fetched(monkeypatch, url, words):
    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NUMERIC_HOSTS[host], port))]

    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)
    with pytest.raises(RequestError, match=words) as refused:
        fetch_image(url, max_bytes=1000, timeout_s=5)
    assert refused.value.status == 422


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n"
DRIPPED = {
    "/status": b"HTTP/1.1 200 " + b"O" * 100 + HEAD[13:] + b"content-length: 3\r\n\r\nabc",
    "/headers": HEAD + b"x: " + b"y" * 100 + b"\r\ncontent-length: 3\r\n\r\nabc",
    "/body": HEAD + b"content-length: 100\r\n\r\n" + b"x" * 100,
    "/chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20 + b"0\r\n\r\n",
    "/chunk-size": HEAD + b"transfer-encoding: chunked\r\n\r\n1;" + b"y" * 100 + b"\r\nx\r\n0\r\n\r\n",
}
"""Answers whose bytes arrive one by one, 100 a second: each is complete after more than a second."""


def drip(file, data, stop):
    with contextlib.suppress(OSError):  # the client has gone
        for byte in data:
            stop.wait(0.005)
            file.write(bytes([byte]))


@pytest.fixture
def site(monkeypatch):
    """A web site on this machine, at the only port and under the only name that count as public here."""
    answers, stop = {}, threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path, DRIPPED.get(self.path))
            if self.path == "/never":
                stop.wait(120)
            elif self.path in DRIPPED:
                drip(self.wfile, answer, stop)
            elif isinstance(answer, bytes):
                self.wfile.write(answer)
            else:
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    resolved = []

    def resolve(host, port, **_):
        resolved.append(host)
        if host == "slow.example":
            stop.wait(120)
            resolved.append("answered")
        address = {"public.example": "93.184.216.34", "private.example": "10.0.0.7", "slow.example": "93.184.216.34"}[
            host
        ]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address, timeout):
        assert address == ("93.184.216.34", 80)
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.connect(server.server_address)
        return plain

    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(connection.socket, "create_connection", connect)
    yield answers, resolved
    stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(path="/a.jpg", **options):
    return fetch_image(f"http://public.example{path}", **{"max_bytes": 1000, "timeout_s": 5, **options})


def test_an_image_is_fetched_from_what_its_name_resolved_to_once(site):
    answers, resolved = site
    answers["/a.jpg"] = 200, {"content-type": "image/jpeg; x=1", "content-length": "3"}, b"abc"
    assert fetched() == b"abc"
    assert resolved == ["public.example"]


def test_redirects_are_followed_to_public_addresses_alone(site):
    answers, resolved = site
    answers["/a.jpg"] = 200, {"content-type": "image/png"}, b"abc"
    answers["/b"] = 302, {"location": "/a.jpg"}, b""
    assert fetched("/b") == b"abc"
    answers["/c"] = 302, {"location": "http://private.example/a.jpg"}, b""
    with pytest.raises(RequestError, match="not a public address"):
        fetched("/c")
    assert resolved[-1] == "private.example"
    answers["/d"] = 301, {"location": "/d"}, b""
    with pytest.raises(RequestError, match="redirects"):
        fetched("/d")
    answers["/e"] = 301, {"location": "file:///etc/passwd"}, b""
    with pytest.raises(RequestError, match="is no address of the web"):
        fetched("/e")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_five_redirects_are_followed_and_no_sixth(site, status):
    answers, _ = site
    answers["/a.jpg"] = 200, {"content-type": "image/png"}, b"abc"
    for number in range(6):
        answers[f"/{number}"] = status, {"location": f"/{number - 1}" if number else "/a.jpg"}, b""
    assert fetched("/4") == b"abc"
    with pytest.raises(RequestError, match="is more than 5 redirects away"):
        fetched("/5")


def test_what_is_no_image_or_too_large_is_refused(site):
    answers, _ = site
    answers["/page"] = 200, {"content-type": "text/html"}, b"<html>"
    with pytest.raises(RequestError, match="text/html"):
        fetched("/page")
    answers["/gone"] = 404, {"content-type": "image/png"}, b""
    with pytest.raises(RequestError, match="404"):
        fetched("/gone")
    answers["/huge"] = 200, {"content-type": "image/png"}, b"x" * 5000
    with pytest.raises(RequestError) as refused:
        fetched("/huge")
    assert refused.value.status == 413


def test_an_incomplete_image_is_refused(site):
    answers, _ = site
    answers["/half"] = 200, {"content-type": "image/png", "content-length": "10"}, b"abc"
    with pytest.raises(RequestError, match="IncompleteRead"):
        fetched("/half")


@pytest.mark.parametrize("path", ["/never", *DRIPPED])
def test_one_deadline_holds_for_everything_that_another_server_sends(site, path):  # noqa: ARG001 - it answers
    with pytest.raises(RequestError, match=r"not downloaded within 0\.3 s") as refused:
        fetched(path, timeout_s=0.3)
    assert refused.value.status == 422


def test_the_same_deadline_holds_for_the_resolver(site):
    with pytest.raises(RequestError, match=r"not downloaded within 0\.1 s"):
        fetch_image("http://slow.example/a.jpg", max_bytes=1000, timeout_s=0.1)
    assert site[1] == ["slow.example"]


def test_dripped_answers_are_complete_without_a_deadline(site):  # noqa: ARG001 - it answers
    assert fetched("/chunks", timeout_s=30) == b"x" * 20
    assert fetched("/chunk-size", timeout_s=30) == b"x"


def test_what_another_server_says_does_not_reach_the_client(site):
    answers, _ = site
    answers["/raw"] = b"secret\x1b[2J\r\n\r\n"
    with pytest.raises(RequestError, match="BadStatusLine") as refused:
        fetched("/raw")
    assert "secret" not in str(refused.value)
    answers["/escape"] = 200, {"content-type": "a\x1b[2Jb"}, b""
    with pytest.raises(RequestError, match="media type") as refused:
        fetched("/escape")
    assert "\x1b" not in str(refused.value)


def test_a_server_that_may_fetches_and_one_that_may_not_does_not(connect, sample_store, sample_images, site, client):
    answers, resolved = site
    data = (sample_images / "lamp-03-2.jpg").read_bytes()
    answers["/lamp.jpg"] = 200, {"content-type": "image/jpeg"}, data
    body = {"image_urls": [{"url": "http://public.example/lamp.jpg"}], "k": 1}
    assert client.post("/v1/similar", json=body).status_code == 400
    assert resolved == []
    with connect(sample_store, allow_urls=True) as allowed:
        response = allowed.post("/v1/similar", json=body)
        assert [match["id"] for match in response.json()["matches"]] == ["lamp-03"]
        body["image_urls"][0]["url"] = "http://private.example/lamp.jpg"
        assert allowed.post("/v1/similar", json=body).status_code == 422
