"""Slow and many clients: nobody waits for a client that does not go on, and none takes the place of all others."""

import asyncio
import contextlib
import errno
import http.client
import io
import json
import resource
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image
from starlette.requests import Request

from vision_recs.errors import RequestError
from vision_recs.serve import uploads
from vision_recs.serve.connections import client_of, close_excess
from vision_recs.serve.options import Limits
from vision_recs.serve.proxies import TrustedProxies
from vision_recs.serve.uploads import Bodies

IMAGE = (Path(__file__).parents[2] / "sample_images" / "lamp-03-2.jpg").read_bytes()
MANY = 600
NO_PROXIES = TrustedProxies(())


def head_of(path, kind, length):
    lines = f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {length}", "", ""
    return "\r\n".join(lines).encode()


@contextlib.contextmanager
def stalled(port, count, beginning):
    """Yield *count* connections that have sent *beginning*, and send nothing more."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(count)]
        for connection in connections:
            connection.sendall(beginning)
        yield connections


def status_of(server, path, data=None, kind="image/jpeg"):
    request = urllib.request.Request(server.url + path, data, {"content-type": kind})
    with urllib.request.urlopen(request, timeout=120) as response:
        return response.status


def is_open(connection):
    connection.settimeout(0)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


# Connections


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[0] < MANY + 300, reason="too few files may be open")
def test_requests_that_do_not_begin_keep_nobody_waiting(server):
    for _ in range(5):  # on a busy machine all of it may take longer than a request has to begin
        with stalled(server.port, MANY, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ") as connections:
            assert status_of(server, "/healthz") == 200
            assert status_of(server, "/v1/similar?id=mug-01") == 200
            if sum(map(is_open, connections)) > MANY - 50:  # the answers did not wait for their end
                return
    pytest.fail("each time the answers came when the connections had ended")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system does not list open files")
def test_the_connections_of_a_client_beyond_its_share_are_ended():
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        elsewhere = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listening.getsockname()[1]
        accepted, clients = [], []
        for server in [listening] * 5 + [elsewhere] * 5:
            clients.append(stack.enter_context(socket.create_connection(server.getsockname(), 30)))
            accepted.append(stack.enter_context(server.accept()[0]))
        assert close_excess(port, 5, NO_PROXIES) == Counter()
        assert close_excess(port, 3, NO_PROXIES) == Counter({"127.0.0.1": 2})
        ended = [client for client in clients if not is_open(client)]
        assert len(ended) == 2
        assert all(client.getpeername()[1] == port for client in ended)
        clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)))
        stack.enter_context(listening.accept()[0])  # it listens as before


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_network_of_ipv6_is_one_client(address, client):
    assert client_of(address) == client


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "then"), [(256, 300, 128, 300), (256, 4096, 3584, 4096), (700, 9000, 8192, 8704)]
)
def test_as_many_connections_as_files_may_be_open(soft, hard, connections, then):
    code = (
        "import resource; from vision_recs.serve.connections import allow_connections\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "print([allow_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == [connections, then]


# Bodies


def test_images_that_arrive_slowly_take_no_place(server):
    with stalled(server.port, 12, head_of("/v1/similar/image", "image/jpeg", len(IMAGE)) + IMAGE[:1000]) as slow:
        assert status_of(server, "/v1/similar/image?k=1", IMAGE) == 200
        for connection in slow[:2]:
            connection.sendall(IMAGE[1000:])
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


def request_of(address, *parts):
    """Return a request of the client with *address* whose body arrives in *parts*; each may be an event to wait for."""
    left = list(parts)

    async def receive():
        part = left.pop(0)
        if isinstance(part, asyncio.Event):
            await part.wait()
            part = b""
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    return Request({"type": "http", "headers": [], "client": (address, 1)}, receive)


def refused(caught):
    return caught.value.status, caught.value.retry_after_s


def test_a_client_sends_a_quarter_of_the_bodies_that_may_arrive():
    async def crowd():
        bodies, rest = Bodies(Limits(max_bodies=8)), asyncio.Event()
        begun = [
            asyncio.create_task(bodies.json(request_of(f"192.0.2.{number // 2}", b"a", rest, b"b")))
            for number in range(8)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RequestError, match="2 bodies of this client") as caught:
            await bodies.json(request_of("192.0.2.1", b"c"))
        assert refused(caught) == (429, 1)
        with pytest.raises(RequestError, match="8 bodies are arriving") as caught:
            await bodies.json(request_of("192.0.2.9", b"c"))
        assert refused(caught) == (503, 1)
        rest.set()
        assert await asyncio.gather(*begun) == [b"ab"] * 8
        assert await bodies.json(request_of("192.0.2.1", b"c")) == b"c"

    asyncio.run(crowd())


@pytest.mark.parametrize("has_folder", [True, False])
def test_a_large_body_arrives_whole_with_and_without_a_folder_for_temporary_files(has_folder, monkeypatch):
    monkeypatch.setattr(uploads, "_has_temporary_folder", lambda: has_folder)
    parts = [bytes([number]) * 50_000 for number in range(9)]

    async def receive():
        with await Bodies(Limits()).images(request_of("192.0.2.1", *parts)) as file:
            in_memory = not file._rolled
            return file.read(), in_memory

    assert asyncio.run(receive()) == (b"".join(parts), not has_folder)


def test_a_full_disk_is_no_failure_of_the_server(monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    with pytest.raises(RequestError, match="no room") as caught:
        asyncio.run(Bodies(Limits()).json(request_of("192.0.2.1", b"{}")))
    assert refused(caught) == (503, 5)
    assert "No space left" in caplog.text


@pytest.mark.parametrize(
    ("path", "kind", "status"), [("/v1/nothing", "image/png", 404), ("/v1/similar", "text/html", 415)]
)
def test_who_is_refused_can_read_why(server, path, kind, status):
    for _ in range(5):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            connection.request("POST", path, bytes(8 << 20), {"content-type": kind})
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["status"]) == (status, status)


def answer_to(port, data):
    """Send all of *data* on a connection of its own; return the head of the answer. Raises if it is reset."""
    with socket.create_connection(("127.0.0.1", port), 120) as connection:
        connection.sendall(data)
        with connection.makefile("rb") as answer:
            return list(iter(lambda: answer.readline().rstrip(), b""))


def test_uploads_beyond_the_limits_are_told_when_to_come_again_and_never_reset(server):
    file = io.BytesIO()
    Image.effect_noise((2_500, 2_500), 60).convert("RGB").save(file, "JPEG", quality=95)
    upload = head_of("/v1/similar/image?k=1", "image/jpeg", len(file.getvalue())) + file.getvalue()
    assert len(upload) > 1 << 20
    count = 30  # as many bodies as may arrive of one client, and far more than may wait to be decoded
    with ThreadPoolExecutor(count) as pool:
        heads = list(pool.map(lambda _: answer_to(server.port, upload), range(count)))
    statuses = Counter(head[0].split()[1] for head in heads)
    assert statuses.keys() <= {b"200", b"429", b"503"}
    assert min(statuses[b"200"], statuses[b"503"]) > 0
    refused = [head for head in heads if b" 200 " not in head[0]]
    assert all(b"retry-after: 1" in head for head in refused)
