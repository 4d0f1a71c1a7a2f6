"""`open_engine`: the published generation of an engine, as items and an index, from which queries are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from vision_recs.engines.base import Engine, Table, connect
from vision_recs.engines.items import EngineItems
from vision_recs.engines.published import Published, require_current
from vision_recs.engines.searching import EngineIndex
from vision_recs.errors import EngineDamaged


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """The generation *published* of an *engine*, open: its *items* and its *index*. Close it when nobody asks it."""

    engine: Engine
    published: Published
    table: Table
    items: EngineItems
    index: EngineIndex

    def __enter__(self) -> Self:
        """Return itself; it is closed at the end of the `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the table and the connection."""
        self.table.close()
        self.engine.close()


def open_engine(uri: str) -> OpenedEngine:
    """Open the published generation of the engine at *uri*; raises EngineError, as NothingPublished."""
    engine = connect(uri)
    try:
        published = require_current(engine)
        while True:
            try:
                table = engine.open(published.token)
                break
            except EngineDamaged:  # another generation was published, and this one dropped, in the meantime
                newer = require_current(engine)
                if newer.token == published.token:
                    raise
                published = newer
    except BaseException:
        engine.close()
        raise
    items = EngineItems(engine, published, table)
    return OpenedEngine(engine, published, table, items, EngineIndex(published, table, engine.dialect))
