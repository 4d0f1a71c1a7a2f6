"""What another client of an engine may do to the newest records, behind the back of visrec."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from vision_recs.engines.base import connect


def remove(uri: str, items: Sequence[str]) -> None:
    """Remove the records of *items*."""
    if uri.startswith("lance"):
        _lance_table(uri).delete(f"item in ({', '.join(map(repr, items))})")
        return
    with closing(_Milvus(uri)) as milvus:
        milvus.delete([row for item in items for row in milvus.rows(item)])


def alter(uri: str, item: str, values: dict[str, Any]) -> None:
    """Give the records of *item* other *values*."""
    if uri.startswith("lance"):
        _lance_table(uri).update(where=f"item = '{item}'", values=values)
        return
    with closing(_Milvus(uri)) as milvus:
        milvus.upsert([row | values for row in milvus.rows(item)])


def repeat(uri: str, item: str) -> None:
    """Write the records of *item* a second time."""
    if uri.startswith("lance"):
        table = _lance_table(uri)
        table.add(table.search().where(f"item = '{item}'").to_arrow())
        return
    with closing(_Milvus(uri)) as milvus:
        again = {"born": milvus.newest}
        milvus.upsert([row | again | {"row": f"{row['row']}again"} for row in milvus.rows(item)])


def _lance_table(uri: str) -> Any:
    engine: Any = connect(uri)
    (name,) = {token.partition("@")[0] for token in engine.tokens()}
    return engine._connection.existing(name)


class _Milvus:
    """The newest serial of the one collection of records."""

    def __init__(self, uri: str) -> None:
        self._engine: Any = connect(uri)
        (self._name,) = self._engine._collections()
        self.newest: int = self._engine.state(self._name).newest
        self._engine._connection.client.load_collection(self._name)

    def close(self) -> None:
        self._engine.close()

    def rows(self, item: str) -> list[dict[str, Any]]:
        found = self._engine._connection.client.query(
            self._name, filter=f'item == "{item}" and died > {self.newest}', output_fields=["*"]
        )
        return [dict(row) for row in found]

    def upsert(self, rows: list[dict[str, Any]]) -> None:
        self._engine._connection.client.upsert(self._name, rows)

    def delete(self, rows: list[dict[str, Any]]) -> None:
        self._engine._connection.client.delete(self._name, ids=[row["row"] for row in rows])
