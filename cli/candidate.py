"""`visrec candidate`: promote or drop a store that some shoppers were shown by `visrec serve --candidate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .output import print_json
from .terminal import one_line


def candidate(
    candidate: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the candidate's store.")],
    promote: Annotated[
        bool, typer.Option("--promote", help="Let it take the place of the store, which takes its place.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Show it to nobody any more.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Show one that ended again.")] = False,
    store: options.Store = options.STORE,
    events: options.Events = options.EVENTS,
    json: options.Json = False,
) -> None:
    """End a candidate on every server that shows it, with one command and without a restart.

    `visrec outcomes` compares it with the store.
    """
    from vision_recs.feedback.candidates import DROPPED, PROMOTED, end_candidate, promoting
    from vision_recs.jobs import promote as run_promote

    if promote + drop + again != 1:
        raise typer.BadParameter("give one of --promote, --drop and --again")
    how = PROMOTED if promote else DROPPED if drop else None
    if promote:
        with promoting(events, candidate):
            run_promote(candidate, store)
    else:
        end_candidate(events, candidate, how)
    if json:
        print_json({"candidate": str(candidate), "store": str(store), "state": how or "shown"})
    elif promote:
        typer.echo(one_line(f"{store} holds the candidate now, and {candidate} what was the store before"))
        typer.echo("what was learned before does not fit other vectors: run `visrec learn` when there are new answers")
    else:
        typer.echo(one_line(f"{candidate} is {'shown to nobody any more' if drop else 'shown again'}"))
