"""Items, words, facets, thumbnails."""

import contextlib
import io
import resource
from pathlib import Path

import pytest
from fake_shop import FakeEncoder, Shop, image, index, png
from focused_shop import BOXES, index_shop, make_shop
from PIL import Image

from vision_recs.catalog import open_catalog
from vision_recs.images import DecoderProcess
from vision_recs.jobs import index as run_index
from vision_recs.serve.cached_items import CachedItems
from vision_recs.serve.thumbnails import Thumbnails
from vision_recs.store import Store


@pytest.fixture(scope="module")
def ids(sample_store):
    return Store.open(sample_store).items.ids()


def listed(client, **parameters):
    """Return the ids of all pages."""
    found, offset = [], 0
    while offset is not None:
        page = client.get("/v1/items", params={**parameters, "offset": offset}).json()
        found += [item["id"] for item in page["items"]]
        offset = page["next_offset"]
    return found


def test_an_image_has_the_parts_that_were_compared(connect, tmp_path):
    index_shop(make_shop(tmp_path / "shop"), tmp_path / "store")
    with connect(tmp_path / "store") as client:
        for item, focus in BOXES.items():
            (found,) = client.get(f"/v1/items/{item}").json()["images"]
            assert (found["focus"], found["attributes"]) == (focus, {})
        assert "focus" not in client.get("/v1/items/plain").json()["images"][0]


def test_pages_hold_every_item_once(client, ids):
    assert listed(client, limit=7) == ids
    assert listed(client, limit=60) == ids
    assert len(ids) == 60


def test_a_filter_leaves_the_items_that_match(client, sample_store, ids):
    store = Store.open(sample_store)
    cheap = [item for item in ids if store.attributes(item)["price"] < 30]
    assert 5 < len(cheap) < 55
    assert sorted(listed(client, limit=4, where="price < 30")) == cheap
    assert client.get("/v1/items", params={"where": "prize < 30"}).json()["position"] == 1


def test_words_find_items_by_their_beginnings_and_without_accents(client):
    assert listed(client, q="strip mug cor") == ["mug-02"]
    assert listed(client, q="mug-03")[0] == "mug-03"
    assert set(listed(client, q="LAMP", limit=3)) == {f"lamp-0{n}" for n in range(1, 6)}
    assert listed(client, q='"; DROP TABLE words --') == []
    assert listed(client, q="***") == []
    assert listed(client, q="lamp", where="price > 100") == ["lamp-04", "lamp-05"]


def test_the_item_whose_id_is_the_search_text_comes_first(tmp_path, connect):
    shop = Shop()
    shop.put("a 7", 1, title="seven 7 7 7")
    shop.put("7", 2, title="größe")
    shop.put("kids/7", 3, title="other")
    index(shop, tmp_path)
    with connect(tmp_path) as client:
        assert listed(client, q="7")[0] == "7"
        assert listed(client, q="GROSSE") == []
        assert listed(client, q="große") == ["7"]
        assert client.get("/v1/items/kids%2F7").json()["id"] == "kids/7"


def test_an_item_has_attributes_and_images(client, sample_store):
    item = client.get("/v1/items/mug-01").json()
    assert item["attributes"] == Store.open(sample_store).attributes("mug-01")
    assert [image["image"] for image in item["images"]] == [f"mug-01-{n}.jpg" for n in range(1, 5)]
    assert item["images"][0]["attributes"]["view"] == "packshot"


def test_a_value_that_no_item_has_is_told_with_the_nearest_one(client):
    note = "no item has 'mugs' as category; the nearest is 'mug'"
    where = {"where": 'category == "mugs"'}
    page = client.get("/v1/items", params=where).json()
    assert (page["items"], page["notes"]) == ([], [note])
    for answer in (
        client.get("/v1/similar", params={"id": "mug-01", **where}),
        client.post("/v1/similar", json={"items": ["mug-01"], **where}),
    ):
        assert (answer.json()["matches"], answer.json()["notes"]) == ([], [note])
    assert "notes" not in client.get("/v1/similar", params={"id": "mug-01", "where": 'category == "mug"'}).json()


