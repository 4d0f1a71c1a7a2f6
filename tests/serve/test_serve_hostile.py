"""A thousand hostile bodies: the server goes on answering, with bounded memory."""

import io
import json
import random
import socket
import threading
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import broken_decoder
import pytest
from PIL import Image

SEED = random.Random(0)
JSON = "application/json"
TOO_MUCH = 400_000_000
IMAGE = Path(__file__).parents[2] / "sample_images" / "lamp-03-2.jpg"


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_bomb(side):
    """Return a PNG of side x side black pixels: a few kB that become 3 bytes a pixel."""
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    deflate = zlib.compressobj(9)
    row = bytes(3 * side + 1)
    data = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(format_):
    file = io.BytesIO()
    Image.open(IMAGE).convert("RGB").save(file, format_)
    return file.getvalue()


def form(parts, boundary="x"):
    lines = [
        f"--{boundary}\r\nContent-Disposition: form-data; {how}\r\n\r\n".encode() + what + b"\r\n"
        for how, what in parts
    ]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def altered_images():
    every = [IMAGE.read_bytes(), *(encoded(kind) for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP"))]
    for number in range(300):
        data = bytearray(SEED.choice(every))
        if number % 2:
            del data[SEED.randrange(1, len(data)) :]
        for _ in range(SEED.randrange(1, 20)):
            data[SEED.randrange(len(data))] = SEED.randrange(256)
        yield "/v1/similar/image", "image/jpeg", bytes(data)


def bombs():
    every = [png_bomb(6000), png_bomb(12000)]
    for number in range(40):
        yield "/v1/similar/image", "image/png", every[number % 2]


def wrong_json():
    values = [None, 1, [], {}, "x", {"items": 1}, {"k": -1}, {"items": [[[]]]}, {"items": ["a"] * 101}]
    for _ in range(200):
        text = json.dumps(SEED.choice(values)).encode()
        yield "/v1/similar", JSON, text[: SEED.randrange(len(text) + 1)] + SEED.randbytes(SEED.randrange(4))
    for _ in range(100):
        yield "/v1/similar", JSON, b'{"items":' + b"[" * SEED.randrange(100_000)
    for _ in range(50):
        query = {"items": ["mug-01"], "where": "not " * SEED.randrange(4000) + "(" * SEED.randrange(2000)}
        yield "/v1/similar", JSON, json.dumps(query).encode()


def wrong_forms():
    for _ in range(150):
        parts = [('name="image"; filename="a.png"', SEED.randbytes(50)), ('name="query"', b"{"), ("nothing", b"")]
        data = form(SEED.sample(parts, SEED.randrange(4)))
        kind = f"multipart/form-data; boundary={SEED.choice('xy')}"
        yield "/v1/similar/image", kind, data[: SEED.randrange(len(data))]


def huge_or_of_other_types():
    for number in range(40):
        yield ("/v1/similar", JSON, TOO_MUCH) if number % 2 else ("/v1/similar/image", "image/png", TOO_MUCH)
    kinds = ["text/html", "", "application/x-www-form-urlencoded", "image/svg+xml", "\xff", "multipart/form-data"]
    paths = ["/v1/similar", "/v1/similar/image", "/v1/session"]
    for _ in range(120):
        yield SEED.choice(paths), SEED.choice(kinds), SEED.randbytes(300)


def head_of(path, kind, length):
    lines = f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {length}"
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1")


def send(port, path, kind, body):
    """Send a request and return the status of the answer, or 0 where the server hung up."""
    length = TOO_MUCH if body == TOO_MUCH else len(body)
    with closing(socket.create_connection(("127.0.0.1", port), 60)) as connection:
        try:
            connection.sendall(head_of(path, kind, length))
            connection.sendall(bytes(1_000_000) if body == TOO_MUCH else body)
            answer = connection.recv(65536)
        except ConnectionError:
            return 0
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0


def resident_mb(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.nightly  # the soak sends such bodies in CI, too
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by /proc, which is of Linux")
def test_a_thousand_hostile_bodies_do_not_stop_the_server_or_fill_its_memory(serve, sample_store, tmp_path):
    with serve(sample_store, tmp_path / "log", "--preload") as server:
        (worker,) = server.worker_ids()
        assert send(server.port, "/v1/similar/image", "image/jpeg", IMAGE.read_bytes()) == 200
        before = resident_mb(worker)
        every = [*altered_images(), *bombs(), *wrong_json(), *wrong_forms(), *huge_or_of_other_types()]
        assert len(every) == 1000
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
        for number, connection in enumerate(slow):  # half a head, or a body that never comes
            head = head_of("/v1/similar", JSON, 9)
            connection.sendall(head if number % 2 else head[:30])
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda request: send(server.port, *request), every))
        assert {status for status in statuses if status} <= {200, 400, 413, 415, 422, 503, 204, 401}, set(statuses)
        assert statuses.count(0) <= 40  # who sends 400 MB may find the line closed before the answer
        assert sum(status in {400, 413, 415, 422} for status in statuses) > 500
        assert server.worker_ids() == [worker], server.log.read_text()
        assert send(server.port, "/v1/similar/image", "image/jpeg", IMAGE.read_bytes()) == 200
        assert send(server.port, "/v1/similar", "application/json", b'{"items": ["mug-01"]}') == 200
        assert resident_mb(worker) < before + 500
        for connection in slow:
            connection.close()
    assert "Traceback" not in server.log.read_text()


def test_a_body_that_does_not_arrive_is_given_up():
    import asyncio

    from starlette.requests import Request

    from vision_recs.errors import RequestError
    from vision_recs.serve.options import Limits
    from vision_recs.serve.uploads import Bodies

    async def never():
        await asyncio.Event().wait()

    request = Request({"type": "http", "headers": []}, never)
    bodies = Bodies(Limits(body_timeout_s=0.01))
    with pytest.raises(RequestError) as late:
        asyncio.run(bodies.json(request))
    assert late.value.status == 408


def test_queries_by_id_are_answered_while_images_are_encoded(server):
    bomb = png_bomb(6000)
    threads = [
        threading.Thread(target=send, args=(server.port, "/v1/similar/image", "image/png", bomb)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        for _ in range(20):
            connection.request("GET", "/v1/similar?id=mug-01&k=1")
            response = connection.getresponse()
            assert response.status == 200
            response.read()
    for thread in threads:
        thread.join()


def test_a_server_that_stops_finishes_the_requests_that_have_begun(serve, sample_store, tmp_path):
    image, may_end, statuses = encoded("PNG"), tmp_path / "may_end", []
    held = broken_decoder.environment(may_end, image)
    with serve(sample_store, tmp_path / "log", "--preload", **held) as server:
        request = server.port, "/v1/similar/image", "image/png", image
        threads = [threading.Thread(target=lambda: statuses.append(send(*request))) for _ in range(4)]
        for thread in threads:
            thread.start()
        waiting = b""
        while b'visrec_queue_depth{queue="images"} 4.0' not in waiting:
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as response:
                waiting = response.read()
        server.process.terminate()
        while answers(server.port):  # until it has begun to stop
            pass
        assert statuses == []
        may_end.touch()
        assert server.process.wait(120) == 0
        for thread in threads:
            thread.join()
    assert statuses == [200] * 4


def answers(port):
    """Return whether the server answers a new request, within a second."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
