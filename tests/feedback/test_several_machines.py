"""Machines that share a secret: each writes a folder of its own, and one folder takes the logs of all."""

import shutil

import pytest
from plain_events import RandomShop

from vision_recs.feedback import EventLog, compact
from vision_recs.feedback.answers import is_answer
from vision_recs.feedback.current import ANSWERS, EVENTS, Days


def ids(root, part):
    days = Days.of(root)
    return sorted(each for date in days.files for each in days.table(date, part)["id"].to_pylist())


@pytest.mark.parametrize("is_compacted_between", [False, True])
def test_logs_of_another_machine_count_once_however_often_they_are_copied(tmp_path, is_compacted_between):
    here, there = tmp_path / "here", tmp_path / "there"
    EventLog(here).close()
    there.mkdir()
    shutil.copy(here / "SECRET", there / "SECRET")
    with EventLog(there, worker="there") as other, EventLog(here, worker="here") as own:
        assert other.secret == own.secret
        shop = RandomShop(1, own.secret)
        answers = [shop.answer() for _ in range(30)]
        assert all(is_answer(own.secret, each.id) for each in answers)
        events = [shop.event() for _ in range(60)]
        own.append([*answers[:10], *events[:20]])
        for start in (10, 20):  # the log grows between two copies of it
            other.append([*answers[start : start + 10], *events[2 * start : 2 * start + 20]])
            shutil.copytree(there / "open", here / "open", dirs_exist_ok=True)
            if is_compacted_between:
                compact(here)
    for _ in range(2):
        shutil.copytree(there / "open", here / "open", dirs_exist_ok=True)
        compact(here)
    whole = tmp_path / "whole"
    whole.mkdir()
    shutil.copy(here / "SECRET", whole / "SECRET")
    with EventLog(whole) as log:
        log.append([*answers, *events])
    compact(whole)
    assert ids(here, ANSWERS) == ids(whole, ANSWERS) != []
    assert ids(here, EVENTS) == ids(whole, EVENTS) != []
