"""Compaction: whatever comes in which order, however often, the counts are those of a plain count of everything."""

import resource
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from plain_events import DAY, HOUR, NOW, START, answer_of, assert_equal, click_on, counts_of, scenario

from vision_recs.errors import EventsError, StoreDamaged, StoreLocked
from vision_recs.feedback.answers import pseudonym
from vision_recs.feedback.arms import outcomes
from vision_recs.feedback.attribution import bots
from vision_recs.feedback.compaction import compact
from vision_recs.feedback.counts import read_counts
from vision_recs.feedback.current import Draft, locked, read_current
from vision_recs.feedback.day_files import date_of
from vision_recs.feedback.event_log import EventFolder, EventLog
from vision_recs.feedback.histories import Histories
from vision_recs.feedback.logged import read_answers
from vision_recs.feedback.records import Event, to_line, with_id
from vision_recs.feedback.summary import days_of
from vision_recs.feedback.verification import verify
from vision_recs.store import atomic_files


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=() if seed < 6 else pytest.mark.nightly) for seed in range(300)]
)
def test_counts_are_those_of_a_plain_count(tmp_path, seed):
    plain = scenario(tmp_path, seed)
    compact(tmp_path, now=NOW)
    assert_equal(counts_of(tmp_path), plain.counts())
    report = compact(tmp_path, now=NOW)
    assert (report.answers, report.events, report.duplicates) == (0, 0, 0)
    assert_equal(counts_of(tmp_path), plain.counts())
    assert list(verify(tmp_path)) == []
    assert EventFolder(tmp_path).logs() == []


def test_counts_by_hand(tmp_path):
    with EventLog(tmp_path) as log:
        seen = answer_of(log.secret, 1)
        told = answer_of(log.secret, 2, reports_shown=True)
        late = click_on(seen, "c", after=HOUR + 1)
        log.append([seen, told, click_on(seen, "b"), click_on(told, "a", kind="shown"), late])
    report = compact(tmp_path, now=NOW)
    assert (report.answers, report.events, report.dates) == (2, 3, ("2026-05-28",))
    sums = {}
    for (_, arm, _, asked, shown, place), row in counts_of(tmp_path).items():
        own = sums.setdefault((arm, asked, shown, place), [0, 0, 0.0, 0.0])
        sums[arm, asked, shown, place] = [
            old + row[name] for old, name in zip(own, ("impressions", "clicks", "score", "best"), strict=True)
        ]
    assert sums == {
        ("plain", "q", "a", 1): [2, 0, pytest.approx(1.8), pytest.approx(1.8)],
        ("plain", "q", "b", 2): [1, 1, pytest.approx(0.8), pytest.approx(0.9)],
        ("plain", "q", "c", 3): [1, 0, pytest.approx(0.7), pytest.approx(0.9)],
    }


def test_a_purchase_counts_for_the_last_click_within_a_day(tmp_path):
    with EventLog(tmp_path) as log:
        ann, ben = (pseudonym(log.secret, name) for name in ("ann", "ben"))
        first = answer_of(log.secret, 1, shopper=ann)
        last = answer_of(log.secret, 2, shopper=ann, time=START + 5 * HOUR)
        bought = with_id(Event("", "buy", "b", START + 20 * HOUR, shopper=ann, value=30.0))
        others = with_id(Event("", "buy", "b", START + 20 * HOUR, shopper=ben, value=7.0))
        too_late = with_id(Event("", "buy", "b", START + 30 * HOUR, shopper=ann, value=9.0))
        log.append([first, last, click_on(first, "b"), click_on(last, "b"), bought, others, too_late])
    compact(tmp_path, now=NOW)
    rows = {key: row for key, row in counts_of(tmp_path).items() if row["buys"]}
    assert [(key[0], key[4], key[5], row["buys"], row["value"]) for key, row in rows.items()] == [
        ("2026-05-29", "b", 2, 1, 30.0)
    ]


