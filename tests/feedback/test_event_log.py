"""The log: what was acknowledged is there, a fault loses only its own lines, and two writers never share a file."""

import functools
import os
import shutil
import stat
import sys
import threading

import pytest

from vision_recs.errors import EventsError, StoreUnavailable
from vision_recs.feedback import event_log
from vision_recs.feedback.event_log import EventFolder, EventLog, abandoned, read_log
from vision_recs.feedback.records import Event

NO_SPACE = 28


def event(number):
    return Event(f"e{number}", "click", "mug", float(number), "a" * 22)


def ids(folder):
    return [line.record and line.record.id for path in EventFolder(folder).logs() for line in read_log(path)]


def test_what_was_appended_is_read_in_order(tmp_path):
    with EventLog(tmp_path / "events") as log:
        log.append([event(1), event(2)])
        log.append([event(3)], durable=False)
        log.append([])
        assert ids(tmp_path / "events") == ["e1", "e2", "e3"]


def test_nobody_else_reads_the_secret_and_it_stays(tmp_path):
    with EventLog(tmp_path) as log, EventLog(tmp_path, worker="1") as other:
        assert len(log.secret) == 32
        assert log.secret == other.secret
        log.append([event(1)])
        for path in (tmp_path / "SECRET", *(tmp_path / "open").iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_altered_secret_is_noticed(tmp_path):
    EventLog(tmp_path).close()
    text = (tmp_path / "SECRET").read_text("ascii")
    (tmp_path / "SECRET").write_text(("b" if text[0] == "a" else "a") + text[1:])
    with pytest.raises(EventsError, match="SECRET: was altered"):
        EventLog(tmp_path)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(EventsError, match="holds other files; name a new folder"):
        EventLog(tmp_path)
    with pytest.raises(EventsError, match="is not a folder of events"):
        EventFolder(tmp_path).require()


def test_a_folder_whose_maker_was_killed_is_made_whole(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    calls = ["os.mkdir", "os.open", "os.link", "os.fsync", "tempfile.mkdtemp"]
    left = set()
    for at in range(100):
        root, done = tmp_path / str(at), []

        def until(*args, real, at=at, done=done, **options):
            done.append(real)
            if len(done) > at:
                raise Killed
            return real(*args, **options)

        with monkeypatch.context() as patch:
            for call in calls:
                module, name = call.split(".")
                real = getattr(sys.modules[module], name)
                patch.setattr(call, functools.partial(until, real=real))
            patch.setattr("shutil.rmtree", lambda *_, **__: None)  # a killed process tidies nothing
            try:
                EventFolder(root).make()
            except Killed:
                left.add(frozenset(path.name[:8] for path in root.glob("*")))
            else:
                break
        with EventLog(root) as log:
            log.append([event(1)])
        assert ids(root) == ["e1"]
        assert {path.name for path in root.iterdir()} == {"SECRET", "open", "days", "counts", "tmp"}
    assert len(left) > 5
    assert set(map(len, left)) >= {0, 1, 2, 3}


@pytest.mark.parametrize(("name", "value"), [("_LARGEST", 1), ("_LONGEST_S", 0.0)])
def test_a_large_or_old_log_is_followed_by_another(tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(event_log, name, value)
    with EventLog(tmp_path) as log:
        for number in range(3):
            log.append([event(number)])
    assert len(EventFolder(tmp_path).logs()) == 3
    assert ids(tmp_path) == ["e0", "e1", "e2"]


def test_a_writer_holds_its_log(tmp_path):
    log = EventLog(tmp_path)
    log.append([event(1)])
    (path,) = EventFolder(tmp_path).logs()
    with abandoned(path) as is_abandoned:
        assert not is_abandoned
    log.close()
    with abandoned(path) as is_abandoned:
        assert is_abandoned


def test_a_full_disk_loses_only_what_it_refused(tmp_path, monkeypatch):
    """A part of the lines may be written; the next ones are whole again."""
    real, left = os.write, [40]

    def write(descriptor, data):
        if not left[0]:
            raise OSError(NO_SPACE, os.strerror(NO_SPACE))
        count = real(descriptor, data[: left[0]])
        left[0] -= count
        return count

    with EventLog(tmp_path) as log:
        log.append([event(1)])
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StoreUnavailable, match=r"cannot be written \(No space left on device\); make room"):
            log.append([event(2), event(3)])
        monkeypatch.undo()
        log.append([event(2), event(3)])
    assert ids(tmp_path) == ["e1", None, "e2", "e3"]


def test_what_the_disk_lost_is_not_acknowledged(tmp_path, monkeypatch):
    """After a failed flush, a second one says nothing about the lines before it."""

    def fail(_):
        raise OSError(5, "Input/output error")

    log = EventLog(tmp_path)
    log.append([event(1)])
    log.append([event(2)], durable=False)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        log.append([event(3)])
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable, match="the disk lost what was written"):
        log._flush(2)
    log.append([event(4)])
    log.close()


def test_writers_that_come_together_share_a_flush(tmp_path, monkeypatch):
    """While one flushes, the others write; the next flush is for all of them."""
    real, begun, may_end, calls = os.fdatasync, threading.Event(), threading.Event(), []

    def slow(descriptor):
        calls.append(descriptor)
        begun.set()
        may_end.wait(60)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    log = EventLog(tmp_path)
    threads = [threading.Thread(target=log.append, args=([event(number)],)) for number in range(20)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while log._written < 20:  # the test has a time limit
        pass
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 2
    assert sorted(ids(tmp_path), key=lambda each: int(each[1:])) == [f"e{number}" for number in range(20)]
    log.close()


def test_an_empty_log_that_was_taken_is_not_written_to(tmp_path, monkeypatch):
    """Compaction may take a log between its creation and its lock."""
    real, taken = event_log.flock, []

    def flock(descriptor, how):
        if not taken:
            (path,) = EventFolder(tmp_path).logs()
            path.unlink()
            taken.append(path)
        real(descriptor, how)

    monkeypatch.setattr(event_log, "flock", flock)
    with EventLog(tmp_path) as log:
        log.append([event(1)])
    assert ids(tmp_path) == ["e1"]


def test_a_folder_that_is_moved_away_takes_no_more_lines(tmp_path, other_secret):
    with EventLog(tmp_path / "events") as log:
        log.append([event(1)])
        (tmp_path / "events").rename(tmp_path / "moved")
        with pytest.raises(StoreUnavailable):
            log.append([event(2)])
        other_secret()  # what is written there would count for nobody
        EventLog(tmp_path / "events").close()
        with pytest.raises(StoreUnavailable, match="is not the folder of events that it was"):
            log.append([event(2)])
        shutil.rmtree(tmp_path / "events")
        (tmp_path / "moved").rename(tmp_path / "events")
        log.append([event(3)])
    assert ids(tmp_path / "events") == ["e1", "e3"]
