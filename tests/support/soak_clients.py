"""Clients of a server for the soak: honest ones, hostile ones, and one that asks whether it lives."""

import contextlib
import http.client
import json
import socket
import threading
import time
import zlib
from urllib.parse import quote

JSON, JPEG = "application/json", "image/jpeg"


def ask(port, method, path, body=None, kind=JSON):
    """Return status and body of an answer, after as many attempts as the server asks for."""
    while True:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
            connection.request(method, path, body, {} if body is None else {"content-type": kind})
            response = connection.getresponse()
            data = response.read()
        if response.status not in {429, 503}:
            return response.status, data
        time.sleep(float(response.headers["retry-after"]))


def honest(port, draw, images):
    """Ask as a shop and its page do."""
    item = draw.choice(["mug-01", "vase-02", "lamp-03"])
    answers = [
        ask(port, "GET", f"/v1/similar?id={item}&k=5&where={quote('price >= 10')}"),
        ask(port, "GET", f"/v1/similar?id={item}&k=5&diversity=0.3&explain=true"),
        ask(port, "POST", "/v1/similar", json.dumps({"items": [{"id": item, "weight": 2}], "negatives": ["mug-02"]})),
        ask(port, "POST", "/v1/similar/image?k=1", draw.choice(images), JPEG),
        ask(port, "GET", f"/v1/items?limit=5&offset={draw.randrange(5)}"),
        *(ask(port, "GET", path) for path in ("/", "/v1/items?q=mug", "/v1/facets", f"/v1/items/{item}", "/metrics")),
    ]
    answers += [ask(port, "GET", f"/{each['thumbnail']}") for each in json.loads(answers[4][1])["items"]]
    assert {status for status, _ in answers} == {200}, [answer for answer in answers if answer[0] != 200]
    prices = {match["attributes"]["price"] for match in json.loads(answers[0][1])["matches"]}
    assert len(prices) == 1  # all of one generation
    assert round(json.loads(answers[3][1])["matches"][0]["score"], 1) == 1.0


def hostile(port, draw, images, evil):
    """Ask for what costs much, break off, and send what nothing can be made of."""
    status, data = ask(port, "POST", "/v1/similar/image", evil, JPEG)
    assert (status, json.loads(data)["reason"]) == (422, "crashed")
    assert ask(port, "POST", "/v1/similar/image", draw.choice(images)[:2000], JPEG)[0] == 422
    assert ask(port, "POST", "/v1/similar/image?k=1", png_bomb(4000), "image/png")[0] in {200, 422}
    assert ask(port, "POST", "/v1/similar", b'{"items":' + b"[" * 50_000)[0] == 400
    assert ask(port, "GET", f"/v1/similar?id=mug-01&where={quote('not ' * 200)}")[0] == 400
    assert ask(port, "GET", f"/v1/thumbnails/{draw.randbytes(32).hex()}")[0] == 404
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)  # and reads nothing
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(draw.randbytes(500))
        connection.recv(100)


@contextlib.contextmanager
def half_open(port, count):
    """Hold *count* connections whose requests never begin, and as many whose bodies never end."""
    body = (
        "POST /v1/similar HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for beginning in (b"GET / HTTP/1.1\r\nX: ", body.encode()):
            for _ in range(count):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
                connection.sendall(beginning)
        yield


def png_bomb(side):
    """Return a PNG of side x side black pixels, of some 100 kB."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    deflate = zlib.compressobj(1)
    rows = b"".join(deflate.compress(bytes(3 * side + 1)) for _ in range(side)) + deflate.flush()
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class Probe:
    """Asks whether the server lives, again and again, and notes how many *seconds* each answer takes."""

    def __init__(self, port):
        self.seconds = []
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.wait(0.05):
            started = time.perf_counter()
            status, _ = ask(self._port, "GET", "/healthz")
            self.seconds.append(time.perf_counter() - started if status == 200 else float("inf"))