@pytest.mark.parametrize("is_at_once", [True, False])
def test_events_count_for_answers_of_other_days_as_far_as_hours_reach(tmp_path, is_at_once):
    """An answer before midnight, a click after it, a purchase on the next day; and a clock that is behind midnight."""
    with EventLog(tmp_path) as log:
        ann, ben = (pseudonym(log.secret, name) for name in ("ann", "ben"))
        midnight = START - START % DAY + DAY
        late = answer_of(log.secret, 1, shopper=ann, time=midnight - 600)
        early = answer_of(log.secret, 2, shopper=ben, time=midnight + 120)
        click = with_id(Event("", "click", "b", midnight + 1_200, late.id))
        buy = with_id(Event("", "buy", "b", midnight + DAY + 600, shopper=ann, value=5.0))
        behind = with_id(Event("", "click", "c", midnight - 60, early.id))
        for records in [[late, early, click, buy, behind]] if is_at_once else [[late, early], [click], [buy], [behind]]:
            log.append(records)
            if not is_at_once:
                compact(tmp_path, now=midnight + 2 * DAY)
    compact(tmp_path, now=midnight + 2 * DAY)
    found = {
        (key[0], key[4]): (row["clicks"], row["buys"]) for key, row in counts_of(tmp_path).items() if row["clicks"]
    }
    assert found == {(date_of(late.time), "b"): (1, 1), (date_of(early.time), "c"): (1, 0)}


def test_events_wait_for_their_answer_and_give_up_after_a_week(tmp_path):
    with EventLog(tmp_path) as log:
        known, lost = answer_of(log.secret, 1), answer_of(log.secret, 2)
        log.append([click_on(known), click_on(lost)])
        assert compact(tmp_path, now=START).waiting == 2
        log.append([known])
        assert compact(tmp_path, now=START + DAY).waiting == 1
        assert [row["clicks"] for row in counts_of(tmp_path).values()] == [1, 0, 0]
        report = compact(tmp_path, now=START + 8 * DAY)
        assert (report.waiting, report.events) == (0, 1)
        assert sum(row["clicks"] for row in counts_of(tmp_path).values()) == 1


def test_records_of_another_secret_are_left_out(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([answer_of(b"another secret"), click_on(answer_of(b"another secret"))])
    assert compact(tmp_path, now=NOW).foreign == 2
    assert counts_of(tmp_path) == {}


def test_programs_are_marked_and_left_out_of_the_counts(tmp_path):
    with EventLog(tmp_path) as log:
        robot, person = (pseudonym(log.secret, name) for name in ("robot", "person"))
        many = [answer_of(log.secret, number, shopper=robot, time=START + number) for number in range(201)]
        log.append([*many, click_on(many[0]), answer_of(log.secret, 999, shopper=person)])
    compact(tmp_path, now=NOW)
    assert sum(row["impressions"] for row in counts_of(tmp_path).values()) == 3
    parts = read_current(EventFolder(tmp_path)).days["2026-05-28"]
    assert sum(pq.read_table(tmp_path / parts["answers"].path)["bot"].to_pylist()) == 201
    assert pq.read_table(tmp_path / parts["events"].path)["bot"].to_pylist() == [True]


def test_who_clicks_on_everything_is_a_program():
    answers = [("eager", float(number)) for number in range(6)] + [("", 0.0)] * 500
    assert bots(answers, ["eager"] * 31 + [""] * 100) == {"eager"}
    assert bots(answers, ["eager"] * 30) == set()
    assert bots([("reader", float(number)) for number in range(200)], ["reader"] * 29) == set()


def test_old_days_are_removed(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([answer_of(log.secret, 1), answer_of(log.secret, 2, time=START + 2 * DAY)])
        compact(tmp_path, now=NOW, retention_days=4)
        assert sorted(read_current(log.folder).days) == ["2026-05-30"]
        assert [path.parent.name for path in log.folder.days.rglob("*.parquet")] == ["2026-05-30"] * 2
        assert len(list(log.folder.counts.iterdir())) == 1


def test_many_logs_need_few_open_files(tmp_path):
    with EventLog(tmp_path) as log:
        for number in range(80):
            log.append([answer_of(log.secret, number)])
            log.close()
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        opened = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 40, before[1]))
        try:
            report = compact(tmp_path, now=NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (report.answers, log.folder.logs()) == (80, [])


def test_a_log_that_goes_on_after_it_was_read_is_kept(tmp_path, monkeypatch):
    """Its writer had made the file, but not locked it."""
    with EventLog(tmp_path) as log:
        log.append([answer_of(log.secret, 1)])
    (path,) = log.folder.logs()
    later = to_line(answer_of(log.secret, 2))
    with monkeypatch.context() as patched:
        publish = Draft.publish

        def published(self, *args, **options):
            path.write_bytes(path.read_bytes() + later)
            return publish(self, *args, **options)

        patched.setattr(Draft, "publish", published)
        assert compact(tmp_path, now=NOW).answers == 1
    assert log.folder.logs() == [path]
    assert (compact(tmp_path, now=NOW).answers, log.folder.logs()) == (1, [])


def test_half_lines_and_changed_bytes_lose_only_themselves(tmp_path):
    log = EventLog(tmp_path)
    answers = [answer_of(log.secret, number) for number in range(3)]
    log.append(answers)
    log.close()
    (path,) = log.folder.logs()
    data = path.read_bytes()
    at = data.index(b"\n") + 30
    path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] + b'1234abcd {"type":')
    assert [sentence.partition(": ")[0] for sentence in verify(tmp_path)] == [f"{path}, line {n}" for n in (2, 4)]
    report = compact(tmp_path, now=NOW)
    assert (report.answers, report.damaged) == (2, 2)


