"""Who the client of a request is: the peer, unless that is a trusted proxy, and nothing that a client invents."""

import contextlib
import json
import socket
from collections import Counter
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from vision_recs.serve import ServeOptions, create_app
from vision_recs.serve.connections import close_excess
from vision_recs.serve.proxies import ROOT, TrustedProxies, root_path
from vision_recs.serve.uploads import Bodies

NETWORKS = ("10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48")


def resolved(peer, *forwarded, proto=()):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    headers += [(b"x-forwarded-proto", value.encode()) for value in proto]
    scope = {"client": peer and (peer, 4711), "scheme": "http", "headers": headers}
    TrustedProxies(NETWORKS).resolve(scope)
    return (scope["client"] or (None,))[0], scope["scheme"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", (), "203.0.113.5"),
        ("10.0.0.9", (), "10.0.0.9"),
        ("10.0.0.9", ("203.0.113.7",), "203.0.113.7"),
        ("192.0.2.1", ("203.0.113.7",), "203.0.113.7"),
        ("::ffff:10.0.0.9", ("203.0.113.7",), "203.0.113.7"),
        ("2001:db8:1::2", ("2001:db8:2::7",), "2001:db8:2::7"),
        # who is no proxy may say what it wants
        ("203.0.113.5", ("198.51.100.1",), "203.0.113.5"),
        ("192.0.2.2", ("198.51.100.1",), "192.0.2.2"),
        (None, ("198.51.100.1",), None),
        # what a client has sent stands left of what the proxies have added
        ("10.0.0.9", ("198.51.100.1, 203.0.113.7",), "203.0.113.7"),
        ("10.0.0.9", ("198.51.100.1", "203.0.113.7"), "203.0.113.7"),
        ("10.0.0.9", ("10.0.0.1, 203.0.113.7",), "203.0.113.7"),
        ("10.0.0.9", ("198.51.100.1,203.0.113.7 , 10.9.9.9,2001:db8:1::2",), "203.0.113.7"),
        ("10.0.0.9", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        # what is no address comes from no proxy
        ("10.0.0.9", ("198.51.100.1, unknown",), "10.0.0.9"),
        ("10.0.0.9", ("unknown, 10.0.0.2",), "10.0.0.2"),
        ("10.0.0.9", ("198.51.100.1, ",), "10.0.0.9"),
        ("10.0.0.9", ("x" * 5000,), "10.0.0.9"),
        ("10.0.0.9", ("203.0.113.7\r\nevil",), "10.0.0.9"),
        # with ports
        ("10.0.0.9", ("203.0.113.7:4711",), "203.0.113.7"),
        ("10.0.0.9", ("[2001:db8:2::7]:4711",), "2001:db8:2::7"),
        ("10.0.0.9", ("[2001:db8:2::7]",), "2001:db8:2::7"),
    ],
)
def test_the_client_is_the_last_one_before_the_trusted_proxies(peer, forwarded, client):
    assert resolved(peer, *forwarded)[0] == client


@pytest.mark.parametrize(
    ("peer", "proto", "scheme"),
    [
        ("10.0.0.9", ("https",), "https"),
        ("10.0.0.9", ("http, https",), "https"),
        ("10.0.0.9", ("javascript",), "http"),
        ("203.0.113.5", ("https",), "http"),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(peer, proto, scheme):
    assert resolved(peer, "203.0.113.7", proto=proto)[1] == scheme


def test_without_trusted_proxies_nobody_is_believed():
    scope = {"client": ("127.0.0.1", 1), "scheme": "http", "headers": [(b"x-forwarded-for", b"203.0.113.7")]}
    TrustedProxies(()).resolve(scope)
    assert scope["client"] == ("127.0.0.1", 1)


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "shop.example", "10.0.0.0/33", "*"])
def test_what_is_no_network_is_refused_in_a_sentence(text, sample_store):
    with pytest.raises(ValueError, match="is no network"):
        create_app(ServeOptions(Path(sample_store), trusted_proxies=(text,)))


