"""Images at addresses as one source: who is asked for what, and what a store keeps of how they are fetched."""

import json

import pytest

from vision_recs.catalog.image_files import ImageFiles
from vision_recs.errors import ImageError
from vision_recs.remote import images as remote_images
from vision_recs.remote.addresses import is_address, joined, scheme_of
from vision_recs.remote.images import RemoteImages
from vision_recs.remote.options import RemoteOptions
from vision_recs.types import ImageData


class Recorder:
    """A source that remembers what it is asked for."""

    def __init__(self, name):
        self.name = name
        self.asked = []

    def read(self, reference, *, known=None):
        self.asked.append((reference, known))
        return ImageData(f"{self.name} {reference}".encode(), "etag:1")

    def signatures(self, references):
        self.asked.append(list(references))
        return [f"{self.name} {reference}" for reference in references]

    def notes(self):
        return [f"{self.name} rested"]


@pytest.fixture
def made(monkeypatch):
    """The sources that are made, in their order, in place of those that ask others."""
    found = []

    def make(_options, _wait):
        found.append(Recorder(f"source {len(found)}"))
        return found[-1]

    def other(options, wait):
        return make(options, wait)

    monkeypatch.setattr(remote_images, "SOURCES", {"http": make, "https": make, "s3": other})
    return found


def test_each_scheme_has_its_source_which_is_made_when_it_is_needed(made):
    source = RemoteImages()
    assert made == []
    assert source.read("https://a/1", known="x").data == b"source 0 https://a/1"
    source.read("HTTP://a/2")
    source.read("s3://b/3")
    assert [each.asked for each in made] == [[("https://a/1", "x"), ("HTTP://a/2", None)], [("s3://b/3", None)]]
    assert source.notes() == ("source 0 rested", "source 1 rested")
    with pytest.raises(ImageError, match="images are not read from az; copy the images") as caught:
        source.read("az://c/4")
    assert caught.value.reason == "remote"


def test_signatures_come_in_the_order_of_the_references_by_one_question_for_each_source(made):
    references = ["https://a/1", "s3://b/2", "az://c/3", "http://a/4"]
    assert RemoteImages().signatures(references) == [
        "source 0 https://a/1",
        "source 1 s3://b/2",
        None,
        "source 0 http://a/4",
    ]
    assert [each.asked for each in made] == [[["https://a/1", "http://a/4"]], [["s3://b/2"]]]


def test_what_is_an_address():
    assert [scheme_of(each) for each in ("https://a", "S3://b", "az://c")] == ["https", "s3", "az"]
    assert [scheme_of(each) for each in ("file:///d", "e.jpg", "ftp://f", "a https://g")] == [None] * 4
    assert is_address("gs://a/b")
    assert not is_address("gs:/a/b")
    assert joined("https://shop.example/media/", "/m/u/mug.jpg") == "https://shop.example/media/m/u/mug.jpg"
    assert joined("https://shop.example/media", "s3://bucket/mug.jpg") == "s3://bucket/mug.jpg"


# Files and addresses together


def test_files_and_addresses_are_told_apart_for_signatures_too(made, tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.catalog.image_files._RACY_NS", 0)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "copy.jpg").write_bytes(b"copy")
    (tmp_path / "a.jpg").write_bytes(b"a")
    files = ImageFiles(str(tmp_path), remote=RemoteImages())
    references = ["a.jpg", "https://cdn/x/copy.jpg", "https://cdn/x/b.jpg", "gone.jpg"]
    own, copy, fetched, gone = files.signatures(references)
    assert (own, copy) == (files.read("a.jpg").signature, files.read("https://cdn/x/copy.jpg").signature)
    assert len(made) == 1
    assert (fetched, gone) == ("source 0 https://cdn/x/b.jpg", None)
    assert files.read("https://cdn/x/copy.jpg").data == b"copy"
    assert files.read("https://cdn/x/b.jpg").data == b"source 0 https://cdn/x/b.jpg"
    assert files.below(str(tmp_path / "elsewhere")).read("https://cdn/x/b.jpg").data == b"source 0 https://cdn/x/b.jpg"


def test_paths_below_an_address_are_addresses(made):
    files = ImageFiles("https://shop.example/media", remote=RemoteImages())
    assert files.is_remote
    assert files.read("/m/u/mug.jpg", known="etag:0").data == b"source 0 https://shop.example/media/m/u/mug.jpg"
    assert files.signatures(["m.jpg"]) == ["source 0 https://shop.example/media/m.jpg"]
    assert made[0].asked[0] == ("https://shop.example/media/m/u/mug.jpg", "etag:0")
    with pytest.raises(ImageError) as caught:
        files.read("file:///etc/passwd")
    assert caught.value.reason == "missing"


# What a store keeps


def test_a_store_keeps_what_differs_from_the_defaults():
    assert RemoteOptions().stored() == {}
    options = RemoteOptions(own_images=True, pace=7.5, user_agent="shop/1")
    kept = json.loads(json.dumps(options.stored()))
    assert kept == {"own_images": True, "pace": 7.5, "user_agent": "shop/1"}
    assert RemoteOptions.from_stored(kept) == options
    with pytest.raises(ValueError, match="unexpected keyword argument 'later'"):
        RemoteOptions.from_stored({"later": 1})


@pytest.mark.parametrize(
    "name", ["per_host", "pace", "connect_s", "idle_s", "total_s", "max_bytes", "tries", "threads"]
)
def test_numbers_have_to_be_above_zero(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0"):
        RemoteOptions(**{name: 0})


def test_whoever_waits_for_a_page_gets_one_try_without_a_pause():
    patient = RemoteOptions(allow_private=True, connect_s=2)
    hurried = patient.hurried()
    assert (hurried.tries, hurried.max_rest_s, hurried.total_s, hurried.connect_s) == (1, 0, 10, 2)
    assert hurried.allow_private
    assert RemoteOptions().hurried().connect_s == 3
    assert ImageFiles("/shop", remote=RemoteImages(patient)).hurried().remote.options == hurried
    assert ImageFiles("/shop").hurried().remote is None


@pytest.mark.parametrize(
    ("root", "reference", "address"),
    [
        ("https://shop.example/media/", "mug.png", "https://shop.example/media/mug.png"),
        ("https://shop.example/media", "/m/u/mug.png", "https://shop.example/media/m/u/mug.png"),
        ("https://shop.example/media", "https://cdn.example/mug#a.png", "https://cdn.example/mug#a.png"),
        ("https://shop.example/media", "mug#red.png", "https://shop.example/media/mug%23red.png"),
        ("https://shop.example/media", "50%off.png", "https://shop.example/media/50%25off.png"),
        ("https://shop.example/media", "50%25off.png?v=1", "https://shop.example/media/50%25off.png?v=1"),
        ("https://shop.example/media", r"m\u\mug.png", "https://shop.example/media/m/u/mug.png"),
        ("s3://shop/media", "mug#red.png", "s3://shop/media/mug#red.png"),
    ],
)
def test_a_path_below_an_address_is_the_name_of_a_file(root, reference, address):
    assert joined(root, reference) == address
