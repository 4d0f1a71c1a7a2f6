"""Any `VectorSource` of a test as an index of an engine: its rows are published as records, unproved."""

import json
from collections import Counter

import numpy as np
from fake_shop import FakeEncoder
from slow_records import Record, table_of

from vision_recs.engines.base import EXACT_UP_TO, Schema, connect
from vision_recs.engines.columns import columns_of
from vision_recs.engines.published import Published
from vision_recs.engines.searching import EngineIndex
from vision_recs.filters import AttributeType


def records_of(source):
    """Return the records of *source*, whose rows and attributes are in memory."""
    ordinals, repeats = Counter(), Counter()
    found = []
    for position in source.positions().tolist():
        for row in source.rows([position], limit=10**6)[position]:
            own = json.dumps(source.attributes.get(row.id, {}))
            found.append(Record(*row[:2], ordinals[row.id], row.digest, position, own, "{}", repeats[row[:2]]))
            ordinals[row.id] += 1
            repeats[row[:2]] += 1
    return found


def published_index(source, uri):
    """Publish *source* to the empty engine at *uri*, and return its index, which searches with the least effort."""
    engine = connect(uri)
    records = records_of(source)
    vectors = source.vectors(np.array([record.position for record in records], np.int64))
    found, kinds = table_of(records, vectors, source.fingerprint)
    stage = engine.stage(Schema(source.fingerprint, source.dim, "float32", columns_of(kinds)), None)
    if records:
        stage.insert(found)
    token = stage.seal("generation-000007", lambda *_: None)
    published = described(source, token=token, images=len(records), kinds=kinds)
    table = engine.open(published.token)
    effort = table.efforts[0] if len(records) > EXACT_UP_TO else None
    return EngineIndex(published.with_search(effort, 1.0), table, engine.dialect)


def described(source, **values):
    """Return what is said of *source* in an engine."""
    types = {}
    for attributes in source.attributes.values():
        for name, value in attributes.items():
            types[name] = types.get(name, AttributeType(0)) | AttributeType.of(value)
    return Published(
        **{
            "generation": source.generation,
            "source": "memory",
            "created": "2026-01-01T00:00:00+00:00",
            "published": "2026-01-01T00:00:00+00:00",
            "visrec": "0",
            "space": source.fingerprint,
            "dim": source.dim,
            "encoder": FakeEncoder().spec,
            "weights_file": None,
            "canary": "",
            "projection": None,
            "catalog": "",
            "items": len(source.attributes),
            "content": "",
            "attribute_types": types,
            **values,
        }
    )


def far_and_near(*, count=6_000, dim=128, seed=0):
    """Return vectors (count, dim) of which the last 123 lie far from the others, and a query near the others."""
    random = np.random.default_rng(seed)
    center = random.standard_normal(dim)
    center /= np.linalg.norm(center)
    vectors = center + 0.6 * random.standard_normal((count, dim)) / np.sqrt(dim)
    vectors[-123:] -= 2 * center
    return vectors, center