def test_half_a_line_of_a_living_writer_is_read_when_it_is_whole(tmp_path):
    log = EventLog(tmp_path)
    log.append([answer_of(log.secret, 1), answer_of(log.secret, 2)])
    (path,) = log.folder.logs()
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    assert list(verify(tmp_path)) == []
    assert compact(tmp_path, now=NOW).answers == 1
    path.write_bytes(data)
    assert compact(tmp_path, now=NOW).answers == 1
    log.close()
    assert compact(tmp_path, now=NOW).damaged == 0
    assert log.folder.logs() == []


def test_a_compaction_that_dies_at_any_step_changes_nothing(tmp_path, monkeypatch):
    """Each move of a file fails once; the next compaction then finds everything, once."""
    plain = scenario(tmp_path / "whole", 3)
    plain.append([])
    moved = []
    real = atomic_files.Path.replace

    def replace(path, target):
        moved.append(path)
        if len(moved) == limit:
            raise KeyboardInterrupt
        return real(path, target)

    for limit in range(1, 60):
        folder = tmp_path / str(limit)
        shutil.copytree(tmp_path / "whole", folder)
        moved.clear()
        with monkeypatch.context() as patched:
            patched.setattr(atomic_files.Path, "replace", replace)
            try:
                compact(folder, now=NOW)
            except KeyboardInterrupt:
                pass
            else:
                break
        compact(folder, now=NOW)
        assert_equal(counts_of(folder), plain.counts())
        assert list(verify(folder)) == []
    assert limit > 3


def test_every_changed_byte_of_a_compacted_folder_is_named(tmp_path):
    scenario(tmp_path, 5)
    compact(tmp_path, now=NOW)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 6
    for path in files:
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert any(str(path) in sentence for sentence in verify(tmp_path)), (path, at)
        path.write_bytes(data)
    assert list(verify(tmp_path)) == []


def test_a_damaged_day_stops_the_compaction_that_needs_it(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([answer_of(log.secret, 1)])
        compact(tmp_path, now=NOW)
        (path,) = log.folder.days.rglob("answers-*.parquet")
        path.write_bytes(b"nothing")
        log.append([answer_of(log.secret, 2)])
        with pytest.raises(StoreDamaged, match=r"answers-000001\.parquet cannot be read"):
            compact(tmp_path, now=NOW)


def test_a_lost_current_is_not_taken_for_an_empty_folder(tmp_path):
    with EventLog(tmp_path) as log:
        log.append([answer_of(log.secret, 1)])
    compact(tmp_path, now=NOW)
    (tmp_path / "CURRENT").unlink()
    with pytest.raises(EventsError, match="CURRENT: is missing, but there are compacted days"):
        compact(tmp_path, now=NOW)


@pytest.mark.parametrize("read", [days_of, outcomes, read_counts, read_answers, Histories.read])
def test_who_reads_while_files_are_replaced_reads_again(tmp_path, monkeypatch, read):
    with EventLog(tmp_path) as log:
        log.append([answer_of(log.secret, 1)])
        compact(tmp_path, now=NOW)
        log.append([answer_of(log.secret, 2), click_on(answer_of(log.secret, 1))])
    real, calls = pq.read_table, []

    def read_table(*args, **options):
        calls.append(args)
        if len(calls) == 1:  # when CURRENT was read, and no day yet
            compact(tmp_path, now=NOW)
        return real(*args, **options)

    monkeypatch.setattr(pq, "read_table", read_table)
    read(tmp_path)
    monkeypatch.setattr(pq, "read_table", real)
    (path,) = log.folder.days.rglob("answers-*.parquet")
    path.unlink()
    for path in log.folder.counts.iterdir():
        path.unlink()
    with pytest.raises(StoreDamaged, match="restore it from a backup"):
        read(tmp_path)


def test_one_compaction_at_a_time(tmp_path):
    with EventLog(tmp_path) as log, locked(log.folder), pytest.raises(StoreLocked, match="another process compacts"):
        compact(tmp_path)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(EventsError, match="is not a folder of events"):
        compact(tmp_path)
