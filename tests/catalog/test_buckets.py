"""Catalogs in a bucket of a real S3 server: as of the same files on this machine, by few requests."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shop_exports
from s3_server import READ_ONLY
from shop_exports import EXPORTS

from vision_recs.cache_dir import cache_dir
from vision_recs.catalog import BucketFolder, CatalogOptions, TableCatalog, open_catalog
from vision_recs.catalog.image_files import image_bytes
from vision_recs.errors import CatalogError, ImageError
from vision_recs.remote.options import RemoteOptions

HASTY = RemoteOptions(tries=1, connect_s=10, total_s=60)
PNG = b"\x89PNG\r\n\x1a\n"


def opened(path, **options):
    return open_catalog(path, CatalogOptions(remote=HASTY, **options))


def contents(path, **options):
    """Return the items at *path*, with the bytes of their images, and what is left out and said."""
    catalog = opened(path, **options)
    left_out = []
    items = [
        (item.id, item.images, dict(item.attributes), [image_bytes(catalog.images, image) for image in item.images])
        for item in catalog.read_items(left_out.append)
    ]
    return items, sorted((each.reason, each.id, each.image) for each in left_out), catalog.notes


def both(s3, folder, name="", **options):
    """Return the contents of what is *name* in *folder*, which have to be the same in the bucket."""
    s3.put_folder(folder, "c/")
    here, there = contents(folder / name, **options), contents(f"{s3.address}/c/{name}", **options)
    assert there == here
    return here


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


FILES = {
    "mugs/red.jpg": b"1",
    "mugs/red.png": b"2",
    "mugs/red.a.png": b"3",
    "mugs/blue/front.jpg": b"4",
    "mugs-2/x.JPG": b"5",
    "mugs.jpg": b"6",
    "u\u0308ber.png": b"7",
    ".hidden/a.png": b"8",
    "__MACOSX/a.png": b"9",
    "mugs/.a.png": b"10",
    "cap.png?v=17": b"11",
    "notes.txt": b"12",
    "README": b"13",
}


def test_a_folder_of_images_has_the_same_items_in_the_same_order(s3, tmp_path):
    write(tmp_path, FILES)
    items, _, notes = both(s3, tmp_path)
    assert [item[0] for item in items] == [
        *("cap", "mugs", "mugs/blue/front", "mugs/red", "mugs/red.a", "mugs-2/x", "\u00fcber")
    ]
    assert notes == ("left out 2 files that are no images by their extension (1 .txt, 1 without extension)",)
    assert isinstance(opened(f"{s3.address}/c"), BucketFolder)


def test_each_folder_is_an_item_if_that_is_wanted(s3, tmp_path):
    write(tmp_path, FILES)
    items, left_out, _ = both(s3, tmp_path, item_per_folder=True)
    assert [item[0] for item in items] == ["mugs", "mugs/blue", "mugs-2"]
    assert [image for _, _, image in left_out] == ["cap.png?v=17", "mugs.jpg", "u\u0308ber.png"]


def test_empty_objects_that_stand_for_folders_are_no_files(s3):
    s3.put("c/a.png", b"1")
    s3.put("c/empty/", b"")
    assert contents(f"{s3.address}/c/") == ([("a", ("a.png",), {}, [b"1"])], [], ())


def test_a_folder_costs_one_request_for_a_thousand_objects_and_its_signatures_none(s3, monkeypatch):
    for module in ("object_store", "listings"):
        monkeypatch.setattr(f"vision_recs.remote.{module}.PAGE", 20)
    for number in range(50):
        s3.put(f"c/{number:02}.png", b"%d" % number)
    catalog = opened(f"{s3.address}/c/")
    images = [image for item in catalog for image in item.images]
    assert None not in catalog.images.signatures(images)
    assert s3.counted() == {"LIST": 1, "HEAD": 3}  # metadata may lie beside them
    assert images[0] == "00.png"


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_in_a_bucket_is_read_as_one_on_this_machine(s3, tmp_path, kind):
    path = shop_exports.write(kind, tmp_path)
    s3.put(path.name, path.read_bytes())
    here, there = opened(path), opened(f"{s3.address}/{path.name}")
    assert list(there) == list(here)
    assert there.notes == here.notes
    assert (there.location, there.root) == (f"{s3.address}/{path.name}", s3.address)


def test_packed_tables_and_json_lines_are_read_too(s3, tmp_path):
    rows = [{"id": f"{n}", "image": "a.png", "n": n} for n in range(3)]
    write(tmp_path, {"a.png": PNG, "t.jsonl.gz": gzip.compress("\n".join(map(json.dumps, rows)).encode())})
    items, _, _ = both(s3, tmp_path, "t.jsonl.gz")
    assert [item[2] for item in items] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_images_of_a_table_on_this_machine_may_lie_in_a_bucket(s3, tmp_path):
    (tmp_path / "t.csv").write_text(f"id,image\na,m/a.png\nb,/m/b.png\nc,{s3.address}/c.png\n")
    for name in ("img/m/a.png", "img/m/b.png", "c.png"):
        s3.put(name, name.encode())
    items, _, _ = contents(tmp_path / "t.csv", images=f"{s3.address}/img")
    assert [item[3] for item in items] == [[b"img/m/a.png"], [b"img/m/b.png"], [b"c.png"]]


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def samples(first, count):
    kinds = (("jpg", lambda n: PNG + b"%d" % n), ("json", lambda n: json.dumps({"width": n}).encode()))
    return {f"{first + n:09}.{kind}": make(first + n) for n in range(count) for kind, make in kinds}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_a_tar_has_its_images_wherever_it_lies_and_packed_or_not(s3, tmp_path, name):
    data = tar_of(samples(0, 3))
    write(tmp_path, {name: gzip.compress(data) if name.endswith("gz") else data})
    items, _, _ = both(s3, tmp_path, name)
    assert items[2] == ("000000002", (f"{name}#000000002.jpg",), {"width": 2}, [PNG + b"2"])


def test_tars_in_a_bucket_are_read_once_and_their_images_in_part(s3):
    large = 5 << 20  # more than is read ahead
    s3.put("c/00000.tar", tar_of({"0.jpg": b"x" * large, "0.json": b'{"n": 1}', "1.jpg": b"y" * 9}))
    s3.put("c/00001.tar", tar_of(samples(10_000, 2)))
    items, _, _ = contents(f"{s3.address}/c/")
    assert [(item[0], item[2]) for item in items] == [
        *(("00000/0", {"n": 1, "width": None}), ("00000/1", {"n": None, "width": None})),
        *(("000010000", {"n": None, "width": 10_000}), ("000010001", {"n": None, "width": 10_001})),
    ]
    assert items[1][3] == [b"y" * 9]
    assert s3.requests[-3].size == 9
    s3.counted()
    catalog = opened(f"{s3.address}/c/")
    images = [image for item in catalog for image in item.images]
    found = catalog.images.signatures(images)
    assert len(set(found)) == 2
    assert None not in found
    assert s3.counted() == {"LIST": 1}  # what is in them is known by their ETag


def test_a_tar_that_was_replaced_is_read_again(s3):
    s3.put("a.tar", tar_of({"0.jpg": b"one"}))
    catalog = opened(f"{s3.address}/a.tar")
    assert [item.id for item in catalog] == ["0"]
    before = catalog.images.read("a.tar#0.jpg")
    s3.put("a.tar", tar_of({"00.jpg": b"zero", "0.jpg": b"two"}))
    with pytest.raises(ImageError, match="was changed while it was read") as caught:
        catalog.images.read("a.tar#0.jpg")
    assert caught.value.reason == "broken-off"
    after = opened(f"{s3.address}/a.tar").images.read("a.tar#0.jpg", known=before.signature)
    assert after.data == b"two"
    assert [item.id for item in opened(f"{s3.address}/a.tar")] == ["00", "0"]


def test_what_was_kept_of_a_tar_is_complete_or_not_used(s3):
    s3.put("a.tar", tar_of(samples(0, 9)))
    first = next(iter(opened(f"{s3.address}/a.tar")))
    assert first.id == "000000000"
    assert not list((cache_dir() / "tars").glob(".visrec-scratch-*"))
    assert len(list(opened(f"{s3.address}/a.tar"))) == 9


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def test_parquet_with_images_in_partitions_is_read_by_ranges(s3, tmp_path):
    for color, first in (("red", 0), ("blue", 5)):
        images = [PNG + b"%d" % n * 1_000 for n in range(first, first + 5)]
        table = pa.table({"id": [f"{n}" for n in range(first, first + 5)], "image": images})
        write(tmp_path, {f"color={color}/part-0.parquet": parquet(table, row_group_size=2)})
    write(tmp_path, {"_SUCCESS": b""})
    items, _, _ = both(s3, tmp_path)
    assert [item[0] for item in items] == [*"56789", *"01234"]
    assert items[0][1:3] == (("color=blue/part-0.parquet#image/1",), {"color": "blue"})
    packed = gzip.compress((tmp_path / "color=red" / "part-0.parquet").read_bytes())
    write(tmp_path, {"packed/p.parquet.gz": packed})
    assert both(s3, tmp_path, "packed/p.parquet.gz")[0][0][0] == "0"


def test_an_image_folder_of_hugging_face_has_its_metadata(s3, tmp_path):
    write(tmp_path, {"train/a.png": PNG, "train/metadata.csv": b"file_name,label\na.png,mug\n"})
    write(tmp_path, {"test/b.png": PNG, "test/metadata.csv": b"file_name,label\nb.png,cap\n"})
    items, _, _ = both(s3, tmp_path)
    assert [item[:3] for item in items] == [
        ("test/b", ("test/b.png",), {"label": "cap"}),
        ("train/a", ("train/a.png",), {"label": "mug"}),
    ]


def test_what_is_not_there_and_what_may_not_be_read_is_one_sentence(s3, monkeypatch):
    s3.put("c/notes.txt", b"1")
    s3.put("t.csv", b"id,image\na,a.png\n")
    for name, why in (
        ("nothing/", "there is no such file or folder; check the address"),
        ("nothing.csv", "there is no such file or folder; check the address"),
        ("c/", "no image in this folder or below it"),
    ):
        with pytest.raises(CatalogError, match=why) as caught:
            list(opened(f"{s3.address}/{name}"))
        assert str(caught.value).startswith(f"{s3.address}/{name.rstrip('/')}")
    with pytest.raises(CatalogError, match="s3://: s3:// names no bucket; write s3://bucket/key"):
        opened("s3://")
    with pytest.raises(CatalogError, match="there is no bucket s3://no-such-bucket; check the address"):
        opened("s3://no-such-bucket/photos/")
    for name, value in READ_ONLY.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CatalogError, match=r"t\.csv may not be read \(403\); check AWS_ACCESS_KEY_ID"):
        opened(f"{s3.address}/t.csv")


def test_a_bucket_that_breaks_off_removes_nothing(s3):
    for number in range(30):
        s3.put(f"c/{number:02}.png", b"%d" % number)
    catalog = opened(f"{s3.address}/c/")
    s3.fails = lambda kind, _: 503 if kind == "LIST" else None
    with pytest.raises(CatalogError, match="cannot be reached"):
        list(opened(f"{s3.address}/c/"))
    s3.fails = None
    assert len(list(catalog)) == 30


def test_a_table_that_breaks_off_is_one_sentence(s3):
    s3.put("t.csv", b"id,image\n" + b"".join(b"%d,a.png\n" % n for n in range(900_000)))
    catalog = opened(f"{s3.address}/t.csv")
    assert isinstance(catalog, TableCatalog)
    gets = []

    def fail(kind, _):
        gets.extend([kind] * (kind == "GET"))
        return 503 if len(gets) > 1 else None

    s3.fails = fail
    with pytest.raises(CatalogError, match=r"t\.csv: the file cannot be read \(s3://shop cannot be reached"):
        list(catalog)


def reasons(images, *references):
    found = []
    for reference in references:
        try:
            found.append(images.read(reference).data)
        except ImageError as error:
            found.append(error.reason)
    return found


def test_a_catalog_that_others_write_reads_of_buckets_only_what_lies_below(s3, tmp_path):
    for name in ("shop/a.png", "shop-2/a.png", "private/a.png"):
        s3.put(name, name.encode())
    s3.put("shop/t.csv", b"id,image\na,a.png\n")
    inside, beside, private = (f"{s3.address}/{name}/a.png" for name in ("shop", "shop-2", "private"))
    references = ("a.png", inside, beside, private, "../private/a.png", f"{s3.address}/shop/../private/a.png")
    open_images = opened(f"{s3.address}/shop/t.csv").images
    everything = [b"shop/a.png"] * 2 + [b"shop-2/a.png"] + [b"private/a.png"] * 3
    assert reasons(open_images, *references) == everything
    only_inside = [b"shop/a.png"] * 2 + ["outside"] * 4
    assert reasons(open_images.in_own_bucket(), *references) == only_inside
    closed = opened(f"{s3.address}/shop/t.csv", images_below=f"{s3.address}/shop").images
    assert reasons(closed, *references) == only_inside
    assert [each is None for each in closed.signatures(references)] == [False] * 2 + [True] * 4
    (tmp_path / "t.csv").write_text("id,image\na,a.png\n")
    here = opened(tmp_path / "t.csv", images_below=str(tmp_path)).images
    assert reasons(here, inside, private) == ["outside"] * 2
    named = opened(tmp_path / "t.csv", images_below=f"{s3.address}/shop/").images
    assert reasons(named, inside, beside, private) == [b"shop/a.png", "outside", "outside"]
