"""`visrec info`: what is in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import options
from .output import print_json, print_table

if TYPE_CHECKING:
    from vision_recs.store import Store

MEASURED = (
    "index_factory",
    "recall_at_1",
    "recall_at_10",
    "recall_at_100",
    "queries_per_second",
    "bytes_per_vector",
    "build_seconds",
)
"""The measured properties of an index: see `vision_recs.indexes.IndexStats`."""


def info(store: options.Store = options.STORE, json: options.Json = False) -> None:
    """Print what is in the store, and how good its index is."""
    from vision_recs.store import Store, store_size

    with Store.open(store) as opened:
        values = _values(opened, store_size(opened.layout))
    if json:
        print_json(values)
    else:
        print_table(("", ""), [(name.replace("_", " "), _text(value)) for name, value in values.items()])


def _values(opened: Store, size: int) -> dict[str, object]:
    manifest = opened.manifest
    return {
        "items": manifest.items,
        "images": manifest.images,
        "vectors": len(opened.positions()),
        "dim": opened.dim,
        "skipped": manifest.skipped,
        "skipped_reasons": opened.items.skipped_reasons(),
        "stale_images": opened.items.stale_reasons(),
        "generation": manifest.generation,
        "items_in_deltas": sum(entry.changed for entry in manifest.items_files),
        "deltas": len(manifest.items_files) - 1,
        "unused_vectors": sum(stop - first for shard in manifest.shards for first, stop in shard.deleted),
        "created": manifest.created,
        "encoder": manifest.encoder.name,
        "fingerprint": opened.fingerprint,
        "projection": manifest.projection.digest[:16] if manifest.projection else None,
        "index_type": manifest.index_type,
        "index_generation": manifest.index_generation,
        "waiting_for_index": manifest.index_pending.added_count,
        "dead_in_index": manifest.index_pending.removed_count,
        **_measured(manifest.index_stats or {}, manifest.recall_at_10),
        "catalog": manifest.catalog.location,
        "bytes": size,
        "visrec": manifest.visrec,
    }


def _measured(index: Mapping[str, Any], recall: float) -> dict[str, object]:
    """Return the values of MEASURED; without an index only the recall of exact search is known."""
    known = {name: index[name] for name in MEASURED if name in index}
    return {**dict.fromkeys(MEASURED), "recall_at_10": recall, **known}


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {reason}" for reason, count in value.items()) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
