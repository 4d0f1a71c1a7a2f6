"""`visrec info`: what is in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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


_SUMS = (
    *("items", "images", "vectors", "skipped", "generation", "items_in_deltas", "deltas", "unused_vectors"),
    *("waiting_for_index", "in_index_delta", "dead_in_index", "build_seconds", "bytes"),
)
_OF_EACH = ("items", "images", "generation", "index_type", "recall_at_10")


def info(store: options.Stores = None, json: options.Json = False) -> None:
    """Print what is in the store, and how good its index is."""
    from vision_recs.recommend import open_stores
    from vision_recs.store import Store, store_size

    with open_stores(options.named_stores(store)) as opened:
        stores = [opened] if isinstance(opened, Store) else opened.stores
        every = [_values(each, store_size(each.layout)) for each in stores]
        names = [str(each.layout.root) for each in stores]
    values = every[0] if len(every) == 1 else _together(every)
    listed = [{"store": name, **each} for name, each in zip(names, every, strict=True)] if len(every) > 1 else []
    if json:
        print_json({**values, "stores": listed} if listed else values)
        return
    print_table(("", ""), [(name.replace("_", " "), _text(value)) for name, value in values.items()])
    if listed:
        rows = [(str(each["store"]), *(_text(each[name]) for name in _OF_EACH)) for each in listed]
        print_table(("", *(name.replace("_", " ") for name in _OF_EACH)), rows)


def _together(every: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return what there is to say of several stores together: sums, the lowest recall, and what differs one by one."""
    return {name: _joined(name, [each[name] for each in every]) for name in every[0]}


def _joined(name: str, values: Sequence[Any]) -> object:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], Mapping):
        total: Counter[str] = Counter()
        for each in known:
            total.update(each)
        return dict(total.most_common())
    if name in _SUMS:
        return sum(known) if isinstance(known[0], int) else round(sum(known), 3)
    if name.startswith("recall"):
        return min(known)
    distinct = list(dict.fromkeys(known))
    if len(distinct) == 1:
        return distinct[0]
    return max(known) if name == "created" else ", ".join(map(str, distinct))


def _values(opened: Store, size: int) -> dict[str, object]:
    manifest = opened.manifest
    stats = manifest.index_stats or {}
    return {
        "items": manifest.items,
        "images": manifest.shown_images,
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
        "in_index_delta": manifest.in_index_delta,
        "dead_in_index": manifest.index_pending.removed_count + stats.get("dead", 0),
        **_measured(stats, manifest.recall_at_10),
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
