"""Files of catalogs on a web server: fetched once, whatever their address ends with, and images relative to them."""

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shop_exports
from shop_exports import EXPORTS
from web_site import give_file, in_turn, redirect, status

from vision_recs.catalog import CatalogOptions, open_catalog
from vision_recs.catalog.image_files import image_bytes
from vision_recs.errors import CatalogError
from vision_recs.remote.options import RemoteOptions

QUICK = {"allow_private": True, "backoff_s": 0.001, "pace": 1e6}
TABLE = b"id,image,price\na,img/a.png,3\nb,/media/b.png,4\n"


def opened(address, **options):
    return open_catalog(address, CatalogOptions(remote=RemoteOptions(**{**QUICK, **options})))


def refusal(address, **options):
    with pytest.raises(CatalogError) as caught:
        opened(address, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def typed(kind):
    def answer(handler):
        handler.give(200, handler.site.files[handler.asked.path], {"content-type": kind})

    return answer


def test_a_table_is_fetched_once_and_its_images_are_relative_to_it(site):
    site.files |= {"/shop/t.csv": TABLE, "/shop/img/a.png": b"a", "/shop/media/b.png": b"b"}
    catalog = opened(f"{site.url}/shop/t.csv?token=1")
    items = list(catalog)
    assert [dict(item.attributes) for item in items] == [{"price": 3}, {"price": 4}]
    assert [image_bytes(catalog.images, item.images[0]) for item in items] == [b"a", b"b"]
    assert (catalog.location, catalog.root) == (f"{site.url}/shop/t.csv?token=1", f"{site.url}/shop")
    assert site.bodies() == ["/shop/t.csv", "/shop/img/a.png", "/shop/media/b.png"]


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_on_a_web_server_is_read_as_one_on_this_machine(site, tmp_path, kind):
    path = shop_exports.write(kind, tmp_path)
    packed = gzip.compress(path.read_bytes())
    site.files |= {f"/{path.name}": path.read_bytes(), f"/{path.name}.gz": packed}
    expected = open_catalog(path)
    for name in (path.name, f"{path.name}.gz"):
        found = opened(f"{site.url}/{name}")
        assert list(found) == list(expected)
        assert found.notes == expected.notes


@pytest.mark.parametrize(
    ("kind", "export"),
    [
        ("text/xml; charset=utf-8", "google-xml"),
        ("application/rss+xml", "google-xml"),
        ("text/plain", "google-text"),
        ("text/csv", "shopify"),
    ],
)
def test_where_the_address_does_not_say_what_it_is_the_media_type_does(site, tmp_path, kind, export):
    path = shop_exports.write(export, tmp_path)
    site.files["/feeds/17"] = path.read_bytes()
    site.answers["/feeds/17"] = typed(kind)
    assert list(opened(f"{site.url}/feeds/17?shop=1")) == list(open_catalog(path))


def test_a_table_of_parquet_is_read_and_one_with_images_inside_is_refused(site):
    for name, image in (("t", ["a.png"]), ("i", [b"\x89PNG\r\n\x1a\n\0"])):
        file = io.BytesIO()
        pq.write_table(pa.table({"id": ["a"], "image": image}), file)
        site.files[f"/{name}.parquet"] = file.getvalue()
    site.files["/x.tar"] = bytes(1024)
    assert [item.images for item in opened(f"{site.url}/t.parquet")] == [("a.png",)]
    for name in ("i.parquet", "x.tar"):
        assert refusal(f"{site.url}/{name}").endswith(
            "images inside of a file are not read from a web server; put the file here, or into a bucket"
        )


def test_redirects_are_followed_and_what_may_pass_is_tried_again(site):
    site.files["/t.csv"] = TABLE
    site.answers["/t.csv"] = in_turn(status(503), give_file)
    site.answers["/old.csv"] = redirect("/t.csv")
    assert len(list(opened(f"{site.url}/old.csv"))) == 2
    assert site.statuses() == [302, 503, 302, 200]


def test_behind_a_redirect_images_are_relative_to_the_file_itself_and_its_name_tells_what_it_is(site):
    site.files |= {"/2026/shop.csv": TABLE, "/2026/img/a.png": b"a", "/media/b.png": b"b"}
    site.answers["/latest"] = redirect("/2026/shop.csv?signature=1")
    site.answers["/2026/shop.csv"] = typed("application/octet-stream")
    catalog = opened(f"{site.url}/latest")
    assert (catalog.location, catalog.root) == (f"{site.url}/latest", f"{site.url}/2026")
    assert image_bytes(catalog.images, next(iter(catalog)).images[0]) == b"a"


def test_a_table_that_broke_off_is_fetched_anew_from_its_start(site):
    def cut(handler):
        handler.give(200, TABLE[:20], {"content-type": "text/csv", "content-length": str(len(TABLE))})
        handler.close_connection = True

    site.files["/t.csv"] = TABLE
    site.answers["/t.csv"] = in_turn(cut, give_file)
    left_out = []
    assert [item.id for item in opened(f"{site.url}/t.csv").read_items(left_out.append)] == ["a", "b"]
    assert left_out == []


def test_robots_txt_does_not_forbid_a_file_that_somebody_has_named(site):
    site.files["/t.csv"] = TABLE
    site.robots = "User-agent: *\nDisallow: /"
    assert len(list(opened(f"{site.url}/t.csv"))) == 2


def test_what_is_no_catalog_is_one_sentence(site, monkeypatch):
    site.files |= {"/page": b"<html>", "/a.pdf": b"%PDF", "/large.csv": TABLE * 9}
    site.answers["/page"] = typed("text/html")
    monkeypatch.setattr("vision_recs.catalog.web_file._MAX_BYTES", 100)
    for name, why in (
        ("page", "is a page; name the file itself"),
        ("no.csv", "answers 404 Not Found; correct the address"),
        ("a.pdf", "this is no catalog; give a folder of images or a table"),
        ("large.csv", "has over 100 bytes; name a smaller file"),
    ):
        message = refusal(f"{site.url}/{name}")
        assert message.startswith(f"{site.url}/{name}: ")
        assert why in message
    assert "is not a public address" in refusal(f"{site.url}/large.csv", allow_private=False)
