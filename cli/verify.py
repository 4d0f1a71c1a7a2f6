"""`visrec verify`: check every digest."""

from __future__ import annotations

from . import options
from .output import print_verification


def verify(store: options.Store = options.STORE, json: options.Json = False) -> None:
    """Read every file of the store and compare it with its digest."""
    from vision_recs.jobs import verify as run

    print_verification(store, list(run(store)), "damaged file(s); what helps is said of each of them", json=json)
