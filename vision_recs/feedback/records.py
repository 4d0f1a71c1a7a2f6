"""Answers and events, and the lines of the log that hold them: a CRC-32, a space, and JSON.

A line is read only where its CRC fits. So half a line that a crash left, or a byte that changed, loses that line alone.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec

from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.exploration import Explored, Slate
from vision_recs.types import normal_form

EVENT_TYPES = ("shown", "click", "cart", "buy", "dismiss")
"""What a shopper can do with an item of an answer."""

ARMS = ("plain", "learned")
"""The arms of a store."""

_CANDIDATE = "candidate "

_encode = msgspec.json.Encoder(enc_hook=float).encode  # scores may be numbers of NumPy
_ANSWER = "answer"
_CRC = 9  # characters before the JSON
_KEYS = {"id", "type", "item", "time", "answer", "shopper", "place", "quantity", "value"}
_LONGEST = {"id": 64, "item": 512, "answer": 64, "shopper": 256}
_MOST_PLACES = 1_000
_MOST = 1e9
_AHEAD_S = 300.0  # what the clock of a browser may be ahead by
_MILLISECONDS = 1e11  # from here on it is what Date.now() tells

WAITING_DAYS = 7
"""For how many days an event waits for its answer, which another log may hold."""

EARLIEST = 946_684_800.0
"""The year 2000: no log of a shop is older."""

LATE_S = (WAITING_DAYS + 1) * 86_400.0
"""How late an event may arrive at a server; older ones would count for nothing, and make a day each."""


def candidate_arm(arm: str) -> str:
    """Return the name of what *arm* is among the answers of a candidate."""
    return _CANDIDATE + arm


def counterpart(arm: str) -> str:
    """Return the arm that *arm* is compared with: of a candidate the same one of the store, else the plain one."""
    return arm.removeprefix(_CANDIDATE) if is_candidate(arm) else ARMS[0]


def is_candidate(arm: str) -> bool:
    """Whether *arm* is one of a candidate, whose scores are of other vectors."""
    return arm.startswith(_CANDIDATE)


@dataclass(frozen=True, slots=True)
class Event:
    """A shopper did something with *item* at *time*, in seconds since 1970: one of EVENT_TYPES.

    *answer* is the id of the answer that showed it, or empty where only the *shopper*, a pseudonym, is known. *place*
    counts from 1. *value* is money, in whatever unit the shop uses. An *id* counts once, however often it is sent.
    """

    id: str
    type: str
    item: str
    time: float
    answer: str = ""
    shopper: str = ""
    place: int | None = None
    quantity: float = 1.0
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the *slate*, what it *explored*, and what decided both.

    *asked* is the id of the query item, or empty for a query of another kind. *scores* are those of the ranked items of
    the slate, then of those outside; *deltas* are what rules added to them, or empty where they added nothing. *model*
    is the digest of the learned model, or empty. With *reports_shown*, the page tells with events of type "shown" which
    items were seen, and only those count.
    """

    id: str
    time: float
    slate: Slate
    shopper: str = ""
    arm: str = ARMS[0]
    asked: str = ""
    explored: Explored | None = None
    scores: tuple[float, ...] = ()
    deltas: tuple[float, ...] = ()
    generation: int = 0
    policy: str = ""
    model: str = ""
    reports_shown: bool = False

    @property
    def shown(self) -> list[str]:
        """The ids by place; an empty one where it is not known what was there."""
        return self.slate.shown(self.explored)


class AnswerGiven(NamedTuple):
    """What is an answer's own, where many are made from one slate: see `Answer`."""

    id: str
    time: float
    shopper: str
    explored: Explored | None


Record: TypeAlias = Answer | Event


class AnsweredTo(msgspec.Struct, frozen=True, gc=False):
    """The *id* of an answer, and the *shopper* to whom it was given, empty where nobody knows."""

    type: str
    id: str
    shopper: str = ""


_decode_brief = msgspec.json.Decoder(AnsweredTo).decode


def to_line(record: Record) -> bytes:
    """Return the line of the log that holds *record*."""
    return answer_line(common_part(record), record) if isinstance(record, Answer) else _line(_encode(record))


def common_part(answer: Answer) -> bytes:
    """Return what the lines of all answers hold that are made from the slate of *answer*, under the same settings.

    That is all but the id, the time, the shopper, and what was explored.
    """
    return _encode(_answer_values(answer))[1:-1]


def answer_line(common: bytes, answer: Answer | AnswerGiven) -> bytes:
    """Return the line of the log that holds *answer*, whose part in *common* `common_part` made."""
    parts = [b'{"type":"answer","id":', _encode(answer.id), b',"time":', _encode(answer.time)]
    if answer.shopper:
        parts += (b',"shopper":', _encode(answer.shopper))
    parts += (b",", common)
    if answer.explored is not None:
        parts += (b',"explored":', _encode(answer.explored))
    return _line(b"".join([*parts, b"}"]))


def _line(data: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(data), data)


def of_line(line: bytes) -> Record | None:
    """Return the record in *line*, without the end of the line, or None where it is cut off or was altered."""
    data = line[_CRC:]
    if not _is_sound(line, data):
        return None
    try:
        value = msgspec.json.decode(data)
        return _answer_of(value) if value["type"] == _ANSWER else Event(**value)
    except (msgspec.MsgspecError, AttributeError, LookupError, TypeError, ValueError):
        return None


