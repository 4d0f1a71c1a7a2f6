"""The program `visrec`: its commands, and the one place where errors become a sentence."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import typer

from vision_recs import __version__
from vision_recs.errors import VisionRecsError

from .streams import prepare_streams

COMMANDS = (
    "index",
    "embed",
    "similar",
    "neighbors",
    "duplicates",
    "evaluate",
    "tune",
    "serve",
    "info",
    "verify",
    "gc",
    "encoders",
)
"""In the order of the help page; each is the function of that name in the module of that name."""


def program(arguments: Sequence[str]) -> typer.Typer:
    """Return the program as it is needed for *arguments*: with the command that they name, else with all of them.

    Of the other commands, neither the modules nor the options are read: that would take longer than many a query.
    """
    app = typer.Typer(
        name="visrec",
        help="Turn a shop's product images into visually similar items.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain help pages open in half the time
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    first = arguments[0] if arguments else ""
    for name in [first] if first in COMMANDS else COMMANDS:
        app.command()(getattr(import_module(f".{name}", __package__), name))
    return app


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"visrec {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    pass


def main() -> None:
    """Run the program; the exit status is 0 for done, 1 for what cannot be done, 2 for wrong usage."""
    prepare_streams()
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        status = 1  # the reader left, as `head` does
    except OSError as error:
        typer.echo(f"visrec: {_reason(error)}", err=True)
        status = 1
    with suppress(OSError):  # what could not be written is not to be tried again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _leave(status)


def _reason(error: OSError) -> str:
    """Return a sentence for *error*, which no library turned into one of its own."""
    try:
        sys.stdout.flush()
    except OSError as of_output:
        return f"the output cannot be written ({of_output.strerror})"
    return f"{error.filename or 'a file'} cannot be read or written ({error.strerror or error})"


def _run() -> int:
    try:
        program(sys.argv[1:])()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except VisionRecsError as error:
        typer.echo(f"visrec: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        typer.echo("visrec: stopped; run the same command again to go on", err=True)
        return 130
    return 0


def _leave(status: int) -> None:
    """End the process, without taking every module apart before: that takes a fifth of the time of a query."""
    if threading.active_count() > 1:
        sys.exit(status)  # which waits for the other threads
    atexit._run_exitfuncs()  # noqa: SLF001 - temporary files are removed; there is no public name for it
    sys.stderr.flush()
    os._exit(status)
