"""Forgetting: no byte of a pseudonym stays in any file, and all counts are those of a log without that shopper."""

import pyarrow.parquet as pq
import pytest
from plain_events import NOW, SHOPPERS, answer_of, assert_equal, click_on, counts_of, scenario

from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.event_log import EventFolder, EventLog
from vision_recs.feedback.forgetting import Forgotten, forget
from vision_recs.feedback.verification import verify

A_SHORT_ONE = 14  # in which not every shopper is seen


def everything(folder):
    """Return the bytes of all files, and all values of Parquet files, as text."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()
            if path.suffix == ".parquet":
                yield str(pq.read_table(path).to_pylist()).encode()


def first_shopper(folder):
    """Return the id and the pseudonym of the first shopper in the files of *folder*; some scenarios are short."""
    secret, data = EventFolder(folder).read_secret(), b" ".join(everything(folder))
    named = ((shopper, pseudonym(secret, shopper)) for shopper in map("shopper {}".format, range(SHOPPERS)))
    return next((shopper, name) for shopper, name in named if name.encode() in data)


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=() if seed in (0, 1, A_SHORT_ONE) else pytest.mark.nightly) for seed in range(50)],
)
@pytest.mark.parametrize("is_compacted", [True, False])
def test_nothing_of_a_shopper_is_left(tmp_path, seed, is_compacted):
    plain = scenario(tmp_path, seed)
    if is_compacted:
        compact(tmp_path, now=NOW)
    shopper, name = first_shopper(tmp_path)
    answers, events = len(plain.answers), len(plain.events)
    records = {*plain.answers, *plain.events}
    plain.forget(name)
    gone = records - {*plain.answers, *plain.events}
    forgotten = forget(tmp_path, shopper)
    assert not any(name.encode() in data for data in everything(tmp_path))
    left = b" ".join(everything(tmp_path))
    assert [each for each in gone if f'"id":"{each}"'.encode() in left or f"'{each}'".encode() in left] == []
    if is_compacted:
        assert forgotten == Forgotten(answers - len(plain.answers), events - len(plain.events))
    compact(tmp_path, now=NOW)
    assert_equal(counts_of(tmp_path), plain.counts())
    assert list(verify(tmp_path)) == []
    assert forget(tmp_path, shopper) == Forgotten(0, 0)


def test_a_writer_goes_on_while_a_shopper_is_forgotten(tmp_path):
    with EventLog(tmp_path) as log:
        ann = pseudonym(log.secret, "ann")
        hers, other = answer_of(log.secret, 1, shopper=ann), answer_of(log.secret, 2)
        log.append([hers, other, click_on(hers), click_on(other)])
        assert compact(tmp_path, now=NOW).answers == 2
        assert forget(tmp_path, "ann") == Forgotten(2, 2)  # in the log, and in the day
        log.append([click_on(other, "b")])
        assert compact(tmp_path, now=NOW).events == 1
        assert not any(ann.encode() in data for data in everything(tmp_path))
        assert sum(row["clicks"] for row in counts_of(tmp_path).values()) == 2
        assert sum(row["impressions"] for row in counts_of(tmp_path).values()) == 3


def test_events_that_wait_are_forgotten_too(tmp_path):
    with EventLog(tmp_path) as log:
        ann = pseudonym(log.secret, "ann")
        log.append([click_on(answer_of(log.secret, 1), shopper=ann), click_on(answer_of(log.secret, 2))])
    assert compact(tmp_path, now=NOW - 4 * 86_400).waiting == 2
    assert forget(tmp_path, "ann") == Forgotten(0, 1)
    assert compact(tmp_path, now=NOW - 4 * 86_400).waiting == 1