def of_line_in_brief(line: bytes) -> Event | AnsweredTo | None:
    """Return what `of_line` does, but of an answer only to whom it was given, in a tenth of the time."""
    data = line[_CRC:]
    if not _is_sound(line, data):
        return None
    try:
        brief = _decode_brief(data)
        return brief if brief.type == _ANSWER else Event(**msgspec.json.decode(data))
    except (msgspec.MsgspecError, TypeError):
        return None


def _is_sound(line: bytes, data: bytes) -> bool:
    return b"%08x " % zlib.crc32(data) == line[:_CRC]


def _answer_values(answer: Answer) -> dict[str, Any]:
    values = (*_common_of(answer), *_slate_of(answer.slate), sorted(answer.slate.pins.items()))
    return {name: each for name, each in zip(_NAMES, values, strict=True) if each or name == "share"}


_COMMON = ("arm", "asked", "scores", "deltas", "generation", "policy", "model", "reports_shown")
_SLATE = ("ranked", "outside", "weights", "open", "share")
_NAMES = (*_COMMON, *_SLATE, "pins")
_common_of, _slate_of = attrgetter(*_COMMON), attrgetter(*_SLATE)
_PLAIN = ("id", "time", "shopper", *_COMMON)


def _answer_of(value: Mapping[str, Any]) -> Answer:
    slate = Slate(
        ranked=tuple(value.get("ranked", ())),
        outside=tuple(value.get("outside", ())),
        weights=tuple(value.get("weights", ())),
        pins=dict(value.get("pins", ())),
        open=tuple(value.get("open", ())),
        share=value["share"],
    )
    plain = {name: value[name] for name in _PLAIN if name in value}
    plain |= {name: tuple(plain[name]) for name in ("scores", "deltas") if name in plain}
    explored = value.get("explored")
    return Answer(slate=slate, explored=None if explored is None else Explored(*explored), **plain)


def event_of(value: object, *, now: float, earliest: float = EARLIEST) -> Event:
    """Return the event that the JSON object *value* describes; *now* is its time, where it has none.

    The shopper stays as it is given, and where *value* has no id, that of the event is empty: see `under_pseudonym`.
    Raises ValueError with a sentence about what is wrong, such as a time before *earliest*.
    """
    if not isinstance(value, dict):
        raise ValueError('the event is not an object; write {"type": "click", "answer": "...", "item": "..."}')  # noqa: TRY004 - a value of a client
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise ValueError(f"the event has the key {str(unknown[0])[:60]!r}; use {', '.join(sorted(_KEYS))}")
    kind = value.get("type")
    if kind not in EVENT_TYPES:
        raise ValueError(f"the type {_shown(kind)} is not one of {', '.join(EVENT_TYPES)}")
    texts = {name: _text(value, name) for name in _LONGEST}
    if not texts["item"]:
        raise ValueError("the event names no item; write the id that the answer had")
    if not texts["answer"] and not texts["shopper"]:
        raise ValueError("the event names neither an answer nor a shopper; write the answer's id")
    return Event(
        id=texts["id"],
        type=str(kind),
        item=normal_form(texts["item"]),
        time=_time(value.get("time"), now, earliest),
        answer=texts["answer"],
        shopper=texts["shopper"],
        place=_place(value.get("place")),
        quantity=_number(value, "quantity", 1.0),
        value=_number(value, "value", 0.0),
    )


def under_pseudonym(event: Event, secret: bytes) -> Event:
    """Return *event* with the pseudonym of its shopper, and with an id.

    An id that follows from the rest follows from the pseudonym: from one of the name, the name could be guessed.
    """
    event = replace(event, shopper=pseudonym(secret, event.shopper) if event.shopper else "")
    return event if event.id else with_id(event)


def with_id(event: Event) -> Event:
    """Return *event* with an id that follows from all else: equal events are one."""
    values = asdict(event)
    del values["id"]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Event(id=digest[:32], **values)


def _text(value: Mapping[str, object], name: str) -> str:
    text = value.get(name, "")
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > _LONGEST[name]:
        raise ValueError(f"{name} {_shown(text)} is not a text of at most {_LONGEST[name]} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} {_shown(text)} holds half a character; send it as UTF-8") from None
    return text


def _time(value: object, now: float, earliest: float) -> float:
    if value is None:
        return now
    time = _moment(value) if isinstance(value, str) else value
    if not isinstance(time, int | float) or isinstance(time, bool) or not time >= 0:
        raise ValueError(f"the time {_shown(value)} is not a time; use 2026-05-01T12:00:00Z, or seconds since 1970")
    if time >= _MILLISECONDS:
        raise ValueError(f"the time {_shown(value)} is in milliseconds; use seconds since 1970, not milliseconds")
    if time > now + _AHEAD_S:
        raise ValueError(f"the time {_shown(value)} is in the future; use seconds since 1970, or 2026-05-01T12:00:00Z")
    if time < earliest:
        day = datetime.fromtimestamp(earliest, UTC).date()
        raise ValueError(f"the time {_shown(value)} is before {day}; `visrec events FILE` imports logs since 2000")
    return min(float(time), now)


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None


def _place(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_PLACES:
        raise ValueError(f"the place {_shown(value)} is not a whole number from 1 to {_MOST_PLACES}")
    return value


def _number(value: Mapping[str, object], name: str, otherwise: float) -> float:
    number = value.get(name)
    if number is None:
        return otherwise
    if not _is_number(number) or not 0 <= float(number) <= _MOST:  # type: ignore[arg-type] # just found to be one
        raise ValueError(f"{name} {_shown(number)} is not a number from 0 to {_MOST:.0f}")
    return float(number)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (abs(value) <= _MOST * 10)


def _shown(value: object) -> str:
    return repr(value)[:60]
