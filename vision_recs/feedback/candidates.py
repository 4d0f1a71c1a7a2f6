"""Candidates: other stores that a share of the shoppers is shown; CANDIDATES in the folder of events says which ended.

Servers look at it all the time. So one command ends a candidate on every server, also on those that start later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from vision_recs.errors import StoreDamaged, read_error, write_error
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

    Raises EventsError where *root* is not a folder of events, StoreDamaged, and StoreUnavailable.
    """
    folder = EventFolder(Path(root))
    folder.require()
    ended = {name: each for name, each in ended_candidates(root).items() if name != name_of(store)}
    if how is not None:
        ended[name_of(store)] = f"{how} on {datetime.fromtimestamp(time.time(), UTC).date().isoformat()}"
    try:
        atomic_write(dump_checksummed({"ended": ended}), _path(root), folder.tmp)
    except OSError as error:
        raise write_error(folder.root, error) from error


def name_of(store: str | Path) -> str:
    """Return the name of the candidate in the folder *store*."""
    return str(Path(store).absolute())


def _path(root: str | Path) -> Path:
    return Path(root) / "CANDIDATES"
