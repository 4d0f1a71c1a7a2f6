"""Run again after a change: only the difference is done, and the store is what a new one would be."""

import csv
import dataclasses
import time

import pytest
from fake_shop import BulkShop, FakeEncoder, Shop, Unused, content, image, index, shop_of, snapshot, wanted

import vision_recs
from vision_recs.catalog import image_files
from vision_recs.errors import SpaceMismatch
from vision_recs.jobs import IndexOptions, comparing, verify
from vision_recs.store import Store


@pytest.fixture(params=[Shop, BulkShop])
def shop(request):
    return shop_of(7, kind=request.param)


@pytest.fixture(autouse=True, params=[2_000, 2])
def _few_at_once(request, monkeypatch):
    """Compare many items at a time, as in a large catalog, or few."""
    monkeypatch.setattr(comparing, "_AT_ONCE", request.param)
    monkeypatch.setattr(comparing, "_FEWEST", 1)


@pytest.fixture
def store(shop, tmp_path):
    index(shop, tmp_path / "index")
    return tmp_path / "index"


def test_without_a_change_nothing_is_embedded_read_or_written(shop, store):
    before = snapshot(store)
    shop.reads.clear()
    report = index(shop, store, Unused())
    assert (report.generation, report.items, report.images) == (1, 7, 7)
    assert (report.embedded, report.reused, report.skipped, report.removed) == (0, 7, 0, 0)
    assert shop.reads == []
    assert snapshot(store) == before


def test_a_touched_image_is_read_and_its_vector_stays(shop, store):
    before = snapshot(store)
    shop.reads.clear()
    shop.touched["3.png"] = 1
    assert index(shop, store, Unused()).generation == 1
    assert shop.reads == ["3.png"]
    assert snapshot(store) == before


def test_without_a_signature_all_is_read_and_nothing_embedded(shop, store):
    shop.reads.clear()
    shop.signature = lambda _: None
    assert index(shop, store, Unused()).generation == 1
    assert sorted(shop.reads) == [f"{number}.png" for number in range(7)]


def test_a_renamed_image_keeps_its_vector(shop, store):
    shop.files["renamed.png"] = shop.files.pop("3.png")
    shop.items["item003"] = dataclasses.replace(shop.items["item003"], images=("renamed.png",))
    report = index(shop, store, Unused())
    assert (report.generation, report.embedded, report.removed) == (2, 0, 0)
    assert content(store) == wanted(shop)


def test_a_renamed_item_keeps_its_vector(shop, store):
    shop.items["other"] = dataclasses.replace(shop.items.pop("item003"), id="other")
    report = index(shop, store, Unused())
    assert (report.items, report.embedded, report.removed) == (7, 0, 1)
    assert content(store) == wanted(shop)


def test_an_edited_image_is_embedded_and_no_other(shop, store, encoder):
    before = Store.open(store)
    shop.files["3.png"] = image(33)
    report = index(shop, store, encoder)
    assert (report.embedded, report.reused, report.removed) == (1, 6, 0)
    assert encoder.encoded == 1 + 1  # and the canary, to see that it is the encoder of the store
    assert content(store) == wanted(shop)
    assert content(store) != content(before)


def test_a_new_image_is_embedded_and_a_removed_one_is_gone(shop, store, encoder):
    del shop.items["item000"]
    shop.put("new", 50)
    report = index(shop, store, encoder)
    assert (report.items, report.embedded, report.reused, report.removed) == (7, 1, 6, 1)
    assert content(store) == wanted(shop)


def test_a_changed_price_touches_no_vector(shop, store):
    shards = {path for path in snapshot(store) if path.startswith("shards")}
    shop.items["item003"].attributes["price"] = 99
    shop.items["item004"].attributes["stock"] = False
    report = index(shop, store, Unused())
    assert (report.generation, report.embedded, report.reused) == (2, 0, 7)
    assert {path for path in snapshot(store) if path.startswith("shards")} == shards
    assert Store.open(store).attributes("item003") == {"price": 99}
    assert content(store) == wanted(shop)
    assert vision_recs.open(store).similar("item003")[0].attributes


def test_a_changed_attribute_of_an_image_is_seen(store, shop):
    shop.put("views", 20, 21, image_attributes=({"view": "front"}, {"view": "side"}), color="red")
    index(shop, store)
    assert content(store) == wanted(shop)
    views = dataclasses.replace(shop.items["views"], image_attributes=({"view": "front"}, {"view": "back"}))
    shop.items["views"] = views
    assert index(shop, store, Unused()).generation == 3
    assert content(store) == wanted(shop)


