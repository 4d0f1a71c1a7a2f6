"""`visrec verify`: check every digest."""

from __future__ import annotations

import typer

from vision_recs.errors import StoreDamaged

from . import options
from .output import print_json
from .terminal import one_line


def verify(store: options.Store = options.STORE, json: options.Json = False) -> None:
    """Read every file of the store and compare it with its digest."""
    from vision_recs.jobs import verify as run

    problems = list(run(store))
    if json:
        print_json({"sound": not problems, "problems": problems})
    else:
        for problem in problems:
            typer.echo(one_line(problem))
    if problems:
        raise StoreDamaged(f"{store} has {len(problems)} damaged file(s); what helps is said of each of them")
    if not json:
        typer.echo(f"{store} is sound")
