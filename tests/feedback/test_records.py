"""Lines hold what was put in, a damaged one is nothing, and an event that is wrong says so."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from plain_events import RandomShop

from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.exploration import Explored, Slate
from vision_recs.feedback.records import (
    Answer,
    AnsweredTo,
    Event,
    event_of,
    of_line,
    of_line_in_brief,
    to_line,
    under_pseudonym,
    with_id,
)

NOW = 1_800_000_000.0
GOOD = {"id": "e1", "type": "click", "answer": "a" * 22, "item": "mug-01", "place": 3, "time": NOW - 5}


def test_a_line_is_a_code_and_json():
    event = Event("e1", "click", "mug", 5.0, "a1")
    assert to_line(event) == (
        b'3ff1d91d {"id":"e1","type":"click","item":"mug","time":5.0,"answer":"a1","shopper":"","place":null,'
        b'"quantity":1.0,"value":0.0}\n'
    )


def test_lines_hold_what_was_put_in(secret):
    shop = RandomShop(1, secret)
    full = Answer(
        "a1",
        7.5,
        Slate(("a", "b"), ("x", "y"), (0.1, 0.7), {1: "p"}, (0, 1), 0.3),
        "s1",
        "learned",
        "q1",
        Explored(1, 0),
        (0.9, 0.8, 0.7, 0.6),
        (0.0, 0.1, 0.0, -0.1),
        7,
        "rules",
        "model",
        reports_shown=True,
    )
    records = [full, *(shop.answer() for _ in range(50)), *(shop.event() for _ in range(50))]
    assert [of_line(to_line(record)[:-1]) for record in records] == records
    for record in records:
        brief = of_line_in_brief(to_line(record)[:-1])
        assert brief == (AnsweredTo("answer", record.id, record.shopper) if isinstance(record, Answer) else record)


def test_numbers_of_numpy_are_numbers():
    answer = Answer("a1", 7.5, Slate(("a", "b")), scores=(np.float64(0.9), np.float32(0.5)))
    assert of_line(to_line(answer)[:-1]).scores == (0.9, 0.5)


def test_no_changed_byte_goes_unnoticed():
    line = to_line(Event("e1", "click", "mug", 5.0, "a1"))[:-1]
    for at in range(len(line)):
        for bit in range(8):
            changed = line[:at] + bytes([line[at] ^ 1 << bit]) + line[at + 1 :]
            assert of_line(changed) is of_line_in_brief(changed) is None
    assert all(of_line(line[:end]) is of_line_in_brief(line[:end]) is None for end in range(len(line)))
    for other in (b"[]", b'{"type": "click"}', b'{"type": 7}', b"{", b'"\xff"'):
        sound = b"%08x %b" % (zlib.crc32(other), other)
        assert of_line(sound) is of_line_in_brief(sound) is None


def test_an_event_is_read_from_json():
    assert event_of(GOOD, now=NOW) == Event("e1", "click", "mug-01", NOW - 5, "a" * 22, place=3)
    assert event_of({**GOOD, "time": "2027-01-15T08:00:00Z"}, now=NOW).time == NOW
    assert event_of({"type": "buy", "item": "m", "shopper": "ann", "value": 9.5, "quantity": 2}, now=NOW).value == 9.5


def test_a_time_a_little_ahead_is_now():
    assert event_of({**GOOD, "time": NOW + 200}, now=NOW).time == NOW


def test_equal_events_without_an_id_are_one(secret):
    def event(value):
        return under_pseudonym(event_of(value, now=NOW), secret)

    without = {name: each for name, each in GOOD.items() if name != "id"}
    one, other = event(without), event({**without, "place": 4})
    assert one == event(dict(reversed(without.items())))
    assert one.id != other.id
    assert event(GOOD).id == "e1"


def test_an_id_says_nothing_of_the_name_of_the_shopper(secret):
    named = event_of({"type": "buy", "item": "m", "shopper": "ann"}, now=NOW)
    event = under_pseudonym(named, secret)
    assert event.shopper == pseudonym(secret, "ann")
    assert event == with_id(replace(named, id="", shopper=event.shopper))
    assert event.id != with_id(named).id  # which whoever guesses the name could make
    assert named.id == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "the event is not an object"),
        ({**GOOD, "typ": "x"}, "the event has the key 'typ'; use answer, id, item"),
        ({**GOOD, "type": "hover"}, "the type 'hover' is not one of shown, click, cart, buy, dismiss"),
        ({**GOOD, "type": ["click"]}, "is not one of"),
        ({**GOOD, "item": ""}, "the event names no item"),
        ({**GOOD, "item": 7}, "item 7 is not a text"),
        ({**GOOD, "item": "x" * 513}, "is not a text of at most 512 characters"),
        ({**GOOD, "item": "\ud800"}, "holds half a character"),
        ({**GOOD, "answer": None}, "the event names neither an answer nor a shopper"),
        ({**GOOD, "place": 0}, "the place 0 is not a whole number from 1 to 1000"),
        ({**GOOD, "place": True}, "the place True is not"),
        ({**GOOD, "time": "soon"}, "the time 'soon' is not a time"),
        ({**GOOD, "time": -1}, "is not a time"),
        ({**GOOD, "time": float("nan")}, "is not a time"),
        ({**GOOD, "time": NOW + 86_400}, "is in the future"),
        ({**GOOD, "time": NOW * 1_000}, "is in milliseconds; use seconds since 1970, not milliseconds"),
        ({**GOOD, "time": 10**400}, "is in milliseconds"),
        ({**GOOD, "time": "1999-12-31T23:59:59Z"}, "the time '1999-12-31T23:59:59Z' is before 2000-01-01"),
        ({**GOOD, "time": "0001-01-01T00:00:00+14:00"}, "is not a time"),
        ({**GOOD, "value": -1}, "value -1 is not a number from 0"),
        ({**GOOD, "value": float("inf")}, "value inf is not a number from 0"),
        ({**GOOD, "quantity": "2"}, "quantity '2' is not a number"),
        ({**GOOD, "quantity": 10**400}, "is not a number"),
    ],
)
def test_a_wrong_event_is_refused_with_a_reason(value, message):
    with pytest.raises(ValueError, match=message):
        event_of(value, now=NOW)