def test_a_list_says_how_many_items_there_are_and_is_sorted_by_an_attribute(client, sample_store, ids):
    store = Store.open(sample_store)
    price = {item: store.attributes(item)["price"] for item in ids}
    page = client.get("/v1/items", params={"where": "price < 30", "limit": 4}).json()
    assert page["total"] == sum(value < 30 for value in price.values())
    assert listed(client, sort="price") == sorted(ids, key=lambda item: (price[item], item))
    assert listed(client, sort="-price", limit=7) == sorted(ids, key=lambda item: (-price[item], item))
    titles = [store.attributes(item)["title"] for item in listed(client, sort="title", where='category == "mug"')]
    assert titles == sorted(titles)
    mugs = listed(client, q="mug", sort="-price")
    assert [price[item] for item in mugs] == sorted((price[item] for item in mugs), reverse=True)
    refused = client.get("/v1/items", params={"sort": "-prize"})
    assert (refused.status_code, refused.json()["detail"]) == (
        400,
        "no item has the attribute 'prize' to sort by; the nearest is 'price'",
    )


def test_a_search_that_finds_nothing_names_the_nearest_words(client):
    page = client.get("/v1/items", params={"q": "stripped mgu"}).json()
    assert (page["items"], page["total"], page["corrected"]) == ([], 0, "striped mug")
    assert "corrected" not in client.get("/v1/items", params={"q": "mug"}).json()
    assert "corrected" not in client.get("/v1/items", params={"q": "xyzzy qqq"}).json()


def test_facets_count_what_words_and_a_filter_leave(client):
    def counts(**parameters):
        answer = client.get("/v1/facets", params=parameters).json()
        return answer["total"], {facet["name"]: dict(facet["counts"]) for facet in answer["facets"]}

    total, mugs = counts(where='`category` in ["mug", "bowl"]')
    assert total == 10
    assert (mugs["category"]["mug"], mugs["category"]["lamp"]) == (5, 5)  # what else there is to choose
    assert sum(mugs["color"].values()) == 10
    total, both = counts(where='`category` in ["mug"] and color == "navy"')
    assert (total, both["category"]) == (1, counts(where='color == "navy"')[1]["category"])
    assert both["color"] == counts(where='category == "mug"')[1]["color"]
    total, words = counts(q="striped mug")
    assert (total, words["category"]) == (3, {"mug": 3})
    prices = [facet for facet in client.get("/v1/facets?q=striped+mug").json()["facets"] if facet["name"] == "price"]
    assert sum(prices[0]["histogram"]) == 3
    assert client.get("/v1/facets", params={"where": "prize < 3"}).json()["position"] == 1


def test_facets_of_the_samples(client):
    facets = {facet["name"]: facet for facet in client.get("/v1/facets").json()["facets"]}
    assert facets["category"]["counts"][0] == ["backpack", 5]
    assert facets["price"]["kind"] == "number"
    assert "title" not in facets


def test_a_thumbnail_is_a_small_jpeg_of_an_image_of_the_store(client):
    shown = client.get("/v1/items/mug-01").json()["images"][0]["thumbnail"]
    response = client.get(shown, params={"side": 160})
    assert response.headers["content-type"] == "image/jpeg"
    assert "immutable" in response.headers["cache-control"]
    image = Image.open(io.BytesIO(response.content))
    assert (image.format, max(image.size)) == ("JPEG", 160)
    assert client.get(shown, params={"side": 160}).content == response.content


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "ABC", "f" * 63])
def test_only_images_of_the_store_are_shown(client, digest):
    assert client.get(f"/v1/thumbnails/{digest}").status_code in {400, 404}


