"""Where a Milvus is: a server, or a file of Milvus Lite, which this process serves to itself while it is in use."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vision_recs.errors import EngineUnavailable, UnknownEngine

_PORT = 19530

_uses = Counter[str]()
_opened: set[tuple[str, str]] = set()
"""The files that are served, each with the names of the collections in it that are open."""

_lock = threading.RLock()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Milvus is. *uri* has no secrets; *server* is an http URL, or *file* the path of a file."""

    uri: str
    server: str = ""
    token: str = ""
    database: str = ""
    file: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Return the address that *uri* names; raises UnknownEngine."""
        rest = uri.partition(":")[2]
        return _of_server(uri) if rest.startswith("//") else cls(uri, file=_of_file(uri, rest))

    @property
    def is_missing(self) -> bool:
        """Whether it is a file that is not there yet; to serve it makes one."""
        return self.file is not None and not Path(self.file).exists()

    def require_library(self) -> None:
        """Raise EngineUnavailable where it is a file, and Milvus Lite is not installed."""
        if self.file is None:
            return
        try:
            import milvus_lite.server_manager  # noqa: F401 - it is there
        except ImportError as error:
            raise not_installed(self.uri, "Milvus Lite") from error

    def serve(self) -> str:
        """Return the URL to connect to; a file is served until `release`. Raises EngineUnavailable."""
        if self.file is None:
            return self.server
        from milvus_lite.server_manager import server_manager_instance as servers

        with _lock:
            url: str | None = servers.start_and_get_uri(self.file)
            if url is None:
                raise EngineUnavailable(
                    f"{self.uri} cannot be opened: another program has it open, or it is no file of Milvus Lite"
                )
            _uses[self.file] += 1
        return url

    def release(self) -> None:
        """Serve the file no more, where nobody else in this process uses it."""
        if self.file is None:
            return
        from milvus_lite.server_manager import server_manager_instance as servers

        with _lock:
            _uses[self.file] -= 1
            if not _uses[self.file]:
                servers.release_server(self.file)
                _opened.difference_update([each for each in _opened if each[0] == self.file])

    @contextmanager
    def using(self, collection: str, *, is_open: bool, writes: bool) -> Iterator[None]:
        """Let one thread at a time make, open or write *collection*; when it is open, all read it at once.

        Milvus Lite opens a collection where it is first asked for. Two threads that ask at once open it twice, and what
        the first has loaded and written is not there for those that ask later. *is_open* says that it is, afterwards.
        Nor does it lock what it writes: of two threads that write first, the second empties the log of the first.
        """
        place = (self.file or "", collection)
        if self.file is None or (place in _opened and is_open and not writes):
            yield
            return
        with _lock:
            if not is_open:
                _opened.discard(place)
            yield
            if is_open:
                _opened.add(place)


def not_installed(uri: str, what: str) -> EngineUnavailable:
    """Return the error that *what*, which the engine at *uri* needs, is not installed."""
    return EngineUnavailable(f"{uri} needs {what}, which is not installed; run `pip install 'visrec[milvus]'`")


def _of_server(uri: str) -> Address:
    parts = urlsplit(uri)
    try:
        port = parts.port or _PORT
    except ValueError as error:
        raise UnknownEngine(f"{_shown(uri)!r} has a port that is no number from 1 to 65535") from error
    database = parts.path.strip("/")
    if not parts.hostname or "/" in database or parts.query or parts.fragment:
        raise UnknownEngine(f"{_shown(uri)!r} names no server; write milvus://HOST:PORT/DATABASE")
    place = f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"
    web = "https" if parts.scheme.endswith("+https") else "http"
    token = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    shown = f"{parts.scheme}://{place}" + (f"/{database}" if database else "")
    return Address(shown, f"{web}://{place}", token, database)


def _shown(uri: str) -> str:
    """Return *uri* without the user and the password."""
    scheme, _, rest = uri.partition("//")
    return f"{scheme}//{rest.rpartition('@')[2]}"


def _of_file(uri: str, rest: str) -> str:
    path = Path(rest).absolute()
    if not rest.endswith(".db") or not path.parent.is_dir():
        raise UnknownEngine(
            f"{uri!r} names no server and no file; write milvus://HOST:PORT/DATABASE, or milvus:FILE.db in a folder "
            "that is there"
        )
    return str(path)
