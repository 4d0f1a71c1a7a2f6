"""`Connection`: calls of the client of Milvus, whose errors become ours, and answers of a bounded size."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from vision_recs.engines.milvus.address import Address, not_installed
from vision_recs.errors import EngineUnavailable, first_line

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_TIMEOUT_S, _CONNECT_S = 120, 15
_LONG_S = 6 * 3600  # loading and indexing a large collection
_STRONG_S = 10
"""So long after a connection was opened, reads wait until each server has seen all that was written before. Then they
need not: Milvus reads what is older than 5 seconds everywhere, and what a reader opens does not change."""

_MOST_ROWS, _MOST_BYTES = 16_384, 32 << 20
"""What one answer holds at most: the number is a bound of Milvus, the bytes are a third of one."""

_LOGGERS = ("pymilvus", "milvus_lite", "grpc._server")
"""What these log to stderr is in their exceptions, too; and that the server of a file lacks what nobody needs."""

_VERSION = re.compile(r"\D*(\d+)\.(\d+)")
_FLOAT16_FROM = (2, 4)
_LONGEST_REASON = 300
_NOT_LOADED = (101, 103)
"""The codes of the errors that a collection is not loaded, or is being loaded."""

_OPEN_NOTHING = frozenset({"has_collection", "list_collections", "drop_collection"})
"""The calls after which no collection is known to be there."""

_READS = frozenset({"has_collection", "list_collections", "describe_collection", "describe_index", "query", "search"})
"""The calls that write nothing, and load nothing."""


class Connection:
    """A connection to the Milvus at a URI.

    A file that is not there is made by the first call: what only reads asks `is_empty` before.
    """

    def __init__(self, uri: str) -> None:
        """Connect; raises UnknownEngine, EngineUnavailable."""
        self._address: Address | None = Address.parse(uri)
        self.uri, self.is_file = self._address.uri, self._address.file is not None
        try:
            from grpc import RpcError
            from pymilvus import MilvusException
        except ImportError as error:
            raise not_installed(self.uri, "the client of Milvus") from error
        self._address.require_library()
        for name in _LOGGERS if self.is_file else _LOGGERS[:1]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._errors = (MilvusException, RpcError, OSError, ValueError, TypeError)
        self._opened = monotonic()
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()
        self.has_float16 = False
        if not self.is_empty:
            self._connect(self._address)

    @property
    def is_empty(self) -> bool:
        """Whether there is not even a file, which reading must not make."""
        return self._client is None and self._address is not None and self._address.is_missing

    @property
    def client(self) -> MilvusClient:
        """The client; raises EngineUnavailable."""
        with self._lock:
            if self._client is not None:
                return self._client
            if self._address is None:
                raise EngineUnavailable(f"the connection to {self.uri} is closed")
            return self._connect(self._address)

    def _connect(self, address: Address) -> MilvusClient:
        from pymilvus import MilvusClient

        url = address.serve()
        try:
            client = MilvusClient(
                url, token=address.token, db_name=address.database, timeout=_CONNECT_S, dedicated=True
            )
            version = _VERSION.match(str(client.get_server_version(timeout=_TIMEOUT_S)))
        except self._errors as error:
            address.release()
            raise self._error(error) from error
        is_new = version is not None and tuple(map(int, version.groups())) >= _FLOAT16_FROM
        self.has_float16 = is_new and not self.is_file
        self._client = client
        return client

    def call(self, method: str, *args: Any, timeout: float = _TIMEOUT_S, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return what *method* of the client returns; raises EngineUnavailable in the place of its errors.

        The first of *args* is a collection, where there are any. One that is not loaded, or no more, is loaded first.
        """
        try:
            return self._do(method, *args, timeout=timeout, **kwargs)
        except self._errors as error:
            if getattr(error, "code", None) not in _NOT_LOADED or method == "load_collection":
                raise self._error(error) from error
        self.wait("load_collection", args[0])
        try:
            return self._do(method, *args, timeout=timeout, **kwargs)
        except self._errors as error:
            raise self._error(error) from error

    def _do(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        work, address = getattr(self.client, method), self._address
        if address is None:
            return work(*args, **kwargs)
        with address.using(str(args[:1]), is_open=method not in _OPEN_NOTHING, writes=method not in _READS):
            return work(*args, **kwargs)

    def wait(self, method: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return what *method*, which may take hours, returns."""
        return self.call(method, *args, timeout=_LONG_S, **kwargs)

    def count(self, collection: str, condition: str) -> int:
        """Return how many rows of *collection* meet *condition*."""
        found = self.call("query", collection, filter=condition, output_fields=["count(*)"], **self.consistency())
        return int(found[0]["count(*)"])

    def some(self, collection: str, condition: str, fields: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """Return *fields* of at most *limit* rows of *collection* that meet *condition*, as many as an answer holds."""
        return list(
            self.call(
                "query",
                collection,
                filter=condition,
                output_fields=list(fields),
                limit=min(limit, _MOST_ROWS),
                strict_float32=True,
                **self.consistency(),
            )
        )

    def pages(
        self,
        collection: str,
        condition: str,
        fields: Sequence[str],
        key: str,
        size: int,
        **consistency: Any,  # noqa: ANN401
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield *fields* of all rows of *collection* that meet *condition*, *size* at a time, by the primary key *key*.

        *consistency* says how new it has to be, where that is not what a reader wants. An answer may hold fewer rows
        and not be the last one: old servers stop where a segment ends. The iterator of the client trusts the clock of
        this machine, and looks for words in the condition.
        """
        after = condition
        while True:
            rows = self.call(
                "query",
                collection,
                filter=after,
                output_fields=[key, *fields],
                limit=size,
                strict_float32=True,
                reduce_stop_for_best="True",
                **({"iterator": "True"} if self.is_file else consistency or self.consistency()),
            )
            if not rows:
                return
            yield list(rows)
            after = f'(({condition}) and {key} > "{max(row[key] for row in rows)}")'

    def consistency(self) -> dict[str, Any]:
        """Return how new what is read has to be, for a reader."""
        return {"consistency_level": "Strong" if monotonic() < self._opened + _STRONG_S else "Bounded"}

    def refresh(self) -> None:
        """Let reads see all that was written up to now."""
        self._opened = monotonic()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        address, self._address = self._address, None
        client, self._client = self._client, None
        if client is not None and address is not None:
            client.close()
            address.release()

    def _error(self, error: BaseException) -> EngineUnavailable:
        said = getattr(error, "message", "") or getattr(error, "details", lambda: "")() or error
        text = first_line(ValueError(str(said)))[:_LONGEST_REASON]
        return EngineUnavailable(f"{self.uri} cannot be used ({text}); check the address and the access")


def page_size(fields: Sequence[str], vector: str, dim: int) -> int:
    """Return how many rows with *fields* one answer may hold, where the field *vector* has *dim* numbers."""
    row = (4 * dim if vector in fields else 0) + 400 * len(fields)
    return max(1, min(_MOST_ROWS, _MOST_BYTES // row))
