"""Images by address, and that the server is no way into a private network."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vision_recs.errors import RequestError
from vision_recs.serve import fetch
from vision_recs.serve.fetch import fetch_image, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert is_public(address) is public


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
        ("file:///etc/passwd", "is not the URL of an image"),
        ("ftp://public.example/a.jpg", "is not the URL of an image"),
        ("//public.example/a.jpg", "is not the URL of an image"),
        ("http://", "is not the URL of an image"),
        ("nonsense", "is not the URL of an image"),
        ("http://pub\nlic.example/", "is not the URL of an image"),
        ("http://public.example/a b", "is not the URL of an image"),
        ("http://user:secret@public.example/a.jpg", "user name or password"),
        ("http://user@public.example/a.jpg", "user name or password"),
        ("http://:secret@public.example/a.jpg", "user name or password"),
        ("http://public.example:22/a.jpg", "port 22; only 80 and 443"),
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

    monkeypatch.setattr(fetch.socket, "getaddrinfo", resolve)
    with pytest.raises(RequestError, match=words) as refused:
        fetch_image(url, max_bytes=1000, timeout_s=5)
    assert refused.value.status == 422


@pytest.fixture
def site(monkeypatch):
    """A web site on this machine, at the only port and under the only name that count as public here."""
    answers, stop = {}, threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/never":
                stop.wait(30)
                return
            if self.path == "/trickle":
                self.wfile.write(b"HTTP/1.0 200 OK\r\ncontent-type: image/png\r\n\r\n")
                with contextlib.suppress(OSError):
                    while not stop.wait(0.005):
                        self.wfile.write(b"x")
                return
            status, headers, body = answers[self.path]
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
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        address = {"public.example": "93.184.216.34", "private.example": "10.0.0.7"}[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address, timeout):
        assert address == ("93.184.216.34", 80)
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.connect(server.server_address)
        return plain

    monkeypatch.setattr(fetch.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(fetch.socket, "create_connection", connect)
    yield answers, asked
    stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(path="/a.jpg", **options):
    return fetch_image(f"http://public.example{path}", **{"max_bytes": 1000, "timeout_s": 5, **options})


def test_an_image_is_fetched_from_what_its_name_resolved_to_once(site):
    answers, asked = site
    answers["/a.jpg"] = 200, {"content-type": "image/jpeg; x=1", "content-length": "3"}, b"abc"
    assert fetched() == b"abc"
    assert asked == ["public.example"]


def test_redirects_are_followed_to_public_addresses_alone(site):
    answers, asked = site
    answers["/a.jpg"] = 200, {"content-type": "image/png"}, b"abc"
    answers["/b"] = 302, {"location": "/a.jpg"}, b""
    assert fetched("/b") == b"abc"
    answers["/c"] = 302, {"location": "http://private.example/a.jpg"}, b""
    with pytest.raises(RequestError, match="not a public address"):
        fetched("/c")
    assert asked[-1] == "private.example"
    answers["/d"] = 301, {"location": "/d"}, b""
    with pytest.raises(RequestError, match="redirects"):
        fetched("/d")
    answers["/e"] = 301, {"location": "file:///etc/passwd"}, b""
    with pytest.raises(RequestError, match="is not the URL of an image"):
        fetched("/e")


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


def test_half_an_image_is_none_and_all_is_over_in_its_time(site):
    answers, _ = site
    answers["/half"] = 200, {"content-type": "image/png", "content-length": "10"}, b"abc"
    with pytest.raises(RequestError, match="IncompleteRead"):
        fetched("/half")
    with pytest.raises(RequestError, match=r"within 0\.05 s"):
        fetched("/never", timeout_s=0.05)
    with pytest.raises(RequestError, match=r"within 0\.1 s"):
        fetched("/trickle", timeout_s=0.1)


def test_a_server_that_may_fetches_and_one_that_may_not_does_not(connect, sample_store, sample_images, site, client):
    answers, asked = site
    data = (sample_images / "lamp-03-2.jpg").read_bytes()
    answers["/lamp.jpg"] = 200, {"content-type": "image/jpeg"}, data
    body = {"image_urls": [{"url": "http://public.example/lamp.jpg"}], "k": 1}
    assert client.post("/v1/similar", json=body).status_code == 400
    assert asked == []
    with connect(sample_store, allow_urls=True) as allowed:
        response = allowed.post("/v1/similar", json=body)
        assert [match["id"] for match in response.json()["matches"]] == ["lamp-03"]
        body["image_urls"][0]["url"] = "http://private.example/lamp.jpg"
        assert allowed.post("/v1/similar", json=body).status_code == 422
