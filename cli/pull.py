"""`visrec pull`: bring the copy of a store in a bucket up to date."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import print_json


def pull(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The store: s3://bucket/shop, gs://..., az://...")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where its copy lies. [default: in the cache of visrec]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Fetch what a store in a bucket has new, and compare all of it with its digests.

    Commands with --store ADDRESS, and `visrec serve`, do so by themselves, and compare what they fetch.
    """
    from vision_recs.errors import StoreNotFound
    from vision_recs.store.bucket.copies import copy_of
    from vision_recs.store.bucket.copies import pull as run

    copy = copy_of(address, folder)
    report = run(copy, thorough=True)
    if report is None:
        raise StoreNotFound(f"there is no store in {address}; make one with `visrec index CATALOG --store {address}`")
    if json:
        print_json({**asdict(report), "folder": str(copy)})
        return
    fetched = f"fetched {report.files:,} file(s), {report.bytes / 1e6:,.1f} MB"
    typer.echo(f"{copy} has generation {report.generation}; {fetched}")
