"""Images that cannot be used: each is skipped with its reason, the run goes on, and what is mended comes in."""

import io
import json
import weakref

import pytest
from fake_shop import (
    BLACK,
    NO_IMAGE,
    PHOTOSHOP,
    TRUNCATED,
    FakeEncoder,
    Shop,
    content,
    image,
    index,
    png,
    shop_of,
    snapshot,
    wanted,
)
from PIL import Image

import vision_recs
from vision_recs import images
from vision_recs.errors import REASONS, EmptyCatalog, EncoderError, ImageError, UnknownItem
from vision_recs.jobs import IndexOptions
from vision_recs.store import Store

BAD = {
    "black.png": BLACK,
    "empty.jpg": b"",
    "photo.psd": PHOTOSHOP,
    "page.jpg": NO_IMAGE,
    "cut.png": TRUNCATED,
}
EXPECTED = {
    ("bad", "black.png"): "zero-vector",
    ("bad", "cut.png"): "truncated",
    ("bad", "empty.jpg"): "empty",
    ("bad", "gone.jpg"): "missing",
    ("bad", "huge.png"): "too-large",
    ("bad", "locked.jpg"): "unreadable",
    ("bad", "page.jpg"): "not-an-image",
    ("bad", "photo.psd"): "unsupported",
}


class Guarded(Shop):
    """A shop one file of which may not be read."""

    def read(self, reference, *, known=None):
        if reference == "locked.jpg":
            raise ImageError("unreadable", "'locked.jpg' cannot be read (Permission denied); check the file")
        return super().read(reference, known=known)


@pytest.fixture
def _small_limit(monkeypatch):
    real = images.load
    monkeypatch.setattr(images, "load", lambda data, config, **how: real(data, config, max_pixels=5000, **how))


@pytest.fixture
def shop(_small_limit):
    good = shop_of(3)
    shop = Guarded(good.items, good.files | BAD | {"huge.png": png([[[9, 9, 9]] * 100] * 100), "locked.jpg": b"?"})
    shop.put("bad", *(name for _, name in EXPECTED))
    return shop


