"""A web site of images on this machine, which answers as its test wants it to."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import shop_exports

from vision_recs.remote import guard


@dataclass
class Request:
    """A request that came: its *path* without the query, its *headers*, and the *status* and *sent* bytes of a body."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    connection: tuple[str, int] = ("", 0)


Answer = Callable[["Handler"], None]


@dataclass
class Site:
    """Serves *files* by their paths, with an ETag; *answers* take the place of a file, and *robots* is its robots.txt.

    *requests* are those that came, robots.txt apart. What waits ends when *stopped* is set.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    robots: str | None = None
    requests: list[Request] = field(default_factory=list)
    robots_requests: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bodies(self) -> list[str]:
        """Return the paths of the requests that were answered with a body."""
        return [request.path for request in self.requests if request.sent]

    def statuses(self) -> list[int]:
        return [request.status for request in self.requests]

    def start(self) -> None:
        handler = type("OfSite", (Handler,), {"site": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.server.server_address[1] if self.server else 0), handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that went away
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        """Go away, also for what is being answered."""
        self.stopped.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other on a connection that stays open."""

    protocol_version = "HTTP/1.1"
    site: Site

    def setup(self):
        super().setup()
        self.connection.setsockopt(6, 1, 1)  # TCP_NODELAY: the head of an answer does not wait for its body

    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.site
        path = unquote(urlsplit(self.path).path)
        if site.stopped.is_set():  # a connection that was open when the site went away
            self.close_connection = True
            return
        if path == "/robots.txt":
            site.robots_requests += 1
            self.asked = Request(path, {})
            if site.robots is None:
                self.give(404)
            else:
                self.give(200, site.robots.encode(), {"content-type": "text/plain"})
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Request(path, headers, connection=self.client_address)
        with site.lock:
            site.requests.append(self.asked)
            site.at_once += 1
            site.most_at_once = max(site.most_at_once, site.at_once)
        try:
            site.answers.get(path, give_file)(self)
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            with site.lock:
                site.at_once -= 1

    def give(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.asked.status = status
        self.asked.sent = len(body) if status == 200 else 0
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "content-length" not in (headers or {}):
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def give_file(handler: Handler) -> None:
    """Give the file of the path, or 304 where the client has it, or 404."""
    data = handler.site.files.get(handler.asked.path)
    if data is None:
        handler.give(404, b"<html>not here</html>", {"content-type": "text/html"})
        return
    etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    if handler.asked.headers.get("if-none-match") == etag:
        handler.give(304, headers={"etag": etag})
    else:
        handler.give(200, data, {"etag": etag, "content-type": "image/png"})


def stop_the_site(handler: Handler) -> None:
    """Go away instead of answering."""
    threading.Thread(target=handler.site.stop).start()
    handler.site.stopped.wait(60)
    handler.close_connection = True


def status(number: int, **headers: str) -> Answer:
    """Return what answers with the status *number*; underscores in the names of headers are hyphens."""
    return lambda handler: handler.give(
        number, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def redirect(to: str) -> Answer:
    return status(302, location=to)


def a_page(handler: Handler) -> None:
    """Answer with HTML, as where an image is gone and nobody says so."""
    handler.give(200, b"<html>sold out</html>", {"content-type": "text/html; charset=utf-8"})


def huge(handler: Handler) -> None:
    """Announce more than anybody takes."""
    handler.give(200, b"\x89PNG", {"content-type": "image/png", "content-length": str(10**12)})
    handler.close_connection = True


def endless(handler: Handler) -> None:
    """Send bytes without an end, and without saying how many."""
    handler.send_response(200)
    handler.send_header("content-type", "image/png")
    handler.send_header("connection", "close")
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        while not handler.site.stopped.is_set():
            handler.wfile.write(bytes(1 << 16))


def dripped(handler: Handler) -> None:
    """Send a byte now and then."""
    handler.send_response(200)
    handler.send_header("content-type", "image/png")
    handler.send_header("content-length", "9000")
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        while not handler.site.stopped.wait(0.02):
            handler.wfile.write(b"x")


def silent(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.close_connection = True
    handler.site.stopped.wait(60)


def cut_off(handler: Handler) -> None:
    """Send half of an image, and close the connection."""
    handler.give(200, b"\x89PNG half", {"content-type": "image/png", "content-length": "5000"})
    handler.close_connection = True
    handler.asked.sent = 0


def resolve_to(monkeypatch, addresses: dict) -> list[str]:
    """Let names have *addresses*, in a list one after the other; return the list of the names that are looked up."""
    names = []

    def resolve(host, port, **_):
        names.append(host)
        known = addresses[host]
        found = known.pop(0) if isinstance(known, list) else known
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found.split()]

    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)
    return names


def connect_to(monkeypatch, site: Site) -> list[tuple[str, int]]:
    """Let every connection go to *site*, and return the list of the addresses that they were meant for."""
    meant = []

    def connect(address, timeout):
        meant.append(address)
        if address[0] == "2400::1":
            raise OSError(101, "Network is unreachable")
        plain = socket.socket()
        plain.settimeout(timeout)
        plain.connect(("127.0.0.1", site.port))
        return plain

    monkeypatch.setattr("socket.create_connection", connect)
    return meant


def in_turn(*answers: Answer) -> Answer:
    """Return what gives one of *answers* after the other, and then the last one always."""
    left = list(answers)
    lock = threading.Lock()

    def answer(handler: Handler) -> None:
        with lock:
            chosen = left.pop(0) if len(left) > 1 else left[0]
        chosen(handler)

    return answer


def together(count: int) -> Answer:
    """Return what gives files only when *count* requests are under way at the same time."""
    barrier = threading.Barrier(count, timeout=60)

    def answer(handler: Handler) -> None:
        barrier.wait()
        give_file(handler)

    return answer


def publish(kind: str, folder: Path, site: Site) -> tuple[Path, str | None]:
    """Write the export *kind* with addresses of *site*, which shows its images; return its file and `--images`."""
    path = shop_exports.write(kind, folder)
    addresses = "https://(cdn.shopify.com|shop.example)"
    text = re.sub(addresses, site.url, path.read_text("utf-8"))
    path.write_text(text, "utf-8", newline="")
    place = "/media/catalog/product" if kind == "magento" else ""
    for name in (name for number in shop_exports.NUMBERS for name in shop_exports.images(number)):
        named = re.search(rf"(?:{site.url})?(/[\w/.-]*/{re.escape(name)})", text)
        site.files[place + named[1]] = (folder / "images" / name).read_bytes()
        (folder / "images" / name).unlink()
    return path, f"{site.url}{place}" if place else None
