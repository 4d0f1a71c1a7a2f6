"""A shopper's history: the items that were viewed or bought, and how much each of them still counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vision_recs.errors import HistoryError
from vision_recs.small_files import text_of
from vision_recs.types import normal_form

HALF_LIFE_DAYS = 30.0
"""The age, in days, at which an event counts half as much as a new one."""

_DAY_S = 86_400.0
_SHOWN = 80  # characters of what cannot be used
_KEYS = {"id", "time", "weight"}
_WRITE = 'write {"id": "mug-01", "time": "2026-05-01T12:00:00Z"}'


@dataclass(frozen=True, slots=True)
class Event:
    """A shopper viewed or bought *item* at *time*, in seconds since 1970 (UTC); a purchase may have more *weight*."""

    item: str
    time: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Bring the id to its normal form."""
        object.__setattr__(self, "item", normal_form(self.item))


@dataclass(frozen=True, slots=True)
class History:
    """The *events* of one shopper, in any order; raises ValueError where there are none."""

    events: tuple[Event, ...]
    half_life_days: float = HALF_LIFE_DAYS

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.events:
            raise ValueError("the history holds no events; leave it out")
        if not self.half_life_days > 0:
            raise ValueError(f"a half-life of {self.half_life_days} days is not above 0; use days, such as 30")

    def importance(self) -> dict[str, float]:
        """Return how much each item counts, by id: the sum of its events' weights, halved for each half-life of age.

        The age of an event is the time from it to the newest event, so the result does not depend on today's date.
        """
        now = max(event.time for event in self.events)
        sums: dict[str, float] = {}
        for event in sorted(self.events, key=lambda event: (event.item, event.time, event.weight)):
            age = (now - event.time) / (_DAY_S * self.half_life_days)
            sums[event.item] = sums.get(event.item, 0.0) + event.weight * 2.0**-age
        return sums


def read_history(path: str | Path, *, half_life_days: float = HALF_LIFE_DAYS) -> History:
    """Return the history in the file *path*: JSON lines, or one JSON list.

    Each entry is an object with an `id`, a `time` (ISO 8601, or seconds since 1970) and, if you like, a `weight` (1
    without it); or it is an id alone. Either all entries have a time, or none has one: then all count alike. Raises
    HistoryError, which names the line.
    """
    try:
        text = text_of(path)
    except OSError as error:
        raise HistoryError(f"cannot be read ({error.strerror}); check the path", path=str(path)) from None
    except UnicodeDecodeError:
        raise HistoryError("is not UTF-8 text; write JSON lines", path=str(path)) from None
    entries = list(_entries(text, str(path)))
    if not entries:
        raise HistoryError(f"holds no events; {_WRITE}", path=str(path))
    events = []
    with_time = isinstance(entries[0][1], dict) and "time" in entries[0][1]
    for line, entry in entries:
        try:
            events.append(_event(entry, with_time=with_time))
        except ValueError as error:
            raise HistoryError(str(error), path=str(path), line=line) from None
        except RecursionError:
            raise HistoryError(f"holds too many lists in each other; {_WRITE}", path=str(path), line=line) from None
    return History(tuple(events), half_life_days)


def _entries(text: str, path: str) -> Iterator[tuple[int | None, object]]:
    """Yield each entry of *text* with its line, or None for an entry of a list."""
    if text.lstrip().startswith("["):
        try:
            yield from ((None, entry) for entry in json.loads(text))
        except (ValueError, RecursionError) as error:
            raise HistoryError(f"is not a JSON list ({error}); {_WRITE}, a line each", path=path) from None
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                raise HistoryError(f"is not JSON; {_WRITE}", path=path, line=number) from None


def _event(entry: object, *, with_time: bool) -> Event:
    if isinstance(entry, str):
        entry = {"id": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):  # JSON holds anything
        raise ValueError(  # noqa: TRY004 - a value of a file, whatever its type
            f"the entry {_shown(entry)} has no id; {_WRITE}"
        )
    unknown = sorted(entry.keys() - _KEYS)
    if unknown:
        raise ValueError(f"the entry has the key {unknown[0]!r}; use id, time and weight")
    if ("time" in entry) != with_time:
        raise ValueError("the entry differs from the first in having a time; give all of them one, or none")
    return Event(entry["id"], _time(entry["time"]) if with_time else 0.0, _weight(entry))


def _time(value: object) -> float:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    elif _is_number(value):
        return float(value)  # type: ignore[arg-type] # just found to be a number
    raise ValueError(f"the time {_shown(value)} is not a time; use 2026-05-01T12:00:00Z, or seconds since 1970")


def _weight(entry: Mapping[str, Any]) -> float:
    value = entry.get("weight", 1.0)
    if not _is_number(value) or value <= 0:
        raise ValueError(f"the weight {_shown(value)} is not a number above 0; leave it out, or use one such as 2.5")
    return float(value)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
