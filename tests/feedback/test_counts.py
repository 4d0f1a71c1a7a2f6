"""Counts as arrays are the sums of the days, and the same for the same days."""

import numpy as np
import pytest
from plain_events import NOW, scenario

from vision_recs.errors import EventsError
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.counts import read_counts
from vision_recs.feedback.event_log import EventLog
from vision_recs.feedback.logged import read_answers


def by_key(counts):
    ids = (*counts.items, "")
    return {
        (int(half), ids[asked], ids[shown], int(place) + 1): (seen, clicks)
        for half, asked, shown, place, seen, clicks in zip(
            counts.half, counts.asked, counts.shown, counts.place, counts.impressions, counts.clicks, strict=True
        )
    }


def test_counts_are_the_sums_of_the_days(tmp_path):
    plain = scenario(tmp_path, 2)
    compact(tmp_path, now=NOW)
    for since in (None, "2026-05-30"):
        expected = {}
        for (day, _, *key), row in plain.counts().items():
            if since is None or day >= since:
                own = expected.setdefault(tuple(key), np.zeros(2))
                own += (row["impressions"], row["clicks"])
        assert by_key(read_counts(tmp_path, since=since)) == {key: tuple(each) for key, each in expected.items()}


def test_one_half_and_the_other_are_everything(tmp_path):
    scenario(tmp_path, 2)
    compact(tmp_path, now=NOW)
    counts = read_counts(tmp_path)
    assert by_key(counts.of_half(0)) | by_key(counts.of_half(1)) == by_key(counts)
    assert len(counts.of_half(0)) + len(counts.of_half(1)) == len(counts)


def test_without_any_answer_there_are_no_counts(tmp_path):
    EventLog(tmp_path).close()
    with pytest.raises(EventsError, match="has no counts yet"):
        read_counts(tmp_path)


def test_logged_answers_are_those_of_the_log(tmp_path):
    plain = scenario(tmp_path, 4)
    compact(tmp_path, now=NOW)
    found = read_answers(tmp_path)
    newest = sorted(plain.answers.values(), key=lambda each: (-each.time, each.id))
    clicks = {(answer, place) for event, answer, place in plain.attributed() if event.type == "click"}
    days = [each.time // 86_400 for each in newest]
    assert days == sorted(days, reverse=True)
    ids = (*found.items, "")
    for row, answer in enumerate(newest):
        pool = [*answer.slate.ranked, *answer.slate.outside]
        assert [ids[code] for code in found.pool[row, : len(pool)]] == pool
        assert (found.pool[row, len(pool) :] == -1).all()
        assert ids[found.asked[row]] == answer.asked
        assert found.scores[row, : len(pool)].tolist() == list(answer.scores)
        shown = answer.shown
        assert [shown[at] if at >= 0 else "" for at in found.at[row, : len(pool)]] == [
            item if item in shown else "" for item in pool
        ]
        assert [bool(each) for each in found.clicked[row, : len(pool)]] == [
            item in shown and (answer.id, shown.index(item) + 1) in clicks for item in pool
        ]
    assert len(read_answers(tmp_path, most=3)) == 3


def test_how_likely_items_were_looked_at_is_what_slates_say(tmp_path):
    plain = scenario(tmp_path, 5)
    compact(tmp_path, now=NOW)
    found = read_answers(tmp_path)
    examination = np.array([1.0, 0.6, 0.4, 0.3, 0.2])
    looked = found.logged(examination)
    newest = sorted(plain.answers.values(), key=lambda each: (-each.time, each.id))
    for row, answer in enumerate(newest):
        expected = answer.slate.propensities() @ examination[: len(answer.shown)]
        assert looked[row, : len(expected)] == pytest.approx(expected)
