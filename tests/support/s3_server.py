"""A real S3 server (SeaweedFS) on this machine, behind a proxy that counts the requests and can fail them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store
from tether import TETHER

PROGRAM = Path(sys.executable).parent / "weed"
KEYS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_REGION": "us-east-1"}
READ_ONLY = {"AWS_ACCESS_KEY_ID": "otherkey", "AWS_SECRET_ACCESS_KEY": "othersecret"}
"""A user that may read no bucket but the one called `public`."""

_USERS = [("all", KEYS, ["Admin", "Read", "Write", "List", "Tagging"]), ("some", READ_ONLY, ["Read:public"])]
_READY_S, _GRACE_S = 120, 2


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """Run SeaweedFS with its files in *folder*, and yield the port of its S3 server."""
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}],
            "actions": actions,
        }
        for name, keys, actions in _USERS
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    names = [f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer") for kind in ("", ".grpc")]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [*TETHER, PROGRAM, "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    command += ["-s3", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait(process, ports["s3.port"], folder / "log")
        yield ports["s3.port"]
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:  # it takes over 15 seconds for a farewell
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    store = store_of("ready", port)
    end = time.monotonic() + _READY_S
    while True:
        try:
            obstore.put(store, "ready", b"1")  # the bucket is made with its first object
        except BaseError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            return


def store_of(bucket: str, port: int) -> S3Store:
    return S3Store(
        bucket,
        endpoint=f"http://127.0.0.1:{port}",
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region=KEYS["AWS_REGION"],
        client_options={"allow_http": True},
        retry_config={"max_retries": 2},
    )


@dataclass(frozen=True)
class Request:
    """A request that the proxy passed on: its *kind* is LIST, HEAD, GET, PUT ...; *size* is that of the answer."""

    kind: str
    key: str
    status: int
    size: int


class S3:
    """A bucket of the server, reached through a proxy that counts.

    Where *fails* is set, it is called with the kind of a request and the key: a status is answered in place of the
    server, "close" ends the connection, and None passes the request on.
    """

    def __init__(self, bucket: str, server_port: int) -> None:
        self.bucket = bucket
        self.address = f"s3://{bucket}"
        self.requests: list[Request] = []
        self.fails: Callable[[str, str], int | str | None] | None = None
        self._store = store_of(bucket, server_port)
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, server_port))
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process reads from the bucket."""
        endpoint = f"http://127.0.0.1:{self._proxy.server_port}"
        return {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self._store, key, data)

    def put_folder(self, folder: Path, prefix: str = "") -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(prefix + str(path.relative_to(folder)), path.read_bytes())

    def delete(self, key: str) -> None:
        obstore.delete(self._store, key)

    def counted(self) -> dict[str, int]:
        """Return how many requests of each kind came since the last call."""
        found: dict[str, int] = {}
        for request in self.requests:
            found[request.kind] = found.get(request.kind, 0) + 1
        self.requests.clear()
        return found

    def close(self) -> None:
        """Empty the bucket: each bucket of its own would take volumes of the server for good."""
        for page in obstore.list(self._store, chunk_size=1_000):
            obstore.delete(self._store, [meta["path"] for meta in page])
        self._proxy.shutdown()
        self._proxy.server_close()


def _handler(s3: S3, server_port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            _, _, key = unquote(address.path).lstrip("/").partition("/")
            options = parse_qs(address.query)
            kind = "LIST" if "list-type" in options else self.command
            key = options.get("prefix", [""])[0] if kind == "LIST" else key
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            failure = s3.fails(kind, key) if s3.fails else None
            if failure == "close":
                s3.requests.append(Request(kind, key, 0, 0))
                self.close_connection = True
                return
            status, headers, body = (failure, {}, b"") if failure else self._passed_on()
            s3.requests.append(Request(kind, key, status, len(body)))
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "date", "server", "content-length"}:
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names that the standard library calls

        def _passed_on(self) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", server_port, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the signature is over the host that the client named
                connection.putheader(name, value)
            connection.endheaders(self.body or None)
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, dict(answer.getheaders()), body

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