def listed(store, generation=1):
    text = (store / "skipped" / f"{generation:06d}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_reason_is_listed_with_id_image_and_a_sentence_and_the_run_goes_on(shop, tmp_path):
    elsewhere = {"outside", "crashed", "too-slow", "changed"}
    elsewhere |= {"remote", "timeout", "refused", "broken-off", "private-address", "robots", "redirect", "wrong-type"}
    assert set(EXPECTED.values()) == {reason for reason in REASONS if not reason.startswith("http-")} - elsewhere
    report = index(shop, tmp_path)
    assert (report.items, report.images, report.embedded, report.skipped) == (3, 3, 3, 8)
    assert report.skipped_reasons == dict.fromkeys(EXPECTED.values(), 1)
    lines = listed(tmp_path)
    assert {(line["item_id"], line["image"]): line["reason"] for line in lines} == EXPECTED
    for line in lines:
        assert line.keys() == {"item_id", "image", "reason", "message"}
        assert line["message"]
        assert "\n" not in line["message"]
    assert content(tmp_path).skipped == EXPECTED


def test_the_same_images_are_skipped_again_without_the_encoder_and_without_a_generation(shop, tmp_path, encoder):
    index(shop, tmp_path)
    before = snapshot(tmp_path)
    assert index(shop, tmp_path, encoder).generation == 1
    assert encoder.encoded == 0
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", [name for _, name in EXPECTED if name != "locked.jpg"])
def test_a_mended_image_comes_in(shop, tmp_path, encoder, name):
    index(shop, tmp_path)
    shop.files[name] = image(77)
    report = index(shop, tmp_path, encoder)
    assert (report.items, report.embedded, report.skipped) == (4, 1, 7)
    assert [known.image for known in Store.open(tmp_path).images("bad")] == [name]


def test_a_file_that_may_be_read_again_comes_in_with_the_same_bytes(tmp_path):
    shop = Guarded(shop_of(1).items, shop_of(1).files)
    shop.put("bad", "locked.jpg")
    shop.files["locked.jpg"] = image(77)
    assert index(shop, tmp_path).skipped == 1
    free = Shop(shop.items, shop.files)
    assert index(free, tmp_path).embedded == 1
    assert content(tmp_path) == wanted(free)


def test_an_image_comes_in_once_the_installation_can_decode_it(tmp_path, monkeypatch):
    shop = shop_of(1)
    shop.put("avif", "a.avif", "b.avif")
    shop.put("also", "copy.avif")
    shop.files |= {"a.avif": avif((200, 30, 10)), "b.avif": avif((0, 90, 10)), "copy.avif": avif((200, 30, 10))}
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    assert index(shop, tmp_path).skipped_reasons == {"unsupported": 3}
    assert index(shop, tmp_path).generation == 1
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", True)
    report = index(shop, tmp_path)
    assert (report.embedded, report.skipped, report.items) == (2, 0, 3)
    assert content(tmp_path) == wanted(shop)


def avif(color):
    file = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(file, "AVIF")
    return file.getvalue()


def test_an_item_whose_only_image_went_bad_is_gone_and_says_why(tmp_path):
    shop = shop_of(4)
    index(shop, tmp_path)
    shop.files["2.png"] = TRUNCATED
    report = index(shop, tmp_path)
    assert (report.items, report.removed, report.skipped) == (3, 1, 1)
    opened = vision_recs.open(tmp_path)
    assert {match.id for match in opened.similar("item000")} == {"item001", "item003"}
    with pytest.raises(UnknownItem, match=r"'item002' is not in the store: its image 2\.png was skipped \("):
        opened.similar("item002")
    assert [(line["item_id"], line["reason"]) for line in listed(tmp_path, 2)] == [("item002", "truncated")]


def test_a_bad_image_that_many_items_share_is_skipped_for_each(tmp_path):
    shop = shop_of(2)
    for number in range(9):
        shop.put(f"blank{number}", "black.png", f"page{number}.jpg")
        shop.files[f"page{number}.jpg"] = NO_IMAGE
    shop.files["black.png"] = BLACK
    report = index(shop, tmp_path, shard_size=2)
    assert report.skipped_reasons == {"zero-vector": 9, "not-an-image": 9}
    assert content(tmp_path) == wanted(shop)


@pytest.mark.parametrize(
    "bad", [BLACK, b"", NO_IMAGE, TRUNCATED, None], ids=["blank", "empty", "page", "cut", "missing"]
)
def test_if_nothing_can_be_used_no_folder_is_left(tmp_path, bad):
    shop = Shop()
    shop.put("first", "a.png")
    shop.put("second", "b.png")
    if bad is not None:
        shop.files = {"a.png": bad, "b.png": bad}
    with pytest.raises(EmptyCatalog, match=r"none of the 2 images could be used, the first of them, a\.png, because "):
        index(shop, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_if_nothing_can_be_used_any_more_the_store_is_as_before(tmp_path):
    shop = shop_of(3)
    index(shop, tmp_path)
    before = snapshot(tmp_path)
    shop.files = dict.fromkeys(shop.files, NO_IMAGE)
    with pytest.raises(EmptyCatalog, match=r"none of the 3 images could be used.*; the store is as it was"):
        index(shop, tmp_path)
    assert snapshot(tmp_path) == before


def test_a_folder_in_place_of_an_image_is_unreadable_and_a_missing_one_missing(tmp_path):
    (tmp_path / "good.png").write_bytes(image(1))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "catalog.csv").write_text("id,image\na,good.png\nb,folder.png\nc,gone.png\n")
    vision_recs.index(tmp_path / "catalog.csv", tmp_path / "index", encoder=FakeEncoder())
    assert [(line["item_id"], line["reason"]) for line in listed(tmp_path / "index")] == [
        ("b", "unreadable"),
        ("c", "missing"),
    ]


def test_an_image_that_cannot_be_read_while_the_encoder_changes_is_tried_again(tmp_path):
    shop = shop_of(3)
    index(shop, tmp_path)
    data = shop.files.pop("1.png")
    shop.signature = lambda reference: f"the same as ever: {reference}"
    assert index(shop, tmp_path, FakeEncoder(turn=1)).skipped_reasons == {"missing": 1}
    shop.files["1.png"] = data
    assert index(shop, tmp_path, FakeEncoder(turn=1)).items == 3
    assert content(tmp_path) == wanted(shop, FakeEncoder(turn=1))


# An encoder of the shop's own


class Wrong(FakeEncoder):
    """Gives what *change* makes of the vectors."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def encode(self, pixels):
        return self.change(super().encode(pixels))


@pytest.mark.parametrize("change", [lambda v: v[:-1], lambda v: v[:, 1:], lambda v: v[0]])
def test_an_encoder_that_gives_another_shape_is_refused_with_both_shapes(tmp_path, change):
    with pytest.raises(
        EncoderError, match=r"gave 3 images vectors of the shape \(.*\); it must give \(3, 12\), as its"
    ):
        index(shop_of(3), tmp_path / "index", Wrong(change))
    assert list(tmp_path.iterdir()) == []


def test_vectors_that_are_no_numbers_have_no_direction_and_long_ones_are_scaled(tmp_path):
    def change(vectors):
        vectors = vectors * 1000
        if len(vectors) == 3:
            vectors[1, 4] = float("nan")
        return vectors

    shop = shop_of(3)
    report = index(shop, tmp_path, Wrong(change))
    assert report.skipped_reasons == {"zero-vector": 1}
    held, expected = content(tmp_path).items, wanted(shop).items
    assert held == {item: expected[item] for item in ("item000", "item002")}


def test_a_run_keeps_the_pixels_of_a_few_batches_and_not_of_a_shard(tmp_path, monkeypatch):
    made, alive = [], []
    real = images.load

    def load(data, config, **how):
        pixels = real(data, config, **how)
        made.append(weakref.ref(pixels))
        alive.append(sum(known() is not None for known in made))
        return pixels

    monkeypatch.setattr(images, "load", load)
    options = IndexOptions(shard_size=200, batch_size=2, workers=1)
    vision_recs.index(shop_of(100), tmp_path, encoder=FakeEncoder(), options=options)
    assert len(made) == 100
    assert max(alive) <= 4 * 2 + 2  # two batches ahead, the one in hand and the one before


@pytest.mark.parametrize("name", ["shard_size", "batch_size", "workers"])
def test_a_size_below_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be 1 or more"):
        IndexOptions(**{name: 0})
