"""The history of a shopper comes from days and logs alike, and is gone when they are forgotten."""

import pytest

from vision_recs.feedback import EventLog, compact, forget
from vision_recs.feedback.answers import AnswerKey, draw, pseudonym
from vision_recs.feedback.exploration import Slate
from vision_recs.feedback.histories import DAYS, Histories
from vision_recs.feedback.records import Answer, Event

START = 1_780_000_000.0
DAY = 86_400.0


@pytest.fixture
def root(tmp_path):
    return tmp_path / "events"


@pytest.fixture
def log(root):
    with EventLog(root) as log:
        yield log


def answer(log, shopper, number=0, time=START):
    drawn = draw(log.secret, AnswerKey("q", shopper, "", 1, number))
    return Answer(drawn.id, time, Slate(("a", "b", "c")), pseudonym(log.secret, shopper) if shopper else "")


def event(type_, item, answer=None, time=START + 10, shopper=""):
    named = "" if answer is None else answer.id
    return Event(f"{type_} {item} {named} {time}", type_, item, time, named, shopper)


def items(histories, log, shopper):
    return [(each.type, each.item) for each in histories.of(pseudonym(log.secret, shopper))]


def test_events_of_the_log_belong_to_whoever_the_answer_was_for(root, log):
    ann, bob, nobody = answer(log, "ann"), answer(log, "bob", 1), answer(log, "", 2)
    log.append([ann, bob, nobody, event("shown", "a", ann), event("click", "a", ann), event("click", "b", bob)])
    log.append([event("click", "c", nobody), event("buy", "c", time=START + 20, shopper=pseudonym(log.secret, "ann"))])
    histories = Histories(root)
    assert items(histories, log, "ann") == []
    histories.refresh()
    assert items(histories, log, "ann") == [("click", "a"), ("buy", "c")]
    assert items(histories, log, "bob") == [("click", "b")]
    assert items(histories, log, "") == []


def test_it_is_the_same_before_and_after_compaction_and_grows(root, log):
    ann = answer(log, "ann")
    log.append([ann, event("click", "a", ann)])
    histories = Histories(root)
    histories.refresh()
    compact(root)
    histories.refresh()
    assert items(histories, log, "ann") == [("click", "a")]
    log.append([event("click", "b", ann, START + 20)])  # its answer is in a day
    histories.refresh()
    assert items(histories, log, "ann") == [("click", "a"), ("click", "b")]
    compact(root)
    histories.refresh()
    assert items(histories, log, "ann") == [("click", "a"), ("click", "b")]
    fresh = Histories(root)
    fresh.refresh()
    assert items(fresh, log, "ann") == [("click", "a"), ("click", "b")]


def test_an_event_that_comes_before_its_answer_waits_for_it(root, log):
    ann = answer(log, "ann")
    log.append([event("click", "a", ann)])
    histories = Histories(root)
    histories.refresh()
    assert items(histories, log, "ann") == []
    with EventLog(root, worker="1") as other:
        other.append([ann])
        histories.refresh()
    assert items(histories, log, "ann") == [("click", "a")]


def test_a_purchase_counts_for_longer_than_a_click(root, log):
    old, new = answer(log, "ann"), answer(log, "ann", 1, START + (DAYS + 3) * DAY)
    log.append([old, event("click", "a", old), event("buy", "b", old), new, event("click", "c", new, new.time)])
    compact(root)
    histories = Histories(root)
    histories.refresh()
    assert items(histories, log, "ann") == [("buy", "b"), ("click", "c")]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_is_forgotten_is_gone(root, log, is_compacted):
    ann, bob = answer(log, "ann"), answer(log, "bob", 1)
    log.append([ann, bob, event("click", "a", ann), event("click", "b", bob)])
    if is_compacted:
        compact(root)
    histories = Histories(root)
    histories.refresh()
    assert items(histories, log, "ann") == [("click", "a")]
    forget(root, "ann")
    histories.refresh()
    assert items(histories, log, "ann") == []
    assert items(histories, log, "bob") == [("click", "b")]
