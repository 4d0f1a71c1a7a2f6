"""What changed since a date, outcomes by an attribute, and clicks as judgments, from a log of known truth."""

import numpy as np
import pytest

from vision_recs.errors import EventsError
from vision_recs.feedback import EventLog, compact, read_counts
from vision_recs.feedback.answers import AnswerKey, draw, pseudonym
from vision_recs.feedback.changes import changed_since, outcomes_by
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.pairs import pairs_of, read_event_pairs
from vision_recs.feedback.records import Answer, Event, with_id
from vision_recs.types import ItemImage

START = 1_780_012_800.0  # the beginning of a day in UTC
DAY = 86_400.0


class Items:
    """Items a00 ... are at one end of the space, b00 ... at the other."""

    def attributes_of(self, items):
        return {item: {"kind": item[0], "sale": item.endswith("1")} for item in items if item[0] in "ab"}

    def images(self, item):
        return [ItemImage(f"{item}.png", item)]

    def vectors_of(self, digests):
        angles = [0.01 * int(each[1:]) + (1.0 if each[0] == "b" else 0.0) for each in digests]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def write(root, day, rows, *, arm="plain"):
    """Append answers of *day*: rows of (asked, shown, what is clicked), each for a shopper of its own."""
    with EventLog(root) as log:
        for number, (asked, shown, clicked) in enumerate(rows):
            drawn = draw(log.secret, AnswerKey(asked, arm, str(day), 1, number))
            time = START + day * DAY + number
            shopper = pseudonym(log.secret, f"{arm} {day} {number}")
            events = [with_id(Event("", "click", item, time + 5, drawn.id)) for item in clicked]
            log.append([Answer(drawn.id, time, Slate(tuple(shown)), shopper, arm, asked), *events])
    compact(root)


def names(letter, count=30):
    return [f"{letter}{number:02}" for number in range(count)]


def test_what_shoppers_ask_for_drifts_and_what_they_do_is_compared(tmp_path):
    a, b = names("a"), names("b")
    write(tmp_path / "e", 0, [(a[n % 30], [a[(n + 1) % 30]], []) for n in range(400)])
    write(tmp_path / "e", 1, [(b[n % 30], [a[(n + 1) % 30]], [a[(n + 1) % 30]] if n % 2 else []) for n in range(400)])
    found = changed_since(tmp_path / "e", "2026-05-30", Items())
    assert found.before["plain"].means["clicks"] == 0
    assert found.after["plain"].means["clicks"] == pytest.approx(0.5)
    assert found.differences["plain"]["clicks"].value == pytest.approx(0.5)
    assert found.drifts["queries"].is_drift
    assert found.drifts["queries"].auc == pytest.approx(1.0)
    assert not found.drifts["shown"].is_drift
    assert found.drifts["catalog"].is_drift  # all b are new in the log
    assert (found.drifts["catalog"].old, found.drifts["catalog"].new) == (30, 30)
    with pytest.raises(EventsError, match="no answers"):
        changed_since(tmp_path / "e", "2020-01-01", Items())


def test_outcomes_by_an_attribute_of_the_items_asked_for(tmp_path):
    write(tmp_path / "e", 0, [("a00", ["a01", "b01"], ["a01"]), ("a02", ["a01"], []), ("b00", ["b01"], ["b01"])])
    write(tmp_path / "e", 1, [("a00", ["a01"], []), ("gone", ["a01"], ["a01"])], arm="learned")
    found = outcomes_by(tmp_path / "e", "kind", Items())
    assert [(each.value, each.arm, each.impressions, each.clicks, each.rate) for each in found] == [
        ("a", "plain", 3, 1, pytest.approx(1 / 3)),
        (None, "learned", 1, 1, 1.0),
        ("a", "learned", 1, 0, 0.0),
        ("b", "plain", 1, 1, 1.0),
    ]
    later = outcomes_by(tmp_path / "e", "kind", Items(), since="2026-05-30")
    assert {each.arm for each in later} == {"learned"}


def test_pairs_are_what_is_clicked_more_often_than_its_place_explains(tmp_path):
    rows = []
    for number in range(400):  # x is always on top, and is clicked as often as anything there; y further down, often
        rows.append(("a00", ["a10", "a11"], ["a10"] if number % 4 == 0 else ["a11"] if number % 4 == 1 else []))
        rows.append(("a01", ["a12", "a13"], ["a12"] if number % 4 == 0 else []))
    write(tmp_path / "e", 0, rows)
    counts = read_counts(tmp_path / "e")
    found = pairs_of(counts)
    assert [(pair.query, pair.relevant) for pair in found] == [("a00", "a11")]
    assert 1.5 < found[0].grade < 2.0  # 100 of 50 that are expected at the second place, and a little less
    assert read_event_pairs(tmp_path / "e") == found
