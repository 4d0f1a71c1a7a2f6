"""Reading the bytes of images, and the signature that tells whether they may have changed."""

import os
import time

import pytest

from vision_recs.catalog import image_files
from vision_recs.catalog.image_files import MAX_IMAGE_BYTES, ImageFiles, image_bytes
from vision_recs.errors import ImageError
from vision_recs.remote.images import RemoteImages
from vision_recs.types import ImageData, Unchanged

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
    assert image_bytes(files, "mugs/red mug.jpg") == b"red"
    assert image_bytes(files, str(shop / "mugs" / "red mug.jpg")) == b"red"
    assert image_bytes(files, f"file://{shop}/mugs/red%20mug.jpg") == b"red"
    assert image_bytes(files, "mugs/../mugs/red mug.jpg") == b"red"


def test_backslashes_are_slashes_unless_a_file_has_them_in_its_name(shop):
    files = ImageFiles(str(shop))
    assert image_bytes(files, r"mugs\red mug.jpg") == b"red"
    (shop / r"mugs\red mug.jpg").write_bytes(b"literal")
    assert image_bytes(files, r"mugs\red mug.jpg") == b"literal"


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
    def refuse(path, _mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("mugs/red mug.jpg")
    assert caught.value.reason == "unreadable"
    assert str(caught.value) == f"'{shop}/mugs/red mug.jpg' cannot be read (Permission denied); check the file"


def test_a_file_without_bytes_is_empty(shop):
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("empty.jpg")
    assert caught.value.reason == "empty"


def test_a_file_that_is_too_large_is_not_read(shop, monkeypatch):
    os.truncate(shop / "empty.jpg", MAX_IMAGE_BYTES + 1)  # of which the disk holds nothing
    monkeypatch.setattr("pathlib.Path.open", None)
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("empty.jpg")
    assert caught.value.reason == "too-large"
    assert str(caught.value) == (
        f"'{shop}/empty.jpg' has {MAX_IMAGE_BYTES + 1} bytes, over the limit of {MAX_IMAGE_BYTES}; replace the file"
    )


def test_a_file_of_the_largest_size_is_read(shop, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_IMAGE_BYTES", 3)
    assert image_bytes(ImageFiles(str(shop)), "mugs/red mug.jpg") == b"red"


@pytest.mark.parametrize(("content", "is_read"), [(b"grown", True), (b"grown too much", False)])
def test_a_file_that_grows_while_it_is_read_has_a_limit_too(shop, monkeypatch, content, is_read):
    path = shop / "mugs" / "red mug.jpg"
    status = path.stat()
    path.write_bytes(content)
    monkeypatch.setattr("pathlib.Path.stat", lambda _, **__: status)
    monkeypatch.setattr(image_files, "MAX_IMAGE_BYTES", 5)
    if is_read:
        assert image_bytes(ImageFiles(str(shop)), "mugs/red mug.jpg") == content
        return
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("mugs/red mug.jpg")
    assert caught.value.reason == "too-large"


def test_a_catalog_whose_images_are_not_in_files_says_what_to_do():
    with pytest.raises(
        ImageError, match=r"the catalog does not say how 'red\.jpg' is read; open the store with images"
    ):
        ImageFiles("").read("red.jpg")


# Signatures


def signature(shop, reference="mugs/red mug.jpg"):
    return ImageFiles(str(shop)).read(reference).signature


@pytest.mark.usefixtures("later")
def test_a_signature_is_size_and_both_times(shop):
    status = (shop / "mugs" / "red mug.jpg").stat()
    assert signature(shop) == f"3-{status.st_mtime_ns}-{status.st_ctime_ns}"


@pytest.mark.usefixtures("later")
def test_an_image_whose_signature_is_known_is_not_read(shop, monkeypatch):
    files = ImageFiles(str(shop))
    known = signature(shop)
    assert files.read("mugs/red mug.jpg", known="other") == ImageData(b"red", known)
    monkeypatch.setattr("pathlib.Path.open", None)
    assert isinstance(files.read("mugs/red mug.jpg", known=known), Unchanged)


@pytest.mark.usefixtures("later")
def test_an_image_that_is_gone_is_missing_though_its_signature_is_known(shop):
    known = signature(shop)
    (shop / "mugs" / "red mug.jpg").unlink()
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(shop)).read("mugs/red mug.jpg", known=known)
    assert caught.value.reason == "missing"


@pytest.mark.usefixtures("later")
def test_a_change_that_keeps_size_and_mtime_changes_the_signature(shop):
    path = shop / "mugs" / "red mug.jpg"
    status = path.stat()
    before = signature(shop)
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # until the file system's clock has ticked
        path.write_bytes(b"RED")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert ImageFiles(str(shop)).read("mugs/red mug.jpg", known=before).data == b"RED"


@pytest.mark.parametrize(("age_ns", "trusted"), [(0, False), (1_999_999_999, False), (2_000_000_000, True)])
def test_a_file_changed_within_two_seconds_has_no_signature(shop, monkeypatch, age_ns, trusted):
    changed = (shop / "mugs" / "red mug.jpg").stat().st_ctime_ns
    known = f"3-{(shop / 'mugs' / 'red mug.jpg').stat().st_mtime_ns}-{changed}"
    monkeypatch.setattr(time, "time_ns", lambda: changed + age_ns)
    assert (signature(shop) is not None) == trusted
    found = ImageFiles(str(shop)).read("mugs/red mug.jpg", known=known)
    assert isinstance(found, Unchanged) == trusted


def test_a_source_that_breaks_its_promise_is_named():
    class Forgetful:
        def read(self, reference, *, known=None):  # noqa: ARG002 - as the protocol has it
            return Unchanged()

    with pytest.raises(TypeError, match=r"Forgetful\.read returned Unchanged, though no signature is known"):
        image_bytes(Forgetful(), "red.jpg")


# Only below a folder


@pytest.fixture
def supplier(tmp_path):
    """A folder of a supplier, with links, beside one with a secret."""
    for folder in ("shop/mugs", "shop-2", "secret"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").write_bytes(folder.encode())
    (tmp_path / "shop" / "link.jpg").symlink_to("../secret/a.jpg")
    (tmp_path / "shop" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "shop" / "inside.jpg").symlink_to(tmp_path / "shop" / "mugs" / "a.jpg")
    (tmp_path / "other-name").symlink_to(tmp_path / "shop")
    return tmp_path


OUTSIDE = (
    "../secret/a.jpg",
    "mugs/../../secret/a.jpg",
    "../shop-2/a.jpg",  # begins as the folder does
    "link.jpg",
    "folder/a.jpg",
    "../secret/none.jpg",  # whether it is there remains unknown
    "..",
    r"..\secret\a.jpg",
)


@pytest.mark.parametrize("reference", [*OUTSIDE, "/etc/passwd", "file:///etc/passwd", "/dev/zero"])
def test_nothing_is_read_from_outside_of_the_folder_that_was_named(supplier, reference):
    files = ImageFiles(str(supplier / "shop"), below=str(supplier / "shop"))
    with pytest.raises(ImageError, match=r"is not below .*/shop; put the image there") as caught:
        files.read(reference, known="1-2-3")
    assert caught.value.reason == "outside"
    assert files.signatures([reference, "mugs/a.jpg"])[0] is None
    assert not files.may_read(reference)


@pytest.mark.parametrize("reference", ["mugs/a.jpg", "inside.jpg", "mugs/../mugs/a.jpg", "{}/shop/mugs/a.jpg"])
def test_what_is_inside_is_read_however_it_is_named(supplier, reference, later):  # noqa: ARG001
    reference = reference.format(supplier)
    for below in (supplier / "shop", supplier / "other-name", supplier / "shop" / "mugs", supplier, "/"):
        files = ImageFiles(str(supplier / "shop"), below=str(below))
        assert image_bytes(files, reference) == b"shop/mugs"
        assert files.may_read(reference)
        assert files.signatures([reference]) == ImageFiles(str(supplier / "shop")).signatures([reference]) != [None]


def test_what_is_missing_inside_is_missing(supplier):
    files = ImageFiles(str(supplier / "shop")).below(str(supplier / "shop"))
    for reference in ("none.jpg", "nul\0.jpg"):
        assert files.may_read(reference)
        with pytest.raises(ImageError) as caught:
            files.read(reference)
        assert caught.value.reason == "missing"


@pytest.mark.parametrize(
    ("reference", "file"),
    [
        ("mug.jpg?v=17", "mug.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("https://cdn.example/files/1/mug.jpg?v=17", "mug.jpg"),
        ("https://cdn.example/files/1/mug.jpg", "images/mug.jpg"),
        ("https://cdn.example/files/1/mug.jpg", "files/1/mug.jpg"),
        ("https://cdn.example/files/1/mug.jpg", "media/files/1/mug.jpg"),
        ("https://cdn.example/a%20mug.jpg", "a mug.jpg"),
        ("s3://bucket/shop/mug.jpg", "img/mug.jpg"),
        ("/m/u/mug.jpg", "pub/media/catalog/product/m/u/mug.jpg"),
        ("/m/u/mug.jpg", "m/u/mug.jpg"),
        ("/m/u/mug.jpg", "mug.jpg"),
        ("https://cdn.example/../outside.jpg", "images/outside.jpg"),
    ],
)
def test_the_file_that_a_shop_system_means_is_found(tmp_path, reference, file):
    shop = tmp_path / "shop"
    path = shop / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"inside")
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    files = ImageFiles(str(shop))
    assert files.read(reference).data == b"inside"
    assert files.signatures([reference]) == [files.read(reference).signature]


@pytest.mark.parametrize(
    "reference", ["https://cdn.example/gone.jpg?v=1", "HTTP://x/y.jpg", "gs://b/x.jpg", "az://c/x.jpg"]
)
def test_an_image_at_an_address_is_told_from_one_that_is_missing(tmp_path, reference):
    with pytest.raises(ImageError, match="is not on this machine, and images are not fetched") as caught:
        ImageFiles(str(tmp_path)).read(reference)
    assert caught.value.reason == "remote"
    with pytest.raises(ImageError) as caught:
        ImageFiles(str(tmp_path)).read("gone.jpg?v=1")
    assert caught.value.reason == "missing"


def test_an_address_is_fetched_unless_a_file_here_is_meant_whatever_else_is_here(shop):
    images = ImageFiles(str(shop), remote=RemoteImages())

    def is_fetched(address):
        fetched = images.fetched_by(address)
        assert fetched is None or fetched[1] == address
        return fetched is not None

    assert not is_fetched("https://cdn.example/mugs/red%20mug.jpg")
    assert not is_fetched("https://cdn.example/media/../mugs/red%20mug.jpg?v=17")
    assert is_fetched("https://cdn.example/mugs?id=1")  # a folder here
    assert is_fetched("https://cdn.example/")
    assert is_fetched(f"https://cdn.example/{'a' * 300}.jpg")  # no name of a file
    assert is_fetched("https://cdn.example/%00.jpg")
    assert is_fetched("http://[bad/a.jpg")
