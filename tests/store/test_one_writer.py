import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fake_shop import Shop, index, shop_of, snapshot

from vision_recs.errors import CatalogError, EmptyCatalog, EncoderError, StoreError, StoreLocked, StoreUnavailable
from vision_recs.store import open_writer
from vision_recs.store.atomic_files import FileLock

HOLD = """
import sys
from vision_recs.store import open_writer
with open_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that writes to tmp_path / "index" until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "index"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_hears_at_once_that_another_is_writing(tmp_path, holder):
    with pytest.raises(StoreLocked, match=rf"another process is writing to {tmp_path}/index; wait until it is done"):
        index(shop_of(1), tmp_path / "index")
    holder.communicate("")
    assert index(shop_of(1), tmp_path / "index").generation == 1


def test_the_lock_goes_with_a_killed_process(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert index(shop_of(1), tmp_path / "index").generation == 1


def test_a_second_thread_is_refused_too(tmp_path):
    refused = []

    def write():
        try:
            index(shop_of(1), tmp_path)
        except StoreLocked as error:
            refused.append(error)

    with open_writer(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(refused) == 1
    write()
    assert len(refused) == 1


def test_who_is_refused_takes_nothing_away_from_the_one_who_writes(tmp_path, monkeypatch):
    store = tmp_path / "index"
    with open_writer(store) as writer:
        monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was when both looked whether there is a folder
        with pytest.raises(StoreLocked):
            index(shop_of(1), store)
        monkeypatch.undo()
        assert writer.layout.tmp.is_dir()
        assert writer.layout.shards.is_dir()


def test_a_lock_whose_file_was_removed_is_not_held(tmp_path, monkeypatch):
    """A failed first run removes its new folder, and LOCK with it, while we wait for the lock of that very file."""
    store, others = tmp_path / "index", []
    flock = fcntl.flock

    def overtaken(descriptor, operation):
        flock(descriptor, operation)
        if not others:
            shutil.rmtree(store)
            store.mkdir()
            others.append(None)
            others[0] = FileLock(store / "LOCK")

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with pytest.raises(StoreLocked, match="another process is writing"):
        index(shop_of(1), store)
    others[0].release()
    assert index(shop_of(1), store).generation == 1


def test_a_folder_that_is_removed_while_it_is_locked_is_made_again(tmp_path, monkeypatch):
    store, times = tmp_path / "index", []
    real = os.open

    def removed(path, *args, **kwargs):
        if not times and Path(path).name == "LOCK":
            times.append(path)
            store.rmdir()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", removed)
    assert index(shop_of(1), store).generation == 1
    assert times == [store / "LOCK"]


class Failing(Shop):
    """A catalog that contradicts itself after a few items."""

    def __iter__(self):
        yield from super().__iter__()
        raise CatalogError("item 'a' has 1 here and 2 in line 3", path="/shop/catalog.csv", line=7)


def test_a_contradictory_catalog_leaves_no_new_folder_behind(tmp_path):
    with pytest.raises(CatalogError, match=r"/shop/catalog\.csv:7"):
        index(Failing(items=shop_of(9).items, files=shop_of(9).files), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_a_contradictory_catalog_leaves_a_store_as_it_was(tmp_path):
    index(shop_of(3), tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(CatalogError):
        index(Failing(items=shop_of(9).items, files=shop_of(9).files), tmp_path)
    assert snapshot(tmp_path) == before


def test_a_catalog_without_an_image_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(EmptyCatalog, match="the catalog names no image"):
        index(Shop(), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


class Dying:
    """An encoder that fails at its second batch, once it has made a shard."""

    def __init__(self, encoder):
        self.spec = encoder.spec
        self._encoder = encoder

    def encode(self, pixels):
        if self._encoder.encoded:
            raise EncoderError("the device is gone; plug it in")
        return self._encoder.encode(pixels)


def test_work_that_is_done_stays_when_a_first_run_fails(tmp_path, encoder):
    with pytest.raises(EncoderError):
        index(shop_of(9), tmp_path / "index", Dying(encoder))
    assert encoder.encoded == 4
    report = index(shop_of(9), tmp_path / "index", encoder)
    assert (report.images, report.embedded) == (9, 5)


@pytest.mark.parametrize("name", ["notes.txt", "tmp", "shards", "items"])
def test_a_foreign_folder_is_refused_and_not_touched(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match=f"is not a store: it holds '{name}'; name another folder with --store"):
        index(shop_of(1), tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [name, f"{name}/mine.txt"]


def test_a_foreign_file_beside_a_lock_is_refused(tmp_path):
    (tmp_path / "LOCK").touch()
    (tmp_path / "000003.ldb").touch()
    with pytest.raises(StoreError, match=r"it holds '000003\.ldb'"):
        index(shop_of(1), tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "index").write_text("mine")
    with pytest.raises(StoreError, match="is a file; name a folder for the store with --store"):
        index(shop_of(1), tmp_path / "index")
    assert (tmp_path / "index").read_text() == "mine"


def test_an_empty_folder_will_do(tmp_path):
    assert index(shop_of(1), tmp_path).generation == 1


def test_hidden_files_that_a_desktop_leaves_do_not_make_an_index_foreign(tmp_path):
    index(shop_of(1), tmp_path)
    (tmp_path / ".DS_Store").touch()
    assert index(shop_of(2), tmp_path).generation == 2


@pytest.mark.parametrize(
    "step", ["vision_recs.store.shards.save_npy", "os.fsync", "os.replace", "os.rename", "os.mkdir"]
)
def test_a_full_disk_is_one_sentence_and_leaves_the_store_as_it_was(tmp_path, monkeypatch, step):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    index(shop_of(3), tmp_path)
    before = snapshot(tmp_path)
    monkeypatch.setattr(step, full)
    with pytest.raises(StoreError, match=rf"{tmp_path} cannot be written \(No space left on device\); make room"):
        index(shop_of(5), tmp_path)
    monkeypatch.undo()
    assert snapshot(tmp_path).items() >= before.items()  # a finished shard may have come
    assert index(shop_of(5), tmp_path).images == 5


def test_tmp_is_there_only_while_somebody_writes(tmp_path):
    with open_writer(tmp_path) as writer:
        (writer.layout.tmp / "half").touch()
    assert not (tmp_path / "tmp").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    why = rf"index cannot be written \({os.strerror(number)}\); use a file system that .*, then run again$"
    with pytest.raises(StoreUnavailable, match=why):
        index(shop_of(1), tmp_path / "index")
    monkeypatch.undo()
    assert index(shop_of(1), tmp_path / "index").generation == 1
