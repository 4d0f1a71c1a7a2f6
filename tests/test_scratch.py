"""Work in progress leaves nothing behind: neither that which ends, nor that of a process that was killed."""

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from vision_recs.scratch import PREFIX, scratch_folder

HOLDING = """
import sys, time
from pathlib import Path
from vision_recs.scratch import scratch_folder

with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"made")
    print("made", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def left(tmp_path):
    """A folder that a killed process left."""
    folder = tmp_path / f"{PREFIX}left"
    folder.mkdir()
    (folder / "half").write_bytes(b"made")
    return folder


def test_it_is_removed_with_all_that_is_in_it(tmp_path):
    with scratch_folder(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_where_the_work_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_what_is_used_stays_and_what_a_killed_process_left_goes(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "made\n"
            (used,) = tmp_path.iterdir()
            with scratch_folder(tmp_path) as own:
                assert set(tmp_path.iterdir()) == {used, own}
            assert (used / "half").read_bytes() == b"made"
        finally:
            process.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == [used]
    with scratch_folder(tmp_path) as own:
        assert list(tmp_path.iterdir()) == [own]


def test_other_files_are_left_alone(tmp_path, left):
    (tmp_path / "scratch").mkdir()
    (tmp_path / ".hidden").touch()
    (tmp_path / f"{PREFIX}file").touch()
    with scratch_folder(tmp_path):
        assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"scratch", ".hidden", f"{PREFIX}file"}


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (fcntl, "flock")])
def test_one_that_another_process_removes_before_it_is_locked_is_made_again(tmp_path, monkeypatch, module, name):
    real, make = getattr(module, name), tempfile.mkdtemp
    made = []

    def make_noted(**options):
        made.append(make(**options))
        return made[-1]

    def late(*args):
        if len(made) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(module, name, real)
                shutil.rmtree(made[0], ignore_errors=True)
        return real(*args)

    monkeypatch.setattr(tempfile, "mkdtemp", make_noted)
    monkeypatch.setattr(module, name, late)
    with scratch_folder(tmp_path) as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()


def test_what_is_removed_has_lost_its_name_so_that_no_maker_locks_a_half_of_it(tmp_path, left, monkeypatch):
    real = shutil.rmtree

    def remove(folder, **options):
        assert not left.exists()
        real(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", remove)
    with scratch_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_locked_is_a_file_open_for_writing_as_nfs_wants_it(tmp_path, left, monkeypatch):
    real, locked = fcntl.flock, []

    def noted(descriptor, operation):
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        locked.append((stat.S_ISREG(os.fstat(descriptor).st_mode), mode))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", noted)
    with scratch_folder(tmp_path):
        assert not left.exists()
    assert locked == [(True, os.O_RDWR)] * 2


def test_what_the_disk_keeps_of_an_open_file_is_removed_too(tmp_path, left, monkeypatch):
    """On NFS a folder stays, with a file of another name, until what was open in it is closed."""
    real, kept = shutil.rmtree, []

    def remove(folder, **options):
        if folder in kept:
            real(folder, **options)
        kept.append(folder)

    monkeypatch.setattr(shutil, "rmtree", remove)
    with scratch_folder(tmp_path) as own:
        assert not left.exists()
    gone = left.with_name(f"{left.name}-")
    assert kept == [gone, gone, own, own]
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_of_others_is_removed(tmp_path, left, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with scratch_folder(tmp_path) as folder:
        assert set(tmp_path.iterdir()) == {left, folder}
    assert list(tmp_path.iterdir()) == [left]


def test_without_open_files_nothing_is_left(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"), scratch_folder(tmp_path):
        pass
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_what_others_may_have_put_there_is_left_alone(tmp_path, left, monkeypatch):
    aim = tmp_path / "aim"
    (aim / "folder").mkdir(parents=True)
    (tmp_path / f"{PREFIX}link").symlink_to(aim / "folder")
    (tmp_path / f"{PREFIX}planted").mkdir()
    (tmp_path / f"{PREFIX}planted" / ".lock").symlink_to(aim / "made")
    with scratch_folder(tmp_path):
        pass
    assert [path.name for path in aim.rglob("*")] == ["folder"]
    assert not left.exists()
    left.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    with scratch_folder(tmp_path):
        pass
    assert list(left.iterdir()) == []


MAKING = """
import random, sys, time
from pathlib import Path
from vision_recs.scratch import scratch_folder

draw = random.Random(sys.argv[2])
for number in range(int(sys.argv[3])):
    with scratch_folder(Path(sys.argv[1])) as folder:
        (folder / "half").write_text(sys.argv[2])
        time.sleep(draw.random() / 1000)
        assert (folder / "half").read_text() == sys.argv[2]
"""


@pytest.mark.parametrize("rounds", [40, pytest.param(2000, marks=pytest.mark.nightly)])
def test_processes_beside_each_other_never_take_what_another_uses(tmp_path, rounds):
    commands = [[sys.executable, "-c", MAKING, tmp_path, str(number), str(rounds)] for number in range(4)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert list(tmp_path.iterdir()) == []
