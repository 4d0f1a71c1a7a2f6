"""`visrec gc`: remove older generations."""

from __future__ import annotations

from dataclasses import asdict

import typer

from . import options
from .output import print_json


def gc(store: options.Stores = None, json: options.Json = False) -> None:
    """Remove older generations and all files that only they use."""
    from vision_recs.store import Reclaimed, garbage_collect
    from vision_recs.store.partitions import store_folders

    each = [asdict(garbage_collect(folder)) for folder in store_folders(options.named_stores(store))]
    reclaimed = Reclaimed(**{name: sum(one[name] for one in each) for name in each[0]})
    if json:
        print_json(asdict(reclaimed))
    else:
        typer.echo(
            f"reclaimed {reclaimed.bytes / 1e6:,.1f} MB: {reclaimed.generations} older generation(s), "
            f"{reclaimed.shards} unused shard(s)"
        )
