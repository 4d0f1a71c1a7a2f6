"""`visrec gc`: remove older generations."""

from __future__ import annotations

from dataclasses import asdict

import typer

from . import options
from .output import print_json


def gc(store: options.Store = options.STORE, json: options.Json = False) -> None:
    """Remove older generations and all files that only they use."""
    from vision_recs.store import garbage_collect

    reclaimed = garbage_collect(store)
    if json:
        print_json(asdict(reclaimed))
    else:
        typer.echo(
            f"reclaimed {reclaimed.bytes / 1e6:,.1f} MB: {reclaimed.generations} older generation(s), "
            f"{reclaimed.shards} unused shard(s)"
        )
