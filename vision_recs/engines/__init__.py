"""Engines: a generation is published to a vector database outside, and queries are answered from there.

A filter, a policy, a score mean the same as on this machine. What is of one engine stands in one module; all else is
shared.

base        what an engine has to do; the engines by the scheme of their URIs
lance       LanceDB, in a folder or a bucket
milvus      Milvus: a server, a cluster, or a file
columns     the columns of attributes, by which engines test filters
conditions  filters become conditions of an engine
sql         how engines that speak SQL write them
records     what is published of each image of each item
cells       the attribute columns of records, made from those of the store
known       what an engine holds, in few bytes, to find what differs
published   what an engine knows of a generation beside its records
publishing  `publish` and `rollback`
allocator   large blocks of memory go back to the system when they are freed
verifying   the proof of a generation before readers see it
searching   `EngineIndex`, which searches
items       `EngineItems`, which reads items
reader      `open_engine`: both of what is published
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vision_recs._lazy import lazy_names

if TYPE_CHECKING:
    from vision_recs.engines.base import Engine, Stage, Table, connect, register_engine
    from vision_recs.engines.items import EngineItems
    from vision_recs.engines.published import Published
    from vision_recs.engines.publishing import PublishOptions, PublishReport, publish, rollback
    from vision_recs.engines.reader import OpenedEngine, open_engine
    from vision_recs.engines.searching import EngineIndex

_HOMES = {
    "Engine": "base",
    "EngineIndex": "searching",
    "EngineItems": "items",
    "OpenedEngine": "reader",
    "PublishOptions": "publishing",
    "PublishReport": "publishing",
    "Published": "published",
    "Stage": "base",
    "Table": "base",
    "connect": "base",
    "open_engine": "reader",
    "publish": "publishing",
    "register_engine": "base",
    "rollback": "publishing",
}

__all__ = [
    "Engine",
    "EngineIndex",
    "EngineItems",
    "OpenedEngine",
    "PublishOptions",
    "PublishReport",
    "Published",
    "Stage",
    "Table",
    "connect",
    "open_engine",
    "publish",
    "register_engine",
    "rollback",
]

__getattr__ = lazy_names(__name__, _HOMES)