@contextlib.contextmanager
def behind(store, **options):
    """Yield a client that is the proxy 10.0.0.9 of a server that trusts it."""
    app = create_app(ServeOptions(Path(store), poll_interval_s=3600, trusted_proxies=NETWORKS, **options))
    with TestClient(app, client=("10.0.0.9", 1), raise_server_exceptions=False) as client:
        yield client


def test_bodies_are_counted_by_client_and_not_by_proxy(sample_store, monkeypatch):
    busy = Counter({"203.0.113.7": 99})
    begin = Bodies.__init__

    def with_a_busy_client(bodies, limits):
        begin(bodies, limits)
        bodies._arriving.update(busy)

    monkeypatch.setattr(Bodies, "__init__", with_a_busy_client)
    body = {"items": [{"id": "mug-01"}]}
    with behind(sample_store) as proxy:
        status = [
            proxy.post("/v1/similar", json=body, headers={"x-forwarded-for": forwarded}).status_code
            for forwarded in ("203.0.113.7", "203.0.113.8", "203.0.113.8, 203.0.113.7", "203.0.113.7, 203.0.113.8")
        ]
    assert status == [429, 200, 429, 200]


def test_the_log_names_the_client_that_brought_a_wrong_token(sample_store, caplog):
    with behind(sample_store, token="open sesame") as proxy:
        headers = {"authorization": "Bearer guess", "x-forwarded-for": "198.51.100.1, 203.0.113.7"}
        assert proxy.get("/v1/items", headers=headers).status_code == 401
    assert "wrong token from 203.0.113.7" in caplog.text


def test_the_cookie_of_a_session_behind_tls_is_for_tls_only(sample_store):
    with behind(sample_store, token="open sesame") as proxy:
        headers = {"x-forwarded-for": "203.0.113.7", "x-forwarded-proto": "https"}
        for sent, is_secure in ((headers, True), ({}, False)):
            response = proxy.post("/v1/session", content=json.dumps({"token": "open sesame"}), headers=sent)
            assert ("secure" in response.headers["set-cookie"].lower()) is is_secure


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system does not list open files")
def test_a_trusted_proxy_may_have_all_connections():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listening.getsockname()[1]
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            stack.enter_context(listening.accept()[0])
        assert close_excess(port, 3, TrustedProxies(["127.0.0.0/8"])) == Counter()
        assert close_excess(port, 3, TrustedProxies(NETWORKS)) == Counter({"127.0.0.1": 2})


@pytest.mark.parametrize(
    ("text", "root"), [("", ""), ("/", ""), ("/shop", "/shop"), ("shop/", "/shop"), ("/a/b-c.d/", "/a/b-c.d")]
)
def test_a_root_is_written_in_one_way(text, root):
    assert root_path(text) == root


@pytest.mark.parametrize("text", ["/a b", "/a/../b", "/a?b", "/ä", "/a\r\nb", "javascript:x"])
def test_what_is_no_path_is_no_root(text):
    with pytest.raises(ValueError, match="is no path of a server; write it as /shop"):
        root_path(text)


def test_the_root_is_that_of_a_trusted_proxy_or_of_the_options(connect, sample_store):
    with connect(sample_store, root_path="/kept", trusted_proxies=("192.0.2.0/24",)) as client:
        assert client.get("/kept/healthz").status_code == 200
        assert client.get("/healthz").status_code == 200  # an orchestrator comes without the proxy
        assert client.get("/keptx/healthz").status_code == 404
        moved = client.get("/kept?a=1", follow_redirects=False)
        assert (moved.status_code, moved.headers["location"]) == (308, "/kept/?a=1")
        assert client.get("/shop/healthz", headers={"x-forwarded-prefix": "/shop"}).status_code == 404  # not trusted
    with connect(sample_store, trusted_proxies=("192.0.2.0/24",)) as client:
        proxies = TrustedProxies(("192.0.2.0/24",))
        for sent, root in (("/shop", "/shop"), ("//evil.example", "/evil.example"), ("/a, /b/", "/b")):
            scope = {"client": ("192.0.2.7", 1), "headers": [(b"x-forwarded-prefix", sent.encode())], ROOT: ""}
            proxies.resolve(scope)
            assert scope[ROOT] == root
        assert client.get("/shop/healthz").status_code == 404
