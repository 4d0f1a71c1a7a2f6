"""Folders of images: which files are items, their ids, their order."""

import os
from pathlib import Path

import pytest

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.folder import EXTENSIONS
from vision_recs.catalog.image_files import image_bytes
from vision_recs.errors import CatalogError
from vision_recs.types import Item

PER_FOLDER = CatalogOptions(item_per_folder=True)


@pytest.fixture
def grow(tmp_path):
    """Create files, each holding its own name, and return their folder."""

    def create(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        return tmp_path

    return create


def contents(folder, options=None):
    return [(item.id, item.images) for item in open_catalog(folder, options)]


def left_out(catalog):
    found = []
    items = [item.id for item in catalog.read_items(found.append)]
    return [(each.reason, each.image, each.message) for each in found], items


def test_every_image_is_an_item_whose_id_is_its_path_without_extension(grow):
    folder = grow("mugs/red.jpg", "mugs/small/blue.png", "lamp.webp")
    assert list(open_catalog(folder)) == [
        Item("lamp", ("lamp.webp",)),
        Item("mugs/red", ("mugs/red.jpg",)),
        Item("mugs/small/blue", ("mugs/small/blue.png",)),
    ]


def test_images_that_differ_only_in_extension_are_one_item(grow):
    folder = grow("red.jpg", "red-2.jpg", "red.PNG", "red.v2.jpg", "red/a.jpg")
    assert contents(folder) == [
        ("red", ("red.PNG", "red.jpg")),
        ("red/a", ("red/a.jpg",)),
        ("red-2", ("red-2.jpg",)),
        ("red.v2", ("red.v2.jpg",)),
    ]


def test_items_come_in_the_order_of_the_parts_of_their_path(grow):
    folder = grow("b.jpg", "a/z.jpg", "a-b/a.jpg", "a/b/c.jpg", "B.jpg", "a.jpg")
    names = [name for name, _ in contents(folder)]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert names == ["B", "a", "a/b/c", "a/z", "a-b/a", "b"]


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".JPG", ".Jpeg"])
def test_an_image_is_known_by_its_extension_in_any_case(grow, extension):
    assert contents(grow(f"x{extension}")) == [("x", (f"x{extension}",))]


def test_hidden_and_foreign_files_are_left_out(grow):
    folder = grow(
        *("a.jpg", ".hidden.jpg", "._a.jpg", ".visrec/b.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg", "sub/.c.jpg"),
        *("Thumbs.db", "notes.txt", "jpg", "a.jpg.bak", "sub/d.jpg"),
    )
    assert contents(folder) == [("a", ("a.jpg",)), ("sub/d", ("sub/d.jpg",))]


def test_a_folder_below_a_hidden_one_can_be_a_catalog(grow):
    folder = grow(".cache/shop/a.jpg")
    assert contents(folder / ".cache" / "shop") == [("a", ("a.jpg",))]


def test_every_folder_with_images_can_be_an_item(grow):
    folder = grow("mugs/red/front.jpg", "mugs/red/back.png", "mugs/red/zoom/x.jpg", "lamp/1.jpg", "mugs/notes.txt")
    assert contents(folder, PER_FOLDER) == [
        ("lamp", ("lamp/1.jpg",)),
        ("mugs/red", ("mugs/red/back.png", "mugs/red/front.jpg")),
        ("mugs/red/zoom", ("mugs/red/zoom/x.jpg",)),
    ]


def test_an_image_in_the_root_belongs_to_no_item_when_folders_are_items(grow):
    folder = grow("stray.jpg", "mugs/red.jpg")
    told, items = left_out(open_catalog(folder, PER_FOLDER))
    assert items == ["mugs"]
    why = "it lies in no folder below this one, so it belongs to no item; move it into a folder"
    assert told == [("no-id", "stray.jpg", f"stray.jpg: {why}")]


def test_iterating_again_sees_new_images(grow):
    catalog = open_catalog(grow("a.jpg"))
    assert [item.id for item in catalog] == ["a"]
    grow("b.jpg")
    assert [item.id for item in catalog] == ["a", "b"]


def test_the_images_of_a_folder_can_be_read(grow):
    catalog = open_catalog(grow("mugs/red.jpg"))
    assert [image_bytes(catalog.images, image) for item in catalog for image in item.images] == [b"mugs/red.jpg"]
    assert catalog.location == catalog.root == str(grow())
    assert catalog.image_attributes == ()


def test_a_link_to_a_file_is_an_image_and_a_link_to_a_folder_is_not_followed(grow):
    folder = grow("shop/a.jpg", "elsewhere/b.jpg")
    shop = folder / "shop"
    (shop / "linked.jpg").symlink_to(folder / "elsewhere" / "b.jpg")
    (shop / "folder").symlink_to(folder / "elsewhere")
    (shop / "loop").symlink_to(shop)
    (shop / "broken.jpg").symlink_to(folder / "nowhere.jpg")
    (shop / "itself.jpg").symlink_to(shop / "itself.jpg")
    told, items = left_out(open_catalog(shop))
    assert items == ["a", "broken", "itself", "linked"]
    assert sorted(each[:2] for each in told) == [("link", "folder"), ("link", "loop")]
    assert image_bytes(open_catalog(shop).images, "linked.jpg") == b"elsewhere/b.jpg"