def test_two_items_that_share_an_image_are_two_rows_and_one_vector(shop, store, encoder):
    shop.put("one", "same.png")
    shop.put("two", "same.png")
    shop.put("three", "copy.png")
    shop.files["same.png"] = shop.files["copy.png"] = image(70)
    report = index(shop, store, encoder)
    assert (report.items, report.images, report.embedded, report.reused) == (10, 10, 1, 9)
    opened = Store.open(store)
    (digest,) = {opened.images(item)[0].digest for item in ("one", "two", "three")}
    position = opened.positions_of([digest])[digest]
    shown = [(row.id, row.image) for row in opened.rows([position], limit=9)[position]]
    assert shown == [("one", "same.png"), ("three", "copy.png"), ("two", "same.png")]
    assert len(opened.positions()) == 8
    del shop.items["one"]
    assert index(shop, store, Unused()).items == 9
    assert content(store) == wanted(shop)


@pytest.mark.parametrize("shard_size", [1, 2, 3, 5])
def test_an_image_that_many_items_share_is_embedded_once_wherever_a_shard_ends(tmp_path, encoder, shard_size):
    shop = shop_of(0)
    for number in range(30):
        shop.put(f"item{number:03}", number // 2, f"no image {number % 3}.png")
    shop.files |= {f"no image {number}.png": image(99) for number in range(3)}
    report = index(shop, tmp_path, encoder, shard_size=shard_size)
    assert (report.images, report.embedded) == (60, 16)
    assert encoder.encoded == 16 + 1
    assert content(tmp_path) == wanted(shop)


def test_one_image_of_several_is_removed(shop, store):
    shop.put("many", 20, 21, 22)
    index(shop, store)
    shop.items["many"] = dataclasses.replace(shop.items["many"], images=("20.png", "22.png"))
    report = index(shop, store, Unused())
    assert (report.items, report.images, report.embedded, report.removed) == (8, 9, 0, 0)
    assert content(store) == wanted(shop)
    assert "21.png" not in {match.image for match in vision_recs.open(store).similar("item000", k=50)}


def test_images_of_an_item_in_another_order_are_seen_in_that_order(shop, store):
    shop.put("many", 20, 21, 22)
    index(shop, store)
    shop.items["many"] = dataclasses.replace(shop.items["many"], images=("22.png", "20.png", "21.png"))
    assert index(shop, store, Unused()).generation == 3
    assert [known.image for known in Store.open(store).images("many")] == ["22.png", "20.png", "21.png"]


def test_items_in_another_order_are_the_same_catalog(shop, store):
    shop.items = dict(reversed(shop.items.items()))
    assert index(shop, store, Unused()).generation == 1


def test_an_image_listed_twice_is_one_image_on_every_run(shop, store):
    shop.put("twice", 20, 20, 21, image_attributes=({"view": 1}, {"view": 2}, {"view": 3}))
    for generation in (2, 2):
        assert index(shop, store).generation == generation
        assert [(p.image, p.attributes) for p in Store.open(store).images("twice")] == [
            ("20.png", {"view": 1}),
            ("21.png", {"view": 3}),
        ]


def test_another_encoder_embeds_everything_anew(shop, store):
    other = FakeEncoder(turn=2)
    report = index(shop, store, other)
    assert (report.generation, report.embedded, report.reused) == (2, 7, 0)
    assert report.fingerprint == other.spec.fingerprint != FakeEncoder().spec.fingerprint
    assert content(store) == wanted(shop, other)
    assert content(store) != wanted(shop)
    assert index(shop, store, Unused(turn=2)).generation == 2


def test_going_back_to_the_first_encoder_finds_its_shards_again(shop, store):
    index(shop, store, FakeEncoder(turn=2))
    report = index(shop, store, FakeEncoder())
    assert (report.generation, report.embedded) == (3, 0)
    assert content(store) == wanted(shop)


def test_the_encoder_of_the_store_goes_on_and_is_loaded_only_if_it_is_needed(shop, store, monkeypatch):
    loaded = []

    def load(name, **_):
        loaded.append(name)
        return FakeEncoder(name)

    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", load)
    assert vision_recs.index(shop, store).generation == 1
    assert loaded == []
    shop.put("new", 50)
    assert vision_recs.index(shop, store).embedded == 1
    assert loaded == ["fake"]
    assert content(store) == wanted(shop)


def test_other_weights_under_the_name_of_the_encoder_are_refused(shop, store, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name, turn=5))
    before = snapshot(store)
    shop.put("new", 50)
    with pytest.raises(SpaceMismatch) as raised:
        vision_recs.index(shop, store)
    old, new = FakeEncoder().spec.fingerprint, FakeEncoder(turn=5).spec.fingerprint
    assert str(raised.value).startswith(
        f"the store holds vectors of fake [{old}], the weights on this machine give fake [{new}]; "
    )
    assert snapshot(store) == before


def test_an_encoder_that_does_not_reproduce_the_canary_is_refused(shop, store):
    class Drifted(FakeEncoder):
        def encode(self, pixels):
            return super().encode(pixels[..., ::-1])  # red and blue in the wrong order

    shop.put("new", 50)
    with pytest.raises(SpaceMismatch, match=r"does not reproduce the canary of the store \(cosine 0\.\d+\)"):
        index(shop, store, Drifted())


