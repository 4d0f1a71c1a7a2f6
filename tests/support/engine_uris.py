"""Empty engines for tests: LanceDB in a folder, Milvus Lite in a file, and the Milvus at VISREC_MILVUS_URI."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

LIBRARIES = {"lance": "lancedb", "milvus": "milvus_lite"}
"""The schemes of engines that need nothing but a folder or a file, and the library of each."""

SERVER = "milvus_server"
KINDS = [*LIBRARIES, *([SERVER] if "VISREC_MILVUS_URI" in os.environ else [])]


@contextmanager
def empty_engines(kind: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Yield a function that returns the URI of an empty engine of *kind*, with its files in *folder*."""
    pytest.importorskip(LIBRARIES.get(kind, "pymilvus"))
    numbers = count()
    if kind == SERVER:
        with _databases() as new:
            yield new
        return
    made: list[Path] = []

    def new() -> str:
        made.append(folder / f"engine{next(numbers)}.db")
        return f"{kind}:{made[-1]}"

    if kind != "milvus":
        yield new
        return
    from milvus_lite.server_manager import server_manager_instance

    with asking_at_once():
        yield new
    for path in made:
        server_manager_instance.release_server(str(path))


@contextmanager
def asking_at_once() -> Iterator[None]:
    """Let the client not wait for half a second before it first asks whether the index of a new collection is made."""
    from pymilvus.client import grpc_handler

    hasty = SimpleNamespace(time=time.time, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_handler, "time", hasty)
        yield


@contextmanager
def _databases() -> Iterator[Callable[[], str]]:
    """Yield a function that makes a database of its own on the server, and drop them all in the end."""
    from pymilvus import MilvusClient

    server = os.environ["VISREC_MILVUS_URI"].rstrip("/")
    url = server.replace("milvus", "http", 1).replace("http+https", "https", 1)
    client = MilvusClient(url)
    made: list[str] = []

    def new() -> str:
        made.append(f"visrec_test_{uuid4().hex}")
        client.create_database(made[-1])
        return f"{server}/{made[-1]}"

    yield new
    for name in made:
        inside = MilvusClient(url, db_name=name)
        for collection in inside.list_collections():
            inside.drop_collection(collection)
        inside.close()
        client.drop_database(name)
    client.close()
