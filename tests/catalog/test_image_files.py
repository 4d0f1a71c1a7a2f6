"""Reading the bytes of images, and the token that tells whether they may have changed."""

import os
import time

import pytest

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import ImageError

MINUTE_NS = 60 * 10**9


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "mugs").mkdir()
    (tmp_path / "mugs" / "red mug.jpg").write_bytes(b"red")
    (tmp_path / "empty.jpg").touch()
    return tmp_path


@pytest.fixture
def later(monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + MINUTE_NS)


def test_a_reference_is_relative_to_the_root_or_absolute_or_a_file_url(shop):
    files = ImageFiles(str(shop))
    assert files.read("mugs/red mug.jpg") == b"red"
    assert files.read(str(shop / "mugs" / "red mug.jpg")) == b"red"
    assert files.read(f"file://{shop}/mugs/red%20mug.jpg") == b"red"
    assert files.read("mugs/../mugs/red mug.jpg") == b"red"


def test_backslashes_are_slashes_unless_a_file_has_them_in_its_name(shop):
    files = ImageFiles(str(shop))
    assert files.read(r"mugs\red mug.jpg") == b"red"
    (shop / r"mugs\red mug.jpg").write_bytes(b"literal")
    assert files.read(r"mugs\red mug.jpg") == b"literal"


@pytest.mark.parametrize(
    "reference", ["nowhere.jpg", "mugs/red mug.jpg/x.jpg", "nul\0.jpg", "half\ud800.jpg", "file://[/x.jpg"]
)
def test_a_reference_to_nothing_is_missing(shop, reference):
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read(reference)
    assert caught.value.reason == "missing"
    assert "check the path in the catalog" in str(caught.value)


def test_a_folder_a_pipe_and_a_loop_are_unreadable(shop):
    os.mkfifo(shop / "pipe.jpg")
    (shop / "loop.jpg").symlink_to(shop / "loop.jpg")
    for reference in ("mugs", "pipe.jpg", "loop.jpg", "x" * 300 + ".jpg"):
        with pytest.raises(ImageError) as caught:
            ImageFiles(str(shop)).read(reference)
        assert caught.value.reason == "unreadable", reference


def test_a_file_that_may_not_be_read_is_unreadable(shop, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("mugs/red mug.jpg")
    assert caught.value.reason == "unreadable"
    assert str(caught.value) == f"'{shop}/mugs/red mug.jpg' cannot be read (Permission denied); check the file"


def test_a_file_without_bytes_is_empty(shop):
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("empty.jpg")
    assert caught.value.reason == "empty"


@pytest.mark.usefixtures("later")
def test_a_signature_is_size_and_both_times(shop):
    path = shop / "mugs" / "red mug.jpg"
    status = path.stat()
    signature = ImageFiles(str(shop)).signature("mugs/red mug.jpg")
    assert signature == f"3-{status.st_mtime_ns}-{status.st_ctime_ns}"


@pytest.mark.usefixtures("later")
def test_a_change_that_keeps_size_and_mtime_changes_the_signature(shop):
    files = ImageFiles(str(shop))
    path = shop / "mugs" / "red mug.jpg"
    status = path.stat()
    before = files.signature("mugs/red mug.jpg")
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # until the file system's clock has ticked
        path.write_bytes(b"RED")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert files.signature("mugs/red mug.jpg") != before


@pytest.mark.parametrize(("age_ns", "trusted"), [(0, False), (1_999_999_999, False), (2_000_000_000, True)])
def test_a_file_changed_within_two_seconds_has_no_signature(shop, monkeypatch, age_ns, trusted):
    changed = (shop / "empty.jpg").stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + age_ns)
    assert (ImageFiles(str(shop)).signature("empty.jpg") is not None) == trusted


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("reference", ["nowhere.jpg", "nul\0.jpg", "file://[/x.jpg"])
def test_a_missing_file_has_no_signature(shop, reference):
    assert ImageFiles(str(shop)).signature(reference) is None
