"""`visrec info`: what is in the index."""

from __future__ import annotations

from . import options
from .render import print_json, print_table


def info(store: options.Index = options.INDEX, json: options.Json = False) -> None:
    """Print what is in the index and how it was made."""
    from vision_recs.store import Store, size

    opened = Store.open(store)
    manifest = opened.manifest
    facts = {
        "items": manifest.items,
        "rows": manifest.pictures,
        "vectors": len(opened.positions()),
        "dim": opened.dim,
        "skipped": manifest.skipped,
        "skipped_reasons": opened.items.skipped_reasons(),
        "generation": manifest.generation,
        "created": manifest.created,
        "encoder": manifest.encoder.name,
        "fingerprint": opened.fingerprint,
        "engine": manifest.engine,
        "recall_at_10": manifest.recall_at_10,
        "catalog": manifest.catalog.location,
        "bytes": size(opened.layout),
        "visrec": manifest.visrec,
    }
    if json:
        print_json(facts)
    else:
        print_table(("", ""), [(name.replace("_", " "), _text(value)) for name, value in facts.items()])


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {reason}" for reason, count in value.items()) or "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
