"""`LanceEngine`: tables of Lance in a folder or in a bucket, which are read without a server.

visrec_<space>_<type>  the records of a space. Each write makes a version; a tag keeps the version that was sealed.
visrec_documents       the documents

A token is `TABLE@TAG`. Readers open a tag, so that they do not see what is written after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from vision_recs.engines.base import Schema
from vision_recs.engines.lance.connection import Connection
from vision_recs.engines.lance.documents import TABLE as DOCUMENTS
from vision_recs.engines.lance.documents import Documents
from vision_recs.engines.lance.stage import LanceStage
from vision_recs.engines.lance.table import LanceTable
from vision_recs.engines.lance.versions import tidy
from vision_recs.engines.sql import SqlDialect
from vision_recs.errors import EngineDamaged

_PREFIX = "visrec_"


class LanceEngine:
    """The tables at a URI: `lance:DIR` or `lance+s3://BUCKET/PATH`."""

    def __init__(self, uri: str) -> None:
        """Raise UnknownEngine for a URI without a place, EngineUnavailable without LanceDB; connect when it is used."""
        self.uri = uri
        self.dialect = SqlDialect()
        self._connection = Connection(uri)
        self.documents = Documents(self._connection)

    def stage(self, schema: Schema, published: str | None) -> LanceStage:
        """Return the newest version of the table of the space: older ones do not change by what is written."""
        del published
        name = f"{_PREFIX}{schema.space}_{schema.vector_type}"
        return LanceStage(self._connection, schema, name)

    def open(self, token: str) -> LanceTable:
        """Open the version of a table that was sealed as *token*."""
        name, _, tag = token.partition("@")
        table = self._connection.table(name)
        if table is None or tag not in self._connection.do(table.tags.list):
            raise EngineDamaged(f"{self.uri} has no {token} any more; run `visrec publish {self.uri}` again")
        self._connection.do(table.checkout, tag)
        return LanceTable(self._connection, table)

    def tokens(self) -> list[str]:
        """Return the tokens of all that is sealed."""
        names = [name for name in self._connection.names() if name.startswith(_PREFIX) and name != DOCUMENTS]
        tables = {name: self._connection.existing(name) for name in names}
        return [f"{name}@{tag}" for name, table in tables.items() for tag in self._connection.do(table.tags.list)]

    def drop(self, tokens: Sequence[str]) -> None:
        """Remove the tags that *tokens* name, and every version that no tag keeps."""
        for token in tokens:
            name, _, tag = token.partition("@")
            self._connection.do(self._connection.existing(name).tags.delete, tag)
        for name in {token.partition("@")[0] for token in tokens}:
            table = self._connection.existing(name)
            if not self._connection.do(table.tags.list):
                self._connection.drop(name)
            else:
                self._connection.do(tidy, table)

    def close(self) -> None:
        """Close the connection; it holds no files open."""