def test_the_first_canary_of_a_space_stands(shop, store):
    class Rounded(FakeEncoder):
        def encode(self, pixels):
            return super().encode(pixels // 16 * 16)

    canary = Store.open(store).manifest.canary
    shop.put("new", 50)
    assert index(shop, store, Rounded()).embedded == 1
    assert Store.open(store).manifest.canary == canary


def test_a_catalog_that_moved_is_noted_and_nothing_is_embedded(shop, store):
    shop.location, shop.root = "/elsewhere/catalog.csv", "/elsewhere"
    report = index(shop, store, Unused())
    assert (report.generation, report.embedded) == (2, 0)
    assert Store.open(store).manifest.catalog.root == "/elsewhere"
    assert index(shop, store, Unused()).generation == 2


def test_a_checkpoint_that_moved_is_noted(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name))
    for generation, name in enumerate(("a.pth", "a.pth", "b.pth"), 1):
        options = IndexOptions(weights=tmp_path / name)
        report = vision_recs.index(shop, tmp_path / "index", encoder="fake", options=options)
        assert report.generation == {1: 1, 2: 1, 3: 2}[generation]
    assert Store.open(tmp_path / "index").manifest.weights_file == str(tmp_path / "b.pth")


# Real files, whose signatures are size and times


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of seven images, whose files count as settled at once."""
    monkeypatch.setattr(image_files, "_RACY_NS", 0)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.png").write_bytes(image(number))
    return folder


@pytest.fixture
def read(monkeypatch):
    """Collect which files are read."""
    names = []
    real = image_files._read_regular

    def read(path, status):
        names.append(path.name)
        return real(path, status)

    monkeypatch.setattr(image_files, "_read_regular", read)
    return names


def run(folder, tmp_path, encoder=None):
    return vision_recs.index(folder, tmp_path / "index", encoder=encoder or FakeEncoder())


def test_a_folder_without_a_change_is_not_read(folder, tmp_path, read):
    run(folder, tmp_path)
    assert len(read) == 7
    read.clear()
    assert run(folder, tmp_path, Unused()).generation == 1
    assert read == []


def test_a_touched_file_is_read_and_a_renamed_one_becomes_another_item_with_its_vector(folder, tmp_path, read):
    run(folder, tmp_path)
    read.clear()
    _until_the_clock_moves(folder / "1.png")
    (folder / "1.png").touch()
    (folder / "2.png").rename(folder / "two.png")
    report = run(folder, tmp_path, Unused())
    assert sorted(read) == ["1.png", "two.png"]
    assert (report.items, report.embedded, report.removed) == (7, 0, 1)
    assert Store.open(tmp_path / "index").items.ids() == ["0", "1", "3", "4", "5", "6", "two"]


def test_an_edit_of_the_same_size_is_seen(folder, tmp_path):
    run(folder, tmp_path)
    path = folder / "3.png"
    size = path.stat().st_size
    other = next(data for seed in range(1000, 2000) if len(data := image(seed)) <= size)
    _until_the_clock_moves(path)
    path.write_bytes(other.ljust(size, b"\0"))
    assert run(folder, tmp_path).embedded == 1


def _until_the_clock_moves(path):
    """Wait for the next tick of the file system's clock (4 ms), within which an edit does not show in its time."""
    clock = path.with_suffix(".tick")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        clock.touch()
        now = clock.stat().st_ctime_ns
        clock.unlink()
        if now > path.stat().st_ctime_ns:
            return


def test_files_that_changed_a_moment_ago_are_read_again(folder, tmp_path, read, monkeypatch):
    monkeypatch.setattr(image_files, "_RACY_NS", 10**19)
    run(folder, tmp_path)
    read.clear()
    assert run(folder, tmp_path, Unused()).generation == 1
    assert len(read) == 7


def test_a_table_gives_its_attributes_and_a_changed_cell_no_work(folder, tmp_path):
    table = folder / "catalog.csv"

    def write(price):
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([["id", "image", "price"], ["a", "0.png", price], ["b", "1.png", 2.5]])

    write(1)
    run(table, tmp_path)
    write(7)
    report = run(table, tmp_path, Unused())
    assert (report.generation, report.items) == (2, 2)
    assert Store.open(tmp_path / "index").attributes("a") == {"price": 7.0}


@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
@pytest.mark.parametrize("name", ["flat.faiss", "positions.npy", "index.json"])
def test_a_damaged_index_is_built_again_with_a_word(shop, store, caplog, damage, name):
    path = store / "indexes" / "flat-000001" / name
    before, data = vision_recs.open(store).similar("item003"), path.read_bytes()
    match damage:
        case "cut":
            path.write_bytes(data[:-9])
        case "altered":
            path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        case "gone":
            path.unlink()
    report = index(shop, store, Unused())
    assert (report.generation, report.embedded) == (1, 0)
    assert list(verify(store)) == []
    assert vision_recs.open(store).similar("item003") == before
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the index of generation 1 is built again: {path}")
