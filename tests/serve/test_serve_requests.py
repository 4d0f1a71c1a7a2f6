"""Requests as clients and probes send them: parameters that there are not, other methods, ids of any characters."""

import pytest
from fake_shop import Shop, index
from starlette.testclient import TestClient

from vision_recs.serve import ServeOptions, create_app


def test_an_unknown_parameter_is_refused_with_the_nearest_one(client):
    for path, sentence in {
        "/v1/items?limitt=3": "there is no parameter 'limitt'; the nearest is 'limit'",
        "/v1/similar?id=mug-01&one-per=item": "there is no parameter 'one-per'; the nearest is 'one_per'",
        "/v1/facets?zzz=1": "there is no parameter 'zzz'; there are q, where",
        "/v1/info?x=1": "there is no parameter 'x'; this address takes none",
    }.items():
        response = client.get(path)
        assert (response.status_code, response.json()["detail"]) == (400, sentence)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/", "/page/app.js"])
def test_a_probe_may_bring_any_parameter(client, path):
    assert client.get(f"{path}?x=1&x=2&%ff").status_code == 200


@pytest.mark.parametrize("path", ["/v1/items", "/v1/similar?id=mug-01", "/healthz", "/"])
def test_head_is_a_get_without_its_body_and_options_names_the_methods(client, path):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-length"]) == (200, get.headers["content-length"])
    options = client.options(path)
    allowed = {"GET", "HEAD", "OPTIONS"} | ({"POST"} if "similar" in path else set())
    assert (options.status_code, set(options.headers["allow"].split(", "))) == (204, allowed)
    assert client.delete(path).status_code == 405


IDS = ["..", ".", "a/../b", "a//b", "line\nbreak", "ends\n", "50%2F", "?#&=+ ", "é\U0001f600", "/", "items"]


@pytest.fixture(scope="module")
def odd_client(tmp_path_factory):
    shop = Shop()
    for number, item in enumerate(IDS):
        shop.put(item, number, title=f"item {number}")
    store = tmp_path_factory.mktemp("odd") / "store"
    index(shop, store)
    with TestClient(create_app(ServeOptions(store, poll_interval_s=3600)), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("item", IDS)
def test_an_id_of_any_characters_is_found(odd_client, item):
    from urllib.parse import quote

    assert odd_client.get("/v1/item", params={"id": item}).json()["id"] == item
    assert odd_client.get("/v1/similar", params={"id": item, "k": 1}).status_code == 200
    if item not in {".", "..", "50%2F"}:  # clients and proxies take dots for folders, and this client decodes twice
        assert odd_client.get(f"/v1/items/{quote(item, safe='')}").json()["id"] == item


def test_the_cover_of_a_match_is_its_packshot_or_first_image(client):
    covers = {item["id"]: item["thumbnail"] for item in client.get("/v1/items?limit=60").json()["items"]}
    matches = client.get("/v1/similar?id=mug-01&k=8&cover=true").json()["matches"]
    assert [match["cover"] for match in matches] == [covers[match["id"]] for match in matches]
    assert any(match["cover"] != match["thumbnail"] for match in matches)
    assert "cover" not in client.get("/v1/similar?id=mug-01&k=1").json()["matches"][0]
    packshot = client.get("/v1/item?id=mug-01").json()["images"][0]
    assert (packshot["attributes"]["view"], packshot["thumbnail"]) == ("packshot", covers["mug-01"])
