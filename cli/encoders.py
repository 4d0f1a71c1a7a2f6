"""`visrec encoders`: the encoders by name."""

from __future__ import annotations

from dataclasses import asdict

from . import options
from .output import print_json, print_table


def encoders(json: options.Json = False) -> None:
    """List the encoders, and which weights are on this machine."""
    from vision_recs.encoders import list_encoders

    known = list_encoders()
    if json:
        for encoder in known:
            print_json(asdict(encoder))
        return
    rows = [
        (
            encoder.name,
            str(encoder.dim or "-"),
            "yes" if encoder.weights_here else "no",
            encoder.license,
            encoder.source,
        )
        for encoder in known
    ]
    print_table(("name", "dim", "here", "license", "source"), rows)