@pytest.fixture
def supplied(tmp_path):
    """A catalog of a supplier, whose images 1 and 2 are outside of its folder, and its store."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "private").mkdir()
    for number in range(3):
        (tmp_path / ("private" if number else "shop") / f"{number}.png").write_bytes(image(1000 + number))
    (tmp_path / "shop" / "link.png").symlink_to(tmp_path / "private" / "2.png")
    (tmp_path / "shop" / "catalog.csv").write_text("id,image\n0,0.png\n1,../private/1.png\n2,link.png\n")
    run_index(open_catalog(tmp_path / "shop" / "catalog.csv"), tmp_path / "store", encoder=FakeEncoder())
    return tmp_path / "store"


def statuses(client):
    shown = [client.get(f"/v1/items/{number}").json()["images"][0]["thumbnail"] for number in range(3)]
    return [client.get(each, params={"side": 160}).status_code for each in shown]


def test_images_outside_of_the_folder_of_the_catalog_are_not_shown_unless_allowed(connect, supplied):
    with connect(supplied) as client:
        assert statuses(client) == [200, 404, 404]
        thumbnail = client.get("/v1/items/1").json()["images"][0]["thumbnail"]
        found = client.get(thumbnail)
        assert found.json()["reason"] == "outside"
        assert "private" not in found.text
    with connect(supplied, images_below=supplied.parent / "private") as client:
        assert statuses(client) == [404, 200, 200]
    with connect(supplied, images_below=Path("/")) as client:
        assert statuses(client) == [200, 200, 200]
    with connect(supplied) as client:  # also where the thumbnails are in the cache by now
        assert statuses(client) == [200, 404, 404]


def test_an_image_that_has_changed_since_it_was_indexed_is_not_shown(tmp_path, connect):
    root = tmp_path / "images"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.png").write_bytes(image(1000 + number))
    run_index(open_catalog(root), tmp_path / "store", encoder=FakeEncoder())
    with connect(tmp_path / "store") as client:
        shown = [client.get(f"/v1/items/{number}").json()["images"][0]["thumbnail"] for number in range(3)]
        (root / "0.png").write_bytes(png([[[255, 0, 0]]]))
        (root / "1.png").unlink()
        assert client.get(shown[2]).status_code == 200
        for gone in shown[:2]:
            response = client.get(gone)
            assert response.status_code == 404
            assert response.json()["reason"] == ("changed" if gone == shown[0] else "missing")
            assert str(tmp_path) not in response.text


def test_no_bytes_of_a_file_that_the_catalog_names_are_shown(tmp_path, connect):
    """A catalog of a supplier may name any file; what is not an image is skipped, and the reason quotes its bytes."""
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "a.png").write_bytes(image(1))
    catalog = tmp_path / "catalog.csv"
    catalog.write_text(f"id,image\na,a.png\nb,{tmp_path / 'secret'}\n")
    run_index(open_catalog(catalog), tmp_path / "store", encoder=FakeEncoder())
    with connect(tmp_path / "store") as client:
        for response in (client.get("/v1/items/b"), client.get("/v1/similar?id=b")):
            assert response.status_code == 404
            assert response.json()["detail"] == "the item 'b' is not in the store"
            assert "root" not in response.text
            assert "secret" not in response.text


@pytest.fixture
def decoder():
    with contextlib.closing(DecoderProcess()) as decoder:
        yield decoder


def test_the_cache_of_thumbnails_has_a_bounded_size(decoder, tmp_path, monkeypatch, sample_store):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    store = Store.open(sample_store)
    thumbnails = Thumbnails(decoder, max_pixels=10**7, cache_bytes=30_000)
    digests = [row.digest for rows in store.rows(range(8), limit=1).values() for row in rows]
    sizes = [len(thumbnails.get(CachedItems(store), store.image_source, digest, 320)) for digest in digests]
    kept = lambda: sum(file.stat().st_size for file in tmp_path.glob("thumbnails/320/*/*.jpg"))  # noqa: E731
    assert kept() == sum(sizes) > 30_000
    gone = tmp_path / "thumbnails" / "320" / "00" / "another worker has moved it.jpg"
    gone.parent.mkdir(exist_ok=True)
    gone.symlink_to("nowhere")
    thumbnails.sweep()
    gone.unlink()
    assert 0 < kept() <= 27_000


def test_what_a_killed_process_left_of_a_thumbnail_is_swept(decoder, tmp_path, monkeypatch, sample_store):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    store = Store.open(sample_store)
    thumbnails = Thumbnails(decoder, max_pixels=10**7, cache_bytes=0)
    digest = next(row.digest for rows in store.rows(range(1), limit=1).values() for row in rows)

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", kill)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process removes nothing
        with pytest.raises(KeyboardInterrupt):
            thumbnails.get(CachedItems(store), store.image_source, digest, 320)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1
    thumbnails.sweep()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@contextlib.contextmanager
def full_disk():
    """No file can grow: a write fails with EFBIG, which Python raises as it raises ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_files_behind(decoder, tmp_path, monkeypatch, sample_store):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    store = Store.open(sample_store)
    digest = store.images("mug-01")[0].digest
    with full_disk():
        first = Thumbnails(decoder, max_pixels=10**7).get(CachedItems(store), store.image_source, digest, 320)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert Thumbnails(decoder, max_pixels=10**7).get(CachedItems(store), store.image_source, digest, 320) == first
    assert len(list(tmp_path.rglob("*.jpg"))) == 1


