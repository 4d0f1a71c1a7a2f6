"""Exports whose images are on the web: indexed as they are, told apart from what is gone, and not read twice."""

import json

import pytest
import web_site
from fake_shop import FakeEncoder, Unused, image, png
from shop_exports import EXPORTS, NUMBERS, handle, price
from web_site import connect_to, publish, redirect, resolve_to, status

from vision_recs.catalog import CatalogOptions
from vision_recs.errors import EmptyCatalog
from vision_recs.filters import Filter
from vision_recs.jobs import IndexOptions, store_of_encoder, update
from vision_recs.jobs import index as run_index
from vision_recs.remote.options import RemoteOptions
from vision_recs.store import Store

QUICK = {"allow_private": True, "own_images": True, "backoff_s": 0.001, "pace": 1e6, "max_rest_s": 30.0}


def options(*, images=None, keep_stale=2, **remote):
    catalog = CatalogOptions(images=images, remote=RemoteOptions(**{**QUICK, **remote}))
    return IndexOptions(catalog, shard_size=8, batch_size=4, workers=2, keep_stale=keep_stale)


def index(path, store, encoder=None, **others):
    return run_index(path, store, encoder=encoder or FakeEncoder(), options=options(**others))


def ledger(store, generation):
    text = (store / "skipped" / f"{generation:06d}.jsonl").read_text("utf-8")
    return {line["image"].rpartition("/")[2]: line["reason"] for line in map(json.loads, text.splitlines())}


def selected(store, expression):
    with Store.open(store) as opened:
        found = opened.filtered(Filter.parse(expression))
        return sorted({row.id for rows in found.rows(found.positions().tolist(), limit=99).values() for row in rows})


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_with_its_images_on_the_web_is_indexed_and_a_second_run_reads_no_body(tmp_path, site, kind):
    path, folder = publish(kind, tmp_path, site)
    first = index(path, tmp_path / "store", images=folder)
    assert (first.images, first.skipped_reasons) == (first.embedded + first.reused, {"no-image": 1})
    assert first.embedded == len(site.files)
    assert sorted(set(site.bodies())) == sorted(site.files)
    if kind != "prestashop":
        cheap = {handle(number) for number in NUMBERS if float(price(number)) < 1 and number != 6}
        found = selected(tmp_path / "store", "price < 1")
        assert {item[:6] for item in found} == cheap
        assert "mug-05" not in selected(tmp_path / "store", "in_stock")
    if kind not in {"prestashop", "magento"}:
        assert {"mug-01-red", "mug-01-blue"} <= set(selected(tmp_path / "store", "variant_group == 'mug-01'"))
    site.requests.clear()
    again = index(path, tmp_path / "store", Unused(), images=folder)
    assert (again.generation, again.embedded, again.images) == (first.generation, 0, first.images)
    assert set(site.statuses()) == {304}
    assert {request.path for request in site.requests} == set(site.files)


@pytest.fixture
def shop(tmp_path, site):
    """A table of eight images at addresses, indexed, and its store."""
    return table(tmp_path, site, site.url)


def table(folder, site, url, **remote):
    site.files = {f"/{number}.png": image(number) for number in range(8)}
    path = folder / "shop.csv"
    path.write_text("id,image\n" + "".join(f"item{number},{url}/{number}.png\n" for number in range(8)))
    index(path, folder / "store", **remote)
    site.requests.clear()
    return path, folder / "store"


def vectors(store):
    with Store.open(store) as opened:
        return {item: [image.digest for image in opened.images(item)] for item in opened.ids()}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(429), "http-429"),
        (status(429, retry_after="3600"), "http-429"),
        (status(503), "http-5xx"),
        (status(503, retry_after="3600"), "http-5xx"),
        (web_site.dripped, "timeout"),
        (web_site.silent, "timeout"),
        (web_site.a_page, "wrong-type"),
        (web_site.huge, "too-large"),
        (web_site.cut_off, "broken-off"),
        (status(403), "http-403"),
    ],
)
def test_what_a_server_cannot_give_now_stays_with_its_vector_and_the_ledger_says_why(shop, site, answer, reason):
    path, store = shop
    before = vectors(store)
    site.answers = dict.fromkeys(site.files, answer)
    report = index(path, store, Unused(), tries=2, total_s=0.2 if reason == "timeout" else 60.0)
    assert (report.items, report.images, report.skipped, report.stale_images) == (8, 8, 0, {reason: 8})
    assert vectors(store) == before
    assert ledger(store, report.generation) == dict.fromkeys((f"{number}.png" for number in range(8)), reason)
    site.answers = {}
    assert index(path, store, Unused()).stale_images == {}
    assert vectors(store) == before


def test_a_redirect_into_a_private_network_leaves_the_vectors_in_place(tmp_path, site, monkeypatch):
    resolve_to(monkeypatch, {"public.example": "93.184.216.34", "inside.example": "10.0.0.5"})
    meant = connect_to(monkeypatch, site)
    path, store = table(tmp_path, site, "http://public.example", allow_private=False)
    before = vectors(store)
    site.answers = dict.fromkeys(site.files, redirect("http://inside.example/mug.png"))
    report = index(path, store, Unused(), allow_private=False)
    assert (report.stale_images, vectors(store)) == ({"private-address": 8}, before)
    assert set(meant) == {("93.184.216.34", 80)}