def test_a_catalog_may_itself_be_a_link_to_a_folder(grow):
    folder = grow("shop/a.jpg")
    (folder / "link").symlink_to(folder / "shop")
    assert contents(folder / "link") == [("a", ("a.jpg",))]


def test_a_relative_path_becomes_absolute(grow, monkeypatch):
    folder = grow("shop/a.jpg")
    monkeypatch.chdir(folder)
    catalog = open_catalog("shop")
    monkeypatch.chdir("/")
    assert catalog.root == str(folder / "shop")
    assert [item.id for item in catalog] == ["a"]


def test_composed_and_decomposed_letters_are_one_id_and_the_paths_stay_as_they_are(grow):
    folder = grow("caf\u00e9.jpg", "cafe\u0301.jpg", "cafe\u0301/1.jpg", "caf\u00e9/2.jpg")
    assert contents(folder) == [
        ("caf\u00e9", ("cafe\u0301.jpg", "caf\u00e9.jpg")),
        ("caf\u00e9/1", ("cafe\u0301/1.jpg",)),
        ("caf\u00e9/2", ("caf\u00e9/2.jpg",)),
    ]


def test_what_stands_behind_a_question_mark_is_no_part_of_the_extension(grow):
    assert contents(grow("mug.jpg?v=17", "b.png")) == [("b", ("b.png",)), ("mug", ("mug.jpg?v=17",))]


def test_files_that_are_no_images_are_counted_by_their_extension(grow):
    catalog = open_catalog(grow("a.jpg", "notes.txt", "x/more.txt", "logo.svg", "README", ".hidden"))
    assert [item.id for item in catalog] == ["a"]
    assert catalog.notes == (
        "left out 4 files that are no images by their extension (2 .txt, 1 .svg, 1 without extension)",
    )


def test_an_empty_folder_is_refused_with_what_was_looked_for(grow):
    folder = grow("notes.txt", "sub/.hidden.jpg")
    with pytest.raises(CatalogError) as caught:
        list(open_catalog(folder))
    assert str(caught.value) == (
        f"{folder}: no image in this folder or below it (.jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif "
        ".heic .heif .jxl)"
    )


def test_a_file_name_that_is_not_utf8_is_left_out_by_name(grow):
    folder = grow("a.jpg")
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/b\xff.jpg")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    assert left_out(open_catalog(folder)) == (
        [("not-utf-8", "b\\xff.jpg", "b\\xff.jpg: the name is not UTF-8; rename it")],
        ["a"],
    )


@pytest.mark.parametrize("name", ["secret", ""])
def test_a_folder_that_cannot_be_listed_is_told_and_the_root_is_refused(grow, monkeypatch, name):
    folder = grow("a.jpg", "secret/b.jpg")
    scandir = os.scandir

    def guarded(path):
        if str(path) == str(folder / name):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    if not name:
        with pytest.raises(CatalogError, match=r"cannot be listed \(Permission denied\); mend its permissions"):
            list(open_catalog(folder))
        return
    catalog = open_catalog(folder)
    told, items = left_out(catalog)
    assert (items, catalog.unlisted) == (["a"], ("secret",))
    why = "secret: the folder cannot be listed (Permission denied); the items that were in it stay"
    assert told == [("unreadable-folder", "secret", why)]


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="there is no such file or folder; check the path"):
        open_catalog(tmp_path / "nowhere")


def test_what_is_neither_folder_nor_table_is_refused_with_the_tables_that_work(grow):
    folder = grow("shop.xlsx")
    with pytest.raises(CatalogError) as caught:
        open_catalog(folder / "shop.xlsx")
    assert str(caught.value) == (
        f"{folder}/shop.xlsx: this is no catalog; "
        "give a folder of images or a table (.csv, .tsv, .txt, .jsonl, .ndjson, .parquet, "
        ".xml, .rss, .atom, .tar)"
    )


@pytest.mark.parametrize(
    "options",
    [CatalogOptions(id_column="a"), CatalogOptions(image_column="a"), CatalogOptions(image_attributes=("a",))],
)
def test_a_folder_has_no_columns(grow, options):
    with pytest.raises(CatalogError, match="a folder of images has no columns"):
        open_catalog(grow("a.jpg"), options)


def test_a_table_has_no_items_per_folder(grow):
    with pytest.raises(CatalogError, match="leave out --item-per-folder"):
        open_catalog(grow("t.csv") / "t.csv", PER_FOLDER)
