"""The program `visrec`: its commands, and the one place where errors become a sentence."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper

import typer

from vision_recs import __version__
from vision_recs.errors import VisionRecsError

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
    _prepare_streams()
    logging.getLogger().addHandler(_Warnings(logging.WARNING))
    _leave(_run())


class _Warnings(logging.Handler):
    """Shows what the library warns of as a sentence, like an error; `visrec serve` puts a log in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of *record*."""
        typer.echo(f"visrec: {record.getMessage()}", err=True)


def _run() -> int:
    try:
        status = _status_of(program(sys.argv[1:]))
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_stdout()  # the reader left, as `head` does
        return 1
    except OutputError as error:
        _abandon_stdout()
        typer.echo(f"visrec: {error}", err=True)
        return 1
    except VisionRecsError as error:
        typer.echo(f"visrec: {error}", err=True)
        return 1
    except OSError as error:  # one that the library did not turn into a sentence of its own
        place = "a file" if error.filename is None else error.filename
        typer.echo(f"visrec: {place} cannot be read or written ({error.strerror or error})", err=True)
        return 1
    except KeyboardInterrupt:
        typer.echo("visrec: stopped; run the same command again to continue", err=True)
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


class OutputError(VisionRecsError):
    """What was to be printed cannot be written to stdout."""


def _prepare_streams() -> None:
    """Make the three standard streams usable.

    A stream that is closed becomes one that fails: otherwise the next file that is opened gets its number, and a
    library that prints would write into that file. Bytes of a name that are not text are shown as escapes. What
    cannot be written to stdout raises OutputError; what cannot be written to stderr is lost, and the work goes on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free number, which is this one
    sys.stdout = _Stdout(sys.stdout, 1)
    sys.stderr = _Stderr(sys.stderr, 2)


def _abandon_stdout() -> None:
    """Do not try again at the end of the process to write what could not be written."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Stream(TextIOWrapper):
    def __init__(self, before: object, number: int) -> None:
        if isinstance(before, TextIOWrapper):
            encoding, is_direct, by_line = before.encoding, before.write_through, before.line_buffering
            buffer = before.detach()
        else:
            encoding, is_direct, by_line = "utf-8", False, False
            buffer = open(number, "wb", closefd=False)  # noqa: SIM115 - a number, open to the end
        super().__init__(buffer, encoding, "backslashreplace", line_buffering=by_line, write_through=is_direct)


class _Stdout(_Stream):
    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _failure(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _failure(error) from error


class _Stderr(_Stream):
    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def _failure(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):  # the reader left, as `head` does
        return error
    return OutputError(f"the output cannot be written ({error.strerror})")