@pytest.mark.parametrize("kept", [0, 300])
def test_a_cached_thumbnail_that_is_incomplete_is_made_again(decoder, tmp_path, monkeypatch, sample_store, kept):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    store, thumbnails = Store.open(sample_store), Thumbnails(decoder, max_pixels=10**7)
    digest = store.images("mug-01")[0].digest
    whole = thumbnails.get(CachedItems(store), store.image_source, digest, 320)
    (file,) = tmp_path.rglob("*.jpg")
    file.write_bytes(whole[:kept])  # as after a loss of power
    assert thumbnails.get(CachedItems(store), store.image_source, digest, 320) == whole
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_replaced_by_memory(tmp_path, monkeypatch, sample_store, connect, caplog):
    with connect(sample_store) as client:
        expected = listed(client, q="mug")
    (tmp_path / "cache").write_text("a file, where a folder belongs")
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path / "cache"))
    with connect(sample_store) as client:
        assert listed(client, q="mug") == expected
        assert listed(client, q="strip mug cor") == ["mug-02"]
        assert client.get(client.get("/v1/items/mug-01").json()["images"][0]["thumbnail"]).status_code == 200
    assert [record.event for record in caplog.records if record.name == "vision_recs.serve.search_files"] == [
        "no_cache"
    ]


def test_a_damaged_cache_is_built_again(tmp_path, monkeypatch, sample_store, connect):
    monkeypatch.setenv("VISREC_CACHE", str(tmp_path))
    with connect(sample_store) as client:
        expected = listed(client, q="mug")
    (file,) = tmp_path.glob("item_search/*.sqlite")
    for damaged in (b"", b"nonsense", file.read_bytes()[:5000]):
        file.write_bytes(damaged)
        with connect(sample_store) as client:
            assert listed(client, q="mug") == expected
        assert len(file.read_bytes()) > 5000


def test_an_item_without_an_image_has_no_thumbnail(connect, tmp_path):
    shop = Shop()
    for number in range(3):
        shop.put(f"mug-{number}", number, title="red mug")
    shop.put("bare", title="red mug")
    index(shop, tmp_path / "store", "color+words:title@0.5")
    with connect(tmp_path / "store") as client:
        (image,) = client.get("/v1/items/bare").json()["images"]
        assert (image["image"], image["thumbnail"]) == ("", None)
        listed = {item["id"]: item["thumbnail"] for item in client.get("/v1/items").json()["items"]}
        for query in ("id=mug-0&cover=true", "id=mug-0&cover=true&explain=true"):
            matches = client.get(f"/v1/similar?{query}").json()["matches"]
            found = {match["id"]: (match["thumbnail"], match["cover"]) for match in matches}
            assert found["bare"] == (None, None)
            assert found["mug-1"] == (listed["mug-1"], listed["mug-1"])
        assert listed["bare"] is None
