"""The program `visrec`: its commands, and the one place where errors become a sentence."""

from __future__ import annotations

import os
import sys

import typer

from vision_recs import __version__
from vision_recs.errors import VisionRecsError

from .duplicates import duplicates
from .embed import embed
from .encoders import encoders
from .evaluate import evaluate
from .gc import gc
from .index import index
from .info import info
from .similar import similar
from .table import table
from .tune import tune
from .verify import verify

app = typer.Typer(
    name="visrec",
    help="Turn a shop's product pictures into visually similar items.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help pages open in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (index, embed, similar, table, duplicates, evaluate, tune, info, verify, gc, encoders):
    app.command()(command)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"visrec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    pass


def main() -> None:
    """Run the program; the exit status is 0 for done, 1 for a VisionRecsError, 2 for wrong usage."""
    try:
        app()
    except VisionRecsError as error:
        typer.echo(f"visrec: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("visrec: stopped; run the same command again to go on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left, as `head` does
        sys.exit(1)
