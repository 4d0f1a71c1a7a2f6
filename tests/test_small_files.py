"""Rules, histories, lists of stores and secrets are read, whatever their names lead to."""

import errno
import os
import threading

import pytest

from vision_recs import small_files
from vision_recs.errors import HistoryError, PolicyError, StoreError
from vision_recs.recommend import read_history, read_policy
from vision_recs.small_files import text_of
from vision_recs.store.partitions import store_folders

ENDLESS = "/dev/zero"


def test_a_mark_of_byte_order_is_no_text(tmp_path):
    (tmp_path / "file").write_bytes("\ufeffmug \u00e9".encode())
    assert text_of(tmp_path / "file") == "mug \u00e9"


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("mug-01\n" * 50_000,))
    writer.start()
    assert text_of(tmp_path / "pipe") == "mug-01\n" * 50_000
    writer.join()


def test_as_much_as_is_read_at_once_is_read_and_a_byte_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(small_files, "MOST_AT_ONCE", 10)
    (tmp_path / "file").write_text("a" * 10)
    assert text_of(tmp_path / "file") == "a" * 10
    (tmp_path / "file").write_text("a" * 11)
    with pytest.raises(OSError, match="too large") as caught:
        text_of(tmp_path / "file")
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(tmp_path / "file"))


@pytest.mark.parametrize(("read", "kind"), [(read_history, HistoryError), (read_policy, PolicyError)])
def test_a_device_without_an_end_is_one_sentence(read, kind):
    with pytest.raises(kind, match=r"^/dev/zero: cannot be read \(File too large\); check the path$"):
        read(ENDLESS)


def test_a_list_of_stores_without_an_end_is_one_sentence(tmp_path):
    with (tmp_path / "STORES").open("wb") as file:
        file.truncate(small_files.MOST_AT_ONCE + 1)
    with pytest.raises(StoreError, match=r"STORES cannot be read \(File too large\)"):
        store_folders(tmp_path / "STORES")
