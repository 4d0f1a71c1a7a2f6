"""The program `visrec`: its commands, and the one place where errors become a sentence."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Sequence
from importlib import import_module

import typer

from vision_recs import __version__
from vision_recs.errors import VisionRecsError

from .streams import OutputError, abandon_stdout, prepare_streams
from .terminal import one_line

COMMANDS = (
    "index",
    "embed",
    "update",
    "publish",
    "pull",
    "similar",
    "neighbors",
    "duplicates",
    "evaluate",
    "tune",
    "events",
    "learn",
    "replay",
    "outcomes",
    "candidate",
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
    logging.getLogger().addHandler(_Warnings(logging.WARNING))
    _leave(_run())


class _Warnings(logging.Handler):
    """Shows what the library warns of as a sentence, like an error; `visrec serve` puts a log in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of *record*."""
        _say(record.getMessage())


def _say(sentence: str) -> None:
    typer.echo(f"visrec: {one_line(sentence)}", err=True)


def _run() -> int:
    try:
        status = _status_of(program(sys.argv[1:]))
        sys.stdout.flush()
    except BrokenPipeError:
        abandon_stdout()  # the reader left, as `head` does
        return 1
    except OutputError as error:
        abandon_stdout()
        _say(str(error))
        return 1
    except VisionRecsError as error:
        _say(str(error))
        return 1
    except OSError as error:  # one that the library did not turn into a sentence of its own
        place = "a file" if error.filename is None else error.filename
        _say(f"{place} cannot be read or written ({error.strerror or error})")
        return 1
    except KeyboardInterrupt:
        _say("stopped; run the same command again to continue")
        return 130
    return status


def _status_of(app: typer.Typer) -> int:
    try:
        app()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0


def _leave(status: int) -> None:
    """End the process, without taking every module apart before: that takes a fifth of the time of a query."""
    if threading.active_count() > 1:
        sys.exit(status)  # which waits for the other threads
    atexit._run_exitfuncs()  # noqa: SLF001 - temporary files are removed; there is no public name for it
    sys.stderr.flush()
    os._exit(status)
