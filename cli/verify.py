"""`visrec verify`: check every digest."""

from __future__ import annotations

from . import options
from .output import print_verification


def verify(store: options.Stores = None, json: options.Json = False) -> None:
    """Read every file of the store and compare it with its digest."""
    from vision_recs.jobs import verify as run

    stores = options.named_stores(store)
    place = stores if isinstance(stores, str) else ", ".join(stores)
    print_verification(place, list(run(stores)), "damaged file(s); what helps is said of each of them", json=json)
