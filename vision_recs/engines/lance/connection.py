"""`Connection`: the tables at a URI, and the errors of LanceDB as ours."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from vision_recs.errors import EngineUnavailable, UnknownEngine, first_line

if TYPE_CHECKING:
    import lancedb
    import pyarrow as pa
    from lancedb.table import Table as Opened

P = ParamSpec("P")
R = TypeVar("R")

_INSIDE = re.compile(r", location: |, retries: |: IO \{ source: |, body: |,? *\S+\.rs:\d")
"""Where a message of Lance begins to speak of its inside."""

_LONGEST_REASON = 300

_SETTINGS = {
    "LANCEDB_LOG": "error",  # its warnings of single clusters would go to stderr
    "LANCE_DEFAULT_FRAGMENT_READAHEAD": "1",
    "LANCE_DEFAULT_IO_BUFFER_SIZE": str(32 << 20),
}
"""What LanceDB reads from the environment, where nobody else has set it.

The last two bound what it reads ahead of its work: by itself, several of the files that are joined or indexed.
"""

_CONFLICT = re.compile(r"preempted by|commit conflict|too many concurrent", re.IGNORECASE)
"""What a message says where somebody else wrote to the same table in the meantime."""


class Connection:
    """What is at a URI: `lance:DIR` or `lance+s3://BUCKET/PATH`; it connects when it is used."""

    def __init__(self, uri: str) -> None:
        """Raise UnknownEngine for a URI without a place, EngineUnavailable without LanceDB."""
        self.uri = uri
        scheme, _, rest = uri.partition(":")
        self._place = f"{scheme.removeprefix('lance+')}:{rest}"
        if not rest.strip("/") or (scheme == "lance" and rest.startswith("//")):
            raise UnknownEngine(f"{uri!r} names no place; write lance:DIR or lance+s3://BUCKET/PATH")
        self._folder = Path(rest).absolute() if scheme == "lance" else None
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import lancedb  # noqa: F401 - it is there
        except ImportError as error:
            raise EngineUnavailable(
                f"{uri} needs LanceDB, which is not installed; run `pip install 'visrec[lance]'`"
            ) from error

    @cached_property
    def _database(self) -> lancedb.DBConnection:
        """The connection, which makes the folder where there is none; see `_is_empty`."""
        import lancedb

        return self.do(lancedb.connect, self._folder or self._place)

    @property
    def _is_empty(self) -> bool:
        """Whether there is not even a folder, which reading must not make."""
        return self._folder is not None and not self._folder.is_dir()

    def names(self) -> list[str]:
        """Return the names of all tables."""
        if self._is_empty:
            return []
        return list(self.do(self._database.list_tables, limit=10_000).tables)

    def existing(self, name: str) -> Opened:
        """Return the table *name*, which is there."""
        table: Opened = self.do(self._database.open_table, name)
        return table

    def table(self, name: str) -> Opened | None:
        """Return the table *name*, or None where there is none."""
        if self._is_empty:
            return None
        try:
            return self._database.open_table(name)
        except (OSError, RuntimeError, ValueError) as error:
            if "not found" in str(error):
                return None
            raise self._error(error) from error

    def made(self, name: str, schema: pa.Schema, first: pa.Table | None = None) -> Opened:
        """Return the table *name*, which is made where there is none, with the rows *first* in it."""
        create = self._database.create_table
        table: Opened = self.do(create, name, data=first, schema=schema, exist_ok=True)
        return table

    def drop(self, name: str) -> None:
        """Remove the table *name*."""
        self.do(self._database.drop_table, name)

    def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what *work* of LanceDB returns; raises EngineUnavailable in the place of its errors."""
        try:
            return work(*args, **kwargs)
        except (OSError, RuntimeError, ValueError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> EngineUnavailable:
        if _CONFLICT.search(str(error)):
            return EngineUnavailable(f"somebody else publishes to {self.uri} at the same time; run it again")
        why = _INSIDE.split(first_line(error))[0][:_LONGEST_REASON]
        return EngineUnavailable(f"{self.uri} cannot be used ({why}); check the address and the access")
