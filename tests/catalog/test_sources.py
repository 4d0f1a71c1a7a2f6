"""Images as bytes in Parquet, members of tars, and tables in parts: rows, references, and the bytes behind them."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_recs.catalog import CatalogOptions, FolderCatalog, open_catalog
from vision_recs.catalog.image_files import image_bytes
from vision_recs.errors import CatalogError, ImageError

PNG = b"\x89PNG\r\n\x1a\n"


def blob(number):
    return PNG + str(number).encode() * 5


def contents(path, **options):
    catalog = open_catalog(path, CatalogOptions(**options))
    return {item.id: [image_bytes(catalog.images, image) for image in item.images] for item in catalog}


def test_bytes_and_path_of_hugging_face_are_images_and_the_path_is_the_id(tmp_path):
    rows = [{"image": {"bytes": blob(n), "path": f"mugs/{n}.png"}, "label": n % 2} for n in range(7)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train-0.parquet", row_group_size=3)
    assert contents(tmp_path / "train-0.parquet") == {f"mugs/{n}": [blob(n)] for n in range(7)}
    catalog = open_catalog(tmp_path / "train-0.parquet")
    assert [(item.images, dict(item.attributes)) for item in catalog][1] == (
        ("train-0.parquet#image/2",),
        {"label": 1},
    )


def test_a_column_of_bytes_is_the_image_and_the_others_are_not_read(tmp_path):
    table = pa.table({"id": ["a", "b"], "image": [blob(1), blob(2)], "thumb": [blob(8), blob(9)], "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert contents(tmp_path / "t.parquet") == {"a": [blob(1)], "b": [blob(2)]}
    assert [dict(item.attributes) for item in open_catalog(tmp_path / "t.parquet")] == [{"n": 1}, {"n": 2}]


def test_a_list_of_images_in_a_row_are_the_images_of_the_item(tmp_path):
    rows = [{"id": "a", "images": [{"bytes": blob(n), "path": None} for n in (1, 2)]}, {"id": "b", "images": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = []
    catalog = open_catalog(tmp_path / "t.parquet")
    items = list(catalog.read_items(found.append))
    assert [image_bytes(catalog.images, image) for image in items[0].images] == [blob(1), blob(2)]
    assert [(each.reason, each.id) for each in found] == [("no-image", "b")]


def test_text_in_a_column_of_bytes_is_still_a_path(tmp_path):
    pq.write_table(pa.table({"id": [b"a"], "image": [b"a.png"]}), tmp_path / "t.parquet")
    assert [item.images for item in open_catalog(tmp_path / "t.parquet")] == [("a.png",)]


def test_rows_are_read_in_any_order_and_one_that_has_none_is_missing(tmp_path):
    table = pa.table({"id": list(map(str, range(500))), "image": [blob(n) if n != 7 else None for n in range(500)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=200)
    images = open_catalog(tmp_path / "t.parquet").images
    for row in (1, 500, 3, 150, 2, 202, 201, 499, 150):
        assert image_bytes(images, f"t.parquet#image/{row}") == blob(row - 1)
    for row in (8, 501, 0):
        with pytest.raises(ImageError, match="has no image") as caught:
            images.read(f"t.parquet#image/{row}")
        assert caught.value.reason == "missing"


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def samples(first, count):
    return {
        f"{first + n:09}.{kind}": data
        for n in range(count)
        for kind, data in (
            ("jpg", blob(first + n)),
            ("json", json.dumps({"url": f"https://x/{n}", "width": n, "tags": ["a", "b"]}).encode()),
            ("txt", f"mug {first + n}".encode()),
        )
    }


def test_the_output_of_img2dataset_has_its_images_and_captions(tmp_path):
    tar_of(tmp_path / "00000.tar", samples(0, 3))
    tar_of(tmp_path / "00001.tar", samples(10000, 2))
    (tmp_path / "00000_stats.json").write_text("{}")
    catalog = open_catalog(tmp_path)
    found = {item.id: item for item in catalog}
    assert list(found) == ["000000000", "000000001", "000000002", "000010000", "000010001"]
    assert dict(found["000010001"].attributes) == {
        "url": "https://x/1",
        "width": 1,
        "tags": '["a", "b"]',
        "caption": "mug 10001",
    }
    assert [image_bytes(catalog.images, item.images[0]) for item in catalog] == [
        *map(blob, (0, 1, 2)),
        *map(blob, (10000, 10001)),
    ]


def test_one_tar_is_a_catalog_and_its_names_may_have_folders_and_views(tmp_path):
    tar_of(
        tmp_path / "w.tar", {"a/1.front.png": blob(1), "a/1.back.png": blob(2), "a/1.json": b"[", "b/1.webp": blob(3)}
    )
    assert contents(tmp_path / "w.tar") == {"a/1": [blob(1), blob(2)], "b/1": [blob(3)]}


def test_equal_names_in_several_tars_are_different_items(tmp_path):
    tar_of(tmp_path / "x.tar", {"1.png": blob(1)})
    tar_of(tmp_path / "y.tar", {"1.png": blob(2)})
    assert contents(tmp_path) == {"x/1": [blob(1)], "y/1": [blob(2)]}


def test_a_damaged_tar_and_a_packed_one_are_refused(tmp_path):
    tar_of(tmp_path / "w.tar", samples(0, 3))
    (tmp_path / "w.tar").write_bytes((tmp_path / "w.tar").read_bytes()[:700])
    with pytest.raises(CatalogError, match="cannot be read as tar"):
        contents(tmp_path / "w.tar")
    (tmp_path / "w.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(CatalogError, match=r"cannot be read as tar \(it is damaged: Compressed file ended"):
        contents(tmp_path / "w.tar.gz")


def test_the_folders_of_spark_are_one_table_and_their_names_are_columns(tmp_path):
    for color, ids in (("red", ["a", "b"]), ("light%20blue", ["c"]), ("__HIVE_DEFAULT_PARTITION__", ["d"])):
        folder = tmp_path / f"color={color}" / "year=2024"
        folder.mkdir(parents=True)
        table = pa.table({"id": ids, "image": [f"{name}.jpg" for name in ids]})
        pq.write_table(table, folder / "part-00000.snappy.parquet")
        (folder / "_SUCCESS").write_text("")
    found = {item.id: (item.images, dict(item.attributes)) for item in open_catalog(tmp_path)}
    assert found == {
        "a": (("a.jpg",), {"color": "red", "year": 2024}),
        "b": (("b.jpg",), {"color": "red", "year": 2024}),
        "c": (("c.jpg",), {"color": "light blue", "year": 2024}),
        "d": (("d.jpg",), {"color": None, "year": 2024}),
    }


def test_parts_with_images_as_bytes_are_read_where_they_lie(tmp_path):
    for part in range(2):
        rows = [{"id": f"{part}{n}", "image": blob(10 * part + n)} for n in range(3)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"part-{part}.parquet")
    assert contents(tmp_path) == {f"{part}{n}": [blob(10 * part + n)] for part in range(2) for n in range(3)}


def test_a_folder_of_images_with_a_table_beside_them_stays_a_folder_of_images(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    pq.write_table(pa.table({"id": ["a"], "image": ["a.jpg"]}), tmp_path / "catalog.parquet")
    assert isinstance(open_catalog(tmp_path), FolderCatalog)
    (tmp_path / "images").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "images" / "a.jpg")
    assert isinstance(open_catalog(tmp_path), FolderCatalog)


def test_members_have_the_signature_of_their_file(tmp_path):
    tar_of(tmp_path / "w.tar", samples(0, 2))
    images = open_catalog(tmp_path / "w.tar").images
    with pytest.raises(ImageError, match=r"has no image 'x\.jpg'"):
        images.read("w.tar#x.jpg")
    assert images.read("w.tar#000000001.jpg").signature == images.signatures(["w.tar#000000000.jpg"])[0]
