"""Candidates: other stores that a share of the shoppers is shown; CANDIDATES in the folder of events says which ended.

SERVED has those that a server was ever given, a line each. Servers look at CANDIDATES all the time. So one command ends
a candidate on every server, also on those that start later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vision_recs.errors import EventsError, StoreDamaged, read_error, write_error
from vision_recs.feedback.event_log import EventFolder
from vision_recs.file_formats import dump_checksummed, load_checksummed
from vision_recs.store.atomic_files import atomic_write

PROMOTED, DROPPED = "promoted", "dropped"
"""How a candidate may end."""


def ended_candidates(root: str | Path) -> Mapping[str, str]:
    """Return the candidates that ended, by the absolute path of their store: how, and when.

    Raises StoreDamaged and StoreUnavailable.
    """
    path = _path(root)
    try:
        ended = load_checksummed(path.read_bytes())["ended"]
    except FileNotFoundError:
        return {}
    except (OSError, LookupError, TypeError) as error:
        raise read_error(path, error, "remove it") from error
    except StoreDamaged as error:
        raise StoreDamaged(f"{path} was altered; remove it") from error
    return dict(ended)


def end_candidate(root: str | Path, store: str | Path, how: str | None) -> None:
    """Say that the candidate in the folder *store* ended: PROMOTED or DROPPED; None lets it run again.

    Raises EventsError where *root* is not a folder of events, or no server was ever given that candidate, StoreDamaged,
    and StoreUnavailable.
    """
    EventFolder(Path(root)).require()
    served = served_candidates(root)
    if name_of(store) not in served:
        raise EventsError(
            f"no server with these events was given the candidate {name_of(store)}; "
            + (f"those that were: {', '.join(sorted(served))}" if served else "none was given one"),
            path=str(root),
        )
    _write(root, store, None if how is None else _today(how))


@contextmanager
def promoting(root: str | Path, candidate: str | Path) -> Iterator[None]:
    """Say that *candidate* was promoted, and run the `with` block, which exchanges its folder with another one.

    Where that fails before the exchange, however it does, what is said of the candidate is as before. Raises as
    `end_candidate` does, but for a candidate that no server was given.
    """
    EventFolder(Path(root)).require()
    before, folder = ended_candidates(root).get(name_of(candidate)), _identity(candidate)
    try:
        _write(root, candidate, _today(PROMOTED))
        yield
    except BaseException:
        if _identity(candidate) == folder:
            _write(root, candidate, before)
        raise


def served_candidates(root: str | Path) -> AbstractSet[str]:
    """Return the candidates that servers were ever given, by the absolute path of their store."""
    path = Path(root) / "SERVED"
    try:
        return {json.loads(line) for line in path.read_text("utf-8").splitlines() if line}
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise read_error(path, error, "remove it") from error


def note_served(root: str | Path, store: str | Path) -> None:
    """Note that a server was given the candidate in the folder *store*; raises as `end_candidate` does."""
    folder = EventFolder(Path(root))
    folder.require()
    if name_of(store) in served_candidates(root):
        return
    try:
        with (folder.root / "SERVED").open("a", encoding="utf-8") as file:  # one write: workers come together
            file.write(json.dumps(name_of(store)) + "\n")
    except OSError as error:
        raise write_error(folder.root, error) from error


def _write(root: str | Path, store: str | Path, how: str | None) -> None:
    folder = EventFolder(Path(root))
    ended = {name: each for name, each in ended_candidates(root).items() if name != name_of(store)}
    if how is not None:
        ended[name_of(store)] = how
    try:
        atomic_write(dump_checksummed({"ended": ended}), _path(root), folder.tmp)
    except OSError as error:
        raise write_error(folder.root, error) from error


def _today(how: str) -> str:
    return f"{how} on {datetime.fromtimestamp(time.time(), UTC).date().isoformat()}"


def _identity(folder: str | Path) -> tuple[int, int] | None:
    try:
        found = Path(folder).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def name_of(store: str | Path) -> str:
    """Return the name of the candidate in the folder *store*."""
    return str(Path(store).absolute())


def _path(root: str | Path) -> Path:
    return Path(root) / "CANDIDATES"