def test_a_server_that_dies_half_way_leaves_the_vectors_in_place(shop, site):
    path, store = shop
    before = vectors(store)
    site.files |= {f"/{number}.png": image(100 + number) for number in range(2)}
    site.answers["/4.png"] = web_site.stop_the_site
    report = index(path, store, tries=2, threads=1)
    assert (report.items, report.embedded) == (8, 2)
    assert set(report.stale_images) <= {"refused", "broken-off"}
    assert sum(report.stale_images.values()) == 4
    after = vectors(store)
    assert {item for item in before if before[item] != after[item]} == {"item0", "item1"}


def test_what_is_gone_for_good_leaves_and_what_comes_back_returns(shop, site):
    path, store = shop
    site.answers = {"/3.png": status(404), "/4.png": status(410)}
    report = index(path, store, Unused())
    assert (report.items, report.removed, report.stale_images) == (6, 2, {})
    assert ledger(store, report.generation) == {"3.png": "http-404", "4.png": "http-410"}
    site.answers = {}
    assert index(path, store).items == 8


def test_a_first_run_that_gets_no_image_says_why_and_leaves_nothing(tmp_path, site):
    (tmp_path / "shop.csv").write_text(f"id,image\na,{site.url}/a.png\n")
    with pytest.raises(EmptyCatalog, match=r"none of the 1 images could be used.* answers 404 Not Found"):
        index(tmp_path / "shop.csv", tmp_path / "store")
    with pytest.raises(EmptyCatalog, match="is not a public address"):
        index(tmp_path / "shop.csv", tmp_path / "store", allow_private=False)
    assert not (tmp_path / "store").exists()


def test_many_requests_are_under_way_whatever_the_number_of_workers(shop, site):
    path, store = shop
    together = web_site.together(8)
    site.answers = dict.fromkeys(site.files, together)
    run_index(path, store, encoder=Unused(), options=IndexOptions(options().catalog, workers=1))
    assert site.most_at_once == 8


def test_an_image_that_several_items_show_is_asked_for_once(tmp_path, site):
    site.files = {"/0.png": image(0), "/1.png": image(1)}
    rows = [f"item{number},{site.url}/{number % 2}.png" for number in range(10)]
    path = tmp_path / "shop.csv"
    path.write_text("\n".join(["id,image", *rows, f"gone1,{site.url}/gone.png", f"gone2,{site.url}/gone.png", ""]))
    report = index(path, tmp_path / "store")
    assert (report.items, sorted(site.statuses())) == (10, [200, 200, 404])
    site.requests.clear()
    index(path, tmp_path / "store")
    assert sorted(site.statuses()) == [304, 304, 404]


def test_the_store_knows_how_its_images_are_fetched(shop, site):
    _, store = shop
    with Store.open(store) as opened:
        assert opened.remote_options == RemoteOptions(**QUICK)
        assert opened.image_source.read(f"{site.url}/1.png").data == site.files["/1.png"]


def test_an_update_fetches_new_images_as_the_catalog_was(shop, site):
    _, store = shop
    site.files["/new.png"] = image(77)
    changes = [{"id": "new", "image": f"{site.url}/new.png"}, {"id": "item1", "images": [f"{site.url}/gone.png"]}]
    report = update(changes, store, encoder=FakeEncoder(), options=IndexOptions(batch_size=4, shard_size=4))
    assert (report.added, report.embedded, report.skipped_reasons) == (1, 1, {"http-404": 1})


def test_another_encoder_embeds_the_images_from_the_web(shop, site, monkeypatch, tmp_path):
    _, store = shop
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("vision_recs.jobs.reencode.canonical_name", lambda name: name)
    monkeypatch.setattr("vision_recs.encoders.store_encoder.load_encoder", lambda name, **_: FakeEncoder(name, turn=5))
    with Store.open(store) as opened, store_of_encoder(opened, "another") as other:
        assert (other.manifest.encoder.name, other.item_count) == ("another", 8)
        assert other.remote_options == opened.remote_options
    assert len(site.bodies()) == 8


def test_a_run_that_is_stopped_does_not_wait_for_a_host_that_rests(shop, site):
    path, store = shop
    before = vectors(store)
    site.answers = dict.fromkeys(site.files, status(503, retry_after="25"))
    catalog = options().catalog
    report = run_index(
        path,
        store,
        encoder=Unused(),
        options=IndexOptions(catalog, workers=1, should_stop=lambda: len(site.requests) > 0),
    )
    assert not report.complete
    assert vectors(store) == before
    assert report.seconds < 20


def test_local_copies_are_read_in_place_of_what_is_at_addresses(tmp_path, site):
    (tmp_path / "shop.csv").write_text(f"id,image\na,{site.url}/photos/a.png\nb,{site.url}/photos/b.png\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(image(1))
    site.files = {"/photos/b.png": png([[(9, 9, 200)] * 8] * 8)}
    assert index(tmp_path / "shop.csv", tmp_path / "store").embedded == 2
    assert [request.path for request in site.requests] == ["/photos/b.png"]
